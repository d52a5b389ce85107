"""
The parts of a canonical request of which the vectors have many cases.
"""

from __future__ import annotations

from s3proxy.s3.head import index_headers
from s3proxy.sigv4.canonical import canonical_headers, canonical_uri


def test_values_of_a_header_that_comes_twice() -> None:
    """
    They are joined by a comma, each without white space around it.
    """
    fields = index_headers([(b"A", b" x  y "), (b"B", b" z  z "), (b"a", b" w")])

    assert canonical_headers([b"a", b"b", b"c"], fields) == b"a:x y,w\nb:z z\nc:\n"


def test_a_path_is_encoded_once() -> None:
    """
    A path that was sent in canonical form stays as it is, and any other is changed to that form.
    """
    assert canonical_uri(b"/b/k~1") == b"/b/k~1"
    assert canonical_uri(b"/b/%6b+~%7E%2f") == b"/b/k%2B~~/"
