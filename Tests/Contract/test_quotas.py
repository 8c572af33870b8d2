"""Every resource has a bound: tokens of an owner, connections, the writer's queue, mutations a second."""

import contextlib
import threading
import time

import pytest

import people
from daemon import eventually, public_folder
from faults import DISK_SHIM, Panel
from wire import MAX_BATCH, assert_error, parse, request


def here(application, project="p"):
    return {"application": application, "project_code": project}


# Tokens of an owner.


def test_an_owner_s_tokens(make_daemon):
    daemon = make_daemon(config="[tokens]\nper_owner = 4\n").start()
    alice_person, bob_person, admin_person = (people.person(n) for n in (people.ALICE, people.BOB, people.ADMIN))
    with people.connected_as(daemon.socket, alice_person, bob_person, admin_person) as (alice, bob, admin):
        name = people.ALICE
        alice.call("register", here(name))
        alice.call("generate", here(name, "q"))
        alice.call("register", here(f"{name}/x"))
        alice.call("register", here(f"{name}/y"))
        for method, params in (("register", here(f"{name}/z")), ("generate", here(name, "r"))):
            error = alice.refusal(method, params)
            assert error["code"] == -32011, error
        # Nothing has changed: the application that was refused is not registered.
        assert alice.refusal("generate", here(f"{name}/z"))["code"] == -32001
        # State goes on being told, and what needs no more room goes on.
        assert alice.refusal("register", here(name))["code"] == -32002
        assert alice.refusal("generate", here(name))["code"] == -32004
        alice.call("rotate", here(name))
        alice.call("rotate", here(name))
        # Others have room of their own; administrators are exempt.
        bob.call("register", here(people.BOB))
        for number in range(8):
            admin.call("register", here(f"{people.ADMIN}/{number}"))
        admin.call("register", here(f"{name}/by-admin"))
        # What ends makes room.
        alice.call("unregister", application=f"{name}/by-admin")
        assert alice.refusal("generate", here(name, "r"))["code"] == -32011
        alice.call("revoke", here(name, "q"))
        alice.call("generate", here(name, "r"))
        assert alice.refusal("generate", here(name, "q"))["code"] == -32011
    daemon.restart()
    with people.connected_as(daemon.socket, alice_person) as alice:
        assert alice.refusal("generate", here(name, "q"))["code"] == -32011
        alice.call("unregister", application=f"{name}/y")
        alice.call("generate", here(name, "q"))


def test_a_batch_cannot_slip_past_the_quota(make_daemon):
    daemon = make_daemon(config="[tokens]\nper_owner = 10\n").start()
    with people.connected_as(daemon.socket, people.person(people.ALICE)) as alice:
        lines = [request("register", here(f"{people.ALICE}/{n}"), n) for n in range(100)]
        answers = alice.answer(b"[" + b",".join(lines) + b"]")
        assert sum("result" in answer for answer in answers) == 10
        assert {a["error"]["code"] for a in answers if "error" in a} == {-32011}
        assert len(alice.call("list")["tokens"]) == 10


# Connections.


def assert_turned_away(daemon, who):
    with daemon.connect(who) as connection:
        assert_error(parse(connection.read_line()), -32006, None, "busy")
        connection.assert_closed()


def answers(connection):
    return connection.call("ping") == {}


def test_connections_of_one_user(make_daemon):
    daemon = make_daemon(config="[limits]\nconnections_per_user = 3\n").start()
    alice, bob, admin = (people.person(n) for n in (people.ALICE, people.BOB, people.ADMIN))
    held = [daemon.connect(alice) for _ in range(3)]
    assert all(answers(connection) for connection in held)
    assert_turned_away(daemon, alice)
    assert_turned_away(daemon, alice)
    for who in (bob, admin, None):
        with daemon.connect(who) as connection:
            assert answers(connection)
    others = [daemon.connect() for _ in range(10)] + [daemon.connect(admin) for _ in range(10)]
    assert all(answers(connection) for connection in others), "root and administrators are exempt"
    # One leaves, one comes in.
    held.pop().close()

    def comes_in():
        with daemon.connect(alice) as connection, contextlib.suppress(BrokenPipeError, AssertionError):
            connection.send(request("ping", None, 1) + b"\n")
            return parse(connection.read_line())["id"] == 1

    eventually(comes_in, what="the room of the connection that was closed")
    for connection in held + others:
        connection.close()


