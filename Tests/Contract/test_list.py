"""`list`: rows, their order, pages and cursors, filters, and the time of use."""

import pytest

import people
import shapes
from daemon import Daemon
from steps import rows_of, with_previous
from wire import assert_error, parse, request

LIST_KEYS = {"registration_id", "application", "project_code", "issued_at", "token_expiration", "last_used_at", "state",
             "fingerprint", "previous"}  # fmt: skip


def test_a_row(root, name):
    application, tokens = with_previous(root, name, 2)
    line = root.exchange(request("list", {"application": application}, 1))
    assert b"api_key" not in line
    result = parse(line)["result"]
    assert set(result) == {"tokens"}
    (row,) = result["tokens"]
    assert set(row) == LIST_KEYS
    facts = root.call("introspect", token=tokens[-1])
    assert row["application"] == application and row["project_code"] == "p" and row["state"] == "active"
    assert row["registration_id"] == facts["client_id"] and row["fingerprint"] == shapes.fingerprint(tokens[-1])
    assert shapes.milliseconds(row["issued_at"]) // 1000 == facts["iat"]
    assert shapes.milliseconds(row["token_expiration"]) // 1000 == facts["exp"]
    for entry, token in zip(row["previous"], tokens[:-1], strict=True):
        assert set(entry) == {"fingerprint", "token_expiration"} and entry["fingerprint"] == shapes.fingerprint(token)
        assert shapes.milliseconds(entry["token_expiration"]) // 1000 == root.call("introspect", token=token)["exp"]


def fill(root, applications, projects):
    for application in applications:
        for number, project in enumerate(projects):
            root.call("register" if number == 0 else "generate", application=application, project_code=project)


def keys(rows):
    return [(row["application"], row["project_code"]) for row in rows]


@pytest.fixture(scope="module")
def listed():
    """A daemon of its own with a known set of rows."""
    daemon = Daemon().start()
    applications = ["a", "a-b", "a.b", "a/b", "a/", "a/b/c", "A", "Z", "_x", "a:b", "a@b", "ab", "0", "zz", "a" * 128]
    projects = ["p", "P", "p/1", "p-1", "0", "_"]
    with daemon.connect() as root:
        fill(root, applications, projects)
    wanted = sorted((a.encode(), p.encode()) for a in applications for p in projects)
    yield daemon, [(a.decode(), p.decode()) for a, p in wanted]
    daemon.discard()


def pages(connection, **params):
    found, cursor, count = [], {}, 0
    while True:
        result = connection.call("list", **params, **cursor)
        found += result["tokens"]
        count += 1
        assert count < 500
        if "next_cursor" not in result:
            return found, count
        assert result["tokens"], "an empty page with a cursor"
        assert isinstance(result["next_cursor"], str)
        cursor = {"cursor": result["next_cursor"]}


def test_rows_are_sorted_by_their_bytes(listed):
    daemon, wanted = listed
    with daemon.connect() as root:
        assert keys(rows_of(root, limit=1000)) == wanted
        assert len(rows_of(root)) == min(100, len(wanted))


