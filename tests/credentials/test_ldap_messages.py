"""
LDAP messages: what is sent means what it should, and nothing that a server sends is trusted before it is checked.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ldaptor.protocols import pureber, pureldap

from s3proxy.credentials.ldap_messages import (
    MAX_MESSAGE_SIZE,
    Answer,
    BadMessage,
    Entry,
    MessageReader,
    Reference,
    Response,
    Result,
    abandon_request,
    bind_request,
    search_request,
    start_tls_request,
    unbind_request,
)
from tests.support.ldap_server import _DECODER, BASE, KEY, done, entry, message, notice

STREAM = message(1, entry(KEY)) + message(
    1, pureldap.LDAPSearchResultReference([pureldap.LDAPString(b"ldap://other/")])
)
STREAM += message(1, done(32, "no such base")) + notice("it ends")

READ: list[tuple[int, Response]] = [
    (
        1,
        Entry(
            b"cn=key,dc=example,dc=org",
            ((b"s3proxyAccessKeyId", (b"AK1",)), (b"s3proxySecretAccessKey", (b"secret-of-AK1",))),
        ),
    ),
    (1, Result(Answer.SEARCH, 32, b"no such base")),
    (0, Result(Answer.EXTENDED, 52, b"it ends", b"1.3.6.1.4.1.1466.20036")),
]


def decoded(raw: bytes) -> Any:
    """
    Return a request as a server decodes it.
    """
    found, size = pureber.berDecodeObject(_DECODER, raw)
    assert size == len(raw)
    return found


def nested(depth: int) -> bytes:
    """
    Return a message that is a sequence within a sequence, and so on.
    """
    raw = b""
    for _ in range(depth):
        raw = b"\x30\x83" + len(raw).to_bytes(3, "big") + raw
    return raw


# Requests


def test_what_is_sent() -> None:
    """
    Each request has its own number. A server reads in it what was asked.
    """
    bind = decoded(bind_request(1, "cn=s3proxy", "password")).value
    search = decoded(search_request(2, BASE, {"objectClass": b"s3proxyKey"}, ["a", "b"], 7)).value

    assert (bind.version, bind.dn, bind.auth, bind.sasl) == (3, b"cn=s3proxy", b"password", False)
    assert (search.baseObject, search.scope, search.derefAliases) == (BASE.encode(), 2, 0)
    assert (search.sizeLimit, search.timeLimit, search.attributes) == (2, 7, [b"a", b"b"])
    assert decoded(start_tls_request(3)).value.requestName == b"1.3.6.1.4.1.1466.20037"
    assert decoded(abandon_request(4, 2)).value.value == 2
    assert isinstance(decoded(unbind_request(5)).value, pureldap.LDAPUnbindRequest)
    numbers = [bind_request(1, "a", "b"), start_tls_request(300), unbind_request(70000)]
    assert [decoded(raw).id for raw in numbers] == [1, 300, 70000]


@pytest.mark.parametrize(
    "value",
    [
        b"*",
        b"AK*",
        b")(objectClass=*",
        b"AK1)(|(s3proxyAccessKeyId=*",
        b"\\2a",
        b"\x00",
        b"AK1\x00",
        "schlüssel".encode(),
        b"\xff\xfe",
        b"",
        b"x" * 70_000,
    ],
)
def test_a_value_cannot_change_the_filter(value: bytes) -> None:
    """
    An access key id is whatever a stranger sends. It arrives as the same bytes, in one comparison for equality.
    """
    search = decoded(search_request(1, BASE, {"objectClass": b"s3proxyKey", "id": value}, ["a"], 5)).value

    assert isinstance(search.filter, pureldap.LDAPFilter_and)
    assert [type(each) for each in search.filter] == [pureldap.LDAPFilter_equalityMatch] * 2
    assert [(each.attributeDesc.value, each.assertionValue.value) for each in search.filter] == [
        (b"objectClass", b"s3proxyKey"),
        (b"id", value),
    ]


# Responses


@pytest.mark.parametrize("step", [1, 2, 3, 7, 1000])
def test_responses_in_pieces(step: int) -> None:
    """
    However the network cuts them, the same responses come out.
    """
    reader = MessageReader()
    found = []
    for start in range(0, len(STREAM), step):
        found += list(reader.feed(STREAM[start : start + step]))

    assert [each for each in found if not isinstance(each[1], Reference)] == READ
    assert [number for number, response in found if isinstance(response, Reference)] == [1]
    assert reader.is_empty


def test_what_is_left_is_known() -> None:
    """
    Bytes after a message are not forgotten: StartTLS depends on it.
    """
    reader = MessageReader()

    assert [each for each in reader.feed(STREAM[:-1]) if not isinstance(each[1], Reference)] == READ[:-1]
    assert not reader.is_empty


def test_controls_are_not_an_error() -> None:
    """
    Some servers add them to the response to a bind without being asked.
    """
    response = pureldap.LDAPBindResponse(resultCode=0)
    raw = message(1, response, [(b"2.16.840.1.113730.3.4.5", None, b"86400")])

    assert list(MessageReader().feed(raw)) == [(1, Result(Answer.BIND, 0, b""))]


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n", "bytes that are not LDAP"),
        (b"\x16\x03\x01\x02\x00", "bytes that are not LDAP"),
        (b"\x30\x80", "bytes that are not LDAP"),
        (b"\x30\xff", "bytes that are not LDAP"),
        (b"\x30\x85\x01\x01\x01\x01\x01", "bytes that are not LDAP"),
        (b"\x30\x84\x7f\xff\xff\xff", "more than 65536 bytes"),
        (b"\x30\x83\x01\x00\x00", "more than 65536 bytes"),
        (b"\x30\x00", "cannot be decoded"),
        (b"\x30\x03\x02\x01\x01", "cannot be decoded"),
        (b"\x30\x05\x02\x01\x01\x61\x00", "cannot be decoded"),
        (b"\x30\x05\x02\x01\x01\x1f\x00", "unknown type"),
        (b"\x30\x05\x02\x01\xff\x65\x00", "cannot be decoded"),
        (message(-1, done()), "without a number"),
        (message(1, pureldap.LDAPUnbindRequest()), "answers no request"),
        (message(1, pureldap.LDAPModifyResponse(resultCode=0)), "answers no request"),
        (nested(3000), "cannot be decoded"),
    ],
)
def test_what_is_no_response(raw: bytes, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """
    Nothing of it is printed, and its bytes are not in the message.
    """
    with pytest.raises(BadMessage, match=re.escape(text)) as raised:
        list(MessageReader().feed(raw))

    assert raised.value.__cause__ is None
    assert capsys.readouterr() == ("", "")


def test_a_long_message_is_refused_before_it_arrives() -> None:
    """
    At the head of a message it is known how long it will be.
    """
    reader = MessageReader()
    head = b"\x30\x83" + (MAX_MESSAGE_SIZE - 5).to_bytes(3, "big")

    assert list(reader.feed(head)) == []
    with pytest.raises(BadMessage, match="more than"):
        list(MessageReader().feed(b"\x30\x83" + (MAX_MESSAGE_SIZE - 4).to_bytes(3, "big")))


def test_a_value_of_another_type() -> None:
    """
    ldaptor takes a number in the place of text.
    """
    raw = message(1, pureldap.LDAPSearchResultEntry(BASE, []))
    changed = raw.replace(b"\x04" + bytes([len(BASE)]) + BASE.encode(), b"\x02" + bytes([len(BASE)]) + BASE.encode())

    assert changed != raw
    with pytest.raises(BadMessage, match="another type"):
        list(MessageReader().feed(changed))


def test_an_entry_does_not_show_its_values() -> None:
    """
    They include secrets.
    """
    shown = repr(READ[0][1])

    assert "secret-of-AK1" not in shown
    assert "cn=key" in shown


@given(st.binary(max_size=200))
def test_any_bytes(raw: bytes) -> None:
    """
    They are responses, or they are refused. Nothing else happens.
    """
    for data in (raw, b"\x30" + bytes([len(raw) % 128]) + raw):
        with suppress(BadMessage):
            list(MessageReader().feed(data))


@given(st.integers(0, len(STREAM) - 1), st.integers(0, 255))
def test_any_changed_byte(place: int, byte: int) -> None:
    """
    The same for messages that are almost right.
    """
    with suppress(BadMessage):
        list(MessageReader().feed(STREAM[:place] + bytes([byte]) + STREAM[place + 1 :]))
