"""
Policies: what they may say, and which forms they allow.
"""

from __future__ import annotations

import base64
import json
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3proxy.postobject.policy import SizeRange, parse_policy
from s3proxy.s3.errors import AccessDenied, InvalidPolicyDocument
from tests.support.forms import policy
from tests.support.harness import NOW


def encode(document: Any) -> bytes:
    """
    A policy with any content.
    """
    text = document if isinstance(document, str) else json.dumps(document)
    return base64.b64encode(text.encode())


def verdict(conditions: list[Any], **fields: str) -> str:
    """
    Return why a policy refuses fields; empty if it does not.
    """
    try:
        named = {name.replace("_", "-").encode(): value.encode() for name, value in fields.items()}
        parse_policy(policy(conditions).encode()).check(named, NOW)
    except AccessDenied as error:
        return error.message.removeprefix("Invalid according to Policy: ")
    return ""


@pytest.mark.parametrize(
    ("conditions", "fields", "why"),
    [
        ([{"key": "a"}], {"key": "a"}, ""),
        ([{"KEY": "a"}], {"key": "a"}, ""),
        ([["eq", "$Key", "a"]], {"key": "a"}, ""),
        ([["EQ", "$key", "a"]], {"key": "a"}, ""),
        ([["starts-with", "$key", ""]], {"key": "anything"}, ""),
        ([["starts-with", "$key", "a"], ["eq", "$key", "ab"]], {"key": "ab"}, ""),
        ([["starts-with", "$content-type", "text/"]], {"content-type": "text/a, text/b"}, ""),
        ([{"key": "é"}], {"key": "é"}, ""),
        ([], {"x-ignore-me": "x"}, ""),
        ([], {"key": "a"}, "Extra input fields: key"),
        ([{"key": "a"}], {"key": "A"}, 'Policy Condition failed: ["eq", "$key", "a"]'),
        ([{"key": "a"}], {"key": "ab"}, 'Policy Condition failed: ["eq", "$key", "a"]'),
        ([["eq", "$key", "a"]], {"key": "ab"}, 'Policy Condition failed: ["eq", "$key", "a"]'),
        ([{"acl": "a"}], {}, 'Policy Condition failed: ["eq", "$acl", "a"]'),
        ([["starts-with", "$key", "b/"]], {"key": "a"}, 'Policy Condition failed: ["starts-with", "$key", "b/"]'),
        ([["eq", "key", "a"]], {"key": "a"}, 'Policy Condition failed: ["eq", "key", "a"]'),
        (
            [["starts-with", "$content-type", "text/"]],
            {"content-type": "text/a, image/b"},
            'Policy Condition failed: ["starts-with", "$content-type", "text/"]',
        ),
    ],
)
def test_conditions(conditions: list[Any], fields: dict[str, str], why: str) -> None:
    """
    Each condition must hold, and each field must be covered by one.
    """
    assert verdict(conditions, **fields) == why


def test_a_condition_is_repeated_in_one_form() -> None:
    """
    The form does not depend on its signer: S3 has a space after each comma, and clients like minio-go look for it.
    """
    text = '{"conditions" : [ {"key":"a"} ,["eq","$acl",  "b"] ], "expiration":"2030-01-01T00:00:00Z"}'

    with pytest.raises(AccessDenied) as raised:
        parse_policy(encode(text)).check({b"key": b"a", b"acl": b"c"}, NOW)

    assert raised.value.message.endswith('failed: ["eq", "$acl", "b"]')


@pytest.mark.parametrize(("passed", "holds"), [(-1, True), (0, True), (1, False)])
def test_the_end(passed: int, holds: bool) -> None:
    """
    A policy is valid up to its last second.
    """
    read = parse_policy(policy([], NOW).encode())
    now = NOW + timedelta(seconds=passed)
    if holds:
        read.check({}, now)
        return

    with pytest.raises(AccessDenied, match="AccessDenied") as raised:
        read.check({}, now)

    assert raised.value.message == "Invalid according to Policy: Policy expired."


