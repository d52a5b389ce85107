"""
One connection to an LDAP server: TLS and bind first, then searches, several at a time.
"""

from __future__ import annotations

import typing
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHandshakeListener, ITCPTransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from s3proxy.backend.trouble import tls_fault, why
from s3proxy.credentials.ldap_messages import (
    NOTICE_OF_DISCONNECTION,
    SUCCESS,
    Answer,
    BadMessage,
    Entry,
    MessageReader,
    Response,
    Result,
    abandon_request,
    bind_request,
    search_request,
    start_tls_request,
    unbind_request,
)
from s3proxy.transport.deadline import Deadline

IDLE_TIME = 120.0
"""
Seconds after which a connection without searches is closed. Firewalls and load balancers forget a quiet connection
after four minutes or more, and the next search on it would get no response.
"""

CLOSE_TIME = 2.0
"""
Seconds for the server to close its side.
"""

SERVER_TIME = 10
"""
Seconds after which the server itself gives up a search.
"""

MAX_REFERENCES = 100
"""
Maximum references in the response to one search.
"""

_MAX_NUMBER = 2**31 - 1
_MAX_SHOWN = 200

_CODE_NAMES = {
    1: "operationsError",
    2: "protocolError",
    3: "timeLimitExceeded",
    4: "sizeLimitExceeded",
    8: "strongerAuthRequired",
    10: "referral",
    11: "adminLimitExceeded",
    13: "confidentialityRequired",
    32: "noSuchObject",
    34: "invalidDNSyntax",
    48: "inappropriateAuthentication",
    49: "invalidCredentials",
    50: "insufficientAccessRights",
    51: "busy",
    52: "unavailable",
    53: "unwillingToPerform",
    80: "other",
}


class NoAnswer(Exception):
    """
    The server did not answer a question. The text says why, for the operator.
    """


class Unanswered(NoAnswer):
    """
    The connection ended first. The question can be asked again on another one.
    """


class Refused(NoAnswer):
    """
    The server refused an operation.

    Attributes:
        code: The result code.
    """

    def __init__(self, doing: str, result: Result) -> None:
        self.code = result.code
        super().__init__(f"{doing}: {describe(result)}")


def describe(result: Result) -> str:
    """
    Return the code of a result, its name, and the server's own words as far as they are printable.
    """
    name, words = _CODE_NAMES.get(result.code, "result"), printable(result.explanation)
    return f"{name} ({result.code})" + (f", {words}" if words else "")


def printable(text: bytes) -> str:
    """
    Return a server's text for a message: only what is printable, and not all of a long one.
    """
    return "".join(each for each in text[:_MAX_SHOWN].decode("utf-8", "replace") if each.isprintable())


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """
    The server of a connection, and how the connection begins.

    Attributes:
        server: The server in messages.
        name: The distinguished name to bind as; None to stay anonymous.
        password: The password of that name.
        start_tls: Makes the TLS connection after StartTLS; None if StartTLS is not used.
        silence: Seconds after which a search that is given up ends its connection, too, if nothing at all was received
            meanwhile: a firewall that has forgotten the connection drops everything without a word.
    """

    server: str
    name: str | None = None
    password: str = field(default="", repr=False)
    start_tls: Any = None
    silence: float = 2.5


class Owner(typing.Protocol):
    """
    What uses a connection.
    """

    def connection_made(self, connection: LDAPConnection) -> None: ...

    def connection_over(self, connection: LDAPConnection) -> None: ...

    def connection_lost(self, connection: LDAPConnection) -> None: ...


class _Question:
    """
    A request that waits for its response.
    """

    __slots__ = ("answer", "answered", "asked_at", "entries", "reference_count")

    def __init__(self, answer: Answer, answered: Deferred[Any], asked_at: float) -> None:
        self.answer = answer
        self.answered = answered
        self.asked_at = asked_at
        self.entries: list[Entry] = []
        self.reference_count = 0


