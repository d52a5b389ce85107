"""
The examples of the documentation work as it says.
"""

from __future__ import annotations

import ast
import hashlib
import os
import re
import runpy
import subprocess
import sys
import tomllib
from datetime import UTC, datetime
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.testing import MemoryReactorClock
from twisted.internet.utils import getProcessOutputAndValue

import s3proxy
from s3proxy.authentication.verdict import NOBODY, Authenticated
from s3proxy.configuration.loading import make_settings
from s3proxy.credentials.file import read_keys
from s3proxy.credentials.source import ANY_NAMES
from s3proxy.daemon.generation import Generation
from s3proxy.exchange.context import ProxyCounts
from s3proxy.s3.address import parse_address
from s3proxy.s3.claim import Carrier
from s3proxy.s3.errors import S3Error
from s3proxy.s3.head import RequestHead
from s3proxy.s3.payload import UNSIGNED
from s3proxy.testing.faulty_backend import FaultyBackend
from tests.support.harness import turns, until
from tests.support.processes import free_port, peak_memory, running, until_listening, write_configuration
from tests.support.signer import EMPTY, SIGNED_CHUNKS, SIGNED_TRAILER, Signer
from tests.support.socket_client import SocketClient

MIB = 1 << 20
DOCS = Path(__file__).parents[2] / "docs"
EXAMPLES = DOCS / "examples"
HELLO = EXAMPLES / "hello.py"
SIZE = 1024 * MIB
CHUNK = b"0123456789abcdef" * 4096


