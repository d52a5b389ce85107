"""
What a process which serves asks of its system, before it has a client. An application's process is its own business.
"""

from __future__ import annotations

import ctypes
import gc
import resource

from s3proxy.s3.limits import MIB

MAPPED_SIZE = 4 * MIB
"""
Bytes of an allocation from which on it is a mapping of its own, which the kernel clears each time.
"""

KEPT_SIZE = 16 * MIB
"""
Bytes of free memory at the end of the heap which are not given back, only to be cleared and mapped again.
"""

COLLECTED_COUNT = 20_000
"""
Containers which are made and not freed before the collector looks for cycles: a request in flight has a few dozen, and
leaves none.
"""

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3


def prepare_process() -> None:
    """
    Let this process have as many file descriptors as it may, and keep the memory which blocks need all the time.

    Source:
        mallopt(3). Without being told glibc moves both thresholds as blocks are freed, and with them the cost of one.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    gc.set_threshold(COLLECTED_COUNT, *gc.get_threshold()[1:])
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    # Other C libraries have their own ways.
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, MAPPED_SIZE)
        mallopt(_M_TRIM_THRESHOLD, KEPT_SIZE)
