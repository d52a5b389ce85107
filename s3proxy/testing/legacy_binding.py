"""
Parse the target of a request as a `LegacyStore` does: bucket, key and query parameters.
"""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

from s3proxy.testing.legacy_messages import Fault, Refusal, Stage
from s3proxy.testing.legacy_quirks import Quirks

_SEVERAL_SLASHES = re.compile(b"/{2,}")
_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_KNOWN_PARAMETERS = {
    name.lower(): name
    for name in (
        "acl",
        "cors",
        "delimiter",
        "key-marker",
        "lifecycle",
        "location",
        "logging",
        "marker",
        "max-keys",
        "notification",
        "partNumber",
        "policy",
        "prefix",
        "requestPayment",
        "tagging",
        "torrent",
        "uploadId",
        "uploads",
        "version-id-marker",
        "versionId",
        "versioning",
        "versions",
        "website",
    )
}
_EMPTY_VALUE_FAULTS = frozenset(
    ["acl", "cors", "delete", "lifecycle", "location", "logging", "tagging", "uploads", "versioning", "versions"]
)


def parse_path(raw_path: bytes, quirks: Quirks) -> tuple[str, str]:
    """
    Return the bucket and the key, decoded. Both are empty for the service, and the key is empty for a bucket.

    Args:
        raw_path: As received, still percent-encoded.

    Raises:
        Refusal: The path is not below the service path, or is not UTF-8.
        Fault: The path has a malformed escape.
    """
    service_path = quirks.service_path
    if quirks.removes_service_paths:
        if not raw_path.startswith(service_path):
            raise Refusal(404, "NoSuchKey", "no pipeline accepts it", stage=Stage.SERVER)
        path = raw_path.replace(service_path, b"")
    else:
        if raw_path != service_path and not raw_path.startswith(service_path + b"/"):
            raise Refusal(404, "NoSuchKey", stage=Stage.SERVER)
        path = raw_path.removeprefix(service_path)
    if quirks.collapses_slashes:
        path = _SEVERAL_SLASHES.sub(b"/", path)
        # A path without a slash at its beginning has lost it together with a service path.
        path = b"/" + path.removeprefix(b"/").rstrip(b"/")
    elif quirks.drops_leading_slashes:
        path = b"/" + path.lstrip(b"/")
    raw_bucket, _, raw_key = path[1:].partition(b"/")
    if quirks.keeps_bucket_escapes:
        bucket = raw_bucket.decode("utf-8", "replace")
    else:
        bucket = decode_text(raw_bucket, quirks)
    return bucket, decode_text(raw_key, quirks)


def decode_text(raw: bytes, quirks: Quirks) -> str:
    """
    Decode a part of a path, or the source of a copy.

    Raises:
        Refusal: InvalidURI: the text is not UTF-8.
        Fault: The text has a malformed escape.
    """
    if quirks.faults_on_bad_escapes and _BAD_ESCAPE.search(raw):
        raise Fault("URLDecoder: Illegal hex characters in escape (%) pattern", stage=Stage.BINDING)
    if quirks.plus_is_space:
        raw = raw.replace(b"+", b" ")
    try:
        return unquote_to_bytes(raw).decode("utf-8", "replace" if quirks.replaces_bad_utf8 else "strict")
    except UnicodeDecodeError:
        raise Refusal(400, "InvalidURI", stage=Stage.BINDING) from None


def parse_query(raw_query: bytes, quirks: Quirks) -> dict[str, str]:
    """
    Return the parameters, decoded. If a name is repeated, the last value is returned.

    Raises:
        Refusal: InvalidURI: a name or a value is not UTF-8.
        Fault: The store knows the name of a parameter, and fails on it.
    """
    query: dict[str, str] = {}
    for item in raw_query.split(b"&"):
        if not item:
            continue
        raw_name, equals, raw_value = item.partition(b"=")
        if quirks.cuts_values and b"=" in raw_value:
            raw_value = b""
        name, value = _decode_form(raw_name, quirks), _decode_form(raw_value, quirks)
        if quirks.faults_on_empty_values and equals and not value and name in _EMPTY_VALUE_FAULTS:
            raise Fault(f"No such property: {name}", stage=Stage.BINDING)
        if quirks.own_parameters and name.lower() == "maxkeys":
            raise Fault("No such property: maxkeys", stage=Stage.BINDING)
        if quirks.folds_parameter_names:
            name = _KNOWN_PARAMETERS.get(name.lower(), name)
        query[name] = value
    return query


def _decode_form(raw: bytes, quirks: Quirks) -> str:
    errors = "replace" if quirks.replaces_bad_utf8 else "strict"
    try:
        return unquote_to_bytes(raw.replace(b"+", b" ")).decode("utf-8", errors)
    except UnicodeDecodeError:
        raise Refusal(400, "InvalidURI", stage=Stage.BINDING) from None
