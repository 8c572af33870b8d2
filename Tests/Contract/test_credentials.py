"""The credential socket: exactly a token, or more than a credential may be. Never nothing, never a part."""

import array
import concurrent.futures
import os
import signal
import socket
import sqlite3
import subprocess
import threading
import time

import pytest

import credentials
import people
from credentials import (
    MIB, Asking, Service, ServiceManager, address, ask, assert_refused, assert_token_or_refused, entry, given, path_of,
)  # fmt: skip
from daemon import eventually
from faults import DISK_SHIM, Panel, compiled


def audit(daemon):
    with sqlite3.connect(f"file:{daemon.state}/tokens.db?mode=ro", uri=True) as database:
        database.row_factory = sqlite3.Row
        return [dict(row) for row in database.execute("SELECT * FROM audit ORDER BY sequence")]


@pytest.fixture
def web(make_daemon):
    return make_daemon(config=entry()).start()


# What is given.


def test_each_start_gets_a_token_of_its_own(web):
    tokens = [given(ask(web).read()) for _ in range(3)]
    assert len(set(tokens)) == 3
    with web.connect() as connection:
        # The last one, and the earlier ones for their grace.
        assert [connection.call("introspect", token=token)["active"] for token in tokens] == [True] * 3
        (row,) = connection.call("list", application="web")["tokens"]
    assert row["project_code"] == "P" and len(row["previous"]) == 2
    rows = audit(web)
    assert [row["event"] for row in rows] == ["registered", "rotated", "rotated"]
    assert {row["principal"] for row in rows} == {"unit:web.service"}
    assert {row["unit"] for row in rows} == {"web.service"}
    assert {(row["uid"], row["pid"]) for row in rows} == {(0, os.getpid())}


@pytest.mark.parametrize("grace", [0, 60, None])
def test_the_entry_says_how_long_the_old_token_stays(make_daemon, grace):
    daemon = make_daemon(config=entry(grace=grace)).start()
    first = given(ask(daemon).read())
    before = time.time() * 1000
    given(ask(daemon).read())
    (shortened,) = [row["shortened"] for row in audit(daemon) if row["event"] == "rotated"]
    with daemon.connect() as connection:
        assert connection.call("introspect", token=first)["active"] == (grace != 0)
    if grace == 0:
        assert shortened == b""
    else:
        end = int.from_bytes(shortened[8:], "big")
        assert abs(end - before - 1000 * (300 if grace is None else grace)) < 5000


@pytest.mark.parametrize("state", ["nothing", "registered for another project", "held", "revoked", "expired"])
def test_a_token_comes_from_every_state(make_daemon, state):
    daemon = make_daemon(config="[tokens]\nttl_seconds_min = 1\n" + entry()).start()
    with daemon.connect() as connection:
        if state != "nothing":
            project = "Q" if "another" in state else "P"
            ttl = {"ttl_seconds": 1} if state == "expired" else {}
            connection.call("register", application="web", project_code=project, **ttl)
        if state == "revoked":
            connection.call("revoke", application="web", project_code="P")
        if state == "expired":
            eventually(
                lambda: connection.call("list", application="web")["tokens"][0]["state"] == "expired", what="the expiry"
            )
        token = given(ask(daemon).read())
        assert connection.call("introspect", token=token)["active"]
    assert len(audit(daemon)) == {"nothing": 1, "revoked": 3}.get(state, 2)


NAMES = [r"a-\x2db@c:d.service", "getty@tty1.service", "x.socket"]


@pytest.mark.parametrize("unit", [*NAMES, "u" * 70 + ".service"], ids=["escaped", "instance", "socket", "long"])
def test_names_as_systemd_has_them(make_daemon, unit):
    daemon = make_daemon(config=entry(unit=unit)).start()
    given(ask(daemon, unit=unit).read())
    assert [row["principal"] for row in audit(daemon)] == [f"unit:{unit}"]


def test_an_address_of_the_greatest_length(make_daemon):
    """sun_path to its last byte: an abstract name has no NUL at its end."""
    rest = len(address("", "token", random="f" * 16))
    unit = "u" * (108 - rest - len(".service")) + ".service"
    name = address(unit, "token", random="f" * 16)
    assert len(name) == 108
    daemon = make_daemon(config=entry(unit=unit)).start()
    given(Asking(path_of(daemon), name).read())
    # One that differs in the last byte only is another.
    assert_refused(Asking(path_of(daemon), name[:-1] + b"m").read())


