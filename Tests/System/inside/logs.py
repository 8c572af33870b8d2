#!/usr/bin/python3
"""What the daemon says in the journal, and that a journal which stands still stops nothing."""

import contextlib
import grp
import itertools
import json
import os
import time

from checks import eventually, journal, main, run
from tokend import SERVICE, SOCKET, call, main_pid, message_ids, records
from wire import Connection

run("systemctl", "start", "scaem-tokend.socket")
token = call("register", application="a", project_code="P")["registration_token"]


DROPPED = "a method that returns credentials came as a notification and was not executed"


# What one caller may write into the log at once; who are asked to flood it, each for its share.
BURST = 20
strangers = itertools.count(20_000)


@contextlib.contextmanager
def stranger():
    """A connection of a user who has asked nothing before."""
    os.setegid(grp.getgrnam("scaem").gr_gid)
    os.seteuid(next(strangers))
    try:
        connection = Connection(SOCKET, 60)
    finally:
        os.seteuid(0)
        os.setegid(0)
    with connection:
        yield connection


def flood(count):
    """So many requests that each have a line in the log."""
    line = json.dumps({"jsonrpc": "2.0", "method": "rotate", "params": {"project_code": "P"}}).encode() + b"\n"
    for _ in range(0, count, BURST):
        with stranger() as connection:
            connection.send(line * BURST)
            assert connection.call("ping") == {}


def dropped():
    return [entry for entry in journal("_SYSTEMD_UNIT=" + SERVICE) if entry["MESSAGE"] == DROPPED]


def check_records_have_their_fields():
    entry = records("ready")[-1]
    assert entry["MESSAGE"] == "ready" and entry["PRIORITY"] == "5"
    assert entry["SYSLOG_IDENTIFIER"] == "scaem-tokend" and entry["_TRANSPORT"] == "journal"
    assert entry["CODE_FILE"].endswith("/Serve.swift") and int(entry["CODE_LINE"]) > 0 and entry["CODE_FUNC"]
    assert entry["SCAEM_SOCKET"] == SOCKET and entry["SCAEM_VERSION"]
    assert entry["_SYSTEMD_UNIT"] == SERVICE


def check_every_message_is_explained():
    run("journalctl", "--update-catalog")
    for name, identity in message_ids().items():
        text = run("journalctl", "--dump-catalog", identity)
        assert "Subject: " in text and "scaem-tokend" in text, name


def check_a_message_is_constant_and_has_fields():
    flood(100)
    entry = dropped()[-1]
    assert int(entry["SCAEM_UID"]) >= 20_000 and int(entry["SCAEM_PID"]) > 0, entry
    assert entry["PRIORITY"] == "5"


def check_no_token_is_in_the_journal():
    texts = [str(value) for entry in journal() for value in entry.values()]
    assert not any(token.split("|")[1][:24] in text for text in texts)


def check_a_frozen_journal_stops_no_request_and_drops_are_counted():
    run("systemctl", "kill", "--kill-whom=main", "-s", "STOP", "systemd-journald.service")
    try:
        begun = time.monotonic()
        flood(12_000)
        assert call("rotate", application="a", project_code="P")["registration_token"]
        assert time.monotonic() - begun < 60
    finally:
        run("systemctl", "kill", "--kill-whom=main", "-s", "CONT", "systemd-journald.service")
    entry = eventually(lambda: records("recordsDropped"), 30, "the count of what was dropped")[-1]
    assert int(entry["SCAEM_DROPPED"]) > 0


def check_a_frozen_journal_stops_no_exit():
    run("systemctl", "kill", "--kill-whom=main", "-s", "STOP", "systemd-journald.service")
    try:
        flood(2_000)
        pid = main_pid()
        run("systemctl", "kill", "--kill-whom=main", "-s", "TERM", SERVICE)
        eventually(lambda: main_pid() != pid, 30, "the end")
    finally:
        run("systemctl", "kill", "--kill-whom=main", "-s", "CONT", "systemd-journald.service")


def check_a_burst_arrives_whole():
    call("ping")
    before = len(dropped())
    for _ in range(20):
        flood(1_000)
        journal("-n", "1")
    arrived = len(dropped()) - before
    assert arrived >= 20_000, arrived


main(globals())
