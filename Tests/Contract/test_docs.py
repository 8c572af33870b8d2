"""docs/protocol.md and docs/protocol.schema.json against a real daemon: every example is run, every answer is validated."""

import copy
import json
import os
import re
import subprocess
import sys
from types import SimpleNamespace

import jsonschema
import pytest

import people
import shapes
import wire
from daemon import ROOT, Daemon
from test_methods import METHODS

PAGE = (ROOT / "docs/protocol.md").read_text()
SCHEMA = json.loads((ROOT / "docs/protocol.schema.json").read_text())

# A marker, then the fenced block right after it.
BLOCK = re.compile(r"^<!-- (run|replay)(?:(?:: | with )(.*?))? -->\n```\w*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINE = re.compile(r"(?:(\w+) )?(-->|<--) (.*)")
PLACEHOLDER = re.compile(r'"?<(uuid|token|time|fingerprint|integer|string|object|any)(?::(\w+))?>"?')
# Who speaks in the examples.
SPEAKERS = {None: "root", "alice": people.ALICE, "bob": people.BOB, "verifier": people.VERIFIER}

KINDS = {
    "uuid": lambda value: isinstance(value, str) and shapes.UUID4.fullmatch(value),
    "token": lambda value: isinstance(value, str) and shapes.check_token(value) is None,
    "time": lambda value: isinstance(value, str) and shapes.TIME.fullmatch(value),
    "fingerprint": lambda value: isinstance(value, str) and re.fullmatch("[0-9a-f]{16}", value),
    "integer": lambda value: type(value) is int and value >= 0,
    "string": lambda value: isinstance(value, str) and value,
    "object": lambda value: isinstance(value, Members),
    "any": lambda value: True,
}


class Members(list):
    """An object's members in their order."""


def ordered(text):
    return json.loads(text, object_pairs_hook=Members, parse_float=lambda digits: ("number", digits))


def blocks(kind, what=None):
    found = [(argument, text) for name, argument, text in BLOCK.findall(PAGE) if name == kind]
    return [(argument, text) for argument, text in found if what is None or argument == what]


def of_people(text):
    """The examples' people as the users of this machine."""
    return re.sub(r'"(alice|bob)"', lambda match: json.dumps(SPEAKERS[match[1]]), text)


class Comparison:
    """Compares answers with the page's, and remembers what the named placeholders stood for."""

    def __init__(self):
        self.bound = {}

    def fill(self, text):
        """A line to send, with the values of its placeholders."""

        def value(match):
            assert match[2] and match.groups() in self.bound, f"nothing came yet for {match[0]}"
            return json.dumps(self.bound[match.groups()])

        return PLACEHOLDER.sub(value, of_people(text))

    def compare(self, expected, line):
        quoted = PLACEHOLDER.sub(lambda match: json.dumps(match[0].strip('"')), of_people(expected))
        self._compare(ordered(quoted), ordered(line), "$")

    def _compare(self, expected, actual, place):
        match = PLACEHOLDER.fullmatch(expected) if isinstance(expected, str) else None
        if match:
            assert KINDS[match[1]](actual), f"{place}: {actual!r} is no {match[1]}"
            if match[2]:
                assert self.bound.setdefault(match.groups(), actual) == actual, f"{place}: another {match[0]}: {actual!r}"
        elif isinstance(expected, Members):
            assert isinstance(actual, Members), f"{place}: {actual!r} is no object"
            assert [key for key, _ in actual] == [key for key, _ in expected], f"{place}: other members: {actual!r}"
            for (key, wanted), (_, got) in zip(expected, actual):
                self._compare(wanted, got, f"{place}.{key}")
        elif isinstance(expected, list):
            assert isinstance(actual, list) and len(actual) == len(expected), f"{place}: {actual!r}"
            for index, (wanted, got) in enumerate(zip(expected, actual)):
                self._compare(wanted, got, f"{place}[{index}]")
        else:
            assert type(actual) is type(expected) and actual == expected, f"{place}: {actual!r} instead of {expected!r}"


def replay(daemon, text, comparison, record):
    """Runs one block; every connection of it is its own."""
    connections = {}
    try:
        for number, line in enumerate(text.splitlines(), 1):
            parts = LINE.fullmatch(line)
            assert parts, f"neither sent nor received: {line}"
            speaker, arrow, message = parts.groups()
            if speaker not in connections:
                connections[speaker] = daemon.connect(people.person(SPEAKERS[speaker]))
            if arrow == "-->":
                sent = comparison.fill(message)
                connections[speaker].send(sent.encode() + b"\n")
                record.sent.append(sent)
            else:
                received = connections[speaker].read_line()
                assert received is not None, f"closed instead of: {line}"
                try:
                    comparison.compare(message, received)
                except AssertionError as difference:
                    raise AssertionError(f"line {number} of the block: {difference}\nthe page: {message}\n"
                                         f"the daemon: {received.decode()}") from None  # fmt: skip
                record.received.append((sent if "method\":\"event" not in message else None, wire.parse(received)))
    finally:
        for connection in connections.values():
            connection.close()


@pytest.fixture(scope="module")
def record():
    """All that the page's examples sent and received, each line compared with the page."""
    record = SimpleNamespace(sent=[], received=[])
    comparison = Comparison()
    daemon = Daemon().start()
    try:
        for argument, text in blocks("replay"):
            if argument:
                other = Daemon(config=argument + "\n").start()
                try:
                    replay(other, text, Comparison(), record)
                finally:
                    other.discard()
            else:
                replay(daemon, text, comparison, record)
    finally:
        daemon.discard()
    return record


def test_every_example_is_what_the_daemon_says(record):
    assert len(record.sent) > 40


def test_every_block_of_messages_is_replayed():
    """A block without its marker would be an example that nobody runs."""
    fenced = re.findall(r"^```\w*\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    marked = [text for _, _, text in BLOCK.findall(PAGE)]
    assert fenced == marked


def test_the_comparison_can_fail():
    page = '{"a":<integer:n>,"b":["<uuid>",{"c":"<string>"}],"d":1.50}'
    good = '{"a":1,"b":["dfa45616-e9f9-45be-881e-a1ed8ae70224",{"c":"x"}],"d":1.50}'
    Comparison().compare(page, good)
    for old, new in [
        ('"a":1', '"a":"1"'), ('"a":1', '"a":true'), ('"c":"x"', '"c":""'), ('"c":"x"', '"c":"x","e":1'), ("1.50", "1.5"),
        ("-45be-", "-55be-"), ('{"a":1,', "{"), ('"c"', '"C"'), (',{"c":"x"}', ""),
    ]:  # fmt: skip
        with pytest.raises(AssertionError):
            Comparison().compare(page, good.replace(old, new))
    bound = Comparison()
    bound.compare("<integer:n>", "1")
    with pytest.raises(AssertionError):
        bound.compare("<integer:n>", "2")


# The programs of the page.


def run(arguments, daemon, script=""):
    environment = {**os.environ, "SCAEM_TOKEND_SOCKET": str(daemon.socket)}
    done = subprocess.run(arguments, input=script, env=environment, capture_output=True, text=True, timeout=60)
    wire.seen_token_bodies.update(wire.TOKEN_IN_BYTES.findall(done.stdout.encode()))
    assert done.returncode == 0 and not done.stderr, done.stderr
    return done.stdout


def test_the_shell_example(daemon, tmp_path):
    ((_, text),) = blocks("run", "shell")
    script = tmp_path / "example.sh"
    script.write_text(text)
    answers = [wire.parse(line.encode()) for line in run(["sh", "-eu", str(script)], daemon).splitlines()]
    for number, (answer, method) in enumerate(zip(answers, ["whoami", "register", "list", "unregister"], strict=True), 1):
        wire.check_form(answer, number)
        validate(f"{method}.result", answer["result"])


def test_the_python_example(daemon):
    ((_, text),) = blocks("run", "python")
    with daemon.connect() as root:
        for _ in ("it registers", "it rotates"):
            assert run([sys.executable, "-"], daemon, text) == "True\n"
        root.call("unregister")
        root.call("register", project_code="another")
        assert run([sys.executable, "-"], daemon, text) == "True\n", "it generates"
        assert len(root.call("list")["tokens"]) == 2


# Nothing is missing.


def test_every_method_is_described_and_shown(record):
    headings = re.findall(r"^### (\w+)$", PAGE, re.MULTILINE)
    rows = re.findall(r"^\| \[`(\w+)`\]\(#\1\) \|", PAGE, re.MULTILINE)
    assert headings == rows == METHODS
    assert {name.removesuffix(".result") for name in SCHEMA["$defs"] if name.endswith(".result")} == set(METHODS)
    assert {name.removesuffix(".params") for name in SCHEMA["$defs"] if name.endswith(".params")} == set(METHODS)
    assert {method for method, _ in results(record)} == set(METHODS)


def test_every_error_is_described():
    rows = re.findall(r"^\| (-\d+) \| `(\w+)` \|", PAGE, re.MULTILINE)
    told = {(int(code), reason) for code, reason in rows}
    assert len(rows) == len(told)
    assert told == {(code, reason) for code, reasons in wire.REASONS.items() for reason in reasons}
    schemas = [SCHEMA["$defs"][name]["properties"] for name in SCHEMA["$defs"] if name.startswith("error.")]
    assert told == {(schema["code"]["const"], schema["data"]["properties"]["reason"]["const"]) for schema in schemas}
    assert len(SCHEMA["$defs"]["error"]["oneOf"]) == len(told)


# What no line of an example can bring about.
NOT_SHOWN = {"line_too_long", "internal_error", "busy", "storage_unavailable", "shutting_down",
             "invalid_configuration"}  # fmt: skip


def test_every_error_is_shown_that_a_line_can_bring_about(record):
    shown = {answer["error"]["data"]["reason"] for answer in answers(record) if "error" in answer}
    assert shown | NOT_SHOWN == set().union(*wire.REASONS.values()) and not shown & NOT_SHOWN


@pytest.mark.parametrize(
    "number",
    [wire.MAX_LINE_BYTES, wire.MAX_ANSWER_BYTES, shapes.TTL_MAXIMUM_SECONDS, shapes.TTL_DEFAULT_SECONDS,
     shapes.GRACE_MAXIMUM_SECONDS, wire.MAX_BATCH, wire.MAX_DEPTH, shapes.TTL_MINIMUM_SECONDS, 10_000, 1_000],
)  # fmt: skip
def test_every_bound_is_told(number):
    assert re.search(rf"(?<![\d,]){number:,}(?!,?\d)", PAGE)


# The schema.


def strict(schema):
    """Like the published one, but no answer may have a member that it does not tell."""
    schema = copy.deepcopy(schema)

    def close(node):
        if isinstance(node, dict):
            if "properties" in node:
                node.setdefault("additionalProperties", False)
            for value in node.values():
                close(value)
        elif isinstance(node, list):
            for value in node:
                close(value)

    for name, definition in schema["$defs"].items():
        if name != "request":
            close(definition)
    return schema


STRICT = strict(SCHEMA)


def errors_of(name, value, schema=STRICT):
    whole = {"$schema": schema["$schema"], "$ref": f"#/$defs/{name}", "$defs": schema["$defs"]}
    return [error.message for error in jsonschema.Draft202012Validator(whole).iter_errors(value)]


def validate(name, value):
    assert not errors_of(name, value), (name, value)


def answers(record):
    for _, received in record.received:
        yield from (answer for answer in (received if isinstance(received, list) else [received]) if "id" in answer)


def results(record):
    """Method and result of each request that was sent alone and succeeded."""
    for sent, received in record.received:
        if sent and isinstance(received, dict) and "result" in received:
            yield json.loads(sent)["method"], received["result"]


def test_the_schema_is_one():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.Draft202012Validator.check_schema(STRICT)


def test_every_message_fits_the_schema(record):
    whole = jsonschema.Draft202012Validator(SCHEMA)
    for sent, received in record.received:
        assert whole.is_valid(received), received
        if isinstance(received, dict):
            validate("answer" if "id" in received else "notification", received)
            if sent and "result" in received:
                assert whole.is_valid(json.loads(sent)), sent
    for method, result in results(record):
        validate(f"{method}.result", result)


def test_an_administrator_s_answers_fit_the_schema(daemon):
    with daemon.connect() as root:
        for method in ("whoami", "status", "list"):
            validate(f"{method}.result", root.call(method))


BAD_PARAMS = [
    ("register", {}), ("register", {"project_code": "p", "ttl": 60}), ("register", {"project_code": ""}),
    ("generate", {"project_code": "a b"}), ("generate", {"project_code": "p", "ttl_seconds": "60"}),
    ("rotate", {"project_code": "p", "grace_seconds": -1}), ("rotate", {"project_code": "p", "application": None}),
    ("introspect", {}), ("introspect", {"token": 1}), ("revoke", {}), ("revoke", {"token": "x", "project_code": "p"}),
    ("revoke", {"application": "a"}), ("unregister", {"project_code": "p"}), ("list", {"limit": 0}),
    ("list", {"limit": 1001}), ("list", {"expires_before": "2025-05-24"}), ("watch", {"since": -1}),
    ("whoami", {"x": 1}), ("status", {"x": 1}), ("reload", {"x": 1}), ("ping", {"x": 1}),
]  # fmt: skip


@pytest.mark.parametrize("method, params", BAD_PARAMS, ids=lambda value: json.dumps(value))
def test_schema_and_daemon_refuse_the_same_params(root, method, params):
    assert errors_of(f"{method}.params", params)
    error = root.refusal(method, params)
    assert error["code"] == -32602, error
    validate("error", error)


def test_errors_of_the_transport_fit_the_schema(make_daemon):
    daemon = make_daemon(config="limits.connections_per_user = 1\n").start()
    alice = people.person(people.ALICE)
    with daemon.connect() as root, daemon.connect(alice) as first:
        first.call("ping")
        with daemon.connect(alice) as second:
            validate("error.busy", wire.parse(second.read_line())["error"])
            second.assert_closed()
        daemon.allow_logged_errors()
        daemon.configure("tokens.per_owner = 0\nx = 1\n")
        error = root.refusal("reload")
        validate("error.invalid_configuration", error)
        starts = [f"{daemon.config}:1: tokens.per_owner: ", f"{daemon.config}:2: x: "]
        assert len(error["data"]["errors"]) == 2
        assert all(line.startswith(start) for line, start in zip(error["data"]["errors"], starts)), error
        batch = b"[" + b",".join([wire.request("ping", None, 1)] * (wire.MAX_BATCH + 1)) + b"]"
        validate("error.batch_too_large", root.answer(batch)["error"])
        root.send(b" " * wire.MAX_LINE_BYTES)
        validate("error.line_too_long", wire.parse(root.read_line())["error"])
        root.assert_closed()


# The threat model.


def test_every_attack_names_tests_that_are_there():
    page = (ROOT / "docs" / "threat-model.md").read_text()
    tests = "\n".join(path.read_text() for path in (ROOT / "Tests").rglob("*") if path.suffix in (".py", ".swift"))
    rows = [line.strip("|").split(" | ") for line in page.splitlines() if line.startswith("| ") and line.count(" | ") == 2]
    attacks = [row for row in rows if "`" in row[2]]
    assert len(attacks) > 25
    for row in attacks:
        for name in re.findall(r"`([^`]+)`", row[2]):
            if "." in name:
                assert any((ROOT / "Tests").rglob(name)), f"{name} is not a file of tests"
            else:
                assert re.search(rf"\b(?:def|func) {name}\b", tests), f"{name} is not a test"
