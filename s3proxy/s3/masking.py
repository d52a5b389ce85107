"""
Masks the credentials in the text of a request: signatures, session tokens, encryption keys.
"""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

MASK = b"-masked-"

_MAX_ESCAPES = 4
"""
How many times a text is unescaped to find a name: a URL inside a URL inside a Referer needs three.
"""

_NAME = re.compile(rb"(?:signature|security-?token|s3session-token|customer-key)\Z", re.IGNORECASE)
_PAIR = re.compile(rb"(?:signature|security-?token|s3session-token|customer-key)\s*[=:]", re.IGNORECASE)
_HINT = re.compile(rb"signature|token|customer-key", re.IGNORECASE)
# Shorter items hold no credential: "signature:" alone has 10 bytes. Without the limit, a text of thousands of one-byte
# items would cost a call for each.
_ITEM = re.compile(rb"""[^?&;,\s"'<>]{10,}+""")


def mask_credentials(text: bytes) -> bytes:
    """
    Return a text with the values of all credentials replaced.

    Names are found in any case, escaped up to four times, and inside a value that is itself a URL.

    Args:
        text: A request target, a Referer, or any other text that a client sent, as received.
    """
    if _HINT.search(text) is None and (b"%" not in text or _HINT.search(_unescape(text)) is None):
        return text
    return _ITEM.sub(_mask_item, text)


def _mask_item(found: re.Match[bytes]) -> bytes:
    item = found[0]
    name, equals, value = item.partition(b"=")
    if equals and value and _NAME.search(_unescape(name)) is not None:
        return name + b"=" + MASK
    if _PAIR.search(_unescape(item)) is not None and (value or not equals):
        return name + b"=" + MASK if equals else MASK
    return item


def _unescape(text: bytes) -> bytes:
    for _ in range(_MAX_ESCAPES):
        if b"%" not in text:
            break
        text = unquote_to_bytes(text)
    return text
