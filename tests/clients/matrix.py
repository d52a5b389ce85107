"""
The cells of the matrix, one by one: a client at a door, and the outcome of each operation.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any

from tests.clients.catalogue import CLIENTS, PAGE, CannotInstall, Installed
from tests.clients.drivers.scenario import (
    COPIED,
    DOOMED_KEYS,
    GIVEN_IMAGE,
    GIVEN_KEYS,
    GIVEN_LARGE,
    GIVEN_SIZE,
    ODD_KEY,
    OPERATIONS,
    PAGE_KEY,
    STORED,
    Cell,
    content_of,
    image,
)
from tests.clients.field import BACKENDS, DOMAIN, UNSHARE, Field, has_mount_namespaces

DRIVER = Path(__file__).parent / "drivers" / "run.py"
GIVEN = "given"
AT_ONCE = 3
"""
Cells that run at a time: most of a client's time is spent waiting for a process to start.
"""

CELL_SECONDS = 240
"""
Seconds after which a client is ended; each of its commands has a shorter timeout.
"""

ROOTS = "/etc/ssl/certs/ca-certificates.crt"
"""
The authorities that the machine trusts, in Debian.
"""

SCHEMES = ("http", "https")
STYLES = ("path", "virtual")


@dataclass(frozen=True)
class Place:
    """
    The place where a client works.

    Attributes:
        way: ``straight`` or ``through``.
        door: Name of a storage system if straight, of a column if through.
    """

    client: str
    way: str
    door: str
    scheme: str
    style: str

    def __str__(self) -> str:
        return f"{self.client}, {self.way} {self.door}, {self.scheme}, {self.style}"


@dataclass(frozen=True)
class Outcome:
    """
    The outcome of one operation.

    Attributes:
        verdict: ``works``, ``fails`` or ``n/a``.
        code: S3's error code, or a short form of another message; the reason if the operation cannot be tried.
        text: The whole message of the client.
    """

    verdict: str
    code: str = ""
    text: str = ""


@dataclass
class CellResult:
    """
    The result of a cell.
    """

    outcomes: dict[str, Outcome] = field(default_factory=dict)
    seconds: float = 0.0

    def count(self, verdict: str) -> int:
        """
        Return how many operations ended with a verdict.
        """
        return sum(outcome.verdict == verdict for outcome in self.outcomes.values())

    def line(self) -> str:
        """
        Return the result in one line.
        """
        failed = [f"{name}: {o.code}" for name, o in self.outcomes.items() if o.verdict == "fails"]
        reasons = {o.code for o in self.outcomes.values() if o.verdict == "n/a"}
        if self.count("n/a") == len(self.outcomes):
            return f"n/a: {'; '.join(sorted(reasons))}"
        tried = len(self.outcomes) - self.count("n/a")
        return f"{self.count('works')} of {tried}" + (f" ({'; '.join(failed)})" if failed else "")


def not_tried(reason: str) -> CellResult:
    """
    Return the result of a cell that cannot be tried.
    """
    return CellResult({name: Outcome("n/a", reason) for name in OPERATIONS})


def places(client: str, backend: str) -> Iterator[Place]:
    """
    Yield the cells of a client and a column.
    """
    for way, door in (("straight", BACKENDS[backend].storage), ("through", backend)):
        for scheme, style in itertools.product(SCHEMES, STYLES):
            yield Place(client, way, door, scheme, style)


@cache
def _known_codes() -> frozenset[str]:
    from s3proxy.s3 import errors

    ours = {name for name in vars(errors) if re.fullmatch("[A-Z][a-z]+[A-Z]\\w+", name)}
    more = {"NoSuchKey", "NoSuchBucket", "NoSuchUpload", "NotImplemented", "NoSuchEntity", "MissingContentLength"}
    return frozenset(ours - {"S3Error"} | more | {"InvalidLocationConstraint", "XAmzContentSHA256Mismatch"})


_MESSAGES = {
    "Access Denied": "AccessDenied",
    "signature we calculated does not match": "SignatureDoesNotMatch",
    "You must provide the Content-Length": "MissingContentLength",
    "Insufficient permissions to access this path": "AccessDenied",
    "argument of type 'NoneType' is not iterable": "TypeError",
    "has been blocked by CORS policy": "blocked by CORS policy",
}
"""
Messages that some clients give in place of the code.
"""


_CUT = "(?i)violation of protocol|reset by peer|broken pipe|connection aborted|closed (network )?connection|EOF"


def code_of(text: str) -> str:
    """
    Return the error code in a client's message, otherwise the HTTP status, otherwise the end of its last line.
    """
    places_of_codes = (
        r"<Code>(\w+)</Code>",
        r"error \((\w+)\)",
        r"[Cc]ode: (\w+)",
        r'"Code" ?: ?"(\w+)"',
        r"\((\w+)\) status",
        r"S3 error: \d+ \((\w+)\)",
        r"api error (\w+):",
    )
    for pattern in places_of_codes:
        found = re.search(pattern, text)
        if found is not None and found[1] in _known_codes():
            return found[1]
    words = [word for word in re.findall(r"[A-Z][A-Za-z0-9]+", text) if word in _known_codes()]
    if words:
        return words[0]
    for message, code in _MESSAGES.items():
        if message in text:
            return code
    found = re.search(r"(?<![\w.:/-])([345]\d\d)(?![\w.:/-]\d|\w)", text)
    if found is not None:
        return found[1]
    if re.search(_CUT, text):
        return "connection cut"
    messages = re.findall(r'"message": ?"([^"]+)"', text)
    if messages:
        return str(messages[-1])[:80]
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return (lines[-1] if lines else "nothing was said")[-80:]


def _let_pages_in(trusted: Any, bucket: str) -> None:
    """
    Allow pages of every origin to work in a bucket, if the storage system has such rules.
    """
    from botocore.exceptions import ClientError

    rule = {
        "AllowedOrigins": ["*"],
        "AllowedMethods": ["GET", "HEAD", "PUT", "POST"],
        "AllowedHeaders": ["*"],
        "ExposeHeaders": ["ETag"],
    }
    try:
        trusted.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": [rule]})
    except ClientError as error:
        if error.response["Error"]["Code"] != "NotImplemented":
            raise


class Matrix:
    """
    All cells; a few run at a time.

    Args:
        report: Called with each cell when it has ended.
    """

    def __init__(self, field: Field, report: Any) -> None:
        self._field = field
        self._report = report
        self._pool = ThreadPoolExecutor(AT_ONCE)
        self._futures: dict[Place, Future[CellResult]] = {}
        self._numbers = itertools.count(1)
        self._lock = Lock()
        self._clients: dict[str, Any] = {}
        self._has_namespaces = has_mount_namespaces()
        self.installed: dict[str, Installed | CannotInstall] = {}
        for backend in field.through:
            self._give(backend)

    # The bucket that is only read, and what each cell finds

    def _trusted(self, backend: str) -> Any:
        """
        Return our own client: boto3 in this process, through s3proxy.
        """
        with self._lock:
            if backend not in self._clients:
                import boto3
                from botocore.config import Config

                door = self._field.through[backend]
                self._clients[backend] = boto3.client(
                    "s3",
                    endpoint_url=f"http://127.0.0.1:{door.ports['http']}",
                    aws_access_key_id=door.key_id,
                    aws_secret_access_key=door.secret,
                    region_name="us-east-1",
                    config=Config(s3={"addressing_style": "path"}, max_pool_connections=AT_ONCE + 1),
                )
            return self._clients[backend]

    def _give(self, backend: str) -> None:
        trusted = self._trusted(backend)
        if GIVEN in [item["Name"] for item in trusted.list_buckets()["Buckets"]]:
            return
        trusted.create_bucket(Bucket=GIVEN)
        for key in GIVEN_KEYS:
            trusted.put_object(Bucket=GIVEN, Key=key, Body=key.encode())
        trusted.put_object(Bucket=GIVEN, Key=GIVEN_LARGE, Body=content_of(GIVEN_SIZE))
        trusted.put_object(Bucket=GIVEN, Key=GIVEN_IMAGE, Body=image(), ContentType="image/png")
        trusted.put_object(Bucket=GIVEN, Key=PAGE_KEY, Body=PAGE.read_bytes(), ContentType="text/html")
        _let_pages_in(trusted, GIVEN)

    # Cells

    def submit(self, wanted: Iterator[Place]) -> int:
        """
        Start cells, each once; return how many are new.
        """
        new = [place for place in wanted if place not in self._futures]
        for place in new:
            self._futures[place] = self._pool.submit(self._run, place)
        return len(new)

    def result(self, place: Place) -> CellResult:
        """
        Wait for the result of a cell.
        """
        return self._futures[place].result()

    def results(self) -> dict[Place, CellResult]:
        """
        Return the results of the cells that have ended.
        """
        return {
            place: future.result()
            for place, future in self._futures.items()
            if future.done() and not future.cancelled() and future.exception() is None
        }

    @property
    def cell_count(self) -> int:
        """
        Number of cells that were submitted.
        """
        return len(self._futures)

    def close(self) -> None:
        """
        Start no more cells, and wait for those that run.
        """
        self._pool.shutdown(cancel_futures=True)

    def _install(self, client: str) -> Installed | CannotInstall:
        with self._lock:
            if client not in self.installed:
                try:
                    self.installed[client] = CLIENTS[client].install()
                except CannotInstall as error:
                    self.installed[client] = error
            return self.installed[client]

    def _run(self, place: Place) -> CellResult:
        started = time.monotonic()
        result = self._try(place)
        result.seconds = time.monotonic() - started
        self._report(place, result)
        return result

    def _try(self, place: Place) -> CellResult:
        installed = self._install(place.client)
        if isinstance(installed, CannotInstall):
            return not_tried(str(installed))
        door = (self._field.straight if place.way == "straight" else self._field.through)[place.door]
        reason = dict(door.styles)[place.style]
        if place.style == "virtual" and not self._has_namespaces:
            reason = "no mount namespace here, so that no name below the domain can be resolved"
        if place.scheme == "https" and CLIENTS[place.client].trusts_machine and not self._has_namespaces:
            reason = "no mount namespace here, so that it cannot be told whom to trust"
        if door.path and not CLIENTS[place.client].takes_endpoint_path:
            reason = "its endpoint has no path, and this storage is below one"
        if reason:
            return not_tried(reason)
        backend = place.door if place.way == "through" else self._column(place.door)
        number = next(self._numbers)
        own, new, empty = (f"cell-{number:04d}-{name}" for name in ("own", "new", "empty"))
        trusted = self._trusted(backend)
        for bucket in (own, empty):
            trusted.create_bucket(Bucket=bucket)
        if CLIENTS[place.client].is_browser:
            trusted.put_object(Bucket=own, Key=PAGE_KEY, Body=PAGE.read_bytes(), ContentType="text/html")
            _let_pages_in(trusted, own)
        for key in DOOMED_KEYS:
            trusted.put_object(Bucket=own, Key=key, Body=key.encode())
        directory = self._field.directory / f"cell-{number:04d}"
        directory.mkdir()
        cell = Cell(
            scheme=place.scheme,
            # Not an address: boto 2 accepts no certificate for one. Nor any other name: RGW takes it for a bucket's.
            host=DOMAIN if self._has_namespaces else "127.0.0.1",
            port=door.port(place.scheme, place.style),
            path=door.path,
            style=place.style,
            key_id=door.key_id,
            secret=door.secret,
            authority=str(self._field.authority),
            given=GIVEN,
            own=own,
            new=new,
            empty=empty,
            directory=str(directory),
            response_seconds=door.response_seconds,
            tools=installed.tools,
        )
        result = CellResult(self._drive(place.client, installed, cell))
        self._check(backend, cell, result)
        self._clean(backend, cell)
        shutil.rmtree(directory, ignore_errors=True)
        return result

    def _column(self, storage: str) -> str:
        return next(name for name in self._field.through if BACKENDS[name].storage == storage)

    def _drive(self, client: str, installed: Installed, cell: Cell) -> dict[str, Outcome]:
        command = [installed.python, "-B", str(DRIVER), client]
        if self._has_namespaces:
            names = [DOMAIN, *(f"{bucket}.{DOMAIN}" for bucket in (cell.given, cell.own, cell.new, cell.empty))]
            hosts = Path(cell.directory) / "hosts"
            hosts.write_text("127.0.0.1 localhost\n" + "".join(f"127.0.0.1 {name}\n" for name in names))
            # The CRT also looks for IPv6 addresses, and those queries would reach a name server.
            switch = Path(cell.directory) / "nsswitch.conf"
            switch.write_text("hosts: files\n")
            mounts = {hosts: "/etc/hosts", switch: "/etc/nsswitch.conf"}
            if CLIENTS[client].trusts_machine:
                mounts[Path(cell.authority)] = ROOTS
            # No file of the machine is changed: the mounts belong to the client.
            mounting = "".join(f"mount --bind {shlex.quote(str(path))} {place} && " for path, place in mounts.items())
            command = [*UNSHARE, "sh", "-c", mounting + 'exec "$0" "$@"', *command]
        dropped = {"AWS_CA_BUNDLE", "PYTHONPATH", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"}
        environment = {name: value for name, value in os.environ.items() if name not in dropped}
        with subprocess.Popen(
            command,
            env={**environment, "HOME": cell.directory, "AWS_EC2_METADATA_DISABLED": "true"},
            cwd=cell.directory,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as process:
            try:
                output, errors = process.communicate(json.dumps(asdict(cell)), timeout=CELL_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                output, errors = process.communicate()
                errors += f"\nit did not end within {CELL_SECONDS} s"
        said = {}
        for line in output.splitlines():
            if line.startswith("["):
                name, verdict, text = json.loads(line)
                code = text if verdict == "n/a" else code_of(text) if verdict == "fails" else ""
                said[name] = Outcome(verdict, code, text)
        lost = Outcome("fails", code_of(errors), errors[-1500:])
        return {name: said.get(name, lost) for name in OPERATIONS}

    def _check(self, backend: str, cell: Cell, result: CellResult) -> None:
        """
        Check that each operation that is reported as done was done.
        """
        trusted = self._trusted(backend)
        outcomes = result.outcomes

        def digest(key: str) -> str:
            body = trusted.get_object(Bucket=cell.own, Key=key)["Body"]
            found = hashlib.sha256()
            for block in iter(lambda: body.read(1 << 20), b""):
                found.update(block)
            return found.hexdigest()

        def check(operation: str, wanted: Any, look: Any) -> None:
            if outcomes[operation].verdict == "works":
                try:
                    found = look()
                except Exception as error:
                    found = f"{type(error).__name__}: {error}"
                if found != wanted:
                    outcomes[operation] = Outcome("fails", "not done, though it says so", str(found))

        for operation, (key, size) in STORED.items():
            check(operation, hashlib.sha256(content_of(size)).hexdigest(), lambda key=key: digest(key))
        check("copy", hashlib.sha256(ODD_KEY.encode()).hexdigest(), lambda: digest(COPIED))
        kept = {item["Key"] for item in trusted.list_objects_v2(Bucket=cell.own).get("Contents", [])}
        check("delete many", set(), lambda: kept & set(DOOMED_KEYS))
        buckets = {item["Name"] for item in trusted.list_buckets()["Buckets"]}
        check("make bucket", True, lambda: cell.new in buckets)
        check("remove bucket", False, lambda: cell.empty in buckets)

    def _clean(self, backend: str, cell: Cell) -> None:
        from botocore.exceptions import ClientError

        trusted = self._trusted(backend)
        buckets = {item["Name"] for item in trusted.list_buckets()["Buckets"]}
        for bucket in {cell.own, cell.new, cell.empty} & buckets:
            for item in trusted.list_objects_v2(Bucket=bucket).get("Contents", []):
                trusted.delete_object(Bucket=bucket, Key=item["Key"])
            # Not every storage system lists uploads, and some remove no bucket that has one: then the bucket stays.
            with contextlib.suppress(ClientError):
                for upload in trusted.list_multipart_uploads(Bucket=bucket).get("Uploads") or []:
                    trusted.abort_multipart_upload(Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])
            with contextlib.suppress(ClientError):
                trusted.delete_bucket(Bucket=bucket)