@pytest.mark.parametrize(
    ("document", "why"),
    [
        ("", "Expecting '{' but found End-of-Input"),
        ("{", "Invalid JSON."),
        ("[" * 9000, "Invalid JSON."),
        ("[]", "Invalid JSON."),
        ({"conditions": []}, "Policy missing expiration."),
        ({"expiration": "2030-01-01T00:00:00Z"}, "Policy missing conditions."),
        ({"Expiration": "2030-01-01T00:00:00Z", "conditions": []}, "Unexpected: 'Expiration'"),
        ({"expiration": 5, "conditions": []}, "Invalid JSON."),
        ({"expiration": "tomorrow", "conditions": []}, "Invalid 'expiration' value: 'tomorrow'"),
        (
            {"expiration": "2030-02-30T00:00:00Z", "conditions": []},
            "Invalid 'expiration' value: '2030-02-30T00:00:00Z'",
        ),
        ({"expiration": "2030-01-01T00:00:00Z", "conditions": {}}, "Invalid 'conditions' value: must be a List."),
        (
            [{"a": "b", "c": "d"}],
            "Invalid Simple-Condition: Simple-Conditions must have exactly one property specified.",
        ),
        ([{"a": 5}], "Invalid Simple-Condition: value must be a string."),
        ([True], "Invalid condition test: must be a List or Object."),
        ([[]], "Invalid Condition: missing operation identifier."),
        ([["in", "$a", "b"]], "Invalid Condition: unknown operation 'in'."),
        ([["eq", "$a"]], "Invalid eq: wrong number of arguments."),
        ([["eq", 1, "b"]], "Invalid JSON."),
        ([["content-length-range", 1]], "Invalid content-length-range: wrong number of arguments."),
        ([["content-length-range", 1, True]], "Invalid JSON."),
        ([["content-length-range", -1, 5]], "Invalid JSON."),
        ([["content-length-range", 1, "x"]], "Invalid JSON."),
    ],
)
def test_what_is_no_policy(document: Any, why: str) -> None:
    """
    It is refused with S3's own message.
    """
    raw = policy(document).encode() if isinstance(document, list) else encode(document)

    with pytest.raises(InvalidPolicyDocument) as raised:
        parse_policy(raw)

    assert raised.value.message == f"Invalid Policy: {why}"


@pytest.mark.parametrize("raw", [b"%%%", b"abc", "é".encode()])
def test_what_is_no_base64(raw: bytes) -> None:
    """
    It has another error than a policy that is not JSON.
    """
    with pytest.raises(InvalidPolicyDocument, match="InvalidPolicyDocument") as raised:
        parse_policy(raw)

    assert raised.value.message == "Invalid Policy: invalid Base64 encoding."


@pytest.mark.parametrize("raw", [b"\xff", b'{"expiration": "\xe9"}'])
def test_what_is_no_text(raw: bytes) -> None:
    """
    JSON is UTF-8.
    """
    with pytest.raises(InvalidPolicyDocument) as raised:
        parse_policy(base64.b64encode(raw))

    assert raised.value.message == "Invalid Policy: Invalid JSON."


def test_size_ranges() -> None:
    """
    Numbers, or a text of digits.
    """
    read = parse_policy(policy([["content-length-range", 1, 10], ["content-length-range", "5", "20"]]).encode())

    assert read.size_ranges == (SizeRange(1, 10), SizeRange(5, 20))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["expiration", "conditions", "eq", "a"]), inner),
)


@given(JSON)
def test_any_json(document: Any) -> None:
    """
    Any JSON that is signed as a policy is read, or refused as a policy.
    """
    for raw in (encode(document), encode({"expiration": "2030-01-01T00:00:00Z", "conditions": document})):
        try:
            parse_policy(raw).check({b"key": b"k"}, NOW)
        except (InvalidPolicyDocument, AccessDenied):
            continue


EXPIRATION = '"expiration": "2030-01-01T00:00:00Z"'


@pytest.mark.parametrize(
    "text",
    [
        f'{{{EXPIRATION}, {EXPIRATION}, "conditions": []}}',
        f'{{{EXPIRATION}, "conditions": [{{"key": "a"}}], "conditions": []}}',
        f'{{{EXPIRATION}, "conditions": [{{"key": "a", "key": "b"}}]}}',
        f'{{{EXPIRATION}, "conditions": [{{"key": "a", "\\u006bey": "a"}}]}}',
        f'{{{EXPIRATION}, "conditions": [["content-length-range", NaN, 1]]}}',
        f'{{{EXPIRATION}, "conditions": [["content-length-range", 0, Infinity]]}}',
        f'{{{EXPIRATION}, "conditions": [{{"key": NaN}}]}}',
        f'{{{EXPIRATION}, "conditions": [[-Infinity]]}}',
        f'{{{EXPIRATION}, "conditions": [["content-length-range", 0, {"9" * 4000}]]}}',
        f'{{{EXPIRATION}, "conditions": [["content-length-range", 0, {"9" * 5000}]]}}',
        f'{{{EXPIRATION}, "conditions": [["content-length-range", 0, 1e400]]}}',
        f'{{{EXPIRATION}, "conditions": [{{"key": "\\ud800"}}]}}',
        f'{{{EXPIRATION}, "conditions": [{{"\\udfff": "a"}}]}}',
        f'{{{EXPIRATION}, "conditions": [["\\ud800"]]}}',
        f'{{{EXPIRATION}, "\\ud800": []}}',
        '{"expiration": "\\ud800", "conditions": []}',
        f'\ufeff{{{EXPIRATION}, "conditions": []}}',
        *(f'{{{EXPIRATION}, "conditions": [[{"[" * depth}{"]" * depth}, "a", "b"]]}}' for depth in range(900, 1000, 7)),
        f'{{{EXPIRATION}, "conditions": [[{"[" * 14000}',
        f'{{{EXPIRATION}, "conditions": {"[{" * 7000}',
    ],
)
def test_what_no_two_readers_read_alike(text: str) -> None:
    """
    Duplicate names, constants that only some parsers know, unpaired surrogates, and depth: none of them is JSON.
    """
    with pytest.raises(InvalidPolicyDocument) as raised:
        parse_policy(encode(text))

    assert raised.value.message == "Invalid Policy: Invalid JSON."


