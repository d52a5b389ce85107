"""
Keys that XML 1.0 cannot hold: with control characters, or with bytes that are no UTF-8.

S3 takes such keys, and so do older backends. S3 lists a control character as a reference that parsers refuse, unless
the client asks for encoded names. Riak CS writes it as it is, and any byte of a key as well. One such key must not hide
the others of its bucket: while a listing is read and edited, a private character stands for each that XML forbids.

Source:
    "ListObjectsV2", encoding-type; basho/riak_cs, pull request 1255; "Extensible Markup Language 1.0", Char.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MAX_FORBIDDEN = 1 << 17
"""
Forbidden characters of a listing that is read. A thousand keys of nothing else but them have eight times as many.
"""

_CONTROLS = [code for code in range(0x20) if chr(code) not in "\t\n\r"]
# The bytes 80 to FF, as `surrogateescape` decodes them.
_BYTES = range(0xDC80, 0xDD00)
_NONCHARACTERS = {0xFFFE: 0x7E, 0xFFFF: 0x7F}
# Each forbidden character, with its place in a block of private ones.
_PLACES = {**{code: code & 0xFF for code in (*_CONTROLS, *_BYTES)}, **_NONCHARACTERS}
_NOTHING = dict.fromkeys(_PLACES)
_WRITTEN = {code: f"&#x{code:x};" for code in _CONTROLS}
_REFERENCE = re.compile(r"&#(?:([0-9]{1,8})|x([0-9A-Fa-f]{1,8}));")
_DECLARED_ENCODING = re.compile(rb"""<\?xml\s[^>]*encoding\s*=\s*["']([^"'>]*)["']""")
_BLOCK_SIZE = 0x100
# Of the last private plane. Neither names nor start tags have its characters.
_BLOCKS = range(0x100000, 0x10FF00, _BLOCK_SIZE)


@dataclass(frozen=True, slots=True)
class Hidden:
    """
    Characters that stand for others in a document.

    Attributes:
        block: The first of them.
    """

    block: int

    def text(self, text: str) -> str:
        """
        Put the characters back that are meant. A byte that is no UTF-8 is a surrogate: ``surrogateescape`` has it.
        """
        return text.translate({self.block + place: code for code, place in _PLACES.items()})

    def document(self, document: bytes) -> bytes:
        """
        Write an edited document as S3 does: a control character as a reference, and any other as it came.
        """
        meant = {self.block + place: _WRITTEN.get(code, code) for code, place in _PLACES.items()}
        return _encode(_decode(document).translate(meant))


def hide_forbidden(document: bytes) -> tuple[bytes, Hidden] | None:
    """
    Replace what XML forbids in a document; return None if there is nothing to replace, or no way to.

    Args:
        document: One that could not be read.
    """
    declared = _DECLARED_ENCODING.match(document.lstrip())
    if (declared is not None and declared[1].lower() not in {b"utf-8", b"utf8"}) or b"<![CDATA[" in document:
        return None
    text = _decode(document)
    # Each costs more memory than a byte.
    if document.count(b"&#") + len(text) - len(text.translate(_NOTHING)) > MAX_FORBIDDEN:
        return None
    used = {ord(character) & -_BLOCK_SIZE for character in set(text)}
    block = next((block for block in _BLOCKS if block not in used), None)
    if block is None:
        return None

    def hide(found: re.Match[str]) -> str:
        number = int(found[1]) if found[1] is not None else int(found[2], 16)
        # A reference to a surrogate is no byte.
        place = None if number in _BYTES else _PLACES.get(number)
        return found[0] if place is None else chr(block + place)

    hidden = _REFERENCE.sub(hide, text.translate({code: block + place for code, place in _PLACES.items()}))
    return None if hidden == text else (_encode(hidden), Hidden(block))


def write_name(name: bytes) -> bytes | None:
    """
    Write a name that XML cannot hold as S3 does; return None if it can.
    """
    text = _decode(name)
    if len(text.translate(_NOTHING)) == len(text):
        return None
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("\r", "&#13;")
    return _encode(text.translate(_WRITTEN))


def _decode(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
