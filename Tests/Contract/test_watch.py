"""`watch`: what happened, to whom it may be told, in order, without a gap and never twice."""

import contextlib
import json
import threading

import pytest

import people
import shapes
from daemon import eventually
from faults import CLOCK_SHIM, Clock, Panel
from wire import assert_error, parse, request


class Watcher:
    """A connection that watches; events and answers are kept apart."""

    def __init__(self, connection, since=None):
        self.connection = connection
        params = None if since is None else {"since": since}
        connection.send(request("watch", params, "watch") + b"\n")
        # The result comes before every event.
        result = parse(connection.read_line())
        assert result["id"] == "watch" and set(result.get("result", {})) == {"sequence"}, result
        self.sequence = result["result"]["sequence"]
        assert type(self.sequence) is int

    def event(self, timeout=None):
        message = parse(self.connection.read_line(timeout))
        assert set(message) == {"jsonrpc", "method", "params"} and message["jsonrpc"] == "2.0", message
        assert message["method"] == "event", message
        return message["params"]

    def events(self, count):
        return [self.event() for _ in range(count)]

    def last_words(self):
        """The rest of the events, and the one `error` notification before the close."""
        events = []
        while True:
            message = parse(self.connection.read_line(60))
            assert "id" not in message and message["jsonrpc"] == "2.0", message
            if message["method"] == "error":
                self.connection.assert_closed(60)
                return events, message["params"]
            assert message["method"] == "event"
            events.append(message["params"])

    def nothing_more(self):
        """No event waits: an answer that is asked for now is the next line."""
        self.connection.send(request("ping", None, "nothing more") + b"\n")
        line = self.connection.read_line()
        assert parse(line) == {"jsonrpc": "2.0", "id": "nothing more", "result": {}}, line


@contextlib.contextmanager
def watching(daemon, who=None, since=None):
    with daemon.connect(who) as connection:
        yield Watcher(connection, since)


def here(application, project="p", **more):
    return {"application": application, "project_code": project, **more}


def make_history(root):
    """Seven events; returns what each must say, without sequence and time."""
    made = {}

    def token(key, method, params):
        made[key] = root.call(method, params)
        return made[key]["registration_token"]

    t = [token("r", "register", here("a"))]
    t.append(token("g", "generate", here("a", "q")))
    t.append(token("o", "rotate", here("a")))
    t.append(token("k", "rotate", here("a", grace_seconds=60)))
    root.call("revoke", here("a"))
    t.append(token("z", "rotate", here("a", "q")))
    root.call("unregister", application="a")
    f = [shapes.fingerprint(one) for one in t]
    end = made["k"]["previous_token_expiration"]
    return [
        {"event": "registered", "project_code": "p", "fingerprint": f[0]},
        {"event": "generated", "project_code": "q", "fingerprint": f[1]},
        {"event": "rotated", "project_code": "p", "fingerprint": f[2], "ended": [f[0]]},
        {"event": "rotated", "project_code": "p", "fingerprint": f[3],
         "shortened": [{"fingerprint": f[2], "token_expiration": end}]},
        {"event": "revoked", "project_code": "p", "ended": [f[2], f[3]]},
        {"event": "rotated", "project_code": "q", "fingerprint": f[4], "ended": [f[1]]},
        {"event": "unregistered", "ended": [f[4]]},
    ], made["r"]["registration_id"]  # fmt: skip


def essence(event):
    """An event without what differs from run to run; lists of fingerprints in one order, empty ones left out."""
    kept = {k: v for k, v in event.items() if k not in ("sequence", "time", "registration_id", "application")}
    for key in ("ended", "shortened"):
        if key in kept:
            kept[key] = sorted(kept[key], key=json.dumps)
            if not kept[key]:
                del kept[key]
    return kept


def check_history(events, expected, identity, first):
    assert [essence(event) for event in events] == [essence(event) for event in expected]
    assert [event["sequence"] for event in events] == list(range(first, first + len(expected)))
    for event in events:
        assert event["registration_id"] == identity and event["application"] == "a"
        assert shapes.TIME.fullmatch(event["time"])


# From now, and since.


def test_events_from_now_on(daemon):
    with watching(daemon) as first, daemon.connect() as root:
        assert first.sequence == 0
        expected, identity = make_history(root)
        check_history(first.events(7), expected, identity, 1)
        first.nothing_more()
        with watching(daemon) as second:
            assert second.sequence == 7
            second.nothing_more()
            root.call("register", here("b"))
            assert first.event() == second.event()


