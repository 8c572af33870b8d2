"""The power is lost: what was not synced is gone, or there in part. Every acknowledged change is there, the rest whole
or not at all, and the audit's chain holds. Made from the trace of one run, at any of its calls."""

import errno
import os
import pathlib
import re
import sqlite3
import threading

import pytest

import shapes
from daemon import Daemon, eventually, public_folder
from power import Disk, read_trace, tables, verify
from script import HERE, SCRIPT, Run, numbered_calls, recovered, report, spread, through
from wire import parse, request

# Callers at once, the tokens that each rotates together, and how often: so many wait that syncs are left to their thread, and
# all together make over 1 MiB of the log, which the daemon folds in the next idle moment.
CALLERS, TOKENS, ROTATIONS = 4, 50, 24


def cut_everywhere(run, random, every, wanted, verify=verify):
    """Loses the power after each of every so many calls, and, at `wanted` of them, starts a daemon on what is left."""
    calls = read_trace(run.trace)
    if os.environ.get("SCAEM_FAULT_POINTS") == "all":
        # A test that starts no daemon checks what it knows of by itself.
        every, wanted = 1, 50 if wanted else 0
    cut = set(spread(range(len(calls)), len(calls) // every, random))
    started = set(spread(sorted(cut), wanted, random))
    disk, target, tried = Disk(), public_folder("scaemtest-lost-") / "state", 0
    ways = {"nothing": lambda: False, "all": lambda: True, "some": lambda: random.random() < 0.5}
    for number, call in enumerate(calls):
        disk.follow(call)
        for name, keeps in ways.items() if number in cut else ():
            disk.write(run.daemon.state, target, keeps)
            tried += 1
            try:
                if number in started:
                    serve(run, call.step, target)
                verify(run.moments, call.step, target)
            except (AssertionError, sqlite3.Error) as failure:
                raise AssertionError(
                    f"the power was lost after step {call.step} of {calls[-1].step} ({call.kind} {call.path}); "
                    f"of what was not synced {name} was kept: {failure}") from failure  # fmt: skip
    report(f"power lost in {tried} ways, after {len(cut)} of {len(calls)} calls to the disk; {len(started) * len(ways)} "
           "times a daemon served what was left")  # fmt: skip


def serve(run, step, folder):
    """A daemon serves what is left, whatever it is, and takes a change."""
    daemon = Daemon(folder=folder.parent, state=folder)
    try:
        daemon.start()
        with daemon.connect() as root:
            held = run.acknowledged(step)[2]
            known = {shapes.fingerprint(token): token for token in run.book.secrets.values()}
            rows = {row["fingerprint"] for row in root.call("list", limit=1000)["tokens"]}
            for fingerprint in rows & known.keys():
                assert root.active(known[fingerprint]), "index and table differ"
            if step >= run.moments[-1][0]:
                assert set(held.values()) == rows, "what was acknowledged last is not what is there"
    finally:
        daemon.discard()
    done = daemon.tool("check")
    assert done.returncode == 0, done


@pytest.fixture
def run():
    made = Run()
    yield made
    made.discard()


def test_the_power_is_lost_after_each_call(run, seeded):
    """A history with a stop in it."""
    through(run)
    cut_everywhere(run, seeded, 3, 3)


def times_asleep(daemon, thread):
    """How often one of its threads has waited for something."""
    for task in pathlib.Path(f"/proc/{daemon.process.pid}/task").iterdir():
        if (task / "comm").read_text().strip() == thread:
            return int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", (task / "status").read_text(), re.M)[1])
    raise AssertionError(f"there is no thread {thread}")


def test_the_power_is_lost_while_many_ask(run, seeded):
    """Commits whose syncs a thread does, while the next transaction is written, and a checkpoint in an idle moment. Of each
    caller's tokens the last one that it was told is there, or one that was on its way."""
    assert run.start()
    told = {f"many-{caller}-{number}": [] for caller in range(CALLERS) for number in range(TOKENS)}
    folded = run.daemon.state / "tokens.db"
    before = folded.stat().st_mtime_ns

    def rotate(number):
        names = [name for name in told if name.startswith(f"many-{number}-")]
        with run.daemon.connect() as caller:
            for method in ["register", *["rotate"] * ROTATIONS]:
                caller.send(b"".join(
                    request(method, {"application": name, "project_code": "p"}, name) + b"\n" for name in names))
                for name in names:
                    token = parse(caller.read_line())["result"]["registration_token"]
                    told[name].append((run.panel.get("steps"), shapes.fingerprint(token)))

    callers = [threading.Thread(target=rotate, args=[number]) for number in range(CALLERS)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    eventually(lambda: folded.stat().st_mtime_ns > before, 30, "the checkpoint of an idle moment")
    assert times_asleep(run.daemon, "sync") > ROTATIONS, "no sync was left to its thread"
    with run.daemon.connect() as root:
        root.call("unregister", application="many-0-0")
    run.stop()
    syncs = sum(call.kind == "sync" and call.path.endswith("-wal") for call in read_trace(run.trace))
    assert syncs < len(told) * ROTATIONS / 2, "each had a commit of its own"

    def verify_each(_, step, folder):
        found = tables(folder / "tokens.db") if (folder / "tokens.db").exists() else None
        held = found[1] if found else {}
        for name, tokens in told.items():
            least = sum(at <= step for at, _ in tokens)
            if least == 0 or (name == "many-0-0" and (name, "p") not in held):
                continue
            places = [place for place, (_, token) in enumerate(tokens, 1) if token == held.get((name, "p"))]
            assert places and places[0] >= least, f"{name}: token {least} was told, {places} is there"

    cut_everywhere(run, seeded, 20, 0, verify_each)


@pytest.mark.parametrize("meanwhile", ["serves on", "serves on later", "is killed"])
def test_a_failed_sync_is_not_taken_for_done(run, seeded, meanwhile):
    """After a sync that failed the kernel takes what it could not write for clean: a later sync succeeds and brings it
    nowhere. What is acknowledged after that must not depend on it, whether the daemon serves on or is killed first."""
    through(run, SCRIPT)
    run.daemon.start()
    run.panel.set(sync_errno=errno.EIO)
    assert run.ask("rotate", HERE) == "unknown"
    if meanwhile == "serves on later":
        hits = run.panel.get("faults_hit")
        eventually(lambda: run.panel.get("faults_hit") > hits + 2, 30, "the second try to open the database")
    if meanwhile == "is killed":
        run.daemon.kill9()
    run.panel.set(sync_errno=0)
    if meanwhile == "is killed":
        run.daemon.start()
    recovered(run.daemon)
    run.settle()
    for method, params in [("rotate", HERE), ("register", {"application": "c", "project_code": "p"}), ("rotate", HERE)]:
        assert run.ask(method, params) == "done"
    cut_everywhere(run, seeded, 3, 3)


def test_a_sync_fails_and_later_the_power_is_lost(seeded):
    """Whichever sync it is, at a start, a commit or a checkpoint, and whatever the daemon does after it."""
    steps = numbered_calls()
    syncs = [step for step, synced in steps.items() if synced]
    folders = [step for step in syncs if steps[step] == "state"]
    if os.environ.get("SCAEM_FAULT_POINTS") != "all":
        syncs = [*spread(folders, 1, seeded), *spread(syncs, 2, seeded)]
    for step in syncs:
        run = Run(step, errno.EIO)
        try:
            through(run)
            cut_everywhere(run, seeded, 5, 0)
        except AssertionError as failure:
            raise AssertionError(f"step {step} failed: {failure}") from failure
        finally:
            run.discard()
