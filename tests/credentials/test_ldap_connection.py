"""
One connection to an LDAP server, byte by byte and without a network.
"""

from __future__ import annotations

from typing import Any

import pytest
from ldaptor.protocols import pureldap
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from s3proxy.credentials.ldap_connection import (
    CLOSE_TIME,
    IDLE_TIME,
    MAX_REFERENCES,
    LDAPConnection,
    Login,
    NoAnswer,
    Refused,
    Unanswered,
)
from s3proxy.credentials.ldap_messages import SUCCESS
from tests.support.ldap_server import _DECODER, BASE, BIND_DN, KEY, PASSWORD, done, entry, message, notice


class Line(StringTransport):
    """
    A connection of which the test sees both ends.
    """

    def __init__(self) -> None:
        super().__init__()
        self.is_aborted = self.is_closed = False
        self.tls: Any = None

    def abortConnection(self) -> None:
        self.is_aborted = True

    def loseConnection(self) -> None:
        self.is_closed = True

    def startTLS(self, context: Any) -> None:
        self.tls = context

    def requests(self) -> list[tuple[int, Any]]:
        """
        Return what was sent since the last call.
        """
        raw, found = self.value(), []
        self.clear()
        while raw:
            decoded, size = _decode(raw)
            found.append((decoded.id, decoded.value))
            raw = raw[size:]
        return found


def _decode(raw: bytes) -> Any:
    from ldaptor.protocols.pureber import berDecodeObject

    return berDecodeObject(_DECODER, raw)


class Case:
    """
    A connection with its owner, which notes what it hears.
    """

    def __init__(self, **login: Any) -> None:
        self.clock, self.line = Clock(), Line()
        self.events: list[str] = []
        self.connection = LDAPConnection(self, self.clock, Login(server="ldap://directory:389", **login))
        self.connection.opened.addCallbacks(lambda made: self.events.append("opened"), self._not_opened)
        self.connection.makeConnection(self.line)

    def _not_opened(self, failure: Failure) -> None:
        self.events.append(f"{failure.type.__name__}: {failure.value}")

    def connection_made(self, connection: LDAPConnection) -> None:
        self.events.append("made")

    def connection_over(self, connection: LDAPConnection) -> None:
        self.events.append("over")

    def connection_lost(self, connection: LDAPConnection) -> None:
        self.events.append("lost")

    def search(self, value: bytes = b"AK1") -> list[Any]:
        """
        Search; return the list that will have the outcome.
        """
        outcomes: list[Any] = []
        self.asked = self.connection.search(BASE, {"id": value}, ["a"])
        self.asked.addBoth(outcomes.append)
        return outcomes

    def respond(self, *raw: bytes) -> None:
        """
        Let the server send something.
        """
        self.connection.dataReceived(b"".join(raw))


def failed(outcomes: list[Any], kind: type[NoAnswer], text: str) -> bool:
    """
    Return True if the only outcome is this failure.
    """
    (failure,) = outcomes
    assert failure.type is kind, failure
    assert text in str(failure.value), failure.value
    return True


# Start


def test_an_anonymous_connection_is_open_at_once() -> None:
    """
    It sends nothing before it is asked.
    """
    case = Case()

    assert case.events == ["made", "opened"]
    assert case.line.requests() == []


def test_a_bind_comes_first() -> None:
    """
    The connection is open when the server has accepted it.
    """
    case = Case(name=BIND_DN, password=PASSWORD)
    before = list(case.events)
    ((number, bind),) = case.line.requests()
    case.respond(message(number, pureldap.LDAPBindResponse(resultCode=SUCCESS)))

    assert before == ["made"]
    assert (bind.dn, bind.auth) == (BIND_DN.encode(), PASSWORD.encode())
    assert case.events == ["made", "opened"]


def test_a_refused_bind() -> None:
    """
    The text has the server's reason, as far as it is printable, and not the password.
    """
    case = Case(name=BIND_DN, password=PASSWORD)
    case.line.requests()
    refused = pureldap.LDAPBindResponse(resultCode=49, errorMessage="wrong\n\x1b[2J" + "x" * 1000)
    case.respond(message(1, refused))

    (*_, told) = case.events
    assert told.startswith(f'Refused: it refuses to bind as "{BIND_DN}": invalidCredentials (49), wrong[2Jxxx')
    assert len(told) < 400
    assert PASSWORD not in told + repr(case.connection._login)
    assert case.line.is_aborted


