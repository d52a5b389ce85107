"""
Decrypt or encrypt all available records of a TLS connection at once.

Twisted delivers each record of 16 KiB separately. For each, pyOpenSSL allocates a buffer, checks for errors and copies,
and an exception signals that there is no further record. Together that costs more than AES-GCM itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from OpenSSL import SSL
from twisted.protocols.tls import TLSMemoryBIOProtocol

from s3proxy.s3.limits import KIB, MIB

Bytes = bytes | memoryview

_RECORD_SIZE = 16 * KIB
_PIECE_SIZE = 64 * KIB
"""
Bytes that OpenSSL gets, or returns, in one call. OpenSSL clears its memory before it copies; so few bytes stay in the
processor's cache.
"""
_SCRATCH_SIZE = MIB + _PIECE_SIZE


class Engine(Protocol):
    """
    Encrypts and decrypts records.
    """

    def decrypt(self, connection: SSL.Connection, records: bytes) -> tuple[bytes, bool]:
        """
        Decrypt records, and what is left of earlier ones.

        Returns:
            All bytes that can be decrypted, and True if the connection only waits for more records: it has met no end
            and no error, and has nothing to send.
        """

    def encrypt(self, connection: SSL.Connection, pieces: Sequence[Bytes]) -> tuple[Bytes, Sequence[Bytes]]:
        """
        Encrypt bytes.

        Returns:
            All records that the connection has to send, and the bytes that could not be encrypted. The next call for
            any connection may overwrite the records.
        """


class Records:
    """
    The records of one TLS connection. Handshakes, alerts and ends are left to Twisted.

    Args:
        tls: A connected protocol.

    Attributes:
        below: The transport that carries the records.
    """

    __slots__ = ("_tls", "below")

    def __init__(self, tls: TLSMemoryBIOProtocol) -> None:
        self._tls: Any = tls
        self.below: Any = tls.transport

    # In

    def gather(self) -> None:
        """
        From now on, deliver all bytes from one read of the transport below in one piece.
        """
        tls, stock = self._tls, self._tls.dataReceived

        def received(raw: bytes) -> None:
            if not self._is_established:
                stock(raw)
                return
            data, is_quiet = ENGINE.decrypt(tls.getHandle(), raw)
            if data and not tls._aborted:
                tls.wrappedProtocol.dataReceived(data)
            if not is_quiet:
                # Twisted finds the end, the error or the bytes to send again, and handles them.
                tls._flushReceiveBIO()

        tls.dataReceived = received

    def release(self) -> None:
        """
        Restore the delivery of Twisted. This also removes the reference cycle between the connection and the function
        that it calls.
        """
        vars(self._tls).pop("dataReceived", None)

    # Out

    @property
    def _is_established(self) -> bool:
        # Bytes that were written before the end of the handshake must leave first.
        tls = self._tls
        return tls._handshakeDone and not tls._lostTLSConnection and not tls._appSendBuffer

    @property
    def is_clear(self) -> bool:
        """
        Whether nothing waits in the transport below, such as an alert or the response to a key update.
        """
        below = self.below
        return not below.dataBuffer and not below._tempDataBuffer

    def encrypt(self, pieces: Sequence[Bytes]) -> Bytes:
        """
        Encrypt bytes. Return their records, after any that must be sent before them.

        Args:
            pieces: Bytes, in order.

        Returns:
            Records to send or to copy before anything else is encrypted or decrypted. Empty if Twisted keeps the bytes
            until the handshake is done, or until more was read from the other side.
        """
        tls = self._tls
        if self._is_established:
            encrypted, pieces = ENGINE.encrypt(tls.getHandle(), pieces)
            if not pieces:
                return encrypted
            self.below.write(bytes(encrypted))
        # The write of the instance would wait for more bytes.
        TLSMemoryBIOProtocol.write(tls, b"".join(pieces))
        return b""


def in_records(pieces: Sequence[Bytes]) -> Sequence[Bytes]:
    """
    Return the same bytes in other pieces: a small one shares its record with what follows. Each record costs 29 bytes
    and two calls.
    """
    found: list[Bytes] = []
    begun: list[Bytes] = []
    size = 0
    for piece in pieces:
        taken = piece[: _RECORD_SIZE - size] if begun else b""
        if taken:
            begun.append(taken)
            size += len(taken)
            if size == _RECORD_SIZE:
                found.append(b"".join(begun))
                begun, size = [], 0
        rest = piece[len(taken) :]
        whole = len(rest) - len(rest) % _RECORD_SIZE
        if whole:
            found.append(rest[:whole])
        if whole < len(rest):
            begun.append(rest[whole:])
            size += len(rest) - whole
    if begun:
        found.append(begun[0] if len(begun) == 1 else b"".join(begun))
    return found


class PublicEngine:
    """
    An engine that uses only the public API of pyOpenSSL: correct, and slow.
    """

    def decrypt(self, connection: SSL.Connection, records: bytes) -> tuple[bytes, bool]:
        connection.bio_write(records)
        pieces = []
        try:
            while True:
                pieces.append(connection.recv(_RECORD_SIZE))
        except SSL.Error:
            return b"".join(pieces), False

    def encrypt(self, connection: SSL.Connection, pieces: Sequence[Bytes]) -> tuple[Bytes, Sequence[Bytes]]:
        raw, done = b"".join(pieces), 0
        try:
            while done < len(raw):
                done += connection.send(raw[done : done + _RECORD_SIZE])
        except SSL.Error:
            pass
        records = []
        try:
            while True:
                records.append(connection.bio_read(_SCRATCH_SIZE))
        except SSL.WantReadError:
            return b"".join(records), [raw[done:]] if done < len(raw) else []


class ScratchEngine:
    """
    An engine with one buffer for all connections. It uses private parts of pyOpenSSL, which are unchanged since release
    0.14.

    Raises:
        AttributeError: A private part no longer exists.
    """

    def __init__(self) -> None:
        library: Any = SSL
        self._lib = library._lib
        self._buffer = library._ffi.buffer
        self._from_buffer = library._ffi.from_buffer
        self._null = library._ffi.NULL
        self._wants_read = self._lib.SSL_ERROR_WANT_READ
        self._scratch = library._ffi.new_allocator(should_clear_after_alloc=False)("char[]", _SCRATCH_SIZE)
        connection = SSL.Connection(SSL.Context(SSL.TLS_METHOD), None)
        for name in ("_ssl", "_into_ssl", "_from_ssl"):
            # Fail now, not at the first client.
            getattr(connection, name)
        for name in ("SSL_get_error", "BIO_get_mem_data"):
            getattr(self._lib, name)

    def decrypt(self, connection: Any, records: bytes) -> tuple[bytes, bool]:
        lib, ssl, scratch, filled, taken = self._lib, connection._ssl, self._scratch, 0, 0
        bio, read, write = connection._into_ssl, lib.SSL_read, lib.BIO_write
        full: list[bytes] = []
        size = len(records)
        with self._from_buffer(records) as encrypted:
            for start in range(0, size, _PIECE_SIZE):
                write(bio, encrypted + start, min(_PIECE_SIZE, size - start))
                while (taken := read(ssl, scratch + filled, _RECORD_SIZE)) > 0:
                    filled += taken
                    if filled > _SCRATCH_SIZE - _RECORD_SIZE:
                        full.append(self._buffer(scratch, filled)[:])
                        filled = 0
        is_quiet = (
            lib.SSL_get_error(ssl, taken) == self._wants_read
            and lib.BIO_get_mem_data(connection._from_ssl, self._null) == 0
        )
        last = self._buffer(scratch, filled)[:]
        return b"".join((*full, last)) if full else last, is_quiet

    def encrypt(self, connection: Any, pieces: Sequence[Bytes]) -> tuple[Bytes, Sequence[Bytes]]:
        ssl, write = connection._ssl, self._lib.SSL_write
        bio, full, filled, waiting = connection._from_ssl, list[bytes](), 0, 0
        for index, piece in enumerate(pieces):
            size, done = len(piece), 0
            with self._from_buffer(piece) as plain:
                while done < size:
                    taken = write(ssl, plain + done, min(_PIECE_SIZE, size - done))
                    if taken <= 0:
                        return self._collected(bio, filled, full), [piece[done:], *pieces[index + 1 :]]
                    done += taken
                    waiting += taken
                    if waiting >= _PIECE_SIZE:
                        filled, waiting = self._collect(bio, filled, full), 0
        return self._collected(bio, filled, full), ()

    def _collect(self, bio: Any, filled: int, full: list[bytes]) -> int:
        """
        Copy the records that OpenSSL has written to the scratch buffer. Return the number of bytes that are in it.

        Args:
            filled: The number of bytes that are in the scratch buffer already.
            full: Gets the content of the scratch buffer each time it is full.
        """
        while (taken := self._lib.BIO_read(bio, self._scratch + filled, _SCRATCH_SIZE - filled)) > 0:
            filled += taken
            if filled < _SCRATCH_SIZE:
                break
            full.append(self._buffer(self._scratch, filled)[:])
            filled = 0
        return filled

    def _collected(self, bio: Any, filled: int, full: list[bytes]) -> Bytes:
        last = memoryview(self._buffer(self._scratch, self._collect(bio, filled, full)))
        return b"".join((*full, last)) if full else last


def make_engine() -> Engine:
    """
    Return the fastest engine that the installed pyOpenSSL supports.
    """
    try:
        return ScratchEngine()
    except AttributeError:
        return PublicEngine()


ENGINE = make_engine()