def test_a_unit_may_have_many_credentials_and_many_units_start_at_once(make_daemon):
    pairs = [(f"u{unit}.service", f"c{number}") for unit in range(25) for number in range(8)]
    text = "".join(entry(unit, credential, f"{unit}/{credential}") for unit, credential in pairs)
    daemon = make_daemon(config=text).start()
    with concurrent.futures.ThreadPoolExecutor(100) as pool:
        tokens = list(pool.map(lambda pair: given(ask(daemon, *pair).read()), pairs * 2))
    assert len(set(tokens)) == 2 * len(pairs)
    with daemon.connect() as connection:
        assert all(connection.call("introspect", token=token)["active"] for token in tokens)


def test_more_at_once_than_are_accepted_at_once(make_daemon):
    daemon = make_daemon(config="".join(entry(f"u{n}.service", application=f"a{n}") for n in range(600))).start()
    daemon.process.send_signal(signal.SIGSTOP)
    asking = [ask(daemon, f"u{number}.service") for number in range(600)]
    daemon.process.send_signal(signal.SIGCONT)
    assert len({given(one.read()) for one in asking}) == 600


# What is refused.

WRONG = {
    "another unit": address("other.service"),
    "another credential": address(credential="password"),
    "no address": b"",
    "a user manager's random": address(random="XYZ"),
    "no random": b"\0/unit/web.service/token",
    "too much random": address(random="1" * 17),
    "not of a unit": b"\0ab/user/web.service/token",
    "a part before": b"\0ab/x/unit/web.service/token",
    "a part behind": address(credential="token/x"),
    "a NUL behind": address() + b"\0",
    "a NUL within": address("web.service\0"),
    "a prefix": address("web.servic"),
    "no credential": address(credential=""),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_the_configuration_does_not_name_is_refused(web, case):
    assert_refused(Asking(path_of(web), WRONG[case]).read())
    assert "a credential was refused" in web.output() and audit(web) == []


def test_a_path_is_no_address(web):
    """The same words in the file system, where anyone may make folders."""
    folder = web.folder / "unit" / "web.service"
    folder.mkdir(parents=True)
    assert_refused(Asking(path_of(web), os.fsencode(folder / "token")).read())
    assert audit(web) == []


def test_only_root_is_believed(web):
    path_of(web).chmod(0o666)
    ours, theirs = socket.socketpair()

    def make():
        asking = Asking(path_of(web), address())
        theirs.sendmsg([b"."], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [asking.socket.fileno()]))])

    people.run_as(people.person(people.ALICE), make)
    _, ancillary, _, _ = ours.recvmsg(1, socket.CMSG_SPACE(4))
    connection = socket.socket(fileno=array.array("i", ancillary[0][2])[0])
    connection.settimeout(30)
    data = b""
    while len(data) <= MIB and (chunk := connection.recv(1 << 16)):
        data += chunk
    assert_refused(data)
    assert audit(web) == [] and "only the system's service manager" in web.output()


def test_the_socket_is_roots_alone(web):
    assert path_of(web).stat().st_mode & 0o777 == 0o600
    with pytest.raises(AssertionError, match="PermissionError"):
        people.connect_as(people.person(people.ALICE), path_of(web))


def test_a_unit_in_a_crash_loop_is_limited_and_others_are_not(make_daemon):
    daemon = make_daemon(config=entry() + entry("other.service", application="other")).start()
    answers = [ask(daemon).read() for _ in range(33)]
    for answer in answers[:30]:
        given(answer)
    for answer in answers[31:]:
        assert_refused(answer)
    given(ask(daemon, "other.service").read())
    assert "started too often" in daemon.output()
    assert len(audit(daemon)) <= 32


@pytest.mark.parametrize("fault", ["write_errno", "sync_errno"])
def test_a_full_or_broken_disk_refuses(make_daemon, fault):
    daemon = make_daemon(config=entry()).allow_logged_errors()
    panel = Panel(DISK_SHIM, watched=daemon.state)
    daemon.environment = panel.environment
    daemon.start()
    given(ask(daemon).read())
    panel.set(**{fault: 28 if fault == "write_errno" else 5})
    assert_refused(ask(daemon).read())
    panel.set(**{fault: 0})
    if fault == "write_errno":
        given(ask(daemon).read())


