"""
The records of a TLS connection: as many as there are, decrypted or encrypted at once.

Twisted hands each record of 16 KiB on by itself. For each, pyOpenSSL allocates a buffer, asks for errors and copies,
and an exception tells that there is no more. Together that costs more than AES-GCM itself.
"""

from __future__ import annotations

from typing import Any

from OpenSSL import SSL
from twisted.protocols.tls import TLSMemoryBIOProtocol

from s3proxy.s3.limits import KIB, MIB

_RECORD_SIZE = 16 * KIB
_SCRATCH_SIZE = 1 * MIB

# Of pyOpenSSL only these take a buffer which is there already. They are not public, and the same since release 0.14.
_lib: Any = SSL._lib  # type: ignore[attr-defined]
_ffi: Any = SSL._ffi  # type: ignore[attr-defined]
_scratch: Any = _ffi.new_allocator(should_clear_after_alloc=False)("char[]", _SCRATCH_SIZE)


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
            data = _decrypt(connection)
            if data and not tls._aborted:
                tls.wrappedProtocol.dataReceived(data)
            # What ended it, Twisted finds once more, and knows what to do.
            tls._flushReceiveBIO()

        tls.dataReceived = received

    def release(self) -> None:
        """
        Let go of a connection which is lost: it and what it calls know each other.
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
                taken = _encrypt(connection, piece)
                if taken < len(piece):
                    self.below.write(_records(connection))
                    pieces = (piece[taken:], *pieces[index + 1 :])
                    break
            else:
                return _records(connection)
        # Not by the instance's own write, which waits for more.
        TLSMemoryBIOProtocol.write(tls, b"".join(pieces))
        return b""


def _decrypt(connection: Any) -> bytes:
    """
    Return all that can be decrypted of what was written to a connection. An end or an error is not told.
    """
    ssl, read, size = connection._ssl, _lib.SSL_read, 0
    pieces = []
    while (taken := read(ssl, _scratch + size, _RECORD_SIZE)) > 0:
        size += taken
        if size > _SCRATCH_SIZE - _RECORD_SIZE:
            pieces.append(_ffi.buffer(_scratch, size)[:])
            size = 0
    if size:
        pieces.append(_ffi.buffer(_scratch, size)[:])
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _encrypt(connection: Any, octets: bytes | memoryview) -> int:
    """
    Make records of octets; return of how many.
    """
    ssl, write = connection._ssl, _lib.SSL_write
    size, done = len(octets), 0
    with _ffi.from_buffer(octets) as plain:
        while done < size:
            taken = write(ssl, plain + done, size - done)
            if taken <= 0:
                break
            done += taken
    return done


def _records(connection: Any) -> bytes:
    """
    Return what a connection has to send.
    """
    bio = connection._from_ssl
    pieces = []
    while True:
        size = _lib.BIO_read(bio, _scratch, _SCRATCH_SIZE)
        if size > 0:
            pieces.append(_ffi.buffer(_scratch, size)[:])
        if size < _SCRATCH_SIZE:
            return pieces[0] if len(pieces) == 1 else b"".join(pieces)
