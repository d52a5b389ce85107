"""
Current and old clients, straight at storage systems and through s3proxy: only what S3 refuses may fail.
"""

from __future__ import annotations

import re

import pytest

from tests.clients.catalogue import CLIENTS, CannotInstall
from tests.clients.drivers.scenario import OPERATIONS
from tests.clients.field import BACKENDS
from tests.clients.matrix import Matrix, Place, places
from tests.clients.rules import LACKING, REFUSED, TRANSLATED, Rule, Witness

pytestmark = pytest.mark.clients

used: set[Rule] = set()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("client", CLIENTS)
def test_client(client: str, backend: str, matrix: Matrix) -> None:
    """
    What works straight works through s3proxy, or S3 itself refuses it. Each failure through s3proxy is in a table.
    """
    unexplained = []
    for place in places(client, backend):
        result = matrix.result(place)
        assert set(result.outcomes) == set(OPERATIONS)
        if place.way == "straight":
            continue
        straight = matrix.result(Place(client, "straight", BACKENDS[backend].storage, place.scheme, place.style))
        for operation, outcome in result.outcomes.items():
            if outcome.verdict != "fails":
                continue
            was = straight.outcomes[operation].verdict
            rules = [rule for rule in REFUSED if rule.covers(place, operation, outcome.code)]
            lacking = [rule for rule in LACKING if rule.covers(place, operation, outcome.code)]
            rules += [rule for rule in lacking if was != "works" or rule.is_occasional]
            used.update(rules)
            if not rules:
                said = re.sub(r"\s+", " ", outcome.text)[-300:]
                unexplained.append(f"{place}: {operation} {was} straight, and here: {outcome.code}: {said}")

    assert not unexplained, "\n".join(unexplained)


@pytest.mark.parametrize("witness", TRANSLATED, ids=str)
def test_what_is_translated(witness: Witness, matrix: Matrix) -> None:
    """
    The storage system refuses a feature that it lacks; through s3proxy the client does not notice.
    """
    straight = matrix.result(Place(witness.client, "straight", witness.storage, witness.scheme, witness.style))
    if isinstance(matrix.installed[witness.client], CannotInstall):
        pytest.skip(str(matrix.installed[witness.client]))
    outcome = straight.outcomes[witness.operation]
    through = [
        matrix.result(Place(witness.client, "through", name, witness.scheme, witness.style)).outcomes[witness.operation]
        for name in witness.columns
    ]

    assert (outcome.verdict, outcome.code) == ("fails", witness.code), outcome.text
    assert [outcome.verdict for outcome in through] == ["works"] * len(through)


def test_the_tables_are_closed(matrix: Matrix) -> None:
    """
    No rule excuses what does not happen.
    """
    if matrix.cell_count < len(CLIENTS) * len({place for name in BACKENDS for place in places("", name)}):
        pytest.skip("a part of the matrix shows nothing of the whole")
    missing = {name for name, found in matrix.installed.items() if isinstance(found, CannotInstall)}
    idle = [
        rule
        for rule in (*REFUSED, *LACKING)
        if not (rule in used or rule.is_occasional or set(rule.clients) <= missing)
    ]

    assert not idle
