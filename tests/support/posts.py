"""
Browsers' forms over real sockets.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.forms import form_request, multipart, v2_fields, v4_fields
from tests.support.signer import SignedRequest

SMALL = b"hello world"
ANY_KEY = ["starts-with", "$key", ""]


def upload(file: bytes, *conditions: Any, after: Any = (), filename: str = "file.txt", **fields: str) -> SignedRequest:
    """
    Return a form with a policy that covers its fields.
    """
    fields = {"key": "user/${filename}", **fields}
    covered = [*conditions, ANY_KEY, *([["starts-with", f"${name}", ""] for name in fields if name != "key"])]
    return form_request(multipart(v4_fields(covered, **fields), file, filename=filename, after=after))


def fields_of(kind: str, covered: list[Any], **fields: str) -> list[tuple[str, str]]:
    """
    Return a form's fields, signed or not.
    """
    if kind == "anonymous":
        return list(fields.items())
    return (v4_fields if kind == "v4" else v2_fields)([*covered, ANY_KEY], **fields)


KINDS = pytest.mark.parametrize("kind", ["v4", "v2", "anonymous"])
