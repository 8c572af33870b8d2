"""How bytes become lines: cuts anywhere, the longest line, the end of the stream, and a line that never ends."""

import select
import socket
import time

import pytest

from wire import MAX_LINE_BYTES, assert_error, parse, request

LINE_SECONDS = 10


def ping(identity, size=None):
    """A ping; `size` pads the line, its LF included, to so many bytes."""
    text = b'{"jsonrpc":"2.0","id":%d,"method":"ping"%s}\n'
    if size is None:
        return text % (identity, b"")
    return text % (identity, b" " * (size - len(text % (identity, b""))))


def pong(identity):
    return b'{"jsonrpc":"2.0","id":%d,"result":{}}' % identity


def mixed_stream(count):
    """Lines of every kind, and what must come back for them."""
    sent, expected = bytearray(), []
    for number in range(count):
        kind = number % 8
        if kind == 0:
            sent += b"\n \t \r\n\r\n"
        elif kind == 1:
            sent += b"not json\n"
            expected.append(-32700)
        elif kind == 2:
            sent += ping(number)[:-1] + b"\r\n"
            expected.append(pong(number))
        elif kind == 3:
            sent += request("ping") + b"\n"
        elif kind == 4:
            sent += b"[" + ping(number)[:-1] + b"]\n"
            expected.append(b"[" + pong(number) + b"]")
        elif kind == 5:
            sent += ping(number, 700)
            expected.append(pong(number))
        elif kind == 6:
            sent += b" \t" + ping(number)
            expected.append(pong(number))
        else:
            sent += '{"jsonrpc":"2.0","id":"é😀","method":"ping"}\n'.encode()
            expected.append('{"jsonrpc":"2.0","id":"é😀","result":{}}'.encode())
    return bytes(sent), expected


def check_stream(lines, expected):
    for line, wanted in zip(lines, expected, strict=True):
        if isinstance(wanted, int):
            assert_error(parse(line), wanted)
        else:
            assert line == wanted


def test_all_in_one_write(shared):
    sent, expected = mixed_stream(400)
    with shared.connect() as connection:
        connection.send(sent)
        check_stream(connection.read_lines(len(expected)), expected)


def test_byte_by_byte(shared):
    sent, expected = mixed_stream(40)
    with shared.connect() as connection:
        for index in range(len(sent)):
            connection.send(sent[index : index + 1])
        check_stream(connection.read_lines(len(expected)), expected)


def test_cut_at_random_places(shared, seeded):
    sent, expected = mixed_stream(200)
    for _ in range(20):
        cuts = sorted(seeded.randrange(len(sent)) for _ in range(seeded.choice([1, 5, 50, 500])))
        with shared.connect() as connection:
            for start, end in zip([0, *cuts], [*cuts, len(sent)], strict=True):
                connection.send(sent[start:end])
                if seeded.random() < 0.05:
                    # Let the daemon see this cut as a read of its own.
                    select.select([connection.socket], [], [], 0.002)
            check_stream(connection.read_lines(len(expected)), expected)


def test_crlf_and_blank_lines(root):
    root.send(b"\n\r\n   \n\t\t\r\n \r \n" + b"\n" * 200_000 + ping(1)[:-1] + b"\r\n")
    assert root.read_line() == pong(1)
    assert_error(root.answer(b"\x0b"), -32700)
    assert_error(root.answer(b"\xc2\xa0"), -32700)


def test_the_longest_line(root):
    """65,536 bytes with its LF; the CR counts."""
    root.send(ping(1, MAX_LINE_BYTES) + ping(2))
    assert root.read_lines(2) == [pong(1), pong(2)]
    root.send(ping(3, MAX_LINE_BYTES - 1)[:-1] + b"\r\n" + b" " * (MAX_LINE_BYTES - 1) + b"\n" + ping(4))
    assert root.read_lines(2) == [pong(3), pong(4)]


