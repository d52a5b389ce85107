"""
Rewrite the document of a request for a storage system that reads it differently from S3, or refuse it.

Eucalyptus looks for each element by its name, including the prefix, anywhere in the document, and treats a missing one
as empty. So a document that it cannot read removes all rights or all rules of a bucket, and gets status 200. It decodes
the bytes in the locale of its machine, and reads a text only up to the first comment. It pairs the grantees of an
access control list with the permissions only by their order. It implements only the older form of a lifecycle rule: it
does not see the ``Filter`` of today's clients, and deletes everything in the bucket. It uses a prefix as an SQL
pattern, where ``_`` is any character.

So s3proxy reads a document as S3 does, and writes it in ASCII, without prefixes, comments and elements that Eucalyptus
does not know.

Source:
    eucalyptus/eucalyptus 3.4.2, ``WalrusRESTBinding`` and ``XMLParser``; 4.3.1.1, ``ObjectStorageRESTBinding``,
    ``DbBucketLifecycleManagerImpl`` and ``LifecycleReaperJob``.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable
from itertools import pairwise
from xml.etree.ElementTree import Element

from s3proxy.mending.results import NAME_SPACE
from s3proxy.s3.document import local_name, parse_document
from s3proxy.s3.elements import character_data
from s3proxy.s3.errors import (
    InvalidArgument,
    InvalidPartOrder,
    MalformedACLError,
    MalformedXML,
    MissingSecurityHeader,
    NotImplementedByProxy,
    S3Error,
    UnexpectedContent,
)
from s3proxy.s3.head import Fields
from s3proxy.s3.limits import MAX_DELETED_OBJECTS
from s3proxy.s3.operation import Operation

MAX_GRANTS = 100
"""
Maximum number of grants in one list ("Access control list overview").
"""

MAX_RULES = 1000
"""
Maximum number of rules in a lifecycle configuration ("PutBucketLifecycleConfiguration").
"""

_ACLS = frozenset({"PutBucketAcl", "PutObjectAcl"})
_ACL_HEADERS = (b"x-amz-acl", b"x-amz-grant-")
_XSI = b"http://www.w3.org/2001/XMLSchema-instance"
_PERMISSIONS = frozenset({"FULL_CONTROL", "READ", "READ_ACP", "WRITE", "WRITE_ACP"})
_GRANTEES = {"ID": b"CanonicalUser", "EmailAddress": b"AmazonCustomerByEmail", "URI": b"Group"}
_METHODS = frozenset({"DELETE", "GET", "HEAD", "POST", "PUT"})
_STATES = frozenset({"Disabled", "Enabled"})
_PART_NUMBER = re.compile(r"[0-9]{1,9}")
_DAYS = re.compile(r"0*[1-9][0-9]{0,8}")
# The storage system uses the prefix as an SQL pattern.
_NOT_PLAIN = re.compile(r"[%_\\]")
_UNKNOWN_ACTIONS = frozenset(
    {"AbortIncompleteMultipartUpload", "NoncurrentVersionExpiration", "NoncurrentVersionTransition", "Transition"}
)
"""
Actions of a lifecycle rule that S3 has and the storage system does not. It stores a Transition, and then its task fails
on that rule, and on all rules after it.
"""


def checks_rights(operation: Operation) -> bool:
    """
    Return True if an operation sets an access control list, by a document or by headers.
    """
    return operation.name in _ACLS


def check_rights(fields: Fields, *, has_document: bool) -> None:
    """
    Refuse access rights that are given twice, or not at all: the storage system would remove all existing rights.

    Args:
        fields: The headers of the request.

    Raises:
        MissingSecurityHeader: There is neither a document nor a header with rights.
        UnexpectedContent: There are both.
    """
    names = [name for name in fields if name.startswith(_ACL_HEADERS)]
    if has_document and names:
        raise UnexpectedContent
    if not has_document and not names:
        raise MissingSecurityHeader("x-amz-acl")


def write_document(operation: Operation, document: bytes) -> bytes | None:
    """
    Return a document in the form that the storage system reads; None if the operation's document is sent unchanged.

    Args:
        document: The verified document, not empty.

    Raises:
        MalformedXML: The document does not have S3's format.
        MalformedACLError: The document is an access control list, and does not have S3's format.
        InvalidArgument: Two rules have the same name, or a number of days is not valid.
        NotImplementedByProxy: The document uses a function that the storage system does not have.
    """
    found = _WRITERS.get(operation.name)
    if found is None:
        return None
    root_name, write = found
    root = parse_document(document)
    malformed = MalformedACLError if checks_rights(operation) else MalformedXML
    if local_name(root) != root_name:
        raise malformed
    name = root_name.encode()
    content = write(_Part(root, malformed))
    return b'<?xml version="1.0" encoding="UTF-8"?>\n<%s xmlns="%s">%s</%s>' % (name, NAME_SPACE, content, name)


class _Part:
    """
    An element of a document. Its children are taken out one by one, so that the remaining ones can be refused.

    Args:
        malformed: The error to raise if something does not have S3's format.
    """

    __slots__ = ("_children", "_malformed", "text")

    def __init__(self, element: Element, malformed: type[S3Error]) -> None:
        self._malformed = malformed
        self._children: dict[str, list[_Part]] = {}
        for child in element:
            self._children.setdefault(local_name(child), []).append(_Part(child, malformed))
        self.text = element.text or ""

    def several(self, name: str, least: int = 0, most: int = MAX_RULES) -> list[_Part]:
        """
        Take all children of one name.
        """
        found = self._children.pop(name, [])
        if not least <= len(found) <= most:
            raise self._malformed
        return found

    def one(self, name: str) -> _Part | None:
        """
        Take an optional child.
        """
        found = self.several(name, most=1)
        return found.pop() if found else None

    def required(self, name: str) -> _Part:
        """
        Take a required child.
        """
        (found,) = self.several(name, 1, 1)
        return found

    def optional_text(self, name: str) -> str | None:
        """
        Take the text of an optional child.
        """
        found = self.one(name)
        return None if found is None else found.own_text()

    def required_text(self, name: str) -> str:
        """
        Take the text of a required child.
        """
        return self.required(name).own_text()

    def choice(self, name: str, choices: Iterable[str]) -> str:
        """
        Take the text of a required child, which must be one of these words.
        """
        text = self.required_text(name).strip()
        if text not in choices:
            raise self._malformed
        return text

    def own_text(self) -> str:
        """
        Return the text of an element that has no children.
        """
        self.end()
        return self.text

    def refuse(self, *names: str) -> None:
        """
        Refuse children that have a meaning in S3, but not in the storage system.
        """
        for name in names:
            if self._children.pop(name, None):
                raise NotImplementedByProxy

    def end(self) -> None:
        """
        Refuse all remaining children: S3 does not know them.
        """
        if self._children:
            raise self._malformed


def _element(name: str, content: bytes, attributes: bytes = b"") -> bytes:
    tag = name.encode()
    return b"<%s%s>%s</%s>" % (tag, attributes, content, tag)


def _text(name: str, text: str | None) -> bytes:
    return b"" if text is None else _element(name, character_data(text.encode()))


# Access control lists


def _write_rights(root: _Part) -> bytes:
    owner, rights = root.one("Owner"), root.required("AccessControlList")
    root.end()
    written = b""
    if owner is not None:
        written = _element("Owner", _text("ID", owner.optional_text("ID")) + _display_name(owner))
        owner.end()
    return written + _element("AccessControlList", _write_grants(rights))


def _write_grants(rights: _Part) -> bytes:
    grants = rights.several("Grant", most=MAX_GRANTS)
    rights.end()
    written = []
    for grant in grants:
        grantee, permission = grant.required("Grantee"), grant.choice("Permission", _PERMISSIONS)
        grant.end()
        written.append(_element("Grant", _write_grantee(grantee) + _text("Permission", permission)))
    return b"".join(written)


def _write_grantee(grantee: _Part) -> bytes:
    names = {name: grantee.optional_text(name) for name in _GRANTEES}
    shown = _display_name(grantee)
    grantee.end()
    # The storage system prefers an ID to an address, and an address to a group.
    told = [(name, text.strip()) for name, text in names.items() if text is not None and text.strip()]
    if len(told) != 1:
        raise MalformedACLError
    ((name, text),) = told
    return _element("Grantee", _text(name, text) + shown, b' xmlns:xsi="%s" xsi:type="%s"' % (_XSI, _GRANTEES[name]))


def _display_name(part: _Part) -> bytes:
    return _text("DisplayName", part.optional_text("DisplayName"))


# Buckets


def _write_location(root: _Part) -> bytes:
    root.refuse("Bucket", "Location", "Tags")
    place = root.optional_text("LocationConstraint")
    root.end()
    return _text("LocationConstraint", None if place is None else place.strip())


def _write_versioning(root: _Part) -> bytes:
    status = root.choice("Status", ("Enabled", "Suspended"))
    if (root.optional_text("MfaDelete") or "Disabled").strip() != "Disabled":
        raise NotImplementedByProxy
    root.end()
    return _text("Status", status)


def _write_logging(root: _Part) -> bytes:
    enabled = root.one("LoggingEnabled")
    root.end()
    if enabled is None:
        return b""
    enabled.refuse("TargetObjectKeyFormat")
    bucket, prefix = enabled.required_text("TargetBucket").strip(), enabled.required_text("TargetPrefix")
    grants = enabled.one("TargetGrants")
    enabled.end()
    if not bucket:
        # An empty bucket name would switch logging off.
        raise MalformedXML
    written = _text("TargetBucket", bucket) + _text("TargetPrefix", prefix)
    if grants is not None:
        written += _element("TargetGrants", _write_grants(grants))
    return _element("LoggingEnabled", written)


def _write_tags(root: _Part) -> bytes:
    tag_set = root.required("TagSet")
    root.end()
    written = []
    for tag in tag_set.several("Tag"):
        written.append(
            _element("Tag", _text("Key", tag.required_text("Key")) + _text("Value", tag.required_text("Value")))
        )
        tag.end()
    tag_set.end()
    return _element("TagSet", b"".join(written))


def _write_origins(root: _Part) -> bytes:
    rules = root.several("CORSRule", 1, 100)
    root.end()
    written = []
    for rule in rules:
        content = _text("ID", rule.optional_text("ID"))
        for name in ("AllowedOrigin", "AllowedHeader", "ExposeHeader"):
            content += b"".join(_text(name, part.own_text()) for part in rule.several(name, name == "AllowedOrigin"))
        for part in rule.several("AllowedMethod", 1):
            method = part.own_text().strip()
            if method not in _METHODS:
                raise MalformedXML
            content += _text("AllowedMethod", method)
        age = rule.optional_text("MaxAgeSeconds")
        content += _text("MaxAgeSeconds", None if age is None else age.strip())
        rule.end()
        written.append(_element("CORSRule", content))
    return b"".join(written)


# Lifecycles


def _write_rules(root: _Part) -> bytes:
    rules = root.several("Rule", 1)
    root.end()
    seen: set[str] = set()
    written = []
    for number, rule in enumerate(rules):
        name = rule.optional_text("ID") or ""
        prefix = _prefix_of(rule)
        status = rule.choice("Status", _STATES)
        rule.refuse(*_UNKNOWN_ACTIONS)
        # If several rules have no name, the storage system carries out none of them. S3 gives each one a name.
        name = name or hashlib.sha256(b"%d %b" % (number, prefix.encode())).hexdigest()[:48]
        if name in seen:
            raise InvalidArgument("Rule ID must be unique. Found same ID for more than one rule", "ID", name.encode())
        seen.add(name)
        content = _text("ID", name) + _text("Prefix", prefix) + _text("Status", status) + _write_expiration(rule)
        rule.end()
        written.append(_element("Rule", content))
    return b"".join(written)


def _prefix_of(rule: _Part) -> str:
    """
    Return the prefix of a rule's keys.
    """
    prefix, condition = rule.optional_text("Prefix"), rule.one("Filter")
    if (prefix is None) == (condition is None):
        raise MalformedXML
    if condition is not None:
        condition.refuse("And", "ObjectSizeGreaterThan", "ObjectSizeLessThan", "Tag")
        prefix = condition.optional_text("Prefix")
        condition.end()
    prefix = prefix or ""
    if _NOT_PLAIN.search(prefix) is not None:
        raise NotImplementedByProxy
    return prefix


def _write_expiration(rule: _Part) -> bytes:
    expiration = rule.required("Expiration")
    expiration.refuse("ExpiredObjectDeleteMarker")
    days, date = expiration.optional_text("Days"), expiration.optional_text("Date")
    expiration.end()
    if (days is None) == (date is None):
        raise MalformedXML
    if days is not None and _DAYS.fullmatch(days.strip()) is None:
        raise InvalidArgument("'Days' for Expiration action must be a positive integer", "Days", days.encode())
    told = _text("Date", (date or "").strip()) if days is None else _text("Days", days.strip())
    return _element("Expiration", told)


# Objects


def _write_deletions(root: _Part) -> bytes:
    objects, quiet = root.several("Object", 1, MAX_DELETED_OBJECTS), root.optional_text("Quiet")
    root.end()
    written = []
    for each in objects:
        each.refuse("ETag", "LastModifiedTime", "Size")
        key, version = each.required_text("Key"), each.optional_text("VersionId")
        each.end()
        if not key:
            # An empty key would mean the bucket.
            raise MalformedXML
        written.append(_element("Object", _text("Key", key) + _text("VersionId", version or None)))
    if quiet is not None:
        word = quiet.strip()
        if word not in {"0", "1", "false", "true"}:
            raise MalformedXML
        written.append(_text("Quiet", "true" if word in {"1", "true"} else "false"))
    return b"".join(written)


_WRITERS: dict[str, tuple[str, Callable[[_Part], bytes]]] = {
    "CreateBucket": ("CreateBucketConfiguration", _write_location),
    "DeleteObjects": ("Delete", _write_deletions),
    "PutBucketAcl": ("AccessControlPolicy", _write_rights),
    "PutBucketCors": ("CORSConfiguration", _write_origins),
    "PutBucketLifecycleConfiguration": ("LifecycleConfiguration", _write_rules),
    "PutBucketLogging": ("BucketLoggingStatus", _write_logging),
    "PutBucketTagging": ("Tagging", _write_tags),
    "PutBucketVersioning": ("VersioningConfiguration", _write_versioning),
    "PutObjectAcl": ("AccessControlPolicy", _write_rights),
}
"""
By operation: the root of its document, and the function that writes the rest. The parts of a CompleteMultipartUpload
are sent unchanged: if the storage system can read none of them, it refuses the request.
"""


def check_part_order(document: bytes) -> None:
    """
    Check the order of a CompleteMultipartUpload's parts, which the storage system may ignore.

    Raises:
        InvalidPartOrder: A part number is not greater than the one before it.
        MalformedXML: The document cannot be parsed.
    """
    root = parse_document(document)
    texts = [child.text or "" for part in root for child in part if local_name(child) == "PartNumber"]
    if not all(_PART_NUMBER.fullmatch(text.strip()) for text in texts):
        return
    numbers = [int(text) for text in texts]
    if any(second <= first for first, second in pairwise(numbers)):
        raise InvalidPartOrder
