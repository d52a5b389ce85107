"""
Presigned requests by Signature V4.
"""

from __future__ import annotations

import hashlib
from urllib.parse import quote, unquote

from tests.support.signer import Signer


def presigned(signer: Signer, method: str, path: str, query: str) -> str:
    """
    Return a presigned target whose signature covers a query.
    """
    plain = signer.presign(method, path)
    own = [item for item in plain.partition("?")[2].split("&") if not item.startswith("X-Amz-Signature=")]
    items = [item for item in query.split("&") if item] + own
    pairs = sorted(
        (quote(unquote(name, "latin-1"), safe="-_.~", encoding="latin-1"), quote(unquote(value), safe="-_.~"))
        for name, _, value in (item.partition("=") for item in items)
    )
    canonical = "\n".join(
        [
            method,
            path,
            "&".join(f"{name}={value}" for name, value in pairs),
            f"host:{signer.host}\n",
            "host",
            "UNSIGNED-PAYLOAD",
        ]
    )
    scope = signer._scope
    text = f"AWS4-HMAC-SHA256\n{signer._date}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    return f"{path}?{'&'.join(items)}&X-Amz-Signature={signer._sign(text)}"
