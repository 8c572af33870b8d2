"""JSON as RFC 8259 has it, over the socket: what is accepted, what is refused, and the same against Python's reader."""

import json
import sys

import pytest

from wire import MAX_DEPTH, MAX_LINE_BYTES, assert_error, parse, request

ACCEPTED = [
    b"0", b"-0", b"1", b"-1", b"10", b"0.0", b"-0.0", b"1.5", b"1e1", b"1E1", b"1e+1", b"1e-1", b"0e0", b"0.10e+007",
    b"1e999999", b"-1e-999999", b"123456789" * 200, b"true", b"false", b"null", b'""', b'" "', b'"\x7f"', b'"/"',
    b'"\\/"', b'"\\""', b'"\\\\"', b'"\\b\\f\\n\\r\\t"', b'"\\u0000"', b'"\\u001f"', b'"\\u00e9\\u00E9"', b'"\\uffff"',
    b'"\\ud800\\udc00"', b'"\\uDBFF\\uDFFF"', b'"\\\\ud800"', b'"\xc2\x80"', b'"\xdf\xbf"', b'"\xe0\xa0\x80"',
    b'"\xed\x9f\xbf"', b'"\xee\x80\x80"', b'"\xef\xbf\xbf"', b'"\xef\xbb\xbf"', b'"\xf0\x90\x80\x80"',
    b'"\xf4\x8f\xbf\xbf"', b"[]", b"{}", b"[ ]", b"{ }", b"[[]]", b"[1,2]", b'{"":0}', b'{"a":{"a":1}}',
    b'[{"a":1},{"a":2}]', b'{"a":1,"A":2}', b'{"a":1,"\\u0061b":2}', b'\t[\r1 ,\t2 ] ', b'{"\\u0000":1,"\\u0000a":2}',
    '{"é":1,"e\u0301":2}'.encode(), b'{"__proto__":1,"constructor":2}',
]  # fmt: skip

REFUSED = [
    b"01", b"-01", b"00", b"-", b"+1", b".5", b"-.5", b"1.", b"1.e1", b"1e", b"1e+", b"1E-", b"0x10", b"1_000", b"1 2",
    b"1a", b"NaN", b"Infinity", b"-Infinity", b"nan", b"True", b"TRUE", b"nul", b"nulll", b"tru", b"undefined", b"'a'",
    b'"', b'"a', b'a"', b'"\\"', b'"\\a"', b'"\\x41"', b'"\\u"', b'"\\u12"', b'"\\u12g4"', b'"\\u+123"', b'"\\U0041"',
    b'"\\ud800"', b'"\\udc00"', b'"\\ud800\\ud800"', b'"\\udc00\\ud800"', b'"\\ud800a"', b'"\\ud800\\u0041"',
    b'"\\ud800\\n"', b'"\\uD834"', b'{"\\ud800":1}', b'"\x00"', b'"\x01"', b'"\x1f"', b'"\t"', b'"a\rb"', b'"\x80"',
    b'"\xff"', b'"\xc0\x80"', b'"\xc1\xbf"', b'"\xc2"', b'"\xc2\x20"', b'"\xe0\x80\x80"', b'"\xe0\x9f\xbf"',
    b'"\xed\xa0\x80"', b'"\xed\xbf\xbf"', b'"\xe2\x82"', b'"\xf0\x80\x80\x80"', b'"\xf0\x8f\xbf\xbf"',
    b'"\xf4\x90\x80\x80"', b'"\xf5\x80\x80\x80"', b'"\xf8\x88\x80\x80\x80"', b'"\xfe"', b"[", b"]", b"[1", b"[1,",
    b"[1,]", b"[,1]", b"[,]", b"[1,,2]", b"[1 2]", b"[1}", b"[1]]", b"[]]", b"{", b"}", b'{"a"}', b'{"a":}',
    b'{"a":1,}', b"{,}", b'{"a":1 "b":2}', b"{a:1}", b"{'a':1}", b"{1:1}", b'{"a"::1}', b'{"a":1]', b'{"a":1}}',
    b'{"a":1}{"b":2}', b'{"a":1}x', b'{null:1}', b'{"a" 1}', b"[1]\x00", b"\x00", b"\x0c1", b"\xa0", b"\x0b[]",
    b"\xc2\xa0[]", b"[]\xe2\x80\xa8", b"/**/1", b"1//", b"#1", b"[1]/*x*/", b"\xef\xbb\xbf[]", b"\xef\xbb\xbf",
    b"\xff\xfe[\x00]\x00", b"\\u005b]", b"*", b"$", b"\x1a",
]  # fmt: skip

REQUEST = b'{"x":%s,"jsonrpc":"2.0","id":1,"method":"ping"}'
PONG = b'{"jsonrpc":"2.0","id":1,"result":{}}'


