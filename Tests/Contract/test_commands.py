"""The daemon's other commands: check, backup, restore, audit; what was ended stays ended."""

import json
import os
import stat
import threading

import shapes
from wire import request


def here(application, project="p", **more):
    return {"application": application, "project_code": project, **more}


def ok(done):
    assert done.returncode == 0, done
    return done


# check.


def test_check_online_and_off(daemon):
    with daemon.connect() as root:
        for number in range(50):
            root.call("register", here(f"a{number}"))
        ok(daemon.tool("check"))
        root.call("rotate", here("a1"))
    daemon.stop()
    ok(daemon.tool("check"))
    daemon.start()
    daemon.crash()
    ok(daemon.tool("check"))


def test_check_finds_a_record_that_was_changed(daemon):
    """Somebody edits a name in the database's file while the daemon is down."""
    with daemon.connect() as root:
        for number in range(20):
            root.call("register", here(f"needle-in-a-haystack-{number:02d}"))
    daemon.stop()
    ok(daemon.tool("check"))
    found = 0
    for path in daemon.state.rglob("*"):
        data = path.read_bytes()
        found += data.count(b"needle-in-a-haystack-07")
        path.write_bytes(data.replace(b"needle-in-a-haystack-07", b"needle-in-a-haystack-O7"))
    assert found, "the name is not in a file: this test proves nothing"
    done = daemon.tool("check")
    assert done.returncode == 1, done
    assert done.stderr.strip() or done.stdout.strip()


def test_check_finds_pages_that_were_overwritten(daemon):
    with daemon.connect() as root:
        lines = [request("register", here(f"a{n}"), n) for n in range(2_000)]
        root.pump(b"\n".join(lines) + b"\n", len(lines))
    daemon.stop()
    database = max((path for path in daemon.state.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    with open(database, "r+b") as file:
        file.seek(database.stat().st_size // 2 // 4096 * 4096)
        file.write(os.urandom(4096))
    assert daemon.tool("check").returncode == 1


# backup and restore.


def test_a_backup_under_load_is_whole_and_secret(daemon, tmp_path):
    copy, stop, made = tmp_path / "copy", threading.Event(), []

    def change():
        with daemon.connect() as connection:
            number = 0
            while not stop.is_set():
                made.append(connection.call("register", here(f"a{number}"))["registration_token"])
                number += 1

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(3):
            copy.unlink(missing_ok=True)
            before = len(made)
            ok(daemon.tool("backup", copy))
            assert stat.S_IMODE(os.stat(copy).st_mode) & 0o077 == 0
    finally:
        stop.set()
        thread.join()
    data = copy.read_bytes()
    assert not any(token[8:].encode() in data for token in made)
    daemon.stop()
    ok(daemon.tool("restore", copy))
    ok(daemon.tool("check"))
    daemon.start()
    with daemon.connect() as root:
        assert all(root.active(token) for token in made[:before]), "what was there before the backup began is in it"


def test_what_was_ended_since_the_backup_stays_ended(daemon, tmp_path):
    copy = tmp_path / "copy"
    with daemon.connect() as root:
        token = {name: root.call("register", here(name))["registration_token"]
                 for name in ("kept", "revoked", "rotated", "graced", "unregistered", "renewed")}  # fmt: skip
        ok(daemon.tool("backup", copy))
        root.call("revoke", token=token["revoked"])
        root.call("rotate", here("rotated"))
        root.call("rotate", here("graced", grace_seconds=600))
        root.call("unregister", application="unregistered")
        root.call("unregister", application="renewed")
        root.call("register", here("renewed"))
    daemon.stop()
    ok(daemon.tool("restore", copy))
    daemon.start()
    with daemon.connect() as root:
        alive = {name: root.active(secret) for name, secret in token.items()}
        assert alive["kept"]
        assert not any(alive[name] for name in ("revoked", "rotated", "unregistered", "renewed")), alive
        for row in root.call("list")["tokens"]:
            assert shapes.UUID4.fullmatch(row["registration_id"])
        root.call("register", here("new"))
    ok(daemon.tool("check"))


def test_restore_only_while_stopped(daemon, tmp_path):
    copy = tmp_path / "copy"
    with daemon.connect() as root:
        ok(daemon.tool("backup", copy))
        token = root.call("register", here("a"))["registration_token"]
        done = daemon.tool("restore", copy)
        assert done.returncode != 0 and done.stderr.strip(), done
        assert root.active(token)
        root.call("rotate", here("a"))


def test_what_is_no_backup_is_not_restored(daemon, tmp_path):
    with daemon.connect() as root:
        token = root.call("register", here("a"))["registration_token"]
    daemon.stop()
    for name, data in {"empty": b"", "text": b"hello" * 1000, "missing": None}.items():
        path = tmp_path / name
        if data is not None:
            path.write_bytes(data)
        assert daemon.tool("restore", path).returncode not in (0, 64), name
    daemon.start()
    with daemon.connect() as root:
        assert root.active(token), "a restore that failed changed something"


# audit.


def test_the_export_holds_every_change_in_order_and_no_token(daemon):
    with daemon.connect() as root:
        made = [root.call("register", here("a"))]
        made += [root.call("rotate", here("a", grace_seconds=60)) for _ in range(5)]
        root.call("revoke", here("a"))
        root.call("unregister", application="a")
        online = ok(daemon.tool("audit", "export")).stdout
    daemon.stop()
    offline = ok(daemon.tool("audit", "export")).stdout
    assert online == offline
    records = [json.loads(line) for line in offline.splitlines()]
    changes = [record for record in records if record.get("event") in
               ("registered", "generated", "rotated", "revoked", "unregistered")]  # fmt: skip
    assert [record["event"] for record in changes] == ["registered", *["rotated"] * 5, "revoked", "unregistered"]
    sequences = [record["sequence"] for record in changes]
    assert sequences == sorted(set(sequences))
    prints = [shapes.fingerprint(one["registration_token"]) for one in made]
    assert [record["fingerprint"] for record in changes[:6]] == prints
    assert "api_key|" not in offline
    for record in changes:
        assert record["principal"] == "root" and record["uid"] == 0 and shapes.TIME.fullmatch(record["time"])


def test_a_token_that_ended_and_is_presented_is_on_record(daemon):
    """Once a minute a token and caller, with a count, written behind; a token that never was is no record."""
    with daemon.connect() as root:
        old = root.call("register", here("a"))["registration_token"]
        root.call("rotate", here("a"))
        for _ in range(7):
            assert not root.active(old)
            assert not root.active(shapes.well_formed("n" * 58))
    daemon.stop()
    records = [json.loads(line) for line in ok(daemon.tool("audit", "export")).stdout.splitlines()]
    found = [record for record in records if record.get("event") == "ended_token_presented"]
    assert len(found) == 1, records
    assert found[0]["fingerprint"] == shapes.fingerprint(old)
    assert 7 in found[0].values(), f"the count is 7: {found[0]}"
