"""The wall clock jumps a year forward and back, at runtime and between runs, and the machine is suspended: nothing that
no command ended is lost, no grace lasts longer than was granted, and a jump is in the log."""

import os
import re
import signal

import pytest

import shapes
from faults import CLOCK_SHIM, Clock, Panel

SECOND = 1_000
DAY = 86_400 * SECOND
YEAR = 365 * DAY
HERE = {"application": "a", "project_code": "p"}
JUMP = re.compile(r"^scaem-tokend: warning: somebody has set the wall clock.* by_milliseconds=(-?\d+)", re.M)
BEHIND = re.compile(r"^scaem-tokend: warning: the wall clock is behind .* behind_milliseconds=(\d+)", re.M)


@pytest.fixture
def timed(make_daemon):
    panel = Panel(CLOCK_SHIM)
    clock = Clock(panel)
    return make_daemon(environment=panel.environment).start(), clock


class Holding:
    """A token of sixty days with a previous one that has an hour, and one that a minute ends."""

    def __init__(self, daemon):
        self.daemon = daemon
        with daemon.connect() as root:
            self.previous = root.call("register", HERE)["registration_token"]
            self.current = root.call("rotate", HERE, grace_seconds=3_600)["registration_token"]
            self.short = root.call("generate", application="a", project_code="q", ttl_seconds=60)["registration_token"]
            self.rows = root.call("list")["tokens"]

    def alive(self):
        with self.daemon.connect() as root:
            return [root.active(token) for token in (self.previous, self.current, self.short)]

    def unchanged(self):
        """All rows are as they were: a row's state and living previous tokens follow the clock."""
        with self.daemon.connect() as root:
            rows = root.call("list")["tokens"]
        for row, before in zip(rows, self.rows, strict=True):
            for key in ("registration_id", "application", "project_code", "issued_at", "token_expiration", "fingerprint"):
                assert row[key] == before[key]
        return True

    def refused_change(self):
        """Wakes the writer, and changes nothing."""
        with self.daemon.connect() as root:
            assert root.refusal("register", HERE)["code"] == -32002


def test_a_year_forward_and_back_at_runtime(timed):
    daemon, clock = timed
    held = Holding(daemon)
    now = clock.wall
    held.refused_change()
    assert JUMP.findall(daemon.output()) == []
    clock.set_wall(now + YEAR)
    held.refused_change()
    assert held.alive() == [False, False, False] and held.unchanged()
    clock.set_wall(now)
    held.refused_change()
    assert held.alive() == [True, True, True] and held.unchanged()
    clock.set_wall(now - YEAR)
    held.refused_change()
    assert held.alive() == [True, True, True] and held.unchanged()
    assert JUMP.findall(daemon.output()) == [str(YEAR), str(-YEAR), str(-YEAR)]
    # The grace is over when its hour has passed, whatever the wall clock says; the others' time is the wall clock's.
    clock.advance(3_600 * SECOND)
    assert held.alive() == [False, True, True]
    clock.set_wall(now + 3_600 * SECOND)
    assert held.alive() == [False, True, False] and held.unchanged()


def test_what_changes_in_a_wrong_year_is_kept_over_the_way_back(timed):
    daemon, clock = timed
    held = Holding(daemon)
    now = clock.wall
    clock.set_wall(now + YEAR)
    with daemon.connect() as root:
        made = root.call("register", application="b", project_code="p", ttl_seconds=60)
        assert made["token_expiration"] == shapes.time_text(now + YEAR + 60 * SECOND)
    clock.set_wall(now)
    with daemon.connect() as root:
        assert root.active(made["registration_token"])
        root.call("rotate", HERE)
    assert held.alive() == [False, False, True]
    assert daemon.tool("check").returncode == 0
    daemon.crash()
    with daemon.connect() as root:
        assert root.active(made["registration_token"])
    assert held.alive() == [False, False, True]


@pytest.mark.parametrize("end", ["restart", "crash"])
def test_a_year_forward_and_back_between_runs(timed, end):
    daemon, clock = timed
    held = Holding(daemon)
    now = clock.wall
    for jump, alive in [(YEAR, [False, False, False]), (0, [True, True, True]), (-YEAR, [True, True, True])]:
        clock.set_wall(now + jump)
        getattr(daemon, end)()
        assert held.alive() == alive and held.unchanged()
    # What can be known of a jump while nobody served: the last change was recorded later than now.
    assert BEHIND.findall(daemon.output())[-1] == str(YEAR)
    # In this run the hour that was granted begins once more, and is an hour.
    clock.advance(3_600 * SECOND - 1)
    assert held.alive() == [True, True, True]
    clock.advance(1)
    assert held.alive() == [False, True, True]
    assert daemon.tool("check").returncode == 0


def test_the_machine_is_suspended(timed):
    """Everything stands still, and when it goes on both clocks have moved; CLOCK_MONOTONIC has not."""
    daemon, clock = timed
    held = Holding(daemon)
    with daemon.connect() as waiting:
        waiting.send(b'{"jsonrpc":"2.0",')
        os.kill(daemon.pid, signal.SIGSTOP)
        clock.advance(DAY)
        os.kill(daemon.pid, signal.SIGCONT)
        assert held.alive() == [False, True, False] and held.unchanged()
        held.refused_change()
        waiting.send(b'"id":1,"method":"ping"}\n')
        assert b'"result":{}' in waiting.read_line()
    assert JUMP.findall(daemon.output()) == []


def test_what_ntp_does_is_no_jump(timed):
    daemon, clock = timed
    held = Holding(daemon)
    for _ in range(20):
        clock.advance(SECOND)
        clock.set_wall(clock.wall + 400)
        held.refused_change()
        clock.set_wall(clock.wall - 300)
        held.refused_change()
    assert JUMP.findall(daemon.output()) == []