def test_the_past_since_a_number(daemon):
    with daemon.connect() as root:
        expected, identity = make_history(root)
    for end in (lambda: None, daemon.restart, daemon.crash):
        end()
        for since in range(8):
            with watching(daemon, since=since) as watcher:
                check_history(watcher.events(7 - since), expected[since:], identity, since + 1)
                watcher.nothing_more()


def test_refused_requests_are_no_events(daemon):
    with watching(daemon) as watcher, daemon.connect() as root:
        root.refusal("rotate", here("a"))
        root.call("revoke", here("a"))
        root.call("revoke", token="x")
        root.call("revoke", here("*"))
        root.call("introspect", token="x")
        root.call("list")
        watcher.nothing_more()


def test_a_previous_token_that_is_revoked_or_pushed_out(daemon):
    with watching(daemon) as watcher, daemon.connect() as root:
        tokens = [root.call("register", here("a"))["registration_token"]]
        for _ in range(4):
            tokens.append(root.call("rotate", here("a", grace_seconds=600))["registration_token"])
        prints = [shapes.fingerprint(token) for token in tokens]
        events = watcher.events(5)
        assert [event.get("ended", []) for event in events] == [[], [], [], [], [prints[0]]]
        assert [[s["fingerprint"] for s in e.get("shortened", [])] for e in events] == [[], *([p] for p in prints[:4])]
        root.call("revoke", token=tokens[2])
        event = watcher.event()
        assert essence(event) == {"event": "revoked", "project_code": "p", "ended": [prints[2]]}
        root.call("revoke", token=tokens[4])
        assert sorted(watcher.event()["ended"]) == sorted([prints[1], prints[3], prints[4]])


def test_one_event_an_application_where_a_project_is_revoked(daemon):
    with daemon.connect() as root:
        for application in ("a", "b", "c"):
            root.call("register", here(application))
        root.call("register", here("d", "other"))
        with watching(daemon) as watcher:
            assert root.call("revoke", here("*")) == {"revoked": 3}
            events = watcher.events(3)
            watcher.nothing_more()
    assert sorted(event["application"] for event in events) == ["a", "b", "c"]
    assert all(event["event"] == "revoked" and len(event["ended"]) == 1 for event in events)


def test_expired_tokens_do_not_end_again_and_ends_are_not_moved_back(make_daemon):
    panel = Panel(CLOCK_SHIM)
    clock = Clock(panel)
    daemon = make_daemon(environment=panel.environment).start()
    with watching(daemon) as watcher, daemon.connect() as root:
        root.call("register", here("a", ttl_seconds=60))
        root.call("rotate", here("a", grace_seconds=600, ttl_seconds=60))
        watcher.event()
        event = watcher.event()
        assert event["time"] == shapes.time_text(clock.wall)
        assert not event.get("shortened") and not event.get("ended"), "its own end is earlier than its grace's"
        clock.advance(60_000)
        root.call("rotate", here("a", ttl_seconds=60))
        assert not watcher.event().get("ended"), "what had expired did not end now"


# To whom it is told.


def test_each_sees_what_is_theirs(daemon):
    alice, bob, admin, verifier = (people.person(n) for n in (people.ALICE, people.BOB, people.ADMIN, people.VERIFIER))
    names = [people.ALICE, f"{people.ALICE}/x", people.BOB, f"{people.ALICE}-x", f"{people.VERIFIER}/own", "free"]
    with contextlib.ExitStack() as stack:
        watchers = {who.name: stack.enter_context(watching(daemon, who)) for who in (alice, bob, admin, verifier)}
        root = stack.enter_context(daemon.connect())
        for application in names:
            root.call("register", here(application))
            root.call("rotate", here(application, grace_seconds=60))
            root.call("rotate", here(application))
            root.call("unregister", application=application)
        count = 4 * len(names)
        seen = watchers[people.ADMIN].events(count)
        assert [event["sequence"] for event in seen] == list(range(1, count + 1))
        assert [event["application"] for event in seen] == [name for name in names for _ in range(4)]

        def of(owner):
            return [e for e in seen if e["application"] == owner or e["application"].startswith(owner + "/")]

        for who in (alice, bob):
            mine = of(who.name)
            assert watchers[who.name].events(len(mine)) == mine
        for event, full in zip(watchers[people.VERIFIER].events(count), seen, strict=True):
            if full in of(people.VERIFIER):
                assert event == full
            else:
                assert set(event) <= {"sequence", "event", "ended", "shortened"}
                assert event == {key: full[key] for key in event}
                assert event.get("ended", []) == full.get("ended", [])
                assert event.get("shortened", []) == full.get("shortened", [])
        for watcher in watchers.values():
            watcher.nothing_more()

        # The same from the past.
        for who in (alice, bob, admin, verifier):
            with watching(daemon, who, since=0) as again:
                theirs = seen if who is admin else of(who.name)
                if who is verifier:
                    assert [event["sequence"] for event in again.events(count)] == list(range(1, count + 1))
                else:
                    assert again.events(len(theirs)) == theirs
                again.nothing_more()


