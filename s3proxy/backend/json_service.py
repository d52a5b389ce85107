"""
Ask another service over HTTP, with JSON in both directions, and bounds on the time and the size of its response.

The connections are those of a backend: a small pool, and TLS verified by service-identity. There is no breaker: whoever
asks knows better when to ask again. A request holds its content, and it changes nothing: if a pooled connection has
died, it is sent once more. A redirect is a response like any other, and is not followed: it must not send a credential
elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from contextvars import Context
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred, TimeoutError, fail, succeed
from twisted.python.failure import Failure

from s3proxy.backend.agent import BackendAgent
from s3proxy.backend.endpoints import TLSFiles, check_tls_files, make_endpoint
from s3proxy.backend.pool import Pool
from s3proxy.backend.request import BackendError, BackendLimits, BackendRequest
from s3proxy.backend.response import BackendResponse
from s3proxy.backend.trouble import why
from s3proxy.resign.gate import write_head
from s3proxy.s3.head import Fields
from s3proxy.s3.limits import KIB
from s3proxy.transport.writer import Buffer, SeesEachByte

MAX_DOCUMENT_SIZE = 64 * KIB
"""
Bytes of a response, if a service needs no more. A key with all its rules needs a few hundred.
"""

MAX_SERVICE_CONNECTIONS = 64
"""
Connections to one service. Further requests wait for one of them, so a flood of unknown keys does not become a flood of
connections.
"""

_CONNECT_TIME = 5.0


class ServiceFailed(Exception):
    """
    A service did not respond as it must. The text says why, and has nothing that was sent or received but a status.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceAddress:
    """
    Where a service is.

    Attributes:
        host: A name or an address. The certificate must be for it.
        authority: Host and port, as in the Host header.
        tls: The files of TLS; None for a connection without TLS.
    """

    host: str
    port: int
    authority: str
    tls: TLSFiles | None = None


@dataclass(frozen=True, slots=True, repr=False)
class ServiceResponse:
    """
    A whole response. It may contain secrets, so its text has none of it.
    """

    status: int
    fields: Fields
    content: bytes

    def document(self) -> dict[str, Any]:
        """
        Return the JSON object of the response.

        Raises:
            ServiceFailed: It is not a JSON object, or an object in it names a member twice.
        """
        try:
            document = json.loads(self.content, object_pairs_hook=_unique)
        except (ValueError, RecursionError):
            # The text of such an error would quote the document.
            raise ServiceFailed("the response is not JSON") from None
        if not isinstance(document, dict):
            raise ServiceFailed("the response is not a JSON object")
        return document


def _unique(members: list[tuple[str, Any]]) -> dict[str, Any]:
    # Another reader could take the other one: of two `disabled`, or of two rules.
    found = dict(members)
    if len(found) != len(members):
        raise ValueError
    return found


class JSONService:
    """
    A service that is asked over HTTP.

    Args:
        address: Where it is.
        time: Maximum seconds for one request, from the wait for a connection to the last byte of the response.
        max_size: Maximum bytes of the content of a response.

    Raises:
        BadTLSFiles: A certificate file is missing or not valid.
    """

    def __init__(self, address: ServiceAddress, time: float, max_size: int = MAX_DOCUMENT_SIZE) -> None:
        self._address = address
        self._max_size = max_size
        self._time = time
        self._reactor: Any = None
        self._agent: BackendAgent | None = None
        check_tls_files(address.tls, address.host)

    def start(self, reactor: Any) -> None:
        """
        Allow requests. Nothing is connected yet.
        """
        address = self._address
        connect_time = min(_CONNECT_TIME, self._time)
        endpoint = make_endpoint(reactor, address.host, address.port, connect_time, tls=address.tls)
        limits = BackendLimits(
            connect_time=connect_time,
            max_connections=MAX_SERVICE_CONNECTIONS,
            max_pooled=MAX_SERVICE_CONNECTIONS,
            breaker_failures=0,
        )
        self._reactor = reactor
        self._agent = BackendAgent([Pool(reactor, endpoint, limits, address.authority)])

    def stop(self) -> Deferred[None]:
        """
        Reset every connection; the Deferred fires when all are gone. Requests that still run fail.
        """
        agent, self._agent = self._agent, None
        return succeed(None) if agent is None else agent.close()

    def ask(
        self, method: bytes, path: str, headers: Iterable[tuple[bytes, bytes]] = (), document: Any = None
    ) -> Deferred[ServiceResponse]:
        """
        Send a request.

        Args:
            path: As sent.
            headers: Besides Host and those about the content. A value may be a secret.
            document: Sent as JSON; None for a request without content.

        Returns:
            Fires with a response of any status; fails with `ServiceFailed`. It can be cancelled.
        """
        if self._agent is None:
            told = f"{self._address.authority} is not asked before the start or after the end"
            return fail(ServiceFailed(told))
        content = b"" if document is None else json.dumps(document).encode()
        sent = [(b"Host", self._address.authority.encode()), (b"Accept", b"application/json"), *headers]
        if document is not None:
            sent += [(b"Content-Type", b"application/json"), (b"Content-Length", b"%d" % len(content))]
        head = write_head(method, path.encode(), sent) + b"\r\n"
        request = BackendRequest(method, head, content, is_idempotent=True)
        # The response may serve many clients, so the request runs in the context of none.
        asked = Context().run(Deferred.fromCoroutine, _whole_response(self._agent, request, self._max_size))
        asked.addTimeout(self._time, self._reactor)
        return asked.addErrback(self._explain)

    def _explain(self, failure: Failure) -> Failure:
        error = failure.value
        if isinstance(error, TimeoutError):
            told = f"no whole response within {self._time:g} seconds"
        elif isinstance(error, BackendError):
            told = why(error)
        elif isinstance(error, ServiceFailed):
            told = str(error)
        else:
            return failure
        return Failure(ServiceFailed(f"{self._address.authority}: {told}"))


async def _whole_response(agent: BackendAgent, request: BackendRequest, max_size: int) -> ServiceResponse:
    response = await agent.send(request)
    gathering = _Gathering(response, max_size)
    if response.body_length is not None and response.body_length > max_size:
        response.abort()
        raise ServiceFailed(_too_large(max_size))
    response.deliver(gathering)
    await gathering.ended
    return ServiceResponse(response.head.status, response.head.fields, b"".join(gathering.pieces))


def _too_large(max_size: int) -> str:
    return f"the response has more than {max_size} bytes"


class _Gathering(SeesEachByte):
    """
    Receives a response of limited size.
    """

    def __init__(self, response: BackendResponse, max_size: int) -> None:
        self.pieces: list[bytes] = []
        self.ended: Deferred[None] = Deferred(lambda ignored: response.abort())
        self._response = response
        self._max_size = max_size
        self._size = 0

    def bodyReceived(self, pieces: Sequence[Buffer]) -> None:
        for piece in pieces:
            self._size += len(piece)
            if self._size <= self._max_size:
                self.pieces.append(bytes(piece))
        if self._size > self._max_size:
            self._response.abort()

    def bodyEnded(self, failure: Failure | None) -> None:
        if self.ended.called:
            return
        if self._size > self._max_size:
            self.ended.errback(ServiceFailed(_too_large(self._max_size)))
        elif failure is None:
            self.ended.callback(None)
        else:
            self.ended.errback(failure)
