"""What the memory of a daemon still holds after the answers: what its core would show, searched for every token that it
was ever given or has ever handed out."""

import os
import re

from daemon import eventually
from wire import request

# What a stack or a register's save area may still show of the very last requests. Measured: see docs/threat-model.md.
REMNANTS_MAX = 0
TOKENS = 3000


def regions(pid):
    """The bytes of every mapping that the process can write to: heap, stacks, and what libraries keep."""
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as memory:
        for line in maps:
            span, rights, *_ = line.split()
            if not rights.startswith("rw"):
                continue
            begin, end = (int(part, 16) for part in span.split("-"))
            while begin < end:
                try:
                    data = os.pread(memory.fileno(), min(end - begin, 1 << 22), begin)
                except OSError:
                    break
                if not data:
                    break
                yield data
                # Overlapping, so that a token over the edge is found.
                begin += len(data) if begin + len(data) >= end else len(data) - 64


def found(pid, bodies):
    """Which tokens are still there, in whole or any of their four quarters."""
    quarters = {body[at : at + 16]: body for body in bodies for at in range(0, 64, 16)}
    there = set()
    for data in regions(pid):
        for run in re.finditer(rb"[0-9A-Za-z]{16,}", data):
            text = run.group()
            for at in range(len(text) - 15):
                body = quarters.get(text[at : at + 16])
                if body:
                    there.add(body)
    return there


def escaped(token):
    return "".join(f"\\u{ord(letter):04x}" for letter in token).encode()


def test_the_search_finds_what_is_there(daemon):
    """A token that a caller has begun to send and not ended has to be in the memory."""
    with daemon.connect() as root:
        token = root.call("register", project_code="p")["registration_token"]
        with daemon.connect() as half:
            half.send(request("introspect", {"token": token}, 1)[:-2])
            root.call("ping")
            # Read when a later request of another connection was: one loop, and in order.
            assert found(daemon.pid, {token[8:].encode()})
    with daemon.connect() as root:
        root.call("ping")


def test_an_idle_daemon_holds_no_token_that_came_in_an_unusual_way(daemon):
    """As JSON's escapes, as an escaped key, and in the place of other parameters. Nothing is asked afterwards: what the daemon
    wipes, it wipes of itself, at the end of the turn in which it answered."""
    with daemon.connect() as root:
        token = root.call("register", project_code="p")["registration_token"]
        body = token[8:].encode()
        for line in (
            request("list", {"cursor": token}, 1),
            request("rotate", {"project_code": token}, 1),
            request("rotate", {"project_code": "p", "application": token}, 1),
            request("rotate", {"project_code": "p", "application": "unit:" + token}, 1),
            request("rotate", {"project_code": "p", token: 1}, 1),
            b'{"jsonrpc":"2.0","id":1,"method":"introspect","params":{"token":"%s"}}' % escaped(token),
            b'{"jsonrpc":"2.0","id":1,"method":"ping","%s":1}' % escaped(token),
            b'{"jsonrpc":"2.0","id":1,"method":"ping","%s":1,"%s":1}' % (escaped(token), token.encode()),
        ):
            root.exchange(line)
            eventually(lambda: not found(daemon.pid, {body}), what=f"a memory without the token after {line[:70]}")


def test_no_token_stays_in_memory_after_its_answer(daemon):
    bodies = []

    def take(lines):
        for line in lines:
            bodies.extend(re.findall(rb"api_key\|([0-9A-Za-z]{64})", line))

    with daemon.connect() as root, daemon.connect() as other:
        take([root.exchange(request("register", {"project_code": "p"}, 0))])
        rotations = [request("rotate", {"project_code": "p", "grace_seconds": 60 * (n % 2)}, n) for n in range(TOKENS)]
        take(root.pump(b"\n".join(rotations) + b"\n", len(rotations)))
        # In batches, one at a time, and in pieces.
        batch = b"[" + b",".join(rotations[:100]) + b"]"
        for _ in range(5):
            take([root.exchange(batch)])
        for line in rotations[:50]:
            root.send(line[:20])
            root.send(line[20:] + b"\n")
            take([root.read_line()])
        assert len(bodies) == len(set(bodies)) == TOKENS + 551
        asked = [request("introspect", {"token": "api_key|" + body.decode()}, n) for n, body in enumerate(bodies)]
        other.pump(b"\n".join(asked) + b"\n", len(asked))
        for body in bodies[-100:]:
            line = request("introspect", {"token": "api_key|" + body.decode()}, 1)
            other.send(line[:50])
            other.send(line[50:] + b"\n")
            other.read_line()
        other.exchange(b"[" + b",".join(asked[-120:]) + b"]")
        # As JSON's escapes, and where it is no token's place.
        line = b'{"jsonrpc":"2.0","id":1,"method":"introspect","params":{"token":"%s"}}'
        other.exchange(line % escaped("api_key|" + bodies[-1].decode()))
        other.exchange(request("revoke", {"token": "api_key|" + bodies[-1].decode()}, 1))
        # Whatever is still to be wiped is, once another request has been answered.
        root.call("ping")
        other.call("ping")
        left = found(daemon.pid, bodies)
        print(f"{len(left)} of {len(bodies)} tokens are still in memory while their connections live")
    with daemon.connect() as last:
        last.call("ping")
        left |= found(daemon.pid, bodies)
    print(f"{len(left)} of {len(bodies)} tokens are still in memory after all")
    assert len(left) <= REMNANTS_MAX
