"""
The conditions of a client's request that its backend would ignore. They are judged here, before the request is sent.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from s3proxy.backend.request import BackendRequest
from s3proxy.forwarding.besides import ask_versions
from s3proxy.forwarding.onward import Onward
from s3proxy.mending.preconditions import check_source, check_write
from s3proxy.mending.restrictions import read_copy_source
from s3proxy.mending.versions import KeyVersions
from s3proxy.profiles.profile import Restrictions
from s3proxy.resign.target import backend_target
from s3proxy.s3.address import object_target, written_address
from s3proxy.s3.classification import check_request
from s3proxy.s3.copy_source import CopySource
from s3proxy.s3.head import ResponseHead
from s3proxy.s3.operation import DELETE_OBJECT, HEAD_OBJECT

_OF_SOURCE = b"x-amz-copy-source-"


class Conditions:
    """
    The conditions of one request. They are judged in this order: on the source of a copy, on the versions of the key,
    on the object that the request replaces or deletes.

    Args:
        onward: The request. A header whose condition was judged is removed from it.
    """

    __slots__ = ("_checked", "_checks_source", "_onward", "_restrictions", "_versions")

    def __init__(self, onward: Onward) -> None:
        self._onward = onward
        self._restrictions = onward.backend.account.profile.restrictions or Restrictions()
        self._checks_source = onward.checks_source
        self._checked = onward.checked_names
        self._versions = KeyVersions(onward.address.key) if onward.checks_versions else None

    @property
    def must_check(self) -> bool:
        """
        Whether a condition is left to judge, by `checking` and `checked`, before the request is sent.
        """
        return self._checks_source or self._versions is not None or bool(self._checked)

    @property
    def checks_document(self) -> bool:
        """
        Whether the response to the request of `checking` is a document.
        """
        return self._versions is not None and not self._checks_source

    def checking(self, now: datetime) -> BackendRequest:
        """
        Return the request for the next condition: HEAD of the source of a copy, or a list of the versions of the key,
        or HEAD of the object that the client's request replaces or deletes.

        Raises:
            S3Error: No request for the source can be made.
        """
        onward = self._onward
        if self._checks_source:
            return self._checking_source(now)
        if self._versions is not None:
            return ask_versions(onward, self._versions, now)
        names = onward.passed_names & DELETE_OBJECT.parameters
        target = backend_target(onward.head, onward.address, onward.backend.account.profile, names)
        # A backend needs the client's encryption key to respond to HEAD of an encrypted object.
        passed = [header for header in onward.passed if header[0].lower().startswith(b"x-amz-server-side-encryption-")]
        return onward.asking(b"HEAD", passed, now, target)

    def _source(self) -> CopySource:
        return read_copy_source(self._restrictions, self._onward.head)

    def _checking_source(self, now: datetime) -> BackendRequest:
        onward, source = self._onward, self._source()
        address = written_address(source.bucket, source.key)
        head = replace(onward.head, method=b"HEAD", raw_target=object_target(address, source.version_id))
        check_request(head, address, HEAD_OBJECT)
        names = frozenset({b"versionId"})
        # The client's headers are about the copy. HEAD gets only those that decrypt the source.
        passed = onward.origin + [
            (b"x-amz-" + name[len(_OF_SOURCE) :], value)
            for name, value in onward.passed
            if name.lower().startswith(_OF_SOURCE + b"server-side-encryption-customer-")
        ]
        target = backend_target(head, address, onward.backend.account.profile, names)
        return onward.asking(b"HEAD", passed, now, target)

    def checked(self, response: ResponseHead, document: bytes, now: datetime) -> None:
        """
        Judge the condition that the last request of `checking` was for.

        Args:
            response: The head of the response to that request.
            document: The document of that response; empty if `checks_document` is false, or if it could not be read.

        Raises:
            PreconditionFailed: The condition does not hold.
            NoSuchKey: The object of the condition does not exist.
            NotImplementedByProxy: After the request the key would not have exactly one latest version.
            InvalidRequest: The backend would copy only a part of the source.
            S3Error: The response does not show if the condition holds.
        """
        onward = self._onward
        if self._checks_source:
            check_source(onward.head.fields, response, self._source().key, now, self._restrictions.max_copy_size)
            self._checks_source = False
            return
        if self._versions is not None:
            self._versions.read(response, document)
            self._check_versions(self._versions)
            return
        check_write(onward.head.fields, response, self._checked, onward.address.key)
        onward.passed = [header for header in onward.passed if header[0].lower() not in self._checked]
        self._checked = frozenset()

    def _check_versions(self, versions: KeyVersions) -> None:
        if self._onward.deletes_version:
            version_id = self._onward.version_id
            is_enough = versions.check_deletion(version_id, {version_id})
        else:
            is_enough = versions.check_copy()
        if is_enough:
            self._versions = None