def test_the_quota_of_an_owner_refuses(make_daemon):
    daemon = make_daemon(config="[tokens]\nper_owner = 1\n" + entry(credential="a", application="web/a")
                         + entry(credential="b", application="web/b")).start()  # fmt: skip
    given(ask(daemon, credential="a").read())
    assert_refused(ask(daemon, credential="b").read())
    assert "as many as it may have" in daemon.output()


def test_a_reload_takes_entries_into_force(web):
    assert_refused(ask(web, "late.service").read())
    web.configure(entry("late.service", application="late"))
    assert web.tool("reload").returncode == 0
    given(ask(web, "late.service").read())
    assert_refused(ask(web).read())


def test_a_consumer_that_goes_away_costs_nothing(web):
    before = web.open_files()
    for _ in range(20):
        ask(web).close()
        ask(web, "other.service").close()
    given(ask(web).read())
    eventually(lambda: web.open_files() <= before, what="the end of all connections")


# Stop and kill.


@pytest.fixture
def service(make_daemon, tmp_path):
    """A daemon under a service manager, not yet started."""
    running = Service(make_daemon(config=entry()), ServiceManager(tmp_path))
    yield running
    if running.daemon.process and running.daemon.process.poll() is None:
        running.daemon.process.send_signal(signal.SIGCONT)
        running.stop()
    running.close()


def in_background(asking):
    """Reads while others act; a refusal is longer than a socket's buffer."""
    pool = concurrent.futures.ThreadPoolExecutor(1)
    result = pool.submit(asking.read)
    pool.shutdown(wait=False)
    return result


def test_the_stored_connection_is_taken_out_again(service):
    service.start()
    given(ask(service.daemon).read())
    assert_refused(ask(service.daemon, "other.service").read())
    service.manager.wait_for("FDSTOREREMOVE=1", 2)
    assert service.manager.stored == {}
    names = [state for state in service.manager.states if state.startswith("FDNAME=credential-")]
    assert len(names) == 4 and len(set(names)) == 2
    service.stop()


def test_a_stop_leaves_nobody_without_an_answer(service):
    """Some wait for the disk, some read their refusals slowly, some have not been accepted."""
    panel = Panel(DISK_SHIM, watched=service.daemon.state)
    service.daemon.environment |= panel.environment
    service.start()
    given(ask(service.daemon).read())
    panel.set(sync_delay_milliseconds=300)
    asking = [ask(service.daemon) for _ in range(10)] + [ask(service.daemon, "other.service") for _ in range(5)]
    service.manager.wait_for("FDSTORE=1", 1 + len(asking))
    service.daemon.terminate()
    answers = [in_background(one) for one in asking]
    for answer in answers[:10]:
        given(answer.result(30))
    for answer in answers[10:]:
        assert_refused(answer.result(30))
    assert service.daemon.wait() == 0
    service.await_end()
    assert service.manager.stored == {}


def test_a_stop_answers_the_backlog(service):
    """More than one wake accepts; where there is no next instance, systemd would accept and close them."""
    service.start()
    service.daemon.process.send_signal(signal.SIGSTOP)
    asking = [ask(service.daemon) for _ in range(25)]
    service.daemon.process.send_signal(signal.SIGTERM)
    service.daemon.process.send_signal(signal.SIGCONT)
    tokens = {given(answer.result(30)) for answer in [in_background(one) for one in asking]}
    assert len(tokens) == 25
    assert service.daemon.wait() == 0
    # What is left in the store are streams that have ended: a manager that is behind misses some removals.
    service.await_end()


def test_a_stop_waits_until_a_refusal_was_read(service):
    """What is cut off by the exit would be a credential of NULs."""
    service.start()
    asking = ask(service.daemon, "other.service")
    service.manager.wait_for("FDSTORE=1")
    service.daemon.terminate()
    service.manager.wait_for("STOPPING=1")
    with pytest.raises(subprocess.TimeoutExpired):
        service.daemon.process.wait(1)
    assert_refused(asking.read())
    assert service.daemon.wait() == 0
    service.await_end()
    assert service.manager.stored == {}


