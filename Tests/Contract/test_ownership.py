"""Who may do what: every kind of caller against every method, each from a process of its own uid."""

import contextlib
import grp
import json
import os
import pwd
import stat

import pytest

import people
from daemon import eventually
from faults import LOOKUP_SHIM, Panel
from wire import Connection, assert_error, parse, request


@pytest.fixture(scope="module")
def who():
    """The callers by the part they play."""
    people.create_people()
    return {
        "root": people.person("root"),
        "admin": people.person(people.ADMIN),
        "owner": people.person(people.ALICE),
        "stranger": people.person(people.BOB),
        "nameless": people.nameless(4_242),
    }


def ask_as(caller, path, requests):
    """All answers, by a process that is this caller from connect to close."""

    def talk():
        with Connection(path) as connection:
            return [connection.ask(method, params) for method, params in requests]

    return people.run_as(caller, talk)


def outcome(answer):
    return answer["error"]["code"] if "error" in answer else "done"


# For one application each: the requests that act on it or look at it, in an order in which the owner succeeds.


def acts(application):
    here = {"application": application, "project_code": "p"}
    return [
        ("register", here),
        ("rotate", here),
        ("list", {"application": application}),
        ("revoke", here),
        ("generate", here),
        ("unregister", {"application": application}),
    ]


MAY = "done"
NO = -32005


@pytest.mark.parametrize(
    ("part", "own", "below", "deeper", "other", "like", "slash"),
    [
        ("root", MAY, MAY, MAY, MAY, MAY, MAY),
        ("admin", MAY, MAY, MAY, MAY, MAY, MAY),
        ("owner", MAY, MAY, MAY, NO, NO, NO),
        ("stranger", NO, NO, NO, NO, NO, NO),
        ("nameless", NO, NO, NO, NO, NO, NO),
    ],
)
def test_the_table_of_owners(shared, who, part, own, below, deeper, other, like, slash):
    """Applications as alice sees them: her own, alice/x, alice/x/y, another's, one that only looks like hers."""
    alice = people.ALICE
    rights = {
        alice: own, f"{alice}/x": below, f"{alice}/x/y": deeper, f"{people.ADMIN}/x": other if part != "admin" else MAY,
        f"{alice}x": like, f"{alice}-x": like, f"{alice}.x/y": like, f"{alice.upper()}/x": like, f"x/{alice}": like,
        f"{alice}/": slash,
    }  # fmt: skip
    for application, right in rights.items():
        answers = ask_as(who[part], shared.socket, acts(application))
        assert {outcome(answer) for answer in answers} == {right}, (part, application, answers)


@pytest.mark.parametrize("part", ["stranger", "nameless"])
def test_others_get_one_answer_whether_it_exists_or_not(shared, who, part):
    alice = people.ALICE
    ask_as(who["owner"], shared.socket, [("register", {"application": f"{alice}/there", "project_code": "p"})])
    there = ask_as(who[part], shared.socket, acts(f"{alice}/there"))
    missing = ask_as(who[part], shared.socket, acts(f"{alice}/not-there"))
    assert there == missing
    for answer in there:
        assert_error(answer, -32005, answer["id"], "permission_denied")
    assert ask_as(who["owner"], shared.socket, [("unregister", {"application": f"{alice}/there"})])[0]["result"] == {
        "revoked": 1
    }


def test_left_out_the_application_is_oneself(shared, who):
    for part in ("owner", "admin", "nameless", "stranger"):
        answers = ask_as(who[part], shared.socket, [
            ("register", {"project_code": "self"}), ("list", {}), ("rotate", {"project_code": "self"}),
            ("revoke", {"project_code": "self"}), ("generate", {"project_code": "self"}), ("unregister", None),
        ])  # fmt: skip
        assert {outcome(answer) for answer in answers} == {MAY}, (part, answers)
        if part != "admin":
            assert [row["application"] for row in answers[1]["result"]["tokens"]] == [who[part].principal]


