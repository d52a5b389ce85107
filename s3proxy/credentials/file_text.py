"""
The text of a keys file in which one key changes, and every other byte stays.

The strategy: the text is cut at its ``[[key]]`` lines, and only the table of one key is taken apart. Only the options
that change are written anew, so comments, order and format survive, also within that table. The new text is read again
and compared with what was meant: a file that is laid out in a way that this module does not understand is refused.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import tomlkit
from tomlkit.exceptions import TOMLKitError

_HEADER = re.compile(r"""^[ \t]*\[\[[ \t]*(?:key|"key"|'key')[ \t]*\]\][ \t]*(?:#.*)?\r?$""", re.MULTILINE)


class _Piece(NamedTuple):
    """
    A piece of a table's text: an option, or comments and white space.

    Attributes:
        name: The name of the option; None if it is none.
        text: As it is in the file.
        key: tomlkit's key of the option.
        item: tomlkit's value of the option.
    """

    name: str | None
    text: str
    key: Any = None
    item: Any = None


class CannotEdit(Exception):
    """
    The file is laid out in a way that this module does not understand.
    """

    def __init__(self) -> None:
        super().__init__("edit this file by hand: a key in it is not a [[key]] line with the key's options below it")


def put_key(text: str, record: Mapping[str, Any]) -> str:
    """
    Return a text with a key: after all others, or in the place of the one with the same access key id.

    Raises:
        CannotEdit: The text is laid out differently.
    """
    tables = read_tables(text)
    index = _find(tables, record["access_key_id"])
    if index is None:
        return _checked(_appended(text, record), [*tables, record])
    if tables[index] == record:
        return text
    _, start, end = _place(text, tables, index)
    changed = _rewritten(text[start:end], tables[index], record)
    return _checked(text[:start] + changed + text[end:], [*tables[:index], record, *tables[index + 1 :]])


def remove_key(text: str, access_key_id: str) -> str:
    """
    Return a text without a key that it has. The comments above and below the key stay.

    Raises:
        CannotEdit: The text is laid out differently.
    """
    tables = read_tables(text)
    index = _find(tables, access_key_id)
    if index is None:
        raise KeyError(access_key_id)
    header, start, end = _place(text, tables, index)
    before, after = text[:header], _below(text[start:end]) + text[end:]
    # One of the blank lines around the key goes with it.
    if before == "" or _ends_blank(before):
        after = re.sub(r"\A[ \t]*\r?\n", "", after)
    if not after:
        before = re.sub(r"(?<=\n)[ \t]*\r?\n\Z", "", before)
    return _checked(before + after, [*tables[:index], *tables[index + 1 :]])


def read_tables(text: str) -> list[dict[str, Any]]:
    """
    Return the tables of a text that is a valid keys file.
    """
    tables: list[dict[str, Any]] = tomllib.loads(text).get("key", [])
    return tables


def _find(tables: Sequence[Mapping[str, Any]], access_key_id: str) -> int | None:
    return next((index for index, table in enumerate(tables) if table["access_key_id"] == access_key_id), None)


def _checked(text: str, wanted: Sequence[Mapping[str, Any]]) -> str:
    try:
        is_right = read_tables(text) == list(wanted)
    except tomllib.TOMLDecodeError:
        is_right = False
    if not is_right:
        raise CannotEdit
    return text


def _place(text: str, tables: Sequence[Mapping[str, Any]], index: int) -> tuple[int, int, int]:
    """
    Return where a key's header begins, where its options begin, and where the next key or the text's end is.
    """
    headers = list(_HEADER.finditer(text))
    if len(headers) != len(tables):
        # A line of a text in three quotation marks looks like a header, or the keys are in an array of inline tables.
        raise CannotEdit
    start = headers[index].end()
    end = headers[index + 1].start() if index + 1 < len(headers) else len(text)
    _checked(f"[[key]]{text[start:end]}", [tables[index]])
    return headers[index].start(), start, end


def _pieces(body: str) -> list[_Piece]:
    try:
        document = tomlkit.parse(body)
    except TOMLKitError:
        raise CannotEdit from None
    pieces = [
        _Piece(None, item.as_string())
        if key is None
        else _Piece(key.key, _written(key, item, item.as_string()), key, item)
        for key, item in document.body
    ]
    if "".join(piece.text for piece in pieces) != body:
        raise CannotEdit
    return pieces


def _written(key: Any, item: Any, value: str) -> str:
    trivia = item.trivia
    return f"{trivia.indent}{key.as_string()}{key.sep}{value}{trivia.comment_ws}{trivia.comment}{trivia.trail}"


def _rewritten(body: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """
    Return the text of a table in which the options that differ are replaced, left out or added after the last one.
    """
    pieces = _pieces(body)
    last = _last(pieces)
    parts: list[str] = []
    for index, (name, text, key, item) in enumerate(pieces):
        if name is None or (name in after and after[name] == before[name]):
            parts.append(text)
        elif name in after:
            parts.append(_written(key, item, tomlkit.item(after[name]).as_string()))
        if index == last:
            added = {each: value for each, value in after.items() if each not in before}
            parts += _lines(added, "".join(parts), _line_end(body))
    return "".join(parts)


def _last(pieces: list[_Piece]) -> int:
    return max(index for index, piece in enumerate(pieces) if piece.name is not None)


def _below(body: str) -> str:
    """
    Return what follows the last option of a table: comments and blank lines.
    """
    pieces = _pieces(body)
    return "".join(piece.text for piece in pieces[_last(pieces) + 1 :])


def _appended(text: str, record: Mapping[str, Any]) -> str:
    end = _line_end(text)
    lead = text if not text or text.endswith("\n") else text + end
    if lead and not _ends_blank(lead):
        lead += end
    return "".join([lead, f"[[key]]{end}", *_lines(record, "\n", end)])


def _lines(options: Mapping[str, Any], before: str, end: str) -> Iterator[str]:
    """
    Yield new lines for options that follow a text.
    """
    if options and not before.endswith("\n"):
        yield end
    for name, value in options.items():
        yield f"{name} = {tomlkit.item(value).as_string()}{end}"


def _line_end(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def _ends_blank(text: str) -> bool:
    return re.search(r"\n[ \t]*\r?\n\Z", text) is not None
