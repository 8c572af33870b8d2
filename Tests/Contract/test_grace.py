"""Time: grace, expiry and what they do to each other, with the daemon's clocks in the test's hand."""

import contextlib
import itertools
import sqlite3

import pytest

import shapes
from daemon import Daemon, eventually
from faults import CLOCK_SHIM, Clock, Panel
from wire import parse, request

MINUTE = 60_000
HOUR = 60 * MINUTE
_names = itertools.count(1)


@pytest.fixture(scope="module")
def timed():
    """A daemon whose clocks stand still, for the tests that need no restart of their own."""
    panel = Panel(CLOCK_SHIM)
    clock = Clock(panel)
    daemon = Daemon(environment=panel.environment).start()
    yield daemon, clock
    daemon.discard()


class Holder:
    """One application and project, driven by hand."""

    def __init__(self, daemon, clock, ttl=3_600):
        self.daemon, self.clock = daemon, clock
        self.connection = daemon.connect()
        self.application = f"app-{next(_names)}"
        self.here = {"application": self.application, "project_code": "p"}
        self.tokens = []
        self.made = self._keep(self.connection.call("register", {**self.here, "ttl_seconds": ttl}))

    def _keep(self, made):
        self.tokens.append(made["registration_token"])
        self.made = made
        return made

    def rotate(self, grace=None, ttl=3_600):
        more = {"ttl_seconds": ttl} | ({} if grace is None else {"grace_seconds": grace})
        return self._keep(self.connection.call("rotate", {**self.here, **more}))

    def alive(self):
        return [self.connection.active(token) for token in self.tokens]

    def row(self):
        (row,) = self.connection.call("list", application=self.application)["tokens"]
        return row

    def previous(self):
        return [(entry["fingerprint"], entry["token_expiration"]) for entry in self.row()["previous"]]

    def reconnect(self):
        self.connection.close()
        self.connection = self.daemon.connect()


@pytest.fixture
def holder(timed):
    made = []

    def make(**options):
        made.append(Holder(*timed, **options))
        return made[-1]

    yield make
    for one in made:
        one.connection.close()


@pytest.fixture
def clock(timed):
    return timed[1]


def test_the_clocks_are_the_tests(holder, clock):
    """The shim works: the answer's time is the stopped clock's, to the millisecond."""
    one = holder(ttl=60)
    assert one.made["token_expiration"] == shapes.time_text(clock.wall + 60_000)
    clock.advance(1)
    assert one.rotate(ttl=61)["token_expiration"] == shapes.time_text(clock.wall + 61_000)
    assert one.row()["issued_at"] == shapes.time_text(clock.wall)


def test_a_token_is_dead_from_the_millisecond_of_its_expiry(holder, clock):
    one = holder(ttl=60)
    clock.advance(59_999)
    assert one.alive() == [True] and one.row()["state"] == "active"
    clock.advance(1)
    assert one.alive() == [False] and one.row()["state"] == "expired"
    clock.advance(HOUR)
    assert one.alive() == [False]


def test_iat_and_exp_are_rounded_down(holder, clock):
    clock.advance(1_000 - clock.wall % 1_000 + 999)
    one = holder(ttl=60)
    facts = one.connection.call("introspect", token=one.tokens[0])
    assert facts["iat"] == clock.wall // 1_000 and facts["exp"] == clock.wall // 1_000 + 60
    assert one.made["token_expiration"].endswith(".999Z")
    clock.advance(1)
    two = holder(ttl=60)
    assert two.connection.call("introspect", token=two.tokens[0])["iat"] == clock.wall // 1_000


def test_a_previous_token_ends_with_its_grace_to_the_millisecond(holder, clock):
    one = holder()
    made = one.rotate(grace=5)
    assert made["previous_token_expiration"] == shapes.time_text(clock.wall + 5_000)
    assert one.previous() == [(shapes.fingerprint(one.tokens[0]), made["previous_token_expiration"])]
    clock.advance(4_999)
    assert one.alive() == [True, True]
    assert one.connection.call("introspect", token=one.tokens[0])["exp"] == (clock.wall + 1) // 1_000
    clock.advance(1)
    assert one.alive() == [False, True] and one.previous() == []


