"""
Tell when a client hangs up while its socket is not being read.
"""

from __future__ import annotations

import select
from collections.abc import Callable

from twisted.internet.interfaces import IReactorFDSet, IReadDescriptor
from zope.interface import implementer


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
