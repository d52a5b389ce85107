"""
Spread connections evenly over the processes that accept from one socket: a process that has more connections than
another pauses its accept.
"""

from __future__ import annotations

import mmap
import os

SLACK = 4
"""
Number of connections by which a process may be ahead of the one with the fewest.
"""

_SIZE = 4
_NOBODY = 0xFFFFFFFF


class SharedCounts:
    """
    Memory in which several processes share their numbers of connections. It is freed when this object and all processes
    are gone.

    Args:
        processes: The number of processes.

    Attributes:
        fd: The file descriptor of the memory, for the processes.
    """

    def __init__(self, processes: int) -> None:
        self.fd = os.memfd_create("s3proxy-connections")
        os.write(self.fd, _NOBODY.to_bytes(_SIZE, "little") * processes)

    def forget(self, number: int) -> None:
        """
        Remove a process that has ended, so that no other waits for it.
        """
        os.pwrite(self.fd, _NOBODY.to_bytes(_SIZE, "little"), number * _SIZE)

    def __del__(self) -> None:
        os.close(self.fd)


class Balance:
    """
    The view of one process on the memory of `SharedCounts`.

    Args:
        fd: The file descriptor of the memory. It is closed here.
        number: The number of this process, from 0. A process that died may have had the same number before.
    """

    def __init__(self, fd: int, number: int) -> None:
        self._counts = memoryview(mmap.mmap(fd, 0)).cast("I")
        os.close(fd)
        self._number = number
        self.tell(0)

    def tell(self, count: int) -> None:
        """
        Publish the number of connections of this process.
        """
        self._counts[self._number] = count

    def leave(self) -> None:
        """
        Remove this process: it accepts no more.
        """
        self.tell(_NOBODY)

    @property
    def is_ahead(self) -> bool:
        """
        Whether another process should accept the next connections.
        """
        return self._counts[self._number] > self.least + SLACK

    @property
    def least(self) -> int:
        """
        The smallest number of connections of any process.
        """
        return min(self._counts)
