"""
What all requests of one listener share: its settings, its collaborators, its budgets and its counters.
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
from s3proxy.backend.faults import BackendFault
from s3proxy.body.plan import BodyLimits
from s3proxy.body.spool import SpoolDirectory
from s3proxy.exchange.budget import Budgets
from s3proxy.exchange.replay import ReplayWindow
from s3proxy.interfaces import IAuthorizer, ICredentialStore
from s3proxy.multipart.uploads import MultipartUploads
from s3proxy.s3.address import Address
from s3proxy.s3.exemption import Exemption
from s3proxy.s3.head import RequestHead
from s3proxy.telemetry.accesslog import AccessRecord
from s3proxy.telemetry.declarations import BACKEND, Metric, counter
from s3proxy.telemetry.requests import RequestCounts


@dataclass(frozen=True, slots=True)
class ProxySettings:
    """
    The settings of a proxy.

    Attributes:
        realm: Which signatures the listener accepts.
        body_limits: Which bodies are verified whole, and up to which size.
        host_id: Text of ``HostId`` and ``x-amz-id-2``.
        lookup_time: Maximum seconds that a credential source or an authorizer may take.
        replay_window: Remembers the requests that change something, to refuse a repetition; None to accept repetitions.
        is_read_only: Whether requests that change something are refused.
    """

    realm: Realm = field(default_factory=Realm)
    body_limits: BodyLimits = field(default_factory=BodyLimits)
    host_id: str = "s3proxy"
    lookup_time: float = 10.0
    replay_window: ReplayWindow | None = None
    is_read_only: bool = False


@dataclass(slots=True)
class ProxyCounts:
    """
    The counters that proxies share.

    Attributes:
        committed_early: Responses below 400 that arrived before the end of the body was sent. Each client got an error
            instead.
        dropped_headers: Headers that were dropped because no signature covers them.
        lost_headers: Headers that were not sent because the backend does not keep them, by backend and header name.
        exempted: How many requests needed each exemption of their key.
        aborted: Requests that were given up, by cause.
        disbelieved: Responses that claimed success wrongly, by what was wrong.
        requests: The requests that have ended.
    """

    committed_early: int = 0
    dropped_headers: int = 0
    lost_headers: Counter[tuple[str, str]] = field(default_factory=Counter)
    exempted: Counter[Exemption] = field(default_factory=Counter)
    aborted: Counter[str] = field(default_factory=Counter)
    disbelieved: Counter[str] = field(default_factory=Counter)
    requests: RequestCounts = field(default_factory=RequestCounts)


METRICS: tuple[Metric[ProxyCounts], ...] = (
    counter(
        "s3proxy_aborts",
        "Requests that were aborted, by cause: which side left, failed or was too slow.",
        lambda counts: counts.aborted,
        {
            "cause": (
                *("client_left", "client_cut", "client_too_slow"),
                *("backend_failed", "backend_committed_early", "backend_disbelieved"),
                *(f"backend_{fault.name.lower()}" for fault in BackendFault),
                *("budget", "condition", "drain"),
            )
        },
    ),
    counter(
        "s3proxy_backend_committed_early",
        "Responses that claimed success before the end of the body was released.",
        lambda counts: counts.committed_early,
    ),
    counter(
        "s3proxy_backend_disbelieved",
        "Responses that claimed success but failed a check, by reason: the document, the entity tag or its MD5.",
        lambda counts: counts.disbelieved,
        {"reason": ("document", "etag", "md5")},
    ),
    counter(
        "s3proxy_dropped_headers",
        "Headers that were dropped because no signature covers them.",
        lambda counts: counts.dropped_headers,
    ),
    counter(
        "s3proxy_lost_headers",
        "Object headers that were not sent because the backend does not store them; see lossy_headers.",
        lambda counts: counts.lost_headers,
        {**BACKEND, "header": "the name of the header, in lower case"},
    ),
    counter(
        "s3proxy_exemptions",
        "Requests that needed an exemption of their key.",
        lambda counts: {exemption: counts.exempted[exemption] for exemption in Exemption},
        {"exemption": tuple(Exemption)},
    ),
)


class ClientContext:
    """
    The objects that authenticate the requests of clients, and bound them.

    Args:
        settings: The settings of the listener.
        credentials: The source of credentials.
        wall_clock: Returns the time for signatures, in UTC; not the reactor's clock, which is monotonic.
        make_request_id: Makes the text that names a request in its response and in the log.
        budgets: The budgets of all requests together, and of each key.
        counts: The counters to use; new ones by default.
    """

    log = Logger("s3proxy.exchange")

    def __init__(
        self,
        settings: ProxySettings,
        credentials: ICredentialStore,
        *,
        wall_clock: Callable[[], datetime],
        make_request_id: Callable[[], str],
        budgets: Budgets,
        counts: ProxyCounts | None = None,
    ) -> None:
        self.settings = settings
        self.credentials = credentials
        self.wall_clock = wall_clock
        self.make_request_id = make_request_id
        self.budgets = budgets
        self.counts = counts or ProxyCounts()


class ProxyContext(ClientContext):
    """
    The objects that each exchange of one proxy uses.

    Args:
        settings: The settings of the listener.
        credentials: The source of credentials.
        choose_backend: Returns the backend for a head, its address and an authenticated client.
        wall_clock: As for `ClientContext`.
        clock: Monotonic seconds, for durations: ``reactor.seconds``.
        make_request_id: As for `ClientContext`.
        log_access: Called with the record of each request that has ended; None if there is no access log.
        authorizer: Decides about each authenticated request; None allows everything.
        spool: The directory for bodies that must be verified whole and are too large for memory.
        budgets: The budgets of all requests together, and of each key.
        counts: The counters to use; new ones by default.
        multipart: Keeps the multipart uploads for backends that have none; None if there is no such backend.

    Attributes:
        is_draining: Whether new requests are refused.
        is_read_only: As in the settings.
    """

    def __init__(
        self,
        settings: ProxySettings,
        credentials: ICredentialStore,
        choose_backend: Callable[[RequestHead, Address, Authenticated], Backend],
        *,
        wall_clock: Callable[[], datetime],
        clock: Callable[[], float],
        make_request_id: Callable[[], str],
        log_access: Callable[[AccessRecord], None] | None,
        authorizer: IAuthorizer | None = None,
        spool: SpoolDirectory,
        budgets: Budgets,
        counts: ProxyCounts | None = None,
        multipart: MultipartUploads | None = None,
    ) -> None:
        super().__init__(
            settings,
            credentials,
            wall_clock=wall_clock,
            make_request_id=make_request_id,
            budgets=budgets,
            counts=counts,
        )
        self.is_read_only = settings.is_read_only
        self.choose_backend = choose_backend
        self.clock = clock
        self.log_access = log_access
        self.authorizer = authorizer
        self.spool = spool
        self.is_draining = False
        self.multipart = multipart
