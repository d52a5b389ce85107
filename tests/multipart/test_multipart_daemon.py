"""
Multipart uploads in the daemon, which may be killed at any moment: nothing that got a response is lost.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import random
import re
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import unquote

import pytest
import pytest_twisted

from s3proxy.multipart.directory import CannotKeepUploads, DirectoryClaim
from s3proxy.s3.limits import MIB
from s3proxy.testing.faulty_backend import FaultyConnection, ReceivedRequest
from tests.support.daemon import Daemon, twistd_arguments
from tests.support.harness import until
from tests.support.multipart import completion, joined
from tests.support.processes import running, until_listening
from tests.support.signer import HASH, SIGNED_CHUNKS, UNSIGNED_TRAILER
from tests.support.socket_client import SocketClient

WALRUS = 'profile = "walrus-3.4"\nsignature = "v2"\n'
FIRST = os.urandom(5 * MIB)
"""
The content of a part that may be followed by others.
"""


@dataclass
class Upload:
    """
    What a client knows of one upload.

    Attributes:
        parts: Contents that each number may have: one if the part got a response, more if its request was cut.
    """

    key: str
    upload_id: str
    parts: dict[int, list[bytes]] = field(default_factory=dict)
    wanted: dict[int, bytes] = field(default_factory=dict)


class Keeper(Daemon):
    """
    A daemon that is killed and started again, and a backend without multipart uploads.
    """

    def __init__(self, directory: Path, seed: int) -> None:
        super().__init__(directory, backend=WALRUS, server='multipart_directory = "uploads"')
        self.random = random.Random(seed)
        self.objects: dict[str, bytes] = {}
        self.backend.on_request = self._take
        self.backend.keeps_bodies = True
        self.kills = 0
        self.process: subprocess.Popen[bytes] | None = None

    def _take(self, connection: FaultyConnection, request: ReceivedRequest) -> None:
        self.backend.requests.clear()
        if request.head.method == b"PUT":
            key = unquote(request.head.raw_path.decode()).rpartition("/")[2]
            self.objects[key] = request.body
            etag = hashlib.md5(request.body).hexdigest()
            connection.send(f'HTTP/1.1 200 OK\r\nETag: "{etag}"\r\nContent-Length: 0\r\n\r\n'.encode())
        else:
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    async def start(self) -> None:
        with (self.directory / "process.log").open("ab") as log:
            command = [sys.executable, *twistd_arguments(self.configuration)]
            self.process = subprocess.Popen(command, cwd=self.directory, stdout=log, stderr=log)
        await until_listening(self.port, self.process)

    async def kill(self) -> None:
        assert self.process is not None
        self.kills += 1
        self.process.kill()
        self.process.wait()
        for client in self.clients:
            client.close()
        self.clients.clear()
        await self.start()

    async def request(self, method: str, target: str, body: bytes = b"", mode: str = HASH) -> tuple[int, bytes]:
        """
        Send a request; return status and body.
        """
        response = await self.ask(self.signed(method, target, body, mode))
        head, _, content = response.partition(b"\r\n\r\n")
        return int(head.split(b" ")[1]), head + b"\n" + content

    def signed(self, method: str, target: str, body: bytes, mode: str = HASH) -> bytes:
        if method == "PUT":
            sent = self.signer().put(target, body, mode)
            return sent.head + sent.body
        payload = hashlib.sha256(body).hexdigest()
        unsigned = {"Content-Length": str(len(body))} if method == "POST" else {}
        return self.signer().head(method, target, payload=payload, unsigned=unsigned)[0] + body

    async def cut(self, data: bytes) -> None:
        """
        Send a request, and kill the daemon at some byte of it.
        """
        client = SocketClient(self.port)
        self.clients.append(client)
        client.put(data[: self.random.choice([len(data), len(data), self.random.randrange(len(data))])])
        turns = self.random.randrange(12)
        for _ in range(turns):
            client.pump()
            await until(lambda: True)
        await self.kill()

    # What clients do

    async def begin(self, number: int) -> Upload:
        key = f"k{number}"
        status, response = await self.request("POST", f"/b/{key}?uploads")
        assert status == 200, response
        found = re.search(rb"<UploadId>([^<]*)<", response)
        assert found is not None
        return Upload(key, found[1].decode())

    async def put_part(self, upload: Upload, *, is_cut: bool) -> None:
        number = self.random.choice([1, 2, 3, 9, 10_000])
        content = FIRST if self.random.random() < 0.05 else self.random.randbytes(self.random.choice([0, 1, 70_000]))
        target = f"/b/{upload.key}?partNumber={number}&uploadId={upload.upload_id}"
        mode = self.random.choice([HASH, SIGNED_CHUNKS, UNSIGNED_TRAILER])
        if is_cut:
            await self.cut(self.signed("PUT", target, content, mode))
            upload.parts.setdefault(number, [b"\0none"]).append(content)
        else:
            status, response = await self.request("PUT", target, content, mode)
            assert status == 200, response
            assert hashlib.md5(content).hexdigest().encode() in response
            upload.parts[number] = [content]

    async def check(self, upload: Upload) -> None:
        """
        Check that everything that got a response exists, and find out what became of the other requests.
        """
        status, response = await self.request("GET", f"/b/{upload.key}?uploadId={upload.upload_id}")
        assert status == 200, response
        listed = {
            int(number): etag.decode()
            for number, etag in re.findall(rb'<PartNumber>(\d+)<.*?<ETag>"([0-9a-f]{32})"<', response)
        }
        for number, contents in [*upload.parts.items()]:
            known = {hashlib.md5(content).hexdigest(): content for content in contents if content != b"\0none"}
            if number not in listed:
                assert b"\0none" in contents, f"part {number} of {upload} is lost"
                del upload.parts[number]
            else:
                assert listed[number] in known, f"part {number} of {upload} is another one"
                upload.parts[number] = [known[listed[number]]]
        assert listed.keys() == upload.parts.keys()

    async def complete(self, upload: Upload, *, is_cut: bool) -> None:
        await self.check(upload)
        numbers = sorted(upload.parts)
        large = [number for number in numbers if upload.parts[number][0] is FIRST]
        chosen = [number for number in large if number != numbers[-1]] + [numbers[-1]]
        upload.wanted = {number: upload.parts[number][0] for number in chosen}
        document = completion({number: hashlib.md5(content).hexdigest() for number, content in upload.wanted.items()})
        target = f"/b/{upload.key}?uploadId={upload.upload_id}"
        if is_cut:
            await self.cut(self.signed("POST", target, document))
        status, response = await self.request("POST", target, document)
        assert status == 200, response
        assert joined(*upload.wanted.values()).encode() in response
        assert self.objects[upload.key] == b"".join(upload.wanted.values())

    async def abort(self, upload: Upload, *, is_cut: bool) -> None:
        target = f"/b/{upload.key}?uploadId={upload.upload_id}"
        if is_cut:
            await self.cut(self.signed("DELETE", target, b""))
        status, response = await self.request("DELETE", target)
        assert status in ({204, 404} if is_cut else {204}), response
        assert upload.key not in self.objects

    def left(self) -> tuple[list[str], tuple[int, int]]:
        """
        Return the files of parts, and the totals of the database.
        """
        database = sqlite3.connect(self.directory / "uploads" / "uploads.sqlite")
        size, uploads = database.execute("SELECT size, uploads FROM usage").fetchone()
        database.close()
        return sorted(os.listdir(self.directory / "uploads" / "parts")), (size, uploads)


async def run(directory: Path, count: int, chance: float, seed: int) -> int:
    """
    Run ``count`` uploads, a few at a time, with this chance of a kill before and within each request.
    """
    keeper = Keeper(directory, seed)
    await keeper.start()
    rolled = keeper.random.random
    running_uploads: list[Upload] = []
    begun = 0
    try:
        while begun < count or running_uploads:
            if rolled() < chance / 2:
                await keeper.kill()
            if begun < count and (len(running_uploads) < 3 or rolled() < 0.2):
                running_uploads.append(await keeper.begin(begun))
                begun += 1
                continue
            upload = keeper.random.choice(running_uploads)
            is_cut = rolled() < chance
            what = rolled()
            if what < 0.5 or not upload.parts:
                await keeper.put_part(upload, is_cut=is_cut)
            elif what < 0.7:
                await keeper.check(upload)
            else:
                await keeper.check(upload)
                running_uploads.remove(upload)
                if what < 0.9 and upload.parts:
                    await keeper.complete(upload, is_cut=is_cut)
                else:
                    await keeper.abort(upload, is_cut=is_cut)
        await keeper.kill()
        left = keeper.left()
    finally:
        assert keeper.process is not None
        keeper.process.kill()
        keeper.process.wait()
        await keeper.close()
    assert left == ([], (0, 0))
    return keeper.kills


@pytest_twisted.ensureDeferred
async def test_a_daemon_that_is_killed(tmp_path: Path) -> None:
    """
    Thirty uploads: no part that got a response is lost, no object has other content, and in the end the disk is empty.
    """
    assert await run(tmp_path, 30, 0.02, 1) > 2


@pytest.mark.long
@pytest_twisted.ensureDeferred
async def test_a_daemon_that_is_killed_often(tmp_path: Path) -> None:
    """
    The same with a thousand.
    """
    assert await run(tmp_path, 1000, 0.05, 2) > 100


@pytest_twisted.ensureDeferred
async def test_a_reload(tmp_path: Path) -> None:
    """
    An upload continues under the new configuration, until one refuses uploads; then what was kept remains for a later
    one.
    """
    keeper = Keeper(tmp_path, 3)
    await keeper.start()
    assert keeper.process is not None
    try:
        upload = await keeper.begin(1)
        target = f"/b/k1?partNumber=1&uploadId={upload.upload_id}"
        statuses = [(await keeper.request("PUT", target, b"before"))[0]]
        text = keeper.configuration.read_text()
        for number, changed in enumerate((text, text.replace(WALRUS, f'{WALRUS}multipart = "refuse"\n'), text), 1):
            keeper.configuration.write_text(changed)
            keeper.process.send_signal(signal.SIGHUP)
            await until(lambda number=number: keeper.output().count("reloaded: ") == number)
            statuses.append((await keeper.request("GET", f"/b/k1?uploadId={upload.upload_id}"))[0])
        document = completion({1: hashlib.md5(b"before").hexdigest()})
        statuses.append((await keeper.request("POST", f"/b/k1?uploadId={upload.upload_id}", document))[0])
    finally:
        keeper.process.kill()
        keeper.process.wait()
        await keeper.close()

    assert (statuses, keeper.objects) == ([200, 200, 501, 200, 200], {"k1": b"before"})


as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
# A virtual environment may be in a directory that other users cannot enter, such as tox makes.
PYTHONS = [Path(sys.executable).absolute(), Path(sys.executable).resolve()]
IS_OPEN = all(path.stat().st_mode & stat.S_IXOTH for python in PYTHONS for path in (python, *python.parents))
OF_NOBODY = [
    1,
    pytest.param(2, marks=pytest.mark.skipif(not IS_OPEN, reason="other users cannot start this Python")),
]
"""
Numbers of workers for a daemon that runs as another user.
"""

NOBODY = pwd.getpwnam("nobody")
"""
A user without a home directory, who cannot write to ``/var/lib``.
"""


@pytest.fixture
def open_path() -> Iterator[Path]:
    """
    A directory that other users may enter, unlike pytest's own.
    """
    with TemporaryDirectory() as name:
        path = Path(name)
        path.chmod(0o755)
        yield path


def as_nobody(configuration: Path) -> list[str]:
    """
    Return the command line of a daemon that starts as root and then changes its user.
    """
    arguments = twistd_arguments(configuration)
    arguments[arguments.index("-n")] = f"-n --uid={NOBODY.pw_uid} --gid={NOBODY.pw_gid}"
    return [part for argument in arguments for part in (argument.split() if argument.startswith("-n ") else [argument])]


def give_to_nobody(directory: Path) -> None:
    """
    Let the workers of such a daemon read their configuration and write their log.
    """
    (directory / "access.log").touch()
    for path in (directory, *directory.rglob("*")):
        os.chown(path, NOBODY.pw_uid, NOBODY.pw_gid)


def without_state(**more: str) -> dict[str, str]:
    """
    Return an environment in which nothing names the daemon's state directory, except ``more``.
    """
    environment = {name: value for name, value in os.environ.items() if name != "STATE_DIRECTORY"}
    return {**environment, **more}


async def ask_for_parts(daemon: Daemon) -> bytes:
    """
    Request the parts of an upload that does not exist; return the response. The backend gets no request.
    """
    head, _ = daemon.signer().head("GET", "/b/k?uploadId=none")
    return await daemon.ask(head)


@as_root
@pytest.mark.parametrize("workers", OF_NOBODY)
@pytest_twisted.ensureDeferred
async def test_without_a_directory(open_path: Path, workers: int) -> None:
    """
    If there is no directory, uploads are refused, and a line at the start says why. Nothing is created as root.
    """
    daemon = Daemon(open_path, backend=WALRUS, server=f"workers = {workers}")
    give_to_nobody(open_path)
    # The user who started the daemon may have a home directory that is closed to others.
    environment = without_state(XDG_STATE_HOME="/root/state", HOME="/root")
    with running(as_nobody(daemon.configuration), open_path, environment) as process:
        await until_listening(daemon.port, process)
        response = await ask_for_parts(daemon)
        await until(lambda: "server.multipart_directory is required: /var/lib/s3proxy/multipart:" in daemon.output())
    await daemon.close()

    assert response.startswith(b"HTTP/1.1 501")
    assert not Path("/root/state").exists()


@as_root
@pytest.mark.parametrize("workers", OF_NOBODY)
@pytest.mark.parametrize("named", [False, True])
@pytest_twisted.ensureDeferred
async def test_the_directory_belongs_to_the_user_that_twistd_changes_to(
    open_path: Path, workers: int, *, named: bool
) -> None:
    """
    The directory is created after ``--uid`` has changed the user, whether an option names it or not.
    """
    state = open_path / "state"
    state.mkdir()
    option = f'multipart_directory = "{state / "named"}"' if named else ""
    daemon = Daemon(open_path, backend=WALRUS, server=f"workers = {workers}\n{option}")
    give_to_nobody(open_path)
    environment = without_state(XDG_STATE_HOME=str(state), HOME="/root")
    directory = state / "named" if named else state / "s3proxy" / "multipart"
    with running(as_nobody(daemon.configuration), open_path, environment) as process:
        await until_listening(daemon.port, process)
        response = await ask_for_parts(daemon)
    await daemon.close()

    assert response.startswith(b"HTTP/1.1 404"), daemon.output()
    found = directory.stat()
    assert (found.st_uid, found.st_mode & 0o777) == (NOBODY.pw_uid, 0o700)
    assert {path.stat().st_uid for path in directory.rglob("*")} == {NOBODY.pw_uid}


@pytest.mark.parametrize("workers", [1, 2])
@pytest_twisted.ensureDeferred
async def test_a_second_daemon(tmp_path: Path, workers: int) -> None:
    """
    A second daemon does not start in the first one's directory, and names its owner. Once the first has ended, it
    starts.
    """
    first_path, second_path = tmp_path / "first", tmp_path / "second"
    server = f'workers = {workers}\nmultipart_directory = "{tmp_path / "uploads"}"'
    for path in (first_path, second_path):
        path.mkdir()
    first = Daemon(first_path, backend=WALRUS, server=server)
    second = Daemon(second_path, backend=WALRUS, server=server)
    with running(twistd_arguments(first.configuration), first_path) as process:
        await until_listening(first.port, process)
        begun = await ask_for_parts(first)
        with running(twistd_arguments(second.configuration), second_path) as refused:
            await until(lambda: refused.poll() is not None)
        status, told = refused.returncode, second.output()
        number = process.pid
    with running(twistd_arguments(second.configuration), second_path) as process:
        await until_listening(second.port, process)
        taken = await ask_for_parts(second)
    for daemon in (first, second):
        await daemon.close()

    why = f"server.multipart_directory: {tmp_path / 'uploads'}: another daemon, process {number}, keeps its uploads"
    assert (status, why in told, "Traceback" in told) == (1, True, False), told
    assert begun.startswith(b"HTTP/1.1 404")
    assert taken.startswith(b"HTTP/1.1 404")


@pytest.mark.parametrize("workers", [1, 2])
@pytest_twisted.ensureDeferred
async def test_a_reload_that_wants_another_ones_directory(tmp_path: Path, workers: int) -> None:
    """
    Such a reload changes nothing. One that names a free directory releases the former.
    """
    daemon = Daemon(tmp_path, backend=WALRUS, server=f'workers = {workers}\nmultipart_directory = "one"')
    taken = DirectoryClaim(str(tmp_path / "two"))
    text = daemon.configuration.read_text()
    reloaded = "reloaded: " if workers == 1 else "2 workers are serving"
    with running(twistd_arguments(daemon.configuration), tmp_path) as process:
        await until_listening(daemon.port, process)
        # Once the daemon responds, it handles signals.
        await ask_for_parts(daemon)
        await until(lambda: workers == 1 or reloaded in daemon.output())
        before = daemon.output().count(reloaded)
        daemon.configuration.write_text(text.replace('"one"', '"two"'))
        process.send_signal(signal.SIGHUP)
        await until(lambda: "two: another daemon" in daemon.output())
        refused = await ask_for_parts(daemon)
        taken.give_up()
        process.send_signal(signal.SIGHUP)
        await until(lambda: daemon.output().count(reloaded) > before)
        moved = await ask_for_parts(daemon)
        await until(lambda: _is_free(tmp_path / "one"))
        is_free = _is_free(tmp_path / "two")
    await daemon.close()

    assert refused.startswith(b"HTTP/1.1 404")
    assert moved.startswith(b"HTTP/1.1 404")
    assert not is_free


def _is_free(directory: Path) -> bool:
    try:
        DirectoryClaim(str(directory)).give_up()
    except CannotKeepUploads:
        return False
    return True


def metric(path: Path, name: str) -> float:
    """
    Return a metric from the supervisor, whose workers report every second.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
        connection.sendall(b"GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n")
        received = b""
        while data := connection.recv(65536):
            received += data
    found = re.search(rf"^{name} (\S+)$", received.decode(), re.MULTILINE)
    return float(found[1]) if found is not None else -1.0


