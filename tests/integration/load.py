"""
Clients that send requests one after another, while the key that they sign with is changed.
"""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tests.support.processes import free_port, running, wait_for_port
from tests.support.signer import Signer

BACKEND = """
import sys
from twisted.internet import protocol, reactor

class Backend(protocol.Protocol):
    unread = b""

    def dataReceived(self, data):
        *heads, self.unread = (self.unread + data).split(b"\\r\\n\\r\\n")
        self.transport.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok" * len(heads))

reactor.listenTCP(int(sys.argv[1]), protocol.Factory.forProtocol(Backend), interface="127.0.0.1")
reactor.run()
"""


@contextmanager
def running_backend(directory: Path) -> Iterator[int]:
    """
    Run a backend that responds to every request without a body; return its port.
    """
    port = free_port()
    directory.mkdir()
    with running(["-c", BACKEND, str(port)], directory) as process:
        wait_for_port(port, process)
        yield port


def ask(connection: http.client.HTTPConnection, signer: Signer) -> int:
    """
    Send one signed request; return the status.
    """
    lines = signer.head("GET", "/bucket/key")[0].decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines[1:] if line)
    connection.request("GET", "/bucket/key", headers=headers)
    response = connection.getresponse()
    response.read()
    return response.status


@dataclass
class Key:
    """
    What one client signs with.
    """

    access_key_id: str
    secret: str


class Load:
    """
    Several clients, each with a connection of its own.

    Attributes:
        failures: Each status that is not 200, and each exception, in the order of their occurrence.
        counts: Number of requests with each secret.
    """

    def __init__(self, port: int, key: Key, clients: int) -> None:
        self._port = port
        self._key = key
        self._is_ending = False
        self._lock = threading.Lock()
        self.failures: list[str] = []
        self.counts: dict[str, int] = {}
        self._threads = [threading.Thread(target=self._run) for _ in range(clients)]

    def signer(self, secret: str) -> Signer:
        """
        Return a signer at the real time.
        """
        return Signer(self._key.access_key_id, secret, datetime.now(UTC), f"127.0.0.1:{self._port}")

    def change_over(self, secret: str) -> None:
        """
        Let each client sign its next request with another secret.
        """
        self._key = Key(self._key.access_key_id, secret)

    @property
    def count(self) -> int:
        """
        Number of requests so far.
        """
        return sum(self.counts.values())

    def probe(self, secret: str) -> int:
        """
        Send a request that does not count.
        """
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        try:
            return ask(connection, self.signer(secret))
        finally:
            connection.close()

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *ignored: object) -> None:
        self._is_ending = True
        for thread in self._threads:
            thread.join(120)

    def _run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        while not self._is_ending:
            secret = self._key.secret
            try:
                status = ask(connection, self.signer(secret))
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                self._failed(repr(error))
            else:
                if status != 200:
                    self._failed(str(status))
            with self._lock:
                self.counts[secret] = self.counts.get(secret, 0) + 1
        connection.close()

    def _failed(self, told: str) -> None:
        with self._lock:
            self.failures.append(told)
