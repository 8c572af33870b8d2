"""JSON-RPC 2.0 in full: ids, notifications, batches, errors, and the order in which a fault is found."""

import json

import pytest

import people
import shapes
from wire import MAX_ANSWER_BYTES, MAX_BATCH, assert_error, check_form, parse, request

PING = b'{"jsonrpc":"2.0","id":%s,"method":"ping"}'

IDS = [
    b"0", b"1", b"-1", b"-0", b"1.0", b"1.50", b"1e5", b"1E+400", b"-1e-9", b"9007199254740993",
    b"123456789012345678901234567890123456789012345678901234567890", b"0.1000000000000000055511151231257827",
    b'""', b'"a"', b'"a b"', b'"\\u0061"', b'"a\\"b\\\\c\\/d\\b\\f\\n\\r\\t"', b'"\\u0000"', b'"\\ud83d\\ude00"',
    '"é😀"'.encode(), b'"null"', b"null", b'"' + b"x" * 60_000 + b'"',
]  # fmt: skip

BAD_IDS = [b"true", b"false", b"[]", b"[1]", b"{}", b'{"id":1}']


@pytest.fixture
def line(root):
    """Sends one line and returns the parsed answer."""
    return root.answer


def settle(connection):
    """The next answer is the ping's: nothing before it was answered."""
    connection.send(PING % b'"settled"' + b"\n")
    assert connection.read_line() == b'{"jsonrpc":"2.0","id":"settled","result":{}}'


# Ids.


@pytest.mark.parametrize("identity", IDS, ids=lambda value: value[:24].decode())
def test_id_comes_back_as_its_bytes(root, identity):
    assert root.exchange(PING % identity) == b'{"jsonrpc":"2.0","id":' + identity + b',"result":{}}'


@pytest.mark.parametrize("identity", IDS, ids=lambda value: value[:24].decode())
def test_id_comes_back_with_every_error(root, identity):
    for code, fault in {
        -32600: b'{"jsonrpc":"1.0","id":%s,"method":"ping"}',
        -32601: b'{"jsonrpc":"2.0","id":%s,"method":"nope"}',
        -32602: b'{"jsonrpc":"2.0","id":%s,"method":"ping","params":{"x":1}}',
        -32001: b'{"jsonrpc":"2.0","id":%s,"method":"unregister","params":{"application":"nobody-here"}}',
    }.items():
        answer = root.exchange(fault % identity)
        assert b'"id":' + identity + b"," in answer, answer
        assert parse(answer)["error"]["code"] == code


@pytest.mark.parametrize("identity", BAD_IDS, ids=bytes.decode)
def test_id_of_another_kind_is_an_invalid_request(line, identity):
    assert_error(line(PING % identity), -32600, None, "invalid_request")


def test_the_id_may_stand_anywhere(root):
    assert parse(root.exchange(b'{"id":"z","method":"ping","jsonrpc":"2.0"}'))["id"] == "z"
    assert parse(root.exchange(b'{"method":"ping","jsonrpc":"1","id":"y"}'))["id"] == "y"


# The form of a request.


@pytest.mark.parametrize(
    "text",
    [
        '{"id":1,"method":"ping"}',
        '{"jsonrpc":"1.0","id":1,"method":"ping"}',
        '{"jsonrpc":"2.00","id":1,"method":"ping"}',
        '{"jsonrpc":2.0,"id":1,"method":"ping"}',
        '{"jsonrpc":null,"id":1,"method":"ping"}',
        '{"jsonrpc":"2.0","id":1}',
        '{"jsonrpc":"2.0","id":1,"method":1}',
        '{"jsonrpc":"2.0","id":1,"method":null}',
        '{"jsonrpc":"2.0","id":1,"method":["ping"]}',
        '{"jsonrpc":"2.0","id":1,"method":"ping","params":null}',
        '{"jsonrpc":"2.0","id":1,"method":"ping","params":1}',
        '{"jsonrpc":"2.0","id":1,"method":"ping","params":"x"}',
        '{"jsonrpc":"2.0","id":1,"method":"ping","params":true}',
        '{"jsonrpc":"2.0","id":1,"result":{}}',
    ],
)
def test_an_invalid_request_keeps_its_valid_id(line, text):
    assert_error(line(text.encode()), -32600, 1, "invalid_request")


