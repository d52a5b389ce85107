"""
A request as its backend gets it: headers, target, region and signature, unchanged from the client's if they may stay.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Container
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

from s3proxy.backend.request import BackendRequest
from s3proxy.backend.upload import Upload
from s3proxy.mending.deletions import (
    Deletion,
    Deletions,
    add_refused,
    read_deletions,
    sets_conditions,
    write_deletions,
)
from s3proxy.mending.documents import check_part_order, check_rights, checks_rights, write_document
from s3proxy.mending.keys import check_document_keys
from s3proxy.mending.mending import Mending
from s3proxy.mending.reads import without_ignored_range
from s3proxy.profiles.ignored import IN_DOCUMENT
from s3proxy.resign.account import UNSIGNED_PAYLOAD
from s3proxy.resign.head import (
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
    passed_headers,
)
from s3proxy.resign.region import translate_region, without_digests
from s3proxy.resign.target import backend_target
from s3proxy.s3.address import Address
from s3proxy.s3.errors import MaxMessageLengthExceeded, MissingRequestBodyError, NotImplementedByProxy
from s3proxy.s3.operation import (
    COMPLETE_MULTIPART_UPLOAD,
    COPY_OBJECT,
    CREATE_BUCKET,
    DELETE_OBJECT,
    DELETE_OBJECTS,
    LIST_OBJECTS,
    BodyUse,
)
from s3proxy.s3.query import query_items

if TYPE_CHECKING:
    from s3proxy.authentication.verdict import Authenticated
    from s3proxy.backend.backend import Backend
    from s3proxy.frontend.forwarded import Origin
    from s3proxy.s3.classification import Classification
    from s3proxy.s3.head import HeaderList, RequestHead
    from s3proxy.transport.writer import ReadSize

_OF_SOURCE = b"x-amz-copy-source-"


_NONE: frozenset[bytes] = frozenset()


class Onward:
    """
    Makes the backend requests for one client request. It does not send them.

    Args:
        head: The authenticated and authorized head.
        classification: The operation and parameters of the request.
        regions: The regions that clients may name. Each is replaced by the backend's own region.

    Attributes:
        head: The client's head; after `mend`, the head that is adapted to the backend.
        passed: The headers that the backend gets, without those that signing adds.
        passed_names: The names of the query parameters that the backend gets.
        origin: The headers that name the client to the backend.
        deletions: The objects to delete one by one in place of the request; None if the request itself is sent.
        may_delete: Returns True if the client may delete an object of its document; None if it may delete any.
        permit_deletion: Asks whether the client may delete an object of its document; None if nobody must be asked.
            Otherwise the objects are deleted one by one.
        edit_result: Returns the document of a successful response as the client may see it; None if it may see all.
        completed_etag: The entity tag of the object that the request makes of parts, if the backend does not report it;
            otherwise empty.
        dropped_count: Number of client headers that are neither sent nor replaced.
        deletes_version: Whether the request deletes a version, at a backend that refuses this if there is no such
            version.
        checked_names: Lower-case names of the headers with conditions on the object that a write replaces or deletes,
            if the backend ignores them.
        checks_source: Whether the source of a copy must be checked first: the backend ignores the conditions on it, or
            cannot copy a large one.
        checks_versions: Whether the versions of the key must be checked first: after the request the backend may not
            have exactly one latest version.
        is_conditional: Whether anything must be checked first: see `s3proxy.forwarding.conditions`.

    Raises:
        S3Error: A header may neither be forwarded nor dropped.
    """

    __slots__ = (
        "_authenticated",
        "_classification",
        "_document",
        "_knows_checksums",
        "_regions",
        "_sends_trailers",
        "address",
        "backend",
        "checked_names",
        "checks_source",
        "checks_versions",
        "completed_etag",
        "deletes_version",
        "deletions",
        "dropped_count",
        "edit_result",
        "head",
        "is_conditional",
        "may_delete",
        "origin",
        "passed",
        "passed_names",
        "permit_deletion",
    )

    deletions: Deletions | None
    may_delete: Callable[[Deletion], bool] | None
    permit_deletion: Callable[[Deletion], Awaitable[None]] | None
    edit_result: Callable[[bytes], bytes] | None

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
        # Those of a multipart upload are sent only if trailers are: the checksum of a part may be in its trailer, which
        # is too late for a head, and an upload that was created with an algorithm accepts no part without a checksum.
        self._knows_checksums = account.profile.takes_checksums and (
            self._sends_trailers or not classification.operation.is_part_of_upload
        )
        passed, dropped = passed_headers(
            head,
            authenticated.signed_headers,
            passes_checksums=self._knows_checksums,
            copies=classification.operation.copies,
            dropped_headers=account.profile.dropped_headers,
        )
        if account.profile.bare_write_tags and head.method == b"PUT":
            passed = bare_entity_tags(passed)
        if account.profile.hyphenates_names and any(b"_" in name for name in head.fields):
            check_hyphenated(passed)
        if account.profile.misreads_ranges and b"range" in head.fields:
            passed = without_ignored_range(passed)
        if account.profile.preflight_header and head.method == b"OPTIONS":
            passed = asking_for(passed, account.profile.preflight_header)
        self.head = head
        self.deletions = self.may_delete = self.permit_deletion = self.edit_result = None
        self.completed_etag = b""
        self._document: bytes | None = None
        self.dropped_count = len(dropped)
        self.address = address
        self._classification = classification
        allowed = backend.allowed
        self.passed_names = (
            allowed.parameters(classification) if classification.extra_names else classification.passed_names
        )
        self._authenticated = authenticated
        self.backend = backend
        self._regions = regions
        self.origin: HeaderList = []
        self.checked_names = allowed.checks(classification.operation, head) if allowed.checked else _NONE
        names = allowed.checks_source(classification.operation, head) if allowed.judges_sources else _NONE
        self.checks_source = bool(names)
        if names:
            passed = [header for header in passed if header[0].lower() not in names]
        self.passed = passed
        restrictions = account.profile.restrictions
        if classification.operation is COPY_OBJECT and restrictions is not None and restrictions.max_copy_size:
            self.checks_source = True
        self.deletes_version = self.checks_versions = False
        if account.profile.misplaces_latest:
            self.deletes_version = classification.operation is DELETE_OBJECT and bool(self.version_id)
            self.checks_versions = self.deletes_version or classification.operation is COPY_OBJECT
        self.is_conditional = self.checks_source or self.checks_versions or bool(self.checked_names)

    def mend(self) -> Mending:
        """
        Adapt the request to a backend that differs from S3, and return what mends the response.

        Raises:
            S3Error: The request cannot be adapted.
        """
        mending = Mending(
            self.backend.account.profile,
            self.head,
            self.address,
            self._classification.operation,
            self.passed,
            is_anonymous=self._authenticated.access_key_id is None,
            keeps_multipart=self.backend.keeps_multipart,
        )
        self.head, self.passed = mending.head, mending.passed
        if mending.is_listing:
            self.passed_names |= LIST_OBJECTS.parameters
        return mending

    def tell_origin(self, origin: Origin) -> None:
        """
        Add the headers that name the client, as the backend's `forwarded` option says.
        """
        chain = [host.encode() for host in (origin.client_host, *origin.hops)]
        self.origin = forwarded_headers(self.backend.forwarded, chain, self.head.host, origin.scheme)
        self.passed += self.origin

    def check_size(self, now: datetime) -> None:
        """
        Refuse a request whose head would be too large for the backend, before the client sends its body.

        Args:
            now: Any time: the signature has the same length.

        Raises:
            RequestHeaderSectionTooLarge: The head would be too large.
        """
        account = self.backend.account
        restrictions = account.profile.restrictions
        if restrictions is None:
            return
        target = backend_target(self.head, self.address, account.profile, self.passed_names)
        size = sum([len(name) + len(value) + 4 for name, value in self.passed])
        # Most heads are far smaller, and are not signed here: signing them twice costs CPU time.
        if 2 * len(target) > restrictions.max_line_size or 2 * size > restrictions.max_headers_size:
            self._sign(self.head.method, self.passed, None, account.empty_payload, now, target=target)

    def read_document(self, document: bytes) -> None:
        """
        Check the request's document before anything is sent. The request may be refused, or be split into many.

        Args:
            document: The verified document of any operation.

        Raises:
            InvalidArgument: The document deletes a key that the backend would take for another.
            MalformedXML: The document is one of DeleteObjects, and cannot be parsed.
            NotImplementedByProxy: The document sets conditions that the backend ignores.
            S3Error: The document is not valid for S3, or uses a feature that the backend carries out only in part.
        """
        profile, operation = self.backend.account.profile, self._classification.operation
        if operation is COMPLETE_MULTIPART_UPLOAD and profile.omits_etags:
            self.completed_etag = etag_of_parts(document)
        if operation is DELETE_OBJECTS:
            if profile.deletes_one_by_one or self.permit_deletion is not None:
                self.deletions = read_deletions(document)
                return
            if profile.refused_keys is not None:
                check_document_keys(profile, document)
            if self.backend.allowed.ignores(operation, IN_DOCUMENT) and sets_conditions(document):
                raise NotImplementedByProxy
            if self.may_delete is not None:
                document = self._document = self._only_permitted(document, self.may_delete)
                if self.deletions is not None:
                    return
        if profile.misreads_documents:
            if operation is COMPLETE_MULTIPART_UPLOAD:
                check_part_order(document)
            self._write_document(document)

    def _only_permitted(self, document: bytes, may_delete: Callable[[Deletion], bool]) -> bytes:
        """
        Return a DeleteObjects document of the objects that the client may delete, as they were judged.
        """
        deletions = read_deletions(document)
        permitted: list[Deletion] = []
        refused: list[Deletion] = []
        for deletion in deletions.wanted:
            (permitted if may_delete(deletion) else refused).append(deletion)
        if not permitted:
            # Nothing is left to send. Each object gets its error where each gets its own request.
            self.deletions = deletions
        elif refused:
            self.edit_result = partial(add_refused, refused)
        return write_deletions(replace(deletions, wanted=tuple(permitted)))

    def _write_document(self, document: bytes) -> None:
        operation, restrictions = self._classification.operation, self.backend.account.profile.restrictions
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
        account = self.backend.account
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
                backend_target(self.head, self.address, account.profile, self.passed_names),
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
            first_byte_time=self.backend.first_byte_time,
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
        passed = self.passed
        length: int | None = 0 if head.method in {b"PUT", b"POST"} else None
        if use is not BodyUse.NONE:
            written = content if self._document is None else self._document
            if self._classification.operation is CREATE_BUCKET and self.backend.account.key is not None:
                written = translate_region(written, self._regions, self.backend.account.key.region.encode())
            if written is not content:
                content, passed = written, without_digests(passed)
            elif self._knows_checksums:
                passed = self._with_checksums(verified) if verified else passed
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
        account = self.backend.account
        payload = account.payload_for(content, claimed_sha256) if content else account.empty_payload
        slow = self._classification.operation.is_slow
        return BackendRequest(
            head.method,
            self._sign(head.method, passed, length, payload, now),
            content,
            is_idempotent=head.method != b"POST",
            first_byte_time=self.backend.slow_first_byte_time if slow else self.backend.first_byte_time,
        )

    def asking(self, method: bytes, passed: HeaderList, now: datetime, target: bytes | None = None) -> BackendRequest:
        """
        Return a request to send in addition to the client's own. It has no body, and is signed if the client's request
        is.

        Args:
            passed: The headers that the backend gets.
            target: The target; that of the client's request by default.
        """
        head = self._sign(method, passed, None, self.backend.account.empty_payload, now, target=target)
        return BackendRequest(method, head, is_idempotent=True, first_byte_time=self.backend.first_byte_time)

    def turn_page(self, head: RequestHead) -> None:
        """
        Change the request to the next page of a listing: the last page had nothing for the client.
        """
        self.head = head
        # The next page may have parameters that the client did not send, for example a marker, and may list objects
        # instead of versions.
        self.passed_names |= self._classification.operation.parameters | LIST_OBJECTS.parameters

    @property
    def version_id(self) -> bytes:
        """
        The version that the request names, decoded; empty if it names none.
        """
        return dict(query_items(self.head.raw_query or b"")).get(b"versionId", b"")

    def _with_checksums(self, verified: HeaderList) -> HeaderList:
        """
        Return the forwarded headers, with the verified checksums that are missing among them, if the backend supports
        checksums.
        """
        if not self._knows_checksums or not verified:
            return self.passed
        present = {name.lower() for name, _ in self.passed}
        return self.passed + [header for header in verified if header[0] not in present]

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
        account = self.backend.account
        if not self._authenticated.is_signed_onward:
            account = replace(account, key=None)
        if target is None:
            target = backend_target(self.head, self.address, account.profile, self.passed_names)
        return backend_head(account, method, target, passed, length, payload, now, expects_continue=expects_continue)
