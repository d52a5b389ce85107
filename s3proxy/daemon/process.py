"""
The settings of a process that serves, before it has a client. An application sets up its own process.
"""

from __future__ import annotations

import ctypes
import fcntl
import gc
import os
import resource
import signal
import sys
from types import FrameType

from s3proxy.s3.limits import MIB

MAPPED_SIZE = 4 * MIB
"""
Minimum size of an allocation that gets its own mapping, which the kernel clears each time.
"""

KEPT_SIZE = 16 * MIB
"""
Bytes of free memory at the end of the heap that are kept. Otherwise they would be returned, only to be cleared and
mapped again.
"""

COLLECTED_COUNT = 20_000
"""
Containers that are made and not freed before the collector looks for cycles: a running request has a few dozen, and
leaves none.
"""

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3


def python_command() -> list[str]:
    """
    Return the start of the command line of another Python process, which can import the same modules as this one.

    ``-P`` keeps the working directory out of the module path: ``-m`` and ``-c`` would put it first, and other users may
    be able to write there. PYTHONPATH still applies, unless this process ignores it.

    Source:
        "Command line and environment", options -P, -E and -s.
    """
    flags = [("-E", sys.flags.ignore_environment), ("-s", sys.flags.no_user_site)]
    return [sys.executable, "-P", *(name for name, is_set in flags if is_set)]


def sealed_memory(name: str, content: bytes) -> int:
    """
    Return the descriptor of an anonymous file in memory that can be read from its start, and never changed.

    Source:
        memfd_create(2), fcntl(2), "File Sealing".
    """
    fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        with os.fdopen(fd, "wb", closefd=False) as file:
            file.write(content)
        os.lseek(fd, 0, os.SEEK_SET)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _ALL_SEALS)
    except OSError:
        os.close(fd)
        raise
    return fd


_ALL_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


def read_once(fd: int) -> bytes:
    """
    Return the content of a descriptor, and replace it by ``/dev/null``: the content cannot be read there again.
    """
    try:
        with os.fdopen(fd, "rb", closefd=False) as file:
            return file.read()
    finally:
        null_fd = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null_fd, fd, inheritable=False)
        os.close(null_fd)


def listening_environment() -> dict[str, str]:
    """
    Return the variables of sd_listen_fds(3) for this process, which Twisted has removed from the environment.
    """
    names = os.environ.get("LISTEN_FDNAMES")
    return {"LISTEN_FDS": str(names.count(":") + 1), "LISTEN_PID": str(os.getpid())} if names else {}


def stop_once() -> None:
    """
    Pass only the first SIGTERM or SIGINT to the handlers that the reactor has set.

    For each further one during the drain, Twisted would log the traceback of a ReactorNotRunning.
    """
    former = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    is_stopping = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal is_stopping
        handler = former[signal.Signals(number)]
        if not is_stopping and callable(handler):
            is_stopping = True
            handler(number, frame)

    for number in former:
        signal.signal(number, stop)


def write_no_core() -> None:
    """
    Disable core dumps of this process and those that it starts: their memory holds secrets.

    Only the soft limit changes. ``prlimit --core=unlimited --pid PID`` allows core dumps for a process again.
    """
    _, maximum = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, maximum))


def prepare_process() -> None:
    """
    Raise the limit on file descriptors to its maximum, keep the memory that blocks need all the time, and disable core
    dumps.

    Source:
        mallopt(3). By default glibc moves both thresholds as blocks are freed, and the cost of a block changes with
        them.
    """
    write_no_core()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    gc.set_threshold(COLLECTED_COUNT, *gc.get_threshold()[1:])
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    # Other C libraries do not have mallopt.
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, MAPPED_SIZE)
        mallopt(_M_TRIM_THRESHOLD, KEPT_SIZE)
