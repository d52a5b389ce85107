"""
The factory that listens: S3 and an application's own resources on one port.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, cast

from OpenSSL import SSL
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IAddress, IReactorFDSet
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import IResource
from twisted.web.server import Site

from s3proxy.frontend.admission import ConnectionLimit
from s3proxy.frontend.channel import S3Channel
from s3proxy.frontend.hangup import HangupWatch
from s3proxy.frontend.hold import Hold
from s3proxy.frontend.peers import Trust
from s3proxy.frontend.proxy_protocol import ProxyHeaderProtocol
from s3proxy.frontend.times import DRAINED_KEEP_ALIVE, ClientTimes
from s3proxy.s3.errors import S3Error
from s3proxy.telemetry.declarations import Metric, gauge

MAX_REASONS = 10
"""
Maximum number of log lines a second about bytes that are not a request, and about TLS that failed: a sender of garbage
must not fill the log.
"""


_IDS_AT_A_TIME = 256
_ID_SIZE = 16
_request_ids: list[str] = []


def make_request_id() -> str:
    """
    Return 16 random hex digits in upper case, in the form of S3's own request ids.
    """
    if not _request_ids:
        # One system call for many requests.
        digits = os.urandom(_IDS_AT_A_TIME * _ID_SIZE // 2).hex().upper()
        _request_ids.extend([digits[at : at + _ID_SIZE] for at in range(0, len(digits), _ID_SIZE)])
    return _request_ids.pop()


def why_tls_failed(error: SSL.Error) -> str:
    """
    Return OpenSSL's reason for an error, in words for an operator. The text has no bytes of the client.
    """
    errors = error.args[0] if error.args and isinstance(error.args[0], list) else []
    return next((str(each[-1]) for each in reversed(errors) if each and each[-1]), type(error).__name__)


class S3Site(Site):
    """
    A site that renders a request at the end of its head if the resource streams.

    Args:
        resource: The root: an `S3Resource`, or an application's tree with one in it.
        reactor: The reactor of the connections. Its clock must never go back: set ``reactor.seconds = time.monotonic``.
        times: The time limits for clients.
        host_id: Text of the ``HostId`` element and the ``x-amz-id-2`` header; names this process, not the machine.
        connection_refused: Called for bytes that are not a request, with the remote address, the error and the request
            id.
        limit: The limit on the connections of this site and others; None for no limit.
        trust: What this site believes of other proxies in front of it; by default nothing.
        wall_clock: Returns the time for responses, with its time zone. The reactor's clock is monotonic.

    Attributes:
        channels: The open connections.
        introduced: Connections whose PROXY header is not complete.
        ended_paused_seconds: Seconds for which clients were not read because of the backend, without the pauses that
            still last.
    """

    _log = Logger()
    displayTracebacks = False
    is_draining = False

    def __init__(
        self,
        resource: IResource,
        reactor: Any,
        *,
        times: ClientTimes | None = None,
        host_id: str = "s3proxy",
        connection_refused: Callable[[str, S3Error, str], None] | None = None,
        limit: ConnectionLimit | None = None,
        trust: Trust | None = None,
        wall_clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        **options: Any,
    ) -> None:
        super().__init__(resource, reactor=reactor, **options)
        self.protocol = S3Channel  # type: ignore[method-assign,assignment]
        self.times = times or ClientTimes()
        self.host_id = host_id
        self.channels: set[S3Channel] = set()
        self.make_request_id = make_request_id
        self.limit = limit
        self.trust = trust or Trust()
        self.wall_clock = wall_clock
        self.introduced: set[ProxyHeaderProtocol] = set()
        self._connection_refused = connection_refused
        self._watch: HangupWatch | None = None
        self._drained: list[Deferred[None]] = []
        self.ended_paused_seconds = 0.0
        self._told_in, self._told_count = 0, 0

    def acceptableProtocols(self) -> list[bytes]:
        # Without this list every client that offers ALPN is refused; with stock's list, h2 may be chosen.
        return [b"http/1.1"]

    @property
    def watch(self) -> HangupWatch:
        """
        Notices when a held client hangs up.
        """
        if self._watch is None:
            self._watch = HangupWatch(cast(IReactorFDSet, self.reactor))
        return self._watch

    def buildProtocol(self, addr: IAddress | None) -> Any:
        channel = S3Channel()
        channel.factory = self
        channel.site = self
        channel.peer = addr
        channel.callLater = self.reactor.callLater  # type: ignore[method-assign,assignment]
        return channel

    def stopFactory(self) -> None:
        super().stopFactory()
        if not self.channels:
            self._close_watch()

    def connection_made(self, channel: S3Channel) -> None:
        """
        Count a new connection.
        """
        self.channels.add(channel)

    def connection_lost(self, channel: S3Channel, reason: Failure) -> None:
        """
        Stop counting a connection: it is lost. Log an error of its TLS, which is in most cases a handshake that failed.
        """
        self.channels.discard(channel)
        if isinstance(reason.value, SSL.Error) and self._has_room_to_tell():
            self._log.info(
                "TLS with {host} failed: {why}", host=channel.origin.client_host, why=why_tls_failed(reason.value)
            )
        self._gone()

    def introduction_ended(self, connection: ProxyHeaderProtocol) -> None:
        """
        Called when the PROXY header of a connection is complete, or will never be.
        """
        self.introduced.discard(connection)
        self._gone()

    def _gone(self) -> None:
        if self.channels or self.introduced:
            return
        if not self.numPorts:
            self._close_watch()
        waiting, self._drained = self._drained, []
        for drained in waiting:
            drained.callback(None)

    def connection_refused(
        self, channel: S3Channel, error: S3Error, request_id: str, why: Callable[[], str] | None = None
    ) -> None:
        """
        Called with bytes that never became a request: log the reason, and write the access log.

        Args:
            why: Returns the reason in words for an operator. It is called only if the log has room.
        """
        if why is not None:
            self._tell_why(error, request_id, why)
        if self._connection_refused is not None:
            self._connection_refused(channel.origin.client_host, error, request_id)

    def _tell_why(self, error: S3Error, request_id: str, why: Callable[[], str]) -> None:
        if self._has_room_to_tell():
            self._log.info("{code}: {why}: {request_id}", code=error.code, why=why(), request_id=request_id)

    def _has_room_to_tell(self) -> bool:
        second = int(self.reactor.seconds())
        if second != self._told_in:
            if self._told_count > MAX_REASONS:
                self._log.info("not a request, {count} more times", count=self._told_count - MAX_REASONS)
            self._told_in, self._told_count = second, 0
        self._told_count += 1
        return self._told_count <= MAX_REASONS

    def drain(self, *, serves: bool) -> Deferred[None]:
        """
        Let each connection end with its current request, or with the next.

        Args:
            serves: Whether an idle connection may bring one more request; if not, it is closed now.

        Returns:
            Fires when no connection is left.
        """
        self.is_draining = True
        self.end_connections(serves=serves)
        if not self.channels and not self.introduced:
            return succeed(None)
        drained: Deferred[None] = Deferred()
        self._drained.append(drained)
        return drained

    def end_connections(self, *, serves: bool = False) -> None:
        """
        Let each connection that is open now end with its current request, or with the next.

        Args:
            serves: Whether an idle connection may bring one more request; if not, it is closed now.
        """
        for channel in tuple(self.channels):
            channel.drain(serves=serves)
        for connection in tuple(self.introduced):
            connection.drain(DRAINED_KEEP_ALIVE if serves else None)

    def abort(self) -> None:
        """
        Reset every connection.
        """
        for channel in tuple(self.channels):
            channel.abort()
        for connection in tuple(self.introduced):
            connection.close()

    @property
    def paused_seconds(self) -> float:
        """
        For how long clients were not read because the backend did not take their bytes, all together.
        """
        return self.ended_paused_seconds + sum(channel.holds.paused_seconds for channel in self.channels)

    def _close_watch(self) -> None:
        if self._watch is not None:
            self._watch.close()
            self._watch = None


METRICS: tuple[Metric[S3Site], ...] = (
    gauge("s3proxy_client_connections", "Client connections.", lambda site: len(site.channels)),
    gauge(
        "s3proxy_held_clients",
        "Client connections that are paused, by reason.",
        lambda site: {
            hold.name.lower(): sum(hold in channel.holds.reasons for channel in site.channels) for hold in Hold
        },
        {"reason": tuple(hold.name.lower() for hold in Hold)},
    ),
)
