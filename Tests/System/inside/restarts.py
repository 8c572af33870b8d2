#!/usr/bin/python3
"""Restarts nobody notices: 64 callers that rotate and others that connect all the time, while the service is restarted
ten times without a pause and killed three times."""

from checks import eventually, main, run
from load import Load
from tokend import SERVICE, main_pid, records

RESTARTS, KILLS = 10, 3

load = Load(tools=2)
run("systemctl", "start", "scaem-tokend.socket")
run("systemctl", "start", SERVICE)
load.start()


def check_ten_restarts():
    for _ in range(RESTARTS):
        run("systemctl", "restart", SERVICE)


def check_three_kills():
    for _ in range(KILLS):
        seen = sum(load.rotations)
        eventually(lambda: sum(load.rotations) > seen, 60, "a rotation after the start")
        before = main_pid()
        run("systemctl", "kill", "--kill-whom=main", "-s", "KILL", SERVICE)
        eventually(lambda: main_pid() not in (0, before), 150, "the next start")


def check_they_all_went_on():
    load.wait_until_all_went_on()
    load.stop()
    assert min(load.broken) >= 1, "a caller that never saw a break: was anything restarted?"
    assert min(load.connects) > RESTARTS and min(load.tools) > RESTARTS


def check_nobody_was_refused_and_nothing_was_lost():
    assert not load.problems, load.problems


def check_the_last_acknowledged_token_is_the_current_one():
    load.assert_nothing_is_lost()


def check_that_many_starts_are_in_the_journal():
    assert len(records("ready")) == 1 + RESTARTS + KILLS


main(globals())
