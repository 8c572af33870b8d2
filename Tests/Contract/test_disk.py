"""A disk that is slow, full, read-only or broken: nothing is answered before it is durable, and a refusal changes
nothing."""

import contextlib
import os
import pathlib
import re
import sqlite3
import subprocess
import threading
import time

import pytest

import shapes
from credentials import ServiceManager
from daemon import eventually, public_folder
from faults import CLOCK_SHIM, DISK_SHIM, Clock, Panel
from script import exit_code_of_start
from wire import assert_error, check_error, parse, request

ENOSPC, EROFS, EIO = 28, 30, 5


def view(connection):
    """Everything that a caller can see, but for times of use."""
    rows = connection.call("list", limit=1000)["tokens"]
    for row in rows:
        del row["last_used_at"]
    status = connection.call("status")
    return rows, status["applications"], status["tokens"]


# A slow disk.


def test_an_answer_waits_for_the_disk_and_shows_nothing_before(make_daemon):
    """Each sync is held for a while. No answer to a mutation comes sooner, and until it comes nobody sees the change;
    reads do not wait."""
    folder = public_folder()
    panel = Panel(DISK_SHIM, watched=folder / "state")
    daemon = make_daemon(state=folder / "state", environment=panel.environment).start()
    with daemon.connect() as root, daemon.connect() as other:
        token = root.call("register", application="a", project_code="p")["registration_token"]
        for method, params, ends in [
            ("rotate", {"application": "a", "project_code": "p", "grace_seconds": 60}, False),
            ("register", {"application": "b", "project_code": "p"}, False),
            ("generate", {"application": "b", "project_code": "q"}, False),
            ("revoke", {"token": token}, True),
            ("revoke", {"application": "b", "project_code": "q"}, False),
            ("unregister", {"application": "b"}, False),
        ]:
            alive, seen = other.active(token), view(other)
            with panel.held("sync"):
                root.send(request(method, params, method) + b"\n")
                panel.await_waiting("sync")
                for _ in range(20):
                    same = other.active(token) == alive and view(other) == seen
                    assert same, f"{method} is seen before it is durable"
                assert not root.has_more(), f"{method} was answered before its sync ended"
            line = root.read_line()
            assert b'"result"' in line, line
            assert other.active(token) == (alive and not ends)
            assert view(other) != seen


class Upkeep:
    """What the writer does by itself and commits: how it is brought about, and what of it a reader of the file sees."""

    def __init__(self, daemon, panel, clock):
        self.daemon, self.panel, self.clock = daemon, panel, clock
        self.root = daemon.connect()
        self.here = {"application": "a", "project_code": "p"}
        self.token = self.root.call("register", **self.here)["registration_token"]

    def rows(self, table):
        with contextlib.closing(sqlite3.connect(f"file:{self.daemon.state}/tokens.db?mode=ro", uri=True)) as database:
            return database.execute(f"SELECT count(*) FROM {table}").fetchone()[0]

    def register(self, count):
        names = [os.urandom(16).hex() for _ in range(count)]
        lines = [request("register", {**self.here, "application": name}, name) for name in names]
        self.root.pump(b"\n".join(lines) + b"\n", count)

    def rest(self):
        """Until the disk is left alone for longer than an idle moment, in which a log that has grown is checkpointed."""
        steps, seen = None, self.panel.get("steps")
        while steps != seen:
            time.sleep(0.5)
            steps, seen = seen, self.panel.get("steps")

    def rotate(self):
        self.token = self.root.call("rotate", **self.here)["registration_token"]

    @contextlib.contextmanager
    def last_used(self):
        assert self.root.active(self.token)
        with self.panel.held("sync"):
            self.clock.advance(60_000)
            self.panel.await_waiting("sync")
            yield lambda: self.rows("token WHERE last_used_at IS NOT NULL")

    @contextlib.contextmanager
    def presented(self):
        def present():
            old = self.token
            self.rotate()
            assert not self.root.active(old)

        # The first time writes the journal's position, too.
        present()
        self.clock.advance(60_000)
        eventually(lambda: self.rows("ended_presented") == 1, 30, "the upkeep")
        present()
        with self.panel.held("sync"):
            self.clock.advance(60_000)
            self.panel.await_waiting("sync")
            yield lambda: self.rows("ended_presented")

    @contextlib.contextmanager
    def cut(self):
        """Behind the batch that makes one row too many, which is committed and answered."""
        self.register(AUDIT_ROWS - 1)
        assert self.rows("audit") == AUDIT_ROWS
        self.rest()
        # The log starts over: its header and the commit.
        self.panel.set(sync_passes=2)
        with self.panel.held("sync"):
            self.rotate()
            self.panel.await_waiting("sync")
            yield lambda: self.rows("audit_mark")


