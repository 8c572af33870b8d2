"""A backup while 64 connections rotate, and a restore that is killed or fails at any of its calls."""

import argparse
import contextlib
import errno
import shutil
import sqlite3
import threading
import time

import pytest

import shapes
from daemon import Daemon, eventually, public_folder, run_tool
from faults import DISK_SHIM, Panel
from power import read_trace, tables
from script import HERE, Run, points, report, spread, through

CONNECTIONS = 64


class Rotating(threading.Thread):
    """A connection that rotates a token of its own, and remembers what it was told, and when it asked."""

    def __init__(self, daemon, number, stop):
        super().__init__(daemon=True)
        self.target, self.stop = daemon, stop
        self.here = {"application": f"app-{number}", "project_code": "p"}
        self.told = []
        self.failure = None

    def run(self):
        try:
            with self.target.connect() as connection:
                method = "register"
                while not self.stop.is_set():
                    made = connection.call(method, self.here)
                    self.told.append(shapes.fingerprint(made["registration_token"]))
                    method = "rotate"
        except BaseException as failure:
            self.failure = failure


def test_a_backup_while_64_connections_rotate(make_daemon):
    """It is a state that was: for each application a token from the one that it had before the backup began to the one
    that it asked for last until it ended. It ends in a bounded time, and nobody waits for it."""
    daemon, stop = make_daemon().start(), threading.Event()
    threads = [Rotating(daemon, number, stop) for number in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    took = []
    try:
        for number in range(3):
            wanted = [len(thread.told) + 3 for thread in threads]
            eventually(lambda: all(len(t.told) >= w for t, w in zip(threads, wanted)), 60, "the load")  # noqa: B023
            copy = daemon.folder / f"copy-{number}"
            before, began = [len(thread.told) for thread in threads], time.monotonic()
            done = daemon.tool("backup", copy, timeout=60)
            took.append(time.monotonic() - began)
            after = [len(thread.told) for thread in threads]
            assert done.returncode == 0, done
            last, held = tables(copy)
            assert len(held) == CONNECTIONS and sum(before) <= last <= sum(after) + CONNECTIONS
            # The answers that were under way when it ended are needed to name what they brought.
            eventually(lambda: all(len(t.told) > a for t, a in zip(threads, after)), 60, "the answers")  # noqa: B023
            for thread, least, most in zip(threads, before, after, strict=True):
                assert held[thread.here["application"], "p"] in thread.told[least - 1 : most + 1]
            assert sum(after) > sum(before), "everybody waited for the backup"
    finally:
        stop.set()
        for thread in threads:
            thread.join(60)
    assert not any(thread.failure for thread in threads), [thread.failure for thread in threads]
    fresh = make_daemon()
    fresh.state.mkdir(mode=0o700)
    done = fresh.tool("restore", copy, "--accept-missing")
    assert done.returncode == 0, done
    fresh.start()
    with fresh.connect() as root:
        assert root.call("status")["tokens"] == CONNECTIONS
    assert fresh.tool("check").returncode == 0
    report(f"{len(took)} backups while {CONNECTIONS} connections rotated: {max(took):.1f} s at most")


@pytest.fixture(scope="module")
def replaced():
    """A state directory, as a kill left it, and a backup of it that is older."""
    run = Run()
    through(run, [("register", HERE), ("register", {"application": "b", "project_code": "p"})])
    run.daemon.start()
    copy = public_folder("scaemtest-backup-") / "copy"
    assert run.daemon.tool("backup", copy).returncode == 0
    assert run.ask("rotate", HERE) == "done" and run.ask("unregister", {"application": "b"}) == "done"
    run.daemon.kill9()
    return run, copy


class Restoring:
    """The restore once, with one fault."""

    def __init__(self, replaced, step=0, error=0, options=()):
        run, copy = replaced
        self.disk = public_folder("scaemtest-restore-")
        shutil.copytree(run.daemon.state, self.disk / "state")
        self.trace = public_folder("scaemtest-trace-") / "trace"
        self.trace.touch()
        self.panel = Panel(DISK_SHIM, watched=self.disk, trace=self.trace)
        self.panel.set(fault_step=step, fault_errno=error)
        self.command = ["restore", copy, "--socket", self.disk / "no-socket", "--state-directory", self.disk / "state"]
        self.done = run_tool("scaem-tokend", *self.command, *options, environment=self.panel.environment)

    def rows(self):
        shutil.rmtree(self.disk / "look", ignore_errors=True)
        shutil.copytree(self.disk / "state", self.disk / "look")
        done = run_tool("scaem-tokend", "check", "--state-directory", self.disk / "state")
        assert done.returncode == 0, done
        # What a restore adds to the audit has a gap of its own, so only the tokens are compared.
        return tables(self.disk / "look" / "tokens.db", gaps=True)[1]

    def again(self):
        self.panel.set(fault_step=0)
        done = run_tool("scaem-tokend", *self.command)
        assert done.returncode == 0, done
        return self.rows()


@pytest.mark.parametrize("error", [0, errno.EIO], ids=["killed", "EIO"])
def test_a_restore_replaces_in_one_step(replaced, error, seeded):
    """Whatever happens in it, what is there then is the old database whole or the restored one, and it can be done
    again. What was ended since the backup is in neither."""
    run, _ = replaced
    old = {key: fingerprints[0] for key, fingerprints in run.book.rows.items()}
    whole = Restoring(replaced)
    assert whole.done.returncode == 0, whole.done
    new = whole.rows()
    assert new != old and not new.keys() - old.keys(), "the backup's tokens that were ended since live"
    total = whole.panel.get("steps")
    kinds = {call.step: call.kind for call in read_trace(whole.trace)}
    tried, olds = points({step: kinds.get(step) == "sync" for step in range(1, total + 1)}, seeded), 0
    # The step itself is among them.
    tried = sorted({*tried, *spread([s for s, kind in kinds.items() if kind == "rename"], 2, seeded)})
    for step in tried:
        restoring = Restoring(replaced, step, error)
        code = restoring.done.returncode
        rows = restoring.rows()
        assert rows in (old, new), (step, rows)
        assert rows == new or code != 0, f"step {step}: it says that it is done, and is not"
        if error:
            assert code == 0 or (code > 0 and restoring.done.stderr.strip()), (step, restoring.done)
        olds += rows == old
        assert restoring.again() == new, step
    report(f"restore {'killed' if not error else errno.errorcode[error]} at {len(tried)} of {total} calls: "
           f"{olds} times the old database, {len(tried) - olds} times the new one")  # fmt: skip


def test_a_restore_without_room_for_the_old_log_changes_nothing(replaced):
    """The last changes stand in the old database's log alone: it is not moved away before they are in the database."""
    run, _ = replaced
    whole = Restoring(replaced)
    folding = [call for call in read_trace(whole.trace) if call.kind == "write" and call.path.endswith("/tokens.db")]
    assert folding, "the log has something to fold"
    for error in (errno.ENOSPC, errno.EIO):
        restoring = Restoring(replaced, folding[0].step, error)
        assert restoring.done.returncode == 1 and restoring.done.stderr.strip(), restoring.done
        assert not list((restoring.disk / "state").glob("*.replaced*"))
        assert restoring.rows() == {key: fingerprints[0] for key, fingerprints in run.book.rows.items()}


def test_a_damaged_database_is_not_found_without_its_log(replaced):
    """Its log cannot be folded and is moved away first. Ended between the two, nothing is there that a start would serve, or
    that another restore would take for all that there was."""
    run, copy = replaced
    damaged = Daemon(state=public_folder("scaemtest-damaged-") / "state")
    shutil.copytree(run.daemon.state, damaged.state)
    for name in ("tokens.db", "tokens.db-wal"):
        with open(damaged.state / name, "r+b") as file:
            file.write(bytes(1024))
    whole = Restoring((argparse.Namespace(daemon=damaged), copy), options=["--accept-missing"])
    assert whole.done.returncode == 0, whole.done
    renames = [call for call in read_trace(whole.trace) if call.kind == "rename"]
    away = next(n for n, call in enumerate(renames) if call.path.endswith("-wal") or call.other.endswith("-wal"))
    assert renames[away + 1 :], "the step itself comes after it"
    for call in renames[away + 1 :]:
        restoring = Restoring((argparse.Namespace(daemon=damaged), copy), call.step, options=["--accept-missing"])
        assert restoring.done.returncode < 0, "it was killed"
        assert (restoring.disk / "state/tokens.db").stat().st_size == 0
        kept = restoring.disk / "state/tokens.db.replaced-wal"
        assert kept.read_bytes() == (damaged.state / "tokens.db-wal").read_bytes()
        done = run_tool("scaem-tokend", *restoring.command)
        assert done.returncode == 1 and "--since-from" in done.stderr, done
        done = run_tool("scaem-tokend", *restoring.command, "--accept-missing")
        assert done.returncode == 0, done
        assert kept.exists(), "what was there is still kept"


def test_a_second_restore_keeps_what_the_first_one_kept(daemon, tmp_path):
    """Who took the wrong backup first has not lost the database that was there before."""
    with daemon.connect() as root:
        for name in ("a", "b"):
            root.call("register", application=name, project_code="p")
            assert daemon.tool("backup", tmp_path / name).returncode == 0
        root.call("register", application="last", project_code="p")
    daemon.stop()
    for backup, kept in (("a", "tokens.db.replaced"), ("b", "tokens.db.replaced.2")):
        done = daemon.tool("restore", tmp_path / backup)
        assert done.returncode == 0 and done.stdout.rstrip().endswith(kept), done
    with contextlib.closing(sqlite3.connect(daemon.state / "tokens.db.replaced")) as database:
        names = [name for (name,) in database.execute("SELECT name FROM application ORDER BY name")]
    assert names == ["a", "b", "last"]
    daemon.start()
