"""
A storage system that sends extra bytes after its responses: in the same segment, a little later, or after it has
received the next request.
"""

from __future__ import annotations

import hashlib
import random
import select
import socket
import threading
from collections import Counter
from email.utils import formatdate
from urllib.parse import unquote_to_bytes

from s3proxy.s3.head import RequestHead, parse_request_head

LEFT = (
    b"0\r\n\r\n",
    b"\r\n",
    b"\0",
    b"<?xml version='1.0'?><Error><Code>NoSuchKey</Code><Key>another</Key></Error>",
    b"another/key " * 40,
    b"5\r\nhello\r\n0\r\n\r\n",
    b"HTTP 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    b"Content-Length: 5\r\n\r\nhello",
)
"""
The extra bytes. The first two are Ceph's, the fourth is an old Swift's. None begins like a response: if such bytes
arrive after the next request was sent, they cannot be told from its response.
"""

_WAYS = ("in the same segment", "at once", "later", "when the next request has come")
_STATUS = {200: b"OK", 204: b"No Content", 206: b"Partial Content", 304: b"Not Modified"}


class StrayStore:
    """
    Buckets in memory.

    Args:
        owners: The buckets, each by the access key that signs for it.

    Attributes:
        port: The port on which it listens.
        done: How often each request other than a read was carried out, by its method and the name in its User-Agent.
        spoiled: Names of the requests with ordinary responses that had extra bytes, which may have arrived with them.
        left: How often extra bytes were sent, by kind of response and way.
    """

    def __init__(self, owners: dict[str, str], seed: str = "1") -> None:
        self._owners = owners
        self._seed = seed
        self._objects: dict[tuple[str, str], tuple[bytes, str]] = {}
        self._lock = threading.Lock()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._connections: list[socket.socket] = []
        self.port: int = self._listening.getsockname()[1]
        self.done: Counter[tuple[bytes, str]] = Counter()
        self.spoiled: set[str] = set()
        self.left: Counter[tuple[str, str]] = Counter()
        threading.Thread(target=self._accept, daemon=True).start()

    def stop(self) -> None:
        """
        End every connection.
        """
        self._listening.close()
        for connection in self._connections:
            connection.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._connections.append(connection)
            chance = random.Random(f"{self._seed} {len(self._connections)}")
            threading.Thread(target=self._serve, args=(connection, chance), daemon=True).start()

    def _serve(self, connection: socket.socket, chance: random.Random) -> None:
        left = b""
        try:
            while True:
                head, body = _read_request(connection)
                if left:
                    connection.sendall(left)
                    left = b""
                left = self._response(connection, head, body, chance)
        except (OSError, EOFError):
            pass
        finally:
            connection.close()

    def _response(self, connection: socket.socket, head: RequestHead, body: bytes, chance: random.Random) -> bytes:
        """
        Respond to a request; return the bytes to send before the response to the next one.
        """
        name = (head.fields.value(b"user-agent") or b"").decode()
        status, fields, content = self._judge(head, body, name)
        is_bodiless = head.method == b"HEAD" or status in {204, 304}
        lines = [
            b"HTTP/1.1 %d %s" % (status, _STATUS.get(status, b"Error")),
            b"Date: " + formatdate(usegmt=True).encode(),
        ]
        lines += [b"%s: %s" % field for field in fields]
        if status not in {204, 304}:
            lines.append(b"Content-Length: %d" % len(content))
        wire = b"\r\n".join(lines) + b"\r\n\r\n" + (b"" if is_bodiless else content)
        if chance.random() > (0.4 if is_bodiless else 0.1):
            connection.sendall(wire)
            return b""
        left, way = chance.choice(LEFT), chance.choice(_WAYS)
        with self._lock:
            self.left["HEAD, 204, 304" if is_bodiless else "others", way] += 1
            if not is_bodiless and way != _WAYS[3]:
                self.spoiled.add(name)
        if way == "in the same segment":
            connection.sendall(wire + left)
            return b""
        connection.sendall(wire)
        if way == _WAYS[3]:
            return left
        if way == "later":
            readable, _, _ = select.select([connection], [], [], chance.random() * 0.004)
            if readable:
                return left
        connection.sendall(left)
        return b""

    def _judge(self, head: RequestHead, body: bytes, name: str) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        raw_path, _, query = head.raw_target.partition(b"?")
        bucket, _, key = unquote_to_bytes(raw_path).decode().lstrip("/").partition("/")
        resource = f"{bucket}/{key}"

        def error(status: int, code: str) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
            document = f"<Error><Code>{code}</Code><Resource>/{resource}</Resource></Error>"
            return status, [(b"Content-Type", b"application/xml")], document.encode()

        def document(text: str) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
            return 200, [(b"Content-Type", b"application/xml")], text.encode()

        if not bucket:
            return document("<ListAllMyBucketsResult/>")
        if bucket not in self._owners:
            return error(404, "NoSuchBucket")
        if self._owners[bucket].encode() not in (head.fields.value(b"authorization") or b""):
            return error(403, "AccessDenied")
        if query == b"max-keys=none":
            return error(400, "InvalidArgument")
        with self._lock:
            if head.method == b"POST":
                self.done[head.method, name] += 1
                text = body.decode()
                deleted = text.partition("<Key>")[2].partition("</Key>")[0]
                self._objects.pop((bucket, deleted), None)
                return document(f"<DeleteResult><Deleted><Key>{deleted}</Key></Deleted></DeleteResult>")
            if head.method == b"PUT":
                self.done[head.method, name] += 1
                label = (head.fields.value(b"x-amz-meta-name") or b"").decode()
                if key:
                    self._objects[bucket, key] = body, label
                return 200, [(b"ETag", _etag(body))], b""
            if head.method == b"DELETE":
                self.done[head.method, name] += 1
                self._objects.pop((bucket, key), None)
                return 204, [], b""
            if not key:
                names = {item.partition(b"=")[0]: item.partition(b"=")[2].decode() for item in query.split(b"&")}
                prefix = unquote_to_bytes(names.get(b"prefix", "")).decode()
                keys = sorted(key for place, key in self._objects if place == bucket and key.startswith(prefix))
                found = "".join(f"<Contents><Key>{key}</Key></Contents>" for key in keys)
                return document(f"<ListBucketResult><Name>{bucket}</Name>{found}</ListBucketResult>")
            stored = self._objects.get((bucket, key))
        if stored is None:
            return error(404, "NoSuchKey")
        if query.startswith(b"acl"):
            return document("<AccessControlPolicy/>")
        content, label = stored
        etag = _etag(content)
        fields = [(b"ETag", etag), (b"x-amz-meta-name", label.encode()), (b"Content-Type", b"text/plain")]
        fields.append((b"Last-Modified", b"Sun, 01 Mar 2026 12:00:00 GMT"))
        if head.fields.value(b"if-none-match") == etag or head.fields.value(b"if-modified-since"):
            return 304, fields[:2], b""
        if head.fields.value(b"if-match") not in {None, etag}:
            return error(412, "PreconditionFailed")
        wanted = head.fields.value(b"range")
        if wanted == b"bytes=2-5":
            fields.append((b"Content-Range", b"bytes 2-5/%d" % len(content)))
            return 206, fields, content[2:6]
        if wanted:
            return error(416, "InvalidRange")
        return 200, fields, content


def _etag(content: bytes) -> bytes:
    return b'"%s"' % hashlib.md5(content).hexdigest().encode()


def _read_request(connection: socket.socket) -> tuple[RequestHead, bytes]:
    data = b""
    while b"\r\n\r\n" not in data:
        data += _received(connection)
    raw_head, _, body = data.partition(b"\r\n\r\n")
    head = parse_request_head(raw_head)
    pieces, size = [body], len(body)
    while size < (head.content_length or 0):
        piece = _received(connection)
        pieces.append(piece)
        size += len(piece)
    return head, b"".join(pieces)


def _received(connection: socket.socket) -> bytes:
    data = connection.recv(65536)
    if not data:
        raise EOFError
    return data
