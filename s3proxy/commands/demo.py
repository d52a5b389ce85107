"""
The demonstration: a legacy store, s3proxy in front of it, and a current client that shows what changes.
"""

from __future__ import annotations

import hashlib
import io
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from trustme import CA
from twisted.internet.threads import deferToThread

from s3proxy.awschunked.encoder import ChunkEncoder
from s3proxy.configuration.loading import make_settings
from s3proxy.daemon.backends import CannotStart
from s3proxy.daemon.service import ProxyService
from s3proxy.sigv4.chunks import ChunkSigner
from s3proxy.sigv4.scope import CredentialScope
from s3proxy.sigv4.signing_key import SigningKey, derive_signing_key
from s3proxy.testing.legacy_quirks import MODES
from s3proxy.testing.legacy_store import LegacyStore

MIB = 1 << 20
BUCKET = "demo"
STORE_MODE = "riakcs"
"""
The mode of the stand-in and the profile of its backend: the oldest storage system that has multipart uploads and no
service path.
"""
STORE_KEY_ID = "LEGACYKEY"
SLOW_BYTES_PER_SECOND = 8 * MIB
SLOW_SIZE = 48 * MIB


def run_demo(*, once: bool, port: int) -> int:
    """
    Run the demonstration, then serve until Ctrl-C.

    Args:
        once: Exit after the demonstration.
        port: The port for http; https gets the next one. 0 for any.

    Returns:
        The exit status: 1 if a check failed.
    """
    from twisted.internet import reactor

    reactor.seconds = time.monotonic  # type: ignore[method-assign]
    directory = Path(tempfile.mkdtemp(prefix="s3proxy-demo-"))
    demo = Demo(directory, reactor, port)
    status: list[int] = [1]

    def shown(result: Any) -> None:
        if isinstance(result, int):
            status[0] = result
            if not once and not result:
                demo.say("\nServing until Ctrl-C.")
                return
        else:
            result.printTraceback(sys.stderr)
        demo.stop().addBoth(lambda ignored: reactor.stop())

    def begin() -> None:
        try:
            demo.start()
        except CannotStart as error:
            print(error, file=sys.stderr)
            reactor.stop()
            return
        deferToThread(demo.show).addBoth(shown)

    reactor.callWhenRunning(begin)
    reactor.run()
    shutil.rmtree(directory, ignore_errors=True)
    return status[0]


