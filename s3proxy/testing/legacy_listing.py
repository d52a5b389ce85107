"""
Pages of a listing: S3's, and those of Walrus, which are made of what SQL and regular expressions do.
"""

from __future__ import annotations

import re

from s3proxy.testing.legacy_messages import Fault
from s3proxy.testing.legacy_objects import StoredObject
from s3proxy.testing.legacy_quirks import Quirks

MAX_INT = 2_147_483_647
"""
The largest 32-bit integer of Java.
"""

_SQL_ESCAPES = re.compile(r"\\(.?)|(%)|(_)|([^\\%_]+)", re.DOTALL)
_PLAIN_DELIMITER = re.compile(r"[^.$|()\[{^?*+\\]")

Entry = tuple[str, StoredObject | None]
"""
A key with its object, or a common prefix.
"""


def page(objects: list[StoredObject], prefix: str, delimiter: str, after: str, limit: int) -> tuple[list[Entry], bool]:
    """
    Return a page's entries and whether there are more.
    """
    entries: list[Entry] = []
    if not limit:
        return entries, False
    for stored in objects:
        if not stored.key.startswith(prefix):
            continue
        cut = stored.key.find(delimiter, len(prefix)) if delimiter else -1
        name = stored.key if cut < 0 else stored.key[: cut + len(delimiter)]
        is_listed = cut >= 0 and entries and entries[-1] == (name, None)
        if is_listed or (after and name.encode() <= after.encode()):
            continue
        if len(entries) == limit:
            return entries, True
        entries.append((name, stored if cut < 0 else None))
    return entries, False


def walrus_page(
    objects: list[StoredObject], prefix: str, delimiter: str, after: str, limit: int, quirks: Quirks
) -> tuple[list[Entry], bool]:
    """
    Return a page's entries and whether there are more, as Walrus finds them.

    Raises:
        Fault: The delimiter is no regular expression.
    """
    entries: list[Entry] = []
    if not limit or (quirks.overflows_max_keys and limit == MAX_INT):
        # One more than that is asked of the database: a negative number.
        return entries, False
    is_meant = _like(prefix) if quirks.like_prefixes else re.compile(re.escape(prefix))
    prefixes: set[str] = set()
    for stored in objects:
        key = stored.key
        if key.encode() <= after.encode() or is_meant.match(key) is None:
            continue
        common = _common_prefix(key, prefix, delimiter, quirks) if delimiter else None
        if common is not None and (common == after or common in prefixes):
            continue
        if len(entries) == limit:
            return entries, True
        if common is None:
            entries.append((key, stored))
        else:
            prefixes.add(common)
            entries.append((common, None))
    return entries, False


def _common_prefix(key: str, prefix: str, delimiter: str, quirks: Quirks) -> str | None:
    rest = key[len(prefix) :]
    parts = split_as_java(rest, delimiter if quirks.regex_delimiters else re.escape(delimiter))
    if len(parts) > 1 or (parts and rest == parts[0] + delimiter and not quirks.lists_folders_as_keys):
        return prefix + parts[0] + delimiter
    return None


def _like(prefix: str) -> re.Pattern[str]:
    """
    Return what SQL's LIKE finds which begins with a prefix.
    """
    parts = []
    for escaped, any_text, any_character, plain in _SQL_ESCAPES.findall(prefix + "%"):
        if any_text:
            parts.append(".*")
        elif any_character:
            parts.append(".")
        else:
            parts.append(re.escape(escaped or plain))
    return re.compile("".join(parts) + r"\Z", re.DOTALL)


def split_as_java(text: str, delimiter: str) -> list[str]:
    """
    Split a text as ``String.split`` of Java does: the delimiter is a regular expression, and empty parts at the end go.

    Raises:
        Fault: It is none.
    """
    if _PLAIN_DELIMITER.fullmatch(delimiter):
        parts = text.split(delimiter)
    else:
        try:
            if delimiter == "{":
                raise re.error("Illegal repetition")
            parts = re.split(delimiter, text)
        except re.error as error:
            raise Fault(f"PatternSyntaxException: {error}") from None
    while len(parts) > 1 and not parts[-1]:
        parts.pop()
    return [] if parts == [""] and text else parts
