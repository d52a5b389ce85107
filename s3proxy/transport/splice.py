"""
Move the bytes of a body from one socket to another without a copy to user space, if this process need not read them.

Source:
    splice(2), pipe(7).
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from typing import Any

from s3proxy.s3.limits import MIB
from s3proxy.transport.writer import INTERNET, DirectWriter, is_plain

PIPE_SIZE = 1 * MIB
"""
Capacity of a pipe in bytes. A smaller pipe saves nothing: twice the system calls cost as much as the copies.
"""

MAX_PIPES = 64
"""
Maximum number of pipes. They need twice as many descriptors, and the kernel limits the pipe memory of one user
(``pipe-user-pages-soft``). Further bodies are copied.
"""

MIN_SPLICED_SIZE = 4 * MIB
"""
Minimum rest of a body in bytes. A shorter rest ends before the splice pays off.
"""


class Pipes:
    """
    The pipes of this process. Empty ones are used again.

    Attributes:
        made_count: Number of pipes, in use or not.
    """

    def __init__(self) -> None:
        self.made_count = 0
        self._empty: list[tuple[int, int]] = []

    def take(self) -> tuple[int, int] | None:
        """
        Return a pipe's read end and write end; None if no further pipe can be made.
        """
        if self._empty:
            return self._empty.pop()
        if self.made_count >= MAX_PIPES:
            return None
        try:
            pipe = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError:
            return None
        try:
            fcntl.fcntl(pipe[1], fcntl.F_SETPIPE_SZ, PIPE_SIZE)
        except OSError:
            # The pipes of this user have reached their memory limit.
            _close(pipe)
            return None
        self.made_count += 1
        return pipe

    def give_back(self, pipe: tuple[int, int], *, is_empty: bool) -> None:
        """
        Take a pipe back. A pipe that is not empty is closed.
        """
        if is_empty:
            self._empty.append(pipe)
        else:
            _close(pipe)
            self.made_count -= 1

    def close(self) -> None:
        """
        Close the empty pipes.
        """
        while self._empty:
            _close(self._empty.pop())
            self.made_count -= 1


def _close(pipe: tuple[int, int]) -> None:
    for end in pipe:
        os.close(end)


PIPES = Pipes()


class Splice:
    """
    Moves bytes from a transport's socket to a writer's, at the writer's pace. Until it has ended, the reactor calls it
    when the transport can be read.

    Args:
        source: A transport without TLS. The code that pauses and resumes it must call `push` after resuming.
        size: Bytes to move.
        pipe: The read end and the write end of an empty pipe of `PIPES`.
        moved: Called with the number of bytes that have left the source.
        ended: Called when all bytes were sent to the writer's socket. By then the transport reads as before.
    """

    __slots__ = ("_ended", "_in_pipe", "_left", "_moved", "_pipe", "_source", "_writer")

    def __init__(
        self,
        source: Any,
        writer: DirectWriter,
        size: int,
        pipe: tuple[int, int],
        moved: Callable[[int], None],
        ended: Callable[[], None],
    ) -> None:
        self._source = source
        self._writer = writer
        self._left = size
        self._pipe: tuple[int, int] | None = pipe
        self._moved = moved
        self._ended = ended
        self._in_pipe = 0
        source.doRead = self._read

    def _read(self) -> Any:
        pipe = self._pipe
        if pipe is None or (self._in_pipe and not self.push()):
            return None
        try:
            size = os.splice(self._source.fileno(), pipe[1], min(PIPE_SIZE, self._left))
        except (BlockingIOError, InterruptedError):
            return None
        except OSError:
            size = 0
        if not size:
            # An end or an error. The transport finds it when it reads.
            self.stop()
            return self._source.doRead()
        self._left -= size
        self._in_pipe += size
        self._moved(size)
        self.push()
        return None

    def push(self) -> bool:
        """
        Send the bytes in the pipe. Return True if all of them left; otherwise the writer has paused its source.
        """
        if self._pipe is None:
            return True
        if self._in_pipe:
            self._in_pipe -= self._writer.splice(self._pipe[0], self._in_pipe)
            if self._in_pipe:
                return False
        if not self._left:
            self.stop()
            self._ended()
        return True

    def stop(self) -> None:
        """
        Let the transport read as before. Bytes in the pipe are lost, so the body stays incomplete.
        """
        pipe, self._pipe = self._pipe, None
        if pipe is not None:
            vars(self._source).pop("doRead", None)
            PIPES.give_back(pipe, is_empty=not self._in_pipe)


def begin_splice(
    source: Any, writer: DirectWriter, size: int, moved: Callable[[int], None], ended: Callable[[], None]
) -> Splice | None:
    """
    Start a `Splice`. Return None if the body is too short, or if the sockets or the machine do not support it.
    """
    if size < MIN_SPLICED_SIZE or not (is_plain(source) and source.getHandle().family in INTERNET):
        return None
    pipe = PIPES.take()
    return None if pipe is None else Splice(source, writer, size, pipe, moved, ended)