class Demo:
    """
    The parties of the demonstration.
    """

    def __init__(self, directory: Path, reactor: Any, port: int) -> None:
        self._directory = directory
        self._reactor = reactor
        self._port = port
        self._failures = 0
        self._backend_secret = secrets.token_urlsafe(30)
        self._client_key_id = "DEMO" + secrets.token_hex(8).upper()
        self._client_secret = secrets.token_urlsafe(30)

    def say(self, text: str, end: str = "\n") -> None:
        """
        Print text.
        """
        print(text, end=end, flush=True)

    # Parties

    def start(self) -> None:
        """
        Listen, only on loopback.
        """
        directory = self._directory
        (directory / "store").mkdir()
        self.store = LegacyStore(
            directory / "store",
            {STORE_KEY_ID: self._backend_secret},
            wall_clock=lambda: datetime.now(UTC),
            reactor=self._reactor,
            quirks=MODES[STORE_MODE],
        )
        self._store_port = self._reactor.listenTCP(0, self.store.make_factory(), interface="127.0.0.1")
        keys = directory / "keys.toml"
        keys.touch(mode=0o600)
        keys.write_text(
            f'[[key]]\naccess_key_id = "{self._client_key_id}"\nsecret_access_key = "{self._client_secret}"\n'
        )
        authority = CA(organization_name="s3proxy demo")
        self.authority_path, certificate_path = directory / "authority.pem", directory / "server.pem"
        authority.cert_pem.write_to_path(self.authority_path)
        authority.issue_cert("127.0.0.1", "localhost").private_key_and_cert_chain_pem.write_to_path(certificate_path)
        tls_port = self._port + 1 if self._port else 0
        settings = make_settings(
            {
                "server": {
                    "listen": [
                        f"tcp:{self._port}:interface=127.0.0.1",
                        f"ssl:{tls_port}:interface=127.0.0.1:privateKey={certificate_path}",
                    ],
                    "multipart_directory": "multipart",
                },
                "backend": [
                    {
                        "name": "legacy",
                        "url": f"http://127.0.0.1:{self._store_port.getHost().port}",
                        "profile": STORE_MODE,
                        "signature": "v2",
                        "access_key_id": STORE_KEY_ID,
                        "secret_access_key": self._backend_secret,
                    }
                ],
                "credentials": {"source": "file:keys.toml"},
                "log": {"access": "access.log"},
            },
            directory,
        )
        self._service = ProxyService(settings, self._reactor, handles_signals=False)
        self._service.startService()
        plain, tls = self._service.addresses
        self.url, self.tls_url = f"http://127.0.0.1:{plain.port}", f"https://127.0.0.1:{tls.port}"
        self.store_url = f"http://127.0.0.1:{self._store_port.getHost().port}"

    def stop(self) -> Any:
        """
        Stop listening, and release everything.
        """
        self._store_port.stopListening()
        return self._service.stopService()

    # The demonstration, in a thread of its own because boto3 blocks

    def show(self) -> int:
        """
        Run all steps and return the exit status.
        """
        self.say("A store that behaves like Riak CS (Signature V2, no aws-chunked), with s3proxy in front of it.\n")
        self._show_upload()
        self._show_tampering()
        self._show_pace()
        self.say(
            f"\nendpoint   {self.url}\n           {self.tls_url}   (CA certificate: {self.authority_path})\n"
            f"bucket     {BUCKET}\n"
            f"store      {self.store_url}   (profile {STORE_MODE}, signature v2)\n"
            f"           access key id {STORE_KEY_ID}, secret {self._backend_secret}\n\n"
            f"AWS_ACCESS_KEY_ID={self._client_key_id} AWS_SECRET_ACCESS_KEY={self._client_secret} "
            f"AWS_REGION=us-east-1 \\\n    aws --endpoint-url {self.url} s3 cp FILE s3://{BUCKET}/"
        )
        return 1 if self._failures else 0

    def _check(self, text: str, is_so: bool, detail: str = "") -> None:
        self._failures += not is_so
        self.say(f"  {'ok  ' if is_so else 'FAIL'} {text}{': ' + detail if detail else ''}")

    def _client(self, url: str, *, key_id: str | None = None, secret: str | None = None) -> Any:
        import boto3
        from botocore.config import Config

        return boto3.client(
            "s3",
            endpoint_url=url,
            aws_access_key_id=key_id or self._client_key_id,
            aws_secret_access_key=secret or self._client_secret,
            region_name="us-east-1",
            verify=str(self.authority_path) if url.startswith("https") else None,
            config=Config(retries={"max_attempts": 1}, s3={"addressing_style": "path"}),
        )

    def _show_upload(self) -> None:
        from botocore.exceptions import ClientError

        self.say("1. A default upload with boto3")
        body = secrets.token_bytes(3 * MIB)
        straight = self._client(self.store_url, key_id=STORE_KEY_ID, secret=self._backend_secret)
        try:
            straight.put_object(Bucket=BUCKET, Key="straight", Body=body)
            refusal = "it was accepted"
        except ClientError as error:
            refusal = f"{error.response['ResponseMetadata']['HTTPStatusCode']} {error.response['Error']['Code']}"
        self._check("sent directly to the store, it fails", refusal != "it was accepted", refusal)
        for url in (self.url, self.tls_url):
            client = self._client(url)
            client.create_bucket(Bucket=BUCKET)
            client.put_object(Bucket=BUCKET, Key="upload", Body=body)
            back = client.get_object(Bucket=BUCKET, Key="upload")["Body"].read()
            self._check(
                f"through s3proxy, it succeeds over {url.partition(':')[0]}", back == body, f"{len(body)} bytes"
            )
        self._client(self.url).upload_fileobj(io.BytesIO(body * 6), BUCKET, "parts")
        stored = self.store.object_bytes(BUCKET, "parts")
        self._check("through s3proxy, a multipart upload succeeds", stored == body * 6, f"{len(body) * 6} bytes")

    def _show_tampering(self) -> None:
        self.say("2. A chunk-signed upload that is modified in transit")
        body = secrets.token_bytes(1 * MIB)
        self._client(self.url).put_object(Bucket=BUCKET, Key="precious", Body=b"the older object")
        status, response = self._put_signed_chunks("precious", body, changed=True)
        self._check("it is refused", status == 403 and b"SignatureDoesNotMatch" in response, f"{status}")
        back = self.store.object_bytes(BUCKET, "precious")
        self._check("the previous object is unchanged", back == b"the older object")
        status, _ = self._put_signed_chunks("precious", body, changed=False)
        back = self.store.object_bytes(BUCKET, "precious")
        self._check("an unmodified upload is stored", status == 200 and back == body, f"{status}")

    def _put_signed_chunks(self, key: str, body: bytes, *, changed: bool) -> tuple[int, bytes]:
        """
        Send a body in signed chunks, as minio-go and the Java SDK do; boto3 itself cannot.
        """
        from http.client import HTTPConnection

        from botocore.auth import S3SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.credentials import Credentials

        class Auth(S3SigV4Auth):  # type: ignore[misc]
            def payload(self, request: Any) -> str:
                return "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"

        request = AWSRequest("PUT", f"{self.url}/{BUCKET}/{key}")
        request.headers["x-amz-decoded-content-length"] = str(len(body))
        request.headers["content-encoding"] = "aws-chunked"
        request.context["payload_signing_enabled"] = True
        Auth(Credentials(self._client_key_id, self._client_secret), "s3", "us-east-1").add_auth(request)
        headers = {name: str(value) for name, value in request.headers.items()}
        signature = headers["Authorization"].rpartition("Signature=")[2]
        date = headers["X-Amz-Date"]
        wire = bytearray(self._encode(body, date.encode(), signature.encode()))
        if changed:
            wire[len(wire) // 2] ^= 1
        connection = HTTPConnection(self.url.removeprefix("http://"))
        connection.request("PUT", f"/{BUCKET}/{key}", bytes(wire), headers)
        response = connection.getresponse()
        content = response.read()
        connection.close()
        return response.status, content

    def _encode(self, body: bytes, date: bytes, seed_signature: bytes) -> bytes:
        scope = CredentialScope(date[:8], b"us-east-1")
        key = SigningKey(derive_signing_key(self._client_secret, scope))
        encoder = ChunkEncoder(len(body), ChunkSigner(key, date, bytes(scope), seed_signature).sign)
        return b"".join([*encoder.feed([body]), *encoder.finish()])

    def _show_pace(self) -> None:
        self.say(f"3. A store that accepts {SLOW_BYTES_PER_SECOND // MIB} MiB per second")
        self.store.bytes_per_second = SLOW_BYTES_PER_SECOND
        memory = _memory()
        peak = [memory]
        seen = [0.0]
        began = time.monotonic()

        def progress(sent: int) -> None:
            peak[0] = max(peak[0], _memory())
            now = time.monotonic()
            if now - seen[0] > 1:
                seen[0] = now
                in_store = self.store.received_size - before
                self.say(f"     client sent {sent // MIB:3} MiB, the store received {in_store // MIB:3} MiB")

        before = self.store.received_size
        source = _Source(SLOW_SIZE, progress)
        # Over https, boto3 reads the body once, while it sends. Over http, it hashes the whole body first.
        self._client(self.tls_url).put_object(Bucket=BUCKET, Key="slow", Body=source)
        self.store.bytes_per_second = None
        lasted = time.monotonic() - began
        stored = self.store.object_bytes(BUCKET, "slow") or b""
        right = hashlib.sha256(stored).hexdigest() == source.sha256
        self._check("the upload is complete", right, f"{len(stored) // MIB} MiB in {lasted:.1f} s")
        wanted = SLOW_SIZE / SLOW_BYTES_PER_SECOND / 2
        self._check(
            "the client was slowed down to the store's rate",
            lasted > wanted,
            f"{SLOW_SIZE / lasted / MIB:.1f} MiB per second",
        )
        grown = peak[0] - memory
        self._check(
            "memory use stayed constant", grown < 16 * MIB, f"{grown / MIB:+.1f} MiB for store, s3proxy and client"
        )


class _Source(io.RawIOBase):
    """
    A file of pseudo-random bytes, which is nowhere.
    """

    def __init__(self, size: int, progress: Callable[[int], None]) -> None:
        self._block = secrets.token_bytes(MIB)
        self._size = size
        self._at = 0
        self._progress = progress
        self.sha256 = hashlib.sha256(self._block * (size // MIB)).hexdigest()

    def read(self, size: int | None = -1) -> bytes:
        at, self._at = self._at, min(self._size, self._at + (self._size if size is None or size < 0 else size))
        self._progress(self._at)
        first = at % MIB
        return (self._block[first:] + self._block * ((self._at - at) // MIB + 1))[: self._at - at]

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True


def _memory() -> int:
    """
    Return the resident set size of this process in bytes (proc(5), statm).
    """
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
