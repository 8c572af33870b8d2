"""Every method: its params, its result, its refusals with what to do next."""

import os
import re

import pytest

import people
import shapes
from steps import rows_of, with_previous
from wire import assert_error, check_error, parse, request

METHODS = ["register", "generate", "rotate", "introspect", "revoke", "unregister", "list", "watch", "whoami", "status",
           "reload", "ping"]  # fmt: skip
MAKERS = ["register", "generate", "rotate"]


@pytest.fixture
def app(root, name):
    """A registered application with a token for project "p"."""
    application = name()
    credentials = root.call("register", application=application, project_code="p")
    return application, credentials


# Credentials.


def test_credentials_are_the_seed_s_four_fields_in_order(root, name):
    here = {"application": name(), "project_code": "p"}
    seed = re.compile(
        rb'\{"jsonrpc":"2\.0","id":1,"result":\{"registration_id":"[0-9a-f-]{36}","registration_token":"api_key\|'
        rb'[0-9A-Za-z]{64}","token_expiration":"[0-9TZ:.-]{24}","token_type":"Bearer"\}\}'
    )
    for method in ("register", "rotate"):
        line = root.exchange(request(method, here, 1))
        assert seed.fullmatch(line), line
        shapes.check_credentials(parse(line)["result"])
    line = root.exchange(request("generate", {**here, "project_code": "q"}, 1))
    assert seed.fullmatch(line), line
    line = root.exchange(request("rotate", {**here, "grace_seconds": 5}, 1))
    assert shapes.key_order(line, "result") == [*shapes.CREDENTIAL_KEYS, "previous_token_expiration"]
    shapes.check_credentials(parse(line)["result"], kept=True)


def test_the_judge_of_checksums():
    """CRC-32 of "123456789" is the published 0xCBF43926; its base-62 digits give that number back."""
    value = 0
    for digit in shapes.checksum("123456789"):
        value = value * 62 + shapes.ALPHABET.index(digit)
    assert value == 0xCBF43926 and len(shapes.checksum("")) == 6


def test_tokens_are_drawn_uniformly(root, name):
    """2,000 tokens of 58 characters: every character everywhere, none far from its share (6 sigma)."""
    application, count = name(), 2_000
    root.call("register", application=application, project_code="p")
    here = {"application": application, "project_code": "p"}
    lines = root.pump(b"".join(request("rotate", here, n) + b"\n" for n in range(count)), count)
    tokens = [parse(line)["result"]["registration_token"] for line in lines]
    assert len(set(tokens)) == count
    for token in tokens:
        shapes.check_token(token)
    drawn = "".join(token[8:-6] for token in tokens)
    share = len(drawn) / 62
    for letter in shapes.ALPHABET:
        assert abs(drawn.count(letter) - share) < 6 * share**0.5, (letter, drawn.count(letter), share)
    for place in range(58):
        assert len({token[8 + place] for token in tokens}) == 62


def test_the_registration_id_is_the_application_s_until_it_is_unregistered(root, name):
    application = name()
    first = root.call("register", application=application, project_code="p")["registration_id"]
    assert shapes.UUID4.fullmatch(first)
    again = [
        root.call("rotate", application=application, project_code="p"),
        root.call("generate", application=application, project_code="q"),
        *rows_of(root, application=application),
    ]
    root.call("revoke", application=application, project_code="p")
    root.call("revoke", application=application, project_code="q")
    again.append(root.call("generate", application=application, project_code="p"))
    assert {entry["registration_id"] for entry in again} == {first}
    root.call("unregister", application=application)
    second = root.call("register", application=application, project_code="p")["registration_id"]
    assert shapes.UUID4.fullmatch(second) and second != first


def test_left_out_the_application_is_the_principal(shared):
    with people.connected_as(shared.socket, people.person(people.BOB)) as bob:
        made = bob.call("register", project_code="p")
        assert bob.call("introspect", token=made["registration_token"])["sub"] == people.BOB
        assert bob.refusal("register", application=people.BOB, project_code="p")["code"] == -32002
        assert bob.call("unregister") == {"revoked": 1}


# Bounds and defaults.


