"""What was answered is there, after kill -9 and after a stop; and two daemons never share a database."""

import collections
import contextlib
import json
import os
import random
import re
import signal
import socket
import threading
import time

import pytest

import shapes
from daemon import eventually
from script import report
from wire import Connection, Refused, assert_error, parse, request

# server.drain_seconds, unless it is configured.
DRAIN_SECONDS = 10


class Worker(threading.Thread):
    """A caller with applications of its own, who remembers what was acknowledged and what was asked last."""

    def __init__(self, daemon, number, seed):
        super().__init__(daemon=True)
        self.target = daemon
        self.prefix = f"w{number}"
        self.random = random.Random(seed)
        # Application to its last acknowledged credentials, or None where it was unregistered.
        self.acknowledged = {}
        self.pending = None
        # The last tokens that a change has ended.
        self.ended = collections.deque(maxlen=40)
        self.done = 0
        self.failure = None

    def run(self):
        try:
            with contextlib.suppress(ConnectionError), self.target.connect() as connection:
                while True:
                    self.step(connection)
        except AssertionError as failure:
            # The end of the stream in place of an answer is what kill -9 looks like.
            if "closed instead" not in str(failure) and "within a line" not in str(failure):
                self.failure = failure
        except BaseException as failure:
            self.failure = failure

    def step(self, connection):
        application = f"{self.prefix}-{self.random.randrange(12)}"
        held = self.acknowledged.get(application)
        if held is None:
            method = "register"
        else:
            method = self.random.choices(["rotate", "unregister"], [9, 1])[0]
        params = {"application": application}
        if method != "unregister":
            params["project_code"] = "p"
        if method == "rotate" and self.random.random() < 0.5:
            params["grace_seconds"] = 600
        self.pending = (application, method)
        result = connection.call(method, params)
        if held is not None and "grace_seconds" not in params:
            self.ended.append(held["registration_token"])
        self.acknowledged[application] = None if method == "unregister" else result
        self.pending = None
        self.done += 1


def check_worker(connection, worker):
    """Every acknowledged change is there; what was asked last and not answered is there whole or not at all."""
    assert worker.failure is None, worker.failure
    for application, credentials in worker.acknowledged.items():
        asked = worker.pending[1] if worker.pending and worker.pending[0] == application else None
        rows = connection.call("list", application=application)["tokens"]
        if credentials is None:
            assert not rows or asked == "register", (application, rows)
            continue
        token = credentials["registration_token"]
        if asked == "unregister" and not rows:
            assert not connection.active(token)
        elif asked == "rotate" and rows[0]["fingerprint"] != shapes.fingerprint(token):
            assert rows[0]["registration_id"] == credentials["registration_id"]
        else:
            assert connection.active(token), (application, asked)
            assert rows[0]["fingerprint"] == shapes.fingerprint(token)
            assert rows[0]["token_expiration"] == credentials["token_expiration"]
            assert rows[0]["registration_id"] == credentials["registration_id"]
    if worker.pending and worker.pending[0] not in worker.acknowledged:
        worker.acknowledged.pop(worker.pending[0], None)


def resume(connection, worker):
    """Settles what the crash left open, so that the next round starts from what is known."""
    application = worker.pending[0] if worker.pending else None
    worker.pending = None
    if application is not None:
        with contextlib.suppress(Refused):
            connection.call("unregister", application=application)
        worker.acknowledged[application] = None


def check_index(connection):
    """What the index counts is what the tables hold."""
    alive, cursor = 0, {}
    while True:
        page = connection.call("list", limit=1000, **cursor)
        alive += sum((row["state"] == "active") + len(row["previous"]) for row in page["tokens"])
        if "next_cursor" not in page:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert connection.call("status")["tokens"] == alive


