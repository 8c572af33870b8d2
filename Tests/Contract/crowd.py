"""Processes of other users that attack a daemon while the tests look at what everybody else gets."""

import contextlib
import json
import os
import resource
import select
import signal
import socket
import time
import traceback

from wire import request

# A caller's own work must not be what another caller waits for: on a machine with few processors it would be.
POLITENESS = 15
# What an attacker's process has open.
HELD = []


class Attacker:
    """A process of a person, in which `function(attacker)` runs and may `tell` things, until it is ended."""

    def __init__(self, who, function):
        from_child, to_parent = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            status = 1
            try:
                os.close(from_child)
                hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
                resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
                os.nice(POLITENESS)
                os.setgroups(list(who.groups))
                os.setresgid(who.gid, who.gid, who.gid)
                os.setresuid(who.uid, who.uid, who.uid)
                self.writer = to_parent
                try:
                    function(self)
                    status = 0
                    signal.pause()
                except BaseException:
                    self.tell({"failure": traceback.format_exc()})
            finally:
                os._exit(status)
        os.close(to_parent)
        # Unbuffered: what select(2) says of it is then all there is.
        self.reader = os.fdopen(from_child, "rb", 0)

    # In the child.

    def tell(self, value):
        os.write(self.writer, json.dumps(value).encode() + b"\n")

    # In the parent.

    def hear(self, timeout=120):
        """The next thing that the child tells."""
        assert select.select([self.reader], [], [], timeout)[0], "an attacker says nothing"
        line = self.reader.readline()
        assert line, "an attacker ended"
        value = json.loads(line)
        assert not (isinstance(value, dict) and "failure" in value), value["failure"]
        return value

    def end(self):
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        self.reader.close()


@contextlib.contextmanager
def attacked_by(*pairs):
    """Attackers, each a person and a function, ended in any case."""
    attackers = [Attacker(who, function) for who, function in pairs]
    try:
        yield attackers if len(attackers) > 1 else attackers[0]
    finally:
        for attacker in attackers:
            attacker.end()


def connections(path, count):
    """Connections of the calling process, open for as long as it lives; the kernel makes it wait for a full backlog."""
    made = []
    for _ in range(count):
        made.append(socket.socket(socket.AF_UNIX))
        made[-1].connect(str(path))
    HELD.extend(made)
    return made


def flood(sockets, data, reads=True, seconds=None, least_bytes=0):
    """Sends `data` again and again on all, each from where it was, reading or not, for as long as is said and until so
    much was taken. Whoever is closed drops out."""
    end = None if seconds is None else time.monotonic() + seconds
    poll = select.poll()
    position = {}
    for sock in sockets:
        sock.setblocking(False)
        poll.register(sock, select.POLLOUT | (select.POLLIN if reads else 0))
        position[sock.fileno()] = (sock, 0)
    sent = 0
    while position and (end is None or time.monotonic() < end or sent < least_bytes):
        for number, events in poll.poll(50):
            sock, at = position[number]
            try:
                if events & select.POLLIN and not sock.recv(1 << 20):
                    raise BrokenPipeError
                if events & select.POLLOUT:
                    taken = sock.send(data[at : at + 65_536])
                    sent += taken
                    position[number] = (sock, (at + taken) % len(data))
            except BlockingIOError:
                pass
            except (BrokenPipeError, ConnectionResetError):
                poll.unregister(number)
                del position[number]
    return sent


def p99(times):
    return sorted(times)[int(len(times) * 0.99)]


def latencies(connection, method, params, count):
    """Seconds of so many requests, one after the other."""
    taken = []
    for number in range(count):
        line = request(method, params, number)
        began = time.perf_counter()
        answer = connection.exchange(line)
        taken.append(time.perf_counter() - began)
        assert b'"result"' in answer, answer
    return taken
