"""
A daemon in this process whose listener has TLS, and clients in threads of their own.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from trustme import CA
from twisted.internet import reactor
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.threads import deferToThread

from s3proxy.configuration.loading import make_settings
from s3proxy.daemon.service import ProxyService
from s3proxy.testing.faulty_backend import FaultyBackend
from tests.support.certificates import Shaken, client_context, host, issue, shake
from tests.support.harness import until

SERVERS, CLIENTS = CA(), CA()
"The authorities of servers and of clients."

KEYS = {
    "SIGNER": "",
    "BACKUP": "",
    "DISABLED": "disabled = true",
    "EXPIRED": "expires = 2020-01-01T00:00:00Z",
    "SESSION": 'session_token = "token-of-the-session"',
    "SIGNING": 'refuse = ["certificate"]',
    "HASHING": 'refuse = ["unsigned-payload"]',
}
"""
The access keys of the daemon, each with the rest of its table.
"""

TLS = "tls:certificates:0:interface=127.0.0.1"


class TLSDaemon:
    """
    A daemon whose certificates are in a directory.

    Attributes:
        server: The options of ``[server]``, which a test may change before a reload.
        tables: Further tables of the configuration.
        certificates: The directory of the listener's certificates.
    """

    def __init__(self, directory: Path, names: Iterable[str] = ("a.test", "b.test"), **server: Any) -> None:
        self.directory = directory
        self.certificates = directory / "certificates"
        self.certificates.mkdir()
        for name in names:
            self.renew(name)
        (directory / "clients.pem").write_bytes(CLIENTS.cert_pem.bytes())
        (directory / "keys.toml").write_text(
            "".join(
                f'[[key]]\naccess_key_id = "{name}"\nsecret_access_key = "secret of {name}"\n{more}\n'
                for name, more in KEYS.items()
            )
        )
        self.backend = FaultyBackend()
        self.backend_port = reactor.listenTCP(0, self.backend, interface="127.0.0.1")
        self.server: dict[str, Any] = {"listen": [TLS], **server}
        self.tables: dict[str, Any] = {}
        self.service = ProxyService(self.load(), reactor, load=self.load, handles_signals=False)
        self.service.startService()
        (address,) = self.service.addresses
        self.port = address.port

    def load(self) -> Any:
        """
        Return the settings of the current options.
        """
        backend = {
            "name": "store",
            "url": f"http://127.0.0.1:{self.backend_port.getHost().port}",
            "access_key_id": "BACKENDKEY",
            "secret_access_key": "the-backend-secret-of-the-tests",
        }
        log = {"access": str(self.directory / "access.log")}
        content = {"server": self.server, "backend": [backend], "log": log, **self.tables}
        return make_settings(content, self.directory, {})

    def renew(self, name: str) -> str:
        """
        Write a new certificate for a name; return its serial number as hex digits.
        """
        made = issue(SERVERS, host(name))
        path = self.certificates / f"{name}.new"
        made.write(path).rename(self.certificates / f"{name}.pem")
        return f"{made.certificate.serial_number:X}"

    def client(self, *names: Any, authority: CA = CLIENTS, version: str = "", **options: Any) -> ssl.SSLContext:
        """
        Return the context of a client with a certificate of its own; without names or options, one without.
        """
        path = None
        if names or options:
            path = issue(authority, *names, **options).write(self.directory / "client.crt")
        return client_context(SERVERS, version, path)

    def shake(self, context: ssl.SSLContext, name: str | None = "a.test", **more: Any) -> Deferred[Shaken]:
        """
        Make a connection in a thread, and a request on it if one is given.
        """
        made: Deferred[Shaken] = deferToThread(shake, self.port, context, name, **more)  # type: ignore[attr-defined]
        return made

    async def ask(self, context: ssl.SSLContext, request: bytes, name: str = "a.test") -> bytes:
        """
        Return the response to a request on a new connection.
        """
        return (await self.shake(context, name, request=request)).response

    def requesters(self) -> list[tuple[str, str, str, str]]:
        """
        Return key, status, signature version and type of authentication of each request in the access log.
        """
        lines = (self.directory / "access.log").read_text().splitlines()
        found = []
        for line in lines:
            before, _, rest = line.partition('"')
            fields = rest.partition('" ')[2].split()
            found.append((before.split()[5], fields[0], line.split()[-10], line.split()[-8]))
        return found

    async def close(self) -> None:
        """
        End the daemon and its backend.
        """
        await self.service.stopService()
        await maybeDeferred(self.backend_port.stopListening)
        for connection in self.backend.connections:
            if connection.lost is None:
                connection.transport.abortConnection()
        await until(lambda: all(connection.lost for connection in self.backend.connections))
