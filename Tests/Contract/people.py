"""Users and groups for the tests, and the ways to be one of them. All of it needs root."""

import array
import contextlib
import fcntl
import grp
import json
import os
import pwd
import socket
import subprocess
import traceback
from dataclasses import dataclass

from wire import Connection

SOCKET_GROUP = "scaem"
ADMIN_GROUP = "scaem-admin"
VERIFIER_GROUP = "scaem-verifier"

ALICE = "scaemtest-alice"
BOB = "scaemtest-bob"
ADMIN = "scaemtest-admin"
VERIFIER = "scaemtest-verifier"
OUTSIDER = "scaemtest-outsider"
# Names that the daemon must not take for principals.
LOOKS_LIKE_UID = "uid-5"
LOOKS_LIKE_UNIT = "scaemtest.service"
OUTSIDE_PATTERN = "scaemtest+plus"
SYSTEM_LIKE = "_scaemtest"

GROUPS_OF = {
    ALICE: (SOCKET_GROUP,),
    BOB: (SOCKET_GROUP,),
    ADMIN: (SOCKET_GROUP, ADMIN_GROUP),
    VERIFIER: (SOCKET_GROUP, VERIFIER_GROUP),
    OUTSIDER: (),
    LOOKS_LIKE_UID: (SOCKET_GROUP,),
    LOOKS_LIKE_UNIT: (SOCKET_GROUP,),
    OUTSIDE_PATTERN: (SOCKET_GROUP,),
    SYSTEM_LIKE: (SOCKET_GROUP,),
}


@dataclass(frozen=True)
class Person:
    """Who a process is to the kernel."""

    name: str
    uid: int
    gid: int
    groups: tuple

    @property
    def principal(self):
        return self.name


def require_root():
    """These tests make users, mount file systems and become other users: without root they prove nothing."""
    assert os.geteuid() == 0, "the contract's tests need root: they create users and speak as each of them"


def create_people():
    """Creates what is missing of the groups and users; safe to repeat and to run from several processes at once."""
    require_root()
    with open("/run/lock/scaem-contract-people", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for group in (SOCKET_GROUP, ADMIN_GROUP, VERIFIER_GROUP):
            if not _exists(grp.getgrnam, group):
                _run("groupadd", "--system", group)
        for name, groups in GROUPS_OF.items():
            if not _exists(pwd.getpwnam, name):
                _run(
                    "useradd", "--badname", "--no-create-home", "--home-dir", "/nonexistent",
                    "--shell", "/usr/sbin/nologin", name,
                )  # fmt: skip
            missing = [group for group in groups if name not in grp.getgrnam(group).gr_mem]
            if missing:
                _run("usermod", "--badname", "--append", "--groups", ",".join(missing), name)


def _exists(look_up, name):
    try:
        look_up(name)
    except KeyError:
        return False
    return True


def _run(*command):
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr.strip()}"


def person(name):
    """One of the users above, or root, with the groups that the user database gives."""
    if name == "root":
        return Person("root", 0, 0, ())
    entry = pwd.getpwnam(name)
    groups = tuple(sorted(grp.getgrnam(group).gr_gid for group in GROUPS_OF[name]))
    return Person(name, entry.pw_uid, entry.pw_gid, groups)


def nameless(uid, *more_groups):
    """A uid that no user has, as a member of the socket's group."""
    assert not _exists(pwd.getpwuid, uid), f"uid {uid} has a name on this machine"
    groups = tuple(grp.getgrnam(group).gr_gid for group in (SOCKET_GROUP, *more_groups))
    return Person(f"uid-{uid}", uid, uid, groups)


def as_user(uid, gid, groups, function):
    """Forks, becomes that user for good and runs `function` there; its JSON value, or its failure, comes back."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(reader)
            os.setgroups(list(groups))
            os.setresgid(gid, gid, gid)
            os.setresuid(uid, uid, uid)
            try:
                outcome = {"value": function()}
            except BaseException:
                outcome = {"failure": traceback.format_exc()}
            with os.fdopen(writer, "w") as stream:
                json.dump(outcome, stream)
            status = 0
        finally:
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader) as stream:
        text = stream.read()
    _, status = os.waitpid(child, 0)
    assert status == 0 and text, f"the process of uid {uid} ended with {status}"
    outcome = json.loads(text)
    assert "failure" not in outcome, f"in the process of uid {uid}:\n{outcome['failure']}"
    return outcome["value"]


def run_as(who, function):
    """`function` in a process of this person."""
    return as_user(who.uid, who.gid, who.groups, function)


def connect_as(who, path, timeout=20.0):
    """A connection that a process of this person made; the kernel remembers who connected, whoever writes later."""
    ours, theirs = socket.socketpair()
    with ours, theirs:

        def make():
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            connection.settimeout(timeout)
            connection.connect(str(path))
            handle = array.array("i", [connection.fileno()])
            theirs.sendmsg([b"."], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, handle)])

        run_as(who, make)
        _, ancillary, _, _ = ours.recvmsg(1, socket.CMSG_SPACE(4))
        number = array.array("i", ancillary[0][2])[0]
    return Connection(timeout=timeout, sock=socket.socket(fileno=number))


@contextlib.contextmanager
def connected_as(path, *people):
    """One connection for each of them, closed at the end."""
    connections = [connect_as(who, path) for who in people]
    try:
        yield connections if len(connections) > 1 else connections[0]
    finally:
        for connection in connections:
            connection.close()
