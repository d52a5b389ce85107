"""
One matrix for the whole session: all cells start at its beginning, and each is reported when it has ended.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.catalogue import CLIENTS
from tests.clients.field import BACKENDS, Field
from tests.clients.matrix import CellResult, Matrix, Place, places
from tests.clients.page import write_page


def pytest_addoption(parser: pytest.Parser) -> None:
    """
    Add the option for the path of the page.
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


def _wanted(items: list[pytest.Item]) -> list[tuple[str, str]]:
    """
    Return the clients and columns that tests need, each pair once.
    """
    wanted: dict[tuple[str, str], None] = {}
    for item in items:
        params = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
        if "backend" in params:
            wanted[params["client"], params["backend"]] = None
        elif "witness" in params:
            witness = params["witness"]
            wanted.update({(witness.client, name): None for name in witness.columns})
    return list(wanted)


@pytest.fixture(scope="session")
def matrix(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Matrix]:
    """
    Run every cell that the session's tests need.
    """
    os.environ.pop("AWS_CA_BUNDLE", None)
    # If the run is ended, everything that it started is ended too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    wanted = _wanted(request.session.items)
    page = request.config.getoption("--page", "")
    if page and len(wanted) < len(CLIENTS) * len(BACKENDS):
        pytest.exit("--page wants the whole matrix", 4)
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
            if page and len(matrix.results()) == matrix.cell_count:
                write_page(Path(page), matrix.results(), matrix.installed, field.versions)
    finally:
        field.stop()