def test_connections_in_all_and_the_room_that_is_kept_for_administrators(make_daemon):
    daemon = make_daemon(config="[limits]\nconnections = 32\nconnections_per_user = 32\n").start()
    alice, bob, admin = (people.person(n) for n in (people.ALICE, people.BOB, people.ADMIN))
    # The readiness probe's connection is gone for the daemon as soon as it saw its end.
    eventually(lambda: not any_open(daemon), what="an empty daemon")
    held = [daemon.connect(alice) for _ in range(16)]
    assert all(answers(connection) for connection in held)
    for who in (alice, bob):
        assert_turned_away(daemon, who)
    kept = [daemon.connect(), *(daemon.connect(admin) for _ in range(15))]
    assert all(answers(connection) for connection in kept), "16 are kept for root and administrators"
    assert_turned_away(daemon, None)
    for connection in held:
        assert answers(connection), "who is in is not disturbed"
        connection.close()
    for connection in kept:
        connection.close()
    eventually(lambda: not any_open(daemon), what="the end of all")
    with daemon.connect(bob) as connection:
        assert answers(connection)


def test_a_lower_bound_of_all_connections_leaves_nobody_all_of_them(make_daemon):
    """A quarter, where nothing is said of one user's."""
    daemon = make_daemon(config="[limits]\nconnections = 32\n").start()
    alice, bob = (people.person(n) for n in (people.ALICE, people.BOB))
    eventually(lambda: not any_open(daemon), what="an empty daemon")
    held = [daemon.connect(alice) for _ in range(8)]
    assert all(answers(connection) for connection in held)
    assert_turned_away(daemon, alice)
    with daemon.connect(bob) as connection:
        assert answers(connection)
    for connection in held:
        connection.close()


def any_open(daemon):
    """Whether the daemon still holds a connection at its socket (ss(8)'s source, /proc/net/unix)."""
    with open("/proc/net/unix") as table:
        rows = [line.split() for line in table if line.rstrip().endswith(str(daemon.socket))]
    return any(row[5] == "03" for row in rows)


def test_descriptors_that_run_out(make_daemon):
    """Fewer descriptors than connections: who does not fit is turned away or waits, and nobody else is disturbed."""
    daemon = make_daemon(wrapper=["sh", "-c", 'ulimit -n 64; exec "$@"', "sh"]).allow_logged_errors().start()
    with daemon.connect() as first:
        first.call("register", here("a"))
        held = []
        for _ in range(100):
            held.append(daemon.connect())
        served = 0
        for connection in held:
            with contextlib.suppress(BrokenPipeError, AssertionError):
                connection.send(request("ping", None, 1) + b"\n")
                served += b'"result"' in (connection.read_line(2) or b"")
            if served >= 10:
                break
        assert served >= 10
        first.call("rotate", here("a"))
        for connection in held:
            connection.close()

        def comes_in():
            with daemon.connect() as other, contextlib.suppress(BrokenPipeError, AssertionError):
                other.send(request("ping", None, 1) + b"\n")
                return b'"result"' in (other.read_line(2) or b"")

        eventually(comes_in, what="room again")
        first.call("rotate", here("a"))


# The writer's queue.


def on_a_tired_disk(make_daemon, config):
    """A daemon whose syncs the panel delays or holds, so that its queue fills."""
    folder = public_folder()
    panel = Panel(DISK_SHIM, watched=folder / "state")
    daemon = make_daemon(state=folder / "state", environment=panel.environment, config=config).start()
    return daemon, panel


def test_a_full_queue_is_busy_for_who_fills_it_alone(make_daemon):
    """alice's quarter of 64 places is 16; forty connections of hers ask for more than that at once."""
    daemon, panel = on_a_tired_disk(make_daemon, "[limits]\nwriter_queue = 64\n")
    panel.set(sync_delay_milliseconds=20)
    alice_person, bob_person = people.person(people.ALICE), people.person(people.BOB)
    connections = [daemon.connect(alice_person) for _ in range(40)]
    each, received = 20, {}

    def ask(number, connection):
        lines = [request("register", here(f"{people.ALICE}/{number}-{n}"), n) for n in range(each)]
        received[number] = [parse(line) for line in connection.pump(b"\n".join(lines) + b"\n", each)]

    threads = [threading.Thread(target=ask, args=pair) for pair in enumerate(connections)]
    with people.connected_as(daemon.socket, bob_person) as bob:
        for thread in threads:
            thread.start()
        bob.call("register", here(people.BOB))
        while any(thread.is_alive() for thread in threads):
            bob.call("rotate", here(people.BOB))
    made, busy = set(), set()
    for number in range(len(connections)):
        assert [answer["id"] for answer in received[number]] == list(range(each))
        for answer in received[number]:
            application = f"{people.ALICE}/{number}-{answer['id']}"
            if "error" in answer:
                assert_error(answer, -32006, answer["id"], "busy")
                busy.add(application)
            else:
                made.add(application)
    assert busy, "the queue was never full: nothing is proven"
    assert made
    rows = connections[0].call("list", limit=1000)["tokens"]
    assert {row["application"] for row in rows} == made, (
        "an answer of busy changed something, or one of success nothing"
    )
    for connection in connections:
        connection.close()