def test_open_and_closed_methods(shared, who):
    for part, caller in who.items():
        is_admin = part in ("root", "admin")
        answers = ask_as(caller, shared.socket, [
            ("ping", None), ("whoami", None), ("status", None), ("introspect", {"token": "x"}),
            ("revoke", {"token": "x"}),
            ("reload", None), ("revoke", {"application": "*", "project_code": "no-such"}),
        ])  # fmt: skip
        codes = [outcome(answer) for answer in answers]
        assert codes == [MAY] * 5 + ([MAY] * 2 if is_admin else [NO] * 2), (part, answers)
        assert answers[1]["result"]["administrator"] is is_admin
        assert answers[1]["result"]["principal"] == caller.principal


def test_ownership_is_by_name_alone(shared, who):
    """What an administrator registers for alice is alice's."""
    application = f"{people.ALICE}/by-admin"
    here = {"application": application, "project_code": "p"}
    made = ask_as(who["admin"], shared.socket, [("register", here)])[0]["result"]
    answers = ask_as(who["owner"], shared.socket, [
        ("introspect", {"token": made["registration_token"]}), ("list", {"application": application}), ("rotate", here),
    ])  # fmt: skip
    assert answers[0]["result"]["sub"] == application
    assert len(answers[1]["result"]["tokens"]) == 1
    assert answers[2]["result"]["registration_id"] == made["registration_id"]
    assert outcome(ask_as(who["admin"], shared.socket, [("unregister", {"application": application})])[0]) == MAY


def test_list_without_application_shows_what_is_one_s_own(shared, who):
    alice = people.ALICE
    mine = [alice, f"{alice}/a", f"{alice}/a/b"]
    others = [
        f"{alice}-x",
        f"{alice}.x",
        f"{alice}x/y",
        f"{alice}0",
        f"{alice}:x",
        f"{people.BOB}/{alice}",
        f"{alice[:-1]}",
    ]
    ask_as(
        who["root"], shared.socket, [("register", {"application": a, "project_code": "mine"}) for a in mine + others]
    )
    listed = ask_as(
        who["owner"],
        shared.socket,
        [("list", {"project_code": "mine"}), ("list", {"project_code": "mine", "limit": 2})],
    )
    assert [row["application"] for row in listed[0]["result"]["tokens"]] == sorted(mine)
    cursor = listed[1]["result"]["next_cursor"]
    last = ask_as(who["owner"], shared.socket, [("list", {"project_code": "mine", "cursor": cursor})])[0]["result"]
    assert [row["application"] for row in last["tokens"]] == sorted(mine)[2:] and "next_cursor" not in last
    for part in ("admin", "root"):
        seen = ask_as(who[part], shared.socket, [("list", {"project_code": "mine"})])[0]["result"]["tokens"]
        assert [row["application"] for row in seen] == sorted(mine + others)
    theirs = ask_as(who["stranger"], shared.socket, [("list", {"project_code": "mine"})])[0]["result"]["tokens"]
    assert [row["application"] for row in theirs] == [f"{people.BOB}/{alice}"]
    ask_as(who["root"], shared.socket, [("unregister", {"application": a}) for a in mine + others])


def test_administrators_are_so_by_their_groups_as_of_connect(shared, who):
    alice, admin_gid = who["owner"], grp.getgrnam(people.ADMIN_GROUP).gr_gid
    socket_gid = grp.getgrnam(people.SOCKET_GROUP).gr_gid

    def administrator(uid, gid, groups):
        return people.as_user(uid, gid, groups, lambda: _whoami(shared.socket))["administrator"]

    assert administrator(alice.uid, alice.gid, (socket_gid, admin_gid)), "a supplementary group counts"
    assert administrator(alice.uid, admin_gid, (socket_gid,)), "and so does the process's own"
    assert not administrator(alice.uid, alice.gid, alice.groups)
    many = (socket_gid, *range(50_000, 50_300), admin_gid)
    assert administrator(alice.uid, alice.gid, many), "among hundreds of groups"
    assert not administrator(alice.uid, alice.gid, many[:-1])
    # Who is in the group by the user database, but not by the kernel, is none.
    named = who["admin"]
    assert not administrator(named.uid, named.gid, (socket_gid,))
    # Root is one whatever its groups are.
    assert administrator(0, 0, ())


