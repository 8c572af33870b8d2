#!/usr/bin/python3
"""What may become of the journal, and the audit with it: changes go on, nothing blocks, and in the end each is there."""

import pathlib
import re
import subprocess

import wire
from checks import eventually, journal, main, run
from tokend import SERVICE, SOCKET, configure, drop_in, message_ids, status_text
from wire import Connection, request

JOURNALD = "systemd-journald.service"
JOURNALD_SOCKETS = ["systemd-journald.socket", "systemd-journald-dev-log.socket"]
JOURNALD_SOCKET = pathlib.Path("/run/systemd/journal/socket")
ALICE = "alice"


def call(method, **params):
    with Connection(SOCKET) as connection:
        return connection.call(method, params or None)


def status():
    return call("status")["audit"]


def rotate(count):
    with Connection(SOCKET, timeout=120) as connection:
        lines = [request("rotate", {"project_code": "P"}, n) for n in range(count)]
        connection.pump(b"\n".join(lines) + b"\n", len(lines), timeout=120)


def recorded(*options):
    """The numbers that the journal has."""
    text = run("journalctl", "--sync", *options) + run(
        "journalctl", "-q", "--all", "-o", "cat", "--output-fields=SCAEM_SEQUENCE", *options,
        "SYSLOG_IDENTIFIER=scaem-tokend",
    )  # fmt: skip
    return {int(line) for line in text.split() if line.isdigit()}


def caught_up(state="ok"):
    now = status()
    # It says nothing of the journal before it has looked at it.
    return now.get("journal") == state and now["journal_confirmed"] == now["sequence"]


def assert_whole(state="ok", first=1, *options):
    """All that was committed is in the journal."""
    try:
        eventually(lambda: caught_up(state), 60, "the journal")
    except AssertionError as late:
        raise AssertionError(f"{late}: {status()}") from None
    there, last = recorded(*options), status()["sequence"]
    assert there >= set(range(first, last + 1)), sorted(set(range(first, last + 1)) - there)[:20]


def restart():
    run("systemctl", "restart", SERVICE)
    call("ping")


def store(kind):
    """Where journald keeps its files from now on."""
    folder = pathlib.Path("/etc/systemd/journald.conf.d")
    folder.mkdir(exist_ok=True)
    (folder / "test.conf").write_text(f"[Journal]\nStorage={kind}\n")
    run("systemctl", "restart", JOURNALD)


def logged(name):
    return journal(f"MESSAGE_ID={message_ids()[name]}")


def check_the_asking_process_is_named():
    run("systemctl", "start", "scaem-tokend.socket")
    script = "echo $INVOCATION_ID >/tmp/invocation; exec scaem-token register P >/dev/null"
    run("systemd-run", "--quiet", "--wait", "--unit=asker", "/bin/sh", "-c", script)
    assert_whole()
    (entry,) = journal("SCAEM_SEQUENCE=1")
    assert entry["SCAEM_PEER_UNIT"] == "asker.service" and entry["SCAEM_PEER_COMM"] == "scaem-token", entry
    assert entry["SCAEM_PEER_INVOCATION_ID"] == pathlib.Path("/tmp/invocation").read_text().strip(), entry
    assert re.fullmatch("[0-9a-f]{32}", entry["SCAEM_PEER_INVOCATION_ID"])


def check_the_kernel_names_it_also_where_it_knows_no_pidfd_of_a_peer():
    """An older kernel: the daemon then goes by the pid."""
    drop_in("[Service]\nEnvironment=LD_PRELOAD=/usr/lib/scaem-old-kernel.so\n")
    restart()
    run("scaem-token", "rotate", "P")
    drop_in("")
    restart()
    assert_whole()
    assert journal("SCAEM_SEQUENCE=2")[0]["SCAEM_PEER_COMM"] == "scaem-token"