@pytest.mark.parametrize("limit", [1, 2, 7, 89, 90, 91, 1000])
def test_pages_hold_every_row_once(listed, limit):
    daemon, wanted = listed
    with daemon.connect() as root:
        found, count = pages(root, limit=limit)
        assert keys(found) == wanted
        assert count in (-(-len(wanted) // limit), len(wanted) // limit + 1)
        mine = [(a, p) for a, p in wanted if p == "p-1"]
        assert keys(pages(root, limit=limit, project_code="p-1")[0]) == mine
        assert keys(pages(root, limit=limit, application="a/b")[0]) == [(a, p) for a, p in wanted if a == "a/b"]


def test_the_default_limit_is_100(root, name):
    application = name()
    fill(root, [application], [f"p{number:03d}" for number in range(101)])
    result = root.call("list", application=application)
    assert len(result["tokens"]) == 100
    rest = root.call("list", application=application, cursor=result["next_cursor"])
    assert len(rest["tokens"]) == 1 and "next_cursor" not in rest


@pytest.mark.parametrize("limit", [0, -1, 1001, 2**63, "10", 1.0, True, None])
def test_limits_out_of_bounds(root, limit):
    error = root.refusal("list", {"limit": limit})
    assert error["code"] == -32602 and error["data"]["param"] == "limit"


def test_a_named_application_is_exact(listed):
    daemon, wanted = listed
    with daemon.connect() as root:
        for application in ("a", "a/b", "A", "a/"):
            assert keys(rows_of(root, application=application)) == [(a, p) for a, p in wanted if a == application]
        assert root.call("list", application="no-such") == {"tokens": []}
        assert root.call("list", project_code="no-such") == {"tokens": []}
        assert root.call("list", application="a", project_code="p/2") == {"tokens": []}


def test_expires_before_is_exclusive(root, name):
    application = name()
    made = {}
    for number, ttl in enumerate((100, 200, 300)):
        method = "register" if number == 0 else "generate"
        made[ttl] = root.call(method, application=application, project_code=f"p{ttl}", ttl_seconds=ttl)
    end = made[200]["token_expiration"]
    later = shapes.time_text(shapes.milliseconds(end) + 1)

    def projects(when):
        return [row["project_code"] for row in rows_of(root, application=application, expires_before=when)]

    assert projects(end) == ["p100"]
    assert projects(later) == ["p100", "p200"]
    assert projects("1970-01-01T00:00:00.000Z") == []
    assert projects("9999-12-31T23:59:59.999Z") == ["p100", "p200", "p300"]
    root.call("rotate", application=application, project_code="p100", ttl_seconds=1000, grace_seconds=10)
    assert projects(end) == [], "a previous token's end does not count"
    assert len(pages(root, application=application, expires_before=later, limit=1)[0]) == 1


@pytest.mark.parametrize("text", ["", "now", "2025", "2025-05-24", "2025-02-29T00:00:00.000Z",
                                  "2025-13-01T00:00:00.000Z",
                                  "2025-05-24T24:00:00.000Z", "2025-05-24T18:18:60.000Z", "2025-05-24 18:18:22.265Z",
                                  "2025-05-24T18:18:22.265", "2025-05-24T18:18:22.265Zx", "-025-05-24T18:18:22.265Z",
                                  "2025-05-24T18:18:22.265+02:00", "２025-05-24T18:18:22.265Z"])  # fmt: skip
def test_what_is_no_time(root, text):
    error = root.refusal("list", expires_before=text)
    assert error["code"] == -32602 and error["data"]["param"] == "expires_before"


@pytest.mark.parametrize("cursor", ["", "x", "0", "null", "{}", "a\0b", "é", "=" * 40, "AAAA", "x" * 5_000])
def test_what_is_no_cursor(root, cursor):
    error = root.refusal("list", cursor=cursor)
    assert error["code"] == -32602 and error["data"]["param"] == "cursor", error


def test_a_damaged_cursor_is_refused_or_a_position_never_an_error_inside(root, name):
    application = name()
    fill(root, [application], ["p1", "p2", "p3"])
    cursor = root.call("list", application=application, limit=1)["next_cursor"]
    for at in range(len(cursor)):
        for letter in "A0z-":
            answer = root.ask("list", {"application": application, "cursor": cursor[:at] + letter + cursor[at + 1 :]})
            if "error" in answer:
                assert_error(answer, -32602, answer["id"], param="cursor")
        shorter = root.ask("list", {"application": application, "cursor": cursor[:at]})
        assert "result" in shorter or shorter["error"]["code"] == -32602


def test_rows_that_stay_come_exactly_once_while_others_come_and_go(root, name):
    prefix = name("paged")
    stay = [f"{prefix}-{number:03d}" for number in range(0, 100, 2)]
    fill(root, stay, ["p"])
    found, cursor, number = [], {}, 1
    while True:
        result = root.call("list", limit=7, project_code="p", **cursor)
        found += [row["application"] for row in result["tokens"] if row["application"].startswith(prefix)]
        if "next_cursor" not in result:
            break
        cursor = {"cursor": result["next_cursor"]}
        if found:
            # The very row that the cursor stands on goes and comes again; others appear and vanish beside it.
            for application in (found[-1] + "-new", f"{prefix}-{number:03d}"):
                root.call("register", application=application, project_code="p")
            root.call("rotate", application=found[-1], project_code="p", grace_seconds=60)
            if number % 4 == 1:
                root.call("revoke", application=found[-1], project_code="p")
                root.call("generate", application=found[-1], project_code="p")
            root.call("unregister", application=f"{prefix}-{number:03d}")
            number += 2
    assert [application for application in found if application in stay] == stay


def test_a_cursor_survives_a_restart_and_its_row(daemon):
    with daemon.connect() as root:
        fill(root, ["a", "b", "c"], ["p", "q"])
        cursor = root.call("list", limit=3)["next_cursor"]
        root.call("unregister", application="b")
    daemon.restart()
    with daemon.connect() as root:
        assert keys(root.call("list", cursor=cursor)["tokens"]) == [("c", "p"), ("c", "q")]


def test_a_cursor_is_a_position_and_no_right(listed):
    daemon, _ = listed
    with daemon.connect() as root, people.connected_as(daemon.socket, people.person(people.ALICE)) as alice:
        cursor = root.call("list", limit=3)["next_cursor"]
        assert alice.call("list", cursor=cursor) == {"tokens": []}
        inner = root.call("list", application="a", limit=3)["next_cursor"]
        assert alice.refusal("list", application="a", cursor=inner)["code"] == -32005


def test_a_page_of_the_longest_rows_fits_a_line(daemon):
    """1,000 rows with the longest names and three previous tokens each."""
    with daemon.connect() as root:
        application = "a" * 128
        projects = [f"{number:0>128}" for number in range(1_000)]
        steps = [("register" if n == 0 else "generate", p, {}) for n, p in enumerate(projects)]
        steps += [("rotate", p, {"grace_seconds": 600}) for _ in range(3) for p in projects]
        lines = [request(m, {"application": application, "project_code": p, **more}, 1) for m, p, more in steps]
        for line in root.pump(b"\n".join(lines) + b"\n", len(lines), timeout=120):
            assert b'"result"' in line, line
        found, count = pages(root, limit=1000)
        assert len(found) == 1_000 and all(len(row["previous"]) == 3 for row in found)
        assert [row["project_code"] for row in found] == projects
        assert count <= 2


def test_last_used_at(daemon):
    """A clean stop loses nothing of it; only the current token's use counts."""
    with daemon.connect() as root:
        tokens = {}
        for application in ("used", "unused", "previous", "failed", "replaced"):
            tokens[application] = root.call("register", application=application, project_code="p")["registration_token"]
        for application in ("previous", "failed"):
            grace = 600 if application == "previous" else 0
            root.call("rotate", application=application, project_code="p", grace_seconds=grace)
        before = shapes.now_milliseconds()
        assert root.active(tokens["used"]) and root.active(tokens["previous"]) and root.active(tokens["replaced"])
        assert not root.active(tokens["failed"])
        after = shapes.now_milliseconds()
        root.call("rotate", application="replaced", project_code="p", grace_seconds=600)
    daemon.restart()
    with daemon.connect() as root:
        used = {row["application"]: row["last_used_at"] for row in rows_of(root)}
        issued = {row["application"]: row["issued_at"] for row in rows_of(root)}
        assert used["used"] >= issued["used"], "used before it was made"
        # It may lag; here, where the stop wrote it, by no more than its own resolution.
        assert before - 1_000 <= shapes.milliseconds(used.pop("used")) <= after
        assert used == dict.fromkeys(["unused", "previous", "failed", "replaced"])