def test_kill_9_under_load_loses_nothing_that_was_acknowledged(make_daemon, seeded):
    """SCAEM_KILLS times, and for SCAEM_KILL_SECONDS, each at a random moment: a round ends when so many changes were
    acknowledged as were drawn."""
    least = int(os.environ.get("SCAEM_KILLS", "20"))
    end = time.monotonic() + float(os.environ.get("SCAEM_KILL_SECONDS", "0"))
    kills = 0
    daemon = make_daemon().start()
    memories = [{} for _ in range(8)]
    acknowledged = 0
    while kills < least or time.monotonic() < end:
        kills += 1
        workers = [Worker(daemon, number, seeded.random()) for number in range(8)]
        for worker, memory in zip(workers, memories, strict=True):
            worker.acknowledged = memory
            worker.start()
        wanted = seeded.randrange(1, 400)
        eventually(lambda: sum(worker.done for worker in workers) >= wanted, 60, "the load")  # noqa: B023
        daemon.kill9()
        for worker in workers:
            worker.join(30)
            assert not worker.is_alive()
            acknowledged += worker.done
        daemon.start()
        with daemon.connect() as connection:
            check_index(connection)
            for worker in workers:
                check_worker(connection, worker)
                assert not any(connection.active(token) for token in worker.ended), "an ended token lives again"
                resume(connection, worker)
        for command in (["check"], ["audit", "verify"]):
            done = daemon.tool(*command)
            assert done.returncode == 0, done
    daemon.stop()
    assert daemon.tool("check").returncode == 0
    report(f"kill -9 under load, {kills} times: {acknowledged} changes were acknowledged and are there")


def test_kill_9_with_pipelined_mutations_keeps_a_prefix(make_daemon, seeded):
    """One connection's mutations commit in order: what is there after a crash is the first so many of them, and at
    least those that were answered."""
    daemon = make_daemon().start()
    for round_number in range(3):
        application = f"a{round_number}"
        count = 2_000
        lines = [request("register", {"application": application, "project_code": "p0000"}, 0)]
        lines += [
            request("generate", {"application": application, "project_code": f"p{n:04d}"}, n) for n in range(1, count)
        ]
        connection = daemon.connect()
        sender = threading.Thread(
            target=_send_quietly, args=[connection.socket, b"\n".join(lines) + b"\n"], daemon=True
        )
        sender.start()
        answered = len(connection.read_lines(seeded.randrange(1, 300)))
        daemon.kill9()
        sender.join(10)
        with contextlib.suppress(AssertionError):
            answered += len(connection.read_to_end())
        connection.close()
        daemon.start()
        with daemon.connect() as root:
            found, cursor = [], {}
            while True:
                page = root.call("list", application=application, limit=1000, **cursor)
                found += [row["project_code"] for row in page["tokens"]]
                if "next_cursor" not in page:
                    break
                cursor = {"cursor": page["next_cursor"]}
        assert found == [f"p{n:04d}" for n in range(len(found))], "a hole"
        assert len(found) >= answered, f"{answered} were acknowledged, {len(found)} are there"


def _send_quietly(sock, data):
    with contextlib.suppress(OSError):
        sock.sendall(data)


# Two daemons.


def assert_second_is_refused(daemon, second):
    second.launch()
    code = second.process.wait(30)
    assert code not in (0, None) and code > 0, f"the second daemon ended with {code}"
    text = second.output().strip()
    assert text and re.search(r"(?i)another|already|in use|running|serving", text), text
    assert not re.search(r"Fatal|Crash|SQLite error|Optional", text), text
    with daemon.connect() as connection:
        connection.call("register", application=f"after-{os.urandom(4).hex()}", project_code="p")


def test_a_second_daemon_on_the_same_state_directory_is_refused(make_daemon):
    daemon = make_daemon().start()
    second = make_daemon(state=daemon.state).allow_logged_errors()
    assert_second_is_refused(daemon, second)
    daemon.crash()
    assert_second_is_refused(daemon, second)
    daemon.stop()
    second.start()
    second.stop()


def test_a_live_socket_is_never_removed(make_daemon):
    daemon = make_daemon().start()
    entry = os.stat(daemon.socket)
    second = make_daemon(socket=daemon.socket)
    assert_second_is_refused(daemon, second)
    assert os.stat(daemon.socket).st_ino == entry.st_ino


def test_the_refused_daemon_touches_nothing(make_daemon):
    """The same socket and the same state directory, ten times, beside a daemon that works."""
    daemon = make_daemon().start()
    with daemon.connect() as connection:
        token = connection.call("register", application="a", project_code="p")["registration_token"]
        second = make_daemon(state=daemon.state, socket=daemon.socket)
        for _ in range(10):
            assert_second_is_refused(daemon, second)
            assert connection.active(token)


def test_a_stale_socket_is_replaced(make_daemon):
    daemon = make_daemon().start()
    daemon.kill9()
    assert daemon.socket.exists(), "kill -9 leaves the socket: else this test proves nothing"
    daemon.start()
    daemon.stop()
    with socket.socket(socket.AF_UNIX) as old:
        with contextlib.suppress(FileNotFoundError):
            daemon.socket.unlink()
        old.bind(str(daemon.socket))
    daemon.start()


