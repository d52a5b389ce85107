"""
An application's own resource behind the authentication of S3.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterable
from datetime import UTC, datetime
from typing import Any

from twisted.web.resource import IResource
from twisted.web.server import NOT_DONE_YET
from zope.interface import implementer

from s3proxy.authentication.realm import SWITCHES, Realm
from s3proxy.embedding.entrance import Accesses, Entrance, Entry
from s3proxy.embedding.store import as_source
from s3proxy.exchange.budget import Budgets
from s3proxy.exchange.context import ClientContext, ProxySettings
from s3proxy.frontend.request import StreamedRequest
from s3proxy.frontend.resource import StreamedLeaf
from s3proxy.frontend.site import make_request_id
from s3proxy.interfaces import ICredentialStore, IStreamedRequest, IStreamedResource
from s3proxy.s3.limits import MAX_OBJECT_SIZE

_NOT_STREAMED = (
    "%s does not implement IStreamedResource: a plain resource is rendered only after its whole body was stored"
)


@implementer(IResource, IStreamedResource)
class AuthenticatedResource(StreamedLeaf):
    """
    A resource that renders another one for each request whose signature is verified: see `authenticated`.
    """

    def __init__(self, entry: Entry) -> None:
        self._entry = entry

    def render(self, request: Any) -> int | bytes:
        """
        Judge a request, and then render or refuse it.
        """
        streamed: StreamedRequest = request
        if not IStreamedRequest.providedBy(request):
            return self.refuse_stock(request)
        Entrance(self._entry, streamed).begin()
        return NOT_DONE_YET


def authenticated(
    resource: IStreamedResource,
    credentials: ICredentialStore,
    reactor: Any,
    *,
    regions: Iterable[str] = ("us-east-1",),
    domains: Iterable[str] = (),
    refuse: Collection[str] = (),
    accesses: Accesses | None = None,
    max_size: int = MAX_OBJECT_SIZE,
    budgets: Budgets | None = None,
    lookup_time: float = 10.0,
    host_id: str = "s3proxy",
    wall_clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> AuthenticatedResource:
    """
    Return a resource for an `S3Site` that authenticates each request exactly as S3 does, and only then renders an
    application's own resource, with an `IAuthenticatedRequest`.

    Signature V4, V4A and V2 are accepted in a header or in the query, with every kind of body. Anything else gets S3's
    error: anonymous requests and forms, too. A key that is disabled, expired, or used outside of its `networks` is
    refused; a key for reading only may send GET, HEAD and OPTIONS.

    Args:
        credentials: The keys. A store that has no `session_tokens` cannot tell the token of another key from one that
            was never issued; see `s3proxy.embedding.store`. The application starts and stops its source itself.
        reactor: Its clock must never go back.
        regions: The regions that a signature may name; errors name the first. The service is always ``s3``.
        domains: A host below one of them names its bucket, which Signature V2 covers.
        refuse: The carriers and payloads that are refused, by the words of the option `refuse`.
        accesses: Returns the S3 actions that a request needs, for keys with `allow` or `deny`. By default such a key is
            refused: its rules are about S3, and allow nothing else.
        max_size: Maximum bytes of a body.
        budgets: The budgets of all requests; by default there are only those of each credential.
        lookup_time: Maximum seconds for a look-up of a key.
        host_id: Text of ``HostId`` and ``x-amz-id-2``.
        wall_clock: Returns the time for signatures, with its time zone.

    Raises:
        TypeError: The resource does not stream.
        ValueError: `refuse` has an unknown word, or there is no region.
    """
    if not IStreamedResource.providedBy(resource):
        raise TypeError(_NOT_STREAMED % type(resource).__name__)
    source = as_source(credentials)
    context = ClientContext(
        ProxySettings(
            realm=_make_realm(regions, domains, refuse, source.session_tokens),
            host_id=host_id,
            lookup_time=lookup_time,
        ),
        source,
        wall_clock=wall_clock,
        make_request_id=make_request_id,
        budgets=budgets or Budgets(reactor),
    )
    return AuthenticatedResource(Entry(context, resource, accesses, max_size))


def _make_realm(
    regions: Iterable[str], domains: Iterable[str], refuse: Collection[str], known_tokens: Container[bytes]
) -> Realm:
    unknown = sorted(set(refuse) - set(SWITCHES))
    if unknown:
        raise ValueError(f"refuse cannot have {', '.join(unknown)}; it accepts {', '.join(SWITCHES)}")
    accepted = tuple(region.encode() for region in regions)
    if not accepted:
        raise ValueError("a region is required")
    return Realm(
        regions=accepted,
        domains=tuple(domain.lower().encode() for domain in domains),
        refused=frozenset(refuse),
        known_tokens=known_tokens,
    )
