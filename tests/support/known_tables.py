"""
The tables of what was decided before, as the tests need them: empty in the beginning, and sometimes always full.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from s3proxy.resign import gate, v4
from s3proxy.s3 import head as heads
from s3proxy.s3 import header_names
from s3proxy.s3.known import Known
from s3proxy.sigv4 import coverage

_TABLES: tuple[Known[Any, Any], ...] = (
    *(header_names.KNOWN_SETS, heads._KNOWN_HOSTS, heads._KNOWN_STATUS_LINES),
    *(coverage.KNOWN_COVERAGES, gate._KNOWN_FORMS, v4._KNOWN_FORMS),
)


@contextmanager
def known_tables(kind: str) -> Iterator[None]:
    """
    Empty the tables, and empty them again in the end.

    Args:
        kind: ``full`` for tables that are emptied for each new decision, ``warm`` for those of s3proxy.
    """
    with pytest.MonkeyPatch.context() as patch:
        for table in _TABLES:
            table.clear()
            if kind == "full":
                patch.setattr(table, "most", 1)
        yield
        for table in _TABLES:
            assert len(table) <= table.most
            table.clear()
