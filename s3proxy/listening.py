"""
Sockets which listen, apart from who is served on them: they outlive a reload, and go from one process to the next.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from twisted.internet.endpoints import AdoptedStreamServerEndpoint, serverFromString
from twisted.internet.interfaces import IListeningPort, IProtocolFactory
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure

BACKLOG = 1024
"""
Connections which the kernel keeps while nobody accepts them: through a restart, or at the bound of `connections`.
"""


class CannotListen(Exception):
    """
    A socket cannot be opened; the text tells which and why.
    """


class Sockets:
    """
    The listening sockets of a process, by what the configuration calls each.

    Args:
        inherited: File descriptors which a former process, or the supervisor, left open for this one.
    """

    def __init__(self, reactor: Any, inherited: Mapping[str, int] | None = None) -> None:
        self._reactor = reactor
        self._sockets: dict[str, socket.socket] = {}
        for name, fd in (inherited or {}).items():
            self._sockets[name] = socket.socket(fileno=fd)
            os.set_inheritable(fd, False)

    @property
    def descriptors(self) -> dict[str, int]:
        """
        What is open, for another process to inherit.
        """
        return {name: opened.fileno() for name, opened in self._sockets.items()}

    def open(self, name: str, description: str) -> None:
        """
        Bind and listen, if that is not done yet. Connections wait until somebody serves them.

        Args:
            name: Names the socket, in this process and in those which inherit it.
            description: A Twisted endpoint string.

        Raises:
            CannotListen: The address is in use, or not ours.
        """
        if name not in self._sockets:
            self._serve(name, description, None)

    def listen(
        self,
        name: str,
        description: str,
        factory: IProtocolFactory,
        wrap: Callable[[IProtocolFactory], IProtocolFactory] | None = None,
    ) -> IListeningPort:
        """
        Serve connections, several factories one after the other if need be: the socket stays when a port is stopped.

        Args:
            name: As for `open`, which need not have been called.
            description: A Twisted endpoint string.
            wrap: Makes what reads a connection's first octets, before TLS, and hands the rest on.

        Raises:
            CannotListen: The address is in use, or not ours; or a certificate or key file is not as it must be.
        """
        port: IListeningPort = self._serve(name, description, factory, wrap)
        return port

    def _serve(
        self,
        name: str,
        description: str,
        factory: IProtocolFactory | None,
        wrap: Callable[[IProtocolFactory], IProtocolFactory] | None = None,
    ) -> Any:
        listened: list[Any] = []
        failures: list[Failure] = []
        try:
            endpoint = serverFromString(_Adopting(self, name, wrap), description)
            if isinstance(endpoint, AdoptedStreamServerEndpoint):
                # systemd's socket. Its own listen() would close the descriptor, which the next process may need.
                adopted = self.adopt(name, lambda: socket.socket(fileno=os.dup(endpoint.fileno)), factory, wrap)
                listened.append(adopted)
            else:
                # These endpoints listen at once: a later failure could not fail the start.
                endpoint.listen(factory).addCallbacks(listened.append, failures.append)
        except Exception as error:
            raise CannotListen(f"cannot listen on {description}: {_reason(error)}") from None
        if failures:
            raise CannotListen(f"cannot listen on {description}: {_reason(failures[0].value)}")
        return listened[0]

    def adopt(self, name: str, bind: Callable[[], socket.socket], factory: Any, wrap: Any = None) -> Any:
        """
        Serve connections of a socket, bound now if it is not yet.
        """
        opened = self._sockets.get(name)
        if opened is None:
            opened = self._sockets[name] = bind()
            opened.setblocking(False)
        if factory is None:
            return None
        if wrap is not None:
            factory = wrap(factory)
        port = self._reactor.adoptStreamPort(opened.fileno(), opened.family, factory)
        # Twisted begins with a hundred at a time; other processes may wait for the same connections.
        port.numberAccepts = 1
        return port

    def bound_buffers(self, size: int) -> None:
        """
        Bound the kernel's buffers of every connection which will be accepted: they inherit the listening socket's.

        Args:
            size: Bytes for each direction.
        """
        for opened in self._sockets.values():
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size)

    def keep_only(self, names: Iterable[str]) -> None:
        """
        Close every other socket; the file of a unix socket stays until the next process binds there.
        """
        for name in self._sockets.keys() - set(names):
            self._sockets.pop(name).close()


class _Adopting:
    """
    What an endpoint takes for its reactor, so that it listens on a socket of ours.
    """

    def __init__(self, sockets: Sockets, name: str, wrap: Any) -> None:
        self._sockets = sockets
        self._name = name
        self._wrap = wrap

    def listenTCP(self, port: int, factory: Any, backlog: int = 50, interface: str = "") -> Any:
        return self._sockets.adopt(self._name, lambda: _bind_tcp(port, interface), factory, self._wrap)

    def listenSSL(self, port: int, factory: Any, contextFactory: Any, backlog: int = 50, interface: str = "") -> Any:
        if factory is not None:
            factory = TLSMemoryBIOFactory(contextFactory, False, factory)
        return self.listenTCP(port, factory, backlog, interface)

    def listenUNIX(
        self, address: str, factory: Any, backlog: int = 50, mode: int = 0o666, wantPID: bool = False
    ) -> Any:
        return self._sockets.adopt(self._name, lambda: _bind_unix(address, mode), factory, self._wrap)


def _bind_tcp(port: int, interface: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in interface else socket.AF_INET
    address = socket.getaddrinfo(interface, port, family, socket.SOCK_STREAM, 0, socket.AI_PASSIVE)[0][4]
    opened = socket.socket(family, socket.SOCK_STREAM)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(address if interface else ("", port))
        opened.listen(BACKLOG)
    except OSError:
        opened.close()
        raise
    return opened


def _bind_unix(path: str, mode: int) -> socket.socket:
    opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        try:
            opened.bind(path)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or _is_served(path):
                raise
            # A process which was killed left it behind.
            os.unlink(path)
            opened.bind(path)
        os.chmod(path, mode)
        opened.listen(BACKLOG)
    except OSError:
        opened.close()
        raise
    return opened


def _is_served(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        return probe.connect_ex(path) != errno.ECONNREFUSED


def _reason(error: BaseException | None) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