@pytest.mark.parametrize("method", MAKERS)
def test_ttl_default_and_bounds(root, name, method):
    for ttl in (None, shapes.TTL_MINIMUM_SECONDS, shapes.TTL_MAXIMUM_SECONDS, 86_399):
        here = {"application": name(), "project_code": "p"}
        if method != "register":
            root.call("register", application=here["application"], project_code="p" if method == "rotate" else "q")
        before = shapes.now_milliseconds()
        made = root.call(method, {**here, **({} if ttl is None else {"ttl_seconds": ttl})})
        after = shapes.now_milliseconds()
        life = (shapes.TTL_DEFAULT_SECONDS if ttl is None else ttl) * 1000
        assert before + life <= shapes.milliseconds(made["token_expiration"]) <= after + life
        facts = root.call("introspect", token=made["registration_token"])
        assert facts["exp"] == shapes.milliseconds(made["token_expiration"]) // 1000
        row = next(row for row in rows_of(root, application=here["application"]) if row["project_code"] == "p")
        assert row["token_expiration"] == made["token_expiration"]
        assert before <= shapes.milliseconds(row["issued_at"]) <= after
        assert facts["iat"] == shapes.milliseconds(row["issued_at"]) // 1000


@pytest.mark.parametrize("method", MAKERS)
@pytest.mark.parametrize(
    "ttl", [b"59", b"31536001", b"0", b"-60", b"60.0", b"6e1", b"60e0", b'"60"', b"null", b"true", b"[60]", b"{}",
            b"9223372036854775807", b"9223372036854775808", b"-9223372036854775809", b"18446744073709551676",
            b"340282366920938463463374607431768211516"],
    ids=bytes.decode,
)  # fmt: skip
def test_a_ttl_out_of_bounds_is_refused_and_changes_nothing(root, app, method, ttl):
    application, credentials = app
    text = b'{"jsonrpc":"2.0","id":1,"method":"%s","params":{"application":"%s","project_code":"p","ttl_seconds":%s}}'
    answer = root.answer(text % (method.encode(), application.encode(), ttl))
    assert_error(answer, -32602, 1, param="ttl_seconds")
    assert root.active(credentials["registration_token"])


@pytest.mark.parametrize("grace", [b"-1", b"-0", b"86401", b"1.0", b"1e1", b'"1"', b"null", b"false", b"9223372036854775808"],
                         ids=bytes.decode)  # fmt: skip
def test_a_grace_out_of_bounds_is_refused_and_changes_nothing(root, app, grace):
    application, credentials = app
    params = b'{"application":"%s","project_code":"p","grace_seconds":%s}'
    text = b'{"jsonrpc":"2.0","id":1,"method":"rotate","params":' + params + b"}"
    assert_error(root.answer(text % (application.encode(), grace)), -32602, 1, param="grace_seconds")
    assert root.active(credentials["registration_token"])


def test_grace_default_and_bounds(root, app):
    application, credentials = app
    before = shapes.now_milliseconds()
    longest = root.call("rotate", application=application, project_code="p", grace_seconds=86_400)
    after = shapes.now_milliseconds()
    end = shapes.milliseconds(longest["previous_token_expiration"])
    assert before + 86_400_000 <= end <= after + 86_400_000
    assert root.active(credentials["registration_token"])
    none = root.call("rotate", application=application, project_code="p")
    shapes.check_credentials(none, kept=False)
    assert not root.active(longest["registration_token"]) and not root.active(credentials["registration_token"])
    zero = root.call("rotate", application=application, project_code="p", grace_seconds=0)
    shapes.check_credentials(zero, kept=False)
    assert not root.active(none["registration_token"]) and root.active(zero["registration_token"])


# Params.

KNOWN = {
    "register": {"project_code": "text", "application": "text", "ttl_seconds": "number"},
    "generate": {"project_code": "text", "application": "text", "ttl_seconds": "number"},
    "rotate": {"project_code": "text", "application": "text", "ttl_seconds": "number", "grace_seconds": "number"},
    "introspect": {"token": "text"},
    "revoke": {"project_code": "text", "application": "text"},
    "unregister": {"application": "text"},
    "list": {
        "application": "text", "project_code": "text", "expires_before": "text", "limit": "number", "cursor": "text",
    },
    "watch": {"since": "number"},
    "whoami": {},
    "status": {},
    "reload": {},
    "ping": {},
}  # fmt: skip
REQUIRED = {"register": "project_code", "generate": "project_code", "rotate": "project_code", "introspect": "token"}


def valid_params(method):
    good = {"project_code": "p", "application": "no-such", "token": "x"}
    return {key: good[key] for key in KNOWN[method] if key in good}