def _whoami(path):
    with Connection(path) as connection:
        return connection.call("whoami")


def test_a_process_that_changed_its_uid_after_connect_is_who_it_was(shared, who):
    def drop():
        with Connection(shared.socket) as connection:
            os.setgroups([])
            os.setresuid(who["owner"].uid, who["owner"].uid, who["owner"].uid)
            return connection.call("whoami")

    assert people.as_user(0, 0, (), drop)["principal"] == "root"


# Principals.


@pytest.mark.parametrize("name", [people.ALICE, people.SYSTEM_LIKE])
def test_the_principal_is_the_user_s_name(shared, name):
    person = people.person(name)
    assert people.run_as(person, lambda: _whoami(shared.socket))["principal"] == name
    assert outcome(ask_as(person, shared.socket, [("register", {"project_code": "p"})])[0]) == MAY


@pytest.mark.parametrize("name", [people.LOOKS_LIKE_UID, people.LOOKS_LIKE_UNIT, people.OUTSIDE_PATTERN])
def test_a_name_that_cannot_be_a_principal_becomes_its_number(shared, name):
    person = people.person(name)
    facts = people.run_as(person, lambda: _whoami(shared.socket))
    assert facts["principal"] == f"uid-{person.uid}" and facts["uid"] == person.uid
    own, by_name = ask_as(person, shared.socket, [
        ("register", {"project_code": "p", "application": f"uid-{person.uid}/x"}),
        ("register", {"project_code": "p", "application": f"{people.LOOKS_LIKE_UID}/x"}),
    ])  # fmt: skip
    assert (outcome(own), outcome(by_name)) == (MAY, NO)


def test_a_user_named_uid_5_is_not_uid_5(shared):
    """Two different callers must never be one principal."""
    five = people.nameless(5) if not _named(5) else None
    named = people.run_as(people.person(people.LOOKS_LIKE_UID), lambda: _whoami(shared.socket))
    assert named["principal"] != "uid-5"
    if five:
        assert people.run_as(five, lambda: _whoami(shared.socket))["principal"] == "uid-5"


def _named(uid):
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


@pytest.mark.parametrize(
    ("uid", "may"),
    [
        (4_243, True), (61_183, True), (61_184, False), (63_000, False), (65_519, False), (65_520, True),
        (65_533, True), (65_535, True), (65_536, False), (100_007, False), (2**31, False), (2**32 - 2, False),
    ],
)  # fmt: skip
def test_recycled_and_delegated_numbers_may_own_nothing(shared, uid, may):
    caller = people.nameless(uid)
    answers = ask_as(caller, shared.socket, [("whoami", None), *acts(f"uid-{uid}"), *acts(f"uid-{uid}/x"),
                                             ("register", {"project_code": "p"})])  # fmt: skip
    assert answers[0]["result"]["principal"] == f"uid-{uid}"
    assert {outcome(answer) for answer in answers[1:]} == {MAY if may else NO}, answers
    if not may:
        # It still may look up what it holds, and sees that it has nothing.
        assert [
            outcome(a) for a in ask_as(caller, shared.socket, [("introspect", {"token": "x"}), ("ping", None)])
        ] == [MAY] * 2


NAMES = {
    # Names that stand for themselves.
    70_501: "plain", 70_502: "_apt2", 70_503: "UPPER.case@host", 70_504: "0digit", 70_505: "x" * 128, 70_506: "uid-",
    70_507: "uid-5a", 70_508: "uid5", 70_509: "service", 70_510: "a.services", 70_511: "x.service.y", 70_512: "UID-5",
    70_513: "unit-x",
    # Names that could be taken for somebody else, or that are no application's.
    70_601: "a/b", 70_602: "uid-0", 70_603: "uid-70602", 70_604: "x.service", 70_605: "x.socket", 70_606: "x.timer",
    70_607: "x.mount", 70_608: "x.slice", 70_609: "x.scope", 70_610: "x.target", 70_611: "x.path", 70_612: "x.device",
    70_613: "x.automount", 70_614: "x.swap", 70_615: ".hidden", 70_616: "a b", 70_617: "müller", 70_618: "a\\b",
    70_619: "y" * 129, 70_620: "a$", 70_621: "@x", 70_622: "uid-4294967295", 70_623: "a@b.service",
}  # fmt: skip