def test_a_grace_never_lengthens_a_life(holder, clock):
    one = holder(ttl=60)
    own_end = one.made["token_expiration"]
    clock.advance(50_000)
    assert one.rotate(grace=600)["previous_token_expiration"] == own_end
    clock.advance(9_999)
    assert one.alive() == [True, True]
    clock.advance(1)
    assert one.alive() == [False, True]


def test_previous_tokens_keep_their_own_ends(holder, clock):
    one = holder()
    ends = []
    for grace in (300, 100, 200):
        ends.append(one.rotate(grace=grace)["previous_token_expiration"])
        clock.advance(1_000)
    assert one.previous() == [(shapes.fingerprint(t), end) for t, end in zip(one.tokens[:3], ends, strict=True)]
    start = clock.wall - 3_000
    assert ends == [shapes.time_text(start + s) for s in (300_000, 101_000, 202_000)]
    clock.advance(101_000 - 3_000 - 1)
    assert one.alive() == [True, True, True, True]
    clock.advance(1)
    assert one.alive() == [True, False, True, True]
    clock.advance(101_000)
    assert one.alive() == [True, False, False, True]
    clock.advance(98_000)
    assert one.alive() == [False, False, False, True]
    assert one.previous() == []


def test_at_most_three_previous_tokens_live(holder):
    one = holder()
    for _ in range(3):
        one.rotate(grace=600)
    assert one.alive() == [True] * 4 and len(one.previous()) == 3
    one.rotate(grace=600)
    assert one.alive() == [False, True, True, True, True] and len(one.previous()) == 3
    one.rotate(grace=600)
    assert one.alive() == [False, False, True, True, True, True]


def test_the_oldest_is_ended_even_where_another_ends_sooner(holder):
    one = holder()
    for grace in (600, 10, 300, 300):
        one.rotate(grace=grace)
    assert one.alive() == [False, True, True, True, True]


def test_an_ended_previous_token_makes_room(holder, clock):
    one = holder()
    for grace in (600, 10, 600):
        one.rotate(grace=grace)
    clock.advance(10_000)
    one.rotate(grace=600)
    assert one.alive() == [True, False, True, True, True]


@pytest.mark.parametrize("grace", [None, 0])
def test_without_a_grace_every_older_token_is_dead_at_once(holder, grace):
    one = holder()
    one.rotate(grace=600)
    one.rotate(grace=600)
    made = one.rotate(grace=grace)
    assert one.alive() == [False, False, False, True] and one.previous() == []
    shapes.check_credentials(made, kept=False)


def test_a_lost_answer_and_two_repeats_cut_nobody_off(timed):
    """The first caller's token lives through two lost answers; so does every one of them."""
    daemon, clock = timed
    one = Holder(daemon, clock)
    for _ in range(2):
        with daemon.connect() as lost:
            lost.send(request("rotate", {**one.here, "grace_seconds": 300}, 1) + b"\n")
            lost.half_close()
            one.tokens.append(parse(lost.read_line())["result"]["registration_token"])
    one.rotate(grace=300)
    assert one.alive() == [True] * 4
    one.connection.close()


def test_an_expired_token_counts_as_held(holder, clock):
    one = holder(ttl=60)
    clock.advance(60_000)
    assert one.connection.refusal("generate", one.here)["code"] == -32004
    assert one.connection.refusal("generate", one.here)["data"]["next"] == "rotate"
    assert one.connection.refusal("register", one.here)["data"]["next"] == "rotate"
    assert one.row()["state"] == "expired" and one.row()["fingerprint"] == shapes.fingerprint(one.tokens[0])


def test_an_expired_token_can_be_rotated_and_is_not_kept(holder, clock):
    one = holder(ttl=60)
    clock.advance(60_000)
    made = one.rotate(grace=600)
    shapes.check_credentials(made, kept=False)
    assert one.alive() == [False, True] and one.previous() == []