def test_the_tables_here_name_every_method():
    assert sorted(KNOWN) == sorted(METHODS)


@pytest.mark.parametrize("method", METHODS)
def test_an_unknown_key_is_named(root, method):
    for key in ("x", "", "Project_code", "ttl", "é", "uid", "tokens", "application "):
        error = root.refusal(method, {**valid_params(method), key: 1})
        assert error["code"] == -32602 and error["data"]["param"] == key, error


@pytest.mark.parametrize("method", METHODS)
def test_a_wrong_type_is_named(root, method):
    for key, kind in KNOWN[method].items():
        wrong = [None, True, [], {}, ["p"]] + ([1, 1.5] if kind == "text" else ["1", "", 1.5])
        for value in wrong:
            error = root.refusal(method, {**valid_params(method), key: value})
            assert error["code"] == -32602 and error["data"]["param"] == key, (key, value, error)


@pytest.mark.parametrize("method", sorted(REQUIRED))
def test_a_missing_key_is_named(root, method):
    params = valid_params(method)
    del params[REQUIRED[method]]
    for sent in (params, {}, None):
        answer = root.ask(method, sent)
        assert_error(answer, -32602, answer["id"], param=REQUIRED[method])


GOOD_NAMES = [
    "a",
    "Z",
    "0",
    "_",
    "_apt",
    "a.b",
    "a:b",
    "a@b",
    "a/b",
    "a-b",
    "a_b",
    "0-",
    "a//b",
    "x" * 128,
    "a/b/c.d@e:f",
]
BAD_NAMES = ["", ".", "-a", ".a", ":a", "@a", "/a", "a b", " a", "a ", "a\n", "a\0", "é", "aé", "a\\b", "a*", "*",
             "a,b",
             "a+b", "a~", "x" * 129, "x" * 5_000, "a\u00a0", "ａ", "a\tb", "a|b", 'a"b', "a#b"]  # fmt: skip


@pytest.mark.parametrize("text", GOOD_NAMES, ids=lambda text: text[:20])
def test_names_within_the_pattern(root, name, text):
    root.call("register", application=name(), project_code=text)
    made = root.call("register", application=text, project_code="p")
    facts = root.call("introspect", token=made["registration_token"])
    assert facts["sub"] == text
    assert root.call("unregister", application=text) == {"revoked": 1}


def test_a_unit_s_application_may_have_backslashes(root):
    """As an escaped instance has them: an administrator may name what `LoadCredential=` has registered."""
    application = "unit:a-\\x2db@1.service"
    made = root.call("register", application=application, project_code="p")
    assert root.call("introspect", token=made["registration_token"])["sub"] == application
    assert [row["application"] for row in rows_of(root, application=application)] == [application]
    assert root.call("revoke", application=application, project_code="p") == {"revoked": 1}
    assert root.call("unregister", application=application) == {"revoked": 0}
    assert root.refusal("register", application="a\\b", project_code="p")["data"].get("param") == "application"


@pytest.mark.parametrize("text", BAD_NAMES, ids=lambda text: repr(text[:20]))
def test_names_outside_the_pattern(root, name, text):
    for method in ("register", "generate", "rotate", "revoke", "list"):
        error = root.refusal(method, application=name(), project_code=text)
        assert error["code"] == -32602 and error["data"]["param"] == "project_code", (method, error)
        if method == "revoke" and text == "*":
            continue
        error = root.refusal(method, application=text, project_code="p")
        assert error["code"] == -32602 and error["data"]["param"] == "application", (method, error)
    error = root.refusal("unregister", application=text)
    assert error["code"] == -32602 and error["data"]["param"] == "application"


def test_escaped_names_are_the_same_names(root, name):
    application = name()
    text = (
        b'{"jsonrpc":"2.0","id":1,"method":"register","params":{"appl\\u0069cation":"%s","project_code":"a\\/\\u0062"}}'
    )
    escaped = "".join(f"\\u{ord(letter):04x}" for letter in application).encode()
    token = root.answer(text % escaped)["result"]["registration_token"]
    facts = root.call("introspect", token=token)
    assert facts["sub"] == application and facts["project_code"] == "a/b"


# register, generate, rotate: the table of states.


