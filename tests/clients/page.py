"""
The page of the documentation that shows the matrix.
"""

from __future__ import annotations

import textwrap
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from tests.clients.catalogue import CLIENTS, CannotInstall, Installed
from tests.clients.drivers.scenario import OPERATIONS
from tests.clients.field import BACKENDS
from tests.clients.matrix import CellResult, Outcome, Place
from tests.clients.rules import LACKING, REFUSED, Rule

Results = dict[Place, CellResult]

HEAD = """# Clients

<!-- Written by `tox -e clients -- --page docs/reference/clients.md`. -->

Each client does the same at each storage system, as far as it can, first straight, then through s3proxy: over http and
https, in path style and in virtual-hosted style. It has {operation_count} operations:

{operations}

What was put is read back by another client, and compared. A cell counts the operations which worked in all four
places together, of those which the client has: straight → through. `tests/clients` has the programs.

- cells: {cell_count}, of which {absent_count} could not be tried (see the end)
- operations tried straight: {straight_count}, of which {straight_works} worked
- operations tried through s3proxy: {through_count}, of which {through_works} worked
- storage: {storages}

"""


def write_page(
    path: Path, results: Results, installed: dict[str, Installed | CannotInstall], versions: dict[str, str]
) -> None:
    """
    Write the page.
    """
    text = "".join(
        [
            _head(results, versions),
            _table(results, installed),
            _translated(results),
            _rules("What S3 refuses", "Some storage takes it, and s3proxy does not: S3's own rule.", REFUSED),
            _rules("What no proxy mends", "It fails straight, too: the client's or the storage's own lack.", LACKING),
            _open(results),
            _absent(results),
        ]
    )
    path.write_text(text.rstrip() + "\n", "utf-8")


def _outcomes(results: Results, way: str) -> list[Outcome]:
    return [o for place, result in results.items() if place.way == way for o in result.outcomes.values()]


def _head(results: Results, versions: dict[str, str]) -> str:
    counts = {}
    for way in ("straight", "through"):
        outcomes = [outcome for outcome in _outcomes(results, way) if outcome.verdict != "n/a"]
        counts[f"{way}_count"] = len(outcomes)
        counts[f"{way}_works"] = sum(outcome.verdict == "works" for outcome in outcomes)
    return HEAD.format(
        operation_count=len(OPERATIONS),
        operations=textwrap.fill(", ".join(OPERATIONS) + ".", 120),
        cell_count=len(results),
        absent_count=sum(_is_absent(result) for result in results.values()),
        storages=", ".join(f"{_short_title(name)} {version}" for name, version in versions.items()),
        **counts,
    )


def _is_absent(result: CellResult) -> bool:
    return result.count("n/a") == len(result.outcomes)


def _share(results: Iterable[CellResult]) -> str:
    found = [result for result in results if not _is_absent(result)]
    if not found:
        return "n/a"
    works = sum(result.count("works") for result in found)
    tried = works + sum(result.count("fails") for result in found)
    return "all" if works == tried else f"{works}/{tried}"