@pytest.mark.parametrize(("method", "follow"), [("revoke", "generate"), ("unregister", "register")])
def test_an_expired_token_is_no_living_one(holder, clock, method, follow):
    one = holder(ttl=60)
    clock.advance(60_000)
    params = one.here if method == "revoke" else {"application": one.application}
    assert one.connection.call(method, params) == {"revoked": 0}
    assert one.connection.call("list", application=one.application) == {"tokens": []}
    shapes.check_credentials(one.connection.call(follow, one.here))


def test_revoke_of_an_expired_token_by_itself(holder, clock):
    one = holder(ttl=60)
    one.rotate(grace=600, ttl=60)
    clock.advance(60_000)
    assert one.alive() == [False, False]
    assert one.connection.call("revoke", token=one.tokens[1]) == {"revoked": 0}


def test_previous_tokens_outlive_an_expired_current_one(holder, clock):
    one = holder()
    one.rotate(grace=600, ttl=60)
    clock.advance(60_000)
    assert one.alive() == [True, False] and one.row()["state"] == "expired" and len(one.previous()) == 1
    one.rotate(grace=600)
    assert one.alive() == [True, False, True], "earlier previous ones keep their own ends"
    one.rotate()
    assert one.alive() == [False, False, False, True]


def test_revoke_counts_what_was_alive(holder, clock):
    one = holder()
    one.rotate(grace=10)
    one.rotate(grace=600)
    clock.advance(10_000)
    assert one.connection.call("revoke", one.here) == {"revoked": 2}


def test_status_counts_what_is_alive(holder, clock):
    one = holder(ttl=60)
    before = one.connection.call("status")["tokens"]
    one.rotate(grace=30, ttl=100)
    assert one.connection.call("status")["tokens"] == before + 1
    clock.advance(30_000)
    # Other tests' tokens may have ended in that time, never begun.
    assert one.connection.call("status")["tokens"] <= before


def test_a_grace_does_not_outlast_the_time_that_passed_though_the_wall_clock_jumps_back(holder, clock):
    one = holder()
    one.rotate(grace=100)
    one.rotate(grace=200)
    clock.advance(50_000)
    clock.set_wall(clock.wall - HOUR)
    assert one.alive() == [True, True, True]
    clock.advance(49_999)
    assert one.alive() == [True, True, True]
    clock.advance(1)
    assert one.alive() == [False, True, True]
    assert [entry[0] for entry in one.previous()] == [shapes.fingerprint(one.tokens[1])]
    clock.advance(100_000)
    assert one.alive() == [False, False, True] and one.previous() == []
    assert one.connection.call("revoke", one.here) == {"revoked": 1}
    clock.set_wall(clock.wall + HOUR)


def test_what_ended_by_the_boot_clock_makes_room_and_is_not_counted(holder, clock):
    one = holder()
    for grace in (600, 10, 600):
        one.rotate(grace=grace)
    clock.set_wall(clock.wall - HOUR)
    clock.advance(10_000)
    assert one.alive() == [True, False, True, True]
    one.rotate(grace=600)
    assert one.alive() == [True, False, True, True, True]
    clock.set_wall(clock.wall + HOUR)


def test_a_wall_clock_that_jumps_forward_ends_tokens_and_graces(holder, clock):
    one = holder(ttl=7_200)
    one.rotate(grace=600, ttl=7_200)
    clock.set_wall(clock.wall + 601_000)
    assert one.alive() == [False, True]
    clock.set_wall(clock.wall + 2 * HOUR)
    assert one.alive() == [False, False]


def test_a_token_s_own_life_is_the_wall_clock_s(holder, clock):
    one = holder(ttl=60)
    clock.set_wall(clock.wall - HOUR)
    clock.advance(61_000)
    assert one.alive() == [True]
    clock.set_wall(clock.wall + HOUR)
    assert one.alive() == [False]


def test_expires_before_at_the_millisecond(holder, clock):
    one = holder(ttl=60)
    end = clock.wall + 60_000
    rows = [one.connection.call("list", application=one.application, expires_before=shapes.time_text(end + d))["tokens"]
            for d in (-1, 0, 1)]  # fmt: skip
    assert [len(found) for found in rows] == [0, 0, 1]