@pytest.mark.parametrize("text", ["1", '"ping"', "null", "true", "{}", '{"foo":"boo"}', '{"jsonrpc":"2.0","method":1}'])
def test_what_is_no_request_is_answered_with_id_null(line, text):
    assert_error(line(text.encode()), -32600, None, "invalid_request")


def test_escapes_in_keys_and_values_are_the_characters(root):
    text = rb'{"json\u0072pc":"2\u002e0","\u0069d":5,"meth\u006fd":"p\u0069ng","p\u0061rams":{}}'
    assert root.exchange(text) == b'{"jsonrpc":"2.0","id":5,"result":{}}'


def test_other_members_are_ignored(root):
    text = b'{"uid":0,"jsonrpc":"2.0","ID":9,"auth":{"user":"root","x":[1,{"id":3}]},"id":5,"method":"ping","Params":1}'
    assert root.exchange(text) == b'{"jsonrpc":"2.0","id":5,"result":{}}'


def test_params_by_position_are_invalid_params(line):
    for method in ("ping", "register", "introspect", "list", "whoami", "status", "watch"):
        for params in ([], ["x"], [{}]):
            assert_error(line(request(method, params, 3)), -32602, 3, "invalid_params")


def test_params_left_out_are_as_good_as_empty(root):
    assert root.ask("ping")["result"] == root.ask("ping", {})["result"] == {}
    assert root.ask("whoami")["result"] == root.ask("whoami", {})["result"]


# Notifications.


def test_a_notification_is_never_answered(root):
    for text in (
        b'{"jsonrpc":"2.0","method":"ping"}',
        b'{"jsonrpc":"2.0","method":"nope"}',
        b'{"jsonrpc":"2.0","method":"ping","params":{"x":1}}',
        b'{"jsonrpc":"2.0","method":"ping","params":[]}',
        b'{"jsonrpc":"2.0","method":"unregister","params":{"application":"nobody-here"}}',
        b'{"jsonrpc":"2.0","method":"introspect","params":{"token":"x"}}',
    ):
        root.send(text + b"\n")
    settle(root)


def test_id_null_is_an_id_and_no_notification(root):
    assert root.exchange(PING % b"null") == b'{"jsonrpc":"2.0","id":null,"result":{}}'


def test_a_credential_method_as_a_notification_is_not_executed_but_logged(daemon):
    application, project = "a", "p"
    with daemon.connect() as root:
        root.send(request("register", {"application": application, "project_code": project}) + b"\n")
        settle(root)
        assert root.refusal("unregister", application=application)["code"] == -32001

        first = root.call("register", application=application, project_code=project)
        root.send(request("generate", {"application": application, "project_code": "other"}) + b"\n")
        root.send(request("rotate", {"application": application, "project_code": project}) + b"\n")
        batch = [request("rotate", {"application": application, "project_code": project})]
        root.send(b"[" + b",".join(batch) + b"]\n")
        settle(root)
        rows = root.call("list", application=application)["tokens"]
        assert [row["fingerprint"] for row in rows] == [shapes.fingerprint(first["registration_token"])]
    assert "notification" in daemon.log.read_text()


def test_other_mutations_as_notifications_are_executed(root, name):
    application, project = name(), name("p")
    token = root.call("register", application=application, project_code=project)["registration_token"]
    root.send(request("revoke", {"application": application, "project_code": project}) + b"\n")
    settle(root)
    assert not root.active(token)
    root.send(request("unregister", {"application": application}) + b"\n")
    assert root.refusal("generate", application=application, project_code=project)["code"] == -32001


# Batches.


def test_an_empty_batch_is_one_error(line):
    """A batch has 1 to 128 entries: none is as wrong as too many, and neither is answered as a batch."""
    for empty in (b"[]", b" [ ] "):
        assert_error(line(empty), -32600, None, "batch_too_large", max_batch=MAX_BATCH)


