"""Answers in the order of the requests, reads that see the mutations before them, and callers who behave badly."""

import select
import signal
import statistics
import threading
import time

import shapes
from daemon import eventually
from wire import parse, request

MEBIBYTE = 2**20


def check_ids(lines, count):
    assert [parse(line)["id"] for line in lines] == list(range(count))


def test_thousands_of_mixed_requests_are_answered_in_order(root, seeded, name):
    applications = [name() for _ in range(20)]
    methods = ["ping", "ping", "introspect", "list", "whoami", "status", "register", "generate", "rotate", "revoke",
               "unregister", "nope"]  # fmt: skip
    lines = []
    for number in range(6_000):
        method = seeded.choice(methods)
        here = {"application": seeded.choice(applications), "project_code": seeded.choice(["p", "q"])}
        params = {"introspect": {"token": "api_key|x"}, "list": {"application": here["application"]}}.get(method)
        if method in ("register", "generate", "rotate", "revoke"):
            params = here
        elif method == "unregister":
            params = {"application": here["application"]}
        # Now and then with a space: an introspect as it is usually written goes another way.
        lines.append(request(method, params, number) + b" " * seeded.randrange(2))
    answers = root.pump(b"\n".join(lines) + b"\n", len(lines))
    check_ids(answers, len(lines))
    assert sum(b'"registration_token"' in line for line in answers) > 100


def test_batches_and_singles_keep_their_order(root, name):
    application = name()
    root.call("register", application=application, project_code="p")
    rotate = {"application": application, "project_code": "p"}
    sent = bytearray()
    for number in range(0, 600, 3):
        sent += request("rotate", rotate, number) + b"\n"
        sent += b"[" + request("ping", None, number + 1) + b"," + request("rotate", rotate, "x") + b"]\n"
        sent += request("introspect", {"token": "x"}, number + 2) + b" " * (number % 2) + b"\n"
    answers = [parse(line) for line in root.pump(bytes(sent), 600)]
    assert [a[0]["id"] if isinstance(a, list) else a["id"] for a in answers] == list(range(600))
    tokens = [entry["result"]["registration_token"] for a in answers for entry in (a if isinstance(a, list) else [a])
              if "registration_token" in entry.get("result", {})]  # fmt: skip
    assert len(tokens) == len(set(tokens)) == 400
    assert not root.active(tokens[-2]) and root.active(tokens[-1])


