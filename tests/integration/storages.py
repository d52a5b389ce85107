"""
Every kind of storage system that the suite can start, each with s3proxy in front, and a way to read it without s3proxy.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from html import unescape
from pathlib import Path
from urllib.parse import quote, unquote_to_bytes

from s3proxy.testing.legacy_objects import ObjectDirectory
from tests.integration import swift
from tests.integration.conftest import CLIENT_KEY_ID, CLIENT_SECRET
from tests.integration.golang import environment
from tests.integration.moto import command as moto_command
from tests.integration.versitygw import install as install_versitygw
from tests.support.processes import end_all, free_port, wait_for_port
from tests.support.signer import EMPTY, Signer

BACKEND_KEY_ID, BACKEND_SECRET = "BACKENDACCESSKEY0001", "backend-secret-of-the-integration-suite-1"


@dataclass(frozen=True, slots=True)
class Reply:
    """
    A response.
    """

    status: int
    body: bytes

    @property
    def code(self) -> str:
        """
        The code of an error.
        """
        found = re.search(rb"<Code>([^<]*)</Code>", self.body)
        return found[1].decode() if found is not None else ""

    @property
    def keys(self) -> list[bytes]:
        """
        The keys of a listing, in order, decoded if it says that they are encoded.
        """
        if b"<EncodingType>url</EncodingType>" not in self.body:
            return [text.encode() for text in self.plain_keys]
        return [unquote_to_bytes(text.replace("+", " ")) for text in self.plain_keys]

    @property
    def plain_keys(self) -> list[str]:
        """
        The keys of a listing, as they are in the XML.
        """
        return [unescape(text.decode()) for text in re.findall(rb"<Key>(.*?)</Key>", self.body, re.DOTALL)]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """
    Receives raw requests, signed with this key by Signature V4.
    """

    port: int
    key_id: str
    secret: str

    def ask(self, method: str, target: str, body: bytes = b"") -> Reply:
        """
        Send a request; its target is sent unchanged.
        """
        signer = Signer(self.key_id, self.secret, datetime.now(UTC), f"127.0.0.1:{self.port}")
        payload = hashlib.sha256(body).hexdigest() if body else EMPTY
        unsigned = {"Connection": "close"}
        if method in {"PUT", "POST"}:
            unsigned["Content-Length"] = str(len(body))
        head, _ = signer.head(method, target, payload=payload, unsigned=unsigned)
        with socket.create_connection(("127.0.0.1", self.port), 60) as connection:
            connection.sendall(head + body)
            response = http.client.HTTPResponse(connection, method=method)
            response.begin()
            return Reply(response.status, response.read())


@dataclass(frozen=True, slots=True)
class Storage:
    """
    A storage system, and the daemon in front of it.

    Attributes:
        through: The daemon.
        keys: Tells which keys a bucket has, past the daemon.
        read: Returns an object's bytes, or None where there is none, past the daemon.
        straight: The storage itself; None where it speaks no Signature V4.
        outside: Tells what the storage's directory holds beside the bucket's own directory, where it is one.
    """

    name: str
    through: Endpoint
    keys: Callable[[str], list[bytes]]
    read: Callable[[str, bytes], bytes | None]
    straight: Endpoint | None = None
    outside: Callable[[], list[str]] = list


def encode_key(key: bytes, safe: str = "/-_.~") -> str:
    """
    Write a key as it is in a target.
    """
    return quote(key, safe=safe)


def speaking_s3(name: str, through: Endpoint, straight: Endpoint) -> Storage:
    """
    Make a storage system that is read with requests sent straight to it.
    """

    def keys(bucket: str) -> list[bytes]:
        listed = straight.ask("GET", f"/{bucket}?encoding-type=url")
        assert listed.status == 200, listed.body
        return listed.keys

    def read(bucket: str, key: bytes) -> bytes | None:
        reply = straight.ask("GET", f"/{bucket}/{encode_key(key)}")
        return reply.body if reply.status == 200 else None

    return Storage(name, through, keys, read, straight)


class Processes(ExitStack):
    """
    Processes that were started in a directory, and are ended together.
    """

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self.directory = directory
        self._log = self.enter_context((directory / "processes.log").open("ab"))

    def start(self, arguments: list[str], port: int, variables: dict[str, str] | None = None) -> None:
        """
        Start a process; return when it listens.
        """
        process = subprocess.Popen(
            arguments,
            cwd=self.directory,
            stdout=self._log,
            stderr=self._log,
            stdin=subprocess.DEVNULL,
            env={**environment(), **(variables or {})},
        )
        self.callback(end_all, [process])
        wait_for_port(port, process)

    def start_proxy(self, backend_port: int, key_id: str, secret: str, options: str, more: str = "") -> Endpoint:
        """
        Start a daemon in front of a backend.

        Args:
            options: Options of the backend.
            more: Further tables.
        """
        port = free_port()
        (self.directory / "keys.toml").write_text(
            f'[[key]]\naccess_key_id = "{CLIENT_KEY_ID}"\nsecret_access_key = "{CLIENT_SECRET}"\n'
        )
        (self.directory / "s3proxy.toml").write_text(
            f"""[server]
