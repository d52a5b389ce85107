"""
A backend that keeps every byte that it gets, and the client of a fuzzed request.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IAddress

from s3proxy.testing.faulty_backend import FaultyBackend, FaultyConnection
from s3proxy.testing.faulty_client import FaultyClient, Response
from tests.oracle.operations import subresources
from tests.oracle.wire import ClientStream, Head, NotARequest, RequestStream
from tests.support.harness import Harness

_ETAG = b'ETag: "5d41402abc4b2a76b9719d911017c592"\r\nLast-Modified: Sun, 01 Mar 2026 12:00:00 GMT\r\n'
_NAMESPACE = b'<?xml version="1.0" encoding="UTF-8"?>\n'
_BUCKET = b"<Name>test-bucket</Name><Prefix></Prefix><MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated>"
_STORED = b'ETag: "an-entity-tag"\r\n'
_DOCUMENTS = {
    b"acl": b"<AccessControlPolicy/>",
    b"delete": b"<DeleteResult/>",
    b"location": b"<LocationConstraint/>",
    b"logging": b"<BucketLoggingStatus/>",
    b"uploadId": b"<CompleteMultipartUploadResult><ETag>a</ETag></CompleteMultipartUploadResult>",
    b"uploads": b"<InitiateMultipartUploadResult><UploadId>a</UploadId></InitiateMultipartUploadResult>",
    b"versioning": b"<VersioningConfiguration/>",
    b"versions": b"<ListVersionsResult>%b</ListVersionsResult>" % _BUCKET,
}


def response_to(head: Head) -> bytes:
    """
    Return a storage system's response to a request that succeeds.
    """
    path, query = head.path, head.query or b""
    names = {item.partition(b"=")[0] for item in query.split(b"&")}
    if head.method == b"DELETE":
        return b"HTTP/1.1 204 No Content\r\n\r\n"
    if head.method == b"HEAD":
        return b"HTTP/1.1 200 OK\r\n%bContent-Length: 5\r\n\r\n" % _ETAG
    if head.method == b"PUT" and b"x-amz-copy-source" in head.fields:
        return _document(b'<CopyObjectResult><ETag>"a"</ETag></CopyObjectResult>')
    if head.method in {b"PUT", b"OPTIONS"}:
        return b"HTTP/1.1 200 OK\r\n%bContent-Length: 0\r\n\r\n" % _STORED
    for name, document in _DOCUMENTS.items():
        if name in names:
            return _document(document)
    if names & subresources() - {b"list-type", b"partNumber", b"versionId"}:
        return _document(b"<Configuration/>")
    place = path.removeprefix(b"/services/Walrus").strip(b"/")
    if not place:
        return _document(b"<ListAllMyBucketsResult/>")
    if b"/" not in place:
        return _document(b"<ListBucketResult>%b</ListBucketResult>" % _BUCKET)
    if head.one(b"range") == b"bytes=0-1":
        return b"HTTP/1.1 206 Partial Content\r\n%bContent-Range: bytes 0-1/5\r\nContent-Length: 2\r\n\r\nhe" % _ETAG
    return b"HTTP/1.1 200 OK\r\n%bContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello" % _ETAG


def _document(document: bytes) -> bytes:
    content = _NAMESPACE + document
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/xml\r\nContent-Length: %d\r\n\r\n" % len(content)
    return head + content


class RecordingConnection(FaultyConnection):
    """
    One connection: each request that the strict reader finds gets a response.

    Attributes:
        raw: Bytes that `RecordingBackend.take` has not returned yet.
    """

    def __init__(self, backend: FaultyBackend) -> None:
        super().__init__(backend)
        self.raw = b""
        self._heads: list[Head] = []
        self._stream = RequestStream(self._heads.append, lambda text, raw: None)

    def dataReceived(self, data: bytes) -> None:
        self.raw += data
        self._stream.feed(data)
        if self._stream.is_dead:
            self.send(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
            self.transport.loseConnection()
        elif self._stream.is_between:
            heads, self._heads[:] = self._heads[:], []
            for head in heads:
                self.send(response_to(head))


class RecordingBackend(FaultyBackend):
    """
    A factory to listen with.
    """

    def buildProtocol(self, addr: IAddress | None) -> RecordingConnection:
        return RecordingConnection(self)

    def take(self) -> list[bytes]:
        """
        Return the bytes of each connection since the last call, and forget the connections that have ended.
        """
        found = []
        for connection in self.connections:
            if connection.raw:  # type: ignore[attr-defined]
                found.append(connection.raw)  # type: ignore[attr-defined]
                connection.raw = b""  # type: ignore[attr-defined]
        self.connections[:] = [connection for connection in self.connections if connection.lost is None]
        return found


def is_one_request(wire: bytes) -> bool:
    """
    Return True if the bytes are one whole request, so that its connection may be reused.
    """
    stream = ClientStream()
    stream.feed(wire)
    try:
        head = stream.next_head(lambda head: 0)
    except NotARequest:
        return False
    if head.version != b"HTTP/1.1" or not stream.is_body_complete or stream.is_unreadable:
        return False
    # Bytes after it would be the next request.
    return not stream._buffer and b"connection" not in head.fields and b"upgrade" not in head.fields


@dataclass
class Asker:
    """
    A client that keeps its connection as long as it may be reused.

    Attributes:
        patience: Seconds without a response after which the proxy counts as hanging.
    """

    harness: Harness
    patience: float = 30.0
    _client: FaultyClient | None = field(default=None, init=False)

    async def ask(self, wire: bytes, method: str) -> tuple[list[Response], str]:
        """
        Send bytes and read all responses.

        Returns:
            The responses, and what is wrong with them; empty if nothing is.
        """
        if not is_one_request(wire):
            return await self._ask_once(wire, method)
        if self._client is not None and self._client.lost is None:
            found = await self._ask_on(self._client, wire, method)
            if found is not None:
                return found
        # A kept connection may have ended when the request was sent.
        self._client = await self._connect()
        found = await self._ask_on(self._client, wire, method)
        return ([], "a whole request gets no response") if found is None else found

    async def _ask_on(self, client: FaultyClient, wire: bytes, method: str) -> tuple[list[Response], str] | None:
        client.send(wire)
        response = await self._in_time(client.response(method))
        if isinstance(response, str):
            self.drop()
            return [], response
        if response is None:
            self.drop()
            return None
        left, client.received = client.received, b""
        if left or (response.header("Connection") or "").lower() == "close":
            self.drop()
        is_document = method == "HEAD" and response.status == 400 and left.startswith(b"<?xml")
        return [response], f"bytes behind the response: {left[:200]!r}" if left and not is_document else ""

    async def _ask_once(self, wire: bytes, method: str) -> tuple[list[Response], str]:
        client = await self._connect()
        client.send(wire)
        client.transport.loseWriteConnection()
        ended = await self._in_time(client.until(lambda: client.lost))
        if isinstance(ended, str):
            client.transport.abortConnection()
            return [], ended
        responses: list[Response] = []
        while client.received:
            response = await client.response(method)
            if response is None:
                is_document = method == "HEAD" and client.received.startswith(b"<?xml")
                return responses, "" if is_document else f"no response: {client.received[:200]!r}"
            responses.append(response)
            if method == "HEAD" and client.received.startswith(b"<?xml"):
                # The request could not be read, so s3proxy did not know that it was a HEAD.
                break
            method = "GET"
        return responses, ""

    async def _connect(self) -> FaultyClient:
        client = await self.harness.connect()
        self.harness.clients[:] = [each for each in self.harness.clients if each.lost is None]
        return client

    def drop(self) -> None:
        """
        End the connection.
        """
        client, self._client = self._client, None
        if client is not None and client.lost is None:
            client.transport.abortConnection()

    async def _in_time(self, waiting: Any) -> Any:
        deferred = waiting if isinstance(waiting, Deferred) else Deferred.fromCoroutine(waiting)
        deferred.addTimeout(self.patience, reactor)
        try:
            return await deferred
        except TimeoutError:
            return "it hangs"