def test_a_batch_of_one_is_answered_as_a_batch(root):
    assert root.exchange(b"[" + PING % b"1" + b"]") == b'[{"jsonrpc":"2.0","id":1,"result":{}}]'


def test_a_mixed_batch(root, name):
    project = name("p")
    entries = [
        request("ping", None, "a"),
        b"1",
        request("ping"),
        b"[]",
        request("nope", None, "b"),
        b'{"jsonrpc":"2.0","id":{},"method":"ping"}',
        request("register", {"application": name(), "project_code": project}, None),
        request("ping", [1], 1.5),
        b"{}",
        request("list", {"project_code": project}, "c"),
    ]
    answers = root.answer(b"[" + b",".join(entries) + b"]")
    assert [(answer["id"], answer.get("error", {}).get("code")) for answer in answers] == [
        ("a", None), (None, -32600), (None, -32600), ("b", -32601), (None, -32600), (1.5, -32602), (None, -32600),
        ("c", None),
    ]  # fmt: skip
    assert answers[-1]["result"] == {"tokens": []}


def test_a_batch_of_notifications_has_no_answer(root):
    notification = request("ping")
    root.send(b"[" + b",".join([notification] * MAX_BATCH) + b"]\n")
    settle(root)


def test_nested_arrays_are_no_batches(root):
    answers = root.answer(b"[[" + PING % b"1" + b"],[[]]]")
    assert [answer["id"] for answer in answers] == [None, None]
    for answer in answers:
        assert_error(answer, -32600, None, "invalid_request")


@pytest.mark.parametrize("entry", [PING % b"7", b"1"], ids=["requests", "numbers"])
def test_128_entries_are_the_most(root, entry):
    answers = root.answer(b"[" + b",".join([entry] * MAX_BATCH) + b"]")
    assert len(answers) == MAX_BATCH
    assert_error(root.answer(b"[" + b",".join([entry] * (MAX_BATCH + 1)) + b"]"), -32600, None, "batch_too_large")


def test_of_a_batch_too_large_nothing_is_executed(root, name):
    application = name()
    entries = [request("register", {"application": application, "project_code": "p"}, 1)]
    entries += [request("ping", None, 2)] * MAX_BATCH
    assert_error(root.answer(b"[" + b",".join(entries) + b"]"), -32600, None, "batch_too_large")
    assert root.refusal("unregister", application=application)["code"] == -32001


def test_batch_entries_run_in_order_and_are_not_atomic(root, name):
    application, project = name(), name("p")
    here = {"application": application, "project_code": project}
    steps = ["generate", "register", "list", "register", "rotate", "revoke", "rotate", "generate", "list", "unregister"]
    entries = []
    for index, method in enumerate(steps):
        params = {"application": application} if method in ("unregister", "list") else here
        entries.append(request(method, params, index))
    answers = root.answer(b"[" + b",".join(entries) + b"]")
    assert [answer["id"] for answer in answers] == list(range(len(steps)))
    codes = [answer.get("error", {}).get("code") for answer in answers]
    assert codes == [-32001, None, None, -32002, None, None, -32003, None, None, None]
    print_of = {index: shapes.fingerprint(answers[index]["result"]["registration_token"]) for index in (1, 4, 7)}
    assert [row["fingerprint"] for row in answers[2]["result"]["tokens"]] == [print_of[1]]
    assert [row["fingerprint"] for row in answers[8]["result"]["tokens"]] == [print_of[7]]
    assert answers[5]["result"] == answers[9]["result"] == {"revoked": 1}


def test_watch_in_a_batch_is_an_invalid_request(root):
    answers = root.answer(b"[" + request("watch", None, 1) + b"," + request("ping", None, 2) + b"]")
    assert_error(answers[0], -32600, 1)
    check_form(answers[1], 2)
    settle(root)


