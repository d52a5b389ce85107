"""
Requests of DeleteObjects.
"""

from __future__ import annotations

import base64
import hashlib

from s3proxy.s3.error_xml import escape_text
from tests.support.signer import Signer


def document(*keys: str, is_quiet: bool = False) -> bytes:
    """
    Return the document of DeleteObjects.
    """
    objects = "".join(f"<Object><Key>{escape_text(key)}</Key></Object>" for key in keys)
    return f"<Delete>{'<Quiet>true</Quiet>' if is_quiet else ''}{objects}</Delete>".encode()


def request(body: bytes, target: str = "/b?delete", signer: Signer | None = None, **changed: str) -> bytes:
    """
    Return a signed DeleteObjects.

    Args:
        changed: Signed headers by their names with underscores; ``payload`` for the hash of the body.
    """
    md5 = base64.b64encode(hashlib.md5(body).digest()).decode()
    payload = changed.pop("payload", hashlib.sha256(body).hexdigest())
    headers = {"content-md5": md5, "content-type": "application/xml"}
    headers |= {name.replace("_", "-"): value for name, value in changed.items()}
    headers = {name: value for name, value in headers.items() if value}
    unsigned = {"Content-Length": str(len(body))}
    return (signer or Signer()).head("POST", target, headers, payload=payload, unsigned=unsigned)[0] + body