def test_text_which_is_escaped_is_the_same_text() -> None:
    """
    Clients may escape any character, surrogate pairs included.
    """
    text = f'{{{EXPIRATION}, "conditions": [["\\u0065q", "\\u0024key", "a\\ud83d\\ude00"]]}}'

    parse_policy(encode(text)).check({b"key": "a\U0001f600".encode()}, NOW)


@pytest.mark.parametrize(
    ("found", "prefix", "holds"),
    [
        ("text/a", "text/", True),
        ("text/a, text/b", "text/", True),
        ("text/a,text/a", "text/a", True),
        ("text/a,text/ab", "text/ab", False),
        ("text/ab,text/a", "text/a", True),
        ("a,", "a", False),
        (",", "", True),
        ("", "", True),
        ("", "a", False),
        ("b, a", "a", False),
        ("text/ab, text/cb", "text/", True),
        ("text/ab, text/cb", "text/a", False),
        ("text/ab, text/cb", "text/c", False),
    ],
)
def test_each_item_of_a_type(found: str, prefix: str, holds: bool) -> None:
    """
    All items of a list begin with the prefix of the policy.
    """
    why = verdict([["starts-with", "$content-type", prefix]], content_type=found)

    assert (why == "") is holds


@given(items=st.lists(st.text("ab, \t", max_size=4), max_size=5), prefix=st.text("ab", max_size=3))
def test_any_items_of_a_type(items: list[str], prefix: str) -> None:
    """
    The result is the same as if each item were compared with each condition.
    """
    found = ",".join(items)
    wanted = all(item.strip(" \t").startswith(prefix) for item in found.split(","))

    assert (verdict([["starts-with", "$content-type", prefix]], content_type=found) == "") is wanted


def test_a_type_is_read_once() -> None:
    """
    It is split once, however many conditions apply to it.
    """
    conditions = [["starts-with", "$content-type", "a" * number] for number in range(100)]
    items = Items(b",".join([b"a" * 100] * 50))

    parse_policy(policy(conditions).encode()).check({b"content-type": items}, NOW)

    assert items.split_count == 1


class Items(bytes):
    """
    A list that counts how often it is split.
    """

    split_count = 0

    def split(self, *arguments: Any, **options: Any) -> list[bytes]:
        """
        Count the call.
        """
        self.split_count += 1
        return super().split(*arguments, **options)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (r"user/\$1", "user/$1"),
        (r"\${filename}", "${filename}"),
        (r"a\vb", "a\vb"),
        (r"a\\v\$", "a\\v$"),
        (r"\\\\$", "\\\\$"),
        (r"\\\$", "\\$"),
        (r"\b\f\n\r\t\/\"\u0024", '\b\f\n\r\t/"$'),
        (r"\\u0024\v", "\\u0024\v"),
    ],
)
def test_escapes(written: str, meant: str) -> None:
    """
    S3 has two escapes more than JSON; a backslash that is escaped escapes nothing.
    """
    document = f'{{"expiration": "2099-01-01T00:00:00Z", "conditions": [["eq", "\\$key", "{written}"]]}}'
    (condition,) = parse_policy(encode(document)).conditions

    assert (condition.name, condition.value, condition.is_meant) == (b"key", meant.encode(), True)


@pytest.mark.parametrize("written", [r"\x", r"\V", r"\0", r"\'", r"\\\x", "\v", r"\u12"])
def test_what_is_no_escape(written: str) -> None:
    """
    Any other pair is not JSON, and a control character must be escaped.
    """
    document = f'{{"expiration": "2099-01-01T00:00:00Z", "conditions": [["eq", "$key", "{written}\\$"]]}}'

    with pytest.raises(InvalidPolicyDocument):
        parse_policy(encode(document))
