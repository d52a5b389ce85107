"""
An nginx that compresses XML, between s3proxy and a storage system: listings are complete, documents are read and
edited.

S3 compresses nothing. nginx compresses if Accept-Encoding allows it, and Go clients, Java clients and browsers send
``gzip``.
"""

from __future__ import annotations

import gzip
import hashlib
import http.client
import re
import socket
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from html import unescape
from pathlib import Path
from urllib.parse import quote, unquote_to_bytes

import pytest
from trustme import CA

from s3proxy.profiles.known import PROFILES
from tests.clients import walrus
from tests.integration import rgw
from tests.integration.conftest import CLIENT_KEY_ID, CLIENT_SECRET
from tests.integration.gzip_proxy import compressing_command
from tests.integration.storages import BACKEND_KEY_ID, BACKEND_SECRET, Processes
from tests.support.processes import free_port
from tests.support.signer import EMPTY, Signer

pytestmark = pytest.mark.integration

BUCKET = "compressed"
KEY_COUNT = 5000
UPLOAD_COUNT = PART_COUNT = 1100
"More than one page holds."

_XML = "application/xml"
_CEPH = ("ceph-rgw", "generic")

ACCEPTED = ("gzip, deflate", "identity")
"Values of Accept-Encoding that clients send."


@dataclass(frozen=True)
class Response:
    """
    What a client reads, after the content coding that it accepted is removed.
    """

    status: int
    headers: http.client.HTTPMessage
    body: bytes
    is_compressed: bool

    def texts(self, name: str) -> list[str]:
        """
        Return the texts of the elements with a name.
        """
        found = re.findall(rb"<%s>(.*?)</%s>" % (name.encode(), name.encode()), self.body, re.DOTALL)
        return [unescape(text.decode()) for text in found]


@dataclass(frozen=True)
class Compressed:
    """
    s3proxy in front of an nginx in front of a storage system.

    Attributes:
        mode: The profile.
        between: The port of the nginx.
    """

    mode: str
    port: int
    between: int

    def ask(
        self,
        method: str,
        target: str,
        body: bytes = b"",
        headers: dict[str, str] | None = None,
        *,
        accepted: str = ACCEPTED[0],
    ) -> Response:
        """
        Send a request.
        """
        signer = Signer(CLIENT_KEY_ID, CLIENT_SECRET, datetime.now(UTC), f"127.0.0.1:{self.port}")
        payload = hashlib.sha256(body).hexdigest() if body else EMPTY
        unsigned = {"Connection": "close", "Accept-Encoding": accepted}
        if method in {"PUT", "POST"}:
            unsigned["Content-Length"] = str(len(body))
        head, _ = signer.head(method, target, headers, payload=payload, unsigned=unsigned)
        with socket.create_connection(("127.0.0.1", self.port), 60) as connection:
            connection.sendall(head + body)
            response = http.client.HTTPResponse(connection, method=method)
            response.begin()
            content = response.read()
        is_compressed = response.headers.get("Content-Encoding") == "gzip"
        if is_compressed:
            assert "gzip" in accepted
            content = gzip.decompress(content) if content else content
        return Response(response.status, response.headers, content, is_compressed)


def key_of(number: int) -> str:
    """
    Return a key with characters that XML and URLs escape.
    """
    # Ceph does not encode a % in a marker, so the last key of a page has none.
    return f"{number:05}" + ("%25", " a+b", "&<é>", "")[number % 4]


@contextmanager
def _gateway(directory: Path) -> Iterator[tuple[int, str, str]]:
    rgw.install()
    gateway = rgw.Gateway(directory, CA())
    try:
        gateway.start()
        yield gateway.port, rgw.KEY_ID, rgw.SECRET
    finally:
        gateway.stop()


@contextmanager
def _stand_in(directory: Path, mode: str) -> Iterator[tuple[int, str, str]]:
    with Processes(directory) as processes:
        port, store = free_port(), directory / "store"
        store.mkdir()
        command = [sys.executable, walrus.__file__, mode, str(port), str(store), BACKEND_KEY_ID, BACKEND_SECRET]
        processes.start(command, port)
        yield port, BACKEND_KEY_ID, BACKEND_SECRET


