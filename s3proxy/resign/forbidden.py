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

_FORBIDDEN = "\x00-\x08\x0b\x0c\x0e-\x1f\udc80-\udcff\ufffe\uffff"
_TO_HIDE = re.compile(rf"[{_FORBIDDEN}]|&#(?:([0-9]{{1,8}})|x([0-9A-Fa-f]{{1,8}}));")
_FORBIDDEN_CHARACTER = re.compile(f"[{_FORBIDDEN}]")
_DECLARED_ENCODING = re.compile(rb"""<\?xml\s[^>]*encoding\s*=\s*["']([^"'>]*)["']""")
# Blocks of 256 characters in the last private plane; names do not have them, and neither has a start tag.
_BLOCKS = range(0x100000, 0x10FF00, 0x100)
_BLOCK_SIZE = 0x100
_NONCHARACTERS = {"\ufffe": 0x7E, "\uffff": 0x7F}
_HIDDEN_NONCHARACTERS = {number: character for character, number in _NONCHARACTERS.items()}


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
        return self._pattern.sub(lambda found: self._meant(found[0]), text)

    def document(self, document: bytes) -> bytes:
        """
        Write an edited document as S3 does: a control character as a reference, and any other as it came.
        """
        text = _decode(document)
        return _encode(self._pattern.sub(lambda found: _written(self._meant(found[0])), text))

    @property
    def _pattern(self) -> re.Pattern[str]:
        return re.compile(f"[{chr(self.block)}-{chr(self.block + _BLOCK_SIZE - 1)}]")

    def _meant(self, character: str) -> str:
        number = ord(character) - self.block
        return _HIDDEN_NONCHARACTERS.get(number) or chr(number if number < 0x80 else 0xDC00 + number)


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
    used = {ord(character) & ~(_BLOCK_SIZE - 1) for character in set(text)}
    block = next((block for block in _BLOCKS if block not in used), None)
    if block is None:
        return None

    def hide(found: re.Match[str]) -> str:
        character = found[0]
        if character[0] == "&":
            number = int(found[1]) if found[1] is not None else int(found[2], 16)
            # A reference to a surrogate is no byte.
            if number > 0xFFFF or 0xD800 <= number < 0xE000 or _FORBIDDEN_CHARACTER.match(chr(number)) is None:
                return character
            character = chr(number)
        return chr(block + _NONCHARACTERS.get(character, ord(character) & 0xFF))

    hidden = _TO_HIDE.sub(hide, text)
    return None if hidden == text else (_encode(hidden), Hidden(block))


def write_name(name: bytes) -> bytes | None:
    """
    Write a name that XML cannot hold as S3 does; return None if it can.
    """
    text = _decode(name)
    if _FORBIDDEN_CHARACTER.search(text) is None:
        return None
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("\r", "&#13;")
    return _encode(_FORBIDDEN_CHARACTER.sub(lambda found: _written(found[0]), text))


def _written(character: str) -> str:
    return f"&#x{ord(character):x};" if character < " " else character


def _decode(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
