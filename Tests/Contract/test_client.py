"""scaem-token from outside: exit codes, files, retries, formats, and that no token leaks. Against a scripted daemon."""

import ctypes
import hashlib
import json
import os
import pathlib
import pty
import re
import resource
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import termios
import threading
import time
import zlib

import pytest

from daemon import eventually
from fake_daemon import FakeDaemon, drop, error, lines, raw, result, silence

ROOT = pathlib.Path(__file__).resolve().parents[2]
NOBODY = 65534
DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def token(letter="k"):
    """A token with a right checksum (docs/protocol.md)."""
    body = letter * 58
    number, check = zlib.crc32(body.encode()), ""
    for _ in range(6):
        number, digit = divmod(number, 62)
        check = DIGITS[digit] + check
    return f"api_key|{body}{check}"


TOKEN = token()
CREDENTIALS = {
    "registration_id": "dfa45616-e9f9-45be-881e-a1ed8ae70224",
    "registration_token": TOKEN,
    "token_expiration": "2030-05-24T18:18:22.265Z",
    "token_type": "Bearer",
}
ROW = {
    "registration_id": "dfa45616-e9f9-45be-881e-a1ed8ae70224", "application": "alice", "project_code": "P",
    "issued_at": "2025-03-24T18:18:22.265Z", "token_expiration": "2025-05-24T18:18:22.265Z", "last_used_at": None,
    "state": "active", "fingerprint": "00112233445566ff", "previous": [],
}  # fmt: skip


@pytest.fixture(scope="session")
def binary():
    """The client, at a path that every user can reach."""
    named = os.environ.get("SCAEM_BIN_DIR")
    if not named:
        done = subprocess.run(["swift", "build", "--show-bin-path"], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, f"set SCAEM_BIN_DIR, or build first: {done.stderr}"
        named = done.stdout.strip()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="scaemclient-"))
    folder.chmod(0o755)
    copy = folder / "scaem-token"
    shutil.copy2(pathlib.Path(named) / "scaem-token", copy)
    copy.chmod(0o755)
    yield copy
    shutil.rmtree(folder)


@pytest.fixture
def folder():
    path = pathlib.Path(tempfile.mkdtemp(prefix="scaemout-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def run(binary):
    """Runs the client; whatever else it does, its standard error is plain and holds no token."""

    def run(*arguments, daemon=None, stdin=b"", environment=None, **options):
        command = [str(binary), *(["--socket", daemon.path] if daemon else []), *map(str, arguments)]
        plain = {k: v for k, v in os.environ.items() if k not in ("SCAEM_TOKEND_SOCKET", "XDG_RUNTIME_DIR")}
        done = subprocess.run(
            command, input=stdin, capture_output=True, timeout=60, env={**plain, **(environment or {})}, **options
        )  # fmt: skip
        assert b"api_key" not in done.stderr
        if done.returncode > 1:
            assert re.fullmatch(rb"scaem-token: [^\n]+\n", done.stderr), done.stderr
        return done

    return run


def as_nobody():
    os.setgid(NOBODY)
    os.setgroups([])
    os.setuid(NOBODY)


# Exit codes


@pytest.mark.parametrize(
    "code, exit_code",
    [(-32001, 1), (-32002, 1), (-32003, 1), (-32004, 1), (-32010, 1), (-32011, 1), (-32602, 64), (-32601, 64)]
    + [(-32600, 64), (-32006, 75), (-32007, 75), (-32008, 75), (-32009, 75), (-32005, 77), (-32012, 78)]
    + [(-32603, 70), (-32700, 70), (-1, 70)],
)
def test_exit_codes(run, code, exit_code):
    # A daemon that wants more patience than the client has is not asked again.
    with FakeDaemon(error(code, retry_after_ms=60_000)) as daemon:
        done = run("unregister", daemon=daemon)
        assert (done.returncode, done.stdout) == (exit_code, b"")
        assert len(daemon.requests) == 1
        assert f"({code})".encode() in done.stderr and b"the daemon says no" in done.stderr


def quickest_end_without_a_daemon(run, path):
    """The least of three: what else the machine does makes a run longer, never shorter."""
    taken = []
    for _ in range(3):
        began = time.monotonic()
        assert run("--socket", path, "ping").returncode == 69
        taken.append(time.monotonic() - began)
    return min(taken)


def test_no_daemon_is_said_fast(run, folder):
    assert quickest_end_without_a_daemon(run, folder / "none") < 1


def test_a_socket_that_nobody_serves_is_no_daemon(run, folder):
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(folder / "s"))
    assert quickest_end_without_a_daemon(run, folder / "s") < 3


def test_a_daemon_that_comes_back_while_connecting_is_found(run, folder):
    def outcome(path):
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(path))
        started = []

        def restart():
            path.unlink()
            started.append(FakeDaemon(result({}), path=path))

        timer = threading.Timer(0.3, restart)
        timer.start()
        done = run("--socket", path, "ping")
        timer.join()
        started[0].__exit__()
        return done.returncode

    # The client asks again for a second: a machine that stood still for as long may make one attempt miss it.
    outcomes = (outcome(folder / f"{attempt}") for attempt in range(3))
    assert 0 in outcomes


def test_a_forbidden_socket_is_permission(run):
    with FakeDaemon() as daemon:
        os.chmod(daemon.path, 0o600)
        done = run("ping", daemon=daemon, preexec_fn=as_nobody)
        assert done.returncode == 77 and b"group scaem" in done.stderr


@pytest.mark.parametrize("path", ["", "x" * 108])
def test_a_path_that_is_no_socket_path_is_usage(run, path):
    assert run(f"--socket={path}", "ping").returncode == 64


def test_a_full_device_is_73(binary):
    with FakeDaemon(result({})) as daemon, open("/dev/full", "wb") as full:
        done = subprocess.run([binary, "--socket", daemon.path, "ping"], stdout=full, stderr=subprocess.PIPE)
        assert done.returncode == 73 and b"standard output" in done.stderr