# JSON-RPC 2.0, section 7, with our methods: "subtract" has become ping, for our params are objects only.


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ('{"jsonrpc": "2.0", "method": "ping", "params": {}, "id": 3}', {"id": 3, "result": {}}),
        ('{"jsonrpc": "2.0", "method": "ping", "params": [42, 23], "id": 1}', {"id": 1, "code": -32602}),
        ('{"jsonrpc": "2.0", "method": "update", "params": [1,2,3,4,5]}', None),
        ('{"jsonrpc": "2.0", "method": "foobar"}', None),
        ('{"jsonrpc": "2.0", "method": "foobar", "id": "1"}', {"id": "1", "code": -32601}),
        ('{"jsonrpc": "2.0", "method": "foobar, "params": "bar", "baz]', {"id": None, "code": -32700}),
        ('{"jsonrpc": "2.0", "method": 1, "params": "bar"}', {"id": None, "code": -32600}),
        (
            '[ {"jsonrpc": "2.0", "method": "sum", "params": [1,2,4], "id": "1"}, {"jsonrpc": "2.0", "method"]',
            {"id": None, "code": -32700},
        ),
        ("[]", {"id": None, "code": -32600}),
        ("[1]", [{"id": None, "code": -32600}]),
        ("[1,2,3]", [{"id": None, "code": -32600}] * 3),
        (
            '[ {"jsonrpc": "2.0", "method": "ping", "params": {}, "id": "1"},'
            ' {"jsonrpc": "2.0", "method": "notify_hello", "params": [7]},'
            ' {"jsonrpc": "2.0", "method": "ping", "params": [42,23], "id": "2"}, {"foo": "boo"},'
            ' {"jsonrpc": "2.0", "method": "foo.get", "params": {"name": "myself"}, "id": "5"},'
            ' {"jsonrpc": "2.0", "method": "ping", "id": "9"} ]',
            [
                {"id": "1", "result": {}},
                {"id": "2", "code": -32602},
                {"id": None, "code": -32600},
                {"id": "5", "code": -32601},
                {"id": "9", "result": {}},
            ],
        ),
        (
            '[ {"jsonrpc": "2.0", "method": "notify_sum", "params": [1,2,4]},'
            ' {"jsonrpc": "2.0", "method": "notify_hello", "params": [7]} ]',
            None,
        ),
    ],
)
def test_the_examples_of_the_specification(root, sent, expected):
    if expected is None:
        root.send(sent.encode() + b"\n")
        settle(root)
        return

    def essence(answer):
        check_form(answer, answer["id"])
        if "result" in answer:
            return {"id": answer["id"], "result": answer["result"]}
        return {"id": answer["id"], "code": answer["error"]["code"]}

    answer = root.answer(sent.encode())
    got = [essence(entry) for entry in answer] if isinstance(answer, list) else essence(answer)
    assert got == expected


# What is wrong is found in this order: line, JSON, duplicate keys, form, method, params, right, state.


@pytest.mark.parametrize(
    ("text", "code", "reason", "identity"),
    [
        ('{"id":1,"id":2,"method":', -32700, "parse_error", None),
        ('{"id":1,"id":2,"a":01}', -32700, "parse_error", None),
        ('{"jsonrpc":"1.0","id":1,"id":2,"method":"ping"}', -32600, "duplicate_key", None),
        ('{"jsonrpc":"2.0","id":1,"method":"nope","params":{"a":1,"a":2}}', -32600, "duplicate_key", None),
        ("[" + ",".join(["1"] * 129) + ',{"a":1,"a":2}]', -32600, "duplicate_key", None),
        ('[{"jsonrpc":"2.0","id":1,"method":"ping"},{"a":1,"a":2}]', -32600, "duplicate_key", None),
        ('{"jsonrpc":"1.0","id":1,"method":"nope","params":{"x":1}}', -32600, "invalid_request", 1),
        ('{"jsonrpc":"2.0","id":1,"method":"nope","params":null}', -32600, "invalid_request", 1),
        ('{"jsonrpc":"2.0","id":1,"method":"nope","params":{"x":1}}', -32601, "method_not_found", 1),
        ('{"jsonrpc":"2.0","id":1,"method":"nope","params":[1]}', -32601, "method_not_found", 1),
        ('{"jsonrpc":"2.0","id":1,"method":"reload","params":{"x":1}}', -32602, "invalid_params", 1),
        ('{"jsonrpc":"2.0","id":1,"method":"register","params":{"application":"other"}}', -32602, "invalid_params", 1),
        (
            '{"jsonrpc":"2.0","id":1,"method":"rotate","params":{"application":"no","project_code":"p","ttl_seconds":1}}',
            -32602, "invalid_params", 1,
        ),
        (
            '{"jsonrpc":"2.0","id":1,"method":"rotate","params":{"application":"none","project_code":"p"}}',
            -32005, "permission_denied", 1,
        ),
    ],
)  # fmt: skip
def test_the_first_fault_in_order_is_the_one_named(shared, text, code, reason, identity):
    with shared.connect(people.person(people.ALICE)) as alice:
        assert_error(alice.answer(text.encode()), code, identity, reason)
        settle(alice)


