"""Files of the database that somebody, or a disk, has spoilt: found and named, never believed, and never a crash."""

import os
import re
import shutil

import pytest

from daemon import Daemon, public_folder
from power import tables, verify
from script import HERE, SCRIPT, Book, Run, exit_code_of_start, report, spread, tell, through

PAGE = 1_024


@pytest.fixture(scope="module")
def history():
    """A run that was killed: the database as of its last checkpoint, and all that came after in the log."""
    run = Run()
    through(run, [*SCRIPT, *[("rotate", HERE)] * 10])
    assert run.daemon.start()
    for number in range(30):
        assert run.ask("rotate", HERE) == "done"
        assert run.ask("register", {"application": f"app-{number}", "project_code": "p"}) == "done"
    run.daemon.kill9()
    return run


def copy_of(run):
    folder = public_folder("scaemtest-damage-")
    shutil.copytree(run.daemon.state, folder / "state")
    return Daemon(folder=folder, state=folder / "state").allow_logged_errors()


def how_many(total, wanted, random):
    return range(total) if os.environ.get("SCAEM_FAULT_POINTS") == "all" else spread(range(total), wanted, random)


def assert_whole_beginning(daemon, moments):
    """Looked at in a copy: opening a database folds its log into it."""
    copy = public_folder("scaemtest-damage-") / "state"
    shutil.copytree(daemon.state, copy)
    verify(moments, 0, copy)


def assert_good(daemon, moments):
    """What is there is a whole beginning of the history; a daemon serves it and takes a change."""
    assert_whole_beginning(daemon, moments)
    daemon.start()
    with daemon.connect() as root:
        root.call("register", application="new", project_code="p")
        root.call("unregister", application="new")
    daemon.kill9()
    for command in (["check"], ["audit", "verify"]):
        done = daemon.tool(*command)
        assert done.returncode == 0, done


# The log.


def test_a_log_that_was_cut_gives_a_whole_beginning(history, seeded):
    size = (history.daemon.state / "tokens.db-wal").stat().st_size
    assert size > 40 * PAGE
    lengths = {0, 1, 31, 32, 33, size - 1} | {seeded.randrange(size) for _ in how_many(60, 12, seeded)}
    for length in sorted(lengths):
        daemon = copy_of(history)
        os.truncate(daemon.state / "tokens.db-wal", length)
        if length % 3 == 0:
            assert_good(daemon, history.moments)
        else:
            assert_whole_beginning(daemon, history.moments)
    report(f"a log cut at {len(lengths)} lengths")


def test_a_log_with_wrong_bytes_gives_a_whole_beginning(history, seeded):
    size = (history.daemon.state / "tokens.db-wal").stat().st_size
    for number in how_many(60, 9, seeded):
        daemon = copy_of(history)
        with open(daemon.state / "tokens.db-wal", "r+b") as file:
            file.seek(seeded.randrange(size - 64))
            file.write(os.urandom(64))
        if number % 3 == 0:
            assert_good(daemon, history.moments)
        else:
            assert_whole_beginning(daemon, history.moments)


def test_a_log_that_was_deleted_takes_with_it_what_was_in_it_alone(history):
    """What was folded into the database is whole; the journal knows of the rest (`audit verify` holds it against it)."""
    daemon = copy_of(history)
    (daemon.state / "tokens.db-wal").unlink()
    last, rows = tables(daemon.state / "tokens.db")
    known = {number: held for _, number, held in history.moments}
    assert 0 < last < max(known) and rows == known[last]
    assert_good(daemon, history.moments)


# The database.


def serves_or_says_why(daemon):
    """Whether it serves what is left. If not, it has said what to do, with the exit status of a start that cannot be."""
    code = exit_code_of_start(daemon)
    if code is None:
        return True
    assert code == 78, daemon.output()
    assert re.search(r"(critical|error): .*(damaged|database)", daemon.output()), daemon.output()
    return False


