#!/usr/bin/python3
"""Restarts nobody notices: 64 callers that rotate and others that connect all the time, while the service is restarted
ten times without a pause and killed three times."""

import json
import socket
import threading

from checks import eventually, main, run
from tokend import SERVICE, SOCKET, call, main_pid, records
from wire import request

CALLERS, CONNECTORS, TOOLS, RESTARTS, KILLS = 64, 4, 2, 10, 3

stop = threading.Event()
problems = []
rotations = [0] * CALLERS
broken = [0] * CALLERS
connects = [0] * CONNECTORS
tools = [0] * TOOLS
last = [None] * CALLERS


def note(text):
    if len(problems) < 20:
        problems.append(text)


class Caller:
    """The few lines of a client that tries again: a break is a ConnectionError, all else is an answer."""

    def __init__(self):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self.socket.connect(SOCKET)
        except OSError as problem:
            note(f"connect: {problem!r}")
            raise
        # After the connect: one that must not block gets EAGAIN while the backlog is full.
        self.socket.settimeout(60)
        self.lines = self.socket.makefile("rb")

    def ask(self, method, **params):
        self.socket.sendall(request(method, params, 1) + b"\n")
        line = self.lines.readline()
        if not line.endswith(b"\n"):
            if line:
                note(f"a cut answer: {line!r}")
            raise ConnectionError("closed")
        return json.loads(line)


def rotate_all_the_time(number):
    """Each with an application of its own. The grace keeps the old token alive, so what was acknowledged must be there
    after a break, whether or not the request that broke was done."""
    name = f"app-{number}"
    caller = None
    while not stop.is_set():
        try:
            if caller is None:
                caller = Caller()
                if last[number] and not active(caller, last[number]):
                    note(f"{name}: what was acknowledged is gone")
            answer = caller.ask("rotate", application=name, project_code="P", grace_seconds=3600)
            if "result" in answer:
                last[number] = answer["result"]["registration_token"]
                rotations[number] += 1
            elif answer["error"]["code"] != -32008:
                note(f"{name}: {answer['error']}")
        except ConnectionError:
            broken[number] += 1
            caller = None
        except Exception as problem:
            note(f"{name}: {problem!r}")
            caller = None


def active(caller, token):
    answer = caller.ask("introspect", token=token)
    if answer.get("error", {}).get("code") == -32008:
        raise ConnectionError("to be asked again")
    return answer["result"]["active"]


def connect_all_the_time(number):
    while not stop.is_set():
        try:
            Caller().ask("ping")
            connects[number] += 1
        except ConnectionError:
            pass
        except Exception as problem:
            note(f"a new connection: {problem!r}")


def use_the_tool_all_the_time(number):
    """scaem-token tries again by itself what is safe to try again: whoever runs it sees no break at all."""
    commands = [["introspect", "/run/kept.token"], ["list", "--application", "kept"], ["ping"]]
    while not stop.is_set():
        for command in commands:
            done = run("scaem-token", "--format", "json", *command, check=False)
            if done.returncode != 0:
                note(f"scaem-token {command[0]}: {done.returncode} {done.stderr}")
            tools[number] += 1


run("systemctl", "start", "scaem-tokend.socket")
run("systemctl", "start", SERVICE)
run("scaem-token", "register", "P", "--application", "kept", "--output", "/run/kept.token")
for number in range(CALLERS):
    call("register", application=f"app-{number}", project_code="P")
threads = [threading.Thread(target=rotate_all_the_time, args=(number,), daemon=True) for number in range(CALLERS)]
threads += [threading.Thread(target=connect_all_the_time, args=(number,), daemon=True) for number in range(CONNECTORS)]
threads += [threading.Thread(target=use_the_tool_all_the_time, args=(number,), daemon=True) for number in range(TOOLS)]
for thread in threads:
    thread.start()
eventually(lambda: min(rotations) > 0, 60, "a rotation of every caller")


def check_ten_restarts():
    for _ in range(RESTARTS):
        run("systemctl", "restart", SERVICE)


def check_three_kills():
    for _ in range(KILLS):
        seen = sum(rotations)
        eventually(lambda: sum(rotations) > seen, 60, "a rotation after the start")
        before = main_pid()
        run("systemctl", "kill", "--kill-whom=main", "-s", "KILL", SERVICE)
        eventually(lambda: main_pid() not in (0, before), 30, "the next start")


def check_they_all_went_on():
    seen = list(rotations)
    eventually(lambda: all(now > then for now, then in zip(rotations, seen)), 60, "a rotation of every caller")
    stop.set()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert min(broken) >= 1, "a caller that never saw a break: was anything restarted?"
    assert min(connects) > RESTARTS and min(tools) > RESTARTS


def check_nobody_was_refused_and_nothing_was_lost():
    assert not problems, problems


def check_the_last_acknowledged_token_is_the_current_one():
    for number in range(CALLERS):
        rows = call("list", application=f"app-{number}")["tokens"]
        assert call("introspect", token=last[number])["active"] is True, f"app-{number}"
        assert len(rows) == 1


def check_that_many_starts_are_in_the_journal():
    assert len(records("ready")) == 1 + RESTARTS + KILLS


main(globals())
