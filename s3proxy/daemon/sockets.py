"""
Listening sockets, apart from what is served on them: they outlive a reload, and pass from one process to the next.
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

from s3proxy.configuration.endpoints import parse_tls
from s3proxy.transport.handshakes import TLSServer

BACKLOG = 1024
"""
Connections that the kernel queues while no process accepts them: during a restart, or at the limit `connections`.
"""


ADMIN = "admin"
"""
The name of the admin endpoint's socket.
"""

SOCKET_MODE = 0o660
"""
Permissions of a unix socket for clients, unless its endpoint has ``mode=``: its owner and its group may connect.
Twisted's own default is 0o666, every user of the machine.
"""

ADMIN_SOCKET_MODE = 0o600
"""
Permissions of the admin endpoint's unix socket: it has no authentication, so only its owner may connect.
"""


class CannotListen(Exception):
    """
    A socket cannot be opened; the text says which and why.
    """


class Sockets:
    """
    The listening sockets of a process, by their names in the configuration.

    Args:
        inherited: File descriptors that a former process, or the supervisor, left open for this one, by name.
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
        The descriptors of all open sockets, for another process to inherit.
        """
        return {name: opened.fileno() for name, opened in self._sockets.items()}

    def open(self, name: str, description: str) -> None:
        """
        Bind the socket and listen, if that is not done yet. Connections wait until `listen`.

        Args:
            name: The name of the socket, in this process and in those that inherit it.
            description: A Twisted endpoint string.

        Raises:
            CannotListen: The address is in use, or cannot be bound by this process.
        """
        if name not in self._sockets:
            self._serve(name, description, None)

    def listen(
        self,
        name: str,
        description: str,
        factory: IProtocolFactory,
        wrap: Callable[[IProtocolFactory], IProtocolFactory] | None = None,
        tls: TLSServer | None = None,
    ) -> IListeningPort:
        """
        Serve connections. Several factories may follow one another: the socket stays open when a port is stopped.

        Args:
            name: The name of the socket, as for `open`, which need not have been called.
            description: A Twisted endpoint string.
            wrap: Makes what reads a connection's first bytes, before TLS, and hands the rest on.
            tls: Makes the TLS connections. Required for an endpoint with TLS, and used for no other.

        Raises:
            CannotListen: The address is in use, or cannot be bound by this process.
        """
        if (tls is None) != (parse_tls(description) is None):
            raise ValueError(description)
        served = factory if tls is None else TLSMemoryBIOFactory(tls, False, factory)
        port: IListeningPort = self._serve(name, description, served, wrap)
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
            tls = parse_tls(description)
            if tls is not None:
                return self.adopt(name, lambda: _bind_tcp(tls.address.port, tls.address.interface), factory, wrap)
            endpoint = serverFromString(_Adopting(self, name, wrap, _says_mode(description)), description)
            if isinstance(endpoint, AdoptedStreamServerEndpoint):
                # A socket from systemd. The endpoint's own listen() would close the descriptor, which the next process
                # may need.
                adopted = self.adopt(name, lambda: socket.socket(fileno=os.dup(endpoint.fileno)), factory, wrap)
                listened.append(adopted)
            else:
                # These endpoints listen at once: after a later failure the daemon would already have started.
                endpoint.listen(factory).addCallbacks(listened.append, failures.append)
        except Exception as error:
            raise CannotListen(f"cannot listen on {description}: {_reason(error)}") from None
        if failures:
            raise CannotListen(f"cannot listen on {description}: {_reason(failures[0].value)}")
        return listened[0]

    def adopt(self, name: str, bind: Callable[[], socket.socket], factory: Any, wrap: Any = None) -> Any:
        """
        Serve the connections of a socket; bind it first if it is not bound.
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
        # Twisted first accepts a hundred at a time; other processes may wait for the same connections.
        port.numberAccepts = 1
        return port

    def bound_buffers(self, size: int) -> None:
        """
        Limit the kernel's buffers of every accepted connection: connections inherit the limits of the listening socket.

        Args:
            size: Bytes for each direction.
        """
        for opened in self._sockets.values():
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size)

    def keep_only(self, names: Iterable[str]) -> None:
        """
        Close every other socket; the file of a unix socket stays until the next process binds it.
        """
        for name in self._sockets.keys() - set(names):
            self._sockets.pop(name).close()


class _UnixPort(unix.Port):
    """
    The port of a unix socket that other processes may serve, too.

    When Twisted's own port adopts a socket, even systemd's, it makes the file writable for every user. When it stops
    listening, it removes the file, and shuts the socket down for every process that has it.
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
    Replaces the reactor of an endpoint, so that the endpoint uses a socket of `Sockets`.
    """

    def __init__(self, sockets: Sockets, name: str, wrap: Any, says_mode: bool) -> None:
        self._sockets = sockets
        self._name = name
        self._wrap = wrap
        self._says_mode = says_mode

    def listenTCP(self, port: int, factory: Any, backlog: int = 50, interface: str = "") -> Any:
        return self._sockets.adopt(self._name, lambda: _bind_tcp(port, interface), factory, self._wrap)

    def listenUNIX(
        self, address: str, factory: Any, backlog: int = 50, mode: int = 0o666, wantPID: bool = False
    ) -> Any:
        if not self._says_mode:
            mode = ADMIN_SOCKET_MODE if self._name == ADMIN else SOCKET_MODE
        return self._sockets.adopt(self._name, lambda: _bind_unix(address, mode), factory, self._wrap)


def _bind_tcp(port: int, interface: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in interface else socket.AF_INET
    address = socket.getaddrinfo(interface or None, port, family, socket.SOCK_STREAM, 0, socket.AI_PASSIVE)[0][4]
    opened = socket.socket(family, socket.SOCK_STREAM)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(address)
        opened.listen(BACKLOG)
    except OSError:
        opened.close()
        raise
    return opened


def _says_mode(description: str) -> bool:
    # A backslash escapes the next character, also in a path with "\\:mode=".
    return any(field.startswith("mode=") for field in re.findall(r"(?:[^:\\]|\\.)+", description))


def _bind_unix(path: str, mode: int) -> socket.socket:
    opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # The file has its permissions from the beginning: a user who may rename it could redirect a later chmod to another
    # file.
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
    Return True if the path is the socket of a process that was killed. Other kinds of files also refuse connections;
    they are kept.
    """
    if not stat.S_ISSOCK(os.lstat(path).st_mode):
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        return probe.connect_ex(path) == errno.ECONNREFUSED


def _reason(error: BaseException | None) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