@pytest.mark.parametrize("text", ACCEPTED, ids=lambda text: repr(text[:30]))
def test_what_is_json_is_accepted(root, text):
    assert root.exchange(REQUEST % text) == PONG
    # The whole line: no request, or a batch of none, but JSON.
    answer = root.answer(text)
    reason = "batch_too_large" if json.loads(text) == [] else "invalid_request"
    for entry in answer if isinstance(answer, list) else [answer]:
        assert_error(entry, -32600, None, reason)


@pytest.mark.parametrize("text", REFUSED, ids=lambda text: repr(text[:30]))
def test_what_is_not_json_is_a_parse_error(root, text):
    assert_error(root.answer(text), -32700, None, "parse_error")
    assert_error(root.answer(REQUEST % text), -32700, None, "parse_error")
    assert root.exchange(REQUEST % b"1") == PONG


@pytest.mark.parametrize(("opening", "inner", "closing"), [(b"[", b"", b"]"), (b'{"a":', b"1", b"}")], ids=["[", "{"])
def test_32_levels_are_the_most(root, opening, inner, closing):
    def nested(levels):
        return opening * levels + inner + closing * levels

    answer = root.answer(nested(MAX_DEPTH))
    assert_error(answer[0] if isinstance(answer, list) else answer, -32600)
    assert_error(root.answer(nested(MAX_DEPTH + 1)), -32700, None, "parse_error")
    assert root.exchange(REQUEST % nested(MAX_DEPTH - 1)) == PONG
    assert_error(root.answer(REQUEST % nested(MAX_DEPTH)), -32700, None, "parse_error")
    # The levels of siblings do not add up.
    assert root.exchange(REQUEST % (b"[" + b",".join([nested(MAX_DEPTH - 2)] * 50) + b"]")) == PONG
    assert_error(root.answer(opening * 10_000), -32700, None, "parse_error")


@pytest.mark.parametrize(
    "text",
    [
        b'{"jsonrpc":"2.0","id":1,"method":"ping","id":1}',
        b'{"jsonrpc":"2.0","id":1,"method":"ping","\\u0069d":1}',
        b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":1,"a":1}}',
        b'{"jsonrpc":"2.0","id":1,"method":"ping","x":{"y":[{"":1,"":2}]}}',
        b'{"jsonrpc":"2.0","id":1,"method":"ping","\xf0\x9f\x98\x80":1,"\\ud83d\\ude00":2}',
        b'{"jsonrpc":"2.0","id":1,"method":"ping","/":1,"\\/":2}',
        b'{"jsonrpc":"2.0","id":1,"method":"ping","x":{"\\u0000":1,"b":2,"\\u0000":3}}',
        b'[{"jsonrpc":"2.0","id":1,"method":"ping"},{"a":1,"a":2}]',
    ],
    ids=bytes.decode,
)
def test_a_duplicate_key_anywhere_is_one_refusal(root, text):
    assert_error(root.answer(text), -32600, None, "duplicate_key")
    assert root.exchange(REQUEST % b"1") == PONG


def test_a_line_full_of_keys_is_looked_through_quickly(root):
    keys = b",".join(b'"%x":1' % number for number in range(7_000))
    assert root.exchange(REQUEST % (b"{" + keys + b"}")) == PONG
    assert_error(root.answer(REQUEST % (b"{" + keys + b',"0":1}')), -32600, None, "duplicate_key")
    same_length = b",".join(b'"%05d":1' % number for number in range(6_000))
    assert root.exchange(REQUEST % (b"{" + same_length + b"}")) == PONG


def test_nul_in_a_string_is_legal_and_kept_apart(root):
    answer = root.answer(request("list", {"application": "a\0b"}, 1))
    assert_error(answer, -32602, 1, param="application")
    assert root.exchange(b'{"jsonrpc":"2.0","id":"\\u0000","method":"ping"}') == (
        b'{"jsonrpc":"2.0","id":"\\u0000","result":{}}'
    )


# Against Python's own reader, on texts that are nearly JSON.

FRAGMENTS = [
    b"{", b"}", b"[", b"]", b",", b":", b'"', b"\\", b"\\u", b"\\ud83d", b"\\ude00", b"\\u0061", b"0", b"-", b"1",
    b".", b"e", b"E+", b"true", b"false", b"null", b"NaN", b"Infinity", b" ", b"\t", b"\r", b"\x00", b"\x1f", b"\x7f",
    b"\xc3\xa9", b"\xc3", b"\xed\xa0\x80", b"\xf0\x9f\x98\x80", b"\xef\xbb\xbf", b'"a":', b'"id":7', b'"a"', b"[[[[",
    b"{}", b"[]", b'"\\n"', b"1e5", b"-0.5", b'"method":"ping"', b"\x0c", b"//",
]  # fmt: skip


