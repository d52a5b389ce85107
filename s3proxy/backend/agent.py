"""
Send requests to one backend: to the least busy of its addresses, and to another one if that is unreachable.
"""

from __future__ import annotations

from collections.abc import Sequence
from http.cookiejar import CookieJar
from typing import Any

from hyperlink import EncodedURL
from treq.client import HTTPClient
from twisted.internet.defer import Deferred, DeferredList
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers
from twisted.web.iweb import UNKNOWN_LENGTH, IAgent, IBodyProducer
from zope.interface import implementer

from s3proxy.backend.faults import BackendFault
from s3proxy.backend.health import HealthCheck
from s3proxy.backend.pool import Pool, may_repeat
from s3proxy.backend.request import BackendError, BackendRequest, PendingRequest, ResponseReceiver
from s3proxy.backend.response import BackendResponse
from s3proxy.backend.upload import Upload
from s3proxy.resign.gate import write_head
from s3proxy.telemetry.declarations import BACKEND, Metric, counter

_IDEMPOTENT = frozenset({b"GET", b"HEAD", b"PUT", b"DELETE", b"OPTIONS"})
_NOT_SENT = frozenset({BackendFault.UNREACHABLE, BackendFault.OPEN})


class _NoCookies(CookieJar):
    """
    A cookie jar that stores nothing: one client's cookies must not reach another's request.
    """

    def set_cookie(self, cookie: object) -> None:
        """
        Store nothing.
        """

    def extract_cookies(self, response: object, request: object) -> None:
        """
        Store nothing.
        """

    def add_cookie_header(self, request: object) -> None:
        """
        Send nothing.
        """


@implementer(IAgent)
class BackendAgent:
    """
    Sends requests to one backend. It is also an agent for treq, whose requests share its connections.

    Args:
        pools: One pool for each address of the backend; every address can serve every request.
        checks: Run from `start` to `retire` or `close`.

    Attributes:
        failed_over_count: Requests that went to another address, because the first was unreachable.
    """

    def __init__(self, pools: Sequence[Pool], checks: Sequence[HealthCheck] = ()) -> None:
        self.pools = tuple(pools)
        self._checks = checks
        self.failed_over_count = 0
        self._only = self.pools[0] if len(self.pools) == 1 else None
        self._turn = 0
        self._is_closed = False
        self._reactor = self.pools[0].reactor
        cookies: Any = _NoCookies()  # Newer treq asks for its own type, but accepts any.
        self._client = HTTPClient(self, cookiejar=cookies)
        # Never resolved: the agent knows its endpoints, and the head is sent as it was signed.
        self._url = EncodedURL.from_text("http://backend/")

    def send_upload(self, upload: Upload) -> Deferred[BackendResponse]:
        """
        Send a request with a streamed body, through treq.

        Returns:
            The same as `send`.
        """
        asked = self._client.request(
            "PUT", self._url, data=upload, unbuffered=True, allow_redirects=False, reactor=self._reactor
        )
        return asked.addCallback(_unwrapped)

    def request(
        self,
        method: bytes,
        uri: bytes,
        headers: Headers | None = None,
        bodyProducer: Any = None,
    ) -> Deferred[Any]:
        if isinstance(bodyProducer, Upload):
            request = BackendRequest(
                method,
                bodyProducer.head,
                first_byte_time=bodyProducer.first_byte_time,
                expects_continue=bodyProducer.expects_continue,
                absoluteURI=uri,
                headers=headers,
            )
        else:
            head = _plain_head(method, uri, headers, bodyProducer)
            is_idempotent = bodyProducer is None and method in _IDEMPOTENT
            request = BackendRequest(method, head, is_idempotent=is_idempotent, absoluteURI=uri, headers=headers)
        return self.send(request, bodyProducer).addCallback(_remembered, request)

    def send(self, request: BackendRequest, body: Any = None) -> Deferred[BackendResponse]:
        """
        Send a request with `Pool.send` to the least busy address, or to another one if that is unreachable.
        """
        if self._only is not None:
            return self._only.send(request, body)
        first, *others = sorted(self.pools, key=_rank)
        self._turn = first.turn = self._turn + 1
        answered = first.send(request, body)
        return answered.addErrback(self._fail_over, others, request, body)

    def ask(self, request: BackendRequest, receiver: ResponseReceiver) -> PendingRequest:
        """
        Send a request whose body is not streamed, as `send` does.

        Args:
            receiver: Gets the response. Not called after the request was cancelled, or with a failure that says so.
        """
        if self._only is not None:
            return self._only.ask(request, receiver)
        return self.send(request).addCallbacks(receiver.answered, receiver.not_answered)

    def _fail_over(self, failure: Failure, others: list[Pool], request: BackendRequest, body: Any) -> Any:
        error = failure.value
        if not isinstance(error, BackendError) or self._is_closed:
            return failure
        if error.fault is BackendFault.UNANSWERED:
            if not others or not may_repeat(request, body):
                # Another address will serve the request, if the client sends it again.
                return Failure(BackendError(BackendFault.STALE))
        elif error.fault not in _NOT_SENT or not others:
            return failure
        self.failed_over_count += 1
        answered = others[0].send(request, body)
        return answered.addErrback(self._fail_over, others[1:], request, body)

    def start(self) -> None:
        """
        Start the health checks.
        """
        for check in self._checks:
            check.start()

    def retire(self) -> None:
        """
        Stop the health checks, and close each connection after its current request.
        """
        for check in self._checks:
            check.stop()
        for pool in self.pools:
            pool.retire()

    def close(self) -> Deferred[None]:
        """
        Reset every connection; the Deferred fires when all are gone.
        """
        self._is_closed = True
        closing = [check.stop() for check in self._checks] + [pool.close() for pool in self.pools]
        return DeferredList(closing).addCallback(lambda ignored: None)


METRICS: tuple[Metric[BackendAgent], ...] = (
    counter(
        "s3proxy_backend_failovers",
        "Requests that were sent to another address because the first one could not be reached.",
        lambda agent: agent.failed_over_count,
        BACKEND,
    ),
)


def _remembered(response: BackendResponse, request: BackendRequest) -> BackendResponse:
    request.response = response
    return response


def _unwrapped(wrapped: Any) -> BackendResponse:
    """
    Return the original response: treq's wrapper decodes bodies.
    """
    request: BackendRequest = wrapped.request
    response: BackendResponse
    response, request.response = request.response, None
    assert response is not None
    return response


def _rank(pool: Pool) -> tuple[bool, int, int]:
    """
    Return the sort key of a pool: usable pools first, then the least busy, then in turn.
    """
    return (not pool.is_usable, pool.busy_count, pool.turn)


def _plain_head(method: bytes, uri: bytes, headers: Headers | None, body: IBodyProducer | None) -> bytes:
    """
    Return the head for treq's arguments.

    Raises:
        ValueError: The body's length is not known.
        InvalidRequest: The head does not pass the gate.
    """
    authority, slash, rest = uri.partition(b"://")[2].partition(b"/")
    pairs = [(name, value) for name, values in (headers or Headers()).getAllRawHeaders() for value in values]
    sent = [pair for pair in pairs if pair[0].lower() != b"content-length"]
    if not any(name.lower() == b"host" for name, _ in sent):
        sent.insert(0, (b"Host", authority))
    if body is not None:
        if body.length is UNKNOWN_LENGTH:
            raise ValueError("a body must have a length")
        sent.append((b"Content-Length", b"%d" % body.length))
    return write_head(method, slash + rest or b"/", sent) + b"\r\n"