def test_a_token_that_nobody_got_is_said_to_be_lost(binary):
    with FakeDaemon(result(CREDENTIALS)) as daemon, open("/dev/full", "wb") as full:
        done = subprocess.run([binary, "--socket", daemon.path, "rotate", "P"], stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 73 and b"is lost, rotate again" in done.stderr and b"api_key" not in done.stderr


def test_a_pipe_that_nobody_reads_does_not_take_back_a_file(binary, folder):
    reader, writer = os.pipe()
    os.close(reader)
    with FakeDaemon(result(CREDENTIALS)) as daemon:
        done = subprocess.run(
            [binary, "--socket", daemon.path, "rotate", "P", "--output", folder / "t"],
            stdout=writer, stderr=subprocess.PIPE, preexec_fn=lambda: signal.signal(signal.SIGPIPE, signal.SIG_DFL),
        )  # fmt: skip
    os.close(writer)
    assert done.returncode == 0 and (folder / "t").read_text() == TOKEN


def test_no_core_of_a_client_holds_a_token(binary):
    with FakeDaemon(silence()) as daemon:
        command = [binary, "--socket", daemon.path, "introspect"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, preexec_fn=as_nobody) as client:
            client.stdin.write(TOKEN.encode())
            client.stdin.close()
            daemon.wait_for_requests(1)
            # proc(5): of a process that is not dumpable root owns what tells of it.
            assert os.stat(f"/proc/{client.pid}/environ").st_uid == 0
            client.terminate()


def test_a_pause_without_end_is_no_crash(run, folder):
    far = error(-32006, reason="busy", retry_after_ms=2**63 - 1)
    with FakeDaemon(far) as daemon:
        assert run("rotate", "P", "--output", folder / "t", daemon=daemon).returncode == 75
    assert os.listdir(folder) == []


def test_a_socket_s_path_that_is_not_utf_8_is_no_other_daemon_s(run, folder):
    (folder / "scaem-tokend").mkdir()
    with FakeDaemon(result({}), path=folder / "scaem-tokend/tokend.sock") as own:
        done = run("ping", environment={"SCAEM_TOKEND_SOCKET": b"/tmp/caf\xe9/s", "XDG_RUNTIME_DIR": str(folder)})
        assert done.returncode == 69 and own.connections == 0


def test_standard_input_may_not_block(binary):
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    with subprocess.Popen([binary, "fingerprint"], stdin=reader, stdout=subprocess.PIPE) as client:
        eventually(lambda: "poll" in open(f"/proc/{client.pid}/wchan").read(), 10, "the wait for input")
        os.write(writer, TOKEN.encode())
        os.close(writer)
        assert client.wait(10) == 0
    os.close(reader)


def test_a_token_that_is_in_its_file_is_delivered(binary, folder):
    """Whatever becomes of the rest: the file cannot be as it was any more."""
    credentials = {"registration_id": "dfa45616-e9f9-45be-881e-a1ed8ae70224", "registration_token": "api_key|T",
                   "token_expiration": "2025-05-24T18:18:22.265Z", "token_type": "Bearer"}  # fmt: skip
    with FakeDaemon(result(credentials)) as daemon, open("/dev/full", "wb") as full:
        done = subprocess.run(
            [binary, "--socket", daemon.path, "rotate", "P", "--output", folder / "token"],
            stdout=full, stderr=subprocess.PIPE,
        )  # fmt: skip
    assert done.returncode == 0 and b"standard output" in done.stderr
    assert (folder / "token").read_bytes().strip() == b"api_key|T"


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&-", ">&- 2>&-", "<&- 2>&-", "<&- >&- 2>&-"])
def test_closed_standard_descriptors_get_nothing_of_ours(binary, folder, closed):
    """Their numbers would be given to the token's file and the socket."""
    credentials = {"registration_id": "dfa45616-e9f9-45be-881e-a1ed8ae70224", "registration_token": "api_key|T",
                   "token_expiration": "2025-05-24T18:18:22.265Z", "token_type": "Bearer"}  # fmt: skip
    with FakeDaemon(result(credentials), result(credentials)) as daemon:
        command = f'"{binary}" --socket "{daemon.path}" rotate P --output token {closed}'
        done = subprocess.run(["sh", "-c", command], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        assert done.returncode == 0 and (folder / "token").read_bytes() == b"api_key|T"
        done = subprocess.run(["sh", "-c", f'"{binary}" --socket "{daemon.path}" rotate P >&-'], cwd=folder)
        assert done.returncode == 73


def test_a_reader_that_has_left_ends_it_quietly(binary):
    with FakeDaemon(result({})) as daemon:
        reading, writing = os.pipe()
        os.close(reading)
        done = subprocess.run([binary, "--socket", daemon.path, "ping"], stdout=writing, stderr=subprocess.PIPE)
        os.close(writing)
        assert (done.returncode, done.stderr) == (-signal.SIGPIPE, b"")


def test_a_full_backlog_is_waited_for(binary, folder):
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as first:
        listener.bind(str(folder / "s"))
        listener.listen(0)
        first.connect(str(folder / "s"))  # takes the one place
        client = subprocess.Popen([binary, "--socket", folder / "s", "ping"], stdout=subprocess.PIPE)
        with pytest.raises(subprocess.TimeoutExpired):
            client.wait(0.2)
        listener.accept()[0].close()
        connection = listener.accept()[0]
        connection.sendall(b'{"jsonrpc":"2.0","id":%d,"result":{}}\n' % json.loads(connection.recv(4_096))["id"])
        assert client.communicate(timeout=10)[0] == b"{}\n" and client.returncode == 0


@pytest.mark.parametrize(
    "answer",
    [b"nonsense\n", b"[]\n", b'{"jsonrpc":"2.0","id":77,"result":{}}\n', b'{"jsonrpc":"2.0","id":1}\n', b"{}\n"]
    + [b'{"jsonrpc":"2.0","id":1,"error":{"message":"no code"}}\n', b'{"jsonrpc":"2.0","id":1,"error":7}\n'],
)
def test_what_is_no_answer_is_internal(run, answer):
    with FakeDaemon(raw(answer)) as daemon:
        assert run("ping", daemon=daemon).returncode == 70


# What is said


@pytest.mark.parametrize(
    "command, code, next_method",
    [("rotate", -32001, "register"), ("rotate", -32003, "generate"), ("register", -32002, "rotate")]
    + [("generate", -32004, "rotate")],
)
def test_the_next_step_is_a_command(run, folder, command, code, next_method):
    """Whole, so that it may be typed: the same daemon, and a token that goes to the file, not to the screen."""
    grace = ["--grace", "5m"] if command == "rotate" else []
    with FakeDaemon(error(code, message="The application is so; do that.", next=next_method)) as daemon:
        done = run(command, "P", "--application", "alice/web", *grace, "--output", folder / "a b", daemon=daemon)
    given = f"--socket {daemon.path} --application alice/web --output '{folder}/a b'"
    said = f"the application is so; do that ({code}); next: scaem-token {next_method} P {given}"
    assert done.stderr.decode() == f"scaem-token: {said}\n"


def test_a_wrong_parameter_is_named_once(run):
    wrong = [error(-32602, message=text, param="ttl_seconds") for text in ("It is too long.", "ttl_seconds is too long.")]
    with FakeDaemon(*wrong) as daemon:
        said = [run("rotate", "P", "--ttl", "1s", daemon=daemon).stderr.count(b"ttl_seconds") for _ in wrong]
        assert said == [1, 1]


def test_what_the_daemon_says_stays_one_harmless_line(run):
    with FakeDaemon(error(-32005, message=f"One\nline \x1b[31m {TOKEN}")) as daemon:
        assert run("unregister", daemon=daemon).returncode == 77


# Retries


def test_busy_is_asked_again(run):
    busy = error(-32006, retry_after_ms=10)
    with FakeDaemon(busy, busy, result(CREDENTIALS)) as daemon:
        assert run("rotate", "P", daemon=daemon).returncode == 0
        assert daemon.methods == ["rotate"] * 3


def test_busy_for_ever_ends(run):
    """Three seconds hold the first attempt and six more, each half a second after the one before it at least."""
    with FakeDaemon(*[error(-32006, retry_after_ms=500)] * 50) as daemon:
        assert run("ping", daemon=daemon).returncode == 75
        assert 2 <= len(daemon.requests) <= 7


def test_shutting_down_is_asked_again_at_the_successor(run):
    with FakeDaemon(error(-32008, close=True), result({"revoked": 1})) as daemon:
        assert run("unregister", daemon=daemon).returncode == 0
        assert daemon.connections == 2


def test_no_room_for_the_connection_is_asked_again(run):
    refusal = b'{"jsonrpc":"2.0","id":null,"error":{"code":-32006,"message":"Full.","data":{"reason":"busy"}}}\n'
    with FakeDaemon(result(CREDENTIALS), greetings=[refusal, refusal]) as daemon:
        assert run("rotate", "P", daemon=daemon).returncode == 0
        assert daemon.connections == 3 and daemon.methods == ["rotate"]


@pytest.mark.parametrize("command", [["ping"], ["status"], ["whoami"], ["list"], ["call", "ping"]])
def test_reading_survives_a_broken_connection(run, command):
    with FakeDaemon(drop(), result({"tokens": []})) as daemon:
        assert run(*command, daemon=daemon).returncode == 0
        assert len(daemon.requests) == 2


@pytest.mark.parametrize(
    "command",
    [["register", "P"], ["generate", "P"], ["rotate", "P"], ["obtain", "P"], ["revoke", "P"], ["unregister"]]
    + [["call", "rotate", '{"project_code":"P"}'], ["call", "reload"]],
)
def test_a_change_whose_answer_is_lost_is_never_repeated(run, command):
    with FakeDaemon(drop(), result(CREDENTIALS)) as daemon:
        done = run(*command, daemon=daemon)
        assert done.returncode == 74 and b"unknown" in done.stderr
        assert len(daemon.requests) == 1


def test_half_an_answer_is_a_broken_connection(run):
    with FakeDaemon(raw(b'{"jsonrpc":"2.0","id":1,"res', close=True)) as daemon:
        assert run("unregister", daemon=daemon).returncode == 74


# --output


@pytest.mark.parametrize("command", ["register", "generate", "rotate", "obtain"])
def test_output_is_the_token_alone(run, folder, command):
    with FakeDaemon(result(CREDENTIALS)) as daemon:
        done = run(command, "P", "--output", folder / "t", daemon=daemon)
    assert done.returncode == 0
    assert (folder / "t").read_bytes() == TOKEN.encode()
    assert stat.S_IMODE((folder / "t").stat().st_mode) == 0o600
    assert os.listdir(folder) == ["t"]
    rest = {key: value for key, value in CREDENTIALS.items() if key != "registration_token"}
    assert json.loads(done.stdout) == rest and done.stdout.count(b"\n") == 1


def test_output_in_the_current_folder(run, folder):
    (folder / "t").write_text("old")
    (folder / "t").chmod(0o644)
    with FakeDaemon(result(CREDENTIALS)) as daemon:
        assert run("rotate", "P", "--output=t", daemon=daemon, cwd=folder).returncode == 0
    assert (folder / "t").read_text() == TOKEN and stat.S_IMODE((folder / "t").stat().st_mode) == 0o600


def unwritable_places(folder):
    (folder / "file").write_text("a file")
    (folder / "sub").mkdir()
    os.mkfifo(folder / "fifo")
    (folder / "loop").symlink_to("loop")
    places = ["none/t", "file/t", "sub", "sub/", "new/", "fifo", "loop", "/dev/null", "/proc/t"]
    return [folder / place if not place.endswith("/") else f"{folder}/{place}" for place in places]


def test_what_cannot_be_written_costs_no_token(run, folder):
    with FakeDaemon() as daemon:
        for place in unwritable_places(folder):
            assert run("rotate", "P", "--output", place, daemon=daemon).returncode == 73, place
        for nothing in ("", "-"):
            assert run("rotate", "P", f"--output={nothing}", daemon=daemon, cwd=folder).returncode == 64
        done = run("rotate", "P", "--output", folder / "t", daemon=daemon, preexec_fn=as_nobody)
        assert done.returncode == 73
        assert daemon.connections == 0
    assert sorted(os.listdir(folder)) == ["fifo", "file", "loop", "sub"]


def test_what_cannot_be_replaced_costs_no_token(run, folder):
    """What rename(2) would say when the token has been issued and the one before it is dead."""
    folder.chmod(0o1777)
    for name in ("another", "mounted", "immutable"):
        (folder / name).write_text("old")
    os.chown(folder / "another", 1, 1)
    os.symlink(b"caf\xe9", bytes(folder / "link"))
    subprocess.run(["mount", "--bind", folder / "mounted", folder / "mounted"], check=True)
    subprocess.run(["chattr", "+i", folder / "immutable"])  # a tmpfs may not know it
    try:
        is_immutable = b"i" in subprocess.run(["lsattr", folder / "immutable"], capture_output=True).stdout.split(b" ")[0]
        cases = [("x" * 256, None), ("another", as_nobody), ("mounted", None), ("link", None)]
        with FakeDaemon() as daemon:
            for name, who in cases + [("immutable", None)] * is_immutable:
                done = run("rotate", "P", "--output", folder / name, daemon=daemon, preexec_fn=who)
                assert done.returncode == 73, name
            assert daemon.connections == 0
    finally:
        subprocess.run(["umount", folder / "mounted"], check=True)
        subprocess.run(["chattr", "-i", folder / "immutable"])
    assert sorted(os.listdir(folder)) == ["another", "immutable", "link", "mounted"]


def without_the_rights_of_owners():
    """root as in a unit with CapabilityBoundingSet=."""
    assert ctypes.CDLL(None, use_errno=True).prctl(24, 3, 0, 0, 0) == 0, "PR_CAPBSET_DROP, CAP_FOWNER"


def test_root_that_may_not_act_for_owners_loses_no_token(run, folder):
    folder.chmod(0o1777)
    (folder / "another").write_text("old")
    for path in (folder, folder / "another"):
        os.chown(path, 1, 1)
    with FakeDaemon() as daemon:
        where = ["--output", folder / "another"]
        done = run("rotate", "P", *where, daemon=daemon, preexec_fn=without_the_rights_of_owners)
        assert done.returncode == 73 and daemon.connections == 0, done
    assert os.listdir(folder) == ["another"] and (folder / "another").read_text() == "old"


def test_a_folder_from_which_nothing_goes_costs_no_token(run):
    """Append-only: a file can be made there, and neither renamed nor removed."""
    for place in (ROOT / ".build", "/var/tmp", "/dev/shm"):
        with tempfile.TemporaryDirectory(dir=place, prefix="scaemtest-") as name:
            folder = pathlib.Path(name)
            if subprocess.run(["chattr", "+a", folder]).returncode != 0:
                continue  # an overlay has no such folders
            try:
                with FakeDaemon() as daemon:
                    done = run("rotate", "P", "--output", folder / "t", daemon=daemon)
                    assert done.returncode == 73 and daemon.connections == 0, done
            finally:
                subprocess.run(["chattr", "-a", folder], check=True)
            assert os.listdir(folder) == []
            return
    pytest.fail("no file system here knows append-only folders")


def test_a_folder_to_write_into_and_not_to_read(run, folder):
    (folder / "drop").mkdir()
    (folder / "drop").chmod(0o300)
    os.chown(folder / "drop", 65_534, 65_534)
    folder.chmod(0o755)
    with FakeDaemon(result(CREDENTIALS)) as daemon:
        os.chmod(daemon.path, 0o777)
        done = run("rotate", "P", "--output", folder / "drop" / "t", daemon=daemon, preexec_fn=as_nobody)
        assert (done.returncode, done.stderr) == (0, b""), done
    assert (folder / "drop" / "t").read_text() == CREDENTIALS["registration_token"]


def test_no_room_costs_no_token(run, folder):
    def no_room():
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))

    with FakeDaemon() as daemon:
        done = run("rotate", "P", "--output", folder / "t", daemon=daemon, preexec_fn=no_room)
        assert done.returncode == 73 and daemon.connections == 0
    assert os.listdir(folder) == []


