"""
The pages of a listing, and the numbers in a query that limit them.

There are two kinds of pages: those of S3, and those of Walrus. Walrus uses the prefix as a pattern of SQL, and the
delimiter as a regular expression.
"""

from __future__ import annotations

import re

from s3proxy.testing.legacy_messages import Fault, Refusal
from s3proxy.testing.legacy_objects import StoredObject
from s3proxy.testing.legacy_quirks import Quirks

MAX_INT = 2_147_483_647
"""
The largest 32-bit integer of Java.
"""

MAX_LISTED = 1000
"""
The maximum number of entries on one page of a listing.
"""

_NUMBER = re.compile("[0-9]{1,9}")
_JAVA_INT = re.compile(r"[+-]?[0-9]{1,10}")
_SQL_ESCAPES = re.compile(r"\\(.?)|(%)|(_)|([^\\%_]+)", re.DOTALL)
_PLAIN_DELIMITER = re.compile(r"[^.$|()\[{^?*+\\]")

Entry = tuple[str, StoredObject | None]
"""
A key with its object or upload, or a common prefix.
"""


def page(objects: list[StoredObject], prefix: str, delimiter: str, after: str, limit: int) -> tuple[list[Entry], bool]:
    """
    Return the entries of a page, and whether more follow.

    Args:
        after: The key or common prefix after which the page begins; empty for the first page.
        limit: The maximum number of entries.
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
    Return the entries of a page, and whether more follow, by the rules of Walrus.

    Args:
        after: The key or common prefix after which the page begins; empty for the first page.
        limit: The maximum number of entries.

    Raises:
        Fault: The delimiter is not a regular expression, or a key that was found is shorter than the prefix.
    """
    entries: list[Entry] = []
    if not limit or (quirks.overflows_max_keys and limit == MAX_INT):
        # Walrus queries one entry more than the limit. Here that number overflows, and is negative.
        return entries, False
    is_meant = prefix_pattern(prefix, quirks)
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


def upload_page(
    uploads: list[StoredObject], prefix: str, delimiter: str, after: tuple[str, str], limit: int, quirks: Quirks
) -> tuple[list[Entry], bool]:
    """
    Return the entries of a page of uploads, and whether more follow.

    Args:
        after: The key and the upload id after which the page begins. Both are empty for the first page. If only the id
            is empty, the page begins after all uploads of the key.
        limit: The maximum number of entries.

    Raises:
        Fault: The delimiter is not a regular expression, or a key that was found is shorter than the prefix.
    """
    entries: list[Entry] = []
    is_meant = prefix_pattern(prefix, quirks)
    key_marker, id_marker = after[0].encode(), after[1]
    prefixes: set[str] = set()
    for upload in uploads:
        key = upload.key.encode()
        is_listed = key < key_marker or (key == key_marker and (not id_marker or upload.upload_id <= id_marker))
        if (key_marker and is_listed) or is_meant.match(upload.key) is None:
            continue
        common = _common_prefix(upload.key, prefix, delimiter, quirks) if delimiter else None
        if common is not None and (common == after[0] or common in prefixes):
            continue
        if len(entries) == limit:
            return entries, limit > 0 or quirks.truncates_empty_pages
        if common is None:
            entries.append((upload.key, upload))
        else:
            prefixes.add(common)
            entries.append((common, None))
    return entries, False


def _common_prefix(key: str, prefix: str, delimiter: str, quirks: Quirks) -> str | None:
    if len(key) < len(prefix) and quirks.faults_on_short_keys:
        raise Fault(f"String index out of range: {len(key) - len(prefix)}")
    rest = key[len(prefix) :]
    pattern = delimiter if quirks.regex_delimiters else re.escape(delimiter)
    parts = split_as_java(rest, pattern, is_whole=quirks.lists_folders_as_keys)
    return prefix + parts[0] + delimiter if len(parts) > 1 else None


def prefix_pattern(prefix: str, quirks: Quirks) -> re.Pattern[str]:
    """
    Return the pattern that matches, at its beginning, each key that begins with a prefix.
    """
    return _like(prefix) if quirks.like_prefixes else re.compile(re.escape(prefix))


def _like(prefix: str) -> re.Pattern[str]:
    """
    Return a pattern that matches what LIKE of SQL finds for a prefix.
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


def split_as_java(text: str, delimiter: str, *, is_whole: bool) -> list[str]:
    """
    Split a text as ``String.split`` of Java does: the delimiter is a regular expression, and empty parts at the end are
    dropped.

    Args:
        is_whole: False to split only once, as with a limit of 2 in Java. Empty parts are kept then.

    Raises:
        Fault: The delimiter is not a regular expression.
    """
    if _PLAIN_DELIMITER.fullmatch(delimiter):
        parts = text.split(delimiter, -1 if is_whole else 1)
    else:
        try:
            if delimiter == "{":
                raise re.error("Illegal repetition")
            parts = re.split(delimiter, text, maxsplit=0 if is_whole else 1)
        except re.error as error:
            raise Fault(f"PatternSyntaxException: {error}") from None
    if not is_whole:
        return parts
    while len(parts) > 1 and not parts[-1]:
        parts.pop()
    return [] if parts == [""] and text else parts


def parse_page_size(text: str, quirks: Quirks) -> int:
    """
    Parse ``max-keys``. An empty text gives the default.

    Raises:
        Refusal: InvalidArgument.
        Fault: The text is not a number, and the store has no error for that.
    """
    if not quirks.overflows_max_keys:
        return min(parse_number(text or str(MAX_LISTED), "max-keys"), MAX_LISTED)
    if not text:
        return MAX_LISTED
    if not _JAVA_INT.fullmatch(text) or not -MAX_INT <= int(text) <= MAX_INT:
        raise Fault(f'For input string: "{text}"')
    if int(text) < 0:
        raise Refusal(400, "InvalidArgument", "Argument max-keys must be an integer between 0 and 2147483647")
    return int(text)


def parse_number(text: str, name: str) -> int:
    """
    Parse a number of at most nine digits.

    Args:
        name: The name of the parameter or element, for the error.

    Raises:
        Refusal: InvalidArgument.
    """
    if not _NUMBER.fullmatch(text):
        raise Refusal(400, "InvalidArgument", f"{name} is not a number")
    return int(text)


def parse_java_int(text: str, name: str) -> int:
    """
    Parse a number as ``Integer.parseInt`` of Java does.

    Args:
        name: The name of the parameter, for the error.

    Raises:
        Refusal: InvalidArgument.
    """
    if not _JAVA_INT.fullmatch(text) or not -MAX_INT <= int(text) <= MAX_INT:
        raise Refusal(400, "InvalidArgument", f"{name} is not a number")
    return int(text)
