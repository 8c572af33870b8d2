#!/usr/bin/python3
"""The audit in the journal: complete, read back, caught up after a freeze and a kill, and held against the database."""

import hashlib
import json
import os
import re
import shutil
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
    # It says nothing of the journal before it has looked at it.
    return now.get("journal") == "ok" and now["journal_confirmed"] == now["sequence"]


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


def check_who_may_not_read_the_journal_is_not_told_that_all_is_well():
    # The daemon's user may read its database; the journal it may read in the service alone, by a group.
    verify = [*TOOL, "audit", "verify", "--state-directory", "/var/lib/scaem-tokend"]
    done = run("/usr/sbin/runuser", "-u", "scaem-tokend", "--", *verify, check=False)
    assert done.returncode == 1 and "OK" not in done.stdout, done
    assert "no entry of the journal can be read, so it proves nothing" in done.stderr, done
    assert "group systemd-journal" in done.stderr, done


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
    eventually(lambda: status()["sequence"] == 5006, 150, "the next start")
    eventually(caught_up, 90, "the journal")
    assert sorted(set(sequences())) == list(range(1, 5007))


def check_killed_in_the_middle_it_catches_up():
    daemon = int(prop("scaem-tokend.service", "MainPID"))
    with Connection(SOCKET) as connection:
        lines = [request("rotate", {"project_code": "P"}, n) for n in range(2000)]
        connection.pump(b"\n".join(lines) + b"\n", len(lines))
    os.kill(daemon, signal.SIGKILL)
    eventually(lambda: prop("scaem-tokend.service", "MainPID") not in ("0", str(daemon)), 150, "the next start")
    assert status()["sequence"] == 7006
    eventually(caught_up, 90, "the journal")
    assert sorted(set(sequences())) == list(range(1, 7007))


def check_verify_after_all_that():
    assert "OK" in run(*TOOL, "audit", "verify")


def check_every_change_is_there_once_in_a_burst():
    before = status()["sequence"]
    with Connection(SOCKET, timeout=120) as connection:
        for _ in range(3):  # each verification that follows reads them all
            lines = [request("rotate", {"project_code": "P"}, n) for n in range(10_000)]
            connection.pump(b"\n".join(lines) + b"\n", len(lines), timeout=120)
    assert status()["sequence"] == before + 30_000
    eventually(caught_up, 200, "the journal")
    assert "OK" in run(*TOOL, "audit", "verify", timeout=120)


# The questions of docs/audit.md.


def messages(*matches):
    return [entry["MESSAGE"] for entry in journal(*matches)]


def check_what_was_refused():
    assert run("scaem-token", "generate", "P", check=False).returncode == 1
    found = eventually(lambda: journal("SCAEM_OUTCOME=refused", "SCAEM_REASON=token_exists"), 20, "the refusal")
    (entry,) = found
    assert entry["SCAEM_PRINCIPAL"] == "root" and entry["SCAEM_PROJECT_CODE"] == "P" and entry["PRIORITY"] == "5"
    assert "SCAEM_SEQUENCE" not in entry


def check_refusals_cannot_flood_it():
    with Connection(SOCKET) as connection:
        lines = [request("generate", {"project_code": "P"}, n) for n in range(5000)]
        connection.pump(b"\n".join(lines) + b"\n", len(lines))
    held = eventually(lambda: journal("SCAEM_EVENT=refusals_held_back"), 40, "the count of what was held back")
    assert len(journal("SCAEM_REASON=token_exists")) < 100
    assert sum(int(entry["SCAEM_HELD_BACK"]) for entry in held) > 4000


def check_what_happened_to_this_token():
    credentials = call("rotate", project_code="P")
    with open("/tmp/found.txt", "w") as file:
        file.write(credentials["registration_token"])
    fingerprint = re.search(r"[0-9a-f]{16}", run("scaem-token", "--format", "json", "fingerprint", "/tmp/found.txt"))[0]
    eventually(lambda: messages(f"SCAEM_TOKEN_FINGERPRINT={fingerprint}"), 60, "the record")
    call("revoke", token=credentials["registration_token"])
    # Made and ended, both found by one match.
    eventually(lambda: len(messages(f"SCAEM_ANY_FINGERPRINT={fingerprint}")) == 2, 60, "its end")
    assert call("introspect", token=credentials["registration_token"]) == {"active": False}


def check_all_of_a_project_and_of_a_user():
    assert len(messages("SCAEM_PROJECT_CODE=P2")) == 2
    assert any("registered" in message for message in messages("SCAEM_PRINCIPAL=root", "SCAEM_PROJECT_CODE=P1"))


def check_every_question_is_answered_by_its_line():
    call("generate", project_code="P3")
    page = open("/test/audit.md").read()
    table = page[page.index("| question |") :].split("\n\n")[0]
    lines = [code.replace("\\|", "|") for code in re.findall(r"\| `(.+)` \|$", table, flags=re.M)]
    assert len(lines) == 10, lines
    for line in lines:
        # Nobody is called alice here, and nothing is 30 days old.
        line = line.replace("alice", "root").replace("30 days ago", "tomorrow").replace("yesterday", "-1h")
        done = run("/bin/sh", "-c", line, cwd="/tmp", timeout=120)
        assert done.strip() and "No entries" not in done, line