@implementer(IHandshakeListener)
class LDAPConnection(Protocol):
    """
    A connection to a server.

    Args:
        owner: Hears of the connection's start and end.
        reactor: Its clock must never go back.
        login: How the connection begins.

    Attributes:
        opened: Fires with the connection itself when it can search; fails with `NoAnswer`. Cancelling it resets the
            connection.
        is_over: Whether the connection can answer no more.
        has_answered: Whether it has answered a search.
        has_failed: Whether it has ended while a search waited, and has never answered one.
        is_untold: Whether it is over because of something that should not happen, and no question has failed that says
            why.
        why_over: Why the connection is over, for the operator.
    """

    transport: Any

    def __init__(self, owner: Owner, reactor: Any, login: Login) -> None:
        self._owner = owner
        self._reactor = reactor
        self._login = login
        self._reader = MessageReader()
        self._questions: dict[int, _Question] = {}
        self._number = 0
        self._received_at = 0.0
        self._handshake: Deferred[None] = Deferred()
        self._deadline = Deadline(reactor, self._timed_out)
        self.opened: Deferred[LDAPConnection] = Deferred(lambda ignored: self._end("not in time"))
        self.is_over = self.is_untold = False
        self.has_answered = self.has_failed = False
        self.why_over = ""

    # Start

    def connectionMade(self) -> None:
        transport = self.transport
        self._owner.connection_made(self)
        # The attempt may have been given up, and an endpoint need not notice.
        self._deadline.set(IDLE_TIME)
        if ITCPTransport.providedBy(transport):
            transport.setTcpNoDelay(True)
            transport.setTcpKeepAlive(True)
        opening = Deferred.fromCoroutine(self._open(isinstance(transport, TLSMemoryBIOProtocol)))
        opening.addCallbacks(self._opened, self._not_opened)

    async def _open(self, is_tls: bool) -> None:
        login = self._login
        if login.start_tls is not None:
            result: Result = await self._ask(Answer.EXTENDED, start_tls_request)
            if result.code != SUCCESS:
                raise Refused("it does not begin TLS", result)
            if not self._reader.is_empty:
                # They came unprotected, and would be read as if TLS had protected them.
                raise NoAnswer("it sent further bytes before TLS began")
            self.transport.startTLS(login.start_tls)
        if is_tls or login.start_tls is not None:
            # Until then the server is not verified, and the password must not be written.
            await self._handshake
        if login.name is not None:
            name = login.name
            result = await self._ask(Answer.BIND, lambda number: bind_request(number, name, login.password))
            if result.code != SUCCESS:
                raise Refused(f'it refuses to bind as "{name}"', result)

    def handshakeCompleted(self) -> None:
        # Twisted 24.7 also calls this for a certificate with a wrong name, and ends the connection in the next turn.
        self._reactor.callLater(0, self._go_on)

    def _go_on(self) -> None:
        if not self.is_over and not self._handshake.called:
            self._handshake.callback(None)

    def _opened(self, ignored: None) -> None:
        self._deadline.set(IDLE_TIME)
        self.opened.callback(self)

    def _not_opened(self, failure: Failure) -> None:
        self._end(str(failure.value))
        if not self.opened.called:
            self.opened.errback(failure)

    # Questions

    def search(self, base: str, equal: dict[str, bytes], attributes: list[str]) -> Deferred[list[Entry]]:
        """
        Search as `search_request` describes.

        Returns:
            Fires with at most two entries; fails with `NoAnswer`. If it is cancelled, the server is told.
        """
        if not self.is_over:
            self._deadline.clear()
        asked = self._ask(Answer.SEARCH, lambda number: search_request(number, base, equal, attributes, SERVER_TIME))
        return asked.addBoth(self._rest)

    def _rest(self, outcome: Any) -> Any:
        if not self._questions and not self.is_over:
            self._deadline.set(IDLE_TIME)
        return outcome

    def _ask(self, answer: Answer, make_request: Callable[[int], bytes]) -> Deferred[Any]:
        answered: Deferred[Any] = Deferred(lambda ignored: self._abandon(number))
        number = self._next_number()
        if self.is_over:
            answered.errback(Unanswered(self.why_over))
            return answered
        self._questions[number] = _Question(answer, answered, self._reactor.seconds())
        self.transport.write(make_request(number))
        return answered

    def _next_number(self) -> int:
        self._number = self._number % _MAX_NUMBER + 1
        return self._number

    def _abandon(self, number: int) -> None:
        question = self._questions.pop(number, None)
        if question is None or self.is_over:
            return
        is_silent = self._received_at <= question.asked_at
        if is_silent and self._reactor.seconds() - question.asked_at >= self._login.silence:
            self._end("it does not respond", Unanswered)
        else:
            self.transport.write(abandon_request(self._next_number(), number))

    # Responses

    def dataReceived(self, data: bytes) -> None:
        self._received_at = self._reactor.seconds()
        try:
            for number, response in self._reader.feed(data):
                self._received(number, response)
        except BadMessage as error:
            self._end(str(error))

    def _received(self, number: int, response: Response) -> None:
        question = self._questions.get(number)
        if question is None:
            if self.is_over:
                return
            if number == 0:
                self._notified(response)
            elif number > self._number:
                raise BadMessage("it sent a response to no request")
            # Otherwise it is late: the request was abandoned.
        elif isinstance(response, Entry):
            if len(question.entries) == 2:
                raise BadMessage("it sent more entries than it was asked for")
            question.entries.append(response)
        elif isinstance(response, Result):
            if response.answer is not question.answer:
                raise BadMessage("it sent a response of another kind than the request")
            del self._questions[number]
            self._answered(question, response)
        else:
            question.reference_count += 1
            if question.reference_count > MAX_REFERENCES:
                raise BadMessage("it sent too many references")

    def _answered(self, question: _Question, result: Result) -> None:
        if result.answer is not Answer.SEARCH:
            question.answered.callback(result)
            return
        self.has_answered = True
        # The second entry ends a search at its limit. Its caller has an error of its own for that.
        if result.code == SUCCESS or len(question.entries) == 2:
            question.answered.callback(question.entries)
        else:
            question.answered.errback(Refused("the search failed", result))

    def _notified(self, response: Response) -> None:
        # Other notifications may exist, and are to be ignored.
        if isinstance(response, Result) and response.name == NOTICE_OF_DISCONNECTION:
            self._end(f"it ended the connection: {describe(response)}", Unanswered)

    # End

    def close(self) -> None:
        """
        Say goodbye, and close the connection.
        """
        if not self.is_over:
            self._is_now_over("it is no longer in use", Unanswered)
            self.transport.write(unbind_request(self._next_number()))
            # Under TLS the server's own end is waited for.
            self._deadline.set(CLOSE_TIME)
            self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._deadline.cancel()
        self._is_now_over(why(tls_fault(reason.value, self.transport)), Unanswered)
        self._owner.connection_lost(self)

    def _timed_out(self) -> None:
        if self.is_over:
            self.transport.abortConnection()
        else:
            self.close()

    def _end(self, text: str, kind: type[NoAnswer] = NoAnswer) -> None:
        """
        Reset the connection.
        """
        if not self.is_over:
            self.is_untold = kind is Unanswered or not self._questions
            self._is_now_over(text, kind)
            self.transport.abortConnection()

    def _is_now_over(self, text: str, kind: type[NoAnswer]) -> None:
        if self.is_over:
            return
        self.is_over, self.why_over = True, text
        questions, self._questions = self._questions, {}
        self.has_failed = bool(questions) and not self.has_answered
        self._owner.connection_over(self)
        if not self._handshake.called:
            self._handshake.errback(kind(text))
            self._handshake.addErrback(lambda ignored: None)
        for question in questions.values():
            question.answered.errback(kind(text))