def test_a_batch_may_fill_the_queue(make_daemon):
    daemon = make_daemon(config="[limits]\nwriter_queue = 64\n").start()
    with people.connected_as(daemon.socket, people.person(people.ALICE)) as alice:
        lines = [request("register", here(f"{people.ALICE}/{n}"), n) for n in range(MAX_BATCH)]
        answered = alice.answer(b"[" + b",".join(lines) + b"]")
        for number, answer in enumerate(answered):
            if "error" in answer:
                assert_error(answer, -32006, number)
        assert any("result" in answer for answer in answered)
        # A busy answer is for now: asked again one by one, each succeeds.
        for number, answer in enumerate(answered):
            if "error" in answer:
                alice.call("register", here(f"{people.ALICE}/{number}"))


# Mutations a second.


def test_mutations_a_second(make_daemon):
    daemon = make_daemon(config="[limits]\nmutations_per_second_per_user = 1\n").start()
    alice_person, bob_person = people.person(people.ALICE), people.person(people.BOB)
    with people.connected_as(daemon.socket, alice_person, bob_person) as (alice, bob):
        token = alice.call("register", here(people.ALICE))["registration_token"]
        lines = [request("rotate", here(people.ALICE) | {"grace_seconds": 600}, n) for n in range(30)]
        started = time.monotonic()
        answered = [parse(line) for line in alice.pump(b"\n".join(lines) + b"\n", 30)]
        took = time.monotonic() - started
        limited = [a for a in answered if "error" in a]
        assert 30 - len(limited) <= 1 + took + 1 and limited
        for answer in limited:
            assert_error(answer, -32009, answer["id"], "rate_limited")
        for line in alice.pump(b"\n".join(request("introspect", {"token": token}, n) for n in range(500)) + b"\n", 500):
            assert b'"active"' in line, "introspect is never limited"
        bob.call("register", here(people.BOB))

        def accepted():
            return "result" in alice.ask("rotate", here(people.ALICE))

        eventually(accepted, 30, "the next second's mutation")


def test_what_a_full_queue_refuses_is_not_charged_to_the_rate(make_daemon):
    """alice may have 16 places and 30 changes: of 60 at once those that find no place are busy, not over her rate."""
    config = "[limits]\nwriter_queue = 64\nmutations_per_second_per_user = 30\n"
    daemon, panel = on_a_tired_disk(make_daemon, config)
    alice = people.person(people.ALICE)
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(daemon.connect(alice)) for _ in range(60)]

        def refused_at_once():
            return sum(connection.has_more() for connection in connections)

        with panel.held("sync"):
            for number, connection in enumerate(connections):
                connection.send(request("register", here(f"{people.ALICE}/{number}"), number) + b"\n")
                # A lone change is synced by the writer itself, which then takes no other.
                if number == 0:
                    panel.await_waiting("sync")
            eventually(lambda: refused_at_once() > 30, 30, "more refusals than the rate has room for")
        outcomes = [parse(connection.read_line()) for connection in connections]
    refused = [answer["error"]["data"]["reason"] for answer in outcomes if "error" in answer]
    assert set(refused) == {"busy"}, refused


@pytest.mark.parametrize("unlimited", ["", "[limits]\nmutations_per_second_per_user = 0\n"])
def test_no_limit_unless_it_is_configured(make_daemon, unlimited):
    daemon = make_daemon(config=unlimited).start()
    with people.connected_as(daemon.socket, people.person(people.ALICE)) as alice:
        alice.call("register", here(people.ALICE))
        lines = [request("rotate", here(people.ALICE), n) for n in range(2_000)]
        for line in alice.pump(b"\n".join(lines) + b"\n", len(lines)):
            assert b'"result"' in line, line
