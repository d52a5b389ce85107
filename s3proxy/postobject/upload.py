"""
What a form asks for, as a request of its own, and the answer which its browser gets.

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
Fields which are headers of the upload. Any other is judged by the policy and goes nowhere: above all no copy source.
"""

_PREFIXES = (
    b"x-amz-checksum-",
    b"x-amz-grant-",
    b"x-amz-meta-",
    b"x-amz-object-lock-",
    b"x-amz-server-side-encryption",
)
# What follows a prefix is a token (RFC 9110, section 5.6.2): a CR, a colon or a byte above 0x7F ends the line, the name
# or the whole head for some backend. An underscore is a hyphen to backends behind CGI, so that only metadata has it.
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
Fields which say who signed the form. They are judged as they came, before the name of a file matters.
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
Headers of a form's own request that its upload keeps. By Origin the backend tells the browser whether the page may read
the response; its policies may look at Referer.
"""


def form_key(form: Form) -> bytes:
    """
    Return the key which a form names, the file's own name in the place of ``${filename}``.

    Raises:
        InvalidArgument: There is none, or it is not UTF-8, or a segment of it is ``.`` or ``..``.
        KeyTooLongError: It has more than 1,024 bytes.
    """
    key = form.fields.get(b"key")
    if key is None:
        raise InvalidArgument.of_missing_field("key")
    name = _base_name(form.filename)
    # Counted before it is built: each of a thousand variables could stand for a long name.
    size = len(key) + key.count(_FILENAME) * (len(name) - len(_FILENAME))
    if size > MAX_KEY_SIZE:
        raise KeyTooLongError(size, MAX_KEY_SIZE)
    key = key.replace(_FILENAME, name)
    if not key:
        raise InvalidArgument("User key must have a length greater than 0.", "key")
    check_text(key)
    if _DOTS.search(key) is not None:
        # A policy allows a prefix; a backend that resolves dots would store outside of it.
        raise InvalidArgument('The key of a form must not have a segment "." or "..".', "Key", key)
    return key


def form_fields(form: Form) -> dict[bytes, bytes]:
    """
    Return the fields of a form, the file's own name in the place of ``${filename}`` in each of them.

    A policy is judged by these. Its conditions speak of the values that are stored.

    Raises:
        S3Error: The key is none; see `form_key`.
        InvalidArgument: A field is not UTF-8.
        MaxPostPreDataLengthExceeded: With the name in their place the fields have more than 20 KB.

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
    # Counted before they are built: each of two thousand variables could stand for a long name.
    size = sum(map(len, fields.values())) + growth * sum(counts.values())
    if size > MAX_POST_FIELDS_SIZE:
        raise MaxPostPreDataLengthExceeded(MAX_POST_FIELDS_SIZE)
    for field in counts:
        fields[field] = fields[field].replace(_FILENAME, name)
        check_text(fields[field])
    return fields


def _base_name(filename: bytes) -> bytes:
    # Old browsers send the whole path, Windows' with backslashes.
    return filename.replace(b"\\", b"/").rpartition(b"/")[2]


def upload_request(head: RequestHead, address: Address, form: Form) -> tuple[RequestHead, Address]:
    """
    Return the PUT which a form asks for, and its address.

    Args:
        head: Of the form's own request: its host and connection matter, and where its page came from.
        address: Of the form: the bucket.

    Raises:
        InvalidArgument: There is no key, or a field's name or value cannot be a header's.
        KeyTooLongError: The key has more than 1,024 bytes.
        MalformedXML: The tags cannot be read.
        BadRequest: There are more than ten tags.
        InvalidTag: A tag is too long, has no key, or came twice.
    """
    fields = form_fields(form)
    key = fields[b"key"]
    raw_key = escape_name(key)
    headers: HeaderList = [(name, value) for name, value in head.headers if name.lower() in _PASSED_HEADERS]
    if b"origin" in head.fields and b"access-control-request-method" not in head.fields:
        # Ceph looks for a rule that allows this method, or of our PUT without it; the browser's was POST.
        headers.append((b"Access-Control-Request-Method", head.method))
    for name, value in fields.items():
        header = _HEADERS.get(name)
        if header is None and name.startswith(_PREFIXES):
            if _HEADER_NAME.fullmatch(name) is None:
                raise InvalidArgument("A field's name cannot be a header's", name.decode("utf-8", "replace"), value)
            header = name
        if header is not None and value:
            if _CONTROL.search(value) is not None:
                raise InvalidArgument("A field's value may hold no control characters", name.decode(), value)
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


def form_answer(
    fields: Mapping[bytes, bytes], address: Address, location: bytes, etag: bytes
) -> tuple[int, bytes, HeaderList, bytes]:
    """
    Return what a browser gets once its file is stored: status, reason, headers, document.

    Args:
        fields: The form's, as `form_fields` returned them.
        address: Of the object.
        location: URL of the object, as the client addresses us.
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
    Return the URL with what was stored added to its query; None where it is no URL.
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
