"""The audit's exports: the chain can be recomputed elsewhere, and whatever is done to a record is named."""

import contextlib
import hashlib
import json
import re
import sqlite3
import subprocess
import sys
import time

import pytest

from daemon import ROOT, Daemon, eventually, run_tool
from wire import request


def here(application, project="p", **more):
    return {"application": application, "project_code": project, **more}


def export(daemon, *more):
    done = daemon.tool("audit", "export", *more)
    assert done.returncode == 0, done
    return done.stdout


@pytest.fixture(scope="module")
def lines():
    """An export with every kind of event."""
    daemon = Daemon().start()
    with daemon.connect() as root:
        root.call("register", here("a"))
        for number in range(6):
            root.call("rotate", here("a", grace_seconds=60 * (number % 2)))
        root.call("generate", here("a", "q"))
        root.call("revoke", here("a", "q"))
        root.call("unregister", application="a")
    daemon.stop()
    text = export(daemon)
    daemon.discard()
    return text.splitlines()


def verify(tmp_path, *texts, options=()):
    files = []
    for number, text in enumerate(texts):
        files.append(tmp_path / f"{number}")
        files[-1].write_text(text)
    return run_tool("scaem-tokend", "audit", "verify", *options, *files)


def whole(lines):
    return "".join(line + "\n" for line in lines)


def test_an_export_verifies_on_another_machine(lines, tmp_path):
    done = verify(tmp_path, whole(lines))
    assert done.returncode == 0 and "OK: 10 records" in done.stdout, done


def test_the_chain_in_ten_lines_of_python(lines, tmp_path):
    """What docs/audit.md offers an auditor is run as it stands there."""
    page = (ROOT / "docs/audit.md").read_text()
    (program,) = [code for code in re.findall(r"```python\n(.*?)```", page, flags=re.S) if "sha256" in code]
    (tmp_path / "chain.py").write_text(program)

    def recompute(text):
        return subprocess.run(
            [sys.executable, tmp_path / "chain.py"], input=text, capture_output=True, text=True, timeout=30
        )

    done = recompute(whole(lines))
    assert done.returncode == 0 and "10" in done.stdout, done
    changed = lines[:4] + [lines[4].replace('"uid":0', '"uid":1')] + lines[5:]
    assert changed != lines
    done = recompute(whole(changed))
    assert done.returncode != 0 and "5" in done.stdout + done.stderr, done
    assert recompute(whole(lines[:3] + lines[4:])).returncode != 0


EDITS = {
    "deleted": lambda l: l[:4] + l[5:],
    "first-deleted": lambda l: l[1:],
    "repeated": lambda l: l[:5] + l[4:],
    "swapped": lambda l: l[:4] + [l[5], l[4]] + l[6:],
    "principal": lambda l: l[:4] + [l[4].replace('"principal":"root"', '"principal":"toor"')] + l[5:],
    "fingerprint": lambda l: l[:4] + [l[4].replace('"fingerprint":"', '"fingerprint":"0', 1)[:-1] + "}"] + l[5:],
    "ended": lambda l: l[:3] + [re.sub(r'"ended":\[[^\]]*\]', '"ended":[]', l[3])] + l[4:],
    "chain": lambda l: l[:4] + [l[4][:-3] + ("0" if l[4][-3] != "0" else "1") + l[4][-2:]] + l[5:],
    # Where there is none: to the chain what cannot be read would be the same.
    "malformed": lambda l: [line.replace('"fingerprint":null', '"fingerprint":"X"') for line in l],
    "project": lambda l: [line.replace('"project_code":null', '"project_code":"P 1"') for line in l],
    "twice": lambda l: l[:4] + [l[4].replace('"principal"', '"principal":"root","principal"')] + l[5:],
    "time": lambda l: l[:4] + [l[4].replace('"time":"2', '"time":"3')] + l[5:],
}