listen = ["tcp:{port}:interface=127.0.0.1"]
[[backend]]
name = "storage"
url = "http://127.0.0.1:{backend_port}"
access_key_id = "{key_id}"
secret_access_key = "{secret}"
{options}
[credentials]
source = "file:keys.toml"
[log]
access = "access.log"
{more}
"""
        )
        state = self.directory / "state"
        state.mkdir(exist_ok=True)
        command = ["twistd", "-n", "--pidfile=", "s3proxy", "--config", "s3proxy.toml"]
        self.start(command, port, {"STATE_DIRECTORY": str(state)})
        return Endpoint(port, CLIENT_KEY_ID, CLIENT_SECRET)


@contextmanager
def versitygw(directory: Path, *options: str) -> Iterator[Storage]:
    """
    versitygw over a directory of files.

    Args:
        options: More options of its command line. Without ``--keep-alive`` it closes each connection after a response.
    """
    program = install_versitygw()
    store, port = directory / "store", free_port()
    for path in (store, directory / "iam"):
        path.mkdir()
    with Processes(directory) as processes:
        processes.start(
            [
                *(str(program), "--port", f"127.0.0.1:{port}", "--iam-dir", str(directory / "iam"), *options),
                *("posix", str(store)),
            ],
            port,
            {"ROOT_ACCESS_KEY": BACKEND_KEY_ID, "ROOT_SECRET_KEY": BACKEND_SECRET},
        )
        through = processes.start_proxy(port, BACKEND_KEY_ID, BACKEND_SECRET, 'profile = "versitygw"')

        def read(bucket: str, key: bytes) -> bytes | None:
            path = os.fsencode(store / bucket) + b"/" + key
            return Path(os.fsdecode(path)).read_bytes() if os.path.isfile(path) else None

        def outside() -> list[str]:
            # Its locks appear with its first object.
            return sorted({path.name for path in [*store.iterdir(), *directory.iterdir()]} - {".vgwlocks"})

        storage = speaking_s3("versitygw", through, Endpoint(port, BACKEND_KEY_ID, BACKEND_SECRET))
        yield replace(storage, read=read, outside=outside)


@contextmanager
def swift_s3(directory: Path) -> Iterator[Storage]:
    """
    Swift with its S3 API.
    """
    servers = swift.Swift(directory, swift.install())
    try:
        servers.start()
        with Processes(directory) as processes:
            through = processes.start_proxy(servers.port, swift.KEY_ID, swift.SECRET, 'profile = "swift"')
            yield speaking_s3("swift", through, Endpoint(servers.port, swift.KEY_ID, swift.SECRET))
    finally:
        servers.stop()


@contextmanager
def moto(directory: Path) -> Iterator[Storage]:
    """
    moto's server: everything is in memory, and no signature is checked.
    """
    port = free_port()
    with Processes(directory) as processes:
        processes.start(moto_command(port), port)
        through = processes.start_proxy(port, BACKEND_KEY_ID, BACKEND_SECRET, "")
        yield speaking_s3("moto", through, Endpoint(port, BACKEND_KEY_ID, BACKEND_SECRET))


_LEGACY_STORE = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from twisted.internet import reactor
from s3proxy.testing import LegacyStore
directory, port, key, secret = sys.argv[1:]
store = LegacyStore(Path(directory), {key: secret}, wall_clock=lambda: datetime.now(UTC), reactor=reactor)
reactor.listenTCP(int(port), store.make_factory(), interface="127.0.0.1")
reactor.run()
"""


def start_legacy_store(processes: Processes, more: str = "") -> Endpoint:
    """
    Start the demo's store, and a daemon in front of it.

    Args:
        more: Further tables of the daemon's configuration.
    """
    port, path = free_port(), processes.directory / "store"
    path.mkdir()
    arguments = [sys.executable, "-c", _LEGACY_STORE, str(path), str(port), BACKEND_KEY_ID, BACKEND_SECRET]
    processes.start(arguments, port, {"PYTHONPATH": os.pathsep.join(sys.path)})
    options = 'profile = "walrus-3.4"\nsignature = "v2"'
    return processes.start_proxy(port, BACKEND_KEY_ID, BACKEND_SECRET, options, more)


@contextmanager
def legacy_store(directory: Path) -> Iterator[Storage]:
    """
    The demo's store, which behaves like an old Walrus. It is read on disk.
    """
    path = directory / "store"
    with Processes(directory) as processes:
        through = start_legacy_store(processes)

        def keys(bucket: str) -> list[bytes]:
            return [stored.key.encode() for stored in ObjectDirectory(path).bucket(bucket).objects()]

        def read(bucket: str, key: bytes) -> bytes | None:
            folder = ObjectDirectory(path).bucket(bucket)
            stored = folder.find(key.decode())
            return None if stored is None else folder.content_path(stored).read_bytes()

        yield Storage("legacy-store", through, keys, read)
