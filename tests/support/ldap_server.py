"""
An LDAP server that does what a test says: it answers late, wrongly or not at all.
"""

from __future__ import annotations

from typing import Any

from ldaptor.protocols import pureber, pureldap
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

BASE = "dc=example,dc=org"
BIND_DN = "cn=s3proxy,dc=example,dc=org"
PASSWORD = "the-bind-password-of-the-tests"
KEY = {"s3proxyAccessKeyId": ["AK1"], "s3proxySecretAccessKey": ["secret-of-AK1"]}

_DECODER = pureldap.LDAPBERDecoderContext_TopLevel(
    inherit=pureldap.LDAPBERDecoderContext_LDAPMessage(
        fallback=pureldap.LDAPBERDecoderContext(fallback=pureber.BERDecoderContext()),
        inherit=pureldap.LDAPBERDecoderContext(fallback=pureber.BERDecoderContext()),
    )
)


def message(number: int, operation: Any, controls: Any = None) -> bytes:
    """
    Return a message of the server.
    """
    raw: bytes = pureldap.LDAPMessage(operation, controls=controls, id=number).toWire()
    return raw


def entry(attributes: dict[str, list[str]], name: str = f"cn=key,{BASE}") -> Any:
    """
    Return a response with one entry.
    """
    return pureldap.LDAPSearchResultEntry(name, list(attributes.items()))


def done(code: int = 0, explanation: str = "") -> Any:
    """
    Return the end of a search.
    """
    return pureldap.LDAPSearchResultDone(resultCode=code, errorMessage=explanation)


def notice(explanation: str = "") -> bytes:
    """
    Return the notice of disconnection.
    """
    ended = pureldap.LDAPExtendedResponse(
        resultCode=52, errorMessage=explanation, responseName=b"1.3.6.1.4.1.1466.20036"
    )
    return message(0, ended)


def asked_for(search: Any) -> bytes:
    """
    Return the access key id of a search.
    """
    value: bytes = search.filter[1].assertionValue.value
    return value


class FakeConnection(Protocol):
    """
    One connection of the server.

    Attributes:
        received: Each request, decoded, with its number.
        raw: All bytes before decoding.
        is_lost: Whether the connection has ended.
    """

    factory: FakeDirectory
    transport: Any

    def __init__(self) -> None:
        self.received: list[tuple[int, Any]] = []
        self.raw = b""
        self.is_lost = False
        self._buffer = b""

    def connectionMade(self) -> None:
        self.factory.connections.append(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.is_lost = True

    def dataReceived(self, data: bytes) -> None:
        self.raw += data
        self._buffer += data
        while self._buffer:
            try:
                found, size = pureber.berDecodeObject(_DECODER, self._buffer)
            except pureber.BERExceptionInsufficientData:
                return
            self._buffer = self._buffer[size:]
            self.received.append((found.id, found.value))
            self.factory.handle(self, found.id, found.value)

    def searches(self) -> list[tuple[int, Any]]:
        """
        Return the searches among the requests.
        """
        return [each for each in self.received if isinstance(each[1], pureldap.LDAPSearchRequest)]

    def send(self, number: int, *operations: Any) -> None:
        """
        Send responses.
        """
        self.transport.write(b"".join(message(number, each) for each in operations))


class FakeDirectory(Factory):
    """
    The server.

    Attributes:
        entries: What a search finds, by the access key id.
        connections: All connections, the first one first.
        answers: Whether searches are answered.
        hangs_up: Whether a search ends its connection instead.
        binds: Whether binds are answered.
        bind_code: The result of a bind.
        start_tls: The context for StartTLS; None to refuse it.
        after_start_tls: Bytes that follow the response to StartTLS, before TLS begins.
    """

    protocol = FakeConnection
    noisy = False

    def __init__(self) -> None:
        self.entries: dict[bytes, list[Any]] = {b"AK1": [entry(KEY)]}
        self.connections: list[FakeConnection] = []
        self.answers = self.binds = True
        self.hangs_up = False
        self.bind_code = 0
        self.start_tls: Any = None
        self.after_start_tls = b""

    @property
    def bound(self) -> list[Any]:
        """
        Every bind of every connection.
        """
        received = [each for connection in self.connections for _, each in connection.received]
        return [each for each in received if isinstance(each, pureldap.LDAPBindRequest)]

    def search_count(self) -> int:
        """
        Return the number of searches on all connections.
        """
        return sum(len(connection.searches()) for connection in self.connections)

    def handle(self, connection: FakeConnection, number: int, request: Any) -> None:
        """
        Answer one request.
        """
        if isinstance(request, pureldap.LDAPBindRequest) and self.binds:
            connection.send(number, pureldap.LDAPBindResponse(resultCode=self.bind_code, errorMessage="who is it"))
        elif isinstance(request, pureldap.LDAPSearchRequest) and self.hangs_up:
            connection.transport.loseConnection()
        elif isinstance(request, pureldap.LDAPSearchRequest) and self.answers:
            connection.send(number, *self.entries.get(asked_for(request), []), done())
        elif isinstance(request, pureldap.LDAPUnbindRequest):
            connection.transport.loseConnection()
        elif isinstance(request, pureldap.LDAPExtendedRequest):
            code = 0 if self.start_tls is not None else 2
            response = pureldap.LDAPExtendedResponse(resultCode=code, responseName=request.requestName)
            connection.transport.write(message(number, response) + self.after_start_tls)
            if self.start_tls is not None:
                connection.transport.startTLS(self.start_tls)
