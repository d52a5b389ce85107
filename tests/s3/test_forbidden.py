"""
Which documents have their forbidden characters hidden.
"""

from __future__ import annotations

import pytest

from s3proxy.s3.forbidden import MAX_FORBIDDEN, hide_forbidden


@pytest.mark.parametrize(
    ("start", "is_hidden"),
    [
        (b"", True),
        (b"<?xml version='1.0'?>", True),
        (b"<?xml version='1.0' encoding='UTF-8'?>", True),
        (b'\n<?xml version="1.0" encoding = "utf8"?>', True),
        (b"<?xml version='1.0' encoding='iso-8859-1'?>", False),
        (b"<![CDATA[]]>", False),
    ],
)
def test_which_documents_are_changed(start: bytes, *, is_hidden: bool) -> None:
    """
    Those in UTF-8 whose references mean what they say.
    """
    assert (hide_forbidden(start + b"<a>\x01</a>") is not None) is is_hidden


@pytest.mark.parametrize(
    ("content", "is_hidden"),
    [
        (b"\x01" * MAX_FORBIDDEN, True),
        (b"\x01" * (MAX_FORBIDDEN + 1), False),
        (b"&#1;" * (MAX_FORBIDDEN + 1), False),
        (b"a" * MAX_FORBIDDEN + b"\x01", True),
    ],
    ids=["most", "one more", "references", "text"],
)
def test_how_many_are_hidden(content: bytes, *, is_hidden: bool) -> None:
    """
    Each costs memory; other characters do not count.
    """
    assert (hide_forbidden(content) is not None) is is_hidden