@pytest.mark.parametrize("end", ["restart", "crash"])
def test_all_of_it_outlives_the_process(make_daemon, end):
    panel = Panel(CLOCK_SHIM)
    clock = Clock(panel)
    daemon = make_daemon(environment=panel.environment).start()
    one, expired = Holder(daemon, clock), Holder(daemon, clock, ttl=60)
    for grace in (600, 100, 300):
        one.rotate(grace=grace)
    before_row = one.row()
    clock.advance(60_000)
    getattr(daemon, end)()
    for holder in (one, expired):
        holder.reconnect()
    assert one.row() == before_row
    assert one.alive() == [True] * 4 and expired.alive() == [False]
    assert expired.connection.refusal("generate", expired.here)["code"] == -32004
    clock.advance(40_000 - 1)
    assert one.alive() == [True] * 4
    clock.advance(1)
    assert one.alive() == [True, False, True, True]
    getattr(daemon, end)()
    one.reconnect()
    assert one.alive() == [True, False, True, True]
    clock.advance(500_000)
    assert one.alive() == [False, False, False, True]
    one.rotate(grace=600)
    assert one.alive() == [False, False, False, True, True]
    clock.advance(HOUR)
    getattr(daemon, end)()
    one.reconnect()
    assert one.alive() == [False] * 5 and one.row()["state"] == "expired"
    one.connection.close()
    expired.connection.close()


def test_time_that_passes_while_the_daemon_is_down_counts(make_daemon):
    panel = Panel(CLOCK_SHIM)
    clock = Clock(panel)
    daemon = make_daemon(environment=panel.environment).start()
    one = Holder(daemon, clock)
    one.rotate(grace=100)
    daemon.stop()
    clock.advance(100_000)
    daemon.start()
    one.reconnect()
    assert one.alive() == [False, True]
    one.connection.close()


def written_uses(daemon):
    with contextlib.closing(sqlite3.connect(f"file:{daemon.state}/tokens.db?mode=ro", uri=True)) as database:
        return database.execute("SELECT count(last_used_at) FROM token").fetchone()[0]


def test_the_time_of_use_is_written_behind_within_a_minute(make_daemon):
    """A crash loses 60 s of it at most, by the clock that does not jump."""
    panel = Panel(CLOCK_SHIM)
    clock = Clock(panel)
    daemon = make_daemon(environment=panel.environment).start()
    one = Holder(daemon, clock)
    assert one.row()["last_used_at"] is None and one.alive() == [True]
    used = clock.wall
    clock.advance(60_000)
    # A change wakes the writer; what is due is due. The answers know it from memory, so the disk is asked.
    one.connection.call("register", application="other", project_code="p")
    eventually(lambda: written_uses(daemon) == 1, what="the time of use")
    assert one.row()["last_used_at"] is not None
    one.connection.close()
    daemon.crash()
    one.reconnect()
    assert 0 <= used - shapes.milliseconds(one.row()["last_used_at"]) < 60_000
    one.connection.close()


def test_a_century_s_dates(make_daemon):
    """Leap days, the year's turn and 2038 in the texts of times."""
    panel = Panel(CLOCK_SHIM)
    clock = Clock(panel)
    daemon = make_daemon(environment=panel.environment).start()
    with daemon.connect() as root:
        root.call("register", application="a", project_code="p")
        for text in ("1999-12-31T23:59:00.001Z", "2024-02-29T23:59:59.999Z", "2038-01-19T03:14:07.999Z",
                     "2100-02-28T23:59:30.000Z", "2000-02-29T12:00:00.500Z"):  # fmt: skip
            clock.set_wall(shapes.milliseconds(text))
            made = root.call("rotate", application="a", project_code="p", ttl_seconds=60)
            assert made["token_expiration"] == shapes.time_text(shapes.milliseconds(text) + 60_000)
            (row,) = root.call("list", application="a")["tokens"]
            assert row["issued_at"] == text
