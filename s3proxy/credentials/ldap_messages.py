"""
LDAP messages as bytes: requests, and responses within a limit.

The messages are ldaptor's, the client is not. Its client waits without a limit for bytes and for time, does not verify
the server after StartTLS, reads what came before TLS as if it came after it, and raises out of `dataReceived`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from ldaptor.protocols import pureber, pureldap

from s3proxy.s3.limits import KIB

MAX_MESSAGE_SIZE = 64 * KIB
"""
Maximum bytes of one response. A key with 500 rules needs 40 KiB. ldaptor copies what is left of a message once for each
value in it, so a larger limit would let a server block this process; the worst message of this size takes 0.7 s.
"""

SUCCESS, SIZE_LIMIT_EXCEEDED, INVALID_CREDENTIALS = 0, 4, 49
"""
Result codes of RFC 4511, appendix A.1.
"""

NOTICE_OF_DISCONNECTION = b"1.3.6.1.4.1.1466.20036"
"""
The name of the only message that a server sends on its own (RFC 4511, section 4.4.1).
"""

_SEQUENCE = 0x30
_MAX_LENGTH_BYTES = 4


class BadMessage(Exception):
    """
    Bytes of a server that are not a response. The text has none of them.
    """


class Answer(Enum):
    """
    What a response answers.
    """

    BIND = auto()
    SEARCH = auto()
    EXTENDED = auto()


@dataclass(frozen=True, slots=True)
class Entry:
    """
    One entry that a search has found.

    Attributes:
        name: Its distinguished name.
        attributes: The description and the values of each attribute, in the order of the response. Not shown: they
            include secrets.
    """

    name: bytes
    attributes: tuple[tuple[bytes, tuple[bytes, ...]], ...]

    def __repr__(self) -> str:
        return f"Entry({self.name!r})"


class Reference:
    """
    A hint of a search that other servers may have entries, too. It is not followed: it could name any server.
    """


@dataclass(frozen=True, slots=True)
class Result:
    """
    The end of an operation.

    Attributes:
        code: The result code.
        explanation: The server's own words, if any.
        name: The name of an extended response; None if it has none.
    """

    answer: Answer
    code: int
    explanation: bytes
    name: bytes | None = None


Response = Entry | Reference | Result


# Requests


def bind_request(number: int, name: str, password: str) -> bytes:
    """
    Return a simple bind. The bytes contain the password.
    """
    return _message(number, pureldap.LDAPBindRequest(dn=name, auth=password))


def start_tls_request(number: int) -> bytes:
    """
    Return the request to begin TLS on this connection.
    """
    return _message(number, pureldap.LDAPStartTLSRequest())


def abandon_request(number: int, abandoned: int) -> bytes:
    """
    Return the request to end an operation, which gets no response any more.
    """
    return _message(number, pureldap.LDAPAbandonRequest(id=abandoned))


def unbind_request(number: int) -> bytes:
    """
    Return the request after which both sides close the connection.
    """
    return _message(number, pureldap.LDAPUnbindRequest())


def search_request(number: int, base: str, equal: dict[str, bytes], attributes: list[str], seconds: int) -> bytes:
    """
    Return the search for all entries below a base that have all of some attributes.

    Args:
        equal: The attributes with their values. A value may be any bytes: in a message it is a value of its own, not
            text within a filter, so nothing in it can end it or be a wildcard.
        attributes: The attributes that the response shall have.
        seconds: How long the server may search.
    """
    matches = [
        pureldap.LDAPFilter_equalityMatch(
            attributeDesc=pureldap.LDAPAttributeDescription(name), assertionValue=pureldap.LDAPAssertionValue(value)
        )
        for name, value in equal.items()
    ]
    search = pureldap.LDAPSearchRequest(
        baseObject=base,
        scope=pureldap.LDAP_SCOPE_wholeSubtree,
        derefAliases=pureldap.LDAP_DEREF_neverDerefAliases,
        # One more than there may be, so that a second one is noticed.
        sizeLimit=2,
        timeLimit=seconds,
        filter=pureldap.LDAPFilter_and(matches),
        attributes=attributes,
    )
    return _message(number, search)


def _message(number: int, operation: Any) -> bytes:
    # Without a number, ldaptor takes the next one of the whole process.
    raw: bytes = pureldap.LDAPMessage(operation, id=number).toWire()
    return raw


# Responses


class MessageReader:
    """
    Finds the responses in the bytes of one connection.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()

    @property
    def is_empty(self) -> bool:
        """
        Whether no bytes are left after the last message.
        """
        return not self._buffer

    def feed(self, data: bytes) -> Iterator[tuple[int, Response]]:
        """
        Take received bytes. Yield the number and the response of each message that is complete.

        Raises:
            BadMessage: The bytes are no response, or a message is too large. Nothing after it can be read.
        """
        self._buffer += data
        while (size := self._message_size()) is not None and len(self._buffer) >= size:
            raw = bytes(self._buffer[:size])
            del self._buffer[:size]
            yield _decode(raw)

    def _message_size(self) -> int | None:
        """
        Return the size of the first message with its own head; None if more bytes are needed to tell.
        """
        buffer = self._buffer
        if buffer and buffer[0] != _SEQUENCE:
            raise BadMessage("it sent bytes that are not LDAP")
        if len(buffer) < 2:
            return None
        size, head_size = buffer[1], 2
        if size & 0x80:
            count = size & 0x7F
            if not 1 <= count <= _MAX_LENGTH_BYTES:
                raise BadMessage("it sent bytes that are not LDAP")
            head_size += count
            if len(buffer) < head_size:
                return None
            size = int.from_bytes(buffer[2:head_size], "big")
        if head_size + size > MAX_MESSAGE_SIZE:
            raise BadMessage(f"it sent a message of more than {MAX_MESSAGE_SIZE} bytes")
        return head_size + size


