"""
Makes the PUT request of a form, and the response that the browser gets.

Source:
    "POST Object".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import urlencode, urlsplit, urlunsplit

from s3proxy.postobject.form import Form, check_text
from s3proxy.s3.address import Address, escape_name
from s3proxy.s3.document import local_name, parse_document
from s3proxy.s3.error_xml import escape_text
from s3proxy.s3.errors import (
    BadRequest,
    InvalidArgument,
    InvalidTag,
    KeyTooLongError,
    MalformedXML,
    MaxPostPreDataLengthExceeded,
)
from s3proxy.s3.head import HeaderList, RequestHead, index_headers
from s3proxy.s3.limits import (
    MAX_KEY_SIZE,
    MAX_OBJECT_TAGS,
    MAX_POST_FIELDS_SIZE,
    MAX_TAG_KEY_LENGTH,
    MAX_TAG_VALUE_LENGTH,
)

DEFAULT_CONTENT_TYPE = b"binary/octet-stream"

_HEADERS = {
    b"acl": b"x-amz-acl",
    b"cache-control": b"Cache-Control",
    b"content-disposition": b"Content-Disposition",
    b"content-encoding": b"Content-Encoding",
    b"content-language": b"Content-Language",
    b"content-md5": b"Content-MD5",
    b"content-type": b"Content-Type",
    b"expires": b"Expires",
    b"x-amz-sdk-checksum-algorithm": b"x-amz-sdk-checksum-algorithm",
    b"x-amz-storage-class": b"x-amz-storage-class",
    b"x-amz-website-redirect-location": b"x-amz-website-redirect-location",
}
"""
Fields that become headers of the upload. Any other field is checked by the policy and not sent, above all a copy
source.
"""

_PREFIXES = (
    b"x-amz-checksum-",
    b"x-amz-grant-",
    b"x-amz-meta-",
    b"x-amz-object-lock-",
    b"x-amz-server-side-encryption",
)
# After the prefix only a token is allowed (RFC 9110, section 5.6.2): at a CR, a colon or a byte above 0x7F some backend
# ends the line, the name or the whole head. CGI-style backends read an underscore as a hyphen, so only metadata may
# have one.
_HEADER_NAME = re.compile(
    rb"x-amz-(?:meta-[!#$%&'*+\-.^_`|~0-9a-z]+"
    rb"|(?:checksum|grant|object-lock)-[!#$%&'*+\-.^`|~0-9a-z]+"
    rb"|server-side-encryption(?:-[!#$%&'*+\-.^`|~0-9a-z]+)?)"
)
_URL = re.compile(rb"[\x21-\x7e]+")
_DOTS = re.compile(rb"(?:^|/)\.{1,2}(?:/|\Z)")
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_FILENAME = b"${filename}"
_NEVER_EXPANDED = frozenset(
    {
        b"awsaccesskeyid",
        b"policy",
        b"signature",
        b"x-amz-algorithm",
        b"x-amz-credential",
        b"x-amz-date",
        b"x-amz-security-token",
        b"x-amz-signature",
    }
)
"""
Fields that say who signed the form. They are checked as received, before ``${filename}`` is replaced.
"""
_PASSED_HEADERS = frozenset(
    {
        b"access-control-request-headers",
        b"access-control-request-method",
        b"host",
        b"origin",
        b"referer",
        b"user-agent",
    }
)
"""
Headers of the form's own request that the upload keeps. The backend needs Origin to let the page read the response, and
its policies may depend on Referer.
"""


def form_key(form: Form) -> bytes:
    """
    Return the key that a form names, with the file's name instead of ``${filename}``.

    Raises:
        InvalidArgument: The key is missing, is not UTF-8, or has a segment ``.`` or ``..``.
        KeyTooLongError: The key has more than 1,024 bytes.
    """
    key = form.fields.get(b"key")
    if key is None:
        raise InvalidArgument.of_missing_field("key")
    name = _base_name(form.filename)
    # The size is computed first: each of a thousand variables could stand for a long name.
    size = len(key) + key.count(_FILENAME) * (len(name) - len(_FILENAME))
    if size > MAX_KEY_SIZE:
        raise KeyTooLongError(size, MAX_KEY_SIZE)
    key = key.replace(_FILENAME, name)
    if not key:
        raise InvalidArgument("User key must have a length greater than 0.", "key")
    check_text(key)
    if _DOTS.search(key) is not None:
        # A policy may allow a prefix. A backend that resolves dots would store the object outside it.
        raise InvalidArgument('The key of a form must not have a segment "." or "..".', "Key", key)
    return key


def form_fields(form: Form) -> dict[bytes, bytes]:
    """
    Return the fields of a form, with the file's name instead of ``${filename}`` in each of them.

    The policy is checked with these fields, because its conditions are about the values that are stored.

    Raises:
        S3Error: The key is not valid; see `form_key`.
        InvalidArgument: A field is not UTF-8.
        MaxPostPreDataLengthExceeded: With the file's name, the fields have more than 20 KB.

    Source:
        "POST Object", the field key; "POST Policy", Conditions.
    """
    fields = {**form.fields, b"key": form_key(form)}
    name = _base_name(form.filename)
    growth = len(name) - len(_FILENAME)
    counts = {
        field: count
        for field, value in fields.items()
        if field not in _NEVER_EXPANDED and field != b"key" and (count := value.count(_FILENAME))
    }
    if not counts:
        return fields
    # The size is computed first: each of two thousand variables could stand for a long name.
    size = sum(map(len, fields.values())) + growth * sum(counts.values())
    if size > MAX_POST_FIELDS_SIZE:
        raise MaxPostPreDataLengthExceeded(MAX_POST_FIELDS_SIZE)
    for field in counts:
        fields[field] = fields[field].replace(_FILENAME, name)
        check_text(fields[field])
    return fields


def _base_name(filename: bytes) -> bytes:
    # Old browsers send the whole path, on Windows with backslashes.
    return filename.replace(b"\\", b"/").rpartition(b"/")[2]


def upload_request(head: RequestHead, address: Address, form: Form) -> tuple[RequestHead, Address]:
    """
    Return the PUT request of a form, and its address.

    Args:
        head: Head of the form's own request. Its host, its connection and the origin of its page are used.
        address: Address of the form: the bucket.

    Raises:
        InvalidArgument: There is no key, or the name or value of a field is not valid in a header.
        KeyTooLongError: The key has more than 1,024 bytes.
        MalformedXML: The tags cannot be read.
        BadRequest: There are more than ten tags.
        InvalidTag: A tag is too long, has no key, or is repeated.
    """
    fields = form_fields(form)
    key = fields[b"key"]
    raw_key = escape_name(key)
    headers: HeaderList = [(name, value) for name, value in head.headers if name.lower() in _PASSED_HEADERS]
    if b"origin" in head.fields and b"access-control-request-method" not in head.fields:
        # Ceph looks for a CORS rule that allows this method, or else our PUT. The browser's method was POST.
        headers.append((b"Access-Control-Request-Method", head.method))
    for name, value in fields.items():
        header = _HEADERS.get(name)
        if header is None and name.startswith(_PREFIXES):
            if _HEADER_NAME.fullmatch(name) is None:
                raise InvalidArgument("A field's name cannot be a header's", name.decode("utf-8", "replace"), value)
            header = name
        if header is not None and value:
            if _CONTROL.search(value) is not None:
                raise InvalidArgument("The value of a field cannot contain control characters", name.decode(), value)
            headers.append((header, value.strip(b" \t")))
    if not fields.get(b"content-type"):
        headers.append((b"Content-Type", DEFAULT_CONTENT_TYPE))
    if b"tagging" in fields:
        headers.append((b"x-amz-tagging", _tags(fields[b"tagging"])))
    asked = replace(
        head,
        method=b"PUT",
        raw_target=b"/%s/%s" % (address.raw_bucket, raw_key),
        headers=headers,
        fields=index_headers(headers),
    )
    return asked, Address(address.bucket, key, address.raw_bucket, raw_key)


def form_response(
    fields: Mapping[bytes, bytes], address: Address, location: bytes, etag: bytes
) -> tuple[int, bytes, HeaderList, bytes]:
    """
    Return the response for a browser once its file is stored: status, reason, headers, document.

    Args:
        fields: From `form_fields`.
        address: Address of the object.
        location: URL of the object, under the address that the client uses.
        etag: As the backend sent it, quotation marks included.
    """
    headers: HeaderList = [(b"Location", location)]
    redirect = fields.get(b"success_action_redirect") or fields.get(b"redirect")
    if redirect:
        target = _redirect_target(redirect, address, etag)
        if target is not None:
            return 303, b"See Other", [(b"Location", target)], b""
    status = fields.get(b"success_action_status")
    if status == b"200":
        return 200, b"OK", headers, b""
    if status == b"201":
        elements = (("Location", location), ("Bucket", address.bucket), ("Key", address.key), ("ETag", etag))
        content = "".join(f"<{name}>{escape_text(text.decode('utf-8', 'replace'))}</{name}>" for name, text in elements)
        document = f'<?xml version="1.0" encoding="UTF-8"?>\n<PostResponse>{content}</PostResponse>'
        return 201, b"Created", [*headers, (b"Content-Type", b"application/xml")], document.encode()
    return 204, b"No Content", headers, b""


def _redirect_target(redirect: bytes, address: Address, etag: bytes) -> bytes | None:
    """
    Return a URL with bucket, key and ETag added to its query; None if it is not a URL.
    """
    if _URL.fullmatch(redirect) is None:
        return None
    try:
        url = urlsplit(redirect.decode("ascii"))
        _ = url.port
    except ValueError:
        return None
    if url.scheme not in {"http", "https"} or not url.netloc:
        return None
    stored = urlencode([("bucket", address.bucket), ("key", address.key), ("etag", etag)])
    query = f"{url.query}&{stored}" if url.query else stored
    return urlunsplit(url._replace(query=query)).encode()


def _tags(document: bytes) -> bytes:
    """
    Return the value of x-amz-tagging for a Tagging document.
    """
    root = parse_document(document)
    if local_name(root) != "Tagging" or [local_name(child) for child in root] != ["TagSet"]:
        raise MalformedXML
    if len(root[0]) > MAX_OBJECT_TAGS:
        raise BadRequest(f"Object tags cannot be greater than {MAX_OBJECT_TAGS}")
    tags: dict[str, str] = {}
    for element in root[0]:
        parts = {local_name(child): child.text or "" for child in element if not len(child)}
        if local_name(element) != "Tag" or len(element) != 2 or parts.keys() != {"Key", "Value"}:
            raise MalformedXML
        key, value = parts["Key"], parts["Value"]
        if not key or len(key) > MAX_TAG_KEY_LENGTH:
            raise InvalidTag("The TagKey you have provided is invalid")
        if len(value) > MAX_TAG_VALUE_LENGTH:
            raise InvalidTag("The TagValue you have provided is invalid")
        if key in tags:
            raise InvalidTag("Cannot provide multiple Tags with the same key")
        tags[key] = value
    return urlencode(tags).encode()
