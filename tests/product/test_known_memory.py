"""
What s3proxy remembers of former requests has a bound in bytes, whatever clients and backends send.
"""

from __future__ import annotations

import gc
import random
import sys
from collections.abc import Callable, Iterable
from types import FunctionType, ModuleType
from typing import Any

import pytest

from s3proxy.authentication.realm import Realm
from s3proxy.body import plan
from s3proxy.frontend import request as client_request
from s3proxy.resign import gate, v4
from s3proxy.resign import headers as passed
from s3proxy.resign import response as shown
from s3proxy.s3 import head as heads
from s3proxy.s3 import header_names
from s3proxy.s3.head import HeaderList, parse_request_head, parse_response_head
from s3proxy.s3.known import Known
from s3proxy.s3.limits import MIB
from s3proxy.sigv4 import coverage, signed_headers
from s3proxy.sigv4.claims import Beginning
from s3proxy.sigv4.header import _MAX_KNOWN_SIZE
from s3proxy.sigv4.scope import CredentialScope

MOST = 8 * MIB - MIB // 2
"""
Native rooms remember another half of a MiB, which Python cannot measure.
"""

TABLES: dict[str, Known[Any, Any]] = {
    "sets of names": header_names.KNOWN_SETS,
    "hosts": heads._KNOWN_HOSTS,
    "status lines": heads._KNOWN_STATUS_LINES,
    "lists of signed headers": coverage.KNOWN_COVERAGES,
    "headers that pass": passed._KNOWN_CHOICES,
    "claims of a body": plan._KNOWN_SILENT,
    "heads for a backend": gate._KNOWN_FORMS,
    "what is signed of them": v4._KNOWN_FORMS,
    "headers of responses": shown._KNOWN_CHOICES,
    "heads of responses": client_request._KNOWN_FORMS,
}


def size_of(roots: Iterable[object]) -> int:
    """
    Return the bytes of objects and all that they refer to, each counted once.
    """
    seen: set[int] = set()
    left, size = [*roots], 0
    while left:
        found = left.pop()
        if id(found) in seen or isinstance(found, (type, ModuleType, FunctionType)):
            continue
        seen.add(id(found))
        size += sys.getsizeof(found)
        left += gc.get_referents(found)
    return size


def long_names(kind: bytes, number: int) -> list[bytes]:
    """
    Return as many names of as many bytes as are remembered.
    """
    count = header_names._MAX_NAMES - 1
    length = (header_names._MAX_SIZE - len(b"Host")) // count
    return [(b"x-amz-meta-%b%d-%d" % (kind, number, place)).ljust(length, b"a") for place in range(count)]


def fill_for_requests(number: int) -> None:
    """
    Add a decision to each table about requests, as large as it may be.
    """
    names = long_names(b"", number)
    head = parse_request_head(
        b"GET / HTTP/1.1\r\nHost: "
        + (b"%d" % number).ljust(heads._MAX_KNOWN_SIZE, b"a")
        + b"".join([b"\r\n%s: 1" % name for name in names])
    )
    listed = b";".join([b"host", *names])
    known = listed[: coverage.MAX_KEPT_LIST_SIZE].rpartition(b";")[0]
    assert coverage.find_coverage(head.names, known) is not None
    # A list may be full of short names that were not sent.
    short = b";".join([b"host", *(b"%d" % (number + place) for place in range(100, 131))])
    assert short.count(b";") == signed_headers._MAX_KEPT_NAMES - 1
    assert coverage.find_coverage(head.names, short) is not None
    # The names of a claim are other objects than those of the head.
    signed = frozenset([bytes(bytearray(name)) for name in head.fields])
    sent, _ = passed.passed_headers(head, signed, passes_checksums=True)
    passed.passed_headers(head, signed | {b"not-sent-%d" % place for place in range(200)}, passes_checksums=True)
    plan._is_silent(head)
    ours: HeaderList = [(b"Host", b"a"), *sent]
    gate.write_head(b"GET", b"/", ours)
    v4._form_of(tuple(name for name, _ in ours))


def fill_for_responses(number: int) -> None:
    """
    Add a decision to each table about responses.
    """
    lines = b"".join([b"\r\n%s: 1" % name for name in long_names(b"r", number)])
    status_line = (b"HTTP/1.1 200 %d" % number).ljust(heads._MAX_KNOWN_SIZE, b"a")
    response = parse_response_head(status_line + lines)
    headers = shown.response_headers(response, b"id", b"host", [], lambda: None)  # type: ignore[arg-type,return-value]
    client_request._form_of(tuple(name for name, _ in headers))


def fill_forms(number: int) -> None:
    """
    Remember the forms of heads whose names no other table has, as many and as long as may be.
    """
    count = header_names._MAX_FORM_NAMES - 1
    size = (header_names._MAX_FORM_SIZE - len(b"Host")) // count

    def names() -> list[bytes]:
        return [b"Host", *((b"x-%d-%d" % (number, place)).ljust(size, b"a") for place in range(count))]

    gate.write_head(b"GET", b"/", [(name, b"a") for name in names()])
    v4._form_of(tuple(names()))
    client_request._form_of(tuple(names()))


def fill_lists(number: int) -> None:
    """
    Add the largest coverage: as many short names as a set may have, in an order of their own.
    """
    short = [b"host", *(b"a%d" % place for place in range(header_names._MAX_NAMES - 1))]
    head = parse_request_head(b"GET / HTTP/1.1\r\n" + b"\r\n".join([b"%s: 1" % name for name in short]))
    random.Random(number).shuffle(short)
    assert coverage.find_coverage(head.names, b";".join(short)) is not None


@pytest.mark.parametrize("order", [(fill_for_responses, fill_for_requests), (fill_for_requests, fill_for_responses)])
def test_all_tables_together_are_small(order: tuple[Callable[[int], None], ...]) -> None:
    """
    Even if each holds as many decisions as it may, of the largest kind.
    """
    realm = Realm()
    for table in TABLES.values():
        table.clear()
    for fill in (*order, fill_forms, fill_lists):
        for number in range(header_names.MAX_KNOWN_SETS - (fill in order)):
            fill(number)
    for number in range(realm.beginnings.most):
        realm.beginnings.keep(
            (b"AWS4-HMAC-SHA256 Credential=%d" % number).ljust(_MAX_KNOWN_SIZE, b"a"),
            Beginning(
                b"AWS4-HMAC-SHA256",
                (b"%d" % number).ljust(128, b"a"),
                CredentialScope(b"20260301", b"us-east-1"),
                (b"%d" % number).ljust(coverage.MAX_KEPT_LIST_SIZE, b"a"),
            ),
        )
    counts = {name: len(table) for name, table in TABLES.items()}
    size = size_of([*TABLES.values(), realm.beginnings, signed_headers._kept_list])
    assert signed_headers._kept_list.cache_info().currsize == signed_headers.MAX_KEPT_LISTS
    for table in TABLES.values():
        table.clear()

    full = {
        "sets of names",
        "lists of signed headers",
        "heads for a backend",
        "what is signed of them",
        "heads of responses",
    }
    assert {name for name, count in counts.items() if count >= header_names.MAX_KNOWN_SETS - 2} >= full, counts
    assert len(realm.beginnings) == realm.beginnings.most
    assert 4 * MIB < size <= MOST