def test_which_names_are_principals(make_daemon, tmp_path):
    """The daemon alone sees an /etc/passwd with these users; all of their numbers are above 65535, but they have
    names, so that each may own what it is called."""
    users = tmp_path / "passwd"
    extra = "".join(f"{name}:x:{uid}:{uid}::/:/bin/false\n" for uid, name in NAMES.items())
    users.write_text(open("/etc/passwd").read() + extra)
    users.chmod(0o644)
    wrapper = ["unshare", "--mount", "sh", "-c", f'mount --bind {users} /etc/passwd && exec "$@"', "sh"]
    daemon = make_daemon(wrapper=wrapper).start()
    for uid, name in NAMES.items():
        facts, made = ask_as(
            people.nameless(uid), daemon.socket, [("whoami", None), ("register", {"project_code": "p"})]
        )
        wanted = name if uid < 70_600 else f"uid-{uid}"
        assert facts["result"]["principal"] == wanted, (name, facts)
        assert outcome(made) == MAY, (name, made)


def test_a_nameless_administrator_may_act_for_others(shared):
    caller = people.nameless(70_009, people.ADMIN_GROUP)
    answers = ask_as(caller, shared.socket, acts(f"{people.ALICE}/for-her"))
    assert {outcome(answer) for answer in answers} == {MAY}


# Look-ups that fail, groups that do not exist.


def test_a_failing_look_up_is_busy_never_a_number(make_daemon):
    panel = Panel(LOOKUP_SHIM)
    daemon = make_daemon(environment=panel.environment).start()
    alice = people.person(people.ALICE)
    panel.set(lookup_errno=5)
    answers = ask_as(alice, daemon.socket, [("whoami", None), ("register", {"project_code": "p"})])
    for answer in answers:
        assert_error(answer, -32006, answer["id"], "busy")
    panel.set(lookup_errno=0)
    names = {ask_as(alice, daemon.socket, [("whoami", None)])[0].get("result", {}).get("principal") for _ in range(3)}
    assert names <= {people.ALICE, None} and people.ALICE in names


def test_who_presents_an_ended_token_without_a_name_is_on_record(make_daemon):
    """Whether a token lives is said to anybody; of who shows one that has ended there is the uid, if nothing else."""
    panel = Panel(LOOKUP_SHIM)
    daemon = make_daemon(environment=panel.environment).start()
    alice = people.person(people.ALICE)
    with daemon.connect() as root:
        old = root.call("register", {"application": "a", "project_code": "p"})["registration_token"]
        root.call("rotate", {"application": "a", "project_code": "p"})
    panel.set(lookup_errno=5)
    (answer,) = ask_as(alice, daemon.socket, [("introspect", {"token": old})])
    assert answer["result"] == {"active": False}
    daemon.stop()
    records = [json.loads(line) for line in daemon.tool("audit", "export").stdout.splitlines()]
    (found,) = [record for record in records if record.get("event") == "ended_token_presented"]
    assert found["uid"] == alice.uid and found["principal"] == f"uid-{alice.uid}", found


def test_a_slow_look_up_holds_up_nobody_else(make_daemon):
    """A directory service that takes its time: who waits for it gets an answer in the end, all others before."""
    panel = Panel(LOOKUP_SHIM)
    daemon = make_daemon(environment=panel.environment).start()
    with contextlib.ExitStack() as stack:
        with panel.held("lookup"):
            alice = stack.enter_context(people.connected_as(daemon.socket, people.person(people.ALICE)))
            root = stack.enter_context(daemon.connect())
            alice.send(request("register", {"project_code": "p"}, 1) + b"\n" + request("whoami", None, 2) + b"\n")
            panel.await_waiting("lookup")
            for _ in range(50):
                assert root.call("ping") == {}
            assert not alice.has_more(), "an answer without the look-up"
        made, facts = (parse(line) for line in alice.read_lines(2))
        assert outcome(made) == MAY and facts["result"]["principal"] == people.ALICE