def test_no_event_holds_a_token(daemon):
    with watching(daemon) as watcher, daemon.connect() as root:
        make_history(root)
        for _ in range(7):
            assert b"api_key" not in watcher.connection.read_line()


# Its form.


def test_one_watch_a_connection(daemon):
    with watching(daemon) as watcher, daemon.connect() as root:
        assert_error(watcher.connection.answer(request("watch", None, 2)), -32600, 2)
        assert_error(watcher.connection.answer(request("watch", {"since": 0}, 3)), -32600, 3)
        root.call("register", here("a"))
        assert watcher.event()["sequence"] == 1
        watcher.nothing_more()


def test_never_in_a_batch(daemon):
    with daemon.connect() as root:
        (answer,) = root.answer(b"[" + request("watch", None, 1) + b"]")
        assert_error(answer, -32600, 1)
        root.call("register", here("a"))
        assert root.call("ping") == {}


@pytest.mark.parametrize("since", [b"-1", b'"1"', b"1.0", b"null", b"1e0", b"true"])
def test_since_must_be_a_number(daemon, since):
    with daemon.connect() as root:
        text = b'{"jsonrpc":"2.0","id":1,"method":"watch","params":{"since":%s}}' % since
        assert_error(root.answer(text), -32602, 1, param="since")


def test_a_watching_connection_answers_on(daemon):
    """Requests go on as before, in order, with events between the answers; its own changes are among them."""
    with daemon.connect() as connection:
        Watcher(connection)
        lines = [request("register", here("a"), 0)] + [request("rotate", here("a"), n) for n in range(1, 200)]
        connection.send(b"\n".join(lines) + b"\n")
        messages = [parse(line) for line in connection.read_lines(400)]
        assert [m["id"] for m in messages if "id" in m] == list(range(200))
        assert [m["params"]["sequence"] for m in messages if "id" not in m] == list(range(1, 201))


# The past that is not there.


def test_from_the_future(daemon):
    with daemon.connect() as root:
        root.call("register", here("a"))
        for since in (2, 100, 2**53, 2**63 - 1):
            assert root.refusal("watch", {"since": since})["code"] == -32010
        # The refusal is no watch: another is possible.
        watcher = Watcher(root, since=1)
        watcher.nothing_more()


def test_from_before_what_is_kept(make_daemon):
    """Over the cap the oldest go; who asks for them hears so, and not of a part."""
    daemon = make_daemon(config="[audit]\nrows_max = 10_000\n").start()
    with daemon.connect() as root:
        count = 15_000
        lines = [request("register", here("a"), 0)] + [request("rotate", here("a"), n) for n in range(1, count)]
        root.pump(b"\n".join(lines) + b"\n", count, timeout=120)

        def is_gone():
            root.call("rotate", here("a"))
            with daemon.connect() as other:
                other.send(request("watch", {"since": 0}, 1) + b"\n")
                answer = parse(other.read_line())
            return answer.get("error", {}).get("code") == -32010

        eventually(is_gone, 40, "the going of the oldest rows")
        with watching(daemon, since=count - 1_000) as watcher:
            assert watcher.event()["sequence"] == count - 999


def test_from_before_a_restore(daemon, tmp_path):
    copy = tmp_path / "copy"
    with daemon.connect() as root:
        for number in range(5):
            root.call("register", here(f"a{number}"))
        backup = daemon.tool("backup", copy)
        assert backup.returncode == 0, backup.stderr
        for number in range(5):
            root.call("register", here(f"b{number}"))
    daemon.stop()
    restored = daemon.tool("restore", copy)
    assert restored.returncode == 0, restored.stderr
    daemon.start()
    with daemon.connect() as root:
        for since in (0, 3, 10):
            assert root.refusal("watch", {"since": since})["code"] == -32010
        watcher = Watcher(root)
        with daemon.connect() as other:
            other.call("register", here("c"))
        event = watcher.event()
        assert event["application"] == "c" and event["sequence"] == watcher.sequence + 1
        with watching(daemon, since=watcher.sequence) as again:
            assert again.event() == event


