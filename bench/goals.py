"""
What s3proxy must reach, and whether it does: in ratios to nginx in the same rounds, so that the machine does not count.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

from bench.loads import GIB, LOADS, Load
from bench.results import Results

TARGETS = {
    "put-signed-64k": 850,
    "put-signed-1m": 900,
    "put-unsigned-trailer": 1500,
    "put-hash": 1000,
    "put-unsigned": 1900,
    "get": 2700,
    "put-1k-16": 6000,
    "get-1k-16": 8000,
    "head-1k-16": 8500,
    "put-4k-signed-16": 5500,
}
"""
MB, or requests, of a CPU second which s3proxy must reach, by load.
"""

BEST = {
    "put-signed-64k": 526,
    "put-unsigned-trailer": 567,
    "put-hash": 660,
    "put-unsigned": 1299,
    "get": 2598,
    "get-1k-16": 3654,
    "put-1k-16": 3317,
}
"""
The same of the best peer which was ever measured.
"""

_NGINX = {
    "put-signed-64k": 2065,
    "put-signed-1m": 2368,
    "put-unsigned-trailer": 2368,
    "put-hash": 2013,
    "put-unsigned": 1964,
    "get": 2777,
    "put-1k-16": 33305,
    "get-1k-16": 35916,
    "head-1k-16": 38244,
    "put-4k-signed-16": 27983,
}
"""
The same of nginx, on the machine which the two above were written on.
"""

RELAYS = frozenset({"nginx", "haproxy"})


@dataclass(frozen=True)
class Goal:
    """
    One line of the table.

    Attributes:
        bound: What is wanted, in the unit of ``measured``.
        ratio: Above 1 where it is reached: how far.
        plain_ratio: The same for the figure as it is written, as if this were the machine which it was written on.
        load: The name of the load which decides it; empty where none does.
    """

    name: str
    text: str
    bound: str
    measured: str
    ratio: float
    plain_ratio: float | None = None
    load: str = ""

    @property
    def is_met(self) -> bool:
        """
        Whether it is reached.
        """
        return self.ratio >= 1

    @property
    def row(self) -> list[str]:
        """
        The line's cells.
        """
        verdict = "met" if self.is_met else "**missed**"
        plain = "" if self.plain_ratio is None else f"{self.plain_ratio:.2f}"
        return [self.name, self.text, self.bound, self.measured, f"{self.ratio:.2f}", verdict, plain]


HEADINGS = ["goal", "what", "bound", "measured", "ratio (1 or more is met)", "verdict", "ratio, not scaled"]


def _at_most(
    name: str,
    load: str,
    text: str,
    bound: float,
    values: list[float],
    form: str = "{:.2f}",
    plain_bound: float | None = None,
) -> Goal:
    value = median(values)
    plain = None if plain_bound is None else plain_bound / value
    text = f"{LOADS[load].title}: {text}"
    return Goal(name, text, "≤ " + form.format(bound), form.format(value), bound / value, plain, load)


def _nginx_ratio(results: Results, load: str) -> list[float]:
    return results.ratios(LOADS[load], "s3proxy")


def _rates(results: Results, load: str, party: str) -> float:
    runs = results.of(load, party)
    return median(run.rate(LOADS[load].counts_bytes) for run in runs) if runs else 0.0


def _with_hash(results: Results, load: str) -> list[float]:
    """
    Return s3proxy's cost as a multiple of nginx's and of hashing the same bytes, round by round.
    """
    ours = {run.number: run.cost(True) for run in results.of(load, "s3proxy")}
    nginx = {run.number: run.cost(True) for run in results.of(load, "nginx")}
    hashing = results.sha256.get(load, [])
    return [
        ours[number] / (nginx[number] + hashing[number]) for number in ours if number in nginx and number < len(hashing)
    ]


def goals_of(results: Results) -> list[Goal]:
    """
    Return the goals which the loads that were run can judge.
    """
    return [*_relaying(results), *_hashing(results), *_small(results), *_ahead(results), *_targets(results)]


def _relaying(results: Results) -> list[Goal]:
    found = []
    for load in ("put-unsigned", "get"):
        values = _nginx_ratio(results, load)
        if values:
            found.append(_at_most("S1", load, "CPU per GiB, times nginx", 1.15, values))
    return found


def _hashing(results: Results) -> list[Goal]:
    found = []
    for load, bound in (("put-signed-64k", 1.25), ("put-signed-8k", 2.0)):
        values = _with_hash(results, load)
        if values:
            found.append(_at_most("S2", load, "CPU per GiB, times (nginx + SHA-256)", bound, values))
    return found


def _small(results: Results) -> list[Goal]:
    nginx = [run.cost(False) for run in results.of("get-1k-16", "nginx")]
    if not nginx:
        return []
    # The figures are meant where nginx relays 1 KiB in 25 µs.
    scale = median(nginx) / 25e-6
    found = []
    for load, bound in (("get-1k-16", 120), ("head-1k-16", 120), ("put-1k-16", 160)):
        costs = [run.cost(False) * 1e6 for run in results.of(load, "s3proxy")]
        if costs:
            text = f"CPU µs, {bound} times {scale:.2f} as nginx's GET has it here"
            found.append(_at_most("S3", load, text, bound * scale, costs, "{:.0f}", bound))
    return found


def _ahead(results: Results) -> list[Goal]:
    found = []
    for load in results.loads:
        ours = _rates(results, load.name, "s3proxy")
        notes = results.cells.get(load.name, {})
        peers = {
            party: _rates(results, load.name, party)
            for party in results.parties
            if party not in RELAYS | {"s3proxy"} and not notes.get(party)
        }
        peers = {party: rate for party, rate in peers.items() if rate}
        unit = "MB" if load.counts_bytes else "requests"
        if ours and peers:
            best = max(peers, key=lambda party: peers[party])
            found.append(
                Goal(
                    "S4",
                    f"{load.title}: {unit} per CPU second, beside the best peer which verifies ({best})",
                    f"> {peers[best]:,.0f}",
                    f"{ours:,.0f}",
                    ours / peers[best],
                    load=load.name,
                )
            )
    for load_name, best_rate in BEST.items():
        there = _NGINX[load_name]
        nginx, ours = _rates(results, load_name, "nginx"), _rates(results, load_name, "s3proxy")
        if nginx and ours:
            bound = best_rate * nginx / there
            text = f"{LOADS[load_name].title}: the best peer ever measured, {best_rate:,} where nginx has {there:,}"
            found.append(Goal("S4", text, f"> {bound:,.0f}", f"{ours:,.0f}", ours / bound, ours / best_rate, load_name))
    return found


def _ceiling(results: Results, load: str) -> float:
    """
    Return the MB of a CPU second of who costs nothing but nginx's relaying and the hash; 0 where nothing is hashed.
    """
    hashing = results.sha256.get(load)
    nginx = results.of(load, "nginx")
    if not hashing or not nginx:
        return 0.0
    return GIB / 1e6 / (median(run.cost(True) for run in nginx) + median(hashing))


def _targets(results: Results) -> list[Goal]:
    found = []
    for load, target in TARGETS.items():
        there = _NGINX[load]
        ratios = _nginx_ratio(results, load)
        if ratios:
            here = _rates(results, load, "nginx")
            reached = here / median(ratios)
            bound = target * here / there
            unit = "MB" if LOADS[load].counts_bytes else "requests"
            text = (
                f"{LOADS[load].title}: {unit} per CPU second ({target:,} where nginx has {there:,}; here {here:,.0f})"
            )
            ceiling = _ceiling(results, load)
            if ceiling:
                text += f"; nginx and SHA-256 alone leave {ceiling:,.0f}"
            found.append(
                Goal("target", text, f"≥ {bound:,.0f}", f"{reached:,.0f}", reached / bound, reached / target, load)
            )
    return found


def next_lever(load: Load) -> str:
    """
    Say what would make a load cost less.
    """
    if not load.counts_bytes:
        return (
            "fewer calls between channel, exchange and pool: the rooms are a quarter of it, system calls and the "
            "reactor a third. Compiled rooms (Cython) were tried: 0 to 20 % of a room, nothing of the whole"
        )
    if load.is_hashed:
        return "none but a faster SHA-256: what is left beside it and nginx's relaying is in the rooms below"
    return "splice(2), see decision 7" if not load.is_tls else "kTLS, where the kernel has it"
