"""
A restart: another program replaces the supervisor, in the same process and on the same sockets.

The strategy: exec(2) keeps the process id, the children and the open descriptors, so that neither an init system nor a
client notices. The supervisor first tries in another process if the new program can be imported: there is no way back
from a program that cannot start. It then sets an environment variable to the numbers of its descriptors: those of
listening sockets and those that send commands to its workers. The new program takes over both, starts its own workers,
and lets the former ones retire. If exec(2) fails, everything is restored.

Another version of the program reads the variable, so its format stays.
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
The environment variable in which a supervisor leaves sockets and workers to its successor.
"""


class Handover:
    """
    What a supervisor leaves to its successor.

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
        Read the output of `text`.
        """
        sockets, workers = json.loads(text)
        return cls(sockets, {int(pid): fd for pid, fd in workers.items()})

    @classmethod
    def from_environment(cls) -> Handover | None:
        """
        Take the handover out of the environment; return None if this supervisor replaces no other.
        """
        text = os.environ.pop(HANDOVER, None)
        return cls.from_text(text) if text is not None else None

    def text(self) -> str:
        """
        Return the text for the environment.
        """
        return json.dumps([self.sockets, self._workers])

    @property
    def descriptors(self) -> list[int]:
        """
        The descriptors of all sockets and workers.
        """
        return [*self.sockets.values(), *self._workers.values()]

    def retire(self) -> None:
        """
        Let the workers end after their last request.
        """
        self._tell(RETIRE)

    def stop(self) -> None:
        """
        Let the workers end soon.
        """
        self._tell(STOP)

    def _tell(self, command: bytes) -> None:
        for fd in self._workers.values():
            with contextlib.suppress(OSError):
                os.write(fd, command + b"\n")

    def reap(self) -> None:
        """
        Forget the workers that have ended: they are children of this process, but Twisted did not start them.
        """
        for pid, fd in tuple(self._workers.items()):
            with contextlib.suppress(ChildProcessError):
                if os.waitpid(pid, os.WNOHANG) == (0, 0):
                    continue
            os.close(fd)
            del self._workers[pid]

    def execute(self, arguments: list[str], pidfile: str | None) -> None:
        """
        Replace the program of this process with another one, and leave everything to it.

        Args:
            arguments: The arguments for Python's command line.
            pidfile: The pid file of this process, which the program writes again.

        Raises:
            OSError: The program cannot be started, and nothing has changed.
        """
        for fd in self.descriptors:
            os.set_inheritable(fd, True)
        pid = b""
        if pidfile is not None:
            # The file has the id of this process, which twistd would take for another daemon's.
            with contextlib.suppress(OSError):
                pid = Path(pidfile).read_bytes()
                os.unlink(pidfile)
        environment = {**os.environ, **listening_environment(), HANDOVER: self.text()}
        try:
            os.execve(sys.executable, [sys.executable, *arguments], environment)  # noqa: S606
        finally:
            # Only reached if execve has failed.
            for fd in self.descriptors:
                os.set_inheritable(fd, False)
            if pidfile is not None and pid:
                Path(pidfile).write_bytes(pid)


def try_program() -> Deferred[tuple[bytes, bytes, int]]:
    """
    Import the program that is on disk now, in another process.

    Returns:
        The standard output of that process, its standard error and its exit status. Fails with an OSError if no process
        can be started.
    """
    executable, *flags = python_command()
    trying: Deferred[tuple[bytes, bytes, int]] = getProcessOutputAndValue(
        executable, [*flags, "-c", "import s3proxy.daemon.supervisor"], os.environ
    )
    return trying


def restart_arguments() -> tuple[list[str], str | None]:
    """
    Return the arguments that start the program again in this process, and the path of its pid file.

    Raises:
        UsageError: Twisted does not accept the arguments, although it did before.
    """
    options: Any = ServerOptions()
    options.parseOptions(sys.argv[1:])
    arguments = list(sys.orig_argv[1:])
    if not options["nodaemon"]:
        # The process is a daemon already.
        more = ["--nodaemon"]
        if not options["logfile"] and not options["syslog"]:
            more.append("--logfile=twistd.log")
        at = len(arguments) - len(sys.argv[1:])
        arguments[at:at] = more
    return arguments, options["pidfile"]
