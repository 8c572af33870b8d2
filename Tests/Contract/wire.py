"""The caller's end of the socket: raw bytes first, JSON-RPC as a convenience on top."""

import itertools
import json
import re
import select
import socket
import time

MAX_LINE_BYTES = 65_536
MAX_ANSWER_BYTES = 1_048_576
MAX_BATCH = 128
MAX_DEPTH = 32

TOKEN_IN_BYTES = re.compile(rb"api_key\|([0-9A-Za-z]{64})")

# Every token body that any connection of this process was ever handed. Daemon.stop() looks for them in what the
# daemon left on the disk.
seen_token_bodies = set()


class Refused(Exception):
    """An error answer to a call that was to succeed."""

    def __init__(self, error):
        super().__init__(f"refused: {json.dumps(error)}")
        self.error = error
        self.code = error["code"]


class Connection:
    """One connection to a daemon. Every wait is bounded: a missing answer is a failed test, never a hang."""

    def __init__(self, path=None, timeout=20.0, sock=None):
        self.timeout = timeout
        if sock is None:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            sock.settimeout(timeout)
            sock.connect(str(path))
        self.socket = sock
        self.buffer = bytearray()
        self.ended = False
        self.ids = itertools.count(1)
        # Whether this test makes the daemon name a key that is a token.
        self.may_echo = False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    # Bytes.

    def send(self, data):
        self.socket.settimeout(self.timeout)
        self.socket.sendall(data)

    def half_close(self):
        self.socket.shutdown(socket.SHUT_WR)

    def read_line(self, timeout=None):
        """The next line without its LF, or None at the end of the stream."""
        end = time.monotonic() + (self.timeout if timeout is None else timeout)
        scanned = 0
        while True:
            cut = self.buffer.find(b"\n", scanned)
            if cut >= 0:
                line = bytes(self.buffer[:cut])
                del self.buffer[: cut + 1]
                self.learn(line)
                return line
            scanned = len(self.buffer)
            if self.ended:
                assert not self.buffer, f"the stream ends within a line: {bytes(self.buffer[:200])!r}"
                return None
            self._fill(end)

    def learn(self, line):
        """Remembers the tokens of a line. No answer but credentials ever holds one."""
        bodies = TOKEN_IN_BYTES.findall(line)
        if bodies:
            handed_over = line.count(b'"registration_token":"api_key|')
            assert len(bodies) == handed_over or self.may_echo, f"a token in an answer that gives none: {line[:300]!r}"
            seen_token_bodies.update(bodies)

    def _fill(self, end):
        self.socket.settimeout(max(end - time.monotonic(), 0.001))
        try:
            data = self.socket.recv(262_144)
        except ConnectionResetError:
            # An AF_UNIX peer that closes with bytes unread resets; what it sent before was delivered first.
            data = b""
        except TimeoutError:
            raise AssertionError(f"no line came in time; so far: {bytes(self.buffer[:200])!r}") from None
        if not data:
            self.ended = True
        self.buffer += data

    def has_more(self):
        """Whether something to read is there already."""
        return bool(self.buffer or select.select([self.socket], [], [], 0)[0])

    def read_lines(self, count, timeout=None):
        lines = [self.read_line(timeout) for _ in range(count)]
        assert None not in lines, f"the stream ended after {lines.index(None)} of {count} lines"
        return lines

    def read_to_end(self, timeout=None):
        """All lines until the daemon closes."""
        lines = []
        while (line := self.read_line(timeout)) is not None:
            lines.append(line)
        return lines

    def assert_closed(self, timeout=None):
        line = self.read_line(timeout)
        assert line is None, f"instead of the close came {line!r}"

    def pump(self, data, count, timeout=60.0):
        """Sends `data` and reads `count` lines at the same time, so that neither side's buffers can block the other."""
        end = time.monotonic() + timeout
        view = memoryview(data)
        lines = []
        self.socket.setblocking(False)
        while view or len(lines) < count:
            readable, writable, _ = select.select([self.socket], [self.socket] if view else [], [], 1.0)
            assert time.monotonic() < end, f"{len(lines)} of {count} answers came in time; {len(view)} bytes unsent"
            if writable:
                try:
                    view = view[self.socket.send(view[:262_144]) :]
                except BlockingIOError:
                    pass
            if readable:
                data_in = self.socket.recv(262_144)
                assert data_in, f"the stream ended after {len(lines)} of {count} lines"
                self.buffer += data_in
                *whole, rest = bytes(self.buffer).split(b"\n")
                lines += whole
                self.buffer = bytearray(rest)
        for line in lines:
            self.learn(line)
        self.socket.settimeout(self.timeout)
        assert len(lines) == count, f"{len(lines)} lines came instead of {count}"
        return lines

    def exchange(self, data):
        """Sends one line (LF added) and reads one line."""
        self.send(data + b"\n")
        line = self.read_line()
        assert line is not None, f"closed instead of an answer to {data[:200]!r}"
        return line

    # JSON-RPC.

    def answer(self, data):
        """Sends one line and parses the answer."""
        return parse(self.exchange(data))

    def ask(self, method, params=None):
        """Sends one request and returns the whole answer, checked for form and id."""
        identity = next(self.ids)
        response = self.answer(request(method, params, identity))
        check_form(response, identity)
        return response

    def call(self, method, params=None, /, **more):
        """The result; an error answer raises Refused. Params are an object, or named: call("list", limit=1)."""
        response = self.ask(method, {**(params or {}), **more} if params or more else None)
        if "error" in response:
            raise Refused(response["error"])
        return response["result"]

    def refusal(self, method, params=None, /, **more):
        """The error; a result fails the test."""
        response = self.ask(method, {**(params or {}), **more} if params or more else None)
        assert "error" in response, f"{method} was to be refused, but: {response}"
        return response["error"]

    def active(self, token):
        """Whether introspect finds a token alive."""
        result = self.call("introspect", token=token)
        if not result["active"]:
            assert result == {"active": False}
        return result["active"]


