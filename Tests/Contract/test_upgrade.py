"""Databases of older versions are taken over whole; one of a newer version is refused, untouched."""

import contextlib
import json
import re
import shutil
import sqlite3

import pytest

from daemon import ROOT
from faults import CLOCK_SHIM, Clock, Panel

# One for each schema but the newest, as the version that had it left it, with what its daemon answered (.json).
FIXTURES = ROOT / "Tests" / "Contract" / "fixtures"
SCHEMAS = re.findall(r'registerMigration\("(\d+)"\)', (ROOT / "Sources/TokenStore/Schema.swift").read_text())


def kept(schema):
    return FIXTURES / f"schema-{schema}.db", json.loads((FIXTURES / f"schema-{schema}.json").read_text())


def dump(path):
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return list(connection.iterdump())


def private_copy(path, target):
    """What is kept here is never opened in its place, where SQLite would leave files beside it."""
    shutil.copyfile(path, target)
    target.chmod(0o600)
    return target


def serve(make_daemon, answers):
    panel = Panel(CLOCK_SHIM)
    return make_daemon(environment=panel.environment), Clock(panel, wall=answers["wall"])


def assert_all_is_there(daemon, answers):
    with daemon.connect() as root:
        assert root.call("list")["tokens"] == answers["rows"]
        for token, is_active in answers["tokens"].items():
            assert root.active(token) == is_active
        root.call("rotate", application="alice/web", project_code="p", grace_seconds=60)
        root.call("register", application="bob/new", project_code="p")
        assert root.refusal("register", application="bob", project_code="p")["data"]["next"] == "generate"
    for command in (["check"], ["audit", "verify"]):
        done = daemon.tool(*command)
        assert done.returncode == 0, done


def test_each_older_schema_has_a_kept_database():
    assert len(SCHEMAS) >= 2
    for schema in SCHEMAS[:-1]:
        path, answers = kept(schema)
        assert path.is_file() and answers["rows"], schema
        with contextlib.closing(sqlite3.connect(f"file:{path}?immutable=1", uri=True)) as connection:
            applied = [row[0] for row in connection.execute("SELECT identifier FROM grdb_migrations ORDER BY 1")]
        assert applied == SCHEMAS[: SCHEMAS.index(schema) + 1]


@pytest.mark.parametrize("schema", SCHEMAS[:-1])
def test_an_older_database_is_taken_over(make_daemon, schema):
    path, answers = kept(schema)
    daemon, _ = serve(make_daemon, answers)
    daemon.state.mkdir(mode=0o700)
    private_copy(path, daemon.state / "tokens.db")
    daemon.start()
    assert_all_is_there(daemon, answers)
    daemon.restart()
    assert daemon.tool("check").returncode == 0


@pytest.mark.parametrize("schema", SCHEMAS[:-1])
def test_a_backup_of_an_older_version_is_restored(make_daemon, schema):
    path, answers = kept(schema)
    daemon, _ = serve(make_daemon, answers)
    daemon.state.mkdir(mode=0o700)
    done = daemon.tool("restore", private_copy(path, daemon.folder / "copy"), "--accept-missing")
    assert done.returncode == 0, done
    daemon.start()
    assert_all_is_there(daemon, answers)


def test_a_newer_database_is_refused_and_left_alone(make_daemon):
    daemon = make_daemon().allow_logged_errors().start()
    with daemon.connect() as root:
        root.call("register", application="a", project_code="p")
    daemon.stop()
    with contextlib.closing(sqlite3.connect(daemon.state / "tokens.db")) as connection:
        connection.execute("INSERT INTO grdb_migrations VALUES ('99')")
        connection.commit()
    before = dump(daemon.state / "tokens.db")
    daemon.launch()
    assert daemon.wait() == 78
    assert "newer scaem-tokend; install that version again" in daemon.output()
    assert dump(daemon.state / "tokens.db") == before
    copy = shutil.copy(daemon.state / "tokens.db", daemon.folder / "copy")
    fresh = make_daemon()
    fresh.state.mkdir(mode=0o700)
    done = fresh.tool("restore", copy, "--accept-missing")
    assert done.returncode not in (0, 64, 70) and "newer" in done.stderr, done
    assert not (fresh.state / "tokens.db").exists() or (fresh.state / "tokens.db").stat().st_size == 0