# The least that audit.rows_max may be.
AUDIT_ROWS = 10_000
# WatchdogRule.slowDiskMilliseconds.
SLOW_DISK_MILLISECONDS = 300_000


@pytest.mark.parametrize("what", ["last_used", "presented", "cut"])
def test_a_disk_that_is_slow_in_the_upkeep_is_no_stuck_writer(make_daemon, tmp_path, what):
    """The watchdog is fed, up to the bound; introspection goes on, and the status says what is waited for."""
    folder = public_folder()
    panel, manager = Panel(CLOCK_SHIM, DISK_SHIM, watched=folder / "state"), ServiceManager(tmp_path)
    clock = Clock(panel)
    # Looked at every 100 ms.
    environment = {**panel.environment, **manager.environment, "WATCHDOG_USEC": "400000"}
    daemon = make_daemon(state=folder / "state", environment=environment, config=f"[audit]\nrows_max = {AUDIT_ROWS}\n")
    daemon.allow_logged_errors().start()

    def is_fed():
        """Four looks more: the writer has been asked, and has not answered, in at least three."""
        manager.wait_for("WATCHDOG=1", manager.states.count("WATCHDOG=1") + 4)

    upkeep = Upkeep(daemon, panel, clock)
    with upkeep.root, daemon.connect() as other, getattr(upkeep, what)() as seen:
        before = seen()
        is_fed()
        clock.advance(SLOW_DISK_MILLISECONDS - 1_000)
        is_fed()
        assert other.active(upkeep.token)
        says = f"STATUS=Changes wait for the disk since {SLOW_DISK_MILLISECONDS // 1_000 - 1} s, introspection goes on."
        manager.wait(lambda: any(state.startswith(says) for state in manager.states), "what is waited for")
        assert seen() == before and "does not answer" not in daemon.output()
        clock.advance(1_000)
        eventually(lambda: "does not answer" in daemon.output(), 30, "the end of patience")
        assert other.active(upkeep.token)
    is_fed()
    eventually(lambda: before is None or seen() > before, 30, "what was waited for")
    daemon.stop()
    manager.close()


def test_a_disk_that_is_slow_to_read_is_no_stuck_writer(make_daemon, tmp_path):
    """A change needs a page that is not in memory."""
    folder = public_folder()
    panel, manager = Panel(DISK_SHIM, watched=folder / "state"), ServiceManager(tmp_path)
    environment = {**panel.environment, **manager.environment, "WATCHDOG_USEC": "400000"}
    daemon = make_daemon(state=folder / "state", environment=environment).start()
    with daemon.connect() as root:
        token = root.call("register", project_code="p")["registration_token"]
    daemon.stop()
    daemon.start()
    with daemon.connect() as root, daemon.connect() as other:
        with panel.held("read"):
            root.send(request("rotate", {"project_code": "p"}, 1) + b"\n")
            panel.await_waiting("read")
            # As many looks as a watchdog's time has, twice.
            manager.wait_for("WATCHDOG=1", manager.states.count("WATCHDOG=1") + 8)
            assert other.active(token) and not root.has_more()
        assert "registration_token" in parse(root.read_line())["result"]
    assert "does not answer" not in daemon.output()
    daemon.stop()
    manager.close()


PAIRS = [{"application": f"a{n}", "project_code": "p"} for n in range(1_000)]


def all_of(root, method, pairs):
    """So many changes, one after the other without a pause; each must succeed."""
    lines = [request(method, pair, n) for n, pair in enumerate(pairs)]
    for start in range(0, len(lines), 1_000):
        some = lines[start : start + 1_000]
        answers = root.pump(b"\n".join(some) + b"\n", len(some))
        assert all(b'"result"' in answer for answer in answers), [a for a in answers if b'"error"' in a][:3]


def rotate_often(root, count):
    """In an order in which neighbours are in other pages."""
    all_of(root, "rotate", [PAIRS[n * 389 % len(PAIRS)] for n in range(count)])


def test_a_checkpoint_that_hangs_holds_up_no_change(make_daemon):
    """Not even one of an idle moment: it may be over at once."""
    folder = public_folder()
    panel = Panel(DISK_SHIM, watched=folder / "state")
    daemon = make_daemon(state=folder / "state", environment=panel.environment).start()
    with daemon.connect() as root:
        all_of(root, "register", PAIRS)
        before = (daemon.state / "tokens.db").stat().st_mtime_ns
        with panel.held("database"):
            # More than a mebibyte of log.
            rotate_often(root, 3_000)
            panel.await_waiting("database")
            token = root.call("rotate", **PAIRS[0])["registration_token"]
            assert root.active(token) and root.call("status")["ready"]
        eventually(lambda: panel.get("database_waiting") == 0, 30, "the end of the checkpoint")
        assert (daemon.state / "tokens.db").stat().st_mtime_ns > before
    daemon.crash()
    with daemon.connect() as root:
        assert root.active(token)
    daemon.stop()


