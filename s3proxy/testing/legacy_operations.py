"""
Carry out an authenticated request to a `LegacyStore`: the operations of S3 on a directory, without a network.

This file finds the operation of a request, and decides if it may be carried out. It finds the operation in a table, by
the method and the sub-resources of the query. A request without a row gets the error that the storage system has for
it. Before an operation is called, the lengths of the names are checked, the bucket must exist, and the ACL must permit
a request without a signature. `legacy_bucket_operations`, `legacy_object_operations`, `legacy_upload_operations` and
`legacy_configuration` have the operations themselves, and the rows of the table.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from s3proxy.s3.limits import MAX_KEY_SIZE
from s3proxy.testing.legacy_bucket_operations import BucketOperations
from s3proxy.testing.legacy_configuration import Configuration
from s3proxy.testing.legacy_grants import lets_anybody
from s3proxy.testing.legacy_messages import Call, Fault, NoReply, OperationTable, Refusal, Reply, Stage
from s3proxy.testing.legacy_object_operations import ObjectOperations
from s3proxy.testing.legacy_objects import Folder, ObjectDirectory
from s3proxy.testing.legacy_quirks import Quirks
from s3proxy.testing.legacy_signature import SUBRESOURCES
from s3proxy.testing.legacy_upload_operations import UploadOperations
from s3proxy.testing.legacy_versions import NULL_VERSION, Versions
from s3proxy.testing.legacy_writes import ObjectWriter, is_too_long

MAX_BUCKET_NAME_SIZE = 63
"""
The maximum length of a bucket name in bytes. This is the limit of S3.
"""

_SUBRESOURCE_NAMES = frozenset(name.decode() for name in SUBRESOURCES)
# The SDK for Go names its operation in the query.
_IGNORED = frozenset({"x-id"})
_KNOWN_METHODS = frozenset({b"GET", b"HEAD", b"PUT", b"POST", b"DELETE"})
# Walrus knows these names, and responds 501 NotImplemented.
_NOT_IMPLEMENTED_OF_BUCKETS = frozenset({"cors", "lifecycle", "notification", "policy", "tagging", "website"})
_UPLOAD_PARAMETERS = frozenset({"partNumber", "uploadId", "uploads"})
# Walrus 4.x knows these names, but has no message class for them.
_LACKING = {b"GET": ("location", "logging", "versioning", "versions"), b"PUT": ("acl", "logging", "versioning")}
_MESSAGES = "com.eucalyptus.walrus.msgs"


class Operations:
    """
    The operations of the store.
    """

    def __init__(self, objects: ObjectDirectory, wall_clock: Callable[[], datetime], quirks: Quirks) -> None:
        self._objects = objects
        self._quirks = quirks
        self._versions = Versions(objects, quirks)
        self._writer = ObjectWriter(objects, self._versions, wall_clock, quirks)
        self._buckets = BucketOperations(objects, self._versions, quirks)
        single = ObjectOperations(objects, self._versions, self._writer, wall_clock, quirks)
        uploads = UploadOperations(objects, self._writer, wall_clock, quirks)
        configuration = Configuration(objects, self._versions, quirks)
        self._bucket_operations: OperationTable = {
            **self._buckets.bucket_operations,
            **uploads.bucket_operations,
            **configuration.bucket_operations,
        }
        self._object_operations: OperationTable = {
            **single.object_operations,
            **uploads.object_operations,
            **configuration.object_operations,
        }

    @property
    def stored_count(self) -> int:
        """
        The number of objects and parts that were stored.
        """
        return self._writer.stored_count

    def perform(self, call: Call) -> Reply:
        """
        Carry out a request.

        Raises:
            Refusal: The request cannot be carried out, and nothing was changed.
            Fault: The same, if S3 has no error for the reason.
            NoReply: The request never gets a response.
        """
        quirks = self._quirks
        if quirks.refuses_posts and call.method == b"POST":
            self._check_post(call)
        if not call.bucket:
            if call.key or call.method != b"GET":
                raise Refusal(405, "MethodNotAllowed", stage=Stage.BINDING)
            if call.is_nobody:
                raise Refusal(403, "AccessDenied")
            return self._buckets.list_buckets()
        if quirks.object_parameters is not None and call.key:
            known = quirks.object_parameters | ({"IsCompressed"} if quirks.own_parameters else set())
            call.query = {name: call.query[name] for name in call.query if name in known}
        asked = frozenset(call.query) & _SUBRESOURCE_NAMES
        self._check_lengths(call)
        unknown = call.query.keys() - asked - _IGNORED
        if call.method not in {b"GET", b"HEAD"} and unknown and not quirks.unknown_is_405:
            # A request with an unknown sub-resource must not change the object itself.
            raise Refusal(501, "NotImplemented")
        bucket = self._objects.bucket(call.bucket)
        if not call.key and call.method == b"PUT" and not asked:
            return self._buckets.create_bucket(call, bucket)
        operations = self._object_operations if call.key else self._bucket_operations
        operation = operations.get((call.method, asked))
        if operation is None:
            raise self._no_operation(call, asked)
        if not bucket.exists:
            raise Refusal(404, "NoSuchBucket", resource=call.bucket)
        if call.is_nobody:
            self._check_nobody(call, bucket, asked)
        return operation(call, bucket)

    def _check_post(self, call: Call) -> None:
        if call.key and "uploads" in call.query and self._quirks.hangs_on_uploads:
            raise NoReply
        if not (call.key and _UPLOAD_PARAMETERS & call.query.keys()) or self._quirks.hangs_on_uploads:
            raise Refusal(400, "InvalidRequest", "User authentication failed.", stage=Stage.SERVER)

    def _no_operation(self, call: Call, asked: frozenset[str]) -> Refusal | Fault:
        quirks = self._quirks
        if quirks.lacks_messages and self._lacks_message(call, asked):
            return Fault(f"Failed to construct message of type {_MESSAGES}", stage=Stage.BINDING)
        if not quirks.unknown_is_405:
            return Refusal(501, "NotImplemented")
        if call.key:
            is_known = bool(_UPLOAD_PARAMETERS & asked)
        else:
            is_known = bool(asked & (_NOT_IMPLEMENTED_OF_BUCKETS | {"requestPayment", "uploads"}))
        if call.method in _KNOWN_METHODS and is_known:
            return Refusal(501, "NotImplemented", "NA", stage=Stage.BINDING, resource=call.key or call.bucket)
        return Refusal(405, "MethodNotAllowed", "Could not determine operation name", stage=Stage.BINDING)

    def _lacks_message(self, call: Call, asked: frozenset[str]) -> bool:
        if call.key:
            return (call.method, asked) in {(b"PUT", frozenset({"acl"})), (b"DELETE", frozenset({"versionId"}))}
        names = _LACKING.get(call.method, ())
        return len(asked) == 1 and asked <= frozenset(names)

    def _check_lengths(self, call: Call) -> None:
        quirks = self._quirks
        if quirks.loses_long_values or quirks.refuses_long_values:
            if quirks.refuses_long_values and call.method == b"PUT" and is_too_long(call):
                raise Fault("value too long for type character varying(255)")
            return
        if len(call.bucket.encode()) > MAX_BUCKET_NAME_SIZE and not quirks.any_bucket_name:
            raise Refusal(400, "InvalidBucketName")
        if len(call.key.encode()) > MAX_KEY_SIZE:
            raise Refusal(400, "KeyTooLong")

    def _check_nobody(self, call: Call, bucket: Folder, asked: frozenset[str]) -> None:
        grants = self._objects.settings(bucket).get("grants", [])
        if call.key and call.method in {b"GET", b"HEAD"}:
            found = self._versions.find(bucket, call.key, call.query.get("versionId") or self._latest(bucket, call.key))
            grants = found[1].grants if found is not None else []
            if found is None and not asked:
                raise Refusal(404, "NoSuchKey", resource=call.key)
        permission = "READ" if call.method in {b"GET", b"HEAD"} else "WRITE"
        if "acl" in asked:
            permission += "_ACP"
        is_owners = not call.key and (asked - {"acl"} or call.method == b"DELETE")
        if is_owners or not lets_anybody(grants, permission):
            raise Refusal(403, "AccessDenied", "Access Denied", resource=call.key or call.bucket)

    def _latest(self, bucket: Folder, key: str) -> str:
        stored = bucket.find(key)
        return NULL_VERSION if stored is None else stored.version