def state_of(root, name, state):
    application = name()
    if state == "not registered":
        return application
    root.call("register", application=application, project_code="p")
    if state == "other project's token":
        root.call("revoke", application=application, project_code="p")
        root.call("generate", application=application, project_code="q")
    elif state == "no token":
        root.call("revoke", application=application, project_code="p")
    elif state == "unregistered":
        root.call("unregister", application=application)
    return application


@pytest.mark.parametrize(
    ("state", "register", "generate", "rotate"),
    [
        ("not registered", None, (-32001, "register"), (-32001, "register")),
        ("unregistered", None, (-32001, "register"), (-32001, "register")),
        ("this project's token", (-32002, "rotate"), (-32004, "rotate"), None),
        ("other project's token", (-32002, "generate"), None, (-32003, "generate")),
        ("no token", (-32002, "generate"), None, (-32003, "generate")),
    ],
)
def test_the_states(root, name, state, register, generate, rotate):
    for method, refused in {"register": register, "generate": generate, "rotate": rotate}.items():
        application = state_of(root, name, state)
        before = rows_of(root, application=application)
        answer = root.ask(method, {"application": application, "project_code": "p"})
        if refused is None:
            shapes.check_credentials(answer["result"])
        else:
            code, step = refused
            assert_error(answer, code, answer["id"], next=step)
            assert rows_of(root, application=application) == before
            # What `next` says then works, or leads on.
            follow = root.ask(step, {"application": application, "project_code": "p"})
            assert "result" in follow, (state, method, step, follow)


def test_rotate_ends_the_old_token(root, app):
    application, first = app
    second = root.call("rotate", application=application, project_code="p")
    assert second["registration_token"] != first["registration_token"]
    assert not root.active(first["registration_token"])
    assert root.active(second["registration_token"])


def test_projects_and_applications_do_not_touch_each_other(root, name):
    one, other = name(), name()
    tokens = {}
    for application in (one, other):
        tokens[application, "p"] = root.call("register", application=application, project_code="p")
        tokens[application, "P"] = root.call("generate", application=application, project_code="P")
    root.call("rotate", application=one, project_code="p")
    alive = {key: root.active(made["registration_token"]) for key, made in tokens.items()}
    assert alive == {(one, "p"): False, (one, "P"): True, (other, "p"): True, (other, "P"): True}


# introspect.


def test_introspect_of_a_living_token(root, app):
    application, made = app
    line = root.exchange(request("introspect", {"token": made["registration_token"]}, 1))
    order = ["active", "token_type", "client_id", "sub", "project_code", "iat", "exp"]
    assert shapes.key_order(line, "result") == order
    facts = parse(line)["result"]
    assert facts.pop("iat") <= shapes.now_milliseconds() // 1000
    assert facts.pop("exp") == shapes.milliseconds(made["token_expiration"]) // 1000
    assert facts == {
        "active": True, "token_type": "Bearer", "client_id": made["registration_id"], "sub": application,
        "project_code": "p",
    }  # fmt: skip


def test_introspect_of_anything_else_says_exactly_one_thing(root, app):
    token = app[1]["registration_token"]
    body = token[len(shapes.PREFIX) :]
    wrong = [
        "", " ", "x", shapes.PREFIX, body, token[:-1], token + "0", " " + token, token + " ", token + "\n",
        token + "\0",
        token.swapcase(), "API_KEY|" + body, "api_key:" + body, shapes.PREFIX + "0" * 64, "é" * 36, "\0" * 72,
        token[:-1] + ("0" if token[-1] != "0" else "1"), token[:-6] + "zzzzzz", "x" * 50_000,
        token[:20] + ("a" if token[20] != "a" else "b") + token[21:], shapes.well_formed("a" * 58),
        token[:10] + "é" + token[11:],
    ]  # fmt: skip
    for text in wrong:
        answer = root.exchange(request("introspect", {"token": text}, 1))
        assert answer == b'{"jsonrpc":"2.0","id":1,"result":{"active":false}}', (text[:80], answer)
    assert root.active(token)


def test_introspect_unescapes_the_token(root, app):
    token = app[1]["registration_token"]
    escaped = "".join(f"\\u{ord(letter):04X}" for letter in token)
    for text in (escaped, token.replace("|", "\\u007c"), token[:30] + escaped[180:]):
        sent = b'{"jsonrpc":"2.0","id":1,"method":"introspect","params":{"token":"%s"}}' % text.encode()
        assert root.answer(sent)["result"]["active"]


