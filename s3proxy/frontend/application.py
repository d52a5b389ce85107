"""
A request for an application's own resource, beside S3: Twisted's own, rendered when its body is complete.
"""

from __future__ import annotations

from typing import Any, Protocol

from twisted.python.failure import Failure
from twisted.web.server import Request

from s3proxy.frontend.request import RequestChannel, StreamedRequest
from s3proxy.interfaces import IStreamedResource
from s3proxy.s3.errors import S3Error
from s3proxy.s3.head import RequestHead
from s3proxy.transport.writer import DirectWriter


class ResourceSite(Protocol):
    """
    Where a request finds its resource: an `s3proxy.frontend.site.S3Site`.
    """

    @property
    def resource(self) -> Any:
        """
        The root of the resources.
        """

    def getResourceFor(self, request: Any) -> Any:
        """
        Traverse the resources by a request's path.
        """


class ClientRequest(Protocol):
    """
    What a channel tells its request: a `s3proxy.frontend.request.StreamedRequest`, or an `ApplicationRequest`.

    Attributes:
        is_unjudged: Whether its body waits until it is judged.
    """

    head: RequestHead
    is_unjudged: bool

    @property
    def takes_body(self) -> bool:
        """
        Whether what still comes of the body goes to somebody, now or once its head was judged.
        """

    @property
    def is_being_delivered(self) -> bool:
        """
        Whether somebody takes the body now, and is told if its rest does not come.
        """

    @property
    def splice_target(self) -> DirectWriter | None:
        """
        Where the body's bytes may go without being received; None where somebody must see them.
        """

    def begin(self) -> None: ...

    def bodyReceived(self, data: bytes) -> None: ...

    def bodyMoved(self, size: int) -> None: ...

    def bodyEnded(self) -> None: ...

    def bodyFailed(self, error: S3Error) -> None: ...

    def connectionLost(self, reason: Failure) -> None: ...


class ApplicationRequest(Request):
    """
    An ordinary request of Twisted's, on an `s3proxy.frontend.channel.S3Channel`.

    Attributes:
        head: As received.
        origin: Whom it comes from.
    """

    channel: RequestChannel  # type: ignore[assignment]
    # Somebody takes its body, and none of it is moved past Twisted.
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
        Traverse the resources of a site; None where one of them fails, as it will again when this is rendered.
        """
        self.site: Any = site
        self.prepath: list[bytes] = []
        self.postpath = self.path[1:].split(b"/")
        try:
            return site.getResourceFor(self)
        except Exception:
            return None

    # What the channel tells

    def begin(self) -> None:
        """
        Let the client send the body: nothing is judged before it.
        """
        self.gotLength(self.head.content_length)
        self.channel.send_continue()
        if not self.head.has_body:
            self.bodyEnded()

    def bodyReceived(self, data: bytes) -> None:
        """
        Take bytes of the body.
        """
        if not self.finished:
            self.handleContentChunk(data)

    def bodyMoved(self, size: int) -> None:
        """
        Never be told that bytes went elsewhere: there is no `splice_target`.
        """
        raise NotImplementedError

    def bodyEnded(self) -> None:
        """
        Know that the body is complete: render.
        """
        self.requestReceived(self.method, self.uri, self.clientproto)

    def bodyFailed(self, error: S3Error) -> None:
        """
        Know that the rest of the body will not come, or cannot be read.
        """
        self.channel.abort()


def make_request(channel: RequestChannel, site: ResourceSite, head: RequestHead) -> ClientRequest:
    """
    Make the request of a head: streamed, if its resource streams.

    Args:
        site: Where its resource is found.
    """
    if IStreamedResource.providedBy(site.resource):
        return StreamedRequest(channel, head, site.resource)
    request = ApplicationRequest(channel, head)
    resource = request.find_resource(site)
    if IStreamedResource.providedBy(resource):
        return StreamedRequest(channel, head, resource)
    return request
