"""
One matrix for the whole session: every cell is asked for at its beginning, and told of when it has ended.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.field import BACKENDS, Field
from tests.clients.matrix import CellResult, Matrix, Place, places
from tests.clients.page import write_page


def pytest_addoption(parser: pytest.Parser) -> None:
    """
    Add where the page is written.
    """
    parser.addoption("--page", default="", help="the file of the page with the table; it wants the whole matrix")


class Progress:
    """
    A line for each cell.
    """

    def __init__(self) -> None:
        self.cell_count = 0
        self._done_count = 0

    def __call__(self, place: Place, result: CellResult) -> None:
        self._done_count += 1
        line = f"[{self._done_count}/{self.cell_count}] {place}: {result.line()} ({result.seconds:.1f} s)"
        print(line, flush=True)
        for name, outcome in result.outcomes.items():
            if outcome.verdict == "fails" and place.way == "through":
                print(f"    {name}: {outcome.text[-600:]}", flush=True)


@pytest.fixture(scope="session")
def matrix(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Matrix]:
    """
    Run every cell which the session's tests ask for.
    """
    os.environ.pop("AWS_CA_BUNDLE", None)
    wanted = [
        (item.callspec.params["client"], item.callspec.params["backend"])
        for item in request.session.items
        if isinstance(item, pytest.Function) and hasattr(item, "callspec") and "backend" in item.callspec.params
    ]
    backends = [name for name in BACKENDS if any(backend == name for _, backend in wanted)]
    field = Field(tmp_path_factory.mktemp("clients"), backends)
    progress = Progress()
    try:
        field.start()
        matrix = Matrix(field, progress)
        try:
            for client, backend in wanted:
                progress.cell_count += matrix.submit(places(client, backend))
            yield matrix
        finally:
            matrix.close()
            page = request.config.getoption("--page")
            if page:
                write_page(Path(page), matrix.results(), matrix.installed, field.versions)
    finally:
        field.stop()
