"""
What a process which serves asks of its system, before it has a client. An application's process is its own business.
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


def python_command() -> list[str]:
    """
    Return the start of the command line of a further Python process, which imports what this one may import.

    ``-P`` keeps the working directory out of the module path: ``-m`` and ``-c`` would put it first, and other users may
    be able to write there. PYTHONPATH still counts, unless this process was told to ignore it.

    Source:
        "Command line and environment", options -P, -E and -s.
    """
    flags = [("-E", sys.flags.ignore_environment), ("-s", sys.flags.no_user_site)]
    return [sys.executable, "-P", *(name for name, is_set in flags if is_set)]


def sealed_memory(name: str, content: bytes) -> int:
    """
    Return the descriptor of an anonymous file in memory that can be read, from its start, and never changed.

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
    Return what a descriptor holds, and leave ``/dev/null`` in its place: nobody can read the content there again.
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
    Return what sd_listen_fds(3) says of this process's sockets, which Twisted has removed from the environment.
    """
    names = os.environ.get("LISTEN_FDNAMES")
    return {"LISTEN_FDS": str(names.count(":") + 1), "LISTEN_PID": str(os.getpid())} if names else {}


def stop_once() -> None:
    """
    Let only the first SIGTERM or SIGINT reach the handlers that the reactor has set.

    Twisted logs the traceback of a ReactorNotRunning for each further one, as long as the drain takes.
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
    Have this process, and those that it starts, leave no core dump: secrets are in its memory.

    Only the soft limit changes. ``prlimit --core=unlimited --pid PID`` allows core dumps for a process again.
    """
    _, maximum = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, maximum))


def prepare_process() -> None:
    """
    Let this process have as many file descriptors as it may, keep the memory which blocks need all the time, and write
    no core dump.

    Source:
        mallopt(3). Without being told glibc moves both thresholds as blocks are freed, and with them the cost of one.
    """
    write_no_core()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    gc.set_threshold(COLLECTED_COUNT, *gc.get_threshold()[1:])
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    # Other C libraries have their own ways.
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, MAPPED_SIZE)
        mallopt(_M_TRIM_THRESHOLD, KEPT_SIZE)