@pytest_twisted.ensureDeferred
async def test_systemds_directory_and_several_workers(tmp_path: Path) -> None:
    """
    STATE_DIRECTORY is sufficient. All workers serve one upload, and the metrics count it once.
    """
    (tmp_path / "state").mkdir()
    daemon = Daemon(tmp_path, backend=WALRUS, server='workers = 3\nadmin = "unix:admin.socket"')
    content = b"x" * 100_000
    environment = {**os.environ, "STATE_DIRECTORY": str(tmp_path / "state")}
    objects = []

    def take(connection: FaultyConnection, request: ReceivedRequest) -> None:
        objects.append(request.body)
        etag = hashlib.md5(request.body).hexdigest()
        connection.send(f'HTTP/1.1 200 OK\r\nETag: "{etag}"\r\nContent-Length: 0\r\n\r\n'.encode())

    daemon.backend.on_request = take
    with running(twistd_arguments(daemon.configuration), tmp_path, environment) as process:
        await until_listening(daemon.port, process)
        head, _ = daemon.signer().head("POST", "/b/k?uploads", unsigned={"Content-Length": "0"})
        begun = await daemon.ask(head)
        found = re.search(rb"<UploadId>([^<]*)<", begun)
        assert found is not None
        upload_id = found[1].decode()
        for number in range(1, 7):
            sent = daemon.signer().put(f"/b/k?partNumber={number}&uploadId={upload_id}", content)
            assert b" 200 " in await daemon.ask(sent.head + sent.body)
        await until(lambda: metric(tmp_path / "admin.socket", "s3proxy_multipart_bytes") == 600_000)
        count = metric(tmp_path / "admin.socket", "s3proxy_multipart_uploads")
        body = completion({6: hashlib.md5(content).hexdigest()})
        payload = hashlib.sha256(body).hexdigest()
        head, _ = daemon.signer().head(
            "POST", f"/b/k?uploadId={upload_id}", payload=payload, unsigned={"Content-Length": str(len(body))}
        )
        done = await daemon.ask(head + body)
        mode = (tmp_path / "state" / "multipart").stat().st_mode & 0o777
        left = sorted(os.listdir(tmp_path / "state" / "multipart" / "parts"))
    await daemon.close()

    assert done.startswith(b"HTTP/1.1 200")
    assert (count, objects[-1], mode, left) == (1, content, 0o700, [])