@pytest.mark.parametrize("name", EDITS)
def test_whatever_is_done_to_a_record_is_named(name, lines, tmp_path):
    edited = EDITS[name](lines)
    assert edited != lines
    done = verify(tmp_path, whole(edited))
    assert done.returncode == 1, done
    expected = {"first-deleted": "1", "ended": "4", "malformed": "line", "project": "line"}.get(name, "5")
    assert re.search(rf"\b{expected}\b", done.stderr), done.stderr


KINDS = ["registered", "generated", "rotated", "revoked", "unregistered"]


def told(row):
    """What people and filters read of a record."""
    who, application = row["principal"], row["application"]
    project = f" for project {row['project_code']}" if row["project_code"] else ""
    made = f": token {row['fingerprint']}" if row["fingerprint"] else ""
    ended = f"; {len(row['ended'])} ended" if row["ended"] else ""
    what = {
        "registered": f"registered {application}{project}{made}", "generated": f"generated a token of {application}{project}{made}",
        "rotated": f"rotated the token of {application}{project}{made}", "revoked": f"revoked tokens of {application}{project}",
        "unregistered": f"unregistered {application}",
    }[row["event"]]  # fmt: skip
    return {
        "MESSAGE": f"{who} {what}{ended}", "PRIORITY": "5" if row["event"] in ("revoked", "unregistered") else "6",
        "MESSAGE_ID": f"6c0f8b1e3f0a4d55b1a0d7e2c4a9f10{KINDS.index(row['event']) + 1}",
    }  # fmt: skip


def tokens_of(row):
    """Those that a match is to find it by: one as a text, several as journalctl shows a field that stands twice."""
    made = [row["fingerprint"]] if row["fingerprint"] else []
    tokens = [*made, *row["ended"], *row["lapsed"], *(token["fingerprint"] for token in row["shortened"])]
    return tokens if len(tokens) > 1 else tokens[0] if tokens else None


def journal_entry(row, **more):
    """As the daemon writes it and `journalctl -o json` shows it."""
    fields = {
        "__REALTIME_TIMESTAMP": "1", "_UID": "990", "_TRANSPORT": "journal", "SCAEM_DATABASE": "ab" * 16,
        "SCAEM_EVENT": row["event"], "SCAEM_SEQUENCE": str(row["sequence"]), "SCAEM_TIME": row["time"],
        "SCAEM_REGISTRATION_ID": row["registration_id"], "SCAEM_APPLICATION": row["application"],
        "SCAEM_PROJECT_CODE": row["project_code"], "SCAEM_PRINCIPAL": row["principal"],
        "SCAEM_PEER_UID": str(row["uid"]), "SCAEM_PEER_GID": str(row["gid"]), "SCAEM_PEER_PID": str(row["pid"]),
        "SCAEM_PEER_UNIT": row["unit"], "SCAEM_PEER_INVOCATION_ID": row["invocation_id"],
        "SCAEM_PEER_COMM": row["comm"], "SCAEM_TOKEN_FINGERPRINT": row["fingerprint"],
        "SCAEM_ENDED_FINGERPRINTS": " ".join(row["ended"]) or None,
        "SCAEM_LAPSED_FINGERPRINTS": " ".join(row["lapsed"]) or None,
        "SCAEM_SHORTENED": " ".join(f"{s['fingerprint']}={s['token_expiration']}" for s in row["shortened"]) or None,
        "SCAEM_CHAIN": row["chain"], "SCAEM_OUTCOME": "success", "SCAEM_ANY_FINGERPRINT": tokens_of(row), **told(row),
    }  # fmt: skip
    return {key: value for key, value in {**fields, **more}.items() if value is not None}


def database_of(path):
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        return database.execute("SELECT database FROM audit_journal").fetchone()[0]


def as_json(entries):
    return "".join(json.dumps(entry) + "\n" for entry in entries)


def as_export(entries):
    def lines(key, value):
        return "".join(f"{key}={each}\n" for each in (value if isinstance(value, list) else [value]))

    return "\n".join("".join(lines(key, value) for key, value in entry.items()) for entry in entries) + "\n"