def check_the_daily_verification():
    run("systemctl", "start", "scaem-tokend-audit-verify.timer")
    run("systemctl", "start", "scaem-tokend-audit-verify.service", timeout=120)
    assert "OK" in run("journalctl", "-u", "scaem-tokend-audit-verify.service")


def check_an_application_of_ten_thousand_tokens_stops_nothing():
    """As many as an owner may have: more than one entry of the journal can name, and a field of 170,000 bytes."""
    fingerprints = []
    with Connection(SOCKET, timeout=120) as connection:
        for number in range(10_000):
            method = "generate" if number else "register"
            answer = connection.call(method, application="many", project_code=f"P{number}")
            fingerprints.append(hashlib.sha256(answer["registration_token"].encode()).hexdigest()[:16])
        assert connection.call("unregister", application="many") == {"revoked": 10_000}
        connection.call("register", application="after", project_code="P")
    eventually(caught_up, 90, "the journal")
    for fingerprint in (fingerprints[0], fingerprints[500], fingerprints[-1]):
        assert len(messages(f"SCAEM_ANY_FINGERPRINT={fingerprint}")) == 2, "made and ended"
    assert "OK" in run(*TOOL, "audit", "verify", timeout=120)


def check_a_forged_record_is_foreign_and_a_missing_one_fails_the_unit():
    forged = "MESSAGE_ID=6c0f8b1e3f0a4d55b1a0d7e2c4a9f104\nSCAEM_SEQUENCE=5\nMESSAGE=forged\n"
    subprocess.run(["/usr/sbin/runuser", "-u", "nobody", "--", "logger", "--journald"], input=forged, text=True, check=True)
    run("journalctl", "--sync")
    assert "record 5 is foreign" in run(*TOOL, "audit", "verify", timeout=120)
    # The daemon's own user makes a change of its own up.
    subprocess.run(
        ["/usr/sbin/runuser", "-u", "scaem-tokend", "--", "logger", "--journald"],
        input=forged.replace("SEQUENCE=5", "SEQUENCE=999999999"), text=True, check=True,
    )  # fmt: skip
    run("journalctl", "--sync")
    done = run(*TOOL, "audit", "verify", check=False, timeout=120)
    assert done.returncode == 1 and "999999999" in done.stderr, done
    assert run("systemctl", "start", "scaem-tokend-audit-verify.service", check=False, timeout=120).returncode != 0
    assert "scaem-tokend-audit-verify.service" in run("systemctl", "--failed", "--plain")


def check_no_token_is_in_the_journal():
    assert "api_key" not in run("journalctl", "-q", "--all", "-o", "json", "SYSLOG_IDENTIFIER=scaem-tokend")


def check_a_database_older_than_the_journal_is_noticed():
    run("systemctl", "stop", "scaem-tokend.socket", "scaem-tokend.service")
    run("systemctl", "start", "scaem-tokend.socket")
    run(*TOOL, "backup", "/var/lib/scaem-tokend/copy")
    call("generate", project_code="since")
    call("revoke", project_code="since")
    eventually(caught_up, 60, "the journal")
    last = status()["sequence"]
    run("systemctl", "stop", "scaem-tokend.socket", "scaem-tokend.service")
    for name in os.listdir("/var/lib/scaem-tokend"):
        if name.startswith("tokens.db"):
            os.unlink(f"/var/lib/scaem-tokend/{name}")
    shutil.copy("/var/lib/scaem-tokend/copy", "/var/lib/scaem-tokend/tokens.db")
    shutil.chown("/var/lib/scaem-tokend/tokens.db", "scaem-tokend")
    run("systemctl", "start", "scaem-tokend.socket")
    call("ping")
    eventually(lambda: any(
        "older than the journal" in entry["MESSAGE"] and entry["SCAEM_FIRST"] == str(last - 1)
        for entry in journal("-u", "scaem-tokend.service", "PRIORITY=2")), 30, "the warning")  # fmt: skip


def check_restore_takes_what_was_ended_from_the_journal():
    run("systemctl", "stop", "scaem-tokend.socket", "scaem-tokend.service")
    with open("/tmp/since.json", "w") as file:
        file.write(run("journalctl", "-q", "--all", "-o", "json", "-n", "100", "SYSLOG_IDENTIFIER=scaem-tokend"))
    run(*TOOL, "restore", "/var/lib/scaem-tokend/copy", "--since-from", "/tmp/since.json", timeout=120)
    assert os.stat("/var/lib/scaem-tokend/tokens.db").st_uid != 0
    run("systemctl", "start", "scaem-tokend.socket")
    call("ping")
    run(*TOOL, "check")


main(globals())