@pytest.mark.parametrize(
    "step, exit_code",
    [(error(-32003, next="generate"), 1), (drop(), 74), (raw(b"nonsense\n"), 70), (result({"no": "token"}), 70)],
    ids=["refused", "broken", "malformed", "without a token"],
)
def test_on_failure_the_file_is_as_it_was(run, folder, step, exit_code):
    (folder / "t").write_text("old")
    before = (folder / "t").stat()
    with FakeDaemon(step) as daemon:
        assert run("rotate", "P", "--output", folder / "t", daemon=daemon).returncode == exit_code
    after = (folder / "t").stat()
    assert (after.st_ino, after.st_mtime_ns, after.st_mode) == (before.st_ino, before.st_mtime_ns, before.st_mode)
    assert os.listdir(folder) == ["t"]


def test_a_rename_that_fails_leaves_nothing(run, folder):
    # What was a file when the client looked is a folder when it renames.
    with FakeDaemon(result(CREDENTIALS, before=lambda: (folder / "t").mkdir())) as daemon:
        done = run("rotate", "P", "--output", folder / "t", daemon=daemon)
        assert done.returncode == 73 and b"rotate again" in done.stderr and done.stdout == b""
    assert os.listdir(folder) == ["t"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_leaves_nothing_behind(binary, folder, number):
    (folder / "t").write_text("old")
    with FakeDaemon(silence()) as daemon:
        client = subprocess.Popen([binary, "--socket", daemon.path, "rotate", "P", "--output", folder / "t"])
        daemon.wait_for_requests(1)
        assert len(os.listdir(folder)) == 2
        client.send_signal(number)
        assert client.wait(10) == -number
    assert os.listdir(folder) == ["t"] and (folder / "t").read_text() == "old"


def test_the_file_beside_it_is_private_before_the_token_is_there(binary, folder):
    with FakeDaemon(silence()) as daemon:
        client = subprocess.Popen([binary, "--socket", daemon.path, "rotate", "P", "--output", folder / "t"])
        daemon.wait_for_requests(1)
        (name,) = os.listdir(folder)
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600
        client.terminate()
        client.wait(10)


@pytest.mark.parametrize("exists", [True, False])
def test_a_symbolic_link_is_followed(run, folder, exists):
    (folder / "real").mkdir()
    (folder / "link").symlink_to("real/t")
    if exists:
        (folder / "real/t").write_text("old")
    with FakeDaemon(result(CREDENTIALS)) as daemon:
        assert run("rotate", "P", "--output", folder / "link", daemon=daemon).returncode == 0
    assert (folder / "link").is_symlink() and (folder / "real/t").read_text() == TOKEN
    assert os.listdir(folder / "real") == ["t"]


def test_another_users_link_in_a_shared_folder_is_not_followed(run, folder):
    folder.chmod(0o1777)
    (folder / "precious").write_text("precious")
    (folder / "link").symlink_to("precious")
    os.chown(folder / "link", NOBODY, NOBODY, follow_symlinks=False)
    with FakeDaemon() as daemon:
        assert run("rotate", "P", "--output", folder / "link", daemon=daemon).returncode == 73
        assert daemon.connections == 0
    assert (folder / "precious").read_text() == "precious"


# Issuing


def test_credentials_are_the_very_result(run):
    with FakeDaemon(result(CREDENTIALS)) as daemon:
        done = run("register", "P", "--application=a/b", "--ttl", "12h", daemon=daemon)
        assert done.stdout == json.dumps(CREDENTIALS, separators=(",", ":")).encode() + b"\n"
        assert daemon.requests[0]["params"] == {"project_code": "P", "application": "a/b", "ttl_seconds": 43_200}


def test_text_shows_each_member(run):
    with FakeDaemon(result(CREDENTIALS)) as daemon:
        done = run("--format", "text", "register", "P", daemon=daemon)
    assert f"registration token: {TOKEN}\n" in done.stdout.decode().replace("  ", " ")


def test_obtain_follows_next(run):
    steps = [error(-32002, next="generate"), error(-32004, next="rotate"), result(CREDENTIALS)]
    with FakeDaemon(*steps) as daemon:
        assert run("obtain", "P", "--grace", "15m", "--ttl=60d", daemon=daemon).returncode == 0
        assert daemon.methods == ["register", "generate", "rotate"]
        assert [request["params"].get("grace_seconds") for request in daemon.requests] == [None, None, 900]
        assert {request["params"]["ttl_seconds"] for request in daemon.requests} == {5_184_000}


def test_obtain_ends_after_four_steps(run):
    steps = [error(-32002, next="rotate"), error(-32003, next="generate"), error(-32004, next="rotate")]
    with FakeDaemon(*steps, error(-32003, next="generate"), result(CREDENTIALS)) as daemon:
        assert run("obtain", "P", daemon=daemon).returncode == 1
        assert len(daemon.requests) == 4


def test_obtain_does_not_follow_what_names_no_step(run):
    with FakeDaemon(error(-32011)) as daemon:
        assert run("obtain", "P", daemon=daemon).returncode == 1 and len(daemon.requests) == 1


# Tokens that are read


ACTIVE = {
    "active": True, "token_type": "Bearer", "client_id": CREDENTIALS["registration_id"], "sub": "alice",
    "project_code": "P", "iat": 1_700_000_000, "exp": 1_900_000_000,
}  # fmt: skip


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
@pytest.mark.parametrize("source", ["file", "stdin", "dash"])
def test_introspect_reads_a_file_or_standard_input(run, folder, source, end):
    (folder / "t").write_bytes(TOKEN.encode() + end)
    argument = {"file": [folder / "t"], "stdin": [], "dash": ["-"]}[source]
    with FakeDaemon(result(ACTIVE)) as daemon:
        done = run("introspect", *argument, daemon=daemon, stdin=TOKEN.encode() + end)
        assert (done.returncode, json.loads(done.stdout)) == (0, ACTIVE)
        assert daemon.requests[0]["params"] == {"token": TOKEN}


@pytest.mark.parametrize("presented", [TOKEN, "not ours", "naïve", "x" * 4_096, 'quote " and \\'])
def test_what_is_not_active_is_1(run, presented):
    with FakeDaemon(result({"active": False})) as daemon:
        done = run("introspect", daemon=daemon, stdin=presented.encode())
        assert (done.returncode, done.stdout, done.stderr) == (1, b'{"active":false}\n', b"")
        assert daemon.requests[0]["params"] == {"token": presented}


BAD_INPUT = [b"", b"\n", b"\r\n", b"a\nb", b"a\n\n", b"\xff", b"a\0b", b"x" * 4_097, b"x" * 1_000_000, b"a\x1bb"]


@pytest.mark.parametrize("command", [["introspect"], ["revoke", "--token-file", "-"], ["fingerprint"]])
@pytest.mark.parametrize("data", BAD_INPUT, ids=range(len(BAD_INPUT)))
def test_what_is_no_token_is_65(run, command, data):
    with FakeDaemon() as daemon:
        assert run(*command, daemon=daemon, stdin=data).returncode == 65
        assert daemon.connections == 0


def test_a_file_that_cannot_be_read_is_65(run, folder):
    for file in (folder / "none", folder):
        assert run("fingerprint", file).returncode == 65
        assert run("revoke", "--token-file", file).returncode == 65


def test_fingerprint_is_offline(run):
    done = run("fingerprint", stdin=TOKEN.encode() + b"\n", environment={"SCAEM_TOKEND_SOCKET": "/nowhere"})
    expected = hashlib.sha256(TOKEN.encode()).hexdigest()[:16]
    assert (done.returncode, json.loads(done.stdout)) == (0, {"well_formed": True, "fingerprint": expected})
    wrong = TOKEN[:-1] + ("0" if TOKEN[-1] != "0" else "1")
    done = run("fingerprint", stdin=wrong.encode())
    assert (done.returncode, done.stdout) == (1, b'{"well_formed":false}\n')


def test_revoke_takes_a_project_or_a_token(run):
    with FakeDaemon(*[result({"revoked": 2})] * 3) as daemon:
        assert run("revoke", "P", "--application", "*", daemon=daemon).stdout == b'{"revoked":2}\n'
        assert run("revoke", "P", daemon=daemon).returncode == 0
        assert run("revoke", "--token-file", "-", daemon=daemon, stdin=TOKEN.encode()).returncode == 0
        wanted = [{"project_code": "P", "application": "*"}, {"project_code": "P"}, {"token": TOKEN}]
        assert [request["params"] for request in daemon.requests] == wanted


# Tokens that are arguments


@pytest.mark.parametrize(
    "arguments",
    [["introspect", TOKEN], ["call", "introspect", json.dumps({"token": TOKEN})], ["revoke", "--token-file", TOKEN]]
    + [[TOKEN], ["--" + TOKEN], ["--socket", TOKEN, "ping"], ["call", "introspect", '{"token":"api_key\\u007cabc"}']]
    + [["call", "x", '{"\\u0061pi_key|":1}'], ["call", "x", '[[{"a":["\\u0061pi_\\u006bey\\u007C"]}]]']]
    + [["call", "x", "api_key|not json"], ["call", TOKEN]],
)
def test_a_token_is_never_an_argument(run, arguments):
    with FakeDaemon() as daemon:
        assert run(*arguments, daemon=daemon).returncode == 64
        assert daemon.connections == 0


def test_call_takes_a_token_from_standard_input(run):
    parameters = '{\n "token":\r\n "' + TOKEN + '"\n}\n'
    with FakeDaemon(result(ACTIVE)) as daemon:
        done = run("call", "introspect", "-", daemon=daemon, stdin=parameters.encode())
        assert (done.returncode, json.loads(done.stdout)) == (0, ACTIVE)
        assert daemon.requests[0]["params"] == {"token": TOKEN}
        assert daemon.raw_requests[0].count(b"\n") == 1


def test_call_prints_the_very_result(run):
    odd = '{"jsonrpc":"2.0","id":1,"result":{ "a" : [1.50, "\\u00e9"] }}\n'
    with FakeDaemon(raw(odd.encode()), raw(odd.encode())) as daemon:
        for output in ("json", "text"):
            done = run("--format", output, "call", "any.method", "[1,2]", daemon=daemon)
            assert done.stdout == b'{ "a" : [1.50, "\\u00e9"] }\n'
        assert daemon.requests[0]["params"] == [1, 2] and daemon.requests[0]["method"] == "any.method"


def test_call_without_parameters_sends_none(run):
    with FakeDaemon(result({})) as daemon:
        run("call", "ping", daemon=daemon)
        assert "params" not in daemon.requests[0]


@pytest.mark.parametrize("bad", ["{", "{'a':1}", "", '{"a":1,"a":2}', "{} {}", "[01]"])
def test_parameters_that_are_not_json(run, bad):
    with FakeDaemon() as daemon:
        assert run("call", "x", bad, daemon=daemon).returncode == 64
        assert run("call", "x", "-", daemon=daemon, stdin=bad.encode()).returncode == 65
        assert daemon.connections == 0


@pytest.mark.parametrize("length", [65_500, 65_536, 70_000])
def test_parameters_that_are_too_long(run, length):
    text = b'{"a":"' + b"x" * (length - 8) + b'"}'
    with FakeDaemon() as daemon:
        assert run("call", "x", text.decode(), daemon=daemon).returncode == 64
        assert run("call", "x", "-", daemon=daemon, stdin=text).returncode == 65
        assert daemon.requests == []


# list and watch


def test_list_pages_by_itself(run):
    second = {**ROW, "project_code": "Q"}
    pages = [{"tokens": [], "next_cursor": "c1"}, {"tokens": [ROW], "next_cursor": "c2"}]
    pages += [{"tokens": [], "next_cursor": "c3"}, {"tokens": [second, ROW]}]
    with FakeDaemon(*map(result, pages)) as daemon:
        done = run("list", "--application", "alice", "--project=P", daemon=daemon)
        assert done.stdout.count(b"\n") == 1
        assert json.loads(done.stdout) == {"tokens": [ROW, second, ROW]}
        assert [request["params"].get("cursor") for request in daemon.requests] == [None, "c1", "c2", "c3"]
        first = daemon.requests[0]["params"]
        assert first == {"application": "alice", "project_code": "P", "limit": 1_000}


def test_an_empty_list(run):
    with FakeDaemon(result({"tokens": []}), result({"tokens": []})) as daemon:
        assert run("list", daemon=daemon).stdout == b'{"tokens":[]}\n'
        assert run("list", "--format=text", daemon=daemon).stdout == b"no tokens\n"


def test_list_as_a_table(run):
    previous = [{"fingerprint": "00", "token_expiration": "2025-05-25T00:00:00.000Z"}]
    rows = [{**ROW, "last_used_at": "2025-05-20T00:00:00.000Z"}, {**ROW, "application": "b\u001b", "previous": previous}]
    with FakeDaemon(result({"tokens": rows})) as daemon:
        head, first, second = run("list", "--format", "text", daemon=daemon).stdout.decode().splitlines()
    assert head.split() == ["APPLICATION", "PROJECT", "STATE", "EXPIRES", "LAST", "USED", "FINGERPRINT", "PREVIOUS"]
    assert first.startswith("alice        P        active  2025-05-24T18:18:22.265Z  2025-05-20T00:00:00.000Z  0011")
    assert second.startswith("b?") and second.endswith("1, until 2025-05-25T00:00:00.000Z")
    assert head.index("EXPIRES") == first.index("2025-05-24")


def test_expires_within_is_a_time_from_now(run):
    with FakeDaemon(*[result({"tokens": []})] * 2) as daemon:
        run("list", "--expires-within", "2d", daemon=daemon)
        run("list", "--expires-within", "99999999999d", daemon=daemon)
        before, far = [request["params"]["expires_before"] for request in daemon.requests]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", before)
    seconds = time.mktime(time.strptime(before[:19], "%Y-%m-%dT%H:%M:%S")) - time.mktime(time.gmtime())
    assert abs(seconds - 2 * 86_400) < 60
    assert far.startswith("9999-")


def test_an_answer_of_nearly_a_mebibyte(run):
    rows = [ROW] * ((1_048_576 - 200) // (len(json.dumps(ROW, separators=(",", ":"))) + 1))
    with FakeDaemon(result({"tokens": rows})) as daemon:
        assert json.loads(run("list", daemon=daemon).stdout) == {"tokens": rows}


def test_an_answer_that_is_too_long_is_refused(run):
    with FakeDaemon(raw(b" " * 1_100_000)) as daemon:
        assert run("ping", daemon=daemon).returncode == 70


EVENTS = [
    {"sequence": 8, "time": "2025-05-24T18:18:22.265Z", "event": "registered", "application": "alice",
     "registration_id": CREDENTIALS["registration_id"], "project_code": "P", "fingerprint": "00112233445566ff"},
    {"sequence": 11, "event": "revoked", "ended": ["aa12233445566fff", "bb12233445566fff"]},
]  # fmt: skip
WATCHED = [{"jsonrpc": "2.0", "id": 0, "result": {"sequence": 7}}]
WATCHED += [{"jsonrpc": "2.0", "method": "event", "params": event} for event in EVENTS]


def end_of_watch(code):
    return {"jsonrpc": "2.0", "method": "error", "params": {"code": code, "message": "Enough.", "data": {"reason": "r"}}}


@pytest.mark.parametrize("code, exit_code", [(-32008, 75), (-32006, 75), (None, 74)])
def test_watch_prints_events_until_the_daemon_ends_it(run, code, exit_code):
    messages = WATCHED + ([end_of_watch(code)] if code else [])
    with FakeDaemon(lines(*messages, close=True)) as daemon:
        done = run("watch", "--since", "5", daemon=daemon)
        assert daemon.requests[0]["params"] == {"since": 5}
    assert [json.loads(line) for line in done.stdout.splitlines()] == EVENTS
    again = f"; go on with: scaem-token watch --since 11 --socket {daemon.path}\n"
    assert done.returncode == exit_code and done.stderr.decode().endswith(again)


def test_watch_as_text(run):
    with FakeDaemon(lines(*WATCHED, close=True)) as daemon:
        done = run("--format=text", "watch", daemon=daemon)
        assert daemon.requests[0]["params"] == {}
    first, second = done.stdout.decode().splitlines()
    assert first == "2025-05-24T18:18:22.265Z  registered  alice  P  new 00112233445566ff"
    assert second == "-  revoked  ended aa12233445566fff bb12233445566fff"


def test_watch_that_never_began_says_so(run):
    with FakeDaemon(error(-32010)) as daemon:
        done = run("watch", "--since", "5", daemon=daemon)
        assert done.returncode == 1 and b"without --since" in done.stderr


def test_an_event_is_printed_when_it_comes(binary):
    with FakeDaemon(lines(*WATCHED)) as daemon:
        client = subprocess.Popen([binary, "--socket", daemon.path, "watch"], stdout=subprocess.PIPE)
        assert [json.loads(client.stdout.readline()) for _ in EVENTS] == EVENTS
        client.send_signal(signal.SIGINT)
        assert client.wait(10) == -signal.SIGINT
        client.stdout.close()


# status


STATUS = {
    "version": '1"2\\', "protocol": 1, "uptime_seconds": 5, "ready": True, "applications": 3, "tokens": 4,
    "storage": {"database_bytes": 4096, "problem": None, "queue": {"depth-now": 0}}, "audit": {"rows_total": 9},
}  # fmt: skip


def test_status_for_prometheus(run):
    with FakeDaemon(result(STATUS)) as daemon:
        text = run("status", "--prometheus", daemon=daemon).stdout.decode()
    samples = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert samples == {
        'scaem_tokend_info{version="1\\"2\\\\"}': "1", "scaem_tokend_protocol": "1", "scaem_tokend_ready": "1",
        "scaem_tokend_uptime_seconds": "5", "scaem_tokend_applications": "3", "scaem_tokend_tokens": "4",
        "scaem_tokend_storage_database_bytes": "4096", "scaem_tokend_storage_queue_depth_now": "0",
        "scaem_tokend_audit_rows_total": "9",
    }  # fmt: skip
    types = dict(line.split()[2:] for line in text.splitlines() if line.startswith("# TYPE"))
    assert types.pop("scaem_tokend_audit_rows_total") == "counter" and set(types.values()) == {"gauge"}


def test_status_as_text(run):
    with FakeDaemon(result(STATUS)) as daemon:
        text = run("--format", "text", "status", daemon=daemon).stdout.decode()
    assert re.search(r"^storage\.database bytes: +4096$", text, re.M) and re.search(r"^ready: +yes$", text, re.M)


# Where the daemon is


def test_the_socket_by_option_then_environment_then_the_users_own(run, folder):
    (folder / "scaem-tokend").mkdir()
    with FakeDaemon(result({})) as named, FakeDaemon(result({})) as environment:
        with FakeDaemon(result({}), path=folder / "scaem-tokend/tokend.sock") as own:
            variables = {"SCAEM_TOKEND_SOCKET": environment.path, "XDG_RUNTIME_DIR": str(folder)}
            assert run("ping", daemon=named, environment=variables).returncode == 0
            assert run("ping", environment=variables).returncode == 0
            if not os.path.exists("/run/scaem-tokend/tokend.sock"):
                assert run("ping", environment={**variables, "SCAEM_TOKEND_SOCKET": ""}).returncode == 0
                assert len(own.requests) == 1
            assert (len(named.requests), len(environment.requests)) == (1, 1)


# The terminal


def on_a_terminal(binary, daemon, *arguments, typed=b"", at_prompt=lambda terminal: None):
    """Runs the client with a terminal for everything; gives what it showed, and the exit code."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(binary, [str(binary), "--socket", daemon.path, *arguments])
    shown = b""
    while True:
        try:
            data = os.read(terminal, 4_096)
        except OSError:  # the other side is closed
            break
        if not data:
            break
        shown += data
        if typed and b"Token: " in shown:
            at_prompt(terminal)
            os.write(terminal, typed)
            typed = b""
    os.close(terminal)
    return shown.decode(), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_terminal_gets_text(binary):
    with FakeDaemon(result({})) as daemon:
        shown, code = on_a_terminal(binary, daemon, "ping")
        assert code == 0 and shown.startswith("the daemon answers")


def test_a_token_is_asked_for_without_an_echo(binary):
    with FakeDaemon(result(ACTIVE)) as daemon:
        shown, code = on_a_terminal(binary, daemon, "introspect", typed=TOKEN.encode() + b"\n")
        assert code == 0 and "api_key" not in shown
        assert daemon.requests[0]["params"] == {"token": TOKEN}
    assert shown.splitlines()[-1] == "active: application alice, project P, until 2030-03-17T17:46:40.000Z"


def test_a_prompt_cannot_be_stopped(binary):
    """The shell would show everything again, and what is typed when the process goes on would be seen."""
    keys = []
    with FakeDaemon(result(ACTIVE)) as daemon:
        _, code = on_a_terminal(
            binary, daemon, "introspect", typed=TOKEN.encode() + b"\n",
            at_prompt=lambda terminal: keys.append(termios.tcgetattr(terminal)[6][termios.VSUSP]),
        )  # fmt: skip
    assert code == 0 and keys == [b"\0"]


def test_no_control_character_reaches_the_terminal(run):
    """U+009B alone is a CSI."""
    done = run("introspect", "\u009b31mred\x07")
    assert done.returncode == 65 and not re.search(rb"\xc2[\x80-\x9f]|[\x00-\x09\x0b-\x1f]", done.stderr)


# Usage


@pytest.mark.parametrize(
    "arguments, said",
    [
        ([], "which command?"), (["pnig"], "did you mean ping?"), (["rotate"], "PROJECT is missing"),
        (["ping", "x"], "one argument too many"), (["ping", "--aplication", "x"], "did you mean --application?"),
        (["ping", "--application", "x"], "ping has no --application"), (["rotate", "P", "--ttl"], "needs a value"),
        (["rotate", "P", "--ttl", "60"], "its unit is missing"), (["rotate", "P", "--grace=-1s"], "not a duration"),
        (["register", "P", "--grace", "1s"], "register has no --grace"), (["--format", "xml", "ping"], "json or text"),
        (["rotate", "ä"], "is no project"), (["rotate", "P", "--application", "/x"], "is no application"),
        (["status", "--prometheus=1"], "takes no value"), (["--socket", "a", "--socket", "b", "ping"], "given twice"),
        (["status", "--prometheus", "--format", "json"], "format of its own"), (["watch", "--since", "-1"], "sequence"),
        (["revoke"], "PROJECT is missing"), (["revoke", "P", "--token-file", "x"], "one argument too many"),
        (["revoke", "--application", "a", "--token-file", "x"], "do not go together"), (["-x"], "no option -x"),
    ],
)  # fmt: skip
def test_usage(run, arguments, said):
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (64, b"") and said in done.stderr.decode()


def test_arguments_that_are_not_utf8(run):
    done = run(b"fingerprint\xff".decode(errors="surrogateescape"))
    assert done.returncode == 64 and b"UTF-8" in done.stderr


def test_options_stand_anywhere(run):
    with FakeDaemon(*[result({"revoked": 1})] * 3) as daemon:
        for arguments in (["--application", "a", "revoke", "P"], ["revoke", "--application=a", "P"], ["revoke", "P", "--application", "a"]):
            assert run(*arguments, daemon=daemon).returncode == 0
        assert [request["params"] for request in daemon.requests] == [{"project_code": "P", "application": "a"}] * 3


def test_help_names_every_command(run):
    overview = run("--help").stdout.decode()
    commands = re.findall(r"^  ([a-z]+) {2,}", overview, re.M)
    expected = "register generate rotate obtain introspect revoke unregister list watch whoami status ping fingerprint call"
    assert commands == expected.split()
    for command in commands:
        done = run(command, "--help")
        assert done.returncode == 0 and f"Usage: scaem-token {command}" in done.stdout.decode()
    assert re.fullmatch(rb"scaem-token \d+\.\d+\.\d+\n", run("--version").stdout)
