"""
Every algorithm gives the published values, and a value which is none is refused.
"""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from s3proxy.awschunked.checksums import ALGORITHMS, parse_body_digests
from s3proxy.s3.errors import BadDigest, InvalidDigest, InvalidRequest, XAmzContentSHA256Mismatch
from s3proxy.s3.head import index_headers
from tests.harness import VECTORS, material

DATA = json.loads((VECTORS / "vectors" / "checksums.json").read_text())


@pytest.mark.parametrize("vector", DATA["vectors"], ids=lambda vector: vector["name"])
@pytest.mark.parametrize("name", sorted(ALGORITHMS))
def test_values(vector: dict[str, Any], name: bytes) -> None:
    """
    In one piece and in many, as bytes and as views.
    """
    body = material(vector["payload"])
    whole, pieces = ALGORITHMS[name].begin(), ALGORITHMS[name].begin()

    whole.update(body)
    for start in range(0, len(body), 1021):
        pieces.update(memoryview(body)[start : start + 1021])

    wanted = vector["values"][name.decode()]
    assert base64.b64encode(whole.digest()).decode() == wanted
    assert base64.b64encode(pieces.digest()).decode() == wanted
    assert len(whole.digest()) == ALGORITHMS[name].length


@pytest.mark.parametrize("case", DATA["invalid_values"] + DATA["invalid_content_md5"], ids=lambda case: case["why"])
def test_what_is_no_digest(case: dict[str, Any]) -> None:
    """
    It is refused before a body is read.
    """
    fields = index_headers([(case["header"].lower().encode(), case["value"].encode())])

    with pytest.raises((InvalidRequest, InvalidDigest)) as raised:
        parse_body_digests(fields)

    assert raised.value.code == case["code"]
    assert raised.value.message == case["message"]


def test_a_digest_of_another_body() -> None:
    """
    Each kind has its own error.
    """
    for fields, claimed, error in (
        ([(b"content-md5", base64.b64encode(b"0" * 16))], None, BadDigest),
        ([(b"x-amz-checksum-crc32", b"AAAAAA==")], None, BadDigest),
        ([], b"0" * 64, XAmzContentSHA256Mismatch),
    ):
        digests = parse_body_digests(index_headers(fields), claimed_sha256=claimed)
        digests.update(b"hello")
        with pytest.raises(error):
            digests.check([])
