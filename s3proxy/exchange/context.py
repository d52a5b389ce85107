"""
What all requests of one listener share: its settings, its rooms, its budgets and its counters.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from twisted.logger import Logger

from s3proxy.authentication.realm import Realm
from s3proxy.authentication.verdict import Authenticated
from s3proxy.backend.backend import Backend
from s3proxy.body.plan import BodyLimits
from s3proxy.body.spool import SpoolDirectory
from s3proxy.exchange.budget import Budgets
from s3proxy.exchange.replay import ReplayWindow
from s3proxy.interfaces import IAuthorizer, ICredentialStore
from s3proxy.multipart.uploads import MultipartUploads
from s3proxy.s3.address import Address
from s3proxy.s3.head import RequestHead
from s3proxy.telemetry.accesslog import AccessRecord


@dataclass(frozen=True, slots=True)
class ProxySettings:
    """
    What a proxy must know beside its rooms.

    Attributes:
        realm: Which signatures are accepted here.
        body_limits: What is verified whole, and up to which size.
        host_id: Text of ``HostId`` and ``x-amz-id-2``.
        lookup_time: Seconds that a credential source may take, and an authorizer.
        replay_window: Remembers the signatures of requests which change something; None to let them pass again.
    """

    realm: Realm = field(default_factory=Realm)
    body_limits: BodyLimits = field(default_factory=BodyLimits)
    host_id: str = "s3proxy"
    lookup_time: float = 10.0
    replay_window: ReplayWindow | None = None


@dataclass(slots=True)
class ProxyCounts:
    """
    What proxies count, together.

    Attributes:
        committed_early: Answers below 400 which came before the body's end was released; none was believed.
        dropped_headers: Headers which were dropped because no signature covers them.
        lost_headers: Headers that a backend does not keep and did not get, by its name and theirs.
        exempted: How often each exemption of a key was needed.
        aborted: Requests which were given up, by cause.
        disbelieved: Successes of a backend that were none, by what was wrong.
    """

    committed_early: int = 0
    dropped_headers: int = 0
    lost_headers: Counter[tuple[str, str]] = field(default_factory=Counter)
    exempted: Counter[str] = field(default_factory=Counter)
    aborted: Counter[str] = field(default_factory=Counter)
    disbelieved: Counter[str] = field(default_factory=Counter)


class ProxyContext:
    """
    What each exchange of one proxy may use.

    Args:
        settings: For one listener.
        credentials: Where keys are looked up.
        choose_backend: The backend for a head, its address and an authenticated client.
        wall_clock: Tells the time of signatures, in UTC; not the reactor's, which is monotonic.
        clock: Seconds which never go back, for durations: ``reactor.seconds``.
        log_access: Told of each request when it has ended.
        authorizer: Asked once the client is known to be who it says; None lets everything pass.
        spool: Where bodies go which must be verified whole, and are too large for memory.
        budgets: What requests may have together.
        counts: Where it counts; its own by default.
        multipart: Keeps multipart uploads, for backends that have none; None if there is no such backend.

    Attributes:
        is_draining: Whether new requests are refused.
    """

    log = Logger("s3proxy.exchange")

    def __init__(
        self,
        settings: ProxySettings,
        credentials: ICredentialStore,
        choose_backend: Callable[[RequestHead, Address, Authenticated], Backend],
        *,
        wall_clock: Callable[[], datetime],
        clock: Callable[[], float],
        make_request_id: Callable[[], str],
        log_access: Callable[[AccessRecord], None],
        authorizer: IAuthorizer | None = None,
        spool: SpoolDirectory,
        budgets: Budgets,
        counts: ProxyCounts | None = None,
        multipart: MultipartUploads | None = None,
    ) -> None:
        self.settings = settings
        self.credentials = credentials
        self.choose_backend = choose_backend
        self.wall_clock = wall_clock
        self.clock = clock
        self.make_request_id = make_request_id
        self.log_access = log_access
        self.authorizer = authorizer
        self.spool = spool
        self.is_draining = False
        self.budgets = budgets
        self.counts = counts or ProxyCounts()
        self.multipart = multipart
