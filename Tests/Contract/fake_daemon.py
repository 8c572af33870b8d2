"""A daemon that answers by a script: what the client does is judged without a real one. Standard library only."""

import json
import os
import pathlib
import shutil
import socket
import tempfile
import threading


class Step:
    """What happens with one request: bytes are sent back, then the connection may be closed."""

    def __init__(self, answer=None, close=False, before=None):
        self.answer = answer  # request -> bytes, or None: nothing is sent
        self.close = close
        self.before = before  # called before the answer leaves


def _line(message):
    return json.dumps(message, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


def result(value, **options):
    return Step(lambda request: _line({"jsonrpc": "2.0", "id": request["id"], "result": value}), **options)


def error(code, reason="some_reason", message="The daemon says no.", close=False, before=None, **data):
    body = {"code": code, "message": message, "data": {"reason": reason, **data}}
    return Step(lambda request: _line({"jsonrpc": "2.0", "id": request["id"], "error": body}), close, before)


def raw(data, close=False):
    return Step(lambda request: data, close)


def lines(*messages, close=False):
    """Several lines for one request; `ID` in them is the request's."""
    return Step(lambda request: b"".join(_line({**m, "id": request["id"]} if "id" in m else m) for m in messages), close)


def drop(before=None):
    """The connection breaks before the answer."""
    return Step(close=True, before=before)


def silence():
    """The request is read and nothing is answered."""
    return Step()


class FakeDaemon:
    """Plays the steps in their order, one a request, over however many connections the client makes."""

    def __init__(self, *steps, greetings=(), path=None):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="scaemfake-"))
        self.folder.chmod(0o755)
        self.path = str(path or self.folder / "s")
        self.steps = list(steps)
        self.greetings = list(greetings)  # for the first connections: a line and a close, without reading
        self.requests = []
        self.raw_requests = []
        self.connections = 0
        self.asked = threading.Condition()
        self.open = []
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        os.chmod(self.path, 0o666)
        self.listener.listen(16)
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        # A shutdown wakes the thread that waits in accept; a close alone would not.
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for connection in self.open:
            connection.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def wait_for_requests(self, count, seconds=10):
        with self.asked:
            assert self.asked.wait_for(lambda: len(self.requests) >= count, seconds), "no request came"

    @property
    def methods(self):
        return [request["method"] for request in self.requests]

    def _accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            self.open.append(connection)
            if self.greetings:
                connection.sendall(self.greetings.pop(0))
                connection.close()
                continue
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        try:
            for line in connection.makefile("rb"):
                request = json.loads(line)
                with self.asked:
                    self.requests.append(request)
                    self.raw_requests.append(line)
                    step = self.steps.pop(0) if self.steps else error(-32603, message="The script has no more steps.")
                    self.asked.notify_all()
                if step.before:
                    step.before()
                if step.answer:
                    connection.sendall(step.answer(request))
                if step.close:
                    break
        except (OSError, ValueError):
            pass
        # The makefile object holds the descriptor too: shut it down for all of them.
        try:
            connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        connection.close()
