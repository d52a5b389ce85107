"""
Hides and restores characters of keys that XML 1.0 forbids: control characters, and bytes that are not UTF-8.

S3 accepts such keys, and so do older backends. S3 lists a control character as a reference that parsers refuse, unless
the client asks for encoded names. Riak CS writes it, and any byte of a key, as it is. One such key must not hide the
others of its bucket, so while a listing is read and edited, a private character stands for each forbidden one.

Source:
    "ListObjectsV2", encoding-type; basho/riak_cs, pull request 1255; "Extensible Markup Language 1.0", Char.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MAX_FORBIDDEN = 1 << 17
"""
Most forbidden characters in a listing that is read. A thousand keys of only such characters have eight times as many.
"""

_CONTROLS = [code for code in range(0x20) if chr(code) not in "\t\n\r"]
# The bytes 80 to FF, as ``surrogateescape`` decodes them.
_BYTES = range(0xDC80, 0xDD00)
_NONCHARACTERS = {0xFFFE: 0x7E, 0xFFFF: 0x7F}
# Each forbidden character, with its place in a block of private characters.
_PLACES = {**{code: code & 0xFF for code in (*_CONTROLS, *_BYTES)}, **_NONCHARACTERS}
_NOTHING = dict.fromkeys(_PLACES)
_WRITTEN = {code: f"&#x{code:x};" for code in _CONTROLS}
_REFERENCE = re.compile(r"&#(?:([0-9]{1,8})|x([0-9A-Fa-f]{1,8}));")
_DECLARED_ENCODING = re.compile(rb"""<\?xml\s[^>]*encoding\s*=\s*["']([^"'>]*)["']""")
_BLOCK_SIZE = 0x100
# In the last private plane. Names and start tags cannot contain its characters.
_BLOCKS = range(0x100000, 0x10FF00, _BLOCK_SIZE)


@dataclass(frozen=True, slots=True)
class Hidden:
    """
    The private characters that stand for forbidden ones in a document.

    Attributes:
        block: The first private character.
    """

    block: int

    def text(self, text: str) -> str:
        """
        Return a text with the original characters. A byte that is not UTF-8 is a surrogate, as with
        ``surrogateescape``.
        """
        return text.translate({self.block + place: code for code, place in _PLACES.items()})

    def document(self, document: bytes) -> bytes:
        """
        Return an edited document as S3 writes it: control characters as references, other characters as they came.
        """
        meant = {self.block + place: _WRITTEN.get(code, code) for code, place in _PLACES.items()}
        return _encode(_decode(document).translate(meant))


def hide_forbidden(document: bytes) -> tuple[bytes, Hidden] | None:
    """
    Return a document with its forbidden characters replaced; None if there are none, or they cannot be replaced.

    Args:
        document: A document that could not be read.
    """
    declared = _DECLARED_ENCODING.match(document.lstrip())
    if (declared is not None and declared[1].lower() not in {b"utf-8", b"utf8"}) or b"<![CDATA[" in document:
        return None
    text = _decode(document)
    # Each of them costs more memory than a byte.
    if document.count(b"&#") + len(text) - len(text.translate(_NOTHING)) > MAX_FORBIDDEN:
        return None
    used = {ord(character) & -_BLOCK_SIZE for character in set(text)}
    block = next((block for block in _BLOCKS if block not in used), None)
    if block is None:
        return None

    def hide(found: re.Match[str]) -> str:
        number = int(found[1]) if found[1] is not None else int(found[2], 16)
        # A reference to a surrogate does not stand for a byte.
        place = None if number in _BYTES else _PLACES.get(number)
        return found[0] if place is None else chr(block + place)

    hidden = _REFERENCE.sub(hide, text.translate({code: block + place for code, place in _PLACES.items()}))
    return None if hidden == text else (_encode(hidden), Hidden(block))


def write_name(name: bytes) -> bytes | None:
    """
    Return a name as S3 writes it if XML cannot hold it; None if XML can.
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
