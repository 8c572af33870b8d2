#!/usr/bin/python3
"""docs/operations.md from its first command to its last, as an administrator follows it."""

import os
import pathlib
import shutil

from checks import eventually, main, prop, run
from page import blocks, sentences
from tokend import CONFIGURATION, DATABASE, SERVICE, call, state

# In a folder of the service's user.
WEB_TOKEN = pathlib.Path("/run/web/token")
done = set()

# What the page takes for granted: a service's user, an editor that needs no terminal.
run("useradd", "--system", "web")
WEB_TOKEN.parent.mkdir()
shutil.chown(WEB_TOKEN.parent, "web")
pathlib.Path("/test/editor").write_text('#!/bin/sh\nprintf "[Service]\\nLimitNOFILE=70000\\n" >"$1"\n')
os.chmod("/test/editor", 0o755)
ENVIRONMENT = {**os.environ, "HOME": "/root", "SYSTEMD_EDITOR": "/test/editor"}


def shell(text):
    return run("/bin/bash", "-euo", "pipefail", "-c", text, cwd="/root", env=ENVIRONMENT, timeout=120)


def follow(heading, *, count, only=None):
    """Runs a section's blocks, or one of them, and returns what they print."""
    found = blocks(heading)
    assert len(found) == count, (heading, found)
    printed = ""
    for block in found if only is None else [found[only]]:
        printed += shell(block)
        done.add(block)
    return printed


def obtain():
    """What a service does after its token has ended."""
    run("runuser", "-u", "web", "--", "scaem-token", "obtain", "P1", "--output", WEB_TOKEN)
    return WEB_TOKEN.read_text()


def is_active(token):
    return call("introspect", token=token)["active"]


def held():
    return {(row["application"], row["project_code"], row["fingerprint"]) for row in call("list")["tokens"]}


def the_journal_has_all():
    eventually(lambda: call("status")["audit"].get("journal_lag") == 0, 30, "the journal")


def the_state_is_the_daemon_s_alone():
    assert {path.owner() for path in DATABASE.parent.iterdir()} == {"scaem-tokend"}


def check_install():
    said = follow("Install", count=4)
    assert '"principal":"web"' in said and '"administrator":false' in said, said
    assert state() == "active"
    for unit in ("scaem-tokend.socket", "scaem-tokend-credential.socket", "scaem-tokend-audit-verify.timer"):
        assert prop(unit, "ActiveState") == "active" and prop(unit, "UnitFileState") == "enabled", unit
    assert "Subject: scaem-tokend serves" in run("journalctl", "--dump-catalog", "bbaf4a000b1c4a209e58f166ffaea281")


def check_configure():
    pid = prop(SERVICE, "MainPID")
    assert "OK" in follow("Configure", count=1)
    assert CONFIGURATION.exists() and prop(SERVICE, "MainPID") == pid


def check_watch_its_health():
    said = follow("Watch its health", count=1)
    assert "active (running)" in said and "tokens" in said, said


def check_one_token():
    found = obtain()
    pathlib.Path("/root/found.txt").write_text(found)
    the_journal_has_all()
    said = follow("One token", count=2, only=0)
    # The journal says whose it is.
    assert "web registered web for project P1" in said and '"revoked":1' in said, said
    assert not is_active(found)
    follow("One token", count=2, only=1)
    assert WEB_TOKEN.read_text() != found and is_active(WEB_TOKEN.read_text())


def check_every_token():
    call("register", application="other", project_code="P2")
    call("rotate", application="other", project_code="P2", grace_seconds=3600)
    token = WEB_TOKEN.read_text()
    assert len(held()) == 2
    assert follow("Every token", count=2, only=0).rstrip().endswith("true")
    assert held() == set() and not is_active(token)
    assert is_active(obtain())
    # Alarms are written behind, a minute or two after the first time: the audit's own tests wait for them.
    follow("Every token", count=2, only=1)


def check_back_up():
    follow("Back up", count=1)
    copy = pathlib.Path("/var/backups/scaem-tokend")
    assert sorted(path.name for path in copy.iterdir()) == ["audit.jsonl", "scaem-tokend", "tokens.db"]
    assert (copy / "tokens.db").stat().st_mode & 0o777 == 0o600
    run("scaem-tokend", "audit", "verify", copy / "audit.jsonl")


def check_restore():
    token = WEB_TOKEN.read_text()
    kept = call("register", application="kept", project_code="P1")["registration_token"]
    follow("Back up", count=1)
    call("revoke", token=token)
    assert "1 of the backup were ended since" in follow("Restore", count=2, only=0)
    assert not is_active(token), "a token that was revoked since is back"
    assert is_active(kept)
    the_state_is_the_daemon_s_alone()


def check_restore_of_a_database_that_is_lost():
    gone = call("register", application="gone", project_code="P1")["registration_token"]
    follow("Back up", count=1)
    call("revoke", token=gone)
    the_journal_has_all()
    run("systemctl", "stop", "scaem-tokend.socket", "scaem-tokend-credential.socket", SERVICE)
    for path in DATABASE.parent.glob("tokens.db*"):
        path.write_bytes(b"this is not a database at all, " * 300)
    assert run("systemctl", "start", SERVICE, check=False).returncode != 0
    follow("Restore", count=2, only=1)
    assert not is_active(gone), "a token that was revoked since is back"
    the_state_is_the_daemon_s_alone()


def check_move_to_another_host():
    token = obtain()
    before = held()
    first, second, third = blocks("Move to another host")
    shell(first)
    assert prop("scaem-tokend.socket", "UnitFileState") == "disabled" and state() == "inactive"
    # Now this is the new host: installed, and nobody has used it.
    shutil.rmtree("/var/lib/scaem-tokend")
    CONFIGURATION.unlink()
    for path in ("/root/move.db", "/root/move.jsonl"):
        os.unlink(path)
    run("systemctl", "enable", "--now", "scaem-tokend.socket", "scaem-tokend-credential.socket")
    assert call("list")["tokens"] == []
    shell(second)
    assert held() == before and is_active(token) and CONFIGURATION.exists()
    assert prop("scaem-tokend.socket", "UnitFileState") == "enabled"
    the_state_is_the_daemon_s_alone()
    # And the old one again.
    run("systemctl", "stop", "scaem-tokend.socket", "scaem-tokend-credential.socket", SERVICE)
    shell(third)
    assert not os.path.exists("/var/lib/scaem-tokend")
    run("systemctl", "start", "scaem-tokend.socket", SERVICE)
    assert held() == set()
    done.update((first, second, third))


def check_what_the_messages_say_to_do():
    follow("scaem-tokend cannot start", count=1)
    follow("The journal that holds the audit of scaem-tokend is in memory only", count=1)


def check_every_block_was_run():
    assert set(blocks()) == done, set(blocks()) ^ done


def check_every_command_within_a_sentence_works():
    call("register", project_code="P1")  # of root's own
    for command in sentences():
        # An editor wants a terminal.
        shell(f"script -qec '{command}' /dev/null" if command.startswith("systemctl edit") else command)


main(globals())