@pytest.fixture
def journal(lines):
    return [journal_entry(json.loads(line)) for line in lines]


@pytest.mark.parametrize("form", [as_json, as_export])
def test_a_journal_is_held_against_an_export_or_its_own_chain(form, lines, journal, tmp_path):
    for texts in ([whole(lines), form(journal)], [form(journal), whole(lines)], [form(journal)]):
        done = verify(tmp_path, *texts)
        assert done.returncode == 0 and "OK: 10 records" in done.stdout, done
    done = verify(tmp_path, form(journal[3:]))
    assert done.returncode == 0, "a journal may begin later"


def test_an_audit_that_lacks_all_or_its_end_is_held_against_the_journal(lines, journal, tmp_path):
    """As one is whose rows were deleted, or a copy of the database from before the first of them."""
    first, last = json.loads(lines[0]), json.loads(lines[4])
    mark = {"event": "audit_over_cap", "time": last["time"], "first": first["sequence"], "last": 5, "chain": last["chain"]}
    for text, unknown in (("", 1), (json.dumps(mark) + "\n", 6), (whole(lines[:5]), 6)):
        done = verify(tmp_path, text, as_json(journal))
        assert done.returncode == 1, done
        said = f"record {unknown} is in the journal and unknown to the audit"
        assert said in done.stdout + done.stderr, (said, done)


FORGED = {"__REALTIME_TIMESTAMP": "1", "_UID": "1000", "SCAEM_SEQUENCE": "5", "SCAEM_EVENT": "revoked"}
JOURNAL_EDITS = {
    "deleted": (lambda j: j[:4] + j[5:], 1, "5 is missing"),
    "changed": (lambda j: j[:4] + [{**j[4], "SCAEM_PRINCIPAL": "mallory"}] + j[5:], 1, "5 was changed"),
    **{
        field: (lambda j, field=field: j[:4] + [{**j[4], field: "x"}] + j[5:], 1, "5 was changed")
        for field in ("MESSAGE", "MESSAGE_ID", "PRIORITY", "SCAEM_OUTCOME")
    },
    **{
        f"tokens-{name}": (lambda j, to=to: j[:4] + [{**j[4], "SCAEM_ANY_FINGERPRINT": to}] + j[5:], 1, "5 was changed")
        for name, to in {"gone": [], "other": ["00" * 8], "another": "00" * 8}.items()
    },
    **{
        f"{field}={to}": (lambda j, field=field, to=to: [*j[:-1], {**j[-1], field: to}], 1, "10 was changed")
        for field, to in [("SCAEM_SEQUENCE", "+10"), ("SCAEM_PEER_UID", "000"), ("SCAEM_PROJECT_CODE", ["P1", "P2"])]
        + [("SCAEM_TOKEN_FINGERPRINT", "DEADBEEFDEADBEEF"), ("SCAEM_PROJECT_CODE", "P 1"), ("SCAEM_PEER_COMM", "x")]
    },
    "twice": (lambda j: j[:4] + [{**j[4], "MESSAGE": [j[4]["MESSAGE"], "x"]}] + j[5:], 1, "5 was changed"),
    "order": (lambda j: [{k: v[::-1] if isinstance(v, list) else v for k, v in e.items()} for e in j], 0, "OK"),
    "unknown": (lambda j: j + [{**j[-1], "SCAEM_SEQUENCE": "11"}], 1, "11 is in the journal and unknown"),
    "differing": (lambda j: j + [{**j[4], "SCAEM_PEER_UID": "7"}], 1, "5 is in the journal twice"),
    "malformed": (lambda j: j[:4] + [{**j[4], "SCAEM_CHAIN": "0"}] + j[5:], 1, "5 was changed"),
    "repeated": (lambda j: j[:5] + j[4:], 0, "5 is repeated"),
    "foreign": (lambda j: [*j, FORGED], 0, "5 is foreign: uid 1000"),
    "other-database": (lambda j: [*j, {**j[4], "SCAEM_DATABASE": "cd" * 16, "SCAEM_PRINCIPAL": "x"}], 0, "OK"),
}


