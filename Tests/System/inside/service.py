#!/usr/bin/python3
"""The daemon as a service with its socket: started by a connect, asked, stopped."""

import os
import stat

from checks import eventually, journal, main, prop, run
from wire import Connection

SOCKET = "/run/scaem-tokend/tokend.sock"


def check_the_socket_alone_starts_no_daemon():
    run("systemctl", "start", "scaem-tokend.socket")
    assert prop("scaem-tokend.service", "ActiveState") == "inactive"
    entry = os.stat(SOCKET)
    assert stat.S_IMODE(entry.st_mode) == 0o660
    run("getent", "group", str(entry.st_gid))
    assert run("getent", "group", str(entry.st_gid)).startswith("scaem:")


def check_a_connect_starts_it():
    with Connection(SOCKET) as connection:
        assert connection.call("ping") == {}
    assert prop("scaem-tokend.service", "ActiveState") == "active"


def check_it_is_not_root():
    pid = prop("scaem-tokend.service", "MainPID")
    assert run("ps", "-o", "user=", "-p", pid).strip() in ("scaem-tokend", "scaem-t+")


def check_the_client_works():
    assert "api_key|" in run("scaem-token", "--format", "json", "register", "P1")
    assert '"unit":"scaem-test.service"' in run("scaem-token", "--format", "json", "whoami")


def check_the_journal_has_its_messages():
    messages = [entry["MESSAGE"] for entry in journal("-u", "scaem-tokend.service")]
    assert any("ready" in message for message in messages), messages


def check_the_state_is_its_own():
    entry = os.stat("/var/lib/scaem-tokend")
    assert stat.S_IMODE(entry.st_mode) == 0o700


def check_a_restart_leaves_the_socket_alone():
    inode = os.stat(SOCKET).st_ino
    run("systemctl", "restart", "scaem-tokend.service")
    assert os.stat(SOCKET).st_ino == inode
    entry = os.stat(SOCKET)
    assert run("getent", "group", str(entry.st_gid)).startswith("scaem:")


def check_stopped_means_socket_and_service():
    run("systemctl", "stop", "scaem-tokend.socket", "scaem-tokend.service")
    eventually(lambda: prop("scaem-tokend.service", "ActiveState") == "inactive")
    assert not os.path.exists(SOCKET)


main(globals())
