"""
The reasons for which a client is not read.

A client is read while there is no reason against it. The first reason stops the reading, and the release of the last
one resumes it; those between change nothing. Each reason has an owner, which releases it and has a deadline for that.
The time for which the backend is the reason is counted.
"""

from __future__ import annotations

from enum import auto
from typing import Any, Protocol

from s3proxy.s3.identity_enum import IdentityEnum


class Hold(IdentityEnum):
    """
    Why a client's socket is not read.
    """

    UNJUDGED = auto()
    "its request is not authenticated yet"
    BACKEND = auto()
    "the backend's socket is full"
    BUDGET = auto()
    "the budget of bytes a second is spent"
    MEMORY = auto()
    "the memory for bodies is in use"
    PIPELINED = auto()
    "it sent more requests than s3proxy keeps while one is served"


class HoldingSite(Protocol):
    """
    Adds up the paused time: an `s3proxy.frontend.site.S3Site`, which describes these attributes.
    """

    reactor: Any
    ended_paused_seconds: float


class HeldChannel(Protocol):
    """
    The connection that is read or not: an `s3proxy.frontend.channel.S3Channel`.
    """

    def stop_reading(self) -> None:
        """
        Stop reading the client's socket. Called before the first reason is noted.
        """

    def read_on(self) -> None:
        """
        Read the client's socket again: the last reason was released.
        """


class Holds:
    """
    The reasons for which one client is not read now.

    Args:
        channel: The connection whose reading stops and resumes.
        site: Adds up the paused time of all its clients.

    Attributes:
        reasons: The current reasons. Other classes only read this set.
    """

    __slots__ = ("_channel", "_paused_at", "_site", "reasons")

    def __init__(self, channel: HeldChannel, site: HoldingSite) -> None:
        self.reasons: set[Hold] = set()
        self._channel = channel
        self._site = site
        self._paused_at: float | None = None

    def hold(self, reason: Hold) -> None:
        """
        Add a reason not to read the client's socket.
        """
        if reason in self.reasons:
            return
        if not self.reasons:
            self._channel.stop_reading()
        if reason is Hold.BACKEND:
            self._paused_at = self._site.reactor.seconds()
        self.reasons.add(reason)

    def release(self, reason: Hold) -> None:
        """
        Release one reason; resume reading when none is left.
        """
        if reason not in self.reasons:
            return
        self.reasons.discard(reason)
        if reason is Hold.BACKEND:
            self.count_pause()
        if not self.reasons:
            self._channel.read_on()

    def release_all(self) -> None:
        """
        Release every reason.
        """
        for reason in tuple(self.reasons):
            self.release(reason)

    @property
    def paused_seconds(self) -> float:
        """
        For how long the client is not read, because the backend does not take its bytes.
        """
        return 0.0 if self._paused_at is None else float(self._site.reactor.seconds() - self._paused_at)

    def count_pause(self) -> None:
        """
        Add the paused time to the site's: the pause or the connection is over.
        """
        self._site.ended_paused_seconds += self.paused_seconds
        self._paused_at = None
