"""
The requests to a backend that are not the client's own: to learn about an object or a key first, to delete each object
of a document, and to learn why a response to HEAD refuses.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from s3proxy.backend.request import BackendRequest
from s3proxy.forwarding.onward import Onward
from s3proxy.mending.deletions import Deletion
from s3proxy.mending.keys import check_keys
from s3proxy.mending.restrictions import check_parameters
from s3proxy.mending.versions import KeyVersions
from s3proxy.profiles.surfaces import check_private_surface
from s3proxy.resign.target import backend_target
from s3proxy.s3.address import Address, escape_name, object_target
from s3proxy.s3.classification import check_request, classify
from s3proxy.s3.errors import AccessDenied, NotImplementedByProxy
from s3proxy.s3.operation import DELETE_OBJECT, LIST_OBJECT_VERSIONS


def ask_measure(onward: Onward, now: datetime) -> BackendRequest:
    """
    Return the HEAD request that describes an object before it is read.
    """
    return onward.asking(b"HEAD", onward.passed, now)


def ask_why(onward: Onward, now: datetime) -> BackendRequest:
    """
    Return the GET request for the error document that a response to HEAD cannot have.
    """
    passed = [header for header in onward.passed if header[0].lower() != b"range"]
    passed.append((b"Range", b"bytes=0-0"))
    return onward.asking(b"GET", passed, now)


def ask_versions(onward: Onward, versions: KeyVersions, now: datetime) -> BackendRequest:
    """
    Return the request for one page of the versions of a key.
    """
    bucket = replace(onward.address, key=b"", raw_key=b"")
    head = replace(onward.head, method=b"GET", raw_target=b"/%s?%s" % (bucket.raw_bucket, versions.raw_query))
    names = LIST_OBJECT_VERSIONS.parameters | {b"versions"}
    target = backend_target(head, bucket, onward.backend.account.profile, names)
    return onward.asking(b"GET", onward.origin, now, target)


def delete_one(onward: Onward, deletion: Deletion, now: datetime) -> BackendRequest:
    """
    Return the request that deletes one object. It is checked like a DeleteObject request of the client.

    Args:
        onward: The DeleteObjects request whose document names the object.

    Raises:
        KeyTooLongError: The key has more than 1,024 bytes.
        AccessDenied: The client may not delete the object, or the path of the key is private to the backend.
        InvalidArgument: The backend cannot store such a key, or the id of the version is white space.
        NotImplementedByProxy: The document sets a condition that the backend would ignore, or names a version and the
            backend has no versions.
    """
    if onward.may_delete is not None and not onward.may_delete(deletion):
        raise AccessDenied
    if deletion.is_conditional:
        raise NotImplementedByProxy
    profile, bucket, key = onward.backend.account.profile, onward.address, deletion.key.encode()
    address = Address(bucket.bucket, key, bucket.raw_bucket, escape_name(key))
    raw_target = object_target(address, (deletion.version_id or "").encode())
    head = replace(onward.head, method=b"DELETE", raw_target=raw_target)
    # It also refuses a version of white space only.
    classify(head, address)
    check_request(head, address, DELETE_OBJECT)
    check_private_surface(profile, head, address)
    check_keys(profile, head, address, DELETE_OBJECT)
    if profile.restrictions is not None and deletion.version_id:
        check_parameters(profile.restrictions, DELETE_OBJECT, DELETE_OBJECT.parameters)
    target = backend_target(head, address, profile, DELETE_OBJECT.parameters)
    # These headers describe the document. A DELETE has no body.
    passed = [header for header in onward.passed if not header[0].lower().startswith((b"content-", b"x-amz-checksum-"))]
    return onward.asking(b"DELETE", passed, now, target)