# Its end.


def test_the_daemon_s_stop_ends_a_watch_with_a_word(daemon):
    with contextlib.ExitStack() as stack:
        watchers = [stack.enter_context(watching(daemon)) for _ in range(5)]
        with daemon.connect() as root:
            root.call("register", here("a"))
        daemon.terminate()
        for watcher in watchers:
            events, words = watcher.last_words()
            assert [event["sequence"] for event in events] == [1]
            assert isinstance(words, dict) and words
        assert daemon.wait() == 0


def test_a_watcher_too_slow_is_ended_with_a_word_never_with_a_gap(daemon):
    count = 16_000
    with watching(daemon) as slow, watching(daemon) as quick, daemon.connect() as root:
        seen = []
        reader = threading.Thread(target=lambda: seen.extend(quick.event(60)["sequence"] for _ in range(count)))
        reader.start()
        before = daemon.resident_bytes()
        lines = [request("register", here("a"), 0)] + [request("rotate", here("a"), n) for n in range(1, count)]
        root.pump(b"\n".join(lines) + b"\n", count, timeout=120)
        assert daemon.resident_bytes() - before < 64 * 2**20
        events, words = slow.last_words()
        assert [event["sequence"] for event in events] == list(range(1, len(events) + 1))
        assert 0 < len(events) < count and words
        reader.join(60)
        assert seen == list(range(1, count + 1)), "who reads is not disturbed"
        # Where it stopped it goes on.
        with watching(daemon, since=len(events)) as again:
            assert again.event()["sequence"] == len(events) + 1


# Under load.


def test_no_gap_and_nothing_twice_under_load(daemon, seeded):
    """Watchers that join at any moment, from now or from any number, while eight callers change things."""
    per_caller, callers = 400, 8
    total = per_caller * callers
    failures = []

    def guarded(function, *arguments):
        def run():
            try:
                function(*arguments)
            except BaseException as failure:
                failures.append(repr(failure))

        thread = threading.Thread(target=run)
        thread.start()
        return thread

    def change(number):
        with daemon.connect() as connection:
            connection.call("register", here(f"a{number}"))
            for _ in range(per_caller - 1):
                connection.call("rotate", here(f"a{number}"))

    def watch(since):
        with watching(daemon, since=since) as watcher:
            first = (watcher.sequence if since is None else since) + 1
            for expected in range(first, total + 1):
                got = watcher.event(60)["sequence"]
                assert got == expected, f"{got} came where {expected} was due"

    threads = [guarded(change, number) for number in range(callers)]
    with watching(daemon, since=0) as pace:
        for at in sorted(seeded.sample(range(1, total), 40)):
            while pace.event(60)["sequence"] < at:
                pass
            threads.append(guarded(watch, None if seeded.random() < 0.4 else seeded.randrange(at)))
    for thread in threads:
        thread.join(120)
    assert not failures, failures[:3]


def test_an_event_is_sent_after_its_commit(make_daemon, seeded):
    """What a watcher heard of is there after kill -9."""
    daemon = make_daemon().start()
    heard = 0
    for _ in range(3):
        with watching(daemon, since=heard) as watcher, daemon.connect() as root:
            lines = [request("register", here(f"a{heard}"), 0)]
            lines += [request("rotate", here(f"a{heard}"), n) for n in range(1, 200)]
            root.send(b"\n".join(lines) + b"\n")
            wanted = heard + seeded.randrange(1, 150)
            prints = {}
            while heard < wanted:
                event = watcher.event()
                heard = event["sequence"]
                prints[heard] = event["fingerprint"]
            daemon.kill9()
        daemon.start()
        with watching(daemon, since=min(prints) - 1) as again:
            for sequence, fingerprint in prints.items():
                event = again.event()
                assert (event["sequence"], event["fingerprint"]) == (sequence, fingerprint)


def test_a_thousand_watchers(daemon):
    with contextlib.ExitStack() as stack:
        watchers = [stack.enter_context(watching(daemon)) for _ in range(1_000)]
        with daemon.connect() as root:
            root.call("register", here("a"))
            for _ in range(9):
                root.call("rotate", here("a"))
            for watcher in watchers:
                assert [event["sequence"] for event in watcher.events(10)] == list(range(1, 11))
            assert root.call("ping") == {}
        before = daemon.open_files()
    eventually(lambda: daemon.open_files() <= before - 1_000, what="the end of a thousand watches")
