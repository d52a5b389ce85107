"""
The requests that s3proxy itself sends to a backend, for a client's request about an upload.

There are three: HEAD of the upload's bucket, GET of an object that is copied to a part, and PUT of the whole object.
Each is checked, mended and signed as if the client had sent it to a storage system without multipart uploads: it can do
no more than the client itself. Of the request that began the upload, only the headers of the object are kept, and they
are filtered again before they are sent.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from twisted.internet.defer import Deferred

from s3proxy.backend.faults import BackendFault
from s3proxy.backend.request import BackendError
from s3proxy.backend.response import BackendResponse
from s3proxy.backend.upload import Upload
from s3proxy.forwarding.besides import ask_measure
from s3proxy.forwarding.deletions import read_response
from s3proxy.forwarding.onward import Onward
from s3proxy.mending.keys import check_keys
from s3proxy.multipart.context import MultipartContext
from s3proxy.profiles.allowed import SOURCE_CONDITIONS, check_taken
from s3proxy.profiles.surfaces import check_private_surface
from s3proxy.resign.headers import passed_headers
from s3proxy.s3.address import Address, object_target, written_address
from s3proxy.s3.classification import check_request, classify
from s3proxy.s3.copy_source import copy_source_bucket, copy_source_key
from s3proxy.s3.errors import InternalError, NoSuchBucket, NotImplementedByProxy
from s3proxy.s3.forwarded import ForwardedHeaders
from s3proxy.s3.head import HeaderList, RequestHead, index_headers
from s3proxy.s3.operation import GET_OBJECT, HEAD_BUCKET, PUT_OBJECT, Operation
from s3proxy.s3.payload import UNSIGNED

_OF_OBJECT = frozenset(
    {
        b"cache-control",
        b"content-disposition",
        b"content-encoding",
        b"content-language",
        b"content-type",
        b"expires",
        b"x-amz-acl",
        b"x-amz-storage-class",
        b"x-amz-tagging",
        b"x-amz-website-redirect-location",
    }
)
_PREFIXES_OF_OBJECT = (b"x-amz-grant-", b"x-amz-meta-", b"x-amz-object-lock-", b"x-amz-server-side-encryption")
"""
The headers of CreateMultipartUpload that belong to the object. S3 ignores any other ``x-amz-`` header there. One of
those, ``x-amz-copy-source``, would turn the PUT to the backend into a copy: of an object that nothing has authorized.

Source:
    "CreateMultipartUpload", Request Syntax.
"""

_UNREADABLE = frozenset({BackendFault.LOST, BackendFault.UNANSWERED})


class OwnRequests:
    """
    Makes the requests for the backend, for one client request.
    """

    def __init__(self, context: MultipartContext) -> None:
        self._context = context

    def send(self, request: Any) -> Deferred[BackendResponse]:
        """
        Send a request without a body.
        """
        return self._context.backend.agent.send(request)

    async def check_bucket(self) -> None:
        """
        Check that the bucket exists, before anything is stored for it. The backend itself decides who may write to it.
        """
        address = self._context.address
        bucket = Address(address.bucket, b"", address.raw_bucket, b"")
        onward = self._onward(b"HEAD", b"/" + address.raw_bucket, [], bucket, HEAD_BUCKET)
        try:
            response = await self.send(ask_measure(onward, self._context.wall_clock()))
        except BackendError as error:
            if error.fault in _UNREADABLE:
                # After a HEAD that it refuses, Walrus may send a document, although none is allowed. That shows nothing
                # about the bucket. The backend will refuse the object at the end, if it must.
                return
            raise
        await read_response(response)
        if response.head.status == 404:
            raise NoSuchBucket(address.bucket)

    def source(self, source: bytes, wanted: tuple[int, int] | None) -> Onward:
        """
        Return the GET of a source that is copied to a part, with the client's conditions on the source.

        Args:
            source: The copy source, as the client sent it.
            wanted: The first and the last byte of the object that the client wants; None for the whole object.
        """
        bucket, key = copy_source_bucket(source), copy_source_key(source)
        if bucket is None:
            raise NotImplementedByProxy(None, Header="x-amz-copy-source")
        address = written_address(bucket, key)
        version = source.partition(b"?versionId=")[2]
        headers: HeaderList = [] if wanted is None else [(b"Range", b"bytes=%d-%d" % wanted)]
        fields = self._context.head.fields
        headers += [
            (SOURCE_CONDITIONS[name], fields.value(name) or b"") for name in SOURCE_CONDITIONS if name in fields
        ]
        return self._onward(b"GET", object_target(address, version), headers, address, GET_OBJECT)

    def headers_of_object(self) -> HeaderList:
        """
        Return the headers of CreateMultipartUpload that the request of the whole object must have.
        """
        context = self._context
        passed, _ = passed_headers(
            context.head,
            context.authenticated.signed_headers,
            passes_checksums=False,
            dropped_headers=context.backend.account.profile.dropped_headers,
        )
        return [(name, value) for name, value in passed if _is_of_object(name)]

    def make_upload(self, headers: HeaderList, size: int) -> Upload:
        """
        Return the request of the whole object, as a client would send it that does not use multipart uploads.

        Raises:
            S3Error: The request would be refused.
        """
        context = self._context
        # Filtered again: an earlier version of s3proxy may have stored them.
        kept = [(name, value) for name, value in headers if _is_of_object(name)]
        onward = self._onward(b"PUT", context.head.raw_path, kept, context.address, PUT_OBJECT, length=size)
        if context.backend.account.profile.mends("PutObject"):
            onward.mend()
        onward.check_size(context.wall_clock())
        upload = onward.upload(size, None, [], None, context.wall_clock())
        upload.first_byte_time = context.backend.slow_first_byte_time
        return upload

    def _onward(
        self,
        method: bytes,
        target: bytes,
        headers: HeaderList,
        address: Address,
        operation: Operation,
        length: int | None = None,
    ) -> Onward:
        context = self._context
        if address.is_virtual_hosted != context.address.is_virtual_hosted:
            address = replace(address, is_virtual_hosted=False)
        sent: HeaderList = [(b"Host", context.head.host), *headers]
        sent += [header for header in context.head.headers if header[0].lower() in {b"user-agent", b"accept-language"}]
        fields = index_headers(sent)
        head = RequestHead(method, target, b"HTTP/1.1", sent, fields, length)
        authenticated = replace(
            context.authenticated, head=head, signed_headers=frozenset(fields), payload=UNSIGNED, chain=None
        )
        classification = classify(head, address)
        if classification.operation is not operation:
            # The request would be checked as one operation and carried out as another.
            raise InternalError
        backend = context.backend
        check_request(head, address, operation)
        check_private_surface(backend.account.profile, head, address, backend.allowed, operation.name)
        check_taken(backend.allowed, head, classification)
        if backend.account.profile.refused_keys is not None:
            check_keys(backend.account.profile, head, address, operation)
        onward = Onward(head, address, classification, authenticated, backend, context.regions)
        if backend.forwarded != ForwardedHeaders.NONE:
            onward.tell_origin(context.origin)
        return onward


def _is_of_object(name: bytes) -> bool:
    name = name.lower()
    return name in _OF_OBJECT or name.startswith(_PREFIXES_OF_OBJECT)
