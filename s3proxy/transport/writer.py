"""
Send bytes to a socket at once, in large blocks, and pause their source when the socket is full.

Twisted's `transport.write` waits one reactor turn and two epoll calls for each block. A direct send costs one system
call, and pauses the source exactly when the kernel's buffer is full: the tightest possible backpressure. Under TLS a
block is as many records as it needs, in both directions.

Public API: `DirectWriter`, `NO_WRITER`, its `Source`, `NO_SOURCE`, `ReadSize`, `Buffer`, and the functions on a
transport's socket.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Protocol

from twisted.internet import tcp
from twisted.internet.interfaces import IPullProducer, IPushProducer
from twisted.protocols.tls import TLSMemoryBIOProtocol
from zope.interface import implementer

from s3proxy.s3.limits import KIB
from s3proxy.transport.tls import Records, in_records

Buffer = bytes | memoryview
"""
Bytes to send. The bytes of a memoryview must not change until they are sent.
"""

FIRST_READ_SIZE = 64 * KIB
"""
Bytes of the first read blocks of an exchange: a stalled exchange keeps one.
"""

FULL_READ_SIZE = 1024 * KIB
"""
Maximum bytes of a read block while whole blocks are sent at once: fewer system calls and reactor turns.
"""

DEFAULT_SOCKET_BUFFER = 512 * KIB
"""
Bytes that the kernel may buffer for a connection in each direction.
"""

INTERNET = frozenset({socket.AF_INET, socket.AF_INET6})
"""
Socket families with TCP. Sockets of other families do not report what was acknowledged, and are not spliced.
"""

_WHOLE_BLOCKS_BEFORE_GROWTH = 4
_JOINED_SIZE = 16 * KIB  # Below it one copy and send(2) cost less than sendmsg(2).
_IOV_MAX = 1024


class Source(Protocol):
    """
    The producer that a writer pauses when its socket is full.
    """

    def pauseProducing(self) -> None:
        """
        Stop writing, except for bytes that are already in flight.
        """

    def resumeProducing(self) -> None:
        """
        Continue to write.
        """


class _NoSource:
    def pauseProducing(self) -> None:
        pass

    def resumeProducing(self) -> None:
        pass


NO_SOURCE: Source = _NoSource()


class SeesEachByte:
    """
    A base class of receivers that must get every byte of a body. No bytes are spliced past them.
    """

    @property
    def splice_target(self) -> None:
        """
        None: bytes are not spliced.
        """
        return

    def moved(self, size: int) -> None:
        """
        Never called, because bytes are not spliced.
        """
        raise RuntimeError("bytes were spliced past a receiver that must get every byte")


class ReadSize:
    """
    Sets the size of reads from a socket: small while the other side is slow, large while it takes whole blocks and has
    room for another.

    The writer of the other side calls it: see `DirectWriter.read_size`.

    Args:
        transport: The transport to read from; under TLS, the one below is used. All records of one read are delivered,
            paused or not. A transport that is not a plain socket keeps its read size.
        is_paced: Whether the bytes per second are limited. Then blocks stay small: a large one could exceed the rate
            alone.
    """

    __slots__ = ("_most", "_transport", "_whole_blocks")

    def __init__(self, transport: Any, *, is_paced: bool = False) -> None:
        below: Any = transport.transport if isinstance(transport, TLSMemoryBIOProtocol) else transport
        self._transport = below if is_plain(below) else None
        self._most = FIRST_READ_SIZE if is_paced else FULL_READ_SIZE
        self._whole_blocks = 0
        self.reset()

    def block_left_whole(self, plain_socket: socket.socket) -> None:
        """
        Called after a whole block was sent at once.

        Args:
            plain_socket: The other side's socket, which reports how much room it has. A large block that it does not
                take would stay in memory for as long as that side is stalled.
        """
        self._whole_blocks += 1
        if self._whole_blocks >= _WHOLE_BLOCKS_BEFORE_GROWTH and self._transport is not None:
            self._transport.bufferSize = max(FIRST_READ_SIZE, min(self._most, send_room(plain_socket)))

    @property
    def flows(self) -> bool:
        """
        Whether the other side has taken enough whole blocks to be fast, and no rate limits the bytes per second.
        """
        return self._whole_blocks > 2 * _WHOLE_BLOCKS_BEFORE_GROWTH and self._most == FULL_READ_SIZE

    def reset(self) -> None:
        """
        Go back to small blocks. Called when a block was not sent whole, or the exchange has ended.
        """
        self._whole_blocks = 0
        if self._transport is not None:
            self._transport.bufferSize = FIRST_READ_SIZE


@implementer(IPullProducer, IPushProducer)
class DirectWriter:
    """
    The only writer to a transport's socket, in order.

    On a stream socket it sends at once, under TLS as records. Bytes that the kernel does not take go to the transport's
    own buffer, and the source is paused until that is empty. It registers with the socket's transport as a pull
    producer, because a transport resumes a pull producer exactly then. Any other transport gets the bytes by `write`,
    and pauses the writer itself.

    Until `detach`, it also handles the TLS records of the other direction: all bytes from one read of the socket are
    delivered in one piece.

    Args:
        transport: A transport with an empty buffer. Nothing else may write to it until `detach`.
        source: The producer to pause and resume. May be replaced at any time, also by `NO_SOURCE`.

    Attributes:
        is_paused: Whether the source is paused.
        has_failed: Whether a send failed. Nothing is written any more, but there may be a response to read.
        read_size: The `ReadSize` of the source's transport, which learns if blocks are sent whole; or None. May be
            replaced at any time.
        waiting_size: Bytes that a plain socket did not take at once, until it has taken all of them; includes those in
            a pipe.
    """

    __slots__ = (
        "_is_attached",
        "_is_ready",
        "_records",
        "_socket",
        "_transport",
        "has_failed",
        "is_paused",
        "read_size",
        "source",
        "waiting_size",
    )

    def __init__(self, transport: Any, source: Source = NO_SOURCE) -> None:
        self._records: Records | None = None
        if isinstance(transport, TLSMemoryBIOProtocol) and is_plain(transport.transport):
            self._records = Records(transport)
            self._records.gather()
            transport = self._records.below
        self._transport = transport
        self.source = source
        self.is_paused = False
        self.has_failed = False
        self.waiting_size = 0
        self.read_size: ReadSize | None = None
        self._socket: socket.socket | None = transport.getHandle() if is_plain(transport) else None
        self._is_ready = False
        # registerProducer calls resumeProducing at once, whatever the buffer holds. The call is ignored, because the
        # writer is not attached yet.
        self._is_attached = False
        transport.registerProducer(self, self._socket is None)
        if not getattr(transport, "disconnected", False):
            self._is_attached = True
            # The transport's buffer is empty by construction: see transport above.
            self._is_ready = self._socket is not None

    @property
    def is_drained(self) -> bool:
        """
        Whether the kernel, or the transport below TLS, has taken everything.
        """
        return self._is_ready if self._socket is not None else self._is_attached and not self.is_paused

    def write(self, data: Buffer) -> None:
        """
        Send bytes, or have them sent as soon as the socket takes them.
        """
        if not self._is_attached or self.has_failed:
            return
        if self._records is not None:
            self._write_records(self._records, (data,))
        else:
            self._write(data)

    def _write_records(self, records: Records, pieces: Sequence[Buffer]) -> None:
        encrypted = records.encrypt(pieces)
        if not records.is_clear:
            self._is_ready = False
        if encrypted:
            self._write(encrypted)

    def _write(self, data: Buffer) -> None:
        plain_socket = self._socket
        if self._is_ready and plain_socket is not None:
            try:
                sent = plain_socket.send(data)
            except (BlockingIOError, InterruptedError):
                sent = 0
            except OSError:
                self._fail()
                return
            if sent == len(data):
                if self.read_size is not None:
                    self.read_size.block_left_whole(plain_socket)
                return
            data = memoryview(data)[sent:]
        self._leave(data)

    def writeSequence(self, pieces: Sequence[Buffer]) -> None:
        """
        Send several pieces in one call, without joining large ones.
        """
        if not self._is_attached or self.has_failed or not pieces:
            return
        if self._socket is None or len(pieces) == 1 or sum(map(len, pieces)) <= _JOINED_SIZE:
            data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            if self._records is not None:
                self._write_records(self._records, (data,))
            else:
                self._write(data)
        elif self._records is not None:
            self._write_records(self._records, in_records(pieces))
        elif self._is_ready:
            self._gather(self._socket, pieces)
        else:
            for piece in pieces:
                self._leave(piece)

    @property
    def can_splice(self) -> bool:
        """
        Whether bytes may go to the socket out of a pipe, and it is fast enough to be worth it.
        """
        return (
            self._is_ready
            and self._records is None
            and self.read_size is not None
            and self.read_size.flows
            and self._socket is not None
            and self._socket.family in INTERNET
        )

    def splice(self, pipe: int, size: int) -> int:
        """
        Send bytes out of a pipe.

        Args:
            pipe: The pipe's read end.

        Returns:
            Number of bytes that were sent. If that is not all, the source was paused, and is resumed when the socket
            takes more.
        """
        assert self._socket is not None
        left, fd = size, self._socket.fileno()
        while left and self._is_ready:
            sent = self._send(lambda most: os.splice(pipe, fd, most), left)
            if sent:
                left -= sent
            elif sent == 0:
                # The transport's buffer is empty, so the transport calls back when the socket takes bytes again.
                self._is_ready = False
                self.waiting_size = left
                self._transport.startWriting()
                self._pause()
        return size - left

    def detach(self) -> None:
        """
        Detach from the transport, even if it is lost. Bytes in its buffer are still sent.

        `loseConnection` and `loseWriteConnection` wait forever for a registered producer: detach first.
        """
        if self._records is not None:
            self._records.release()
        if self._is_attached:
            self._is_attached = False
            self._is_ready = False
            self._transport.unregisterProducer()

    def _gather(self, plain_socket: socket.socket, pieces: Sequence[Buffer]) -> None:
        for start in range(0, len(pieces), _IOV_MAX):
            # The kernel takes at most IOV_MAX pieces in one call.
            group = pieces[start : start + _IOV_MAX]
            sent = self._send(plain_socket.sendmsg, group)
            if sent is None:
                return
            for index, piece in enumerate(group, start):
                if sent < len(piece):
                    self._leave(memoryview(piece)[sent:])
                    for rest in pieces[index + 1 :]:
                        self._leave(rest)
                    return
                sent -= len(piece)
        if self.read_size is not None:
            self.read_size.block_left_whole(plain_socket)

    def _send(self, send: Callable[[Any], int], data: Any) -> int | None:
        try:
            return send(data)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError:
            self._fail()
            return None

    def _fail(self) -> None:
        # A write to the transport would drop the connection, and with it a response that is already in our receive
        # queue.
        self.has_failed = True
        self._is_ready = False
        self._pause()

    def _leave(self, data: Buffer) -> None:
        self._is_ready = False
        self._transport.write(bytes(data))
        if self._socket is not None:
            self.waiting_size += len(data)
            self._pause()

    def _pause(self) -> None:
        if self.read_size is not None:
            self.read_size.reset()
        if not self.is_paused:
            self.is_paused = True
            self.source.pauseProducing()

    # What the transport calls

    def resumeProducing(self) -> None:
        """
        Called by the transport when its own buffer is empty.
        """
        if not self._is_attached or self.has_failed:
            return
        if self._records is not None and self._transport.disconnecting:
            # The other side ended TLS. The transport below waits for its producer to detach, and takes no bytes from
            # it.
            self.detach()
            return
        self._is_ready = self._socket is not None
        self.waiting_size = 0
        if self.is_paused:
            self.is_paused = False
            self.source.resumeProducing()

    def pauseProducing(self) -> None:
        """
        Called by a transport that is not a plain socket when its buffer is full.
        """
        if self._is_attached:
            self._pause()

    def stopProducing(self) -> None:
        """
        Called when the transport is gone; `connectionLost` follows.
        """
        self._is_attached = False
        self._is_ready = False


def stream_socket(transport: Any) -> socket.socket | None:
    """
    Return the socket of a transport, also below TLS; None if there is none.
    """
    while transport is not None:
        handle = transport.getHandle() if hasattr(transport, "getHandle") else None
        if isinstance(handle, socket.socket):
            return handle
        transport = getattr(transport, "transport", None)
    return None


def bound_socket_buffers(transport: Any, size: int) -> None:
    """
    Limit the kernel's buffers of a connection. By default, the kernel keeps 4 MB for each stalled one.

    Args:
        size: Bytes in each direction; 0 leaves the size to the kernel.
    """
    found = stream_socket(transport)
    if size and found is not None:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)


_PEEK = int(socket.MSG_PEEK | socket.MSG_DONTWAIT)


def is_readable(transport: Any) -> bool:
    """
    Return True if a socket has bytes, or an end, that were not read yet. Always False under TLS, where bytes can be
    records without data.
    """
    if not isinstance(transport, tcp.Connection) or transport.TLS:
        return False
    try:
        transport.socket.recv(1, _PEEK)
    except (BlockingIOError, InterruptedError):
        return False
    except OSError:
        pass
    return True


def send_room(plain_socket: socket.socket) -> int:
    """
    Return how many bytes a socket certainly takes at once; 0 if that is unknown.

    Source:
        ``SO_MEMINFO`` of socket(7), and ``linux/sock_diag.h``: a buffer's limit includes the kernel's own structures,
        which need less than a fifth of it if blocks are large.
    """
    info = plain_socket.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size)
    if len(info) != _MEMINFO.size:
        return 0
    allocated, bound, queued = _MEMINFO.unpack(info)
    # TCP counts bytes that are not sent, or not acknowledged; a unix socket counts bytes that the other end has not
    # read.
    return int(bound - max(allocated, queued)) * 4 // 5


_SO_MEMINFO = 55
_MEMINFO = struct.Struct("=8x2I4xI")


def acknowledged_size(transport: Any) -> int | None:
    """
    Return how many bytes the other side's kernel has taken so far, or None if the socket does not count them.

    A full buffer shows that the other side is slow. Only this number shows if it still takes anything.

    Source:
        ``tcpi_bytes_acked`` of ``struct tcp_info``, tcp(7).
    """
    found = stream_socket(transport)
    if found is None or found.family not in INTERNET:
        return None
    info = found.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_ACKED.size)
    return int(_BYTES_ACKED.unpack(info)[0]) if len(info) == _BYTES_ACKED.size else None


_BYTES_ACKED = struct.Struct("=120xQ")


def acknowledge_now(transport: Any) -> None:
    """
    Acknowledge the received bytes at once, where the kernel has that. Otherwise it may wait for 40 ms, and with Nagle's
    algorithm the other side does not send its next bytes before that.

    Source:
        ``TCP_QUICKACK`` of tcp(7).
    """
    found = stream_socket(transport)
    if _QUICKACK is not None and found is not None and found.family in INTERNET:
        # A socket whose other end has reset it has nothing to acknowledge.
        with suppress(OSError):
            found.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)


# Only Linux has it.
_QUICKACK: int | None = getattr(socket, "TCP_QUICKACK", None)


def is_plain(transport: Any) -> bool:
    """
    Return True if a transport is a stream socket without TLS.
    """
    return isinstance(transport, tcp.Connection) and not transport.TLS


class _NoTransport:
    disconnected = True

    def registerProducer(self, producer: object, streaming: bool) -> None:
        pass


NO_WRITER = DirectWriter(_NoTransport())
"""
The writer of a connection that is not made yet: it writes nothing, and can be detached.
"""
