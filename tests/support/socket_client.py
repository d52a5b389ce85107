"""
A client that is a bare socket, with TLS or without: it counts what the kernel accepted, and reads only when told to.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
from collections import deque

from tests.support.harness import turns, until, until_steady

_BLOCKED = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class SocketClient:
    """
    A connection to the proxy.

    Attributes:
        sent: Bytes which the kernel, or TLS, took so far.
        received: What was read so far.
        pending: Bytes which were put and are not sent yet.
        end: ``FIN``, or the name of the error which ended the connection.
    """

    def __init__(self, port: int, buffer: int = 65536) -> None:
        self.socket: socket.socket = socket.socket()
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            self.socket.setsockopt(socket.SOL_SOCKET, option, buffer)
        self.socket.connect(("127.0.0.1", port))
        self.socket.setblocking(False)
        self.sent = 0
        self.received = b""
        self.received_size = 0
        self.end: str | None = None
        self.pending = 0
        self._out: deque[memoryview] = deque()

    async def start_tls(self, context: ssl.SSLContext | None = None) -> None:
        """
        Do the TLS handshake. Without a context, accept any certificate.
        """
        if context is None:
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        wrapped = context.wrap_socket(self.socket, do_handshake_on_connect=False)
        self.socket = wrapped
        while True:
            try:
                wrapped.do_handshake()
            except _BLOCKED:
                await turns()
            else:
                return

    def put(self, data: bytes) -> None:
        """
        Have bytes sent, after those before them.
        """
        self._out.append(memoryview(data))
        self.pending += len(data)

    def pump(self, *, reads: bool = True, keeps: bool = True) -> None:
        """
        Send and read as much as possible.
        """
        try:
            while self._out and self.end is None:
                piece = self._out[0]
                count = self.socket.send(piece[:65536])
                self.sent += count
                self.pending -= count
                self._out.popleft()
                if count < len(piece):
                    self._out.appendleft(piece[count:])
        except _BLOCKED:
            pass
        except OSError as error:
            self.end = type(error).__name__
        try:
            while reads and self.end is None:
                data = self.socket.recv(262144)
                if not data:
                    self.end = "FIN"
                self.received_size += len(data)
                if keeps:
                    self.received += data
        except _BLOCKED:
            pass
        except OSError as error:
            self.end = type(error).__name__

    async def settle(self) -> None:
        """
        Pump until no more bytes are sent.
        """
        await until_steady(lambda: self.pump() or self.sent)

    async def until_answered(self) -> None:
        """
        Pump until there is a status.
        """
        await until(lambda: self.pump() or self.status)

    @property
    def status(self) -> int:
        """
        The status of the response; 0 before there is one.
        """
        return int(self.received[9:12] or b"0")

    def close(self, *, reset: bool = False) -> None:
        """
        Close the connection.
        """
        if reset:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        with contextlib.suppress(OSError):
            self.socket.close()
        self.end = "closed"
