"""
A request as its backend gets it: headers, target, region and signature, unchanged from the client's if they may stay.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from s3proxy.backend.request import BackendRequest
from s3proxy.backend.upload import Upload
from s3proxy.mending.deletions import Deletion, Deletions, read_deletions, sets_conditions
from s3proxy.mending.documents import check_part_order, check_rights, checks_rights, write_document
from s3proxy.mending.keys import check_document_keys, check_keys
from s3proxy.mending.mending import Mending
from s3proxy.mending.preconditions import check_source, check_write
from s3proxy.mending.reads import without_ignored_range
from s3proxy.mending.restrictions import check_parameters, read_copy_source
from s3proxy.mending.versions import KeyVersions
from s3proxy.profiles.ignored import IN_DOCUMENT
from s3proxy.profiles.profile import Restrictions
from s3proxy.profiles.surfaces import check_private_surface
from s3proxy.resign.head import (
    UNSIGNED_PAYLOAD,
    backend_head,
    chunked_head,
    content_md5,
    etag_of_parts,
    sha256_of,
    strip_checksum_elements,
)
from s3proxy.resign.headers import (
    asking_for,
    bare_entity_tags,
    check_hyphenated,
    forwarded_headers,
    knows_checksums,
    passed_headers,
)
from s3proxy.resign.region import translate_region, without_digests
from s3proxy.resign.target import backend_target
from s3proxy.s3.address import Address, escape_name, object_target, written_address
from s3proxy.s3.classification import check_request
from s3proxy.s3.errors import MaxMessageLengthExceeded, MissingRequestBodyError, NotImplementedByProxy
from s3proxy.s3.operation import (
    COMPLETE_MULTIPART_UPLOAD,
    COPY_OBJECT,
    CREATE_BUCKET,
    DELETE_OBJECT,
    DELETE_OBJECTS,
    HEAD_OBJECT,
    LIST_OBJECT_VERSIONS,
    LIST_OBJECTS,
    BodyUse,
)
from s3proxy.s3.query import query_items

if TYPE_CHECKING:
    from s3proxy.authentication.verdict import Authenticated
    from s3proxy.backend.backend import Backend
    from s3proxy.frontend.forwarded import Origin
    from s3proxy.s3.classification import Classification
    from s3proxy.s3.copy_source import CopySource
    from s3proxy.s3.head import HeaderList, RequestHead, ResponseHead
    from s3proxy.transport.writer import ReadSize

_OF_SOURCE = b"x-amz-copy-source-"


class Onward:
    """
    Makes the backend requests for one client request. It does not send them.

    Args:
        head: The authenticated and authorized head.
        classification: The operation and parameters of the request.
        regions: The regions that clients may name. Each is replaced by the backend's own region.

    Attributes:
        head: What the backend gets to see.
        deletions: What is to be carried out in the place of the request, each by a request of its own; None where it
            is sent itself.
        completed_etag: Of the object that the request joins of parts, if its backend does not tell.
        dropped_count: How many headers do not pass, and are not replaced by ours.
        deletes_version: Whether the request deletes a version, and the backend refuses that if there is none.

    Raises:
        S3Error: A header may neither be forwarded nor dropped.
    """

    __slots__ = (
        "_address",
        "_authenticated",
        "_backend",
        "_checked",
        "_checks_source",
        "_classification",
        "_document",
        "_knows_checksums",
        "_mending",
        "_origin",
        "_passed",
        "_passed_names",
        "_regions",
        "_sends_trailers",
        "_source",
        "_versions",
        "completed_etag",
        "deletes_version",
        "deletions",
        "dropped_count",
        "head",
    )

    def __init__(
        self,
        head: RequestHead,
        address: Address,
        classification: Classification,
        authenticated: Authenticated,
        backend: Backend,
        regions: Container[bytes],
    ) -> None:
        account = backend.account
        self._sends_trailers = account.sends_trailers and authenticated.is_signed_onward
        self._knows_checksums = knows_checksums(
            classification.operation, account.profile, sends_trailers=self._sends_trailers
        )
        chosen = passed_headers(
            head,
            authenticated.signed_headers,
            passes_checksums=self._knows_checksums,
            copies=classification.operation.copies,
            dropped_headers=account.profile.dropped_headers,
        )
        passed = chosen.passed
        if account.profile.bare_write_tags and head.method == b"PUT":
            passed = bare_entity_tags(passed)
        if account.profile.hyphenates_names and any(b"_" in name for name in head.fields):
            check_hyphenated(passed)
        if account.profile.misreads_ranges and b"range" in head.fields:
            passed = without_ignored_range(passed)
        if account.profile.preflight_header and head.method == b"OPTIONS":
            passed = asking_for(passed, account.profile.preflight_header)
        self.head = head
        self.deletions: Deletions | None = None
        self.completed_etag = b""
        self._document: bytes | None = None
        self.dropped_count = len(chosen.dropped)
        self._address = address
        self._classification = classification
        self._passed_names = backend.allowed.parameters(classification)
        self._authenticated = authenticated
        self._backend = backend
        self._regions = regions
        self._origin: HeaderList = []
        self._checked = backend.allowed.checks(classification.operation, head)
        names = backend.allowed.checks_source(classification.operation, head)
        self._checks_source = bool(names)
        self._source: CopySource | None = None
        if names:
            passed = [header for header in passed if header[0].lower() not in names]
        self._passed = passed
        self._mending: Mending | None = None
        self._versions: KeyVersions | None = None
        self.deletes_version = False
        if account.profile.misplaces_latest:
            self.deletes_version = classification.operation is DELETE_OBJECT and bool(self._version_id)
            if self.deletes_version or classification.operation is COPY_OBJECT:
                self._versions = KeyVersions(address.key)

    def mend(self) -> Mending:
        """
        Adapt the request to a backend that differs from S3, and return what mends the response.

        Raises:
            S3Error: The request cannot be adapted.
        """
        self._mending = mending = Mending(
            self._backend.account.profile,
            self.head,
            self._address,
            self._classification.operation,
            self._passed,
            is_anonymous=self._authenticated.access_key_id is None,
            keeps_multipart=self._backend.keeps_multipart,
        )
        self.head, self._passed = mending.head, mending.passed
        if mending.is_listing:
            self._passed_names |= LIST_OBJECTS.parameters
        return mending

    def tell_origin(self, origin: Origin) -> None:
        """
        Add the headers that name the client, as the backend's `forwarded` option says.
        """
        chain = [host.encode() for host in (origin.client_host, *origin.hops)]
        self._origin = forwarded_headers(self._backend.forwarded, chain, self.head.host, origin.scheme)
        self._passed += self._origin

    def check_size(self, now: datetime) -> None:
        """
        Refuse a request whose head would be too large for the backend, before the client sends its body.

        Args:
            now: Any time: the signature has the same length.

        Raises:
            RequestHeaderSectionTooLarge: The head would be too large.
        """
        account = self._backend.account
        restrictions = account.profile.restrictions
        if restrictions is None:
            return
        target = self._target()
        size = sum([len(name) + len(value) + 4 for name, value in self._passed])
        # Most heads are far smaller. They are not signed a second time for this check.
        if 2 * len(target) > restrictions.max_line_size or 2 * size > restrictions.max_headers_size:
            self._sign(self.head.method, self._passed, None, account.payload_for(b""), now, target=target)

    def read_document(self, document: bytes) -> None:
        """
        Check the request's document before anything is sent. The request may be refused, or be split into many.

        Args:
            document: The verified document of any operation.

        Raises:
            InvalidArgument: It deletes a key that the backend would take for another.
            MalformedXML: It is a DeleteObjects document that cannot be parsed.
            NotImplementedByProxy: It sets conditions that the backend ignores.
            S3Error: It is not valid for S3, or it uses a feature that the backend lacks and would carry out only in
                part.
        """
        profile, operation = self._backend.account.profile, self._classification.operation
        if operation is COMPLETE_MULTIPART_UPLOAD and profile.omits_etags:
            self.completed_etag = etag_of_parts(document)
        if operation is DELETE_OBJECTS:
            if profile.deletes_one_by_one:
                self.deletions = read_deletions(document)
                return
            if profile.refused_keys is not None:
                check_document_keys(profile, document)
            if self._backend.allowed.ignores(operation, IN_DOCUMENT) and sets_conditions(document):
                raise NotImplementedByProxy
        if profile.misreads_documents:
            if operation is COMPLETE_MULTIPART_UPLOAD:
                check_part_order(document)
            self._write_document(document)

    def _write_document(self, document: bytes) -> None:
        operation, restrictions = self._classification.operation, self._backend.account.profile.restrictions
        if not document:
            # A body without a declared length may be empty.
            if checks_rights(operation):
                check_rights(self.head.fields, has_document=False)
            if operation.requires_document:
                raise MissingRequestBodyError
            return
        self._document = write_document(operation, document)
        most = 0 if restrictions is None else restrictions.max_document_size
        if self._document is not None and 0 < most < len(self._document):
            raise MaxMessageLengthExceeded(most)

    def upload(
        self, length: int, trailer_name: bytes | None, verified: HeaderList, read_size: ReadSize | None, now: datetime
    ) -> Upload:
        """
        Return the upload of an object that is sent as it arrives, or from the disk.

        Args:
            length: Bytes of the object, decoded.
            trailer_name: Lower-case name of the checksum trailer that the client announced; None if it announced none.
            verified: The verified checksums of the object; none if its body has yet to arrive.
        """
        account = self._backend.account
        expects_continue = account.profile.sends_expect
        sha256 = None
        if account.profile.takes_hashes:
            # A body on disk was verified. Its SHA-256 checksum, if the client sent one, is the hash.
            sha256 = self._authenticated.payload.sha256 or sha256_of(verified)
        passed = self._with_checksums(verified)
        if verified or not self._sends_trailers:
            trailer_name = None
        signs_chunks = sha256 is None and account.signs_chunks and self._authenticated.is_signed_onward
        encoder = None
        if signs_chunks or trailer_name is not None:
            head, encoder = chunked_head(
                account,
                self.head.method,
                self._target(),
                passed,
                length,
                now,
                trailer_name,
                expects_continue=expects_continue,
            )
            length = encoder.encoded_length
        else:
            payload = sha256 if sha256 is not None and account.signs_hashes else UNSIGNED_PAYLOAD
            head = self._sign(self.head.method, passed, length, payload, now, expects_continue=expects_continue)
        return Upload(
            head,
            length,
            encoder=encoder,
            expects_continue=expects_continue,
            first_byte_time=self._backend.first_byte_time,
            read_size=read_size,
        )

    def request(self, use: BodyUse, content: bytes, verified: HeaderList, now: datetime) -> BackendRequest:
        """
        Return the request for a body that was held, or for no body.

        Args:
            content: The verified body; empty if the operation does not use a body.
            verified: The verified checksums of the body.
        """
        head = self.head
        passed = self._passed
        length: int | None = 0 if head.method in {b"PUT", b"POST"} else None
        if use is not BodyUse.NONE:
            written = self._in_backend_region(content if self._document is None else self._document)
            if written is not content:
                content, passed = written, without_digests(passed)
            elif self._knows_checksums:
                passed = self._with_checksums(verified)
            elif self._classification.operation is COMPLETE_MULTIPART_UPLOAD:
                content = strip_checksum_elements(content)
                passed = [header for header in passed if header[0].lower() != b"content-md5"]
            if (
                content
                and self._classification.operation.may_need_md5
                and (self._document is not None or b"content-md5" not in head.fields)
            ):
                # Current SDKs send a checksum instead of Content-MD5, and old storage systems refuse that.
                passed = [*passed, (b"Content-MD5", content_md5(content))]
            length = len(content)
        # The object was verified against this hash. It is not computed a second time.
        claimed_sha256 = self._authenticated.payload.sha256 if use is BodyUse.OBJECT else None
        payload = self._backend.account.payload_for(content, claimed_sha256)
        slow = self._classification.operation.is_slow
        return BackendRequest(
            head.method,
            self._sign(head.method, passed, length, payload, now),
            content,
            is_idempotent=head.method != b"POST",
            first_byte_time=self._backend.slow_first_byte_time if slow else self._backend.first_byte_time,
        )

    def deleting(self, deletion: Deletion, now: datetime) -> BackendRequest:
        """
        Return the request that deletes one object. It is made and refused like a DeleteObject of the client.

        Raises:
            KeyTooLongError: The key has more than 1,024 bytes.
            AccessDenied: The target would be a private surface of the backend.
            InvalidArgument: The backend cannot hold such a key.
            NotImplementedByProxy: It sets a condition, which the backend would ignore, or names a version although the
                backend has none.
        """
        if deletion.is_conditional:
            raise NotImplementedByProxy
        profile, bucket, key = self._backend.account.profile, self._address, deletion.key.encode()
        address = Address(bucket.bucket, key, bucket.raw_bucket, escape_name(key))
        raw_target = object_target(address, (deletion.version_id or "").encode())
        head = replace(self.head, method=b"DELETE", raw_target=raw_target)
        check_request(head, address, DELETE_OBJECT)
        check_private_surface(profile, head, address)
        check_keys(profile, head, address, DELETE_OBJECT)
        if profile.restrictions is not None and deletion.version_id:
            check_parameters(profile.restrictions, DELETE_OBJECT, DELETE_OBJECT.parameters)
        target = backend_target(head, address, profile, DELETE_OBJECT.parameters)
        # The document belongs to the client's request; this request has none.
        passed = [
            header for header in self._passed if not header[0].lower().startswith((b"content-", b"x-amz-checksum-"))
        ]
        return self._asking(b"DELETE", passed, now, target)

    @property
    def must_check(self) -> bool:
        """
        Whether conditions must be judged, by `checking` and `checked`, before the request is sent.
        """
        return self._checks_source or self._versions is not None or bool(self._checked)

    @property
    def checks_document(self) -> bool:
        """
        Whether the answer to what `checking` makes is a document.
        """
        return self._versions is not None and not self._checks_source

    def checking(self, now: datetime) -> BackendRequest:
        """
        Make the request that asks for the source of a copy, or else for the versions of a key, or for the object which
        a write is to replace or to delete.

        Raises:
            S3Error: The source cannot be requested from the backend.
        """
        if self._checks_source:
            return self._checking_source(now)
        if self._versions is not None:
            return self.listing(self._versions, now)
        names = self._passed_names & DELETE_OBJECT.parameters
        target = backend_target(self.head, self._address, self._backend.account.profile, names)
        # A HEAD of an encrypted object needs the headers of its key as well.
        passed = [header for header in self._passed if header[0].lower().startswith(b"x-amz-server-side-encryption-")]
        return self._asking(b"HEAD", passed, now, target)

    def listing(self, versions: KeyVersions, now: datetime) -> BackendRequest:
        """
        Make the request for a page of the versions of a key.
        """
        bucket = replace(self._address, key=b"", raw_key=b"")
        head = replace(self.head, method=b"GET", raw_target=b"/%s?%s" % (bucket.raw_bucket, versions.raw_query))
        names = LIST_OBJECT_VERSIONS.parameters | {b"versions"}
        target = backend_target(head, bucket, self._backend.account.profile, names)
        return self._asking(b"GET", self._origin, now, target)

    def checked(self, answer: ResponseHead, document: bytes, now: datetime) -> None:
        """
        Judge the conditions of `checking`, and mark them as judged.

        Args:
            answer: To what `checking` made.
            document: Of the answer; empty if it was not to be read, or could not be.

        Raises:
            PreconditionFailed: One does not hold.
            NoSuchKey: There is no object of which one speaks.
            NotImplementedByProxy: The key would be left without one latest version.
            S3Error: It cannot be told.
        """
        if self._checks_source:
            assert self._source is not None
            check_source(self.head.fields, answer, self._source.key, now)
            self._checks_source = False
            return
        if self._versions is not None:
            self._versions.read(answer, document)
            self._check_versions(self._versions)
            return
        check_write(self.head.fields, answer, self._checked, self._address.key)
        self._passed = [header for header in self._passed if header[0].lower() not in self._checked]
        self._checked = frozenset()

    def _check_versions(self, versions: KeyVersions) -> None:
        if self.deletes_version:
            is_enough = versions.check_deletion(self._version_id, {self._version_id})
        else:
            is_enough = versions.check_copy()
        if is_enough:
            self._versions = None

    @property
    def _version_id(self) -> bytes:
        """
        The version that the request names, decoded; empty if it names none.
        """
        return dict(query_items(self.head.raw_query or b"")).get(b"versionId", b"")

    def _checking_source(self, now: datetime) -> BackendRequest:
        restrictions = self._backend.account.profile.restrictions or Restrictions()
        self._source = source = read_copy_source(restrictions, self.head)
        address = written_address(source.bucket, source.key)
        head = replace(self.head, method=b"HEAD", raw_target=object_target(address, source.version_id))
        check_request(head, address, HEAD_OBJECT)
        names = frozenset({b"versionId"})
        # The client's headers are about the copy. The HEAD has only those that decrypt its source.
        passed = self._origin + [
            (b"x-amz-" + name[len(_OF_SOURCE) :], value)
            for name, value in self._passed
            if name.lower().startswith(_OF_SOURCE + b"server-side-encryption-customer-")
        ]
        return self._asking(b"HEAD", passed, now, backend_target(head, address, self._backend.account.profile, names))

    def measuring(self, now: datetime) -> BackendRequest:
        """
        Return the HEAD request that measures an object before it is read.
        """
        return self._asking(b"HEAD", self._passed, now)

    def measured(self, answer: ResponseHead) -> None:
        """
        Limit the request for an object to what its measure allows.

        Args:
            answer: The response to the request of `measuring`.

        Raises:
            S3Error: The object is not what the client wants; see `Mending.measure`.
        """
        assert self._mending is not None
        self._passed = self._mending.measure(answer, self._passed)

    def following(self, now: datetime) -> BackendRequest:
        """
        Return the request for the next page of a listing, if the page before it has nothing for the client.
        """
        assert self._mending is not None
        self.head = self._mending.head
        # It may start at a key that the client did not name, and list objects instead of versions.
        self._passed_names |= self._classification.operation.parameters | LIST_OBJECTS.parameters
        return self._asking(b"GET", self._passed, now)

    def asking_why(self, now: datetime) -> BackendRequest:
        """
        Return the GET request whose response has the document that a response to HEAD cannot have.
        """
        passed = [header for header in self._passed if header[0].lower() != b"range"]
        passed.append((b"Range", b"bytes=0-0"))
        return self._asking(b"GET", passed, now)

    def _asking(self, method: bytes, passed: HeaderList, now: datetime, target: bytes | None = None) -> BackendRequest:
        head = self._sign(method, passed, None, self._backend.account.payload_for(b""), now, target=target)
        return BackendRequest(method, head, is_idempotent=True, first_byte_time=self._backend.first_byte_time)

    def _with_checksums(self, verified: HeaderList) -> HeaderList:
        """
        Return the forwarded headers, with the verified checksums that are missing among them, if the backend supports
        checksums.
        """
        if not self._knows_checksums or not verified:
            return self._passed
        present = {name.lower() for name, _ in self._passed}
        return self._passed + [header for header in verified if header[0] not in present]

    def _in_backend_region(self, document: bytes) -> bytes:
        key = self._backend.account.key
        if key is None or self._classification.operation is not CREATE_BUCKET:
            return document
        return translate_region(document, self._regions, key.region.encode())

    def _sign(
        self,
        method: bytes,
        passed: HeaderList,
        length: int | None,
        payload: bytes,
        now: datetime,
        *,
        expects_continue: bool = False,
        target: bytes | None = None,
    ) -> bytes:
        account = self._backend.account
        if not self._authenticated.is_signed_onward:
            account = replace(account, key=None)
        if target is None:
            target = self._target()
        return backend_head(account, method, target, passed, length, payload, now, expects_continue=expects_continue)

    def _target(self) -> bytes:
        return backend_target(self.head, self._address, self._backend.account.profile, self._passed_names)
