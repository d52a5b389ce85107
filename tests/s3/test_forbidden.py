"""
Keys that XML 1.0 cannot hold are read from a listing unchanged, and written as S3 writes them.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3proxy.s3.elements import edit_elements, name_data, read_elements, read_listing_elements
from s3proxy.s3.forbidden import MAX_FORBIDDEN, hide_forbidden

names = st.one_of(st.binary(max_size=12), st.text(max_size=8).map(lambda text: text.encode("utf-8", "replace")))


def document(raw_name: bytes) -> bytes:
    """
    Return a document with one name, as a storage system writes it that escapes only markup.
    """
    escaped = raw_name.replace(b"&", b"&amp;").replace(b"<", b"&lt;").replace(b">", b"&gt;").replace(b"\r", b"&#13;")
    return b"<L>\n<K>" + escaped + b"</K></L>"


@given(name=names)
def test_any_name_is_read_as_it_is(name: bytes) -> None:
    """
    Any bytes of a key come out of the listing unchanged.
    """
    reading = read_listing_elements(document(name), {"K"})

    assert reading.is_readable
    assert [element.name_bytes for element in reading.elements] == [name]


@given(name=names, other=names)
def test_what_is_written_is_read_again(name: bytes, other: bytes) -> None:
    """
    In a document with a new element and its former one, the next reader finds both names.
    """
    reading = read_listing_elements(document(name), {"K"})

    added = b"<K>" + name_data(other) + b"</K>"
    made = reading.written(edit_elements(reading.document, [], [], (added, reading.document.rindex(b"</"))))

    again = read_listing_elements(made, {"K"})
    assert [element.name_bytes for element in again.elements] == [name, other]


def test_a_readable_document_costs_no_second_reading() -> None:
    """
    Nothing is replaced in it, so it is not copied.
    """
    data = document("\U00100001 \u00fc".encode())

    reading = read_listing_elements(data, {"K"})

    assert reading.hidden is None
    assert reading.written(data) is data
    assert hide_forbidden(data) is None


def test_other_documents_are_read_as_strictly_as_before() -> None:
    """
    Only the names in a listing may have such characters.
    """
    assert not read_elements(document(b"\x01"), {"K"}).is_readable


def test_no_character_is_left_to_stand_for_others() -> None:
    """
    A document that uses every block of private characters is refused.
    """
    every = "".join(chr(number) for number in range(0x100000, 0x10FF00, 0x100))

    assert hide_forbidden(document(every.encode() + b"\x01")) is None
    assert hide_forbidden(document(every[1:].encode() + b"\x01")) is not None


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
