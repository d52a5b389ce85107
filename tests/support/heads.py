"""
Heads as they come from a parser, and as s3proxy makes them itself: what is decided from the names of a head must be the
same for both.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

from s3proxy.resign.headers import passed_headers
from s3proxy.resign.public_name import PublicName
from s3proxy.resign.response import response_headers
from s3proxy.s3.head import HeaderList, RequestHead, ResponseHead
from s3proxy.s3.header_names import KNOWN_SETS, check_names

H = TypeVar("H", RequestHead, ResponseHead)


def as_parsed(head: H) -> H:
    """
    Return the head with the set of its names, if a parser would give it one.
    """
    sent = tuple(name for name, _ in head.headers)
    parsed = replace(head)
    parsed.names = (KNOWN_SETS.get(sent) or check_names(sent)) if sent else None
    if isinstance(parsed, RequestHead):
        parsed.values = tuple(value for _, value in head.headers)
    return parsed


def passed_of(
    head: RequestHead,
    signed_headers: frozenset[bytes],
    *,
    passes_checksums: bool = True,
    copies: bool = False,
    dropped_headers: frozenset[bytes] = frozenset(),
) -> HeaderList:
    """
    Return the headers that pass, after a check that a known set of names does not change them.
    """
    found = [
        passed_headers(
            each, signed_headers, passes_checksums=passes_checksums, copies=copies, dropped_headers=dropped_headers
        )
        for each in (head, as_parsed(head), as_parsed(head))
    ]
    assert found[0] == found[1] == found[2]
    return found[0][0]


def shown_headers(response: ResponseHead, name: PublicName, verified: HeaderList | None = None) -> HeaderList:
    """
    Return the headers that a client gets, after a check that a known set of names does not change them.
    """
    found = [
        response_headers(each, name.request_id, name.host_id, verified or [], lambda: name)
        for each in (response, as_parsed(response), as_parsed(response))
    ]
    assert found[0] == found[1] == found[2]
    return found[0]