def test_start_tls_comes_before_the_bind() -> None:
    """
    The password is written after the handshake, and in the next turn of the reactor: Twisted reports the handshake also
    if the name in the certificate is wrong.
    """
    case = Case(name=BIND_DN, password=PASSWORD, start_tls="a context")
    ((number, request),) = case.line.requests()
    case.respond(message(number, pureldap.LDAPExtendedResponse(resultCode=SUCCESS)))
    after_response = (case.line.tls, case.line.requests())
    case.connection.handshakeCompleted()
    after_handshake = case.line.requests()
    case.clock.advance(0)
    ((_, bind),) = case.line.requests()

    assert request.requestName == b"1.3.6.1.4.1.1466.20037"
    assert after_response == ("a context", [])
    assert after_handshake == []
    assert bind.auth == PASSWORD.encode()


def test_a_failed_handshake_sends_no_password() -> None:
    """
    Neither if Twisted has reported it as complete before.
    """
    case = Case(name=BIND_DN, password=PASSWORD, start_tls="a context")
    case.respond(message(1, pureldap.LDAPExtendedResponse(resultCode=SUCCESS)))
    case.line.requests()
    case.connection.handshakeCompleted()
    case.connection.connectionLost(Failure(ConnectionLost()))
    case.clock.advance(0)

    assert case.line.requests() == []
    assert case.events == ["made", "over", "Unanswered: the connection was lost", "lost"]


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (
            message(1, pureldap.LDAPExtendedResponse(resultCode=2, errorMessage="no TLS")),
            "Refused: it does not begin TLS: protocolError (2), no TLS",
        ),
        # Whoever is between the two has added the response to the bind, which would pass for one that came through TLS.
        (
            message(1, pureldap.LDAPExtendedResponse(resultCode=SUCCESS))
            + message(2, pureldap.LDAPBindResponse(resultCode=SUCCESS)),
            "NoAnswer: it sent further bytes before TLS began",
        ),
        (
            message(1, pureldap.LDAPExtendedResponse(resultCode=SUCCESS)) + b"\x30",
            "NoAnswer: it sent further bytes before TLS began",
        ),
        (
            message(1, pureldap.LDAPBindResponse(resultCode=SUCCESS)),
            "NoAnswer: it sent a response of another kind than the request",
        ),
    ],
)
def test_start_tls_that_fails(raw: bytes, told: str) -> None:
    """
    There is no connection without TLS instead.
    """
    case = Case(name=BIND_DN, password=PASSWORD, start_tls="a context")
    case.line.requests()
    case.respond(raw)
    case.clock.advance(0)

    assert case.events[-1] == told
    assert case.line.is_aborted
    assert case.line.tls is None
    assert case.line.requests() == []


# Searches


def test_searches_share_the_connection() -> None:
    """
    Each gets its own response, in any order.
    """
    case = Case()
    first, second = case.search(b"AK1"), case.search(b"AK2")
    numbers = [number for number, _ in case.line.requests()]
    case.respond(message(numbers[1], entry(KEY)), message(numbers[1], done()), message(numbers[0], done()))

    assert numbers == [1, 2]
    assert first == [[]]
    assert [found.name for found in second[0]] == [b"cn=key,dc=example,dc=org"]


def test_two_entries_are_a_response_at_the_limit() -> None:
    """
    The server says that the limit is exceeded. The entries are what matters.
    """
    case = Case()
    outcomes = case.search()
    case.respond(message(1, entry(KEY)), message(1, entry(KEY)), message(1, done(4)))

    assert len(outcomes[0]) == 2


@pytest.mark.parametrize("code", [3, 4, 10, 32, 50, 51, 52, 53, 80, 12345])
def test_what_is_no_result(code: int) -> None:
    """
    None of these means that the key is unknown.
    """
    case = Case()
    outcomes = case.search()
    case.respond(message(1, done(code, "because")))

    assert failed(outcomes, Refused, f"({code}), because")
    assert not case.connection.is_over


def test_references_are_not_followed() -> None:
    """
    Some come with every search of a base that has referrals below it. A flood of them ends the connection.
    """
    reference = message(1, pureldap.LDAPSearchResultReference([pureldap.LDAPString(b"ldap://elsewhere/")]))
    case = Case()
    outcomes = case.search()
    case.respond(reference * MAX_REFERENCES, message(1, done()))
    flooded = Case()
    lost = flooded.search()
    flooded.respond(reference * (MAX_REFERENCES + 1))

    assert outcomes == [[]]
    assert failed(lost, NoAnswer, "too many references")
    assert flooded.line.is_aborted


