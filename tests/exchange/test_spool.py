"""
Uploads to a backend that would commit a short body: verified on disk before the backend gets them.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import pytest_twisted

from s3proxy.body.spool import SpoolDirectory, SpooledBody
from s3proxy.s3.errors import EntityTooLarge, SlowDown
from tests.support.harness import Harness, turns, until
from tests.support.signer import MODES, SIGNED_CHUNKS, SIGNED_TRAILER, SignedRequest, Signer
from tests.support.wire_cases import element

BODY = bytes(range(251)) * 4000
TARGET = "/test-bucket/k"


@pytest.mark.parametrize("signature", ["v4", "v2"])
@pytest.mark.parametrize("size", [0, 1000, len(BODY)])
@pytest.mark.parametrize("mode", MODES)
@pytest_twisted.ensureDeferred
async def test_a_good_upload(mode: str, size: int, signature: str) -> None:
    """
    It arrives whole, with its length, whatever its payload mode. Nothing of it remains on disk.
    """
    harness = Harness(spools=True, signature=signature)
    request = Signer().put(TARGET, BODY[:size], mode)
    response = await harness.request(request.head, request.body)
    await harness.close()

    assert response.status == 200
    (stored,) = harness.backend.requests
    assert (stored.size, stored.sha256) == (size, hashlib.sha256(BODY[:size]).hexdigest())


@pytest.mark.parametrize("mode", [SIGNED_CHUNKS, SIGNED_TRAILER])
@pytest_twisted.ensureDeferred
async def test_a_bad_upload(mode: str) -> None:
    """
    The backend does not even get a connection.
    """
    harness = Harness(spools=True)
    request = Signer().put(TARGET, BODY, mode)
    body = bytearray(request.body)
    body[-1000] ^= 1
    response = await harness.request(request.head, bytes(body))
    await turns(3)
    await harness.close()

    assert (response.status, element(response.body, "Code")) == (403, "SignatureDoesNotMatch")
    assert harness.backend.connections == []


@pytest_twisted.ensureDeferred
async def test_the_quota() -> None:
    """
    Two uploads share it: the second gets SlowDown, and passes once the first is finished.
    """
    harness = Harness(spools=True, spool_quota=len(BODY) + 1000)
    request = Signer().put(TARGET, BODY)
    first = await harness.connect()
    first.send(request.head + request.body[:-1])
    await until(lambda: harness.spool.size > len(BODY) - 100_000)

    refused = await harness.request(request.head, request.body)
    first.send(request.body[-1:])
    stored = await first.response("PUT")
    again = await harness.request(request.head, request.body)
    await harness.close()

    assert (refused.status, element(refused.body, "Code")) == (503, "SlowDown")
    assert stored is not None
    assert (stored.status, again.status) == (200, 200)
    assert [received.body == BODY for received in harness.backend.requests] == [True, True]


@pytest_twisted.ensureDeferred
async def test_a_slow_backend_paces_the_disk() -> None:
    """
    What the backend does not accept stays on disk, not in memory.
    """
    harness = Harness(spools=True, socket_buffer=16384)
    harness.backend.socket_buffer = 16384
    harness.backend.pause_after = 1
    body = bytes(8 << 20)
    request = Signer().put(TARGET, body)
    client = await harness.connect()
    client.send(request.head + request.body)
    await until(lambda: harness.backend.connections and harness.backend.connections[0].received_size)
    await turns(500)
    (running,) = harness.proxy._running
    assert running._transfer is not None
    upload = running._transfer._asking.upload
    assert upload is not None
    assert upload.size < 3 << 20

    harness.backend.connections[0].resume()
    response = await client.response("PUT")
    await harness.close()

    assert response is not None
    assert response.status == 200
    assert harness.backend.requests[0].size == len(body)


@pytest_twisted.ensureDeferred
async def test_a_backend_which_dies_while_it_gets_the_file() -> None:
    """
    The client reads an error, and the disk is free again.
    """
    harness = Harness(spools=True)
    harness.backend.on_head = lambda connection, head: connection.transport.abortConnection()
    request: SignedRequest = Signer().put(TARGET, BODY)
    response = await harness.request(request.head, request.body)
    await harness.close()

    assert (response.status, element(response.body, "Code")) == (500, "InternalError")


def test_a_body_moves_to_disk_when_it_grows(tmp_path: Path) -> None:
    """
    Up to a size it is in memory; above that in a file without a name, which is released when the body is discarded.
    """
    directory = SpoolDirectory(tmp_path, 1000)
    body = SpooledBody(directory, 10, 500, lambda: EntityTooLarge(501, 500))

    body.writeSequence([b"a" * 6, memoryview(b"b" * 4)])
    assert (body.on_disk, body.content, directory.size) == (None, b"aaaaaabbbb", 0)
    body.writeSequence([b"c"])
    on_disk = body.on_disk
    assert on_disk is not None
    assert (on_disk.size, directory.size, list(tmp_path.iterdir())) == (11, 11, [])
    on_disk.file.seek(0)
    assert [on_disk.file.read(8), on_disk.file.read(8), on_disk.file.read(8)] == [b"aaaaaabb", b"bbc", b""]
    with pytest.raises(EntityTooLarge):
        body.writeSequence([b"d" * 490])
    body.discard()
    body.discard()
    assert directory.size == 0


def test_a_disk_which_takes_no_more(tmp_path: Path) -> None:
    """
    A quota, a directory that is gone, a file that cannot grow: the client gets SlowDown.
    """
    directory = SpoolDirectory(tmp_path / "gone", 100)
    body = SpooledBody(directory, 0, 500, lambda: EntityTooLarge(501, 500))
    with pytest.raises(SlowDown):
        body.writeSequence([b"a" * 101])
    with pytest.raises(SlowDown):
        SpooledBody(directory, 0, 500, lambda: EntityTooLarge(501, 500)).writeSequence([b"a"])

    full = SpooledBody(SpoolDirectory(tmp_path, 100), 0, 500, lambda: EntityTooLarge(501, 500))
    full._file = open("/dev/full", "wb", buffering=0)  # noqa: SIM115
    with pytest.raises(SlowDown):
        full.writeSequence([b"a"])
    full.discard()
    assert directory.refused_count == 2