def test_a_disk_that_hangs_past_the_stop_refuses(service):
    service.daemon.configure("[server]\ndrain_seconds = 1\n" + entry())
    panel = Panel(DISK_SHIM, watched=service.daemon.state)
    service.daemon.environment |= panel.environment
    service.start()
    panel.set(sync_delay_milliseconds=4000)
    asking = ask(service.daemon)
    service.manager.wait_for("FDSTORE=1")
    service.daemon.terminate()
    assert_refused(asking.read())
    panel.set(sync_delay_milliseconds=0)
    assert service.daemon.wait() == 0
    service.await_end()


# Where the daemon is killed, and what the consumer then gets; `None`: either, but nothing else.
KILLS = {
    "accepted": "refused",
    "stored": "refused",
    "kept": "token",
    "marked": "refused",
    "sent": "token",
    "read": "both",
    "shut": "token",
    "marked-refusal": "refused",
    "refusing": "refused",
}


@pytest.mark.parametrize("point", KILLS)
def test_a_kill_at_any_point_leaves_a_token_or_a_refusal(service, tmp_path, point):
    # The consumer reads only after the kill, but where it is to have read before.
    kill_at = tmp_path / "kill-at"
    service.daemon.environment |= {"LD_PRELOAD": str(compiled("kill_shim.c")), "SCAEM_TEST_KILL_AT": str(kill_at)}
    service.start()
    first = given(ask(service.daemon).read())
    kill_at.write_text(point)
    asking = ask(service.daemon, "other.service" if "refus" in point else "web.service")
    reading = in_background(asking) if point in ("read", "accepted", "stored") else None
    service.await_end()
    assert not kill_at.exists(), "the point was not reached"
    if point in ("accepted", "stored"):
        # By the process that outlives the daemon, before there is a next one.
        assert_refused(reading.result(30))
    service.start()
    data = (reading or in_background(asking)).result(30)
    if KILLS[point] == "token":
        second = given(data)
        with service.daemon.connect() as connection:
            assert connection.call("introspect", token=second)["active"]
            assert connection.call("introspect", token=first)["active"]
    elif KILLS[point] == "refused":
        assert_refused(data)
    else:
        # The token was read, and nobody knows: what follows it makes it too much.
        assert len(data) > MIB
        credentials.given(data[:72])
    given(ask(service.daemon).read())
    service.stop()
    assert service.manager.stored == {}


def test_kills_while_many_ask(service, seeded):
    """Whatever the moment: each consumer has exactly a token, or failed."""
    service.daemon.configure("".join(entry(f"u{n}.service", application=f"a{n}") for n in range(40)))
    service.start()
    answers = []
    lock = threading.Lock()
    for _ in range(6):
        ready = threading.Barrier(41)

        def consumer(number):
            ready.wait()  # noqa: B023
            data = ask(service.daemon, f"u{number}.service").read()
            with lock:
                answers.append(data)

        threads = [threading.Thread(target=consumer, args=(number,)) for number in range(40)]
        for thread in threads:
            thread.start()
        heard, answered = service.manager.messages + seeded.randrange(0, 80), len(answers) + 40
        ready.wait()
        # 40 are stored and removed again, unless the service manager's queue is full: then that message is not sent.
        eventually(lambda: service.manager.messages >= heard or len(answers) >= answered, 30, "the moment")  # noqa: B023
        service.kill()
        service.start()
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive(), service.daemon.output()
    assert len(answers) == 240
    for data in answers:
        assert_token_or_refused(data)
    tokens = [data for data in answers if len(data) == 72]
    assert len(set(tokens)) == len(tokens) and len(tokens) > 120
    service.stop()


def test_a_start_that_fails_refuses_those_who_wait(service):
    """systemd drops its store when a service has failed: an end of stream, and so an empty credential."""
    service.start()
    service.daemon.process.send_signal(signal.SIGSTOP)
    service.daemon.process.kill()
    service.await_end()
    asking = ask(service.daemon)
    # As if the instance before had accepted it.
    accepted, _ = service.listeners["credential"].accept()
    service.manager.stored["credential-1"] = accepted.detach()
    good = service.daemon.config.read_text()
    service.daemon.configure("what = 'is this'\n")
    answer = in_background(asking)
    service.launch()
    assert service.daemon.process.wait(30) == 78
    service.await_end()
    assert_refused(answer.result(30))
    service.daemon.configure(good)
    service.daemon.allow_logged_errors()


def test_without_a_service_manager_nothing_is_stored(web):
    given(ask(web).read())
    assert "store" not in web.output()
