"""
Sockets which listen, apart from who is served on them: they outlive a reload, and go from one process to the next.
"""

from __future__ import annotations

import errno
import os
import re
import socket
import stat
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from twisted.internet import unix
from twisted.internet.abstract import FileDescriptor
from twisted.internet.endpoints import AdoptedStreamServerEndpoint, serverFromString
from twisted.internet.interfaces import IListeningPort, IProtocolFactory
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure

BACKLOG = 1024
"""
Connections which the kernel keeps while nobody accepts them: through a restart, or at the bound of `connections`.
"""


ADMIN = "admin"
"""
The name of the admin endpoint's socket.
"""

SOCKET_MODE = 0o660
"""
Permissions of a unix socket for clients, unless its endpoint says ``mode=``: its owner and its group may connect.
Twisted's own default is 0o666, every user of the machine.
"""

ADMIN_SOCKET_MODE = 0o600
"""
The same for the admin endpoint, which asks nobody who they are: only its owner may connect.
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
            wrap: Makes what reads a connection's first bytes, before TLS, and hands the rest on.

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
            endpoint = serverFromString(_Adopting(self, name, wrap, _says_mode(description)), description)
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
        port: Any
        if opened.family == socket.AF_UNIX:
            port = _UnixPort(opened, factory, self._reactor)
            port.startListening()
        else:
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


class _UnixPort(unix.Port):
    """
    A port of a unix socket that others may serve, too.

    Twisted's own makes the socket's file writable for every user when it adopts it, systemd's as well; when it stops
    listening it removes the file, and shuts the socket down for every process that has it.
    """

    factory: Any
    fileno: Any

    def __init__(self, opened: socket.socket, factory: Any, reactor: Any) -> None:
        super().__init__(os.fsencode(opened.getsockname()), factory, reactor=reactor)
        self._opened = opened

    def startListening(self) -> None:
        self.factory.doStart()
        self.socket = self._opened.dup()
        self.fileno = self.socket.fileno
        self.connected = True
        self.startReading()  # type: ignore[no-untyped-call]

    def connectionLost(self, reason: Failure) -> None:
        FileDescriptor.connectionLost(self, reason)
        self.socket.close()
        del self.socket, self.fileno
        self.factory.doStop()


class _Adopting:
    """
    What an endpoint takes for its reactor, so that it listens on a socket of ours.
    """

    def __init__(self, sockets: Sockets, name: str, wrap: Any, says_mode: bool) -> None:
        self._sockets = sockets
        self._name = name
        self._wrap = wrap
        self._says_mode = says_mode

    def listenTCP(self, port: int, factory: Any, backlog: int = 50, interface: str = "") -> Any:
        return self._sockets.adopt(self._name, lambda: _bind_tcp(port, interface), factory, self._wrap)

    def listenSSL(self, port: int, factory: Any, contextFactory: Any, backlog: int = 50, interface: str = "") -> Any:
        if factory is not None:
            factory = TLSMemoryBIOFactory(contextFactory, False, factory)
        return self.listenTCP(port, factory, backlog, interface)

    def listenUNIX(
        self, address: str, factory: Any, backlog: int = 50, mode: int = 0o666, wantPID: bool = False
    ) -> Any:
        if not self._says_mode:
            mode = ADMIN_SOCKET_MODE if self._name == ADMIN else SOCKET_MODE
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


def _says_mode(description: str) -> bool:
    # A backslash takes the next character's meaning away, in a path's "\\:mode=", too.
    return any(field.startswith("mode=") for field in re.findall(r"(?:[^:\\]|\\.)+", description))


def _bind_unix(path: str, mode: int) -> socket.socket:
    opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # The file has its permissions from the beginning: a chmod could be led to another file by whoever may rename this.
    umask = os.umask(0o777 & ~mode)
    try:
        try:
            opened.bind(path)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or not _is_left_behind(path):
                raise
            os.unlink(path)
            opened.bind(path)
        opened.listen(BACKLOG)
    except OSError:
        opened.close()
        raise
    finally:
        os.umask(umask)
    return opened


def _is_left_behind(path: str) -> bool:
    """
    Return True for the socket of a process that was killed. Another kind of file refuses connections, too, and stays.
    """
    if not stat.S_ISSOCK(os.lstat(path).st_mode):
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        return probe.connect_ex(path) == errno.ECONNREFUSED


def _reason(error: BaseException | None) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