def test_pages_that_were_overwritten_are_found(history, seeded):
    """Each page in turn: a daemon does not start on it and says what to do, or it serves; changes are then refused with
    -32007 where they meet the page. `check` finds it in any case, and nothing crashes."""
    whole = copy_of(history)
    whole.start().stop()
    pages = (whole.state / "tokens.db").stat().st_size // PAGE
    refused = 0
    for page in how_many(pages, 12, seeded):
        daemon = copy_of(history)
        shutil.rmtree(daemon.state)
        shutil.copytree(whole.state, daemon.state)
        with open(daemon.state / "tokens.db", "r+b") as file:
            file.seek(page * PAGE)
            file.write(os.urandom(PAGE))
        done = daemon.tool("check")
        assert done.returncode in (1, 78, 74) and done.stderr.strip(), (page, done)
        if not serves_or_says_why(daemon):
            refused += 1
            continue
        for method, params in [("rotate", HERE), ("register", {"application": "new", "project_code": "p"})]:
            with daemon.connect() as connection:
                outcome = tell(connection, Book(), method, params)
            assert outcome in ("done", "refused", "unknown"), page
        with daemon.connect() as connection:
            connection.call("ping")
        daemon.kill9()
        daemon.examine()
    report(f"each of {pages} pages overwritten, or a sample: {refused} starts refused")


@pytest.mark.parametrize("with_log", [False, True])
def test_a_database_without_content_is_not_taken_for_a_new_one(history, with_log):
    daemon = copy_of(history)
    os.truncate(daemon.state / "tokens.db", 0)
    if not with_log:
        (daemon.state / "tokens.db-wal").unlink()
    log = daemon.state / "tokens.db-wal"
    before = log.read_bytes() if with_log else b""
    assert exit_code_of_start(daemon) == 78
    assert re.search(r"tokens\.db is empty, .*; restore a backup, or, .*, remove it\.", daemon.output()), daemon.output()
    assert (daemon.state / "tokens.db").stat().st_size == 0
    assert not with_log or log.read_bytes() == before


def test_a_log_without_its_database_is_not_taken_for_a_new_one(history):
    daemon = copy_of(history)
    (daemon.state / "tokens.db").unlink()
    log = daemon.state / "tokens.db-wal"
    before = log.read_bytes()
    assert exit_code_of_start(daemon) == 78
    assert re.search(r"tokens\.db is missing, .*; restore a backup", daemon.output()), daemon.output()
    assert log.read_bytes() == before and not (daemon.state / "tokens.db").exists()


def test_a_backup_takes_the_place_of_a_database_without_content(history):
    daemon = copy_of(history)
    backup = daemon.folder / "backup.db"
    assert daemon.tool("backup", str(backup)).returncode == 0
    for lost in (lambda database: os.truncate(database, 0), lambda database: database.unlink()):
        lost(daemon.state / "tokens.db")
        done = daemon.tool("restore", str(backup), "--accept-missing")
        assert done.returncode == 0, done
        daemon.start()
        with daemon.connect() as root:
            assert len(root.call("list", application="app-0")["tokens"]) == 1
        daemon.stop()
        assert daemon.tool("check").returncode == 0


def test_a_first_start_that_was_ended_leaves_nothing_that_hinders(make_daemon):
    """What it had made so far has another name, and no token was ever in it."""
    folder = public_folder("scaemtest-damage-")
    (folder / "state").mkdir(mode=0o700)
    for suffix in ["", "-wal", "-shm", "-journal"]:
        (folder / "state" / f"tokens.db.new{suffix}").write_bytes(b"the beginning of something")
    daemon = make_daemon(folder=folder, state=folder / "state").start()
    assert sorted(file.name for file in daemon.state.iterdir()) == ["lock", "tokens.db", "tokens.db-shm", "tokens.db-wal"]
    with daemon.connect() as root:
        root.call("register", application="a", project_code="p")


def test_pages_overwritten_while_it_serves(history):
    """The last of a table's pages, where each change goes: the daemon's own memory of them is small."""
    daemon = copy_of(history)
    daemon.start()
    with open(daemon.state / "tokens.db", "r+b") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(PAGE)
        file.write(os.urandom(size - PAGE))
    with daemon.connect() as connection:
        for number in range(50):
            answer = connection.ask("register", {"application": f"new-{number}", "project_code": "p"})
            assert "result" in answer or answer["error"]["code"] == -32007, answer
    assert daemon.process.poll() is None
    daemon.kill9()
    assert daemon.tool("check").returncode == 1
