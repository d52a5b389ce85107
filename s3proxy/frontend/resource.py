"""
The Twisted resource that begins an exchange at the end of a request's head.
"""

from __future__ import annotations

from typing import Any, Protocol

from twisted.logger import Logger
from twisted.web.resource import IResource
from twisted.web.server import NOT_DONE_YET
from zope.interface import implementer

from s3proxy.frontend.request import StreamedRequest
from s3proxy.interfaces import IStreamedRequest, IStreamedResource


class ExchangeBeginner(Protocol):
    """
    Carries a request out: a `s3proxy.exchange.proxy.Proxy`.
    """

    def begin(self, request: StreamedRequest) -> None:
        """
        Begin the exchange of a request.
        """


class StreamedLeaf:
    """
    A leaf for an `s3proxy.frontend.site.S3Site`: it has no children, and refuses to be served by a stock `Site`.
    """

    isLeaf = True
    _log = Logger()

    def refuse_stock(self, request: Any) -> bytes:
        """
        Return the response to a request whose body was stored before it was rendered, and log the reason.
        """
        name = type(self).__name__
        self._log.critical("an {name} must be served by s3proxy.frontend.site.S3Site, not by a stock Site", name=name)
        request.setResponseCode(500)
        return b"An %s must be served by s3proxy.frontend.site.S3Site, not by a stock Site.\n" % name.encode()

    def getChildWithDefault(self, name: bytes, request: object) -> StreamedLeaf:
        """
        Return the resource itself: the paths below it are not a tree of resources.
        """
        return self

    def putChild(self, path: bytes, child: object) -> None:
        """
        Refuse: put an application's other resources beside this one.
        """
        raise TypeError(f"an {type(self).__name__} is a leaf; put other resources beside it")


@implementer(IResource, IStreamedResource)
class S3Resource(StreamedLeaf):
    """
    All of S3 below one resource: a leaf, whatever the path.

    It must be served by an `s3proxy.frontend.site.S3Site`, beside an application's own resources if wanted: a stock
    `Site` renders a resource only after the whole body was stored.

    Args:
        proxy: Carries requests out; may be replaced at any time.
    """

    def __init__(self, proxy: ExchangeBeginner) -> None:
        self.proxy = proxy

    def render(self, request: Any) -> int | bytes:
        """
        Begin an exchange.
        """
        streamed: StreamedRequest = request
        if not IStreamedRequest.providedBy(request):
            return self.refuse_stock(request)
        self.proxy.begin(streamed)
        return NOT_DONE_YET
