"""
Notice when a client hangs up while its socket is not read.

While a client is read, its transport notices its end, after all bytes that came before. While it is held, nothing reads
the socket, and an epoll reports the end. A reset ends the connection at once. After FIN the client may still read its
response, and its body may be complete: the number of bytes in the kernel's queue is compared with the number that is
still missing.
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
    A separate epoll over the clients' sockets, itself a reader of the reactor.

    A paused transport sees neither FIN nor RST, so a held client that left would be held until a timer ends it. This
    costs one ``epoll_ctl`` for each connection. The epoll is edge-triggered, so nothing is switched when a hold begins
    or ends.

    Args:
        reactor: Polls the epoll.
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
            hung_up: Called once for each edge, with True if the connection was reset, and False for a FIN. Bytes that
                arrived before the FIN may still be unread.
        """
        self._watched[fd] = hung_up
        self._epoll.register(fd, select.EPOLLRDHUP | select.EPOLLET)

    def remove(self, fd: int) -> None:
        """
        Forget a socket; close(2) has removed it from the epoll.
        """
        self._watched.pop(fd, None)

    def close(self) -> None:
        """
        Stop watching.
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
    A connection whose client may hang up: an `s3proxy.frontend.channel.S3Channel`.
    """

    transport: Any

    @property
    def is_tls(self) -> bool: ...

    @property
    def holds(self) -> Holds: ...

    @property
    def owed_size(self) -> int:
        """
        Bytes of the current body that must still arrive; 0 if that is not known.
        """

    def body_cut_short(self, missing: int) -> None:
        """
        Called if this many bytes of the current body will never arrive.
        """


class Hangup:
    """
    Ends the connection of a client that hangs up while it is held, if its body is incomplete.

    Args:
        fd: The file descriptor of the connection's socket.
        reactor: The reactor of the connection.
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
        Stop watching: the connection is lost.
        """
        self._watch.remove(self._fd)

    def _hung_up(self, is_reset: bool) -> None:
        if not self._connection.holds.reasons:
            # The socket is being read: the transport sees the end after the bytes before it.
            return
        if is_reset:
            self._connection.transport.abortConnection()
        elif self._missing_size():
            # Not at once: a hold may begin in the middle of a write.
            self._reactor.callLater(0, self._cut_short)

    def _missing_size(self) -> int:
        """
        After FIN, return the number of bytes of the body that will never arrive: those that are not even in the
        kernel's queue.

        The number is unknown for a chunked body or under TLS. Then it is 0, and the end is found when the client is
        read again.
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
