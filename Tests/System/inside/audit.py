#!/usr/bin/python3
"""The audit in the journal: complete, read back, caught up after a freeze and a kill, and held against the database."""

import json
import os
import re
import signal
import subprocess

from checks import eventually, journal, main, prop, run
from wire import Connection, request

SOCKET = "/run/scaem-tokend/tokend.sock"
TOOL = ["scaem-tokend"]


def call(method, **params):
    with Connection(SOCKET) as connection:
        return connection.call(method, params or None)


def status():
    return call("status")["audit"]


def records(*more):
    return [entry for entry in journal("SYSLOG_IDENTIFIER=scaem-tokend", *more) if "SCAEM_SEQUENCE" in entry]


def sequences():
    return [int(entry["SCAEM_SEQUENCE"]) for entry in records()]


def exported():
    return [json.loads(line) for line in run(*TOOL, "audit", "export").splitlines()]


def caught_up():
    now = status()
    return now["journal"] == "ok" and now["journal_confirmed"] == now["sequence"]


def check_every_change_is_a_record():
    run("systemctl", "start", "scaem-tokend.socket")
    call("register", project_code="P1")
    call("rotate", project_code="P1", grace_seconds=60)
    call("generate", project_code="P2")
    call("revoke", project_code="P2")
    call("unregister")
    eventually(caught_up, 60, "the journal")
    assert sequences() == [1, 2, 3, 4, 5], sequences()
    assert [entry["SCAEM_EVENT"] for entry in records()] == [
        "registered", "rotated", "generated", "revoked", "unregistered"]  # fmt: skip


def check_the_fields_are_the_database_s():
    uid = run("id", "-u", "scaem-tokend").strip()
    for entry, row in zip(records(), exported(), strict=True):
        assert entry["_UID"] == uid and entry["_SYSTEMD_UNIT"] == "scaem-tokend.service"
        assert re.fullmatch("[0-9a-f]{32}", entry["MESSAGE_ID"]) and entry["PRIORITY"] in "56"
        assert entry["SCAEM_CHAIN"] == row["chain"] and entry["SCAEM_EVENT"] == row["event"]
        assert entry["SCAEM_OUTCOME"] == "success" and entry["SCAEM_PRINCIPAL"] == "root" == row["principal"]
        assert entry["SCAEM_PEER_UID"] == "0" == entry["SCAEM_PEER_GID"] and entry["SCAEM_PEER_PID"] == str(row["pid"])
        assert entry["SCAEM_REGISTRATION_ID"] == row["registration_id"]
        assert entry.get("SCAEM_PROJECT_CODE") == row["project_code"]
        assert entry.get("SCAEM_TOKEN_FINGERPRINT") == row["fingerprint"]
        assert entry.get("SCAEM_ENDED_FINGERPRINTS", "").split() == row["ended"]
        assert "api_key|" not in json.dumps(entry) and entry["MESSAGE"].startswith("root ")


def check_verify_holds_the_journal_against_the_database():
    assert "OK" in run(*TOOL, "audit", "verify")


def check_a_frozen_journald_blocks_nothing():
    pid = int(prop("systemd-journald.service", "MainPID"))
    os.kill(pid, signal.SIGSTOP)
    try:
        call("register", project_code="P")
        with Connection(SOCKET) as connection:
            lines = [request("rotate", {"project_code": "P"}, n) for n in range(3000)]
            connection.pump(b"\n".join(lines) + b"\n", len(lines))
        assert status()["sequence"] == 3006
    finally:
        os.kill(pid, signal.SIGCONT)
    eventually(caught_up, 90, "the journal")
    assert sorted(set(sequences())) == list(range(1, 3007))


def check_the_exit_does_not_wait_for_a_frozen_journald():
    pid = int(prop("systemd-journald.service", "MainPID"))
    daemon = int(prop("scaem-tokend.service", "MainPID"))
    os.kill(pid, signal.SIGSTOP)
    try:
        with Connection(SOCKET) as connection:
            lines = [request("rotate", {"project_code": "P"}, n) for n in range(2000)]
            connection.pump(b"\n".join(lines) + b"\n", len(lines))
        os.kill(daemon, signal.SIGTERM)
        eventually(lambda: not os.path.exists(f"/proc/{daemon}"), 20, "the exit")
    finally:
        os.kill(pid, signal.SIGCONT)
    eventually(lambda: status()["sequence"] == 5006, 20, "the next start")
    eventually(caught_up, 90, "the journal")
    assert sorted(set(sequences())) == list(range(1, 5007))


def check_killed_in_the_middle_it_catches_up():
    daemon = int(prop("scaem-tokend.service", "MainPID"))
    with Connection(SOCKET) as connection:
        lines = [request("rotate", {"project_code": "P"}, n) for n in range(2000)]
        connection.pump(b"\n".join(lines) + b"\n", len(lines))
    os.kill(daemon, signal.SIGKILL)
    eventually(lambda: prop("scaem-tokend.service", "MainPID") not in ("0", str(daemon)), 20, "the next start")
    assert status()["sequence"] == 7006
    eventually(caught_up, 90, "the journal")
    assert sorted(set(sequences())) == list(range(1, 7007))


def check_verify_after_all_that():
    assert "OK" in run(*TOOL, "audit", "verify")


main(globals())
