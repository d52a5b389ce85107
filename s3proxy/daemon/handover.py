"""
A restart: another program takes the place of the supervisor, in the same process and on the same sockets.

The strategy: exec(2) keeps the process id, the children and the open descriptors, so that neither an init system nor a
client notices. The supervisor first tries in another process whether the new program can be imported: there is no way
back from one that cannot start. It then leaves an environment variable with the numbers of its descriptors, those of
listening sockets and those by which its workers are told to end. The new program takes both over, starts workers of its
own, and lets the former ones retire. If the call fails, everything is put back as it was.

The text in the variable is read by another version of the program, so its form stays.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.utils import getProcessOutputAndValue
from twisted.scripts._twistd_unix import ServerOptions

from s3proxy.daemon.orders import RETIRE, STOP
from s3proxy.daemon.process import listening_environment, python_command

HANDOVER = "S3PROXY_HANDOVER"
"""
The environment variable by which a supervisor leaves sockets and workers to the one which takes its place.
"""


class Handover:
    """
    What a supervisor leaves to the one which takes its place.

    Args:
        sockets: Descriptors of listening sockets, by name.
        workers: Descriptors for commands, by process id.
    """

    def __init__(self, sockets: dict[str, int], workers: dict[int, int]) -> None:
        self.sockets = sockets
        self._workers = workers

    @classmethod
    def from_text(cls, text: str) -> Handover:
        """
        Read what `text` wrote.
        """
        sockets, workers = json.loads(text)
        return cls(sockets, {int(pid): fd for pid, fd in workers.items()})

    @classmethod
    def from_environment(cls) -> Handover | None:
        """
        Take it out of the environment; return None if there is no supervisor whose place this one takes.
        """
        text = os.environ.pop(HANDOVER, None)
        return cls.from_text(text) if text is not None else None

    def text(self) -> str:
        """
        Write it for the environment.
        """
        return json.dumps([self.sockets, self._workers])

    @property
    def descriptors(self) -> list[int]:
        """
        All of them.
        """
        return [*self.sockets.values(), *self._workers.values()]

    def retire(self) -> None:
        """
        Let the workers end with their last request.
        """
        self._tell(RETIRE)

    def stop(self) -> None:
        """
        Let them end soon.
        """
        self._tell(STOP)

    def _tell(self, command: bytes) -> None:
        for fd in self._workers.values():
            with contextlib.suppress(OSError):
                os.write(fd, command + b"\n")

    def reap(self) -> None:
        """
        Take note of those which have ended: they are children of this process, but Twisted does not know them.
        """
        for pid, fd in tuple(self._workers.items()):
            with contextlib.suppress(ChildProcessError):
                if os.waitpid(pid, os.WNOHANG) == (0, 0):
                    continue
            os.close(fd)
            del self._workers[pid]

    def execute(self, arguments: list[str], pidfile: str | None) -> None:
        """
        Put another program into the place of this one, and leave all of it to that.

        Args:
            arguments: Of Python's command line.
            pidfile: Of this process, which the program writes anew.

        Raises:
            OSError: It cannot be done, and nothing has changed.
        """
        for fd in self.descriptors:
            os.set_inheritable(fd, True)
        pid = b""
        if pidfile is not None:
            # It holds our own number, which twistd would take for another's.
            with contextlib.suppress(OSError):
                pid = Path(pidfile).read_bytes()
                os.unlink(pidfile)
        environment = {**os.environ, **listening_environment(), HANDOVER: self.text()}
        try:
            os.execve(sys.executable, [sys.executable, *arguments], environment)  # noqa: S606
        finally:
            # Only a failure comes here.
            for fd in self.descriptors:
                os.set_inheritable(fd, False)
            if pidfile is not None and pid:
                Path(pidfile).write_bytes(pid)


def try_program() -> Deferred[tuple[bytes, bytes, int]]:
    """
    Import the program as it is on disk now, in another process.

    Returns:
        What that process wrote to its output and to its standard error, and its exit status. Fails with an OSError if
        no process can be started.
    """
    executable, *flags = python_command()
    trying: Deferred[tuple[bytes, bytes, int]] = getProcessOutputAndValue(
        executable, [*flags, "-c", "import s3proxy.daemon.supervisor"], os.environ
    )
    return trying


def restart_arguments() -> tuple[list[str], str | None]:
    """
    Return the arguments which start this process once more in its own place, and the path of its pid file.

    Raises:
        UsageError: Twisted does not understand them, which it once did.
    """
    options: Any = ServerOptions()
    options.parseOptions(sys.argv[1:])
    arguments = list(sys.orig_argv[1:])
    if not options["nodaemon"]:
        # It is a daemon already.
        more = ["--nodaemon"]
        if not options["logfile"] and not options["syslog"]:
            more.append("--logfile=twistd.log")
        at = len(arguments) - len(sys.argv[1:])
        arguments[at:at] = more
    return arguments, options["pidfile"]
