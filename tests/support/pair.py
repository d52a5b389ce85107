"""
A stand-in for an older storage system, and s3proxy in front of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ClientEndpoint

from s3proxy.profiles.known import PROFILES
from s3proxy.profiles.profile import Profile
from s3proxy.testing import MODES, Quirks
from s3proxy.testing.faulty_client import Response
from tests.support.harness import BACKEND_KEY, Harness
from tests.support.legacy import KEY, SECRET, Running
from tests.support.signer import Signer

BODY = b"0123456789"


class Pair:
    """
    A store with its quirks, and s3proxy in front of it with a profile.

    Attributes:
        store: With its own client, which signs as the store requires.
        harness: With its clients, which sign as they do today.
    """

    def __init__(self, directory: Path, mode: str, quirks: Quirks, profile: Profile, signature: str) -> None:
        self.mode = mode
        self.quirks = quirks
        keys = {KEY: SECRET, BACKEND_KEY.access_key_id: BACKEND_KEY.secret_access_key}
        self.store = Running(directory, quirks=quirks, keys=keys)
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", self.store.port.getHost().port, timeout=5)
        self.harness = Harness(profile=profile, signature=signature, endpoint=endpoint)

    async def straight(self, method: str, path: str, body: bytes = b"", **options: Any) -> Response:
        """
        Send a request to the store itself.
        """
        return await self.store.ask(method, path, body, **options)

    async def through(self, method: str, target: str, body: bytes = b"", **headers: str) -> Response:
        """
        Send a request through s3proxy, with signed headers: ``if_match`` becomes ``if-match``.
        """
        response: Response = await self.harness.request(*self.request(method, target, body, **headers), method=method)
        assert response is not None
        return response

    def request(self, method: str, target: str, body: bytes = b"", **headers: str) -> tuple[bytes, bytes]:
        """
        Return a request that a client of today signs.
        """
        signed = {name.replace("_", "-"): value for name, value in headers.items()}
        unsigned = {"Content-Length": str(len(body))} if method in {"PUT", "POST"} else {}
        payload = hashlib.sha256(body).hexdigest()
        return Signer().head(method, target, signed, payload=payload, unsigned=unsigned)[0], body

    def stored(self, key: str = "k") -> bytes | None:
        """
        Return what the store keeps.
        """
        return self.store.store.object_bytes("b", key)

    @property
    def counts(self) -> tuple[int, int]:
        """
        The store's counters: if none has changed, the store got no request.
        """
        return self.store.store.stored_count, self.store.store.refused_count


@asynccontextmanager
async def running_pair(
    directory: Path,
    mode: str,
    quirks: Quirks | None = None,
    profile: Profile | None = None,
    signature: str = "v2",
) -> AsyncIterator[Pair]:
    """
    Both, with the bucket ``b`` and the object ``k`` in it, until the context ends.
    """
    pair = Pair(directory, mode, quirks or MODES[mode], profile or PROFILES[mode], signature)
    pair.store.store.objects.bucket("b").create()
    try:
        await pair.straight("PUT", "/b/k", BODY, headers={"content-type": "text/x"})
        yield pair
    finally:
        await pair.harness.close()
        await pair.store.close()
