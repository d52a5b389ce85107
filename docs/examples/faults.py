"""
What a client reads when its storage dies within an upload: ``pytest docs/examples/faults.py``.
"""

from datetime import UTC, datetime
from pathlib import Path

import pytest_twisted
from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.protocol import Factory

from s3proxy import Credential, ProxyService, make_settings
from s3proxy.resign.presign import presign
from s3proxy.testing import FaultyBackend, FaultyClient, faults

BODY = bytes(100_000)
KEY = Credential(access_key_id="CLIENT", secret_access_keys=("client-secret",))
LISTEN = "tcp:0:interface=127.0.0.1"


@pytest_twisted.ensureDeferred
async def test_a_storage_which_dies_within_an_upload(tmp_path: Path) -> None:
    backend = FaultyBackend()
    faults.resets_after(10_000)(backend)
    port = reactor.listenTCP(0, backend, interface="127.0.0.1")
    storage = {"name": "storage", "url": f"http://127.0.0.1:{port.getHost().port}", "signature": "none"}
    (tmp_path / "keys.toml").write_text('[[key]]\naccess_key_id = "CLIENT"\nsecret_access_key = "client-secret"\n')
    service = ProxyService(make_settings({"server": {"listen": [LISTEN]}, "backend": [storage]}, tmp_path), reactor)
    service.startService()
    number = service.addresses[0].port
    host = f"127.0.0.1:{number}"
    target = presign(f"http://{host}/bucket/key", KEY, datetime.now(UTC), method="PUT").partition(host)[2]

    client = await TCP4ClientEndpoint(reactor, "127.0.0.1", number).connect(Factory.forProtocol(FaultyClient))
    client.send(f"PUT {target} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(BODY)}\r\n\r\n".encode() + BODY)
    response = await client.response("PUT")
    client.reset()
    await service.stopService()
    await port.stopListening()

    assert response is not None
    assert response.status == 500
    assert backend.requests == []
