"""
A request for an application's own resource, beside S3: one of Twisted's own requests, rendered when its body is
complete.
"""

from __future__ import annotations

from typing import Any, Protocol

from twisted.python.failure import Failure
from twisted.web.server import Request

from s3proxy.frontend.incoming_body import BodyReceiver
from s3proxy.frontend.request import RequestChannel, StreamedRequest
from s3proxy.interfaces import IStreamedResource
from s3proxy.s3.errors import S3Error
from s3proxy.s3.head import RequestHead


class ResourceSite(Protocol):
    """
    Finds the resource of a request: an `s3proxy.frontend.site.S3Site`.
    """

    @property
    def resource(self) -> Any:
        """
        The root of the resources.
        """

    def getResourceFor(self, request: Any) -> Any:
        """
        Return the resource for a request's path.
        """


class ClientRequest(BodyReceiver, Protocol):
    """
    The request that a channel calls: a `s3proxy.frontend.request.StreamedRequest`, or an `ApplicationRequest`.

    Attributes:
        is_unjudged: Whether the body waits until the head is judged.
    """

    head: RequestHead
    is_unjudged: bool

    @property
    def takes_body(self) -> bool:
        """
        Whether the rest of the body is needed, now or once the head was judged.
        """

    @property
    def is_being_delivered(self) -> bool:
        """
        Whether a consumer receives the body now, and must learn if its rest does not arrive.
        """

    def begin(self) -> None: ...

    def bodyCame(self, data: bytes) -> None:
        """
        Called before `begin` if the whole body came with the head, and `is_unjudged` is true.
        """

    def bodyEnded(self) -> None: ...

    def bodyFailed(self, error: S3Error) -> None: ...

    def connectionLost(self, reason: Failure) -> None: ...


class ApplicationRequest(Request):
    """
    An ordinary request of Twisted's, on an `s3proxy.frontend.channel.S3Channel`.

    Attributes:
        head: The head as received.
        origin: The client, as far as it is known.
    """

    channel: RequestChannel  # type: ignore[assignment]
    # Twisted receives the whole body: no byte is spliced.
    is_unjudged = False
    takes_body = True
    is_being_delivered = True
    splice_target = None

    def __init__(self, channel: RequestChannel, head: RequestHead) -> None:
        super().__init__(channel)
        self.head = head
        self.origin = channel.origin
        self.method = head.method
        self.uri = head.raw_target
        self.path = head.raw_path
        self.clientproto = head.version
        for name, value in head.headers:
            self.requestHeaders.addRawHeader(name, value)
        self.parseCookies()

    def find_resource(self, site: ResourceSite) -> Any:
        """
        Return the resource for the request's path; None if a resource raises. It will raise again in `render`, which
        reports it.
        """
        self.site: Any = site
        self.prepath: list[bytes] = []
        self.postpath = self.path[1:].split(b"/")
        try:
            return site.getResourceFor(self)
        except Exception:
            return None

    # Called by the channel

    def begin(self) -> None:
        """
        Let the client send the body: nothing is judged before it.
        """
        self.gotLength(self.head.content_length)
        self.channel.body_wanted()
        if not self.head.has_body:
            self.bodyEnded()

    def bodyCame(self, data: bytes) -> None:
        """
        Never called: such a request is not judged before its body.
        """
        raise NotImplementedError

    def bodyReceived(self, data: bytes) -> None:
        """
        Take bytes of the body.
        """
        if not self.finished:
            self.handleContentChunk(data)

    def bodyMoved(self, size: int) -> None:
        """
        Never called: there is no `splice_target`.
        """
        raise NotImplementedError

    def bodyEnded(self) -> None:
        """
        Called once the body is complete: render.
        """
        self.requestReceived(self.method, self.uri, self.clientproto)

    def bodyFailed(self, error: S3Error) -> None:
        """
        Called if the rest of the body will not arrive, or cannot be read.
        """
        self.channel.abort()


def make_request(channel: RequestChannel, site: ResourceSite, head: RequestHead) -> ClientRequest:
    """
    Return the request for a head: a streamed one if its resource streams.

    Args:
        site: Finds the resource.
    """
    if IStreamedResource.providedBy(site.resource):
        return StreamedRequest(channel, head, site.resource)
    request = ApplicationRequest(channel, head)
    resource = request.find_resource(site)
    if IStreamedResource.providedBy(resource):
        return StreamedRequest(channel, head, resource)
    return request
