"""In the container: callers that rotate and others that connect, all the time, while something is done to the daemon.

What none of them may see stands in `problems`: a connect that is refused, a cut answer, an answer that is an error other
than "shutting down", an acknowledged token that is gone. A connection that breaks before its answer is not one of them.
"""

import json
import socket
import threading

from checks import eventually, run
from tokend import SOCKET, call
from wire import request


class Caller:
    """The few lines of a client that tries again: a break is a ConnectionError, all else is an answer."""

    def __init__(self, note):
        self.note = note
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
                self.note(f"a cut answer: {line!r}")
            raise ConnectionError("closed")
        return json.loads(line)

    def active(self, token):
        answer = self.ask("introspect", token=token)
        if answer.get("error", {}).get("code") == -32008:
            raise ConnectionError("to be asked again")
        return answer["result"]["active"]


class Load:
    def __init__(self, callers=64, connectors=4, tools=0):
        self.stopped = threading.Event()
        self.problems = []
        # Of each caller: its rotations, its broken connections, the last token that it was given.
        self.rotations = [0] * callers
        self.broken = [0] * callers
        self.last = [None] * callers
        self.connects = [0] * connectors
        self.tools = [0] * tools
        self.threads = [threading.Thread(target=self.rotate, args=(number,), daemon=True) for number in range(callers)]
        self.threads += [threading.Thread(target=self.connect, args=(number,), daemon=True) for number in range(connectors)]
        self.threads += [threading.Thread(target=self.use_the_tool, args=(number,), daemon=True) for number in range(tools)]

    def start(self):
        """Returns when every caller has rotated."""
        for number in range(len(self.rotations)):
            call("register", application=f"app-{number}", project_code="P")
        if self.tools:
            run("scaem-token", "register", "P", "--application", "kept", "--output", "/run/kept.token")
        for thread in self.threads:
            thread.start()
        self.wait_until_all_went_on()

    def wait_until_all_went_on(self):
        seen = list(self.rotations)
        eventually(lambda: all(now > then for now, then in zip(self.rotations, seen)), 60, "a rotation of every caller")

    def stop(self):
        self.stopped.set()
        for thread in self.threads:
            thread.join(60)
            assert not thread.is_alive()

    def assert_nothing_is_lost(self):
        """After the stop: what was acknowledged last is the current token."""
        for number, token in enumerate(self.last):
            rows = call("list", application=f"app-{number}")["tokens"]
            assert call("introspect", token=token)["active"] is True, f"app-{number}"
            assert len(rows) == 1

    def note(self, text):
        if len(self.problems) < 20:
            self.problems.append(text)

    def rotate(self, number):
        """Each with an application of its own. The grace keeps the old token alive, so what was acknowledged must be
        there after a break, whether or not the request that broke was done."""
        name = f"app-{number}"
        caller = None
        while not self.stopped.is_set():
            try:
                if caller is None:
                    caller = Caller(self.note)
                    if self.last[number] and not caller.active(self.last[number]):
                        self.note(f"{name}: what was acknowledged is gone")
                answer = caller.ask("rotate", application=name, project_code="P", grace_seconds=3600)
                if "result" in answer:
                    self.last[number] = answer["result"]["registration_token"]
                    self.rotations[number] += 1
                elif answer["error"]["code"] != -32008:
                    self.note(f"{name}: {answer['error']}")
            except ConnectionError:
                self.broken[number] += 1
                caller = None
            except Exception as problem:
                self.note(f"{name}: {problem!r}")
                caller = None

    def connect(self, number):
        while not self.stopped.is_set():
            try:
                Caller(self.note).ask("ping")
                self.connects[number] += 1
            except ConnectionError:
                pass
            except Exception as problem:
                self.note(f"a new connection: {problem!r}")

    def use_the_tool(self, number):
        """scaem-token tries again by itself what is safe to try again: whoever runs it sees no break at all."""
        commands = [["introspect", "/run/kept.token"], ["list", "--application", "kept"], ["ping"]]
        while not self.stopped.is_set():
            for command in commands:
                done = run("scaem-token", "--format", "json", *command, check=False)
                if done.returncode != 0:
                    self.note(f"scaem-token {command[0]}: {done.returncode} {done.stderr}")
                self.tools[number] += 1