def check_too_long(connection):
    assert_error(parse(connection.read_line()), -32600, None, "line_too_long", max_line_bytes=MAX_LINE_BYTES)
    connection.assert_closed()


@pytest.mark.parametrize("filler", [b" ", b"x", b"["], ids=["spaces", "letters", "brackets"])
def test_65536_bytes_without_lf_end_the_connection(shared, filler):
    with shared.connect() as connection:
        connection.send(ping(1) + filler * (MAX_LINE_BYTES - 1))
        assert connection.read_line() == pong(1)
        # One byte short of the bound nothing has happened yet.
        assert not select.select([connection.socket], [], [], 0.2)[0]
        connection.send(filler)
        check_too_long(connection)


def test_65537_bytes_with_lf_end_the_connection(shared, name):
    application = name()
    after = request("register", {"application": application, "project_code": "p"}, 3)
    with shared.connect() as connection:
        connection.send(ping(1) + ping(2, MAX_LINE_BYTES + 1) + after + b"\n")
        assert connection.read_line() == pong(1)
        check_too_long(connection)
    with shared.connect() as connection:
        assert connection.refusal("unregister", application=application)["code"] == -32001


def test_crlf_does_not_make_room(shared):
    with shared.connect() as connection:
        connection.send(ping(1, MAX_LINE_BYTES)[:-1] + b"\r\n")
        check_too_long(connection)