@pytest.mark.parametrize("name", JOURNAL_EDITS)
def test_whatever_is_done_to_the_journal_is_named(name, lines, journal, tmp_path):
    edit, status, said = JOURNAL_EDITS[name]
    for form in (as_json, as_export):
        done = verify(tmp_path, whole(lines), form(edit(journal)), options=["--uid", "990"])
        assert done.returncode == status and said in done.stdout + done.stderr, done


def test_a_thousand_long_fields_of_anybody_hold_nothing_up(lines, journal, tmp_path):
    """Whoever may write into the journal may write such an entry, and the verification is to come to its end."""
    took = []
    for count in (400, 1_200):
        many = {**FORGED, "MESSAGE_ID": journal[0]["MESSAGE_ID"], "SCAEM_REASON": ["x" * 31_000] * count}
        began = time.monotonic()
        done = verify(tmp_path, whole(lines), as_export([*journal, many]), options=["--uid", "990"])
        took.append(time.monotonic() - began)
        assert done.returncode == 0 and "5 is foreign" in done.stdout, done
    # Each value again with all before it would take nine times as long.
    assert took[1] < 5 * took[0] + 1, took


def test_whose_records_a_journal_holds_is_not_guessed(journal, tmp_path):
    """Whoever writes more than the daemon, with a chain of their own, does not become the daemon."""
    own = [{**entry, "_UID": "1000"} for entry in journal]
    for entries in ([*journal[:2], *own], [*journal, {k: v for k, v in own[0].items() if k != "_UID"}]):
        done = verify(tmp_path, as_json(entries))
        assert done.returncode != 0 and "--uid" in done.stderr, done
    assert verify(tmp_path, as_json([*journal, *own]), options=["--uid", "990"]).returncode == 0
    # The same daemon's, of a database that was purged before.
    assert verify(tmp_path, as_json([*journal, {**journal[0], "SCAEM_DATABASE": "cd" * 16}])).returncode == 0
    assert verify(tmp_path, as_json([{"__REALTIME_TIMESTAMP": "1", "MESSAGE": "none of the audit"}])).returncode != 0


def test_a_journal_of_two_databases_is_followed_for_each(lines, journal, make_daemon, tmp_path):
    """One was lost, and another made. The records of neither are passed over for being fewer."""
    daemon = make_daemon().start()
    with daemon.connect() as root:
        root.call("register", here("b"))
        root.call("rotate", here("b"))
        root.call("rotate", here("b"))
    daemon.stop()
    younger = export(daemon).splitlines()
    old = [{**entry, "SCAEM_DATABASE": "cd" * 16} for entry in journal]
    new = [journal_entry(json.loads(line), SCAEM_DATABASE="ab" * 16) for line in younger]
    for records, audit in ((old + new, younger), (old[:3] + new, younger), (old + new, lines)):
        done = verify(tmp_path, whole(audit), as_json(records))
        assert done.returncode == 0 and "are passed over" in done.stdout, done
    done = verify(tmp_path, as_json(old + new))
    assert done.returncode == 0 and "OK: 13 records" in done.stdout, done
    done = verify(tmp_path, as_json([*old, new[0], {**new[1], "SCAEM_PRINCIPAL": "mallory"}, new[2]]))
    assert done.returncode == 1 and "2 was changed" in done.stdout + done.stderr, done


def test_a_swap_in_the_journal_is_named(lines, journal, tmp_path):
    swapped = [dict(entry) for entry in journal]
    swapped[3]["SCAEM_SEQUENCE"], swapped[4]["SCAEM_SEQUENCE"] = "5", "4"
    done = verify(tmp_path, whole(lines), as_json(swapped))
    assert done.returncode == 1 and "4 was changed" in done.stderr and "5 was changed" in done.stderr, done


