"""
What a copy's source names, and how it is forwarded.
"""

from __future__ import annotations

import pytest

from s3proxy.s3.copy_source import CopySource, check_copy_source, parse_copy_source, sent_copy_source
from s3proxy.s3.errors import S3Error


@pytest.mark.parametrize(
    ("raw_source", "source", "sent"),
    [
        (b"/b/k", CopySource(b"b", b"k", None), b"/b/k"),
        (b"b/a+b", CopySource(b"b", b"a b", None), b"b/a%20b"),
        (b"/b/a%2Bb", CopySource(b"b", b"a+b", None), b"/b/a%2Bb"),
        (b"/b/a%2bb+c", CopySource(b"b", b"a+b c", None), b"/b/a%2bb%20c"),
        (b"/b/+", CopySource(b"b", b" ", None), b"/b/%20"),
        (b"%2Fb%2Fa+b", CopySource(b"b", b"a b", None), b"%2Fb%2Fa%20b"),
        (b"/b/a+b#c", CopySource(b"b", b"a b#c", None), b"/b/a%20b%23c"),
        (b"/b/k?versionId=a+b", CopySource(b"b", b"k", b"a+b"), b"/b/k?versionId=a+b"),
    ],
)
def test_a_plus_is_a_space(raw_source: bytes, source: CopySource, sent: bytes) -> None:
    """
    S3 reads it so, and so must each backend, which might read a plus there. A version is not part of a path.
    """
    assert parse_copy_source(raw_source) == source
    assert sent_copy_source(raw_source) == sent


@pytest.mark.parametrize("source", [b"/b/%ff", b"/b/a%E9", b"/b/\xff", b"/b/a%zz", b"/b/a%2"])
def test_a_source_is_text(source: bytes) -> None:
    """
    A key is UTF-8, and an escape has two digits.
    """
    with pytest.raises(S3Error):
        check_copy_source(source)
