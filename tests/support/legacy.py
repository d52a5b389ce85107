"""
A running stand-in for an older storage system, and a client that signs as it requires.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.protocol import Factory

from s3proxy.testing import LegacyStore, Quirks
from s3proxy.testing.faulty_client import FaultyClient, Response
from tests.support.harness import NOW, until

KEY, SECRET = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
DATE = "Sun, 01 Mar 2026 12:00:00 GMT"
PREFIX = "/services/Walrus"
FEW = Quirks(service_path=PREFIX.encode(), refuses_v4=True, refuses_iso_dates=True, plus_is_space=True)
"""
What Walrus requires of a request, and otherwise S3: `tests/mending/test_profiles.py` has all the quirks.
"""


class Running:
    """
    A store that listens, and its clients.
    """

    def __init__(self, directory: Path, **options: Any) -> None:
        options = {"wall_clock": lambda: NOW, "reactor": reactor, "keys": {KEY: SECRET}, "quirks": FEW, **options}
        self.service_path = options["quirks"].service_path.decode()
        self.store = LegacyStore(directory, **options)
        self.port = reactor.listenTCP(0, self.store.make_factory(), interface="127.0.0.1")
        self.clients: list[FaultyClient] = []

    async def connect(self) -> FaultyClient:
        """
        Open a connection.
        """
        factory = Factory.forProtocol(FaultyClient)
        factory.noisy = False
        client: FaultyClient = await TCP4ClientEndpoint(reactor, "127.0.0.1", self.port.getHost().port).connect(factory)
        self.clients.append(client)
        return client

    def head(
        self,
        method: str,
        path: str,
        headers: dict[str, str],
        *,
        signed: str = "",
        secret: str = SECRET,
        key: str = KEY,
        date: str | None = DATE,
    ) -> bytes:
        """
        Sign a head. ``signed`` is the part of the query that the signature covers.
        """
        amz = "".join(f"{name}:{value}\n" for name, value in sorted(headers.items()) if name.startswith("x-amz-"))
        resource = self.service_path + path.partition("?")[0] + (f"?{signed}" if signed else "")
        dated = "" if "x-amz-date" in headers else date or ""
        text = (
            f"{method}\n{headers.get('content-md5', '')}\n{headers.get('content-type', '')}\n{dated}\n{amz}{resource}"
        )
        signature = base64.b64encode(hmac.digest(secret.encode(), text.encode(), "sha1")).decode()
        lines = [f"{method} {self.service_path}{path} HTTP/1.1", "Host: store"]
        lines += [f"Date: {date}"] if date else []
        lines += [f"{name}: {value}" for name, value in headers.items()]
        lines.append(f"Authorization: AWS {key}:{signature}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode()

    async def ask(self, method: str, path: str, body: bytes = b"", **options: Any) -> Response:
        """
        Send a signed request on a connection of its own.
        """
        headers = dict(options.pop("headers", {}))
        if body or method in {"PUT", "POST"}:
            headers["content-length"] = str(len(body))
        return await self.say(self.head(method, path, headers, **options) + body, method)

    async def say(self, data: bytes, method: str = "GET") -> Response:
        """
        Send bytes on a connection of their own.
        """
        client = await self.connect()
        client.send(data)
        response = await client.response(method)
        assert response is not None
        return response

    async def close(self) -> None:
        """
        End everything.
        """
        await self.port.stopListening()
        for client in self.clients:
            if client.lost is None:
                client.transport.abortConnection()
        await until(lambda: all(client.lost for client in self.clients) and not self.store.channels)


def code(response: Response) -> str:
    """
    The code of an error.
    """
    return found(response, "Code")[0]


def found(response: Response, name: str) -> list[str]:
    """
    The texts of a response's elements with a name.
    """
    return re.findall(f"<{name}>([^<]*)</{name}>", response.body.decode())


def md5_header(body: bytes) -> dict[str, str]:
    """
    Content-MD5 of a body.
    """
    return {"content-md5": base64.b64encode(hashlib.md5(body).digest()).decode()}


def complete(*parts: tuple[int, str | None]) -> bytes:
    """
    The document that completes an upload.
    """
    items = (f"<Part><PartNumber>{n}</PartNumber><ETag>{etag}</ETag></Part>" for n, etag in parts)
    return f"<CompleteMultipartUpload>{''.join(items)}</CompleteMultipartUpload>".encode()
