#!/usr/bin/python3
"""Rotation on a schedule: scaem-token-rotate@.timer and .service with an application that reloads its token."""

import os
import pathlib
import pwd
import re
import socket
import stat
import threading
import time
from datetime import datetime

from checks import eventually, journal, main, prop, run
from tokend import SERVICE as DAEMON
from tokend import SOCKET, SOCKET_UNIT, call, drop_in

SERVICE, TIMER = "scaem-token-rotate@web.service", "scaem-token-rotate@web.timer"
HOME = pathlib.Path("/var/lib/web")
TOKEN = HOME / "token"
INSTANCES = pathlib.Path("/etc/scaem-tokend/rotate")
STAMP = pathlib.Path("/var/lib/systemd/timers/stamp-" + TIMER)
# What web.service read at each of its reloads.
RELOADS = pathlib.Path("/run/reloads")
LARGEST_EXPOSURE = 1.0


def unit(name, *lines):
    pathlib.Path("/etc/systemd/system", name).write_text("[Service]\nExecStart=/bin/sleep infinity\n" + "\n".join(lines) + "\n")
    run("systemctl", "daemon-reload")


def instance(text, name="web"):
    INSTANCES.mkdir(parents=True, exist_ok=True)
    (INSTANCES / f"{name}.env").write_text(f"PROJECT=P\nFILE={TOKEN}\n{text}\n")


def rotate(name=SERVICE):
    run("systemctl", "reset-failed", name, check=False)
    return run("systemctl", "start", name, check=False).returncode


def held():
    """All of the file that a failure must leave as it is."""
    entry = os.stat(TOKEN)
    return TOKEN.read_text(), entry.st_ino, stat.S_IMODE(entry.st_mode), entry.st_uid


def active(token):
    return call("introspect", token=token)["active"]


def ends_of_previous():
    (row,) = call("list", application="web")["tokens"]
    return [datetime.fromisoformat(token["token_expiration"].replace("Z", "+00:00")).timestamp() for token in row["previous"]]


def failed():
    return run("systemctl", "--failed", "--no-legend", "--plain").split()


def reloads():
    return RELOADS.read_text().split() if RELOADS.exists() else []


def said():
    return [entry["MESSAGE"] for entry in journal("_SYSTEMD_UNIT=" + SERVICE)]


run("useradd", "--system", "--home-dir", HOME, "--create-home", "web")
unit("web.service", f"ExecReload=/bin/sh -c 'cat {TOKEN} >>{RELOADS}; echo >>{RELOADS}'")
unit("plain.service")
unit("stopped.service")
unit("stubborn.service", "ExecReload=/bin/false")
unit("hanging.service", "ExecReload=/bin/sleep 60")
run("systemctl", "start", SOCKET_UNIT, "web", "plain", "stubborn", "hanging")
# As the manual page has it.
run("runuser", "-u", "web", "-G", "scaem", "--", "scaem-token", "obtain", "P", "--output", TOKEN)


def check_the_units_are_verified_silently():
    done = run("systemd-analyze", "verify", "--man=no", SERVICE, TIMER, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), done


def check_the_exposure_is_small():
    text = run("systemd-analyze", "security", "--offline=yes", "/usr/lib/systemd/system/scaem-token-rotate@.service", "--no-pager")
    assert float(re.search(r"Overall exposure level for \S+: ([0-9.]+)", text)[1]) <= LARGEST_EXPOSURE, text


def check_a_rotation_replaces_the_file_and_reloads_the_unit():
    instance("UNITS=web.service plain.service stopped.service")
    before, plain = held(), prop("plain.service", "MainPID")
    stop, seen = threading.Event(), set()

    def read():
        while not stop.is_set():
            seen.add(TOKEN.read_text())

    reader = threading.Thread(target=read)
    reader.start()
    assert rotate() == 0, said()
    stop.set()
    reader.join(20)
    after = held()
    assert after[0] != before[0] and after[1] != before[1]
    # Never a part of it, never none.
    assert seen <= {before[0], after[0]}, [len(text) for text in seen]
    assert after[2:] == (0o600, pwd.getpwnam("web").pw_uid), after
    assert os.listdir(HOME).count("token") == 1 and not [name for name in os.listdir(HOME) if name.startswith(".scaem")]
    assert reloads() == [after[0]]
    assert prop("plain.service", "MainPID") not in ("0", plain)
    assert prop("stopped.service", "ActiveState") == "inactive"


def check_the_old_token_is_good_for_the_grace():
    (end,) = ends_of_previous()
    assert 0 < end - time.time() <= 15 * 60
    instance("GRACE=1h\nUNITS=web.service")
    old = held()[0]
    assert rotate() == 0, said()
    assert active(old) and active(held()[0])
    assert max(ends_of_previous()) > end + 60


def check_a_refusal_leaves_all_as_it_was_and_shows():
    call("revoke", application="web", project_code="P")
    before, count = held(), len(reloads())
    assert rotate() != 0
    assert SERVICE in failed()
    assert prop(SERVICE, "NRestarts") == "0"
    assert held() == before and len(reloads()) == count
    assert not [name for name in os.listdir(HOME) if name.startswith(".scaem")]
    assert any("next: scaem-token generate P" in message for message in said()), said()


