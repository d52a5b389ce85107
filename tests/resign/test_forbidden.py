"""
Keys that XML 1.0 cannot hold are read out of a listing as they are, and written as S3 writes them.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from s3proxy.s3.elements import edit_elements, name_data, read_elements, read_listing_elements
from s3proxy.s3.forbidden import hide_forbidden

names = st.one_of(st.binary(max_size=12), st.text(max_size=8).map(lambda text: text.encode("utf-8", "replace")))


def document(raw_name: bytes) -> bytes:
    """
    Return a document with one name, as a storage writes it that escapes markup alone.
    """
    escaped = raw_name.replace(b"&", b"&amp;").replace(b"<", b"&lt;").replace(b">", b"&gt;").replace(b"\r", b"&#13;")
    return b"<L>\n<K>" + escaped + b"</K></L>"


@given(name=names)
def test_any_name_is_read_as_it_is(name: bytes) -> None:
    """
    Whatever bytes a key has, they come out of the listing.
    """
    reading = read_listing_elements(document(name), {"K"})

    assert reading.is_readable
    assert [element.name_bytes for element in reading.elements] == [name]


@given(name=names, other=names)
def test_what_is_written_is_read_again(name: bytes, other: bytes) -> None:
    """
    A document with a new element, and with its former one, has both names for the next reader.
    """
    reading = read_listing_elements(document(name), {"K"})

    added = b"<K>" + name_data(other) + b"</K>"
    made = reading.written(edit_elements(reading.document, [], [], (added, reading.document.rindex(b"</"))))

    again = read_listing_elements(made, {"K"})
    assert [element.name_bytes for element in again.elements] == [name, other]


def test_a_readable_document_costs_no_second_reading() -> None:
    """
    Nothing is hidden in it, so it is not copied.
    """
    data = document("\U00100001 \u00fc".encode())

    reading = read_listing_elements(data, {"K"})

    assert reading.hidden is None
    assert reading.written(data) is data
    assert hide_forbidden(data) is None


def test_other_documents_are_read_as_strictly_as_before() -> None:
    """
    Only the names of a listing may have such characters.
    """
    assert not read_elements(document(b"\x01"), {"K"}).is_readable


def test_no_character_is_left_to_stand_for_others() -> None:
    """
    A document that uses every block of private characters is not read.
    """
    every = "".join(chr(number) for number in range(0x100000, 0x10FF00, 0x100))

    assert hide_forbidden(document(every.encode() + b"\x01")) is None
    assert hide_forbidden(document(every[1:].encode() + b"\x01")) is not None