def test_what_is_no_export_is_refused(tmp_path):
    for text in ("{}\n", "hello\n", '{"sequence":1,"time":"x","event":"rotated"}\n', "[]\n"):
        assert verify(tmp_path, text).returncode == 1, text


# Who asked.


def test_a_record_says_what_the_asking_process_called_itself(daemon, tmp_path):
    """And nothing of a process that is gone by then."""
    program = tmp_path / "ask"
    program.write_text(
        "import ctypes, socket, sys\n"
        "ctypes.CDLL(None).prctl(15, sys.argv[1].encode('latin-1'), 0, 0, 0)\n"
        "s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[2]); s.sendall(sys.argv[3].encode() + b'\\n')\n"
        "assert b'result' in s.makefile('rb').readline()\n"
    )
    for number, name in enumerate(("a name of fifteen and more", "line\nfeed", "n\xe9")):
        line = request("register", here(f"a{number}"), 1).decode()
        subprocess.run([sys.executable, program, name, daemon.socket, line], check=True, timeout=30)
    rows = [json.loads(line) for line in export(daemon).splitlines()]
    assert [row["comm"] for row in rows] == ["a name of fifte", "line\nfeed", "n\ufffd"]
    assert verify(tmp_path, export(daemon)).returncode == 0


def test_a_database_of_before_is_taken_over_with_its_chain(daemon, tmp_path):
    """A table without the later columns, as the version before made it: it migrates, and all of it is provable."""
    with daemon.connect() as root:
        root.call("register", here("a"))
        root.call("rotate", here("a"))
    daemon.stop()
    # Without process and lapsed tokens a row is what it was before.
    with sqlite3.connect(daemon.state / "tokens.db") as database:
        database.executescript(
            "UPDATE audit SET comm = NULL, invocation_id = NULL, lapsed = NULL;"
            "ALTER TABLE audit DROP COLUMN comm; ALTER TABLE audit DROP COLUMN invocation_id;"
            "ALTER TABLE audit DROP COLUMN lapsed; ALTER TABLE ended_presented DROP COLUMN comm;"
            "ALTER TABLE ended_presented DROP COLUMN invocation_id;"
            "DELETE FROM grdb_migrations WHERE identifier = '3';"
        )
        rows = database.execute("SELECT * FROM audit ORDER BY sequence").fetchall()
        chain = bytes(32)
        for row in rows:
            chain = hashlib.sha256(chain + b"".join(map(field, row[:-1]))).digest()
            database.execute("UPDATE audit SET chain = ? WHERE sequence = ?", (chain, row[0]))
    database.close()
    old = tmp_path / "old"
    old.write_bytes((daemon.state / "tokens.db").read_bytes())
    assert json.loads(export(daemon).splitlines()[0])["comm"] is None, "read as it is"
    daemon.start()
    with daemon.connect() as root:
        root.call("rotate", here("a"))
    rows = [json.loads(line) for line in export(daemon).splitlines()]
    assert [row["comm"] is None for row in rows] == [True, True, False]
    assert daemon.tool("check").returncode == 0
    daemon.stop()
    assert daemon.tool("restore", old).returncode == 0
    assert daemon.tool("check").returncode == 0


def field(value):
    """As the chain has it."""
    if value is None:
        return b"\xff" * 4
    value = value if isinstance(value, bytes) else str(value).encode()
    return len(value).to_bytes(4, "big") + value


# Over a cut, and over a restore.