def test_a_read_after_a_mutation_sees_it(root, name):
    """All in one write: introspect of the earlier token and list after each of many mutations."""
    applications = [name() for _ in range(50)]
    tokens = {}
    for application in applications:
        tokens[application] = root.call("register", application=application, project_code="p")["registration_token"]
    sent, wanted = bytearray(), []

    def add(method, params, check):
        # Each second one with a space: an introspect as it is usually written goes another way.
        sent.extend(request(method, params, len(wanted)) + b" " * (len(wanted) // 12 % 2) + b"\n")
        wanted.append(check)

    def fingerprints(answer):
        return [row["fingerprint"] for row in answer["result"]["tokens"]]

    made = {}

    def note(application, answer):
        made[application] = shapes.fingerprint(answer["result"]["registration_token"])
        return True

    for application in applications:
        here, token = {"application": application, "project_code": "p"}, tokens[application]
        old = shapes.fingerprint(token)
        add("introspect", {"token": token}, lambda a: a["result"]["active"])
        add("rotate", here, lambda a, k=application: note(k, a))
        add("introspect", {"token": token}, lambda a: a["result"] == {"active": False})
        add("list", {"application": application}, lambda a, k=application: fingerprints(a) == [made[k]])
        add("rotate", here | {"grace_seconds": 60}, lambda a: "previous_token_expiration" in a["result"])
        add("list", {"application": application},
            lambda a, k=application, o=old: fingerprints(a) not in ([made[k]], [o])
            and [p["fingerprint"] for p in a["result"]["tokens"][0]["previous"]] == [made[k]])  # fmt: skip
        add("revoke", here, lambda a: a["result"] == {"revoked": 2})
        add("list", {"application": application}, lambda a: fingerprints(a) == [])
        add("generate", here, lambda a: "registration_token" in a["result"])
        add("unregister", {"application": application}, lambda a: a["result"] == {"revoked": 1})
        add("list", {"application": application}, lambda a: fingerprints(a) == [])
        add("rotate", here, lambda a: a["error"]["code"] == -32001)
    answers = root.pump(bytes(sent), len(wanted))
    for number, (line, check) in enumerate(zip(answers, wanted, strict=True)):
        answer = parse(line)
        assert answer["id"] == number and check(answer), f"answer {number}: {answer}"


def test_a_change_is_visible_to_every_caller_when_its_answer_is_there(shared, root, name):
    application = name()
    token = root.call("register", application=application, project_code="p")["registration_token"]
    with shared.connect() as other:
        for _ in range(200):
            new = root.call("rotate", application=application, project_code="p")["registration_token"]
            assert not other.active(token) and other.active(new)
            token = new


def unread_requests(connection, line, bound):
    """Sends without ever reading until the daemon stops reading; returns the bytes that it took."""
    connection.socket.setblocking(False)
    batch, sent, moved = line * max(1, 65_536 // len(line)), 0, time.monotonic()
    while time.monotonic() - moved < 1.5:
        try:
            sent += connection.socket.send(batch[sent % len(batch) :])
            moved = time.monotonic()
        except BlockingIOError:
            select.select([], [connection.socket], [], 0.25)
        assert sent < bound, f"{sent} bytes taken from a caller who reads nothing"
    return sent


def test_callers_who_never_read_are_bounded_and_slow_nobody(daemon):
    with daemon.connect() as first:
        files = daemon.open_files()
        first.call("register", application="a", project_code="p")
        for number in range(300):
            first.send(request("generate", {"application": "a", "project_code": f"{number:0>100}"}, number) + b"\n")
            first.read_line()
        before = daemon.resident_bytes()
        bad = [daemon.connect() for _ in range(6)]
        lines = [
            request("list", {"limit": 1000}, 1) + b"\n",
            request("ping", None, 1) + b"\n",
            request("rotate", {"application": "a", "project_code": "p"}, 1) + b"\n",
            b"[" + b",".join([request("list", {"limit": 1000}, 1)] * 100) + b"]\n",
            request("introspect", {"token": "x"}, 1) + b"\n",
            request("status", None, 1) + b"\n",
        ]
        for connection, line in zip(bad, lines, strict=True):
            unread_requests(connection, line, 64 * MEBIBYTE)
        grown = daemon.resident_bytes() - before
        assert grown < 128 * MEBIBYTE, f"{grown} bytes more for six callers who do not read"

        times = []
        for number in range(200):
            started = time.monotonic()
            first.call("introspect", token="x")
            if number % 10 == 0:
                first.call("rotate", application="a", project_code="p")
            times.append(time.monotonic() - started)
        usual = statistics.median(times)
        assert usual < 0.25, f"another caller waited {usual:.2f} s"
        # Whoever begins to read gets everything, in order.
        assert set(bad[1].read_lines(1000)) == {b'{"jsonrpc":"2.0","id":1,"result":{}}'}
        for connection in bad:
            connection.close()
        # What they asked for and will never hear is not worked out.
        eventually(lambda: daemon.open_files() <= files + 3, 30, "the end of those who left")


def test_a_caller_who_leaves_in_the_middle_leaves_nothing(daemon, seeded):
    with daemon.connect() as first:
        first.call("register", application="a", project_code="p")
        first.call("list")
        before = daemon.open_files()
        for _ in range(60):
            connection = daemon.connect()
            lines = [
                request(seeded.choice(["ping", "status", "list", "whoami"]), None, 1)
                if seeded.random() < 0.5
                else request("rotate", {"application": "a", "project_code": "p"}, 1)
                for _ in range(seeded.randrange(1, 60))
            ]
            data = b"\n".join(lines)
            connection.send(data[: seeded.randrange(len(data) + 1)])
            if seeded.random() < 0.3:
                connection.half_close()
            connection.close()
        # Who comes after them is accepted after them: then none is waiting to be.
        with daemon.connect() as last:
            last.call("ping")
        eventually(lambda: daemon.open_files() <= before, what="the closing of what the callers left open")
        token = first.call("rotate", application="a", project_code="p")["registration_token"]
        assert first.active(token)


def test_a_request_whose_caller_left_may_still_run_but_runs_whole(daemon):
    with daemon.connect() as first:
        for number in range(30):
            application = f"a{number}"
            with daemon.connect() as leaver:
                leaver.send(request("register", {"application": application, "project_code": "p"}, 1) + b"\n")
            rows = first.call("list", application=application)["tokens"]
            if rows:
                assert first.refusal("register", application=application, project_code="p")["code"] == -32002


def test_many_connections_at_once_each_in_its_own_order(daemon):
    failures = []

    def caller(number):
        try:
            with daemon.connect() as connection:
                here = {"application": f"caller-{number}", "project_code": "p"}
                lines = [request("register", here, 0)]
                for step in range(1, 300, 3):
                    lines += [
                        request("rotate", here, step),
                        request("list", here, step + 1),
                        request("ping", None, step + 2),
                    ]
                answers = connection.pump(b"\n".join(lines) + b"\n", len(lines))
                check_ids(answers, len(lines))
                for made, listed in zip(answers[1::3], answers[2::3], strict=True):
                    rows = parse(listed)["result"]["tokens"]
                    assert rows[0]["fingerprint"] == shapes.fingerprint(parse(made)["result"]["registration_token"])
        except BaseException as failure:
            failures.append(f"caller {number}: {failure!r}")

    threads = [threading.Thread(target=caller, args=[number]) for number in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not failures, failures


def test_a_stopped_caller_does_not_hold_up_the_daemon_s_end(daemon):
    """A caller who reads nothing and a half-sent line must not keep SIGTERM waiting."""
    unread, half = daemon.connect(), daemon.connect()
    unread_requests(unread, request("status", None, 1) + b"\n", 64 * MEBIBYTE)
    half.send(b'{"jsonrpc"')
    daemon.process.send_signal(signal.SIGTERM)
    assert daemon.wait(20) == 0
    unread.close()
    half.close()