def test_what_is_no_socket_is_never_removed(make_daemon):
    daemon = make_daemon().allow_logged_errors()
    daemon.socket.write_text("somebody's file")
    daemon.launch()
    assert daemon.process.wait(30) > 0
    assert daemon.socket.read_text() == "somebody's file"
    daemon.socket.unlink()
    daemon.start()


# A stop.


def test_sigterm_answers_what_was_sent_before_it(make_daemon, seeded):
    daemon = make_daemon().start()
    for round_number in range(3):
        count = 600
        connections = [daemon.connect() for _ in range(3)]
        for number, connection in enumerate(connections):
            lines = []
            for n in range(count // 3):
                application = f"r{round_number}-c{number}-{n}"
                lines.append(request("register", {"application": application, "project_code": "p"}, application))
            connection.send(b"\n".join(lines) + b"\n")
        connections[0].read_lines(seeded.randrange(1, 20))
        daemon.terminate()
        done, refused = [], []
        for number, connection in enumerate(connections):
            answers = [parse(line) for line in connection.read_to_end()]
            taken = [a["id"] for a in answers]
            assert taken == [f"r{round_number}-c{number}-{n}" for n in range(count // 3)][-len(taken) :]
            assert len(taken) == count // 3 or number == 0
            for answer in answers:
                if "result" in answer:
                    done.append(answer)
                else:
                    assert_error(answer, -32008, answer["id"])
                    refused.append(answer["id"])
            connection.close()
        assert daemon.wait() == 0
        daemon.examine()
        daemon.start()
        with daemon.connect() as root:
            for answer in done:
                assert root.active(answer["result"]["registration_token"])
            for application in refused:
                assert root.call("list", application=application) == {"tokens": []}
    assert done


def test_sigint_is_a_stop_too(make_daemon):
    daemon = make_daemon().start()
    with daemon.connect() as connection:
        connection.call("register", application="a", project_code="p")
        daemon.process.send_signal(signal.SIGINT)
        assert daemon.wait() == 0
        connection.assert_closed()


def test_sigterm_is_quick_without_work(make_daemon):
    daemon = make_daemon().start()
    idle = [daemon.connect() for _ in range(20)]
    started = time.monotonic()
    daemon.terminate()
    assert daemon.wait() == 0
    assert time.monotonic() - started < DRAIN_SECONDS - 1, "it waited until its patience was over"
    daemon.examine()
    for connection in idle:
        connection.assert_closed()
    assert not daemon.socket.exists() or _refuses(daemon.socket)


def _refuses(path):
    try:
        Connection(path).close()
    except ConnectionRefusedError:
        return True
    return False


# What the disk holds.


def test_no_token_is_on_the_disk(make_daemon):
    """Every way a token passes through the daemon; then every byte of every file, while it runs and after."""
    daemon = make_daemon().start()
    with daemon.connect() as root:
        for number in range(200):
            here = {"application": f"a{number % 20}", "project_code": "p"}
            method = "register" if number < 20 else "rotate"
            token = root.call(method, here)["registration_token"]
            root.active(token)
            root.ask("introspect", {"token": [token]})
            root.ask(token)
            root.ask("revoke", {"token": token, "x": token})
            root.send(b"garbage " + token.encode() + b"\n")
            root.read_line()
            if number % 7 == 0:
                root.call("revoke", token=token)
                root.call("generate", here)
        daemon.assert_no_token_on_disk()
    daemon.crash()
    daemon.assert_no_token_on_disk()
    daemon.stop()
    exported = daemon.tool("audit", "export")
    assert exported.returncode == 0, exported.stderr
    assert "api_key|" not in exported.stdout
    for line in exported.stdout.splitlines():
        json.loads(line)


def test_the_search_for_tokens_finds_one(make_daemon):
    """The gate above is seen to fail: a token planted in the state directory is found."""
    daemon = make_daemon().start()
    with daemon.connect() as root:
        token = root.call("register", application="a", project_code="p")["registration_token"]
    planted = daemon.state / "planted"
    planted.write_bytes(b"\0" + token.encode() + b"\0")
    with pytest.raises(AssertionError, match="holds a token"):
        daemon.assert_no_token_on_disk()
    planted.unlink()
    daemon.assert_no_token_on_disk()