# A disk that refuses.


@contextlib.contextmanager
def small_disk(mebibytes):
    folder = public_folder("scaemtest-disk-")
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m,mode=0755", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def fill_up(folder):
    """Takes all the room there is."""
    filler = folder / "filler"
    for size in (65_536, 512):
        with open(filler, "ab") as file, contextlib.suppress(OSError):
            while True:
                os.write(file.fileno(), b"\0" * size)
    return filler


MUTATIONS = [
    ("register", {"application": "new", "project_code": "p"}),
    ("generate", {"application": "a", "project_code": "q"}),
    ("rotate", {"application": "a", "project_code": "p", "grace_seconds": 60}),
    ("revoke", {"application": "a", "project_code": "p"}),
    ("unregister", {"application": "a"}),
]


def assert_storage_unavailable(connection, token):
    before = view(connection)
    for method, params in [*MUTATIONS, ("revoke", {"token": token})]:
        error = connection.refusal(method, params)
        assert error["code"] == -32007, (method, error)
    batch = b"[" + b",".join(request(m, p, n) for n, (m, p) in enumerate(MUTATIONS)) + b"]"
    assert [answer["error"]["code"] for answer in connection.answer(batch)] == [-32007] * len(MUTATIONS)
    assert view(connection) == before
    assert connection.active(token)


def serves_again(connection):
    """The first mutation that succeeds; until then nothing but -32007 may come."""

    def attempt():
        answer = connection.ask("register", {"application": f"again-{os.urandom(4).hex()}", "project_code": "p"})
        if "error" in answer:
            check_error(answer["error"])
            assert answer["error"]["code"] == -32007, answer
        return "result" in answer

    eventually(attempt, 20, "serving after the disk's recovery")


def test_a_full_disk(make_daemon):
    with small_disk(8) as disk:
        daemon = make_daemon(state=disk / "state").allow_logged_errors().start()
        with daemon.connect() as root:
            token = root.call("register", application="a", project_code="p")["registration_token"]
            root.call("register", application="b", project_code="p")
            filler = fill_up(disk)
            # Room within files that are there already may take a few, of the smaller changes a few more; then it is over.
            for method, name in (("register", "fill-{}"), ("rotate", "b")):
                for number in range(20_000):
                    last = name.format(number)
                    refused = root.ask(method, {"application": last, "project_code": "p"})
                    if "error" in refused:
                        break
                assert_error(refused, -32007, refused["id"], "storage_unavailable")
                assert method == "rotate" or root.call("list", application=last) == {"tokens": []}
            assert_storage_unavailable(root, token)
            filler.unlink()
            # Nobody sends a change to find out.
            eventually(lambda: root.call("status")["ready"], 20, "being ready again")
            root.call("register", application="at-once", project_code="p")
            seen = view(root)
            assert root.active(token)
        daemon.crash()
        with daemon.connect() as root:
            assert view(root) == seen and root.active(token)
        assert daemon.tool("check").returncode == 0
        daemon.stop()


def test_the_log_does_not_fill_a_small_disk(make_daemon):
    """It may be 128 MiB long where there is room, and an eighth of what is free where there is not."""
    with small_disk(24) as disk:
        daemon = make_daemon(state=disk / "state").start()
        with daemon.connect() as root:
            all_of(root, "register", PAIRS)
            # Some 16 MiB of log, without an idle moment.
            rotate_often(root, 20_000)
            assert (daemon.state / "tokens.db-wal").stat().st_size < 8 << 20
        daemon.stop()


@pytest.mark.parametrize("is_first", [True, False])
def test_a_start_on_a_full_disk_says_so_and_the_next_one_serves(make_daemon, is_first):
    with small_disk(8) as disk:
        daemon = make_daemon(state=disk / "state").allow_logged_errors()
        if is_first:
            daemon.state.mkdir(mode=0o700)
        else:
            daemon.start()
            with daemon.connect() as root:
                root.call("register", application="a", project_code="p")
            daemon.kill9()
            (daemon.state / "tokens.db-shm").unlink()
        filler = fill_up(disk)
        assert exit_code_of_start(daemon) == 1
        assert re.search(r"(critical|error): .*full; free space", daemon.output()), daemon.output()
        filler.unlink()
        daemon.start()
        with daemon.connect() as root:
            assert len(root.call("list")["tokens"]) == (0 if is_first else 1)
        daemon.stop()