def test_the_chain_stays_provable_over_the_cap(make_daemon, tmp_path):
    daemon = make_daemon(config="[audit]\nrows_max = 10_000\n").start()
    with daemon.connect() as root:
        count = 12_000
        sent = [request("register", here("a"), 0)] + [request("rotate", here("a"), n) for n in range(1, count)]
        root.pump(b"\n".join(sent) + b"\n", count, timeout=120)

        def cut():
            root.call("rotate", here("a"))
            return json.loads(export(daemon).splitlines()[0])["event"] == "audit_over_cap"

        eventually(cut, 60, "the cut")
    text = export(daemon)
    first, second = map(json.loads, text.splitlines()[:2])
    assert first["first"] == 1 and second["sequence"] == first["last"] + 1
    assert text.count("audit_over_cap") == 1, "cuts that follow each other are one mark"
    assert verify(tmp_path, text).returncode == 0
    assert daemon.tool("check").returncode == 0
    daemon.restart()
    daemon.stop()
    assert daemon.tool("check").returncode == 0


@pytest.fixture
def over_a_cut(lines, journal):
    """A journal that begins with record 2, and an audit that was cut behind record 6."""
    sixth = json.loads(lines[5])
    mark = {"event": "audit_over_cap", "first": 1, "last": 6, "time": sixth["time"], "chain": sixth["chain"]}
    return journal[1:], whole([json.dumps(mark), *lines[6:]]), mark


def mark_entry(mark, **more):
    return {
        "__REALTIME_TIMESTAMP": "1", "_UID": "990", "SCAEM_DATABASE": "ab" * 16, "SCAEM_EVENT": mark["event"],
        "SCAEM_FIRST": str(mark["first"]), "SCAEM_LAST": str(mark["last"]), "SCAEM_CHAIN": mark["chain"],
        "SCAEM_TIME": mark["time"], "MESSAGE": "anything", **more,
    }  # fmt: skip


def test_what_the_journal_has_from_before_a_cut_is_held_against_the_cut(over_a_cut, tmp_path):
    journal, after, mark = over_a_cut
    for entries in (journal, [*journal[3:5], *journal[:3], *journal[5:]]):
        done = verify(tmp_path, after, as_json(entries))
        assert done.returncode == 0 and "5 of them are older" in done.stdout, done
    for number, edit in (
        (4, {"SCAEM_PRINCIPAL": "mallory"}), (4, {"SCAEM_PEER_COMM": "sh"}), (4, {"SCAEM_CHAIN": "0" * 64}),
        (4, {"SCAEM_ENDED_FINGERPRINTS": None}), (6, {"SCAEM_PRINCIPAL": "mallory"}), (6, {"SCAEM_CHAIN": "0" * 64}),
    ):  # fmt: skip
        at = number - 2
        edited = {key: value for key, value in {**journal[at], **edit}.items() if value is not None}
        assert edited != journal[at], edit
        done = verify(tmp_path, after, as_json([*journal[:at], edited, *journal[at + 1 :]]))
        assert done.returncode == 1 and f"{number} was changed" in done.stderr, (edit, done)


def test_what_was_pruned_has_to_be_in_the_journal(over_a_cut, tmp_path):
    journal, after, _ = over_a_cut
    holed = as_json([*journal[:2], *journal[3:]])
    assert verify(tmp_path, after, holed).returncode == 0, "what goes over the cap may never have been sent"
    done = verify(tmp_path, after.replace("audit_over_cap", "audit_pruned"), holed)
    assert done.returncode == 1 and "4 is missing in the journal" in done.stderr, done


def test_a_journal_alone_is_followed_over_what_its_marks_say(over_a_cut, tmp_path):
    journal, _, mark = over_a_cut
    for entries in (journal, [*journal, mark_entry(mark)], [mark_entry(mark), *journal]):
        done = verify(tmp_path, as_json(entries))
        assert done.returncode == 0, done
    done = verify(tmp_path, as_json([*journal, mark_entry(mark, SCAEM_CHAIN="0" * 64)]))
    assert done.returncode == 1 and "6 was changed" in done.stderr, done
    # A hole is excused by the cap, and by nothing that claims that the journal had it.
    holed = [*journal[:3], *journal[5:]]
    assert verify(tmp_path, as_json(holed)).returncode == 1
    assert verify(tmp_path, as_json([*holed, mark_entry(mark)])).returncode == 0
    assert verify(tmp_path, as_json([*holed, mark_entry({**mark, "event": "audit_pruned"})])).returncode == 1