@pytest.mark.parametrize("method", ["", "Ping", "ping ", "pin", "pings", "rpc.discover", "regıster", "register\0"])
def test_an_unknown_method(root, method):
    sent = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method}).encode()
    assert_error(root.answer(sent), -32601, 1, "method_not_found")


# An answer line is at most 1 MiB.


def test_a_notification_in_a_full_batch_is_executed(root, name):
    """It needs no room in the answer."""
    application = name("long-") + "-" + "x" * 100
    root.call("register", application=application, project_code="p" * 128)
    fill = [request("generate", {"application": application, "project_code": f"{n:0>128}"}, n) for n in range(119)]
    root.pump(b"\n".join(fill) + b"\n", len(fill))
    entries = [request("list", {"application": application, "limit": 1000}, index) for index in range(40)]
    entries.append(request("revoke", {"application": application, "project_code": "p" * 128}))
    answers = parse(root.exchange(b"[" + b",".join(entries) + b"]"))
    assert answers[-1]["error"]["code"] == -32006, "it was not full"
    left = {row["project_code"] for row in root.call("list", application=application, limit=1000)["tokens"]}
    assert len(left) == len(fill) and "p" * 128 not in left


def test_entries_of_a_batch_past_one_mebibyte_are_busy_and_did_nothing(root, name):
    long = name("long-") + "-" + "x" * 100
    root.call("register", application=long, project_code="p" * 128)
    fill = [request("generate", {"application": long, "project_code": f"{n:0>128}"}, n) for n in range(119)]
    root.pump(b"\n".join(fill) + b"\n", len(fill))
    application = name()
    root.call("register", application=application, project_code="before")

    entries = []
    for index in range(MAX_BATCH):
        if index % 8 == 7:
            params = {"application": application, "project_code": f"made-{index}"}
            entries.append(request("generate", params, index))
        else:
            entries.append(request("list", {"application": long, "limit": 1000}, index))
    line = root.exchange(b"[" + b",".join(entries) + b"]")
    assert len(line) < MAX_ANSWER_BYTES
    answers = parse(line)
    assert [answer["id"] for answer in answers] == list(range(MAX_BATCH))
    for index, answer in enumerate(answers):
        check_form(answer, index)
    codes = [answer.get("error", {}).get("code") for answer in answers]
    assert set(codes) == {None, -32006}, codes
    assert codes[0] is None and codes[-1] == -32006
    for answer in answers:
        if "tokens" in answer.get("result", {}) and len(answer["result"]["tokens"]) < len(fill) + 1:
            assert "next_cursor" in answer["result"], "a page that ends early has a cursor"
    assert len(line) > MAX_ANSWER_BYTES // 2, "it gave up long before the bound"

    made = {row["project_code"] for row in root.call("list", application=application)["tokens"]}
    answered = {f"made-{index}" for index in range(7, MAX_BATCH, 8) if codes[index] is None}
    assert made == answered | {"before"}, "an entry that was answered with an error changed something"
