"""
Tell when a client hangs up while its socket is not being read.

While a client is read, its transport finds its end, after all that came before. While it is held, nobody reads, and an
epoll tells of the end. A reset ends the connection at once. After FIN the client may still read its response, and its
body may be whole: what the kernel has received is compared with what the body must still have.
"""

from __future__ import annotations

import fcntl
import select
import struct
import termios
from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.interfaces import IReactorFDSet, IReadDescriptor
from zope.interface import implementer

from s3proxy.frontend.hold import Holds


@implementer(IReadDescriptor)
class HangupWatch:
    """
    An epoll of our own over the clients' sockets, itself a reader of the reactor.

    A transport which is paused sees neither FIN nor RST, so a held client which left would be held until a timer ends
    it. This costs one ``epoll_ctl`` a connection; it is edge-triggered, so nothing is switched when a hold begins or
    ends.

    Args:
        reactor: Where the watch reads.
    """

    def __init__(self, reactor: IReactorFDSet) -> None:
        self._epoll = select.epoll()
        self._watched: dict[int, Callable[[bool], None]] = {}
        self._reactor = reactor
        reactor.addReader(self)

    def add(self, fd: int, hung_up: Callable[[bool], None]) -> None:
        """
        Watch a socket.

        Args:
            hung_up: Told once for each edge, with whether the connection was reset; a FIN may have bytes before it.
        """
        self._watched[fd] = hung_up
        self._epoll.register(fd, select.EPOLLRDHUP | select.EPOLLET)

    def remove(self, fd: int) -> None:
        """
        Forget a socket; close(2) has taken it out of the epoll.
        """
        self._watched.pop(fd, None)

    def close(self) -> None:
        """
        Watch no more.
        """
        self._reactor.removeReader(self)
        self._epoll.close()
        self._watched.clear()

    def fileno(self) -> int:
        return -1 if self._epoll.closed else self._epoll.fileno()

    def logPrefix(self) -> str:
        return "HangupWatch"

    def doRead(self) -> None:
        for fd, events in self._epoll.poll(0):
            hung_up = self._watched.get(fd)
            if hung_up is not None:
                hung_up(bool(events & (select.EPOLLERR | select.EPOLLHUP)))

    def connectionLost(self, reason: object) -> None:
        self.close()


class HeldConnection(Protocol):
    """
    Whose client may hang up: an `s3proxy.frontend.channel.S3Channel`.
    """

    transport: Any

    @property
    def is_tls(self) -> bool: ...

    @property
    def holds(self) -> Holds: ...

    @property
    def owed_size(self) -> int:
        """
        Bytes of the present body that must still come; 0 if that is not known.
        """

    def body_cut_short(self, missing: int) -> None:
        """
        Take note that so many bytes of the present body will never come.
        """


class Hangup:
    """
    What follows if the client of one connection hangs up while it is held.

    Args:
        fd: Of the connection's socket.
        reactor: Where the connection lives.
    """

    __slots__ = ("_connection", "_fd", "_reactor", "_watch")

    def __init__(self, connection: HeldConnection, fd: int, watch: HangupWatch, reactor: Any) -> None:
        self._connection = connection
        self._fd = fd
        self._watch = watch
        self._reactor = reactor
        watch.add(fd, self._hung_up)

    def forget(self) -> None:
        """
        Watch no more: the connection is lost.
        """
        self._watch.remove(self._fd)

    def _hung_up(self, is_reset: bool) -> None:
        if not self._connection.holds.reasons:
            # It is being read: the transport finds out, in order.
            return
        if is_reset:
            self._connection.transport.abortConnection()
        elif self._missing_size():
            # Not at once: a hold may begin in the middle of a write.
            self._reactor.callLater(0, self._cut_short)

    def _missing_size(self) -> int:
        """
        After FIN, count the bytes of a body that will never come: those which are not even in the kernel's queue.

        Nobody knows it of a chunked body or under TLS; then it is 0, and reading on finds the end.
        """
        owed = self._connection.owed_size
        if not owed or self._connection.is_tls:
            return 0
        queued: int = struct.unpack("i", fcntl.ioctl(self._fd, termios.FIONREAD, bytes(4)))[0]
        return max(0, owed - queued)

    def _cut_short(self) -> None:
        missing = self._missing_size()
        if self._connection.holds.reasons and missing:
            self._connection.body_cut_short(missing)
