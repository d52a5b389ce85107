"""
Client keys in databases: the tables, and a daemon that reads them.
"""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.protocol import Factory

from s3proxy.configuration.loading import Configuration
from s3proxy.credentials.cache import CachedCredentials
from s3proxy.credentials.database import MIGRATIONS
from s3proxy.daemon.service import ProxyService
from s3proxy.testing.faulty_backend import FaultyBackend
from s3proxy.testing.faulty_client import FaultyClient, Response
from tests.support.harness import turns, until
from tests.support.signer import Signer


def migrations(kind: str) -> str:
    """
    Return the statements that make the tables.
    """
    return "\n".join(path.read_text() for path in sorted((MIGRATIONS / kind).glob("*.sql")))


def make_sqlite(path: Path, *, journal: str = "wal") -> None:
    """
    Make a database without keys.
    """
    with sqlite3.connect(path) as database:
        database.execute(f"PRAGMA journal_mode = {journal}")
        database.executescript(migrations("sqlite"))
    database.close()


def put_sqlite(path: Path, access_key_id: str = "A", secret: Any = ("secret",), **columns: Any) -> None:
    """
    Write a key, or write it again.

    Args:
        secret: The secrets; text is written as it is.
        columns: Further columns. Bytes are written as text, whether they are UTF-8 or not.
    """
    row = {"access_key_id": access_key_id, "secret_access_key": secret, **columns}
    values = [json.dumps(value) if isinstance(value, list | tuple) else value for value in row.values()]
    marks = ", ".join("CAST(? AS TEXT)" if isinstance(value, bytes) else "?" for value in values)
    database = sqlite3.connect(path)
    with database:
        database.execute("PRAGMA ignore_check_constraints = 1")
        database.execute(f"INSERT OR REPLACE INTO s3proxy_keys ({', '.join(row)}) VALUES ({marks})", values)
    database.close()


class DatabaseDaemon:
    """
    A daemon in this process whose keys are in a database, and its backend.

    Args:
        options: Further options of ``[credentials]``.
    """

    def __init__(self, directory: Path, source: str, **options: Any) -> None:
        self.backend = FaultyBackend()
        self.backend_port = reactor.listenTCP(0, self.backend, interface="127.0.0.1")
        backend = {"name": "only", "url": f"http://127.0.0.1:{self.backend_port.getHost().port}", "signature": "none"}
        self.content: dict[str, Any] = {
            "server": {"listen": ["tcp:0:interface=127.0.0.1"]},
            "backend": [backend],
            "credentials": {"source": source, **options},
            "log": {"access": "none"},
        }
        self.configuration = Configuration(self.content, directory)
        self.service = ProxyService(
            self.configuration.settings(), reactor, load=self.configuration.settings, handles_signals=False
        )
        self.service.startService()
        self.clients: list[FaultyClient] = []
        self._later = 0.0

    @property
    def source(self) -> CachedCredentials:
        """
        The current source.
        """
        source = self.service.credentials
        assert isinstance(source, CachedCredentials)
        return source

    def advance(self, seconds: float) -> None:
        """
        Let time pass for the cache.
        """
        self._later += seconds
        self.source._now = lambda: reactor.seconds() + self._later

    async def connect(self, name: str = "A", secret: str = "secret") -> FaultyClient:
        """
        Send a request with a key, on a connection of its own.
        """
        factory = Factory.forProtocol(FaultyClient)
        factory.noisy = False
        port = self.service.addresses[0].port
        client: FaultyClient = await TCP4ClientEndpoint(reactor, "127.0.0.1", port).connect(factory)
        self.clients.append(client)
        client.send(Signer(name, secret).head("GET", "/bucket/key")[0])
        return client

    async def get(self, name: str = "A", secret: str = "secret") -> Response:
        """
        Send a request with a key; return the response.
        """
        response = await (await self.connect(name, secret)).response()
        assert response is not None
        return response

    async def statuses(self, *names: str) -> list[int]:
        """
        Return the status of a request with each of some keys.
        """
        return [(await self.get(name)).status for name in names]

    async def close(self) -> None:
        """
        Release everything.
        """
        stopping = self.service.stopService()
        for client in self.clients:
            client.transport.abortConnection()
        await stopping
        await self.backend_port.stopListening()
        for connection in self.backend.connections:
            connection.transport.abortConnection()
        await until(lambda: all(client.lost for client in self.clients))
        await turns(3)