@pytest_twisted.ensureDeferred
async def test_hello_beside_s3(tmp_path: Path) -> None:
    """
    At most 30 lines serve a page of their own and accept a chunk-signed PUT of 1 GiB in constant memory.
    """
    assert len(HELLO.read_text().splitlines()) <= 30
    backend = FaultyBackend(keeps_bodies=False)
    backend_port = reactor.listenTCP(0, backend, interface="127.0.0.1")
    configuration = write_configuration(tmp_path, f"http://127.0.0.1:{backend_port.getHost().port}")
    port = free_port()
    with running([str(HELLO), str(configuration), f"tcp:{port}:interface=127.0.0.1"], tmp_path) as process:
        await until_listening(port, process)
        client = SocketClient(port)
        client.put(b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n")
        while b"Hello!" not in client.received:
            client.pump()
            assert client.end is None
            await turns()
        assert client.received.startswith(b"HTTP/1.1 200 OK")
        before = peak_memory(process.pid)
        client.received = b""
        await _put_large_object(client, port)
        after = peak_memory(process.pid)
        client.close()
    await backend_port.stopListening()
    for connection in backend.connections:
        connection.transport.abortConnection()
    await turns(5)

    (request,) = backend.requests
    assert request.size == SIZE
    assert request.sha256 == hashlib.sha256(CHUNK * (SIZE // len(CHUNK))).hexdigest()
    assert after - before < 8 * MIB


async def _put_large_object(client: SocketClient, port: int) -> None:
    signer = Signer(now=datetime.now(UTC), host=f"127.0.0.1:{port}")
    headers = {"x-amz-decoded-content-length": str(SIZE), "content-encoding": "aws-chunked"}
    count = SIZE // len(CHUNK)
    length = count * (len(b"10000;chunk-signature=") + 64 + 2 + len(CHUNK) + 2) + len(b"0;chunk-signature=") + 64 + 4
    head, signature = signer.head(
        "PUT", "/test-bucket/large", headers, payload=SIGNED_CHUNKS, unsigned={"Content-Length": str(length)}
    )
    client.put(head)
    digest = hashlib.sha256(CHUNK).hexdigest()
    for number in range(count + 1):
        is_last = number == count
        signature = signer.sign_chunk(EMPTY if is_last else digest, signature)
        prefix = f"{0 if is_last else len(CHUNK):x};chunk-signature={signature}\r\n".encode()
        client.put(prefix + (b"" if is_last else CHUNK) + b"\r\n")
        while client.pending > 4 * MIB or (is_last and not client.status):
            client.pump()
            assert client.end is None, client.received
            await turns()
    assert client.status == 200, client.received


@pytest_twisted.ensureDeferred
async def test_the_stand_in(tmp_path: Path) -> None:
    """
    The how-to's program is a Walrus at the port that it is given.
    """
    port = free_port()
    with running([str(HELLO.parent / "stand_in.py"), "walrus-3.4", str(port)], tmp_path) as process:
        await until_listening(port, process)
        client = SocketClient(port)
        client.put(b"HEAD /services/Walrus HTTP/1.1\r\nHost: x\r\n\r\n")
        while client.end is None and b"\r\n" not in client.received:
            client.pump()
            await turns()
        client.close()

    assert client.received.startswith(b"HTTP/1.1 405 ")


def test_several_backends(tmp_path: Path) -> None:
    """
    The configuration and the keys of the how-to are valid, and do what the text says.
    """
    tables = re.findall(r"```toml\n(.*?)```", (DOCS / "howto" / "backends.md").read_text(), re.DOTALL)
    (keys,) = [text for text in tables if text.startswith("# keys.toml")]
    (tmp_path / "keys.toml").write_text(keys)
    content = tomllib.loads("".join(text for text in tables if text is not keys))
    environment = dict.fromkeys(re.findall(r"\w+_SECRET", " ".join(tables)), "secret")
    settings = make_settings(content, tmp_path, environment)
    generation = Generation(settings, MemoryReactorClock(), counts=ProxyCounts(), log_access=lambda record: None)
    clients = read_keys(tmp_path / "keys.toml", ANY_NAMES)

    def signed_by(client: str, path: bytes) -> str:
        head = RequestHead(b"GET", path, b"HTTP/1.1", [], {})
        credential = clients.get(client.encode(), NOBODY)
        authenticated = Authenticated(None, Carrier.V4_HEADER, credential, frozenset(), UNSIGNED, None, head)
        try:
            chosen = generation.routing.choose(head, parse_address(path, b"x", ()), authenticated)
        except S3Error as error:
            return error.code
        assert chosen.account.key is not None
        return f"{chosen.name}: {chosen.account.key.access_key_id}"

    assert [backend.name for backend in settings.backends] == ["main", "archive", "media"]
    assert signed_by("ALICE-LAPTOP", b"/") == signed_by("ALICE-SERVER", b"/b/k") == "main: 0555B35654AD1656D804"
    assert signed_by("ALICE-SERVER", b"/backup-2024/k") == "archive: WKy3rMzOWPouVOxK1p3Ar1C2uRBwa2FBXnCw"
    assert signed_by("BOB", b"/logs-today/k") == "main: CD7D96A8B1D6FB1E2D9E"
    assert signed_by("BOB", b"/logs-2025/k") == "AccessDenied"
    assert signed_by("nobody", b"/logs-2025/k") == "archive: PROXY"


def test_faults(tmp_path: Path) -> None:
    """
    The test in the how-to passes as it is printed there.
    """
    example = HELLO.parent / "faults.py"
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull, str(example)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=tmp_path,
    )

    assert ran.returncode == 0, ran.stdout
    assert "1 passed" in ran.stdout


# What an application embeds


def code_of(path: Path) -> tuple[list[str], int]:
    """
    Return the lines of an example without its docstring and its blank lines, and the number of its imports.
    """
    tree = ast.parse(path.read_text("utf-8"))
    beginning = tree.body[0].end_lineno or 0
    lines = [line for line in path.read_text("utf-8").splitlines()[beginning:] if line.strip()]
    return lines, sum(isinstance(node, ast.Import | ast.ImportFrom) for node in tree.body)


def test_the_how_to_prints_the_examples() -> None:
    """
    Each piece of code on the page is in an example, line by line.
    """
    page = (DOCS / "howto" / "embed.md").read_text("utf-8")
    files = [re.sub(r"^ +", "", path.read_text("utf-8"), flags=re.MULTILINE) for path in EXAMPLES.glob("*.py")]
    pieces = [
        re.sub(r"^ +", "", piece, flags=re.MULTILINE) for piece in re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    ]

    assert len(pieces) >= 5
    assert [piece for piece in pieces if not any(piece in file for file in files)] == []


def test_the_how_to_has_every_name() -> None:
    """
    What `s3proxy` exports is in the table of names, and nothing else.
    """
    table = (DOCS / "howto" / "embed.md").read_text("utf-8").partition("\n## The names\n")[2]
    rows = re.findall(r"^\| (`[^|]+) \|", table, re.MULTILINE)

    assert sorted(re.findall(r"`(\w+)`", " ".join(rows))) == s3proxy.__all__


@pytest_twisted.ensureDeferred
async def test_an_own_store_and_an_own_authorizer(tmp_path: Path) -> None:
    """
    A store has at most 15 lines and two imports, and both are asked by a daemon without a keys file.
    """
    lines, imports = code_of(EXAMPLES / "own_store.py")
    assert (len(lines) <= 15, imports) == (True, 2)
    secret = Signer().secret
    store = runpy.run_path(str(EXAMPLES / "own_store.py"))["Accounts"]({"READER": secret, "WRITER": secret})
    authorizer = runpy.run_path(str(EXAMPLES / "own_authorizer.py"))["Writers"]({b"WRITER"})
    backend = FaultyBackend()
    backend_port = reactor.listenTCP(0, backend, interface="127.0.0.1")
    content = {
        "server": {"listen": ["tcp:0:interface=127.0.0.1"]},
        "backend": [{"name": "only", "url": f"http://127.0.0.1:{backend_port.getHost().port}", "signature": "none"}],
        "log": {"access": "none"},
    }
    settings = make_settings(content, tmp_path)
    service = s3proxy.ProxyService(settings, reactor, credentials=store, authorizer=authorizer, handles_signals=False)
    service.startService()
    statuses = []
    for name in ("READER", "WRITER", "NOBODY"):
        for method in ("GET", "PUT"):
            client = SocketClient(service.addresses[0].port)
            signer = Signer(name, now=datetime.now(UTC))
            length = {"Content-Length": "0"} if method == "PUT" else {}
            client.put(signer.head(method, "/bucket/key", unsigned=length)[0])
            await client.until_answered()
            statuses.append(client.status)
            client.close()
    await service.stopService()
    await backend_port.stopListening()
    for connection in backend.connections:
        connection.transport.abortConnection()
    await turns(5)

    assert statuses == [200, 403, 200, 200, 403, 403]
    assert len(backend.requests) == 3


@pytest_twisted.ensureDeferred
async def test_signed_uploads(tmp_path: Path) -> None:
    """
    The page stores an upload in signed chunks, and nothing of one that was changed on its way.
    """
    port = free_port()
    signer = Signer("AKIAEXAMPLE", "the-secret-of-the-example", datetime.now(UTC), f"127.0.0.1:{port}")
    stored = tmp_path / "stored"
    stored.mkdir()
    request = signer.put("/uploads/any", CHUNK, SIGNED_CHUNKS)
    statuses = []
    listen = f"tcp:{port}:interface=127.0.0.1"
    with running([str(EXAMPLES / "signed_uploads.py"), listen, str(stored)], tmp_path) as process:
        await until_listening(port, process)
        for body, left in ((request.body.replace(b"0123", b"3210", 1), []), (request.body, ["AKIAEXAMPLE"])):
            client = SocketClient(port)
            client.put(request.head + body)
            await client.until_answered()
            statuses.append(client.status)
            # A client that is refused may know it before the page does.
            await until(lambda left=left: [path.name for path in stored.iterdir()] == left)
            client.close()

    assert statuses == [403, 200]
    assert (stored / "AKIAEXAMPLE").read_bytes() == CHUNK


@pytest.mark.parametrize(("old", "new", "error"), [(b"", b"", ""), (b"0123", b"3210", "SignatureDoesNotMatch")])
def test_the_verifier_and_the_decoder_alone(old: bytes, new: bytes, error: str) -> None:
    """
    A captured upload is decoded without a reactor, if nothing of it was changed.
    """
    signer = Signer(now=datetime.now(UTC))
    request = signer.put("/bucket/key", CHUNK, SIGNED_TRAILER)

    ran = subprocess.run(
        [sys.executable, str(EXAMPLES / "verify_alone.py"), signer.access_key_id, signer.secret],
        input=request.head + (request.body.replace(old, new, 1) if old else request.body),
        capture_output=True,
        timeout=60,
        check=False,
    )

    assert ran.stdout == (b"" if error else CHUNK)
    assert ran.stderr.decode().partition(":")[0] == error


@pytest_twisted.ensureDeferred
async def test_requests_by_treq() -> None:
    """
    treq sends a request by the agent of a backend.
    """
    backend = FaultyBackend()
    port = reactor.listenTCP(0, backend, interface="127.0.0.1")
    arguments = [str(EXAMPLES / "backend_agent.py"), "127.0.0.1", str(port.getHost().port), "/bucket/key?acl"]

    output, errors, status = await getProcessOutputAndValue(sys.executable, arguments, env=os.environ)
    await port.stopListening()
    await turns(5)

    assert (errors, status) == (b"", 0)
    assert output.startswith(b"200 ")
    assert [request.head.raw_target for request in backend.requests] == [b"/bucket/key?acl"]
