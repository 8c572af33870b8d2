#!/usr/bin/python3
"""What no further start mends: one start, one sentence, although callers keep connecting; after the repair one
`systemctl start` brings all back."""

import contextlib
import socket
import threading
import time

from checks import eventually, journal, main, prop, run
from tokend import DATABASE, SERVICE, SOCKET, SOCKET_UNIT, call, configure, records, starts, state, status_text
from wire import Connection

TRIES = 4
stop = threading.Event()


def connect_all_the_time():
    while not stop.is_set():
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as caller:
                caller.settimeout(5)
                caller.connect(SOCKET)
                caller.sendall(b'{"jsonrpc":"2.0","id":1,"method":"ping"}\n')
                caller.recv(100)
        except OSError:
            time.sleep(0.01)  # what a caller that tries again does


def fails_once(name, says):
    """The start that fails, and what it leaves."""
    before, said = starts(), len(records(name))
    run("systemctl", "start", SOCKET_UNIT)
    eventually(lambda: state() == "failed" and prop(SOCKET_UNIT, "ActiveState") == "inactive", 30, "the end of it")
    time.sleep(2)  # the event is that none comes: the callers go on connecting
    assert starts() == before + 1, f"{starts() - before} starts"
    entries = records(name)[said:]
    assert len(entries) == 1, entries
    assert says in entries[0]["MESSAGE"] and entries[0]["PRIORITY"] == "2", entries[0]
    assert prop(SERVICE, "ExecMainStatus") == "78"
    assert says in status_text(), status_text()
    assert SERVICE in run("systemctl", "--failed", "--plain", "--no-legend")


def comes_back():
    run("systemctl", "start", SERVICE)
    assert prop(SOCKET_UNIT, "ActiveState") == "active"
    assert call("ping") == {}


run("systemctl", "start", SOCKET_UNIT)
call("register", application="kept", project_code="P")
for number in range(8):
    threading.Thread(target=connect_all_the_time, daemon=True).start()


def check_a_damaged_database_starts_once():
    run("systemctl", "stop", SOCKET_UNIT, SERVICE)
    good = DATABASE.read_bytes()
    DATABASE.with_suffix(".good").write_bytes(good)
    DATABASE.write_bytes(b"this is not a database at all, " * 300)
    fails_once("databaseUnusable", "The database tokens.db is damaged")


def check_the_catalog_explains_it():
    run("journalctl", "--update-catalog")
    text = run("journalctl", "-x", "-u", SERVICE)
    assert "put a backup in its place\n" in text.replace("░░ ", ""), text[-3000:]


def check_a_database_without_content_starts_once():
    # These checks start the socket more often in ten seconds than systemd lets anybody.
    run("systemctl", "reset-failed", SOCKET_UNIT)
    DATABASE.write_bytes(b"")
    fails_once("databaseUnusable", "tokens.db is empty, which it never is by itself; restore a backup")


def check_after_the_repair_one_start_brings_all_back():
    DATABASE.write_bytes(DATABASE.with_suffix(".good").read_bytes())
    comes_back()
    assert [row["application"] for row in call("list", application="kept")["tokens"]] == ["kept"]


def check_a_wrong_configuration_starts_once():
    run("systemctl", "stop", SOCKET_UNIT, SERVICE)
    configure("[tokens]\nno_such_key = 1\n")
    fails_once("configurationWrong", "config.toml:2: tokens.no_such_key")


def check_after_its_repair_one_start_brings_all_back():
    configure("")
    comes_back()


def check_a_crash_is_started_again_and_nobody_is_refused():
    for _ in range(3):
        pid = prop(SERVICE, "MainPID")
        run("systemctl", "kill", "--kill-whom=main", "-s", "SEGV", SERVICE)
        eventually(lambda: prop(SERVICE, "MainPID") not in ("0", pid), 150, "the next start")
        assert call("ping") == {}


def check_a_start_on_a_full_disk_is_tried_until_there_is_room():
    """Callers wait in the sockets meanwhile; the pace of the tries does not use StartLimitBurst= up."""
    run("systemctl", "stop", SOCKET_UNIT, SERVICE)
    # These checks alone have started them as often as is allowed.
    run("systemctl", "reset-failed", SOCKET_UNIT, SERVICE)
    folder = DATABASE.parent
    run("mount", "-t", "tmpfs", "-o", "size=1m,mode=0700", "tmpfs", folder)
    filler = folder / "filler"
    with contextlib.suppress(OSError), open(filler, "wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    said = len(records("cannotStart"))
    begun = time.time()
    run("systemctl", "start", SOCKET_UNIT)
    with Connection(SOCKET, timeout=150) as waiting:
        waiting.send(b'{"jsonrpc":"2.0","id":1,"method":"ping"}\n')
        eventually(lambda: len(records("cannotStart")) >= said + TRIES, 150, "the tries")
        assert "full" in records("cannotStart")[-1]["MESSAGE"], records("cannotStart")[-1]
        assert prop(SOCKET_UNIT, "ActiveState") == "active" and state() != "failed"
        filler.unlink()
        assert waiting.read_line() == b'{"jsonrpc":"2.0","id":1,"result":{}}'
    eventually(lambda: state() == "active", what="the end of the start")
    assert prop(SOCKET_UNIT, "ActiveState") == "active"
    times = [int(entry["__REALTIME_TIMESTAMP"]) / 1e6 for entry in journal("_PID=1", "UNIT=" + SERVICE)
             if entry["MESSAGE"].startswith("Starting ")]  # fmt: skip
    times = [at for at in times if at > begun]
    assert len(times) > TRIES
    seconds, burst = int(prop(SERVICE, "StartLimitIntervalUSec").removesuffix("s")), int(prop(SERVICE, "StartLimitBurst"))
    assert min(later - earlier for earlier, later in zip(times, times[1:])) > seconds / burst, times


main(globals())
