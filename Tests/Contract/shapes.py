"""What tokens, times and answers look like, computed apart from the daemon's own code."""

import datetime
import hashlib
import json
import re
import time
import zlib

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
PREFIX = "api_key|"
TTL_DEFAULT_SECONDS = 5_184_000
TTL_MINIMUM_SECONDS = 60
TTL_MAXIMUM_SECONDS = 31_536_000
GRACE_MAXIMUM_SECONDS = 86_400

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
UUID4 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
CREDENTIAL_KEYS = ["registration_id", "registration_token", "token_expiration", "token_type"]


def now_milliseconds():
    return time.time_ns() // 1_000_000


def milliseconds(text):
    """A time of the contract as milliseconds since the epoch."""
    assert TIME.fullmatch(text), f"{text!r} is no time of the contract"
    moment = datetime.datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=datetime.UTC)
    return int(moment.timestamp()) * 1000 + moment.microsecond // 1000


def time_text(value):
    """Milliseconds since the epoch as a time of the contract."""
    moment = datetime.datetime.fromtimestamp(value // 1000, datetime.UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{value % 1000:03d}Z"


def checksum(body):
    """CRC-32 (IEEE) of the 58 random characters as six base-62 digits."""
    value, digits = zlib.crc32(body.encode("ascii")), ""
    for _ in range(6):
        value, digit = divmod(value, 62)
        digits = ALPHABET[digit] + digits
    assert value == 0
    return digits


def well_formed(body):
    """A token that no daemon made, with a right checksum, from 58 characters."""
    assert len(body) == 58
    return PREFIX + body + checksum(body)


def fingerprint(token):
    return hashlib.sha256(token.encode("ascii")).hexdigest()[:16]


def check_token(token):
    assert token.startswith(PREFIX) and len(token) == len(PREFIX) + 64, token
    body, check = token[len(PREFIX) : -6], token[-6:]
    assert set(body + check) <= set(ALPHABET), token
    assert check == checksum(body), f"{token}: the checksum is to be {checksum(body)}"


def check_credentials(result, kept=False):
    """The seed's four fields in their order, and the fifth exactly where an old token was kept."""
    assert list(result) == CREDENTIAL_KEYS + (["previous_token_expiration"] if kept else []), list(result)
    assert UUID4.fullmatch(result["registration_id"]), result["registration_id"]
    check_token(result["registration_token"])
    assert TIME.fullmatch(result["token_expiration"])
    assert result["token_type"] == "Bearer"
    if kept:
        assert TIME.fullmatch(result["previous_token_expiration"])
    return result


def key_order(line, *path):
    """The keys of an object in an answer line, in the order of the bytes."""
    value = json.loads(line, object_pairs_hook=lambda pairs: pairs)
    for key in path:
        value = dict(value)[key]
    return [key for key, _ in value]
