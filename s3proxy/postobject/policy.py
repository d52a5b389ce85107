"""
The policy of a form: the values that its fields may have, and how large its file may be.

Source:
    "Browser-Based Uploads Using POST: POST Policy", and its section "Character Escaping".
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from s3proxy.s3.date import parse_basic_iso
from s3proxy.s3.errors import AccessDenied, InvalidPolicyDocument

_EXPIRATION = re.compile(r"(\d{4})-(\d{2})-(\d{2})T(\d{2}):(\d{2}):(\d{2})(?:\.\d{1,9})?Z", re.ASCII)
_NUMBER = re.compile(r"\d{1,19}", re.ASCII)
_NOT_COVERED = frozenset({b"policy", b"x-amz-signature", b"signature", b"awsaccesskeyid", b"file"})
_IGNORED = b"x-ignore-"
_INVALID_JSON = "Invalid JSON."
# S3 adds two escapes to those of JSON. A pair is matched as one, so that an escaped backslash does not begin another.
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_OWN_ESCAPES = {"$": "$", "v": "\\u000b"}


@dataclass(frozen=True, slots=True)
class Condition:
    """
    A condition on the value of one field.

    Attributes:
        name: Name of the field, lower case.
        is_prefix: Whether the field must only begin with the value.
        text: The condition as S3 repeats it in an error.
        is_meant: Whether the name was written as a field's, with ``$``. If not, the condition never holds.
    """

    name: bytes
    value: bytes
    is_prefix: bool
    text: str
    is_meant: bool = True

    def holds(self, fields: Mapping[bytes, bytes], shared_type: bytes) -> bool:
        """
        Return True if the fields meet the condition.

        Args:
            shared_type: The common prefix of all items in the Content-Type field.
        """
        found = fields.get(self.name)
        if found is None or not self.is_meant:
            return False
        if not self.is_prefix:
            return found == self.value
        if self.name == b"content-type":
            return shared_type.startswith(self.value)
        return found.startswith(self.value)


@dataclass(frozen=True, slots=True)
class SizeRange:
    """
    The allowed size of a file, in bytes; both ends are included.
    """

    least: int
    most: int


@dataclass(frozen=True, slots=True)
class Policy:
    """
    The policy of a form, as its signer wrote it.

    Attributes:
        size_ranges: The file's size must be in all of them.
    """

    expires_at: datetime
    conditions: tuple[Condition, ...]
    size_ranges: tuple[SizeRange, ...]

    def check(self, fields: Mapping[bytes, bytes], now: datetime) -> None:
        """
        Refuse a form whose fields the policy does not allow.

        Args:
            fields: Values by lower-case name, ``bucket`` included, with the file's name instead of its variable.
            now: Aware, UTC.

        Raises:
            AccessDenied: The policy has expired, a condition does not hold, or no condition covers a field.
        """
        if now > self.expires_at:
            raise AccessDenied("Invalid according to Policy: Policy expired.")
        # Computed once: 200 conditions on a list of 8,000 types would take a quarter of a second.
        shared_type = _shared_start(fields.get(b"content-type", b""))
        for condition in self.conditions:
            if not condition.holds(fields, shared_type):
                raise AccessDenied(f"Invalid according to Policy: Policy Condition failed: {condition.text}")
        covered = {condition.name for condition in self.conditions} | _NOT_COVERED
        extra = [name for name in fields if name not in covered and not name.startswith(_IGNORED)]
        if extra:
            names = b", ".join(extra).decode("utf-8", "replace")
            raise AccessDenied(f"Invalid according to Policy: Extra input fields: {names}")


def parse_policy(raw_policy: bytes) -> Policy:
    """
    Return a policy whose signature is already verified.

    Args:
        raw_policy: In base64, as sent.

    Raises:
        InvalidPolicyDocument: It is not a valid policy.
    """
    try:
        text = base64.b64decode(raw_policy.translate(None, b" \t\r\n"), validate=True).decode()
    except binascii.Error:
        raise InvalidPolicyDocument("invalid Base64 encoding.") from None
    except UnicodeDecodeError:
        raise InvalidPolicyDocument(_INVALID_JSON) from None
    if not text.strip():
        raise InvalidPolicyDocument("Expecting '{' but found End-of-Input")
    if "\\$" in text or "\\v" in text:
        text = _ESCAPE.sub(lambda pair: _OWN_ESCAPES.get(pair[1], pair[0]), text)
    try:
        document = json.loads(text, object_pairs_hook=_read_object, parse_constant=_refuse_constant)
        if "\\u" in text:
            # An escape may be half of a surrogate pair. That is not text, so a field cannot have it.
            json.dumps(document, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        raise InvalidPolicyDocument(_INVALID_JSON) from None
    if not isinstance(document, dict):
        raise InvalidPolicyDocument(_INVALID_JSON)
    return _read_document(document)


def _read_document(document: dict[str, Any]) -> Policy:
    for name in document:
        if name not in {"expiration", "conditions"}:
            raise InvalidPolicyDocument(f"Unexpected: '{name}'")
    if "expiration" not in document:
        raise InvalidPolicyDocument("Policy missing expiration.")
    expires_at = _read_expiration(document["expiration"])
    if "conditions" not in document:
        raise InvalidPolicyDocument("Policy missing conditions.")
    if not isinstance(document["conditions"], list):
        raise InvalidPolicyDocument("Invalid 'conditions' value: must be a List.")
    conditions: list[Condition] = []
    size_ranges: list[SizeRange] = []
    for item in document["conditions"]:
        if isinstance(item, dict):
            conditions.append(_read_simple(item))
        elif not isinstance(item, list):
            raise InvalidPolicyDocument("Invalid condition test: must be a List or Object.")
        elif item and item[0] == "content-length-range":
            size_ranges.append(_read_size_range(item))
        else:
            conditions.append(_read_condition(item))
    return Policy(expires_at, tuple(conditions), tuple(size_ranges))


def _read_expiration(value: object) -> datetime:
    if not isinstance(value, str):
        raise InvalidPolicyDocument(_INVALID_JSON)
    found = _EXPIRATION.fullmatch(value)
    # Fractions of a second are dropped.
    expires_at = parse_basic_iso("{}{}{}T{}{}{}Z".format(*found.groups()).encode()) if found is not None else None
    if expires_at is None:
        raise InvalidPolicyDocument(f"Invalid 'expiration' value: '{value}'")
    return expires_at


def _read_simple(item: dict[str, Any]) -> Condition:
    if len(item) != 1:
        raise InvalidPolicyDocument(
            "Invalid Simple-Condition: Simple-Conditions must have exactly one property specified."
        )
    ((name, value),) = item.items()
    if not isinstance(value, str):
        raise InvalidPolicyDocument("Invalid Simple-Condition: value must be a string.")
    return Condition(name.encode().lower(), value.encode(), False, _text("eq", f"${name}", value))


def _read_condition(item: list[Any]) -> Condition:
    if not item:
        raise InvalidPolicyDocument("Invalid Condition: missing operation identifier.")
    if not isinstance(item[0], str):
        raise InvalidPolicyDocument(_INVALID_JSON)
    operation = item[0].lower()
    if operation not in {"eq", "starts-with"}:
        raise InvalidPolicyDocument(f"Invalid Condition: unknown operation '{item[0]}'.")
    if len(item) != 3:
        raise InvalidPolicyDocument(f"Invalid {operation}: wrong number of arguments.")
    _, name, value = item
    if not isinstance(name, str) or not isinstance(value, str):
        raise InvalidPolicyDocument(_INVALID_JSON)
    return Condition(
        name.removeprefix("$").encode().lower(),
        value.encode(),
        operation == "starts-with",
        _text(operation, name, value),
        name.startswith("$"),
    )


def _read_size_range(item: list[Any]) -> SizeRange:
    if len(item) != 3:
        raise InvalidPolicyDocument("Invalid content-length-range: wrong number of arguments.")
    least, most = (_read_size(value) for value in item[1:])
    return SizeRange(least, most)


def _read_size(value: object) -> int:
    # In Python, unlike JSON, true is a number.
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(text, str) or _NUMBER.fullmatch(text) is None:
        raise InvalidPolicyDocument(_INVALID_JSON)
    return int(text)


def _text(operation: str, name: str, value: str) -> str:
    return json.dumps([operation, name, value], ensure_ascii=False)


def _shared_start(types: bytes) -> bytes:
    """
    Return the common prefix of all items in a list.
    """
    items = [item.strip(b" \t") for item in types.split(b",")]
    # A prefix that the first and the last item in sorted order share is shared by all.
    first, last = min(items), max(items)
    size = 0
    for one, other in zip(first, last, strict=False):
        if one != other:
            break
        size += 1
    return first[:size]


def _read_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    # One reader could use the first value, another the last.
    if len(found) != len(pairs):
        raise ValueError("duplicate name")
    return found


def _refuse_constant(name: str) -> None:
    # Python accepts NaN and Infinity, which JSON does not have.
    raise ValueError(f"{name} is not JSON")