def test_a_restore_takes_what_was_ended_from_an_export_or_a_journal(daemon, tmp_path):
    """The database is lost; what was recorded elsewhere is enough, and without it nothing is done."""
    copy = tmp_path / "copy"
    with daemon.connect() as root:
        token = {name: root.call("register", here(name))["registration_token"] for name in ("kept", "revoked", "gone")}
        assert daemon.tool("backup", copy).returncode == 0
        root.call("revoke", token=token["revoked"])
        root.call("unregister", application="gone")
    daemon.stop()
    rows = export(daemon)
    (tmp_path / "rows").write_text(rows)
    made = [json.loads(line) for line in rows.splitlines()]
    entries = [journal_entry(row, SCAEM_DATABASE=database_of(copy)) for row in made]
    (tmp_path / "journal").write_text(as_json(entries))

    def without_database():
        for path in daemon.state.glob("tokens.db*"):
            path.unlink()

    def restore(source):
        without_database()
        return daemon.tool("restore", copy, "--since-from", tmp_path / source, "--uid", 990)

    without_database()
    assert daemon.tool("restore", copy).returncode == 1
    none = {"SCAEM_ENDED_FINGERPRINTS": None}
    lies = {
        "short": [*entries[:3], entries[4]],
        "another user's": [*entries[:3], *({**entry, "_UID": "1000"} for entry in entries[3:])],
        "another database's": [*entries[:3], *({**entry, "SCAEM_DATABASE": "cd" * 16} for entry in entries[3:])],
        "changed": [*entries[:3], *(journal_entry(row, SCAEM_DATABASE=database_of(copy), **none) for row in made[3:])],
        "out of all numbers": [*entries[:3], {**entries[4], "SCAEM_SEQUENCE": "9223372036854775806"}, entries[4]],
    }
    for name, lie in lies.items():
        (tmp_path / name).write_text(as_json(lie))
        refused = restore(name)
        assert refused.returncode == 1 and "4" in refused.stderr, (name, refused)
    # Another database in the backup's place says nothing of what was ended since.
    without_database()
    daemon.start()
    with daemon.connect() as root:
        for number in range(6):
            root.call("register", here(f"other-{number}"))
    daemon.stop()
    (tmp_path / "up to the backup").write_text(as_json(entries[:3]))
    refused = daemon.tool("restore", copy, "--since-from", tmp_path / "up to the backup", "--uid", 990)
    assert refused.returncode == 1 and "4" in refused.stderr, refused
    for source in ("rows", "journal"):
        done = restore(source)
        assert done.returncode == 0 and "known up to number 5" in done.stdout, done
        daemon.start()
        with daemon.connect() as root:
            assert {name: root.active(secret) for name, secret in token.items()} == {
                "kept": True, "revoked": False, "gone": False}, source  # fmt: skip
            assert root.call("status")["audit"]["sequence"] > 5
        daemon.stop()
        assert daemon.tool("check").returncode == 0


def test_a_restore_shortens_what_a_grace_shortened(daemon, tmp_path):
    copy = tmp_path / "copy"
    with daemon.connect() as root:
        token = root.call("register", here("a"))["registration_token"]
        assert daemon.tool("backup", copy).returncode == 0
        end = root.call("rotate", here("a", grace_seconds=600))["previous_token_expiration"]
    daemon.stop()
    assert daemon.tool("restore", copy).returncode == 0
    daemon.start()
    with daemon.connect() as root:
        assert root.active(token)
        (row,) = root.call("list")["tokens"]
        assert row["token_expiration"] <= end


