#!/usr/bin/python3
"""Units that get their tokens through LoadCredential=: exactly a token in $CREDENTIALS_DIRECTORY, or no start."""

import contextlib
import os
import pathlib
import re
import sqlite3
import subprocess

from checks import eventually, journal, main, prop, run
from tokend import drop_in, records, status_text, switched

DAEMON = "scaem-tokend.service"
ALL = ("scaem-tokend.socket", "scaem-tokend-credential.socket", DAEMON)
# In the state directory: the one place where the daemon may remove it again.
KILL_AT = pathlib.Path("/var/lib/scaem-tokend/kill-at")
GOT = pathlib.Path("/run/got")
HOLD = pathlib.Path("/run/hold")
TOKEN = re.compile(r"api_key\|[0-9A-Za-z]{64}")
# So long that the address has 107 bytes, the most that systemd binds, where its random number has all its digits.
LONG = "n" * (78 - len(".service")) + ".service"
MANY = [f"many@{number}.service" for number in range(60)]
FEW = MANY[:8]
# In a container with cgroups of version 1 systemd now and then does not hear that a service's last process has ended: it
# goes on after TimeoutStopSec=60s, or finds the cgroup removed under a start.
NEXT_INSTANCE_SECONDS = 150


def start(unit):
    """Starts a unit.
    Returns what it was given, or None where it failed for want of its credential."""
    name = unit.removesuffix(".service")
    for path in GOT.glob(f"{name}.*"):
        path.unlink()
    run("systemctl", "reset-failed", unit, check=False)
    done = run("systemctl", "restart", unit, check=False)
    if done.returncode == 0:
        return given(unit)
    assert_refused(unit)
    return None


def given(unit, name="token"):
    """What a unit that has started found: a token and nothing else."""
    data = (GOT / f"{unit.removesuffix('.service')}.{name}").read_text()
    assert TOKEN.fullmatch(data), f"{unit} started with {len(data)} bytes: {data[:100]!r}"
    return data


def assert_refused(unit):
    """It failed as a unit without its credential does, and its program has not run."""
    assert prop(unit, "ActiveState") == "failed", (unit, prop(unit, "ActiveState"))
    assert prop(unit, "ExecMainStatus") == "243", (unit, prop(unit, "ExecMainStatus"))
    assert not list(GOT.glob(f"{unit.removesuffix('.service')}.*")), f"{unit} has run"


def is_active(token):
    path = pathlib.Path("/run/token-to-ask")
    path.write_text(token)
    return run("scaem-token", "introspect", path, check=False).returncode == 0


def audit(unit):
    with sqlite3.connect("file:/var/lib/scaem-tokend/tokens.db?mode=ro", uri=True) as database:
        return database.execute(
            "SELECT event, principal, unit FROM audit WHERE principal = ? ORDER BY sequence", (f"unit:{unit}",)
        ).fetchall()


def messages():
    """What the daemon said, with its fields: the message alone need not hold them."""
    return [" ".join(map(str, [entry["MESSAGE"], *entry.values()])) for entry in journal("-u", DAEMON)]


def kill_daemon():
    pid = int(prop(DAEMON, "MainPID"))
    if pid:
        os.kill(pid, 9)
    return pid


def await_other(pid):
    eventually(
        lambda: prop(DAEMON, "MainPID") not in ("0", str(pid)) and prop(DAEMON, "ActiveState") == "active",
        NEXT_INSTANCE_SECONDS, "the next instance",
    )  # fmt: skip


def start_daemon():
    """After a stop; the same goes wrong here."""
    eventually(
        lambda: run("systemctl", "start", DAEMON, check=False).returncode == 0, NEXT_INSTANCE_SECONDS, "the start")


def check_a_unit_starts_with_a_fresh_token():
    GOT.mkdir(exist_ok=True)
    run("systemctl", "start", "scaem-tokend.socket", "scaem-tokend-credential.socket")
    assert prop(DAEMON, "ActiveState") == "inactive"
    first = start("web.service")
    # Nobody but systemd has started the daemon.
    assert prop(DAEMON, "ActiveState") == "active"
    second = start("web.service")
    assert first and second and first != second
    assert is_active(first) and is_active(second)
    assert audit("web.service") == [(event, "unit:web.service", "web.service") for event in ("registered", "rotated")]