def random_value(random, depth=0):
    kind = random.randrange(9 if depth < 5 else 6)
    if kind == 0:
        return random.choice([True, False, None])
    if kind in (1, 2):
        return random.choice([0, -1, 7, 10**20, 0.5, -1.5e-7, 1e300])
    if kind < 6:
        return "".join(random.choice('ab"\\/\n\té😀\0\x7f') for _ in range(random.randrange(6)))
    if kind == 6:
        return [random_value(random, depth + 1) for _ in range(random.randrange(4))]
    return {f"k{random.randrange(40)}": random_value(random, depth + 1) for _ in range(random.randrange(5))}


def mutated(random):
    value = {"jsonrpc": "2.0", "id": random_value(random, 4), "method": "ping", "x": random_value(random)}
    text = bytearray(json.dumps(value, ensure_ascii=random.random() < 0.5).encode())
    if random.random() < 0.15:
        # A key that is there already, in one of the objects, plain or escaped.
        places = [at for at, byte in enumerate(text) if byte == ord("{")]
        at = random.choice(places) + 1
        text[at:at] = random.choice([b'"method":1,', b'"i\\u0064":1,', b'"k1":1,"k1":2,', b'"":0,"x":[{"":0,"":1}],'])
    for _ in range(random.choice([0, 0, 1, 1, 2, 3])):
        at = random.randrange(len(text) + 1)
        if random.random() < 0.4:
            text[at:at] = random.choice(FRAGMENTS)
        elif random.random() < 0.5:
            del text[at : at + random.randrange(1, 4)]
        elif at < len(text):
            text[at] = random.randrange(256)
    return bytes(text).replace(b"\n", b" ")


def verdict(text):
    """What the contract says of a text, by Python's reader and the known differences; "ignored" for white space."""
    if not text.strip(b" \t\r"):
        return "ignored"
    duplicates = []

    def look(pairs):
        keys = [key for key, _ in pairs]
        if len(set(keys)) < len(keys):
            duplicates.append(keys)
        return dict(pairs)

    def refuse(constant):
        raise ValueError(constant)

    try:
        decoded = text.decode("utf-8")
        # Python takes halves of surrogate pairs; each of them shows as a surrogate after reading.
        keyed = json.loads(decoded, object_pairs_hook=lambda pairs: pairs, parse_constant=refuse)
        if any(0xD800 <= ord(letter) < 0xE000 for letter in flat(keyed)):
            return "parse_error"
        json.loads(decoded, object_pairs_hook=look)
    except (ValueError, RecursionError):
        return "parse_error"
    if depth_of(decoded) > MAX_DEPTH:
        return "parse_error"
    return "duplicate_key" if duplicates else "fine"


def flat(value):
    """Every string of a value that was read with its objects as lists of pairs."""
    if isinstance(value, str):
        return value
    if isinstance(value, (list, tuple)):
        return "".join(flat(entry) for entry in value)
    return ""


def depth_of(text):
    depth = deepest = 0
    within = escaped = False
    for letter in text:
        if within:
            escaped, within = (letter == "\\" and not escaped), (letter != '"' or escaped)
        elif letter == '"':
            within = True
        elif letter in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif letter in "]}":
            depth -= 1
    return deepest


def test_the_same_verdicts_as_python(root, seeded):
    sys.set_int_max_str_digits(0)
    counts = {}
    for _ in range(20):
        texts = [text for text in (mutated(seeded) for _ in range(250)) if len(text) < MAX_LINE_BYTES]
        data = b"".join(text + b"\n" + request("ping", None, f"after-{n}") + b"\n" for n, text in enumerate(texts))
        root.send(data)
        for number, text in enumerate(texts):
            expected = verdict(text)
            counts[expected] = counts.get(expected, 0) + 1
            got = "fine"
            while not (line := root.read_line()).startswith(b'{"jsonrpc":"2.0","id":"after-%d"' % number):
                answer = parse(line)
                if isinstance(answer, dict) and "error" in answer:
                    got = answer["error"]["data"]["reason"]
            if expected == "ignored":
                expected = "fine"
            if got not in ("parse_error", "duplicate_key"):
                got = "fine"
            assert got == expected, f"{text!r}: the daemon says {got}, the contract {expected}"
    assert min(counts[kind] for kind in ("fine", "parse_error", "duplicate_key")) > 20, counts


def test_the_judge_itself():
    """The differential test is worth as much as its judge: the tables above pass through it."""
    sys.set_int_max_str_digits(0)
    wrong = [text for text in ACCEPTED if verdict(text) != "fine"]
    wrong += [text for text in REFUSED if verdict(text) != "parse_error"]
    assert not wrong, wrong