def request(method, params=None, identity=None):
    """One request's bytes, compact; without an identity a notification."""
    message = {"jsonrpc": "2.0"}
    if identity is not None:
        message["id"] = identity
    message["method"] = method
    if params is not None:
        message["params"] = params
    return json.dumps(message, separators=(",", ":"), ensure_ascii=False).encode()


def parse(line):
    """An answer line as Python's values; a duplicate key or a NaN in an answer is an error."""

    def unique(pairs):
        keys = [key for key, _ in pairs]
        assert len(keys) == len(set(keys)), f"duplicate keys in an answer: {keys}"
        return dict(pairs)

    def refuse(constant):
        raise AssertionError(f"{constant} in an answer")

    assert line is not None, "the stream ended instead of an answer"
    assert len(line) < MAX_ANSWER_BYTES, "an answer line is longer than 1 MiB"
    return json.loads(line.decode("utf-8"), object_pairs_hook=unique, parse_constant=refuse)


REASONS = {
    -32700: {"parse_error"},
    -32600: {"invalid_request", "line_too_long", "batch_too_large", "duplicate_key"},
    -32601: {"method_not_found"},
    -32602: {"invalid_params"},
    -32603: {"internal_error"},
    -32001: {"not_registered"},
    -32002: {"already_registered"},
    -32003: {"token_not_found"},
    -32004: {"token_exists"},
    -32005: {"permission_denied"},
    -32006: {"busy"},
    -32007: {"storage_unavailable"},
    -32008: {"shutting_down"},
    -32009: {"rate_limited"},
    -32010: {"history_gone"},
    -32011: {"quota_exceeded"},
    -32012: {"invalid_configuration"},
}


def check_form(response, identity):
    """What every answer must have: JSON-RPC's members alone, the id, and of an error its code, sentence and reason."""
    assert isinstance(response, dict), response
    assert response.get("jsonrpc") == "2.0", response
    assert "id" in response and type(response["id"]) is type(identity) and response["id"] == identity, response
    assert set(response) in ({"jsonrpc", "id", "result"}, {"jsonrpc", "id", "error"}), response
    if "error" in response:
        check_error(response["error"])


def check_error(error):
    """The table of errors in the contract."""
    assert set(error) == {"code", "message", "data"}, error
    assert error["code"] in REASONS, error
    assert error["data"]["reason"] in REASONS[error["code"]], error
    message = error["message"]
    assert isinstance(message, str) and message.strip() == message and message and "\n" not in message, error
    if error["code"] in (-32006, -32009):
        assert type(error["data"]["retry_after_ms"]) is int and error["data"]["retry_after_ms"] >= 0, error
    # Nothing inside the daemon shows through an answer.
    assert not re.search(r"SQLite|sqlite|SQL |GRDB|\.swift|Optional\(|fatalError", json.dumps(error)), error


def assert_error(response, code, identity=None, reason=None, **data):
    """An error answer of this code, for this id, with these members of data."""
    check_form(response, identity)
    assert "error" in response, f"expected {code}, got {response}"
    error = response["error"]
    assert error["code"] == code, f"expected {code}, got {response}"
    if reason is not None:
        assert error["data"]["reason"] == reason, response
    for key, value in data.items():
        assert error["data"].get(key) == value, f"data.{key} is to be {value!r}: {response}"