def test_a_backup_does_not_replace_a_file_unless_told(daemon, tmp_path):
    copy = tmp_path / "copy"
    copy.write_text("mine")
    assert daemon.tool("backup", copy).returncode == 73
    assert copy.read_text() == "mine" and [path.name for path in tmp_path.iterdir()] == ["copy"]
    assert daemon.tool("backup", copy, "--replace").returncode == 0
    assert copy.read_bytes().startswith(b"SQLite format 3\0")
    assert daemon.tool("backup", tmp_path / "none" / "copy").returncode == 1


TAMPERED = {
    "nothing": ("SELECT 1", None),
    "a token of nobody's": (
        "INSERT INTO token SELECT 900, application_id, 'z', randomblob(32), issued_at, expires_at, NULL, x'' FROM token LIMIT 1",
        "knows nothing of",
    ),
    "a row taken away": ("DELETE FROM token WHERE project_code = 'q'", "has no row"),
    "a row moved": ("UPDATE token SET project_code = 'z' WHERE project_code = 'q'", "has no row"),
    "another owner": ("UPDATE application SET name = 'mallory' WHERE name = 'a'", "the audit says of a"),
    "another token": ("UPDATE token SET digest = randomblob(32) WHERE project_code = 'q'", "another token than the audit"),
    "an ended token that is back": (
        "INSERT INTO token SELECT 900, id, 'r', :ended, 0, 4000000000000, NULL, x'' FROM application WHERE name = 'a'",
        "the audit says was ended",
    ),
    "an ended token among the previous": (
        "UPDATE token SET previous = CAST(:ended || x'00000000000000000000ffffffffffff' AS BLOB) WHERE project_code = 'q'",
        "the audit says was ended",
    ),
    "records out of the middle": (
        "INSERT INTO audit_mark SELECT 4, 3, chain, time, 'over_cap' FROM audit WHERE sequence = 4;"
        " DELETE FROM audit WHERE sequence IN (3, 4)",
        "taken out behind others",
    ),
    "records out of the middle, as if a restore had been there": (
        "INSERT INTO audit_mark SELECT 4, 2, chain, time, 'restored' FROM audit WHERE sequence = 4;"
        " DELETE FROM audit WHERE sequence IN (3, 4)",
        "taken out behind others",
    ),
    # As the writer's own connection could, which does not weigh them.
    "a row that breaks the schema's rules": (
        "PRAGMA ignore_check_constraints = ON; UPDATE token SET expires_at = expires_at + 1 WHERE project_code = 'q'",
        "of token is malformed",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TAMPERED)
def test_check_holds_the_tables_against_the_audit(make_daemon, name):
    """Whoever can write to the database, and changes its tables alone, is found out."""
    sql, said = TAMPERED[name]
    daemon = make_daemon().start()
    with daemon.connect() as root:
        root.call("register", application="a", project_code="p")
        for project in ("q", "r", "s"):
            token = root.call("generate", application="a", project_code=project)["registration_token"]
            if project == "r":
                ended = hashlib.sha256(token.encode()).digest()
        root.call("rotate", application="a", project_code="q", grace_seconds=600)
        root.call("revoke", application="a", project_code="r")
        root.call("register", application="b", project_code="p")
        root.call("unregister", application="b")
    daemon.stop()
    with contextlib.closing(sqlite3.connect(daemon.state / "tokens.db")) as database:
        for statement in sql.split(";"):
            database.execute(statement, {"ended": ended} if ":ended" in statement else {})
        database.commit()
    commands = [["check"], *([["audit", "verify"]] if said in (None, "taken out behind others") else [])]
    for command in commands:
        done = daemon.tool(*command)
        assert done.returncode == (1 if said else 0) and (said or "") in done.stdout + done.stderr, (command, done)


def test_an_outcome_that_is_none_is_named(lines, journal, tmp_path):
    assert verify(tmp_path, whole(lines).replace('"outcome":"success"', '"outcome":"refused"', 1)).returncode != 0
    cut = [{**entry, "SCAEM_ENDED_FINGERPRINTS": None} for entry in journal[:1]]
    done = verify(tmp_path, as_json(cut))
    assert done.returncode != 0 and "--all" in done.stderr, done
