"""
An application's own resource behind the authentication of S3, beside S3 itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IConsumer
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET
from zope.interface import implementer

from s3proxy import IStreamedResource, authenticated
from s3proxy.frontend.resource import S3Resource
from tests.support.harness import Harness


@implementer(IConsumer)
class Kept:
    """
    A consumer that keeps what it gets.

    Attributes:
        events: The calls, by name, without those of `write`.
    """

    def __init__(self, *, pauses: bool = False) -> None:
        self.pauses = pauses
        self.producer: Any = None
        self.events: list[str] = []
        self.pieces: list[bytes] = []

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """
        Remember the producer, and pause it if the test says so.
        """
        assert streaming
        self.producer = producer
        self.events.append("registered")
        if self.pauses:
            producer.pauseProducing()

    def unregisterProducer(self) -> None:
        """
        Remember the call.
        """
        self.events.append("unregistered")

    def write(self, data: bytes) -> None:
        """
        Keep bytes; fail if the end was told already.
        """
        assert self.events == ["registered"]
        assert type(data) is bytes
        self.pieces.append(data)

    @property
    def content(self) -> bytes:
        """
        All bytes.
        """
        return b"".join(self.pieces)


@implementer(IStreamedResource)
class Page:
    """
    A resource that takes each body into a consumer, and then responds with its size.

    Args:
        act: Renders each request instead.

    Attributes:
        requests: The requests that were rendered.
        outcomes: For each body, None or what its Deferred failed with.
    """

    def __init__(self, act: Callable[[Any], Any] | None = None, make_consumer: Callable[[], Kept] = Kept) -> None:
        self.act = act
        self.make_consumer = make_consumer
        self.requests: list[Any] = []
        self.consumers: list[Kept] = []
        self.outcomes: list[Any] = []

    def render(self, request: Any) -> Any:
        """
        Render one request.
        """
        self.requests.append(request)
        if self.act is not None:
            return self.act(request)
        consumer = self.make_consumer()
        self.consumers.append(consumer)
        request.deliverBody(consumer).addCallbacks(
            self.outcomes.append, lambda failure: self.outcomes.append(failure.value)
        ).addCallback(lambda ignored: request.respond(200, [(b"X-Size", b"%d" % len(consumer.content))], b"stored"))
        return NOT_DONE_YET

    @property
    def consumer(self) -> Kept:
        """
        The consumer of the only body.
        """
        (consumer,) = self.consumers
        return consumer


class _Root(Resource):
    def __init__(self, others: S3Resource) -> None:
        super().__init__()
        self._others = others

    def getChild(self, path: bytes, request: object) -> Any:
        return self._others


def embedded(page: Any, harness: Harness | None = None, **options: Any) -> Harness:
    """
    Return a proxy whose site has a resource of an application at ``/test-bucket``, and S3 everywhere else.

    Args:
        options: Of `authenticated`.
    """
    harness = harness or Harness()
    root = _Root(S3Resource(harness.proxy))
    now = options.pop("wall_clock", lambda: harness.now)
    resource = authenticated(page, harness.store, harness.site.reactor, wall_clock=now, **options)
    root.putChild(b"test-bucket", resource)
    harness.site.resource = root
    return harness
