"""
The daemon as operators run it.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

from twisted.internet import reactor

from s3proxy.testing.faulty_backend import FaultyBackend
from tests.support.harness import turns, until
from tests.support.processes import free_port, write_configuration
from tests.support.signer import Signer
from tests.support.socket_client import SocketClient

BODY = bytes(range(256)) * 2000
LONG = 4_000_000
"""
Turns of the reactor that are enough to start a process on any machine.
"""


def twistd_arguments(configuration: Path) -> list[str]:
    """
    Return the command line, with the Python of the tests.
    """
    code = "import sys; from twisted.scripts.twistd import run; sys.argv[0] = 'twistd'; run()"
    return ["-c", code, "-n", "--pidfile=", "s3proxy", "--config", str(configuration)]


class Daemon:
    """
    A configuration, a backend in this process, and clients of the daemon.
    """

    def __init__(
        self,
        directory: Path,
        *,
        more: str = "",
        backend: str = "",
        server: str = "",
        listen: str = "",
        access: str = "access.log",
    ) -> None:
        self.directory = directory
        self.backend = FaultyBackend()
        self.backend_port = reactor.listenTCP(0, self.backend, interface="127.0.0.1")
        self.port = free_port()
        url = f"http://127.0.0.1:{self.backend_port.getHost().port}"
        self.configuration = write_configuration(
            directory, url, port=self.port, more=more, backend=backend, server=server, listen=listen, access=access
        )
        self.clients: list[SocketClient] = []

    def signer(self, **options: str) -> Signer:
        """
        Return a signer with a client's key, at the real time.
        """
        return Signer(now=datetime.now(UTC), host=f"127.0.0.1:{self.port}", **options)

    async def ask(self, data: bytes) -> bytes:
        """
        Send bytes on a connection of its own; return what comes until the first response's end.
        """
        client = SocketClient(self.port)
        self.clients.append(client)
        client.put(data)
        for _ in range(200_000):
            client.pump()
            head, end, body = client.received.partition(b"\r\n\r\n")
            found = re.search(rb"Content-Length: (\d+)", head)
            if client.end or (end and (found is None or len(body) >= int(found[1]))):
                break
            await turns()
        return client.received

    def output(self) -> str:
        """
        Return all output of the daemon so far.
        """
        logs = (self.directory / "process.log", self.directory / "access.log")
        return "".join(path.read_text("utf-8", "replace") for path in logs if path.exists())

    async def close(self) -> None:
        """
        Release everything.
        """
        for client in self.clients:
            client.close()
        await self.backend_port.stopListening()
        for connection in self.backend.connections:
            if connection.lost is None:
                connection.transport.abortConnection()
        await until(lambda: all(connection.lost for connection in self.backend.connections))
