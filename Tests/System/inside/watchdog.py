#!/usr/bin/python3
"""The watchdog, with one part of the daemon standing still at a time."""

import contextlib
import os
import subprocess
import threading
import time

from checks import eventually, journal, main, run
from tokend import SERVICE, call, configure, drop_in, main_pid, records, state, status_text, switched

# Short where the watchdog is to bite, longer where it is not to: there the machine may stand still for a while.
BITES_SECONDS, SPARES_SECONDS = 3, 10
run("systemctl", "start", "scaem-tokend.socket")
configure("[server]\nevent_loops = 2\n")


def restart_with(**settings):
    lines = [f"{key}={value}\n" for key, value in settings.items()]
    drop_in("[Service]\nEnvironment=LD_PRELOAD=/test/freeze.so\n" + "".join(lines))
    run("systemctl", "restart", SERVICE)


def ended_by_the_watchdog(part, switch):
    restart_with(WatchdogSec=BITES_SECONDS)
    call("register", application=part, project_code="P")
    before = main_pid()
    timeouts = len(watchdog_messages())
    with switched(switch):
        eventually(lambda: len(watchdog_messages()) > timeouts, 30, f"the watchdog's end of a stuck {part}")
    eventually(lambda: state() == "active" and main_pid() not in (0, before), 150, "the next start")
    assert call("ping") == {}
    assert records("partStuck", f"SCAEM_PART={part}"), "the journal does not name the part"
    assert any("code=killed, status=6/ABRT" in text or "code=dumped, status=6/ABRT" in text
               for text in service_messages()), service_messages()  # fmt: skip


def service_messages():
    return [entry["MESSAGE"] for entry in journal("_PID=1", "UNIT=" + SERVICE)]


def watchdog_messages():
    return [text for text in service_messages() if "Watchdog timeout" in text]


def check_nothing_frozen_is_left_alone():
    restart_with(WatchdogSec=SPARES_SECONDS)
    pid = main_pid()
    call("register", application="calm", project_code="P")
    time.sleep(SPARES_SECONDS + 3)  # the event is that none comes
    assert main_pid() == pid and not watchdog_messages()


def check_the_first_loop_frozen():
    ended_by_the_watchdog("loop-0", "freeze-loop-0")


def check_the_second_loop_frozen():
    ended_by_the_watchdog("loop-1", "freeze-loop-1")


def check_the_writer_frozen():
    ended_by_the_watchdog("writer", "freeze-writer")


def check_a_slow_disk_is_not_a_stuck_writer():
    restart_with(WatchdogSec=SPARES_SECONDS)
    token = call("register", application="slow", project_code="P")["registration_token"]
    pid, timeouts = main_pid(), len(watchdog_messages())
    answers = []
    rotating = threading.Thread(target=lambda: answers.append(call("rotate", 60.0, application="slow", project_code="P")))
    with switched("slow-disk"):
        rotating.start()
        end = time.monotonic() + SPARES_SECONDS + 3
        while time.monotonic() < end:
            # An answer while the disk holds the change is one that did not wait for it.
            assert call("introspect", token=token)["active"] is True
            time.sleep(0.05)
        assert not answers, "the change was acknowledged before it was on the disk"
        assert "wait for the disk" in status_text(), status_text()
    rotating.join(30)
    assert answers and answers[0]["registration_token"] != token
    assert main_pid() == pid and len(watchdog_messages()) == timeouts
    assert records("slowDisk")
    eventually(lambda: "wait for the disk" not in status_text(), what="an end of the status")


def check_a_disk_that_is_slow_beyond_the_bound_is_a_stuck_writer():
    """Its own five minutes (WatchdogRule.slowDiskMilliseconds), of a clock that is ahead."""
    restart_with(WatchdogSec=BITES_SECONDS)
    call("register", application="beyond", project_code="P")
    pid, timeouts = main_pid(), len(watchdog_messages())

    def rotate():
        with contextlib.suppress(Exception):  # the daemon is killed under it
            call("rotate", 60.0, application="beyond", project_code="P")

    rotating = threading.Thread(target=rotate)
    with switched("slow-disk"):
        rotating.start()
        eventually(lambda: "wait for the disk" in status_text(), what="the slow disk")
        assert len(watchdog_messages()) == timeouts
        with switched("later"):
            eventually(lambda: len(watchdog_messages()) > timeouts, 30, "the watchdog's end")
    rotating.join(60)
    eventually(lambda: state() == "active" and main_pid() not in (0, pid), 150, "the next start")
    assert call("ping") == {}
    assert len(records("partStuck", "SCAEM_PART=writer")) == 2


def check_a_stop_that_hangs_in_a_loop_is_ended():
    """It asks for more time while its callers may still be answered, and then no more: TimeoutStopSec= ends it."""
    configure("[server]\nevent_loops = 2\ndrain_seconds = 1\n")
    restart_with(WatchdogSec=SPARES_SECONDS, TimeoutStopSec=2)
    pid, stuck = main_pid(), len(records("partStuck", "SCAEM_PART=loop-1"))
    with switched("freeze-loop-1"):
        eventually(lambda: len(records("partStuck", "SCAEM_PART=loop-1")) > stuck, 30, "the loop's standstill")
        stopping = subprocess.Popen(["systemctl", "stop", SERVICE])
        # 31 s (Supervisor.closingMilliseconds), what was asked for last, and a busy machine.
        eventually(lambda: not os.path.exists(f"/proc/{pid}"), 31 + 30 + 30, "the end")
    assert stopping.wait(150) == 0
    assert any("'stop-sigterm' timed out. Killing." in text for text in service_messages()[-20:]), service_messages()[-20:]
    configure("[server]\nevent_loops = 2\n")
    restart_with(WatchdogSec=SPARES_SECONDS)
    assert call("ping") == {}


def check_a_long_start_gets_its_time():
    restart_with(TimeoutStartSec=2, WatchdogSec=SPARES_SECONDS)
    with switched("slow-start"):
        restart = subprocess.Popen(["systemctl", "restart", SERVICE])
        eventually(lambda: state() == "activating", what="the start")
        pid = main_pid()
        time.sleep(6)  # three times TimeoutStartSec=
        assert state() == "activating" and main_pid() == pid
        assert status_text().startswith("Opening the database, since "), status_text()
    assert restart.wait(30) == 0
    assert state() == "active" and main_pid() == pid
    restart_with(WatchdogSec=SPARES_SECONDS)


def check_the_status_has_live_counts():
    eventually(lambda: "tokens of" in status_text(), what="counts")
    held = status_text()
    call("register", application="counted", project_code="P")
    eventually(lambda: "tokens of" in status_text() and status_text() != held, what="a new count")


main(globals())