@pytest.fixture(scope="module", params=["ceph-rgw", "generic", "riakcs", "walrus-3.4"])
def compressed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Compressed]:
    """
    Each storage system, with a bucket of 5,000 keys; the generic profile also has Ceph as its backend.
    """
    mode = request.param
    directory = tmp_path_factory.mktemp("gzip")
    (directory / "storage").mkdir()
    storage = _gateway(directory / "storage") if mode in _CEPH else _stand_in(directory / "storage", mode)
    with storage as (storage_port, key_id, secret), Processes(directory) as processes:
        command, between = compressing_command(directory, storage_port)
        processes.start(command, between)
        options = f'profile = "{mode}"\nsignature = "v2"'
        if mode == "walrus-3.4":
            options += '\nmultipart = "spool"'
        through = processes.start_proxy(between, key_id, secret, options)
        found = Compressed(mode, through.port, between)
        assert found.ask("PUT", f"/{BUCKET}").status == 200
        if mode == "walrus-3.4":
            # Before that, it lists no versions.
            document = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
            assert found.ask("PUT", f"/{BUCKET}?versioning", document).status == 200
        with ThreadPoolExecutor(4) as pool:
            put = pool.map(lambda n: found.ask("PUT", f"/{BUCKET}/{quote(key_of(n))}", b"x").status, range(KEY_COUNT))
            assert set(put) == {200}
        yield found


_PAGES = {
    "v1": ("", "Key", {"marker": "NextMarker"}, "Key"),
    "v2": ("list-type=2", "Key", {"continuation-token": "NextContinuationToken"}, ""),
    "versions": (
        "versions",
        "Key",
        {"key-marker": "NextKeyMarker", "version-id-marker": "NextVersionIdMarker"},
        "",
    ),
}
"""
For each listing: its query, the element of a name, and the parameters of the next page, by the element that has their
value. If that element is missing, the last name is the value.
"""