def test_a_file_system_that_turned_read_only(make_daemon):
    """As ext4 does it by itself after an error, to files that are open. What was acknowledged is there when it is
    mounted again; on what is read-only still, a start is refused with a sentence."""
    folder = public_folder("scaemtest-ext4-")
    image, disk = folder / "image", folder / "disk"
    with open(image, "wb") as file:
        file.truncate(32 << 20)
    disk.mkdir()
    subprocess.run(["mkfs.ext4", "-q", image], check=True)

    def mount(options):
        subprocess.run(["mount", "-o", f"loop,{options}", image, disk], check=True)

    mount("errors=remount-ro")
    try:
        daemon = make_daemon(state=disk / "state").allow_logged_errors().start()
        with daemon.connect() as root:
            token = root.call("register", application="a", project_code="p")["registration_token"]
            device = subprocess.run(["findmnt", "-no", "SOURCE", disk], check=True, capture_output=True, text=True)
            trigger = pathlib.Path("/sys/fs/ext4", os.path.basename(device.stdout.strip()), "trigger_fs_error")
            trigger.write_text("a test of scaem-tokend")
            # A commit that the disk took and could not sync has no answer.
            with daemon.connect() as asking:
                asking.send(request("rotate", {"application": "a", "project_code": "p"}, 1) + b"\n")
                line = asking.read_line()
                assert line is None or b"-32007" in line, line
            error = root.refusal("register", {"application": "b", "project_code": "p"})
            assert error["code"] == -32007 and len(error["message"].split()) > 4, error
            assert root.active(token) and not root.call("status")["ready"]
        daemon.stop()
        subprocess.run(["umount", disk], check=True)
        # 0 and 1: it is good, or was made so.
        assert subprocess.run(["e2fsck", "-fy", image], capture_output=True).returncode in (0, 1)
        mount("ro")
        daemon.launch()
        assert daemon.wait() > 0 and "writable" in daemon.output(), daemon.output()
        subprocess.run(["umount", disk], check=True)
        mount("rw")
        daemon.start()
        with daemon.connect() as root:
            (row,) = root.call("list")["tokens"]
            assert root.active(token) == (row["fingerprint"] == shapes.fingerprint(token))
            root.call("rotate", application="a", project_code="p")
        assert daemon.tool("check").returncode == 0
        daemon.stop()
    finally:
        subprocess.run(["umount", "--lazy", disk], check=False)


@pytest.mark.parametrize("error", [ENOSPC, EROFS, EIO], ids=["full", "read-only", "broken"])
def test_a_disk_that_refuses_writes(make_daemon, error):
    """As a read-only remount does it to a daemon whose files are open."""
    folder = public_folder()
    panel = Panel(DISK_SHIM, watched=folder / "state")
    daemon = make_daemon(state=folder / "state", environment=panel.environment).allow_logged_errors().start()
    with daemon.connect() as root:
        token = root.call("register", application="a", project_code="p")["registration_token"]
        panel.set(write_errno=error)
        assert_storage_unavailable(root, token)
        assert panel.get("faults_hit") > 0, "no write failed: the shim proves nothing"
        panel.set(write_errno=0)
        eventually(lambda: root.call("status")["ready"], 20, "being ready again")
        root.call("register", application="at-once", project_code="p")
        seen = view(root)
    daemon.crash()
    with daemon.connect() as root:
        assert view(root) == seen and root.active(token)
    assert daemon.tool("check").returncode == 0


def test_a_commit_that_may_have_failed_is_not_answered(make_daemon):
    """The sync fails: nobody knows whether the change will be there, so there is no answer; then what the daemon says
    is what the database says."""
    folder = public_folder()
    panel = Panel(DISK_SHIM, watched=folder / "state")
    daemon = make_daemon(state=folder / "state", environment=panel.environment).allow_logged_errors().start()
    with daemon.connect() as root, daemon.connect() as asking:
        token = root.call("register", application="a", project_code="p")["registration_token"]
        panel.set(sync_errno=EIO)
        asking.send(request("rotate", {"application": "a", "project_code": "p"}, 1) + b"\n")
        line = asking.read_line()
        assert panel.get("faults_hit") > 0, "no sync failed: the shim proves nothing"
        assert line is None, f"an answer nobody can stand by: {line!r}"
        answer = root.ask("introspect", {"token": token})
        assert "result" in answer
        panel.set(sync_errno=0)
        serves_again(root)
        (row,) = root.call("list", application="a")["tokens"]
        assert root.active(token) == (row["fingerprint"] == shapes.fingerprint(token))
        seen = view(root)
        alive = root.active(token)
    daemon.crash()
    with daemon.connect() as root:
        assert view(root) == seen and root.active(token) == alive
    assert daemon.tool("check").returncode == 0