def test_a_look_up_that_hangs_is_busy_and_holds_up_no_new_connection(make_daemon):
    """Longer than a caller waits for its name: who is looked up by then is told to try again, and is named in the end."""
    panel = Panel(LOOKUP_SHIM)
    daemon = make_daemon(environment=panel.environment).start()
    with contextlib.ExitStack() as stack:
        with panel.held("lookup"):
            alice = stack.enter_context(people.connected_as(daemon.socket, people.person(people.ALICE)))
            alice.send(request("whoami", None, 1) + b"\n")
            panel.await_waiting("lookup")
            assert_error(parse(alice.read_lines(1)[0]), -32006, 1, "busy")
            # What was remembered of root is over, too: it is looked up beside the one that hangs.
            with daemon.connect() as root:
                assert root.call("whoami")["principal"] == "root"
            assert alice.refusal("whoami")["code"] == -32006

        def named():
            alice.send(request("whoami", None, 2) + b"\n")
            return parse(alice.read_lines(1)[0]).get("result", {}).get("principal") == people.ALICE

        eventually(named, 30, "the name in the end")


def test_a_group_that_does_not_exist_has_no_members(make_daemon, tmp_path):
    """The daemon alone sees an /etc/group without scaem-admin; the number stays with the process."""
    without = tmp_path / "group"
    lines = [line for line in open("/etc/group") if not line.startswith(people.ADMIN_GROUP + ":")]
    without.write_text("".join(lines))
    wrapper = ["unshare", "--mount", "sh", "-c", f'mount --bind {without} /etc/group && exec "$@"', "sh"]
    daemon = make_daemon(wrapper=wrapper).start()
    assert people.run_as(people.person(people.ADMIN), lambda: _whoami(daemon.socket))["administrator"] is False
    assert people.run_as(people.person("root"), lambda: _whoami(daemon.socket))["administrator"] is True


# Modes.


def mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


def test_the_socket_s_mode_and_group(daemon):
    entry = os.stat(daemon.socket)
    assert stat.S_ISSOCK(entry.st_mode) and mode(daemon.socket) == 0o660
    assert entry.st_gid == grp.getgrnam(people.SOCKET_GROUP).gr_gid and entry.st_uid == 0
    daemon.restart()
    assert mode(daemon.socket) == 0o660


@pytest.mark.parametrize("umask", ["0000", "0077"])
def test_modes_do_not_depend_on_the_umask(make_daemon, umask):
    daemon = make_daemon(wrapper=["sh", "-c", f'umask {umask}; exec "$@"', "sh"]).start()
    with daemon.connect() as root:
        root.call("register", application="a", project_code="p")
    assert mode(daemon.socket) == 0o660
    assert mode(daemon.state) & 0o077 == 0
    files = [path for path in daemon.state.rglob("*")]
    assert files
    for path in files:
        assert mode(path) & 0o077 == 0, f"{path} is open to others: {mode(path):o}"


def test_without_the_socket_s_group_there_is_no_connection(shared):
    def attempt():
        try:
            Connection(shared.socket).close()
        except PermissionError as failure:
            return failure.errno
        return 0

    outsider = people.person(people.OUTSIDER)
    assert people.run_as(outsider, attempt) == 13
    assert people.as_user(70_000, 70_000, (), attempt) == 13


def test_an_administrator_without_the_socket_s_group_gets_none_either(shared):
    """The group of the socket decides on connections alone."""
    admin_gid = grp.getgrnam(people.ADMIN_GROUP).gr_gid

    def attempt():
        try:
            Connection(shared.socket).close()
        except PermissionError as failure:
            return failure.errno
        return 0

    assert people.as_user(people.person(people.ALICE).uid, 70_000, (admin_gid,), attempt) == 13