def test_a_long_line_in_small_pieces(shared):
    with shared.connect() as connection:
        line = ping(1, MAX_LINE_BYTES)
        for start in range(0, len(line), 997):
            connection.send(line[start : start + 997])
        assert connection.read_line() == pong(1)
        for _ in range(0, MAX_LINE_BYTES - 996, 997):
            connection.send(b"y" * 997)
        connection.send(b"y" * (MAX_LINE_BYTES - (MAX_LINE_BYTES // 997) * 997))
        check_too_long(connection)


def test_after_any_other_error_the_connection_stays(root):
    for text in (
        b"garbage", b"\xff\xff", b"[]", b"1", b'{"a":1,"a":1}', b"[" * 40, b'{"jsonrpc":"2.0","id":1,"method":"x"}',
        b'{"jsonrpc":"2.0","id":1,"method":"ping","params":[]}', b"\x00" * 1000,
        b'{"jsonrpc":"2.0","id":1,"method":"unregister","params":{"application":"nobody-here"}}',
    ):  # fmt: skip
        assert "error" in root.answer(text)
        root.send(ping(5))
        assert root.read_line() == pong(5)


def test_at_the_end_whole_lines_are_answered_and_a_cut_one_is_not_executed(shared, name):
    first, second = name(), name()
    lines = [request("register", {"application": app, "project_code": "p"}, app) for app in (first, second)]
    with shared.connect() as connection:
        connection.send(ping(1) + lines[0] + b"\n" + ping(2) + lines[1])
        connection.half_close()
        answers = connection.read_to_end()
    assert answers[0] == pong(1) and answers[2] == pong(2) and len(answers) == 3
    assert parse(answers[1])["id"] == first and "result" in parse(answers[1])
    with shared.connect() as connection:
        assert connection.call("unregister", application=first) == {"revoked": 1}
        assert connection.refusal("unregister", application=second)["code"] == -32001


def test_half_close_with_much_unread_work(shared):
    count = 5_000
    with shared.connect() as connection:
        data = b"".join(ping(number) for number in range(count))
        sent = 0
        connection.socket.setblocking(False)
        while True:
            wants = [connection.socket] if sent < len(data) else []
            readable, writable, _ = select.select([connection.socket], wants, [], 30)
            assert readable or writable, "nothing moves any more"
            if writable:
                sent += connection.socket.send(data[sent : sent + 65_536])
                if sent == len(data):
                    connection.half_close()
            if readable:
                received = connection.socket.recv(65_536)
                if not received:
                    break
                connection.buffer += received
    answers = bytes(connection.buffer).split(b"\n")
    assert answers.pop() == b""
    assert answers == [pong(number) for number in range(count)]


def test_nothing_sent_and_half_closed_is_closed(shared):
    for sent in (b"", b"\n", b"  ", b"{"):
        with shared.connect() as connection:
            connection.send(sent)
            connection.half_close()
            connection.assert_closed()


def flood(connection):
    """Sends pings without reading until the daemon has stopped reading; then half a line more if it fits."""
    connection.socket.setblocking(False)
    sent = 0
    batch = ping(7) * 500
    quiet_since = time.monotonic()
    while time.monotonic() - quiet_since < 1:
        try:
            at = sent % len(batch)
            sent += connection.socket.send(batch[at:])
            quiet_since = time.monotonic()
        except BlockingIOError:
            select.select([], [connection.socket], [], 0.2)
        assert sent < 256 * 2**20, "the daemon reads without bound"
    return sent


def test_a_line_must_be_complete_within_ten_seconds(shared):
    """All the ways to be slow at once, for each takes the whole time."""
    idle, quiet_after, cut, dripping, blank, unread = [shared.connect() for _ in range(6)]
    sent = flood(unread)

    quiet_after.send(ping(1))
    assert quiet_after.read_line() == pong(1)
    started = time.monotonic()
    cut.send(ping(1) + ping(2)[:-1])
    assert cut.read_line() == pong(1)
    blank.send(b" ")
    closed = {}
    line, position = ping(9, 4_000), 0
    watched = {cut.socket: "cut", dripping.socket: "dripping", blank.socket: "blank"}
    while watched and time.monotonic() - started < LINE_SECONDS + 15:
        if dripping.socket in watched:
            assert position < len(line) - 1
            try:
                dripping.send(line[position : position + 1])
            except (BrokenPipeError, ConnectionResetError):
                pass
            position += 1
        for ready in select.select(list(watched), [], [], 0.1)[0]:
            try:
                assert ready.recv(65_536) == b"", "a slow line was answered"
            except ConnectionResetError:
                pass
            closed[watched.pop(ready)] = time.monotonic() - started
    assert set(closed) == {"cut", "dripping", "blank"}, closed
    for kind, seconds in closed.items():
        assert LINE_SECONDS - 0.2 <= seconds <= LINE_SECONDS + 15, f"{kind} was closed after {seconds:.1f} s"

    # Idle connections stay, and so does one that the daemon itself did not read meanwhile.
    for connection in (idle, quiet_after):
        connection.send(ping(3))
        assert connection.read_line() == pong(3)
    size = len(ping(7))
    missing = -sent % size
    lines = unread.pump(ping(7)[size - missing :] + ping(8), (sent + missing) // size + 1)
    assert set(lines[:-1]) == {pong(7)} and lines[-1] == pong(8)
    for connection in (idle, quiet_after, cut, dripping, blank, unread):
        connection.close()


def test_random_bytes_hurt_nobody(shared, seeded):
    """Each line of noise has one answer or none, and the ping after it has its own."""
    with shared.connect() as connection:
        for round_number in range(300):
            noise = bytearray(seeded.randbytes(seeded.choice([1, 10, 100, 5_000])))
            if seeded.random() < 0.5:
                noise = bytearray(seeded.choice(b'[]{}",:\\0aetrun \t.-') for _ in noise)
            noise = noise.replace(b"\n", b"x")
            connection.send(bytes(noise) + b"\n" + ping(round_number))
            line = connection.read_line()
            if line != pong(round_number):
                assert parse(line)["error"]["code"] in (-32700, -32600)
                assert connection.read_line() == pong(round_number)


def test_a_caller_gone_before_its_answer(shared):
    for sent in (ping(1), ping(1)[:-1], request("status", None, 1) + b"\n"):
        connection = shared.connect()
        connection.send(sent)
        connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        connection.close()
    with shared.connect() as connection:
        assert connection.call("ping") == {}