def check_each_command_of_a_start_gets_one_that_works():
    run("systemctl", "start", "commands.service")
    tokens = {given("commands.service", str(number)) for number in range(4)}
    assert len(tokens) == 4 and all(is_active(token) for token in tokens)


def check_what_the_configuration_does_not_name_does_not_start():
    for unit in ("stranger.service", "wrong.service"):
        assert start(unit) is None
    said = [message for message in messages() if "a credential was refused" in message]
    assert any("stranger.service" in message and "[[credential]]" in message for message in said), said
    assert audit("stranger.service") == []
    refused = eventually(lambda: journal("SCAEM_OUTCOME=refused", "SCAEM_PRINCIPAL=unit:stranger.service"), 20, "its record")
    assert refused[0]["SCAEM_REASON"] == "permission_denied" and refused[0]["SCAEM_PEER_UID"] == "0", refused


def check_the_refusal_is_a_record_that_the_catalog_explains():
    (entry,) = records("credentialRefused", "SCAEM_UNIT=stranger.service")
    assert entry["SCAEM_CREDENTIAL"] == "token" and entry["SCAEM_UID"] == "0" and entry["PRIORITY"] == "4", entry
    assert "stranger.service, token: no [[credential]]" in entry["MESSAGE"], entry
    run("journalctl", "--update-catalog")
    explained = run("journalctl", "-x", f"MESSAGE_ID={entry['MESSAGE_ID']}", "SCAEM_UNIT=stranger.service")
    assert "LoadCredential=token with the daemon's socket" in explained, explained
    given = records("credentialGiven", "SCAEM_UNIT=web.service")
    assert given and all(entry["PRIORITY"] == "6" for entry in given)


def check_a_reload_names_more():
    path = pathlib.Path("/etc/scaem-tokend/config.toml")
    before = path.read_text()
    path.write_text(before + before.split("\n\n")[0].replace("'web.service'", "'stranger.service'"))
    run("scaem-tokend", "reload")
    assert start("stranger.service")
    path.write_text(before)
    run("scaem-tokend", "reload")
    assert start("stranger.service") is None


def check_a_name_of_the_greatest_length():
    assert start(LONG)
    assert audit(LONG)


def check_a_name_that_is_too_long_for_an_address_does_not_start():
    assert start("n" * 100 + ".service") is None


def kill_at(point, unit):
    KILL_AT.write_text(point)
    os.chown(KILL_AT, KILL_AT.parent.stat().st_uid, -1)
    pid = int(prop(DAEMON, "MainPID"))
    got = start(unit)
    assert not KILL_AT.exists(), f"{point} was not reached"
    await_other(pid)
    run("systemctl", "reset-failed", DAEMON)
    return got


def check_a_kill_as_a_unit_is_accepted():
    assert kill_at("accepted", "web.service") is None
    assert any("as it accepted the unit's connection" in message for message in messages())
    assert start("web.service")


def check_a_kill_before_the_answer():
    token = kill_at("kept", "web.service")
    assert token and is_active(token)


def check_a_kill_just_before_the_token_leaves():
    assert kill_at("marked", "web.service") is None


def check_a_kill_when_the_token_has_left():
    # Read already or not: the next instance sees which.
    token = kill_at("sent", "web.service")
    assert token is None or is_active(token)


def check_a_kill_when_the_token_was_read():
    assert kill_at("read", "web.service") is None


def check_a_kill_at_the_end_of_the_stream():
    token = kill_at("shut", "web.service")
    assert token and is_active(token)


def check_a_kill_in_a_refusal():
    for point in ("marked-refusal", "refusing"):
        assert kill_at(point, "stranger.service") is None
    assert start("web.service")


def states(units):
    return set(run("systemctl", "show", "-P", "ActiveState", *units).split())


def start_many(units=MANY):
    for path in GOT.glob("many@*"):
        path.unlink()
    run("systemctl", "reset-failed", check=False)
    run("systemctl", "restart", "--no-block", *units)


def outcome_of(units):
    """How many have started; the others failed as they should."""

    def settled():
        return not run("systemctl", "list-jobs", "--no-legend", "many@*").strip() and states(units) <= {"active", "failed"}

    eventually(settled, 60, "the end of all starts")
    active = 0
    for unit in units:
        if prop(unit, "ActiveState") == "active":
            tokens = {given(unit, name) for name in ("a", "b", "c")}
            assert len(tokens) == 3
            active += 1
        else:
            assert_refused(unit)
    return active


