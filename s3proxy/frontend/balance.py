"""
How connections are spread over the processes which accept from one socket: who has more than others lets them go first.
"""

from __future__ import annotations

import mmap
import os

SLACK = 4
"""
Connections by which a process may be ahead of the one with the fewest.
"""

_SIZE = 4
_NOBODY = 0xFFFFFFFF


class SharedCounts:
    """
    Memory in which each of several processes tells how many connections it has. It is gone with this object and them.

    Args:
        processes: How many there will be.

    Attributes:
        fd: Of the memory, to be given to a process.
    """

    def __init__(self, processes: int) -> None:
        self.fd = os.memfd_create("s3proxy-connections")
        os.write(self.fd, _NOBODY.to_bytes(_SIZE, "little") * processes)

    def forget(self, number: int) -> None:
        """
        Let nobody wait for a process which has ended.
        """
        os.pwrite(self.fd, _NOBODY.to_bytes(_SIZE, "little"), number * _SIZE)

    def __del__(self) -> None:
        os.close(self.fd)


class Balance:
    """
    One process's sight of the memory which `SharedCounts` made.

    Args:
        fd: Of the memory; closed here.
        number: Which of the processes this is, from 0 on. It may have had a predecessor which died.
    """

    def __init__(self, fd: int, number: int) -> None:
        self._counts = memoryview(mmap.mmap(fd, 0)).cast("I")
        os.close(fd)
        self._number = number
        self.tell(0)

    def tell(self, count: int) -> None:
        """
        Tell how many connections this process has.
        """
        self._counts[self._number] = count

    def leave(self) -> None:
        """
        Tell that it accepts no more.
        """
        self.tell(_NOBODY)

    @property
    def is_ahead(self) -> bool:
        """
        Whether another process should accept what comes next.
        """
        return self._counts[self._number] > self.least + SLACK

    @property
    def least(self) -> int:
        """
        How many connections the process has which has the fewest.
        """
        return min(self._counts)
