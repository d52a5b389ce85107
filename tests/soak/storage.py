"""
The backends of a soak. Each has daemons that can be killed, and is read without s3proxy.
"""

from __future__ import annotations

import hashlib
import http.client
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tests.integration import rgw, swift
from tests.support.signer import Signer


@dataclass
class Storage:
    """
    One backend.

    Args:
        name: Name of the relay's line to the backend.
        port: Its port for http.
        parts: Names of the daemons that may be killed.
        kill: Ends one of its daemons with SIGKILL, by the daemon's name.
        restart: Starts that daemon again, without waiting for it.
        wait: Returns when all of its daemons respond.

    Attributes:
        down: The daemon that is dead, and the time until which it is.
    """

    name: str
    port: int
    key_id: str
    secret: str
    parts: tuple[str, ...]
    kill: Callable[[str], None]
    restart: Callable[[str], None]
    wait: Callable[[], None]
    down: dict[str, float] = field(default_factory=dict)

    def kill_one(self, source: random.Random, now: float) -> str:
        """
        Kill one of its daemons for a while.

        Returns:
            The daemon's name; empty if one is down already.
        """
        if self.down:
            return ""
        part = source.choice(self.parts)
        self.kill(part)
        self.down[part] = now + source.uniform(0, 4)
        return part

    def restart_due(self, now: float) -> None:
        """
        Start the daemon again if it has been down for long enough.
        """
        for part, until in tuple(self.down.items()):
            if now >= until:
                del self.down[part]
                self.restart(part)

    def s3(self) -> Any:
        """
        A boto3 client for the backend.
        """
        import boto3
        from botocore.config import Config

        return boto3.session.Session().client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{self.port}",
            aws_access_key_id=self.key_id,
            aws_secret_access_key=self.secret,
            region_name="us-east-1",
            config=Config(s3={"addressing_style": "path"}),
        )

    def keys(self, bucket: str) -> set[str]:
        """
        List a bucket.
        """
        pages = self.s3().get_paginator("list_objects_v2").paginate(Bucket=bucket)
        return {item["Key"] for page in pages for item in page.get("Contents", ())}


def of_rgw(gateway: rgw.Gateway) -> Storage:
    """
    Return the gateway as a backend of a soak.
    """
    return Storage(
        name="rgw",
        port=gateway.port,
        key_id=rgw.KEY_ID,
        secret=rgw.SECRET,
        parts=("radosgw",),
        kill=lambda part: gateway.kill_gateway(),
        restart=lambda part: gateway.start_gateway(),
        wait=gateway.wait,
    )


def of_swift(servers: swift.Swift) -> Storage:
    """
    Return Swift as a backend of a soak.
    """
    return Storage(
        name="swift",
        port=servers.port,
        key_id=swift.KEY_ID,
        secret=swift.SECRET,
        parts=("proxy", "object"),
        kill=servers.kill,
        restart=servers.start_part,
        wait=servers.wait,
    )


class Reader:
    """
    Reads objects from a backend, one after another, on one connection.
    """

    def __init__(self, storage: Storage, bucket: str) -> None:
        self._storage = storage
        self._bucket = bucket
        self._connection = http.client.HTTPConnection("127.0.0.1", storage.port, timeout=60)

    def read(self, key: str) -> tuple[str, int]:
        """
        Return SHA-256 and size of an object; an empty text if there is none.

        Raises:
            AssertionError: The backend responds with anything else.
        """
        storage = self._storage
        signer = Signer(storage.key_id, storage.secret, datetime.now(UTC), f"127.0.0.1:{storage.port}")
        self._connection.request("GET", signer.presign("GET", f"/{self._bucket}/{key}"))
        response = self._connection.getresponse()
        digest, size = hashlib.sha256(), 0
        while data := response.read(1 << 18):
            digest.update(data)
            size += len(data)
        if response.status == 404:
            return "", 0
        assert response.status == 200, f"{storage.name} answers {response.status} for {key}"
        return digest.hexdigest(), size

    def close(self) -> None:
        """
        End the connection.
        """
        self._connection.close()