class _Known(pureber.BERDecoderContext):  # type: ignore[misc]
    """
    The last types that are looked for. ldaptor prints a type that it does not know, and drops its value.
    """

    def lookup_id(self, id: int) -> Any:
        found = self.Identities.get(id)
        if found is None:
            raise BadMessage("it sent a message of an unknown type")
        return found


_OPERATIONS = pureldap.LDAPBERDecoderContext(fallback=_Known())
_TOP = pureldap.LDAPBERDecoderContext_TopLevel(
    fallback=_Known(),
    inherit=pureldap.LDAPBERDecoderContext_LDAPMessage(fallback=_OPERATIONS, inherit=_OPERATIONS),
)
_ANSWERS: dict[type, Answer] = {
    pureldap.LDAPBindResponse: Answer.BIND,
    pureldap.LDAPSearchResultDone: Answer.SEARCH,
    pureldap.LDAPExtendedResponse: Answer.EXTENDED,
}


def _decode(raw: bytes) -> tuple[int, Response]:
    try:
        message, _ = pureber.berDecodeObject(_TOP, raw)
        found = message.id, _response(message.value)
    except BadMessage:
        raise
    except Exception:
        # ldaptor has no error of its own for a message whose parts are of other types, or are missing: it fails with
        # AssertionError, IndexError, AttributeError, RecursionError and others.
        raise BadMessage("it sent a message that cannot be decoded") from None
    if not isinstance(found[0], int) or found[0] < 0:
        raise BadMessage("it sent a message without a number")
    return found


def _response(operation: Any) -> Response:
    if isinstance(operation, pureldap.LDAPSearchResultEntry):
        attributes = tuple(
            (_checked(name, bytes), tuple(_checked(value, bytes) for value in values))
            for name, values in operation.attributes
        )
        return Entry(_checked(operation.objectName, bytes), attributes)
    if isinstance(operation, pureldap.LDAPSearchResultReference):
        return Reference()
    answer = _ANSWERS.get(type(operation))
    if answer is None:
        raise BadMessage("it sent a message that answers no request of ours")
    name = operation.responseName if answer is Answer.EXTENDED else None
    return Result(
        answer,
        _checked(operation.resultCode, int),
        _checked(operation.errorMessage, bytes),
        None if name is None else _checked(name, bytes),
    )


def _checked(value: Any, kind: type[Any]) -> Any:
    # ldaptor takes the value of any type in the place of another.
    if not isinstance(value, kind):
        raise BadMessage("it sent a message with a value of another type")
    return value