def check_many_units_with_many_credentials_at_once():
    start_many()
    assert outcome_of(MANY) == len(MANY)


def check_a_restart_in_between_loses_none():
    start_many()
    eventually(lambda: len(list(GOT.glob("many@*"))) > 10, what="the first units")
    run("systemctl", "restart", DAEMON)
    assert outcome_of(MANY) == len(MANY)


def check_kills_in_between_leave_a_token_or_no_start():
    start_many()
    for count in (10, 60, 110):
        eventually(lambda: len(list(GOT.glob("many@*"))) > count, what="the first units")  # noqa: B023
        await_other(kill_daemon())
    active = outcome_of(MANY)
    print(f"{active} of {len(MANY)} units started through three kills")
    # Only who was within some microseconds of the kill is refused.
    assert active >= len(MANY) - 6, active


def check_nothing_is_left_in_the_store():
    run("systemctl", "reset-failed", check=False)
    assert start("web.service")
    eventually(lambda: prop(DAEMON, "NFileDescriptorStore") == "0", what="an empty store")


def check_a_unit_in_a_crash_loop_is_limited():
    run("systemctl", "start", "--no-block", "loop.service")
    eventually(
        lambda: any("started too often" in message and "loop.service" in message for message in messages()), 60,
        "the refusal",
    )  # fmt: skip
    run("systemctl", "stop", "loop.service")
    assert 30 <= len(audit("loop.service")) <= 40
    limited = eventually(lambda: journal("SCAEM_REASON=rate_limited", "SCAEM_PRINCIPAL=unit:loop.service"), 20, "its record")
    assert limited[0]["SCAEM_APPLICATION"] and limited[0]["SCAEM_PROJECT_CODE"], limited
    assert start("web.service")


def check_a_stop_in_between_leaves_a_token_or_no_start():
    assert start("web.service")
    # Frozen until the stop, which wakes it: so they all wait when it comes.
    run("systemctl", "kill", "--kill-whom=main", "-s", "STOP", DAEMON)
    start_many(FEW)
    eventually(lambda: states(FEW) == {"activating"}, what="the units")
    run("systemctl", "stop", *ALL)
    print(f"{outcome_of(FEW)} of {len(FEW)} units started through a stop")


def start_few_that_wait():
    """Units whose connections are in the socket's backlog when this returns."""
    start_many(FEW)
    eventually(lambda: waiting() == len(FEW), what="the units' connections")


def waiting():
    """Connections that nobody has accepted: those without a file, which proc(5) calls connecting."""
    lines = pathlib.Path("/proc/net/unix").read_text().splitlines()
    return len([line for line in lines if line.endswith(" /run/scaem-tokend/credential.sock") and line.split()[5] == "02"])


@contextlib.contextmanager
def slowly_started():
    """The daemon as it starts and gets no further, with units that wait for it."""
    run("systemctl", "stop", *ALL)
    run("systemctl", "start", *ALL[:2])
    with switched("slow-start"):
        start_few_that_wait()
        # From here on it is deaf to SIGTERM until it serves.
        eventually(lambda: status_text().startswith("Opening the database"), what="the start")
        yield


def stop_all_from(state):
    """Begins to stop all; returns when the stop is the service's matter."""
    assert prop(DAEMON, "SubState") == state, prop(DAEMON, "SubState")
    stopping = subprocess.Popen(["systemctl", "stop", *ALL])
    eventually(lambda: prop(DAEMON, "SubState") in ("stop-sigterm", "stop-post"), what="the stop")
    return stopping


def hold_the_end(before="", behind=""):
    """From now on systemd stands still when the daemon has ended, until `let_go`; other lines may go before and behind."""
    os.mkfifo(HOLD)
    HOLD.chmod(0o666)
    # Nothing that ends by itself runs there: the container's cgroups would be cleared behind the next start.
    drop_in(f"[Service]\n{before}\nExecStopPost=/bin/sh -c 'read line <{HOLD}'\n{behind}\n", name="hold")


def let_go(ending):
    HOLD.write_text("go on\n")
    assert ending.wait(NEXT_INSTANCE_SECONDS) == 0
    drop_in("", name="hold")
    HOLD.unlink()