def test_introspect_is_open_to_every_caller(shared, app):
    for who in (people.person(people.ALICE), people.person(people.VERIFIER), people.nameless(70_123)):
        with people.connected_as(shared.socket, who) as caller:
            assert caller.call("introspect", token=app[1]["registration_token"])["sub"] == app[0]


def test_tokens_that_ended_are_like_tokens_that_never_were(root, name):
    ended = []
    for end in ("rotate", "revoke", "unregister"):
        application = name()
        ended.append(root.call("register", application=application, project_code="p")["registration_token"])
        params = (
            {"application": application} if end == "unregister" else {"application": application, "project_code": "p"}
        )
        root.call(end, params)
    never = root.exchange(request("introspect", {"token": shapes.well_formed("b" * 58)}, 7))
    for token in ended:
        assert root.exchange(request("introspect", {"token": token}, 7)) == never


# revoke.


def test_revoke_of_the_current_token_takes_its_previous_ones(root, name):
    application, tokens = with_previous(root, name, 3)
    assert root.call("revoke", token=tokens[-1]) == {"revoked": 4}
    assert not any(root.active(token) for token in tokens)
    assert root.call("revoke", token=tokens[-1]) == {"revoked": 0}
    assert rows_of(root, application=application) == []
    assert root.refusal("rotate", application=application, project_code="p")["data"]["next"] == "generate"


def test_revoke_of_a_previous_token_is_for_it_alone(root, name):
    application, tokens = with_previous(root, name, 3)
    assert root.call("revoke", token=tokens[1]) == {"revoked": 1}
    assert [root.active(token) for token in tokens] == [True, False, True, True]
    row = rows_of(root, application=application)[0]
    assert [entry["fingerprint"] for entry in row["previous"]] == [
        shapes.fingerprint(t) for t in (tokens[0], tokens[2])
    ]
    assert root.call("revoke", application=application, project_code="p") == {"revoked": 3}


def test_revoke_by_project(root, name):
    application, tokens = with_previous(root, name, 2)
    other = root.call("generate", application=application, project_code="q")["registration_token"]
    assert root.call("revoke", application=application, project_code="p") == {"revoked": 3}
    assert not any(root.active(token) for token in tokens) and root.active(other)
    assert root.call("revoke", application=application, project_code="p") == {"revoked": 0}
    assert root.call("revoke", application=name("never-registered"), project_code="p") == {"revoked": 0}
    assert root.call("generate", application=application, project_code="p")


def test_revoke_of_every_application_s(root, shared, name):
    project = name("everyone")
    tokens = []
    for application in (people.ALICE + "/a", name(), "z" * 128):
        tokens.append(root.call("register", application=application, project_code=project)["registration_token"])
    kept = root.call("generate", application="z" * 128, project_code="kept")["registration_token"]
    with people.connected_as(shared.socket, people.person(people.ALICE)) as alice:
        assert alice.refusal("revoke", application="*", project_code=project)["code"] == -32005
        assert alice.refusal("revoke", application="*", project_code="no-such")["code"] == -32005
    assert root.call("revoke", application="*", project_code=project) == {"revoked": 3}
    assert not any(root.active(token) for token in tokens) and root.active(kept)
    assert root.call("revoke", application="*", project_code=project) == {"revoked": 0}
    assert root.call("generate", application="z" * 128, project_code=project)


def test_who_holds_a_token_may_end_it(root, shared, app):
    with people.connected_as(shared.socket, people.person(people.BOB)) as bob:
        assert bob.refusal("revoke", application=app[0], project_code="p")["code"] == -32005
        assert bob.call("revoke", token=app[1]["registration_token"]) == {"revoked": 1}
    assert not root.active(app[1]["registration_token"])


def test_revoke_s_forms(root, app):
    application, made = app
    token = made["registration_token"]
    for params in (
        {"token": token, "project_code": "p"}, {"token": token, "application": application}, {},
        {"application": application},
        {"token": token, "application": application, "project_code": "p"}, {"token": token, "x": 1}, {"token": None},
        {"token": 1}, {"token": None, "project_code": "p", "application": application},
        {"application": None, "project_code": "p"},
    ):  # fmt: skip
        error = root.refusal("revoke", params)
        assert error["code"] == -32602, (params, error)
    assert root.refusal("revoke")["code"] == -32602
    assert root.active(token)
    for text in ("", "x", token[:-1], shapes.well_formed("c" * 58)):
        assert root.call("revoke", token=text) == {"revoked": 0}
    assert root.active(token)