def check_a_success_takes_it_off_the_list():
    run("runuser", "-u", "web", "-G", "scaem", "--", "scaem-token", "obtain", "P", "--output", TOKEN)
    assert rotate() == 0, said()
    assert SERVICE not in failed()


def check_without_the_daemon_it_is_tried_three_times():
    drop_in("[Service]\nRestartSec=0\n", unit=SERVICE)
    run("systemctl", "stop", SOCKET_UNIT, "scaem-tokend-credential.socket", DAEMON)
    try:
        before, count = held(), len(reloads())
        assert rotate() != 0
        eventually(lambda: SERVICE in failed(), 60, "the failure")
        assert len([message for message in said() if "no daemon listens" in message]) == 3, said()
        assert held() == before and len(reloads()) == count
        assert prop(DAEMON, "ActiveState") == "inactive", "a rotation has started what was stopped by hand"
    finally:
        run("systemctl", "start", SOCKET_UNIT)


class LossyDaemon:
    """Hands requests on to the daemon, and loses the first answers."""

    path = "/run/lossy.sock"

    def __init__(self, losses):
        self.losses = losses
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(self.path)
        os.chmod(self.path, 0o666)
        self.listener.listen(8)
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            caller, _ = self.listener.accept()
            with caller, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as daemon:
                daemon.connect(SOCKET)
                daemon.sendall(caller.makefile("rb").readline())
                answer = daemon.makefile("rb").readline()
                if self.losses == 0:
                    caller.sendall(answer)
                else:
                    self.losses -= 1


def check_a_lost_answer_cuts_nobody_off():
    # The file's token is one that no other rotation has set an end to.
    call("revoke", application="web", project_code="P")
    run("runuser", "-u", "web", "-G", "scaem", "--", "scaem-token", "obtain", "P", "--output", TOKEN)
    lossy = LossyDaemon(losses=2)
    drop_in(f"[Service]\nRestartSec=0\nEnvironment=SCAEM_TOKEND_SOCKET={lossy.path}\n", unit=SERVICE)
    before, count = held(), len(reloads())
    rotate()
    eventually(lambda: held()[1] != before[1], 60, "the third try")
    eventually(lambda: (prop(SERVICE, "ActiveState"), prop(SERVICE, "Result")) == ("inactive", "success"), 60, "its end")
    assert lossy.losses == 0 and len(reloads()) == count + 1
    assert active(held()[0])
    assert active(before[0]), "whoever still uses the old token is cut off"
    drop_in("", unit=SERVICE)


def check_a_unit_that_is_not_reloaded_shows_and_nothing_is_tried_again():
    for units in ("stubborn.service", "missing.service"):
        instance(f"UNITS={units}")
        before = held()
        assert rotate() != 0
        assert SERVICE in failed()
        assert prop(SERVICE, "NRestarts") == "0"
        assert held() != before and active(before[0]) and active(held()[0])


def check_a_reload_that_hangs_is_no_reason_to_rotate_again():
    """Each try would rotate once more, five minutes apart, for ever."""
    drop_in("[Service]\nRestartSec=0\nTimeoutStartSec=3\n", unit=SERVICE)
    instance("UNITS=hanging.service")
    before = held()
    assert rotate() != 0
    assert SERVICE in failed() and prop(SERVICE, "Result") == "timeout"
    assert prop(SERVICE, "NRestarts") == "0"
    assert held() != before and active(before[0]) and active(held()[0])
    drop_in("", unit=SERVICE)


def check_an_instance_that_nothing_is_said_of_shows():
    drop_in("[Service]\nRestartSec=0\n", unit="scaem-token-rotate@daemon.service")
    assert rotate("scaem-token-rotate@daemon.service") != 0
    eventually(lambda: "scaem-token-rotate@daemon.service" in failed(), 60, "the failure")


def check_without_units_it_is_the_file_alone():
    instance("")
    before, count = held(), len(reloads())
    assert rotate() == 0, said()
    assert held() != before and len(reloads()) == count


def check_the_timer_spreads_and_makes_up():
    run("systemctl", "enable", "--now", TIMER)
    assert prop(TIMER, "Persistent") == "yes"
    assert prop(TIMER, "RandomizedDelayUSec") == "12h" and prop(TIMER, "FixedRandomDelay") == "yes"
    next_elapse = time.mktime(time.strptime(prop(TIMER, "NextElapseUSecRealtime").rsplit(" ", 1)[0], "%a %Y-%m-%d %H:%M:%S"))
    assert 0 < next_elapse - time.time() < (7 * 24 + 12) * 3600
    # The first time there is nothing to be made up for.
    assert prop(TIMER, "LastTriggerUSec") == ""


def check_what_fell_into_a_time_without_power_is_made_up_for():
    run("systemctl", "stop", TIMER)
    before = held()
    assert STAMP.exists()
    long_ago = time.time() - 30 * 24 * 3600
    os.utime(STAMP, (long_ago, long_ago))
    drop_in("[Timer]\nRandomizedDelaySec=0\n", unit=TIMER)
    run("systemctl", "start", TIMER)
    eventually(lambda: held()[1] != before[1], 30, "the rotation that is made up for")
    eventually(lambda: prop(SERVICE, "Result") == "success" and prop(SERVICE, "ActiveState") == "inactive")
    assert active(held()[0]) and active(before[0])


def check_no_token_is_in_the_journal():
    assert not [entry for entry in journal() if "api_key|" in str(entry.get("MESSAGE"))]


main(globals())