def start_few_when_it_has_ended():
    eventually(lambda: prop(DAEMON, "SubState") == "stop-post", NEXT_INSTANCE_SECONDS, "the daemon's end")
    start_many(FEW)
    eventually(lambda: states(FEW) <= {"activating", "failed"}, what="the units")


def start_few_at_the_end_of(*command):
    """Runs a command that ends the daemon, and lets a few units start when that has ended and systemd is not done."""
    hold_the_end()
    ending = subprocess.Popen(["systemctl", *command])
    start_few_when_it_has_ended()
    let_go(ending)


def check_between_the_daemon_s_end_and_its_socket_s_nothing_starts():
    """What was then in the socket's backlog systemd would accept and close."""
    start_daemon()
    start_few_at_the_end_of("stop", *ALL)
    assert outcome_of(FEW) == 0


def check_a_kill_in_the_stop_of_a_start_gives_nothing():
    """A stop of what starts does without ExecStop=: the socket was open until systemd emptied it."""
    with slowly_started():
        stopping = stop_all_from("start")
        kill_daemon()
        assert stopping.wait(NEXT_INSTANCE_SECONDS) == 0
    assert outcome_of(FEW) == 0


def check_the_stop_of_a_start_whose_daemon_does_not_run_yet_gives_nothing():
    run("systemctl", "start", *ALL[:2])
    drop_in("[Service]\nExecStartPre=/bin/sleep 1h\n", name="before")
    start_few_that_wait()
    stopping = subprocess.Popen(["systemctl", "stop", *ALL])
    assert stopping.wait(NEXT_INSTANCE_SECONDS) == 0
    drop_in("", name="before")
    assert outcome_of(FEW) == 0


def check_the_stop_of_a_start_leaves_a_token_or_no_start():
    """Who waits is answered, and asks for its next credential when nobody answers any more."""
    with slowly_started():
        stopping = stop_all_from("start")
    assert stopping.wait(NEXT_INSTANCE_SECONDS) == 0
    print(f"{outcome_of(FEW)} of {len(FEW)} units started through the stop of a start")


def check_the_stop_of_a_reload_gives_nothing():
    """It does without ExecStop=, too."""
    start_daemon()
    hold_the_end()
    with switched("slow-reload"):
        reloading = subprocess.Popen(["systemctl", "reload", DAEMON])
        eventually(lambda: prop(DAEMON, "SubState") == "reload", what="the reload")
        stopping = stop_all_from("reload")
    start_few_when_it_has_ended()
    let_go(stopping)
    reloading.wait(NEXT_INSTANCE_SECONDS)
    assert outcome_of(FEW) == 0


def check_a_stop_between_a_crash_and_the_next_start_gives_nothing():
    """It comes before the unit's own line, and behind that there is no pause in which it might."""
    start_daemon()
    text = pathlib.Path(f"/usr/lib/systemd/system/{DAEMON}").read_text()
    hold_the_end("ExecStopPost=", re.search(r"^ExecStopPost=(?:.*\\\n)*.*$", text, re.M)[0])
    kill_daemon()
    eventually(lambda: prop(DAEMON, "SubState") == "stop-post", NEXT_INSTANCE_SECONDS, "the daemon's end")
    start_few_that_wait()
    stopping = subprocess.Popen(["systemctl", "stop", *ALL])
    eventually(lambda: " stop " in run("systemctl", "list-jobs", "--no-legend", ALL[1]), what="the stop")
    let_go(stopping)
    assert outcome_of(FEW) == 0
    assert prop(DAEMON, "RestartUSec") == "0"


def check_but_a_restart_keeps_them_waiting():
    start_daemon()
    start_few_at_the_end_of("restart", DAEMON)
    assert outcome_of(FEW) == len(FEW)


def check_a_daemon_that_cannot_start_gives_nothing():
    path = pathlib.Path("/etc/scaem-tokend/config.toml")
    good = path.read_text()
    run("systemctl", "stop", DAEMON)
    path.write_text(good + "what = 'is this'\n")
    start_many(FEW)
    assert outcome_of(FEW) == 0
    assert prop(DAEMON, "ExecMainStatus") == "78"
    path.write_text(good)
    start_daemon()
    start_many(FEW)
    assert outcome_of(FEW) == len(FEW)


def check_without_the_socket_nothing_starts():
    run("systemctl", "stop", *ALL)
    assert start("web.service") is None


main(globals())