def _table(results: Results, installed: dict[str, Installed | CannotInstall]) -> str:
    lines = [
        "| client | version | " + " | ".join(kind.title for kind in BACKENDS.values()) + " |",
        "|---|---|" + "---|" * len(BACKENDS),
    ]
    for client, kind in CLIENTS.items():
        found = installed.get(client)
        version = found.version if isinstance(found, Installed) else "-"
        cells = []
        for name, backend in BACKENDS.items():
            straight = _share(_of(results, client, "straight", backend.storage).values())
            cells.append(f"{straight} → {_share(_of(results, client, 'through', name).values())}")
        lines.append(f"| {kind.title} | {version} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n\n"


def _of(results: Results, client: str, way: str, door: str) -> Results:
    return {p: r for p, r in results.items() if (p.client, p.way, p.door) == (client, way, door)}


def _translated(results: Results) -> str:
    """
    List what fails straight and works through s3proxy, by storage system, client and code.
    """
    lines = ["## What fails straight and works through", "", "| storage | client | what it is told |", "|---|---|---|"]
    for storage in dict.fromkeys(kind.storage for kind in BACKENDS.values()):
        clients: dict[str, list[str]] = defaultdict(list)
        for client, kind in CLIENTS.items():
            told: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
            for place, result in _of(results, client, "straight", storage).items():
                for operation, outcome in result.outcomes.items():
                    if outcome.verdict == "fails" and _works_through(results, place, operation):
                        told[outcome.code][operation].add(f"{place.scheme} {place.style}")
            if told:
                clients["; ".join(_told(code, operations) for code, operations in told.items())].append(kind.title)
        lines += [f"| {_short_title(storage)} | {', '.join(titles)} | {text} |" for text, titles in clients.items()]
    return "\n".join(lines) + "\n\n"


def _works_through(results: Results, place: Place, operation: str) -> bool:
    columns = [name for name, kind in BACKENDS.items() if kind.storage == place.door]
    through = [Place(place.client, "through", name, place.scheme, place.style) for name in columns]
    return all(results[other].outcomes[operation].verdict == "works" for other in through)


def _short_title(storage: str) -> str:
    return next(kind.title.split(",")[0] for kind in BACKENDS.values() if kind.storage == storage)


def _told(code: str, operations: dict[str, set[str]]) -> str:
    places = set().union(*operations.values())
    where = [
        *(scheme for scheme in ("http", "https") if all(place.startswith(scheme + " ") for place in places)),
        *(f"{style} style" for style in ("path", "virtual") if all(place.endswith(" " + style) for place in places)),
    ]
    names = "everything" if len(operations) >= 10 else ", ".join(operations)
    return f"{code} ({', '.join([*where, names])})"


def _rules(title: str, about: str, rules: tuple[Rule, ...]) -> str:
    lines = [f"## {title}", "", about, ""]
    if not rules:
        return "\n".join([*lines, "Nothing.", "", ""])
    lines += ["| client | storage | operations | answer | why |", "|---|---|---|---|---|"]
    for rule in rules:
        clients = ", ".join(CLIENTS[name].title for name in rule.clients)
        backends = ", ".join(rule.backends) if set(rule.backends) != set(BACKENDS) else "any"
        operations = "everything" if len(rule.operations) >= 10 else ", ".join(rule.operations)
        if len(rule.styles) == 1:
            operations += f" ({rule.styles[0]} style)"
        lines.append(f"| {clients} | {backends} | {operations} | {' or '.join(rule.codes)} | {rule.reason} |")
    return "\n".join(lines) + "\n\n"


def _open(results: Results) -> str:
    """
    List what fails through s3proxy and is in no table: such failures fail the run.
    """
    lines = []
    for place, result in results.items():
        for operation, outcome in result.outcomes.items():
            is_known = any(rule.covers(place, operation, outcome.code) for rule in (*REFUSED, *LACKING))
            if place.way == "through" and outcome.verdict == "fails" and not is_known:
                lines.append(f"- {place}: {operation}: {outcome.code}")
    return "\n".join(["## What is not explained", "", *(lines or ["Nothing."])]) + "\n\n"


def _absent(results: Results) -> str:
    """
    List what was not tried, and why: whole cells, and operations that a client does not have.
    """
    counts: dict[tuple[str, str], dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for place, result in results.items():
        reasons: dict[str, list[str]] = defaultdict(list)
        for operation, outcome in result.outcomes.items():
            if outcome.verdict == "n/a":
                reasons[outcome.code].append(operation)
        for reason, operations in reasons.items():
            what = ", ".join(operations)
            if _is_absent(result):
                what = f"{_short_title(place.door)} {place.way}, all" if place.way == "straight" else "all"
            counts[what, reason][place.client] += 1
    lines = ["## What was not tried", "", "| what | cells | clients | why |", "|---|---:|---|---|"]
    for (what, reason), clients in counts.items():
        titles = [kind.title for name, kind in CLIENTS.items() if name in clients]
        who = f"all but {', '.join(k.title for n, k in CLIENTS.items() if n not in clients)}"
        who = who if 1 <= len(CLIENTS) - len(titles) <= 3 else ", ".join(titles)
        lines.append(f"| {what} | {sum(clients.values())} | {who} | {reason} |")
    return "\n".join(lines) + "\n"
