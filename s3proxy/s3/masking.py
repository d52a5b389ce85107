"""
Request text without what is a credential for a while: signatures, session tokens, encryption keys.
"""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

MASK = b"-masked-"

_MAX_ESCAPES = 4
"""
How many times over an escape of an escape is undone to find a name: a URL within a URL within a Referer takes three.
"""

_NAME = re.compile(rb"(?:signature|security-?token|s3session-token|customer-key)\Z", re.IGNORECASE)
_PAIR = re.compile(rb"(?:signature|security-?token|s3session-token|customer-key)\s*[=:]", re.IGNORECASE)
_HINT = re.compile(rb"signature|token|customer-key", re.IGNORECASE)
# Shorter items hold no credential: "signature:" alone has 10 bytes. A text of thousands of one-byte items would cost a
# call for each of them.
_ITEM = re.compile(rb"""[^?&;,\s"'<>]{10,}+""")


def mask_credentials(text: bytes) -> bytes:
    """
    Replace the value of whatever in a text is a credential.

    Names are found in any case, escaped any number of times, and within a value which is itself a URL.

    Args:
        text: A request target, a Referer, or any other text which a client sent, as received.
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
