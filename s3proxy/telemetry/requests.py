"""
The counters of requests that have ended. Each request costs only a few counters at its end.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping

from s3proxy.s3.claim import Carrier
from s3proxy.s3.errors import DOCUMENTED_CODES, S3Error
from s3proxy.telemetry.declarations import BACKEND, Distribution, Metric, counter, histogram

OTHER = "other"
"""
The label for any value that is not in a fixed list. A client that could choose labels could fill the memory of s3proxy
and of Prometheus.
"""

NONE = "none"
"""
The label of a request that is not authenticated.
"""

_METHODS = {name.encode(): name for name in ("GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS")}


def _own_codes() -> set[str]:
    found, classes = set[str](), [S3Error]
    while classes:
        error = classes.pop()
        found.add(error.code)
        classes += error.__subclasses__()
    return found


CODES = DOCUMENTED_CODES | _own_codes()
"""
Error codes that have a label of their own: those of S3 and of s3proxy. The profiles map backends' codes to these.
"""


class RequestCounts:
    """
    The counters of one process for requests that have ended.

    Attributes:
        received_size: Bytes of request bodies.
        sent_size: Bytes of response bodies.
        seconds: The durations of requests, by method.
        turn_around: The times until a backend's response began, by the name of the backend.
    """

    def __init__(self) -> None:
        # The counters of prometheus_client cost ten times as much per request.
        self._requests: Counter[tuple[str, Carrier | None, int, str]] = Counter()
        self.received_size = 0
        self.sent_size = 0
        self.seconds: defaultdict[str, Distribution] = defaultdict(Distribution)
        self.turn_around: defaultdict[str, Distribution] = defaultdict(Distribution)

    def count(
        self,
        method: bytes,
        carrier: Carrier | None,
        status: int,
        error_code: str | None,
        *,
        seconds: float,
        received_size: int = 0,
        sent_size: int = 0,
        backend: str | None = None,
        turn_around: float | None = None,
    ) -> None:
        """
        Count a request that has ended.

        Args:
            method: As received; empty for bytes that were not a request.
            carrier: Where the verified signature was; None if there was none.
            status: The status of the response; 0 if the client left before one.
            error_code: The error code of the response; a backend may have written it.
            seconds: From the end of the head to the end of the response.
            received_size: Bytes of the request's body.
            sent_size: Bytes of the response's body.
            backend: The name of the backend; None if no request was sent to one.
            turn_around: Seconds from the end of the request to the first byte of the backend's response.
        """
        label = _METHODS.get(method, OTHER)
        code = error_code or ""
        if code and code not in CODES:
            code = OTHER
        self._requests[label, carrier, status, code] += 1
        self.received_size += received_size
        self.sent_size += sent_size
        self.seconds[label].observe(seconds)
        if backend is not None and turn_around is not None:
            # The backend may respond before the request has ended.
            self.turn_around[backend].observe(max(0.0, turn_around))

    def requests(self) -> Mapping[tuple[str, str, str, str, str], int]:
        """
        Return the number of requests, by method, signature, place, status and error code.
        """
        found: Counter[tuple[str, str, str, str, str]] = Counter()
        for (method, carrier, status, code), number in self._requests.items():
            version, place = (carrier.version, carrier.place) if carrier is not None else (None, None)
            found[method, version or NONE, place or NONE, str(status), code] += number
        return found


_METHOD = {"method": (*_METHODS.values(), OTHER)}

METRICS: tuple[Metric[RequestCounts], ...] = (
    histogram(
        "s3proxy_request_seconds",
        "Time from the end of a request's head to the end of its response.",
        lambda counts: counts.seconds,
        _METHOD,
    ),
    histogram(
        "s3proxy_backend_seconds",
        "Time from the end of a request to the first byte of the backend's response.",
        lambda counts: counts.turn_around,
        BACKEND,
    ),
    counter(
        "s3proxy_requests",
        "Requests that have ended, by request and response. Status 0: the client left before the response.",
        RequestCounts.requests,
        {
            **_METHOD,
            "signature": (*dict.fromkeys(carrier.version for carrier in Carrier if carrier.version), NONE),
            "place": (*dict.fromkeys(carrier.place for carrier in Carrier if carrier.place), NONE),
            "status": "the status of the response",
            "code": f"the [error code](errors.md) if S3 or s3proxy has it, `{OTHER}`, or empty if there is no error",
        },
    ),
    counter(
        "s3proxy_received_bytes",
        "Bytes of request bodies, without transfer coding.",
        lambda counts: counts.received_size,
    ),
    counter("s3proxy_sent_bytes", "Bytes of response bodies.", lambda counts: counts.sent_size),
)