# unregister.


def test_unregister_ends_everything(root, name):
    application, tokens = with_previous(root, name, 1)
    tokens.append(root.call("generate", application=application, project_code="q")["registration_token"])
    assert root.call("unregister", application=application) == {"revoked": 3}
    assert not any(root.active(token) for token in tokens)
    error = root.refusal("unregister", application=application)
    assert error["code"] == -32001 and error["data"]["next"] == "register"
    assert root.call("register", application=application, project_code="p")
    root.call("revoke", application=application, project_code="p")
    assert root.call("unregister", application=application) == {"revoked": 0}


def test_unregister_is_not_for_sub_applications(root, name):
    parent = name()
    root.call("register", application=parent, project_code="p")
    token = root.call("register", application=parent + "/x", project_code="p")["registration_token"]
    root.call("unregister", application=parent)
    assert root.active(token)


# whoami, status, ping.


def test_whoami(shared, root):
    line = root.exchange(request("whoami", None, 1))
    mine = parse(line)["result"]
    assert set(mine) == {"principal", "uid", "gid", "pid", "unit", "administrator"}
    assert (
        mine["principal"] == "root"
        and mine["uid"] == 0
        and mine["gid"] == os.getegid()
        and mine["administrator"] is True
    )
    assert mine["pid"] == os.getpid()
    assert mine["unit"] is None or isinstance(mine["unit"], str)
    alice = people.person(people.ALICE)
    with people.connected_as(shared.socket, alice) as caller:
        facts = caller.call("whoami")
        assert (facts["principal"], facts["uid"], facts["gid"], facts["administrator"]) == (
            people.ALICE, alice.uid, alice.gid, False,
        )  # fmt: skip


def test_status(daemon):
    with daemon.connect() as root, people.connected_as(daemon.socket, people.person(people.ALICE)) as alice:
        empty = root.call("status")
        assert set(empty) >= {
            "version",
            "protocol",
            "uptime_seconds",
            "ready",
            "applications",
            "tokens",
            "storage",
            "audit",
        }
        assert (
            empty["protocol"] == 1 and empty["ready"] is True and isinstance(empty["version"], str) and empty["version"]
        )
        assert type(empty["uptime_seconds"]) is int and 0 <= empty["uptime_seconds"] < 120
        assert (empty["applications"], empty["tokens"]) == (0, 0)
        root.call("register", application="a", project_code="p")
        root.call("rotate", application="a", project_code="p", grace_seconds=60)
        root.call("generate", application="a", project_code="q")
        root.call("register", application="b", project_code="p")
        root.call("revoke", application="b", project_code="p")
        full = root.call("status")
        assert (full["applications"], full["tokens"]) == (2, 3)
        assert isinstance(full["storage"], dict) and isinstance(full["audit"], dict)
        assert full["storage"] and full["audit"], "an administrator sees details"
        theirs = alice.call("status")
        assert set(theirs) == set(full)
        assert (theirs["applications"], theirs["tokens"], theirs["protocol"]) == (2, 3, 1)
        assert set(theirs["storage"]) < set(full["storage"]) and set(theirs["audit"]) < set(full["audit"])


def test_ping_is_an_empty_object(root):
    assert root.exchange(request("ping", None, 1)) == b'{"jsonrpc":"2.0","id":1,"result":{}}'


def test_reload_is_for_administrators(shared, root):
    assert root.call("reload") == {}
    with people.connected_as(shared.socket, people.person(people.ALICE), people.person(people.ADMIN)) as (alice, admin):
        assert alice.refusal("reload")["code"] == -32005
        assert admin.call("reload") == {}


def test_no_error_repeats_a_secret(root, app):
    """A token in a wrong place must not come back in an error, which callers log."""
    token = app[1]["registration_token"]
    root.may_echo = True
    for method in METHODS:
        for params in ({token: 1}, {"application": token}, {"project_code": token}, {"token": [token]},
                       {"cursor": token},
                       {"project_code": "p", "ttl_seconds": token}, [token]):  # fmt: skip
            line = root.exchange(request(method, params, 1))
            if b'"error"' in line:
                check_error(parse(line)["error"])
                # The key of an unknown param is named, as the contract says; its value never is.
                if params != {token: 1}:
                    assert token.encode() not in line, (method, params, line)
    assert_error(root.answer(request(token, None, 1)), -32601, 1)
