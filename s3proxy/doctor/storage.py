"""
The storage system under examination: how to reach it, which signature it accepts, and where the probes store objects.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote, unquote_to_bytes

from s3proxy.backend.connection import BackendConnection
from s3proxy.backend.request import BackendRequest
from s3proxy.configuration.options import Place
from s3proxy.doctor.line import Line, Response, ask
from s3proxy.profiles.profile import BackendKey, DateForm, Profile
from s3proxy.resign.account import Account, SignatureVersion, payload_of
from s3proxy.resign.head import backend_head
from s3proxy.s3.head import HeaderList
from s3proxy.sigv4.signing_key import SigningKeys

MAX_ENTRIES = 10_000
"""
Maximum entries of a listing: far more than the probes make. It ends an endless listing.
"""


@dataclass(frozen=True, slots=True)
class Patience:
    """
    How long to wait, in seconds.

    Attributes:
        response: Time for a response; an operation that copies may need all of it.
        hold: How long a body is held just before its end.
        look: Times before the first and before the second look for a cut body.
    """

    response: float = 60.0
    hold: float = 0.5
    look: tuple[float, ...] = (0.2, 1.5)


class Storage:
    """
    The storage system, as the probes use it.

    Args:
        line: Opens connections to it.
        place: The URL of the storage system.
        key: The key that signs the requests.
        wall_clock: Returns the time, aware, in UTC.
        word: The name of the prefix below which the probes work, and of the bucket if none is given.
        bucket: An existing bucket; None to make one.

    Attributes:
        absent_bucket: The name of a bucket that does not exist.
        service_path: The raw path before every bucket; empty for most.
        way: The account for probes that are not about signatures.
        ways: The account for each signature that is accepted, by its version.
        made: Raw targets of what was stored, or may be.
        uploads: Raw targets of multipart uploads that were started.
        watched: The raw key of each cut body, and the content that must be there instead; None for no object.
    """

    def __init__(
        self,
        line: Line,
        place: Place,
        key: BackendKey,
        wall_clock: Callable[[], datetime],
        word: str,
        bucket: str | None = None,
        patience: Patience | None = None,
    ) -> None:
        self.line = line
        self.place = place
        self.key = key
        self.wall_clock = wall_clock
        self.bucket = bucket or word
        self.owns_bucket = bucket is None
        self.prefix = f"{word}/"
        self.absent_bucket = f"{word}-none"
        self.patience = patience or Patience()
        self.service_path = place.service_path.encode()
        self.ways: dict[SignatureVersion, Account] = {}
        self.made: dict[bytes, None] = {}
        self.uploads: list[bytes] = []
        self.watched: dict[bytes, bytes | None] = {}
        self._signing_keys = SigningKeys(8)
        self.way = self.account(SignatureVersion.V4)

    # Accounts and targets

    def account(
        self,
        signature: SignatureVersion,
        *,
        date_form: DateForm = DateForm.AMZ_DATE,
        signs_service_path: bool = False,
    ) -> Account:
        """
        Return an account to send requests with.

        Args:
            signature: ``v4``, ``v2`` or ``none``.
        """
        profile = Profile(
            "doctor", service_path=self.service_path, signs_service_path=signs_service_path, date_form=date_form
        )
        key = None if signature == SignatureVersion.NONE else self.key
        host = self.place.authority.encode()
        return Account(profile, key, host, signature, self._signing_keys)

    def service_target(self, query: bytes = b"") -> bytes:
        """
        Return the target of the service itself.
        """
        return _with_query(self.service_path + b"/", query)

    def bucket_target(self, query: bytes = b"", bucket: str | None = None) -> bytes:
        """
        Return the target of the bucket, or of another one.
        """
        return _with_query(b"%s/%s" % (self.service_path, (bucket or self.bucket).encode()), query)

    def target(self, raw_key: bytes, query: bytes = b"") -> bytes:
        """
        Return the target of an object below the prefix.
        """
        path = b"%s/%s/%s%s" % (self.service_path, self.bucket.encode(), self.prefix.encode(), raw_key)
        return _with_query(path, query)

    def key_of(self, raw_key: bytes) -> str:
        """
        Return the whole name that an object should have.
        """
        return self.prefix + unquote_to_bytes(raw_key).decode()

    def source(self, raw_key: bytes) -> bytes:
        """
        Return the copy source header's value for an object below the prefix.
        """
        return b"/%s/%s%s" % (self.bucket.encode(), self.prefix.encode(), raw_key)

    def head(
        self,
        method: bytes,
        target: bytes,
        headers: HeaderList | None = None,
        length: int | None = None,
        payload: bytes | None = None,
        *,
        account: Account | None = None,
        expects_continue: bool = False,
    ) -> bytes:
        """
        Return a signed head, and record what it may store.

        Args:
            length: Bytes of the body; None if there is no body.
            payload: The value of x-amz-content-sha256 under Signature V4; that of an empty body if None.
            account: `way` if None.
        """
        if method == b"PUT":
            self.made[target.partition(b"?")[0]] = None
        return backend_head(
            account or self.way,
            method,
            target,
            [*(headers or [])],
            length,
            payload or payload_of(b""),
            self.wall_clock(),
            expects_continue=expects_continue,
        )

    # Requests

    async def ask(
        self,
        method: bytes,
        target: bytes,
        headers: HeaderList | None = None,
        content: bytes | None = None,
        *,
        payload: bytes | None = None,
        account: Account | None = None,
        connection: BackendConnection | None = None,
    ) -> Response:
        """
        Send a request on a new connection, unless one is given; return the whole response.

        Args:
            content: The body; None if there is no body.

        Raises:
            BackendError: There was no response, or not all of it.
        """
        length = None if content is None else len(content)
        payload = payload or payload_of(content or b"")
        head = self.head(method, target, headers, length, payload, account=account)
        return await self.send(method, head, content or b"", connection)

    async def send(
        self, method: bytes, head: bytes, content: bytes = b"", connection: BackendConnection | None = None
    ) -> Response:
        """
        Send a head unchanged, and a body after it; return the whole response.

        Raises:
            BackendError: There was no response, or not all of it.
        """
        request = BackendRequest(method, head, content, first_byte_time=self.patience.response)
        if connection is not None:
            return await ask(connection, request)
        async with self.line.open() as own:
            return await ask(own, request)

    async def put(self, raw_key: bytes, content: bytes, headers: HeaderList | None = None, **more: Any) -> Response:
        """
        Store an object below the prefix.

        Raises:
            BackendError: There was no response.
        """
        return await self.ask(b"PUT", self.target(raw_key), headers, content, **more)

    async def get(self, raw_key: bytes, headers: HeaderList | None = None) -> Response:
        """
        Fetch an object below the prefix.

        Raises:
            BackendError: There was no response.
        """
        return await self.ask(b"GET", self.target(raw_key), headers)

    async def begin_upload(self, raw_key: bytes) -> bytes:
        """
        Start a multipart upload below the prefix; return the query that names it.

        Raises:
            BackendError: There was no response.
            Unclear: The upload cannot be started; `Lacking` if there is no such operation.
        """
        begun = await self.ask(b"POST", self.target(raw_key, b"uploads"), content=b"")
        upload_id = begun.element("UploadId")
        if not begun.is_success or not upload_id:
            lacks = begun.status in {405, 501}
            raise (Lacking if lacks else Unclear)(f"a multipart upload cannot be started: {begun}")
        query = b"uploadId=" + escape(upload_id)
        self.uploads.append(self.target(raw_key, query))
        return query

    async def complete_upload(
        self, raw_key: bytes, upload: bytes, etag: str, headers: HeaderList | None = None
    ) -> Response:
        """
        Complete an upload whose only part has this ETag.

        Raises:
            BackendError: There was no response.
        """
        part = f"<Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part>"
        document = f"<CompleteMultipartUpload>{part}</CompleteMultipartUpload>".encode()
        return await self.ask(b"POST", self.target(raw_key, upload), headers, document)

    async def list_keys(self, prefix: str) -> list[str]:
        """
        Return the names of all objects below a prefix, as they are listed.

        Raises:
            BackendError: There was no response.
            Unclear: The response is not a list.
        """
        return [key for (key,) in await self.list_all(b"prefix=" + escape(prefix), ("Key",), b"marker")]

    async def list_all(
        self, query: bytes, elements: Sequence[str], marker: bytes, second_marker: bytes = b""
    ) -> list[tuple[str, ...]]:
        """
        Return the texts of some elements of each entry of a listing, page by page.

        Args:
            elements: The first is the key; the second, if there is one, distinguishes entries of one key.
            marker: The query parameter for the key after which to continue.
            second_marker: The query parameter for the second element.

        Raises:
            BackendError: There was no response.
            Unclear: The response is not a list.
        """
        entries: list[tuple[str, ...]] = []
        page = query
        while True:
            response = await self.ask(b"GET", self.bucket_target(page))
            if not response.is_success or b"<IsTruncated>" not in response.content:
                raise Unclear(f"{page.decode()}: {response}")
            found = list(zip(*(response.elements(name) for name in elements), strict=False))
            # A storage system that ignores the marker would return the same page forever.
            if response.element("IsTruncated") != "true" or not found or found[-1] in entries:
                return [*entries, *(entry for entry in found if entry not in entries)]
            entries += found
            if len(entries) > MAX_ENTRIES:
                raise Unclear(f"{page.decode()}: the listing does not end")
            page = b"%s&%s=%s" % (query, marker, escape(found[-1][0]))
            if second_marker:
                page += b"&%s=%s" % (second_marker, escape(found[-1][1]))


class Unclear(Exception):
    """
    A request that a probe needs is refused; the text says which, and how.
    """


class Lacking(Unclear):
    """
    The storage system does not have an operation that a probe needs.
    """


def escape(text: str) -> bytes:
    """
    Return a key, percent-encoded for a path or a query.
    """
    return quote(text, safe="/-._~").encode()


def _with_query(path: bytes, query: bytes) -> bytes:
    return b"%s?%s" % (path, query) if query else path