def test_a_late_response_is_ignored() -> None:
    """
    The server is told that nobody waits. What it sends nevertheless is no error, and answers nobody else.
    """
    case = Case()
    case.search()
    cancelled = case.asked
    cancelled.cancel()
    following = case.search(b"AK2")
    requests = case.line.requests()
    case.respond(message(1, entry(KEY)), message(1, done()))
    before = list(following)
    case.respond(message(3, done()))

    assert [(number, type(request).__name__) for number, request in requests] == [
        (1, "LDAPSearchRequest"),
        (2, "LDAPAbandonRequest"),
        (3, "LDAPSearchRequest"),
    ]
    assert requests[1][1].value == 1
    assert (before, following) == ([], [[]])
    assert not case.line.is_aborted


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "bytes that are not LDAP"),
        (message(1, entry(KEY)) * 3, "more entries than it was asked for"),
        (message(7, done()), "a response to no request"),
        (message(1, pureldap.LDAPBindResponse(resultCode=0)), "of another kind"),
        (message(1, entry({"a": ["x" * 70_000]})), "more than 65536 bytes"),
    ],
)
def test_what_breaks_the_protocol(raw: bytes, text: str) -> None:
    """
    It ends the connection and every search on it. What follows is not read.
    """
    case = Case()
    first, second = case.search(), case.search()
    case.respond(raw, message(2, done()))
    case.respond(message(2, done()))

    assert failed(first, NoAnswer, text)
    assert failed(second, NoAnswer, text)
    assert case.line.is_aborted
    assert case.events == ["made", "opened", "over"]


# End


def test_a_notice_of_disconnection() -> None:
    """
    The searches can be repeated on another connection. Other notifications are ignored.
    """
    case = Case()
    outcomes = case.search()
    case.respond(message(0, pureldap.LDAPExtendedResponse(resultCode=0, responseName=b"1.2.3")))
    before = list(outcomes)
    case.respond(notice("shutting down"))

    assert before == []
    assert failed(outcomes, Unanswered, "it ended the connection: unavailable (52), shutting down")
    assert case.connection.is_untold


def test_a_lost_connection() -> None:
    """
    Its searches can be repeated, and it takes no further ones.
    """
    case = Case()
    outcomes = case.search()
    case.connection.connectionLost(Failure(ConnectionLost()))
    later = case.search()

    assert failed(outcomes, Unanswered, "the connection was lost")
    assert failed(later, Unanswered, "the connection was lost")
    assert case.connection.has_failed
    assert case.clock.getDelayedCalls() == []


def test_an_idle_connection_is_closed() -> None:
    """
    Before a firewall forgets it. A search begins the time anew, and one that waits keeps it open.
    """
    case = Case()
    case.clock.advance(IDLE_TIME - 1)
    case.search()
    case.clock.advance(IDLE_TIME + 1)
    was_open = not case.connection.is_over
    case.respond(message(1, done()))
    case.clock.advance(IDLE_TIME - 1)
    still_open = not case.connection.is_over
    case.line.requests()
    case.clock.advance(1)

    assert (was_open, still_open) == (True, True)
    assert case.line.is_closed
    assert [type(request) for _, request in case.line.requests()] == [pureldap.LDAPUnbindRequest]
    assert (case.connection.has_failed, case.connection.is_untold) == (False, False)
    case.clock.advance(CLOSE_TIME)
    assert case.line.is_aborted


@pytest.mark.parametrize(("seconds", "is_ended"), [(2.0, False), (2.5, True)])
def test_a_connection_that_is_silent(seconds: float, is_ended: bool) -> None:
    """
    A firewall that has forgotten a connection drops everything without a word. Only the next connection helps.
    """
    case = Case(silence=2.5)
    case.search()
    case.clock.advance(seconds)
    other = case.search(b"AK2") if is_ended else []
    case.connection._questions[1].answered.cancel()

    assert case.line.is_aborted == is_ended
    assert not is_ended or failed(other, Unanswered, "it does not respond")


def test_a_slow_server_is_not_silent() -> None:
    """
    If anything arrives while a search waits, the connection works.
    """
    case = Case(silence=2.5)
    case.search()
    slow = case.asked
    case.search(b"AK2")
    case.clock.advance(1)
    case.respond(message(2, done()))
    case.clock.advance(10)
    slow.cancel()

    assert not case.line.is_aborted


def test_giving_up_before_it_is_open() -> None:
    """
    The connection is reset: a half-made one helps nobody.
    """
    case = Case(name=BIND_DN, password=PASSWORD)
    case.connection.opened.cancel()

    assert case.line.is_aborted
    assert case.events == ["made", "over", "NoAnswer: not in time"]


def test_numbers_begin_again() -> None:
    """
    RFC 4511 limits them to 31 bits.
    """
    case = Case()
    case.connection._number = 2**31 - 2
    case.search()
    case.search()

    assert [number for number, _ in case.line.requests()] == [2**31 - 1, 1]
