"""
The records of a TLS connection: as many as there are, decrypted or encrypted at once.

Twisted hands each record of 16 KiB on by itself. For each, pyOpenSSL allocates a buffer, asks for errors and copies,
and an exception tells that there is no more. Together that costs more than AES-GCM itself.
"""

from __future__ import annotations

from typing import Any, Protocol

from OpenSSL import SSL
from twisted.protocols.tls import TLSMemoryBIOProtocol

from s3proxy.s3.limits import KIB, MIB

_RECORD_SIZE = 16 * KIB
_SCRATCH_SIZE = 1 * MIB


class Engine(Protocol):
    """
    How records are made and read.
    """

    def decrypt(self, connection: SSL.Connection) -> bytes:
        """
        Return all that can be decrypted of what was written to a connection. An end or an error is not told.
        """

    def encrypt(self, connection: SSL.Connection, octets: bytes | memoryview) -> int:
        """
        Make records of octets; return of how many.
        """

    def records(self, connection: SSL.Connection) -> bytes:
        """
        Return what a connection has to send.
        """


class Records:
    """
    The records of one connection, which stays Twisted's: handshakes, alerts and ends are its own.

    Args:
        tls: Connected.

    Attributes:
        below: The transport which carries the records.
    """

    __slots__ = ("_tls", "below")

    def __init__(self, tls: TLSMemoryBIOProtocol) -> None:
        self._tls: Any = tls
        self.below: Any = tls.transport

    # In

    def gather(self) -> None:
        """
        From now on, deliver what comes of one read of the transport below in one piece.
        """
        tls, stock = self._tls, self._tls.dataReceived

        def received(octets: bytes) -> None:
            if not self._is_established:
                stock(octets)
                return
            connection = tls.getHandle()
            connection.bio_write(octets)
            data = ENGINE.decrypt(connection)
            if data and not tls._aborted:
                tls.wrappedProtocol.dataReceived(data)
            # What ended it, Twisted finds once more, and knows what to do.
            tls._flushReceiveBIO()

        tls.dataReceived = received

    def release(self) -> None:
        """
        Deliver as Twisted does again: a connection and what it calls know each other, also when it is lost.
        """
        vars(self._tls).pop("dataReceived", None)

    # Out

    @property
    def _is_established(self) -> bool:
        # What was written before the end of the handshake must leave first.
        tls = self._tls
        return tls._handshakeDone and not tls._lostTLSConnection and not tls._appSendBuffer

    @property
    def is_clear(self) -> bool:
        """
        Whether nothing waits in the transport below: an alert, or an answer to the other side's change of keys.
        """
        below = self.below
        return not below.dataBuffer and not below._tempDataBuffer

    def encrypt(self, pieces: Any) -> bytes:
        """
        Return the records of octets, and of whatever else is to be sent before them.

        Args:
            pieces: Octets, in order.

        Returns:
            Nothing where Twisted keeps the octets, until the handshake is done or the other side was read.
        """
        tls = self._tls
        if self._is_established:
            connection = tls.getHandle()
            for index, piece in enumerate(pieces):
                taken = ENGINE.encrypt(connection, piece)
                if taken < len(piece):
                    self.below.write(ENGINE.records(connection))
                    pieces = (piece[taken:], *pieces[index + 1 :])
                    break
            else:
                return ENGINE.records(connection)
        # Not by the instance's own write, which waits for more.
        TLSMemoryBIOProtocol.write(tls, b"".join(pieces))
        return b""


class PublicEngine:
    """
    By what pyOpenSSL promises: correct, and slow.
    """

    def decrypt(self, connection: SSL.Connection) -> bytes:
        pieces = []
        try:
            while True:
                pieces.append(connection.recv(_RECORD_SIZE))
        except SSL.Error:
            return b"".join(pieces)

    def encrypt(self, connection: SSL.Connection, octets: bytes | memoryview) -> int:
        done = 0
        try:
            while done < len(octets):
                done += connection.send(octets[done : done + _RECORD_SIZE])
        except SSL.Error:
            pass
        return done

    def records(self, connection: SSL.Connection) -> bytes:
        pieces = []
        try:
            while True:
                pieces.append(connection.bio_read(_SCRATCH_SIZE))
        except SSL.WantReadError:
            return b"".join(pieces)


class ScratchEngine:
    """
    By one buffer for all connections. Of pyOpenSSL it needs what is not public, and the same since release 0.14.

    Raises:
        AttributeError: It is there no longer.
    """

    def __init__(self) -> None:
        library: Any = SSL
        self._lib = library._lib
        self._buffer = library._ffi.buffer
        self._from_buffer = library._ffi.from_buffer
        self._scratch = library._ffi.new_allocator(should_clear_after_alloc=False)("char[]", _SCRATCH_SIZE)
        connection = SSL.Connection(SSL.Context(SSL.TLS_METHOD), None)
        for name in ("_ssl", "_from_ssl"):
            # Wanting now, not at the first client.
            getattr(connection, name)

    def decrypt(self, connection: Any) -> bytes:
        ssl, read, scratch, size = connection._ssl, self._lib.SSL_read, self._scratch, 0
        pieces = []
        while (taken := read(ssl, scratch + size, _RECORD_SIZE)) > 0:
            size += taken
            if size > _SCRATCH_SIZE - _RECORD_SIZE:
                pieces.append(self._buffer(scratch, size)[:])
                size = 0
        if size:
            pieces.append(self._buffer(scratch, size)[:])
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def encrypt(self, connection: Any, octets: bytes | memoryview) -> int:
        ssl, write = connection._ssl, self._lib.SSL_write
        size, done = len(octets), 0
        with self._from_buffer(octets) as plain:
            while done < size:
                taken = write(ssl, plain + done, size - done)
                if taken <= 0:
                    break
                done += taken
        return done

    def records(self, connection: Any) -> bytes:
        bio, read = connection._from_ssl, self._lib.BIO_read
        pieces = []
        while True:
            size = read(bio, self._scratch, _SCRATCH_SIZE)
            if size > 0:
                pieces.append(self._buffer(self._scratch, size)[:])
            if size < _SCRATCH_SIZE:
                return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def make_engine() -> Engine:
    """
    Return the fastest way which the installed pyOpenSSL has.
    """
    try:
        return ScratchEngine()
    except AttributeError:
        return PublicEngine()


ENGINE = make_engine()