@pytest.mark.parametrize("accepted", ACCEPTED)
@pytest.mark.parametrize("encoding", ["", "url"])
@pytest.mark.parametrize("listing", _PAGES)
def test_listings_are_complete(listing: str, encoding: str, accepted: str, compressed: Compressed) -> None:
    """
    A listing has all 5,000 keys, in order and each once, page by page.
    """
    query, element, markers, last = _PAGES[listing]
    if listing == "versions" and compressed.mode == "riakcs":
        assert compressed.ask("GET", f"/{BUCKET}?versions").status == 501
        return
    wanted = range(KEY_COUNT)
    if listing == "versions" and compressed.mode == "walrus-3.4":
        # The stand-in puts all versions on one page.
        query, wanted = "versions&prefix=000", range(100)
    keys: list[str] = []
    more, pages = "", 0
    while True:
        items = [query, more, f"encoding-type={encoding}" if encoding else ""]
        response = compressed.ask("GET", f"/{BUCKET}?{'&'.join(filter(None, items))}", accepted=accepted)
        assert response.status == 200, response.body
        assert response.texts("EncodingType") == ([encoding] if encoding else [])
        texts = response.texts(element)
        keys += [unquote_to_bytes(text.replace("+", " ")).decode() if encoding else text for text in texts]
        pages += 1
        if response.texts("IsTruncated") == ["false"]:
            break
        told = {name: response.texts(marker)[:1] for name, marker in markers.items()}
        if last and not told["marker"]:
            told = {"marker": texts[-1:]}
        assert pages < 20
        values = {name: value[0] for name, value in told.items() if value}
        if encoding and listing != "v2":
            values = {name: unquote_to_bytes(value.replace("+", " ")).decode() for name, value in values.items()}
        more = "&".join(f"{name}={quote(value, safe='')}" for name, value in values.items())

    assert keys == sorted((key_of(number) for number in wanted), key=str.encode)
    assert pages == -(-len(wanted) // 1000)


def test_uploads_and_parts_are_complete(compressed: Compressed) -> None:
    """
    There are more uploads than one page holds, and more parts.
    """
    if compressed.mode not in _CEPH:
        pytest.skip("the stand-in has no uploads to list")
    with ThreadPoolExecutor(4) as pool:
        began = list(pool.map(lambda n: compressed.ask("POST", f"/{BUCKET}/up-{n:04}?uploads"), range(UPLOAD_COUNT)))
        ids = [response.texts("UploadId")[0] for response in began]
        target = f"/{BUCKET}/up-0000?uploadId={ids[0]}"
        parts = pool.map(
            lambda n: compressed.ask("PUT", f"{target}&partNumber={n}", b"part").status, range(1, PART_COUNT + 1)
        )
        assert set(parts) == {200}

    found, more = [], ""
    while True:
        response = compressed.ask("GET", f"/{BUCKET}?uploads{more}")
        found += response.texts("UploadId")
        if response.texts("IsTruncated") == ["false"]:
            break
        key_marker, upload_id_marker = (response.texts(name)[0] for name in ("NextKeyMarker", "NextUploadIdMarker"))
        more = f"&key-marker={key_marker}&upload-id-marker={upload_id_marker}"
    numbers, more = [], ""
    while True:
        response = compressed.ask("GET", target + more)
        numbers += response.texts("PartNumber")
        if response.texts("IsTruncated") == ["false"]:
            break
        more = f"&part-number-marker={response.texts('NextPartNumberMarker')[0]}"

    assert sorted(found) == sorted(ids)
    assert numbers == [str(number) for number in range(1, PART_COUNT + 1)]
    assert compressed.ask("DELETE", target).status == 204


@pytest.mark.parametrize("accepted", ACCEPTED)
def test_documents_are_edited(accepted: str, compressed: Compressed) -> None:
    """
    Locations name s3proxy, errors have its request id and S3's codes, and results have S3's elements.
    """
    bucket = f"documents-{ACCEPTED.index(accepted)}"
    assert compressed.ask("PUT", f"/{bucket}", accepted=accepted).status == 200
    put = compressed.ask("PUT", f"/{bucket}/a", b"content", accepted=accepted)
    location = compressed.ask("GET", f"/{bucket}?location", accepted=accepted)
    copied = compressed.ask("PUT", f"/{bucket}/b", headers={"x-amz-copy-source": f"/{bucket}/a"}, accepted=accepted)
    missing = compressed.ask("GET", f"/{bucket}/missing", accepted=accepted)
    no_bucket = compressed.ask("GET", f"/{bucket}-missing/a", accepted=accepted)
    document = b"<Delete><Object><Key>a</Key></Object><Object><Key>c&amp;d</Key></Object></Delete>"
    checksum = {"x-amz-checksum-sha256": _base64(hashlib.sha256(document).digest())}
    deleted = compressed.ask("POST", f"/{bucket}?delete", document, checksum, accepted=accepted)

    etag = '"9a0364b9e99bb480dd25e1f0284c8555"'
    assert put.headers["ETag"] == etag
    assert location.status == 200
    assert b"LocationConstraint" in location.body
    assert b"default" not in location.body
    assert copied.status == 200
    # Ceph writes it without quotation marks.
    assert copied.texts("ETag") in ([etag], [etag.strip('"')])
    for response, code in ((missing, "NoSuchKey"), (no_bucket, "NoSuchBucket")):
        assert (response.status, response.texts("Code")) == (404, [code])
        assert response.texts("RequestId") in ([response.headers["x-amz-request-id"]], [])
    assert deleted.status == 200
    assert sorted(deleted.texts("Key")) == ["a", "c&d"]
    assert deleted.texts("Code") == []
    assert compressed.ask("HEAD", f"/{bucket}/a", accepted=accepted).status == 404


@pytest.mark.parametrize("accepted", ACCEPTED)
def test_an_upload_in_parts_names_s3proxy(accepted: str, compressed: Compressed) -> None:
    """
    CompleteMultipartUpload's Location is the client's own URL of the object, and the entity tag is there.
    """
    target = f"/{BUCKET}-parts/joined"
    compressed.ask("PUT", f"/{BUCKET}-parts", accepted=accepted)
    upload = compressed.ask("POST", f"{target}?uploads", accepted=accepted).texts("UploadId")[0]
    part = compressed.ask("PUT", f"{target}?uploadId={upload}&partNumber=1", b"part", accepted=accepted)
    document = f"<Part><PartNumber>1</PartNumber><ETag>{part.headers['ETag']}</ETag></Part>"
    document = f"<CompleteMultipartUpload>{document}</CompleteMultipartUpload>"
    done = compressed.ask("POST", f"{target}?uploadId={upload}", document.encode(), accepted=accepted)

    assert done.status == 200, done.body
    assert done.texts("Location") == [f"http://127.0.0.1:{compressed.port}{target}"]
    # Ceph does not send one, and only its own profile corrects that.
    assert compressed.mode == "generic" or re.fullmatch(r'"[0-9a-f]{32}(-1)?"', done.texts("ETag")[0])
    assert compressed.ask("GET", target).body == b"part"


@pytest.mark.parametrize("accepted", ACCEPTED)
@pytest.mark.parametrize("kind", [_XML, "text/plain"])
def test_objects_are_what_they_were(kind: str, accepted: str, compressed: Compressed) -> None:
    """
    An object is read byte for byte, even an XML object whose client accepts compression; its head and a 304 are right
    too. With the generic profile this depends on the client, because its storage system may compress objects itself.
    """
    content = b"<content>" + bytes(range(256)) * 40 + b"</content>"
    target = f"/{BUCKET}-objects/object"
    etag = f'"{hashlib.md5(content).hexdigest()}"'
    compressed.ask("PUT", f"/{BUCKET}-objects")
    assert compressed.ask("PUT", target, content, {"content-type": kind}).status == 200
    got = compressed.ask("GET", target, accepted=accepted)
    ranged = compressed.ask("GET", target, headers={"range": "bytes=9-99"}, accepted=accepted)
    headed = compressed.ask("HEAD", target, accepted=accepted)
    known = compressed.ask("GET", target, headers={"if-none-match": etag}, accepted=accepted)
    head_known = compressed.ask("HEAD", target, headers={"if-none-match": etag}, accepted=accepted)

    may_be_compressed = compressed.mode == "generic" and kind == _XML and accepted != "identity"
    assert (got.status, got.body, got.is_compressed) == (200, content, may_be_compressed)
    assert got.headers["Content-Type"] == kind
    assert (ranged.status, ranged.body) == (206, content[9:100])
    assert headed.status == 200
    if not may_be_compressed:
        assert (got.headers["ETag"], got.headers["Content-Length"]) == (etag, str(len(content)))
        assert (headed.headers["ETag"], headed.headers["Content-Length"]) == (etag, str(len(content)))
    assert (known.status, known.body, known.headers["Content-Length"]) == (304, b"", None)
    assert head_known.status == 304
    compressed.ask("DELETE", target)


def test_the_proxy_compresses(compressed: Compressed) -> None:
    """
    The nginx would compress the documents of this module, and does if Accept-Encoding reaches it.
    """
    with socket.create_connection(("127.0.0.1", compressed.between), 60) as connection:
        path = PROFILES[compressed.mode].service_path + b"/nobody/asks"
        connection.sendall(b"GET %b HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n" % path)
        response = http.client.HTTPResponse(connection)
        response.begin()
        content = response.read()
    assert response.headers["Content-Encoding"] == "gzip"
    assert b"<Code>" in gzip.decompress(content)
    assert compressed.ask("GET", f"/{BUCKET}?max-keys=2").is_compressed is (compressed.mode == "generic")


def _base64(digest: bytes) -> str:
    import base64

    return base64.b64encode(digest).decode()