def check_a_refusal_says_what_was_asked():
    run("useradd", "--no-create-home", "--groups", "scaem", ALICE)
    asked = subprocess.run(
        ["/usr/sbin/runuser", "-u", ALICE, "--", "scaem-token", "register", "P7", "--application", "root"],
        capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    assert asked.returncode == 77, asked
    (entry,) = eventually(lambda: journal("SCAEM_OUTCOME=refused", f"SCAEM_PRINCIPAL={ALICE}"), 20, "the refusal")
    assert entry["SCAEM_REASON"] == "permission_denied" and entry["SCAEM_METHOD"] == "register", entry
    assert entry["SCAEM_APPLICATION"] == "root" and entry["SCAEM_PROJECT_CODE"] == "P7", entry
    assert entry["SCAEM_PEER_COMM"] == "scaem-token" and entry["SCAEM_PEER_UID"] == run("id", "-u", ALICE).strip()


def check_a_message_that_closed_its_connection():
    with Connection(SOCKET) as connection:
        connection.send(b"x" * 65_536)
        assert b"line_too_long" in connection.read_line()
        connection.assert_closed()
    eventually(lambda: journal("SCAEM_OUTCOME=refused", "SCAEM_REASON=line_too_long"), 20, "the refusal")


def check_journald_is_restarted_under_load():
    with Connection(SOCKET, timeout=60) as connection:
        for _ in range(3):
            lines = [request("rotate", {"project_code": "P"}, n) for n in range(400)]
            connection.send(b"\n".join(lines) + b"\n")
            run("systemctl", "restart", JOURNALD)
            connection.read_lines(len(lines))
    assert_whole()


def check_journald_is_stopped():
    run("systemctl", "stop", *JOURNALD_SOCKETS, JOURNALD)
    try:
        rotate(500)
        eventually(lambda: status().get("journal") == "failing", 20, "the status")
        eventually(lambda: "journald takes no records" in status_text(), 30, "the status line")
        eventually(lambda: re.search(r"The journal is \d+ changes behind", status_text()), 30, "the lag")
    finally:
        run("systemctl", "start", *JOURNALD_SOCKETS, JOURNALD)
    assert_whole()
    eventually(lambda: "ournal" not in status_text(), 30, "the status line")
    assert logged("journalTakes")


def check_there_is_no_journald_at_the_start():
    run("systemctl", "stop", *JOURNALD_SOCKETS, JOURNALD)
    try:
        JOURNALD_SOCKET.unlink()
        restart()
        rotate(500)
        eventually(lambda: status().get("journal") == "absent", 20, "the status")
        eventually(lambda: "There is no journald" in status_text(), 30, "the status line")
    finally:
        run("systemctl", "start", *JOURNALD_SOCKETS, JOURNALD)
    assert_whole()
    # It was started without a journal to log to, so its own messages go to standard error; from now on they are here again.
    restart()


def check_a_volatile_journal_is_said_to_be_one():
    store("volatile")
    try:
        rotate(500)
        assert_whole("volatile")
        eventually(lambda: "in memory only" in status_text(), 30, "the status line")
        eventually(lambda: logged("journalVolatile"), 20, "the warning")
    finally:
        store("persistent")
    call("rotate", project_code="P")
    # Asked every ten seconds, with something to read back.
    eventually(lambda: call("rotate", project_code="P") and status().get("journal") == "ok", 60, "the status")
    assert_whole()


def check_what_was_lost_with_all_of_the_journal_is_sent_again():
    """As after a power cut of a machine whose journal was never synced: the daemon had seen all of it there."""
    run("systemctl", "stop", "scaem-tokend.socket", SERVICE)
    run("systemctl", "stop", *JOURNALD_SOCKETS, JOURNALD)
    for folder in ("/var/log/journal", "/run/log/journal"):
        run("find", folder, "-type", "f", "-delete", check=False)
    run("systemctl", "start", *JOURNALD_SOCKETS, JOURNALD)
    assert not recorded()
    run("systemctl", "start", "scaem-tokend.socket")
    call("ping")
    assert_whole()


def check_a_vacuumed_journal_says_where_it_begins():
    """Its own bounds have taken the first records: they are not asked for, and the others are all there."""
    last = status()["sequence"]
    run("journalctl", "--rotate")
    run("journalctl", "--vacuum-time=1us")
    assert not recorded()
    rotate(500)
    assert_whole("ok", last + 1)
    done = run("scaem-tokend", "audit", "verify", timeout=120)
    assert "OK" in done and f"the journal holds records {last + 1} to {last + 500}" in done, done


def check_what_waits_at_a_stop_is_recorded():
    """Alarms, and the count of refusals that were held back."""
    old = call("generate", project_code="ended")["registration_token"]
    call("revoke", project_code="ended")
    assert call("introspect", token=old) == {"active": False}
    fingerprint = run("/bin/sh", "-c", f"printf %s '{old}' | sha256sum | cut -c-16").strip()
    with Connection(SOCKET) as connection:
        lines = [request("register", {"project_code": "P"}, n) for n in range(100)]
        connection.pump(b"\n".join(lines) + b"\n", len(lines))
    run("systemctl", "stop", "scaem-tokend.socket", SERVICE)
    (alarm,) = journal("SCAEM_EVENT=ended_token_presented", f"SCAEM_TOKEN_FINGERPRINT={fingerprint}")
    assert alarm["PRIORITY"] == "4" and alarm["SCAEM_PRINCIPAL"] == "root" and alarm["SCAEM_PEER_COMM"], alarm
    (held,) = journal("SCAEM_EVENT=refusals_held_back")
    assert held["SCAEM_PRINCIPAL"] == "root" and 70 <= int(held["SCAEM_HELD_BACK"]) <= 80, held
    run("systemctl", "start", "scaem-tokend.socket")
    call("ping")


def check_an_old_copy_is_noticed_and_a_restore_is_on_record():
    copy = "/var/lib/scaem-tokend/copy"
    run("scaem-tokend", "backup", copy)
    token = call("generate", project_code="since")["registration_token"]
    call("revoke", project_code="since")
    assert_whole("ok", status()["sequence"])
    last = status()["sequence"]
    run("systemctl", "stop", "scaem-tokend.socket", SERVICE)
    for path in pathlib.Path("/var/lib/scaem-tokend").glob("tokens.db*"):
        path.unlink()
    run("install", "-o", "scaem-tokend", "-g", "scaem-tokend", "-m", "0600", copy, "/var/lib/scaem-tokend/tokens.db")
    run("systemctl", "start", "scaem-tokend.socket")
    eventually(lambda: status().get("lacking_last") == last, 30, "the status")
    eventually(lambda: f"lacks changes {last - 1} to {last}" in status_text(), 30, "the status line")
    (entry,) = logged("databaseOlder")
    assert entry["PRIORITY"] == "2" and entry["SCAEM_LAST"] == str(last)
    # A change has a number that the journal knows from before: it is sent all the same.
    call("rotate", project_code="P")
    eventually(lambda: len(journal(f"SCAEM_SEQUENCE={last - 1}")) == 2, 60, "the record")
    # It is said at each start, also when the old copy has given all those numbers anew.
    call("rotate", project_code="P")
    call("rotate", project_code="P")
    assert_whole("ok", last + 1)
    run("systemctl", "restart", SERVICE)
    eventually(lambda: (status().get("lacking_first"), status().get("lacking_last")) == (last - 1, last + 1), 30, "it")
    run("systemctl", "stop", "scaem-tokend.socket", SERVICE)
    for path in pathlib.Path("/var/lib/scaem-tokend").glob("tokens.db*"):
        path.unlink()
    pathlib.Path("/tmp/since.json").write_text(
        run("journalctl", "-q", "--all", "-o", "json", "SYSLOG_IDENTIFIER=scaem-tokend"))  # fmt: skip
    run("scaem-tokend", "restore", copy, "--since-from", "/tmp/since.json", timeout=120)
    run("systemctl", "start", "scaem-tokend.socket")
    assert call("introspect", token=token) == {"active": False}
    (mark,) = eventually(lambda: journal("SCAEM_EVENT=audit_restored"), 30, "the record")
    assert "lacking_last" not in status()
    assert int(mark["SCAEM_LAST"]) >= last and mark["SCAEM_CHAIN"] and mark["SCAEM_FIRST"] == str(last - 1)
    # Its token was ended by the change that the old copy made.
    call("generate", project_code="P")
    assert_whole("ok", int(mark["SCAEM_LAST"]) + 1)


def check_a_cut_is_on_record():
    configure("[audit]\nrows_max = 10_000\n")
    run("systemctl", "restart", SERVICE)
    rotate(11_000)
    (mark, *_) = eventually(lambda: call("rotate", project_code="P") and journal("SCAEM_EVENT=audit_over_cap"), 30, "it")
    assert mark["SCAEM_FIRST"] == "1" and mark["PRIORITY"] == "4"


def check_a_namespace_of_its_own():
    """As docs/audit.md shows it."""
    page = pathlib.Path("/test/audit.md").read_text()
    (shown,) = re.findall(r"```ini\n(.*?)```", page, flags=re.S)
    unit, journald = (part.split("\n", 1)[1] for part in shown.split("\n\n"))
    configure("")
    before = status()["sequence"]
    run("systemctl", "stop", "scaem-tokend.socket", "scaem-tokend-credential.socket", SERVICE)
    for name in (SERVICE, "scaem-tokend-audit-verify.service"):
        drop_in(unit, name, "namespace")
    pathlib.Path("/etc/systemd/journald@scaem.conf").write_text(journald)
    run("systemctl", "start", "scaem-tokend.socket", "scaem-tokend-credential.socket")
    call("ping")
    # More than the 30,000 that journald would let through by its own limit.
    rotate(35_000)
    assert_whole("ok", before + 1, "--namespace=scaem")
    assert max(recorded()) <= before, "the system's journal has none of it"
    done = run("scaem-tokend", "audit", "verify", "--namespace", "scaem", timeout=300)
    assert "OK" in done and f"to {before + 35_000}," in done, done
    run("systemctl", "start", "scaem-tokend-audit-verify.service", timeout=300)
    assert "OK" in run("journalctl", "--namespace=scaem", "-u", "scaem-tokend-audit-verify.service")


def check_no_token_is_anywhere():
    """Of all that this script was handed: in the journals as they stand on the disk, in the database, in its log."""
    run("journalctl", "--sync")
    heads = {body[:24] for body in wire.seen_token_bodies}
    assert len(heads) > 10_000
    texts = [run("journalctl", "-q", "--all", "-o", "export", *space, check=False, errors="replace", timeout=120).stdout
             for space in ([], ["--namespace=scaem", "--lines=2000"])]  # fmt: skip
    assert all(len(text) > 1000 for text in texts)
    for path in pathlib.Path("/var/lib/scaem-tokend").iterdir():
        texts.append(path.read_bytes().decode("latin-1"))
    for text in texts:
        assert "api_key|" not in text, text[max(0, text.index("api_key|") - 500) :][:600]
        for word in re.findall("[0-9A-Za-z]{24,}", text):
            assert not any(word[at : at + 24].encode() in heads for at in range(len(word) - 23)), word


main(globals())
