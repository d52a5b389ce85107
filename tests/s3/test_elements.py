"""
Elements of a document: how many are read, and what is left of a document after an edit.
"""

from __future__ import annotations

import pytest

from s3proxy.s3 import elements
from s3proxy.s3.elements import edit_elements, read_elements, read_listing_elements, remove_elements


def test_the_first_element_of_a_name_counts() -> None:
    """
    An error has one code, even if its document has two.
    """
    reading = read_elements(b"<Error><Code>A</Code><Code>B</Code></Error>", {"Code"})

    assert reading.root_text("Code") == "A"


def test_what_is_removed_goes_with_its_tags() -> None:
    """
    Nothing of an element stays, whichever form its tags have.
    """
    document = b"<L><K>a</K><M/><K/><K a='b'></K >c</L>"
    reading = read_elements(document, {"K"})

    assert remove_elements(document, reading.elements) == b"<L><M/>c</L>"


def test_an_edit_within_another_is_part_of_it() -> None:
    """
    The outer one is done, and so is each edit after it.
    """
    document = b"<L><K><M>a</M></K><M>b</M></L>"
    outer, first, second = sorted(read_elements(document, {"K", "M"}).elements, key=lambda found: found.start)

    assert edit_elements(document, [(first, b"1"), (second, b"2")], [outer]) == b"<L><M>2</M></L>"


def test_a_null_byte_after_two_others_makes_no_utf_16() -> None:
    """
    Only the first character of a document tells.
    """
    document = b"<a\0></a>"

    assert read_elements(document, ()).document == document


@pytest.mark.parametrize(("most", "is_read"), [(4, True), (3, False)])
def test_how_many_tags_are_read(monkeypatch: pytest.MonkeyPatch, most: int, *, is_read: bool) -> None:
    """
    A document of one more is not read, nor are its forbidden characters hidden.
    """
    monkeypatch.setattr(elements, "MAX_TAGS", most)
    reading = read_listing_elements(b"<L><K>\x01</K></L>", {"K"})

    assert reading.is_readable is is_read
    assert (reading.hidden is not None) is is_read
    assert [element.text for element in reading.elements] == (["\x01"] if is_read else [])
