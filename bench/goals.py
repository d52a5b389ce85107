"""
The goals for the speed of s3proxy, and whether it meets them.

Goals are ratios to the cost of nginx in the same rounds, so that they do not depend on the machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

from bench.loads import GIB, LOADS, Load
from bench.parties import OPTIONAL
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
MB or requests per CPU second that s3proxy must reach, by load.
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
MB or requests per CPU second of the best peer that was ever measured, by load.
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
MB or requests per CPU second of nginx, on the machine for which `TARGETS` and `BEST` were written.
"""

SMALL = {"get-1k-16": 0.22, "head-1k-16": 0.22, "put-1k-16": 0.19, "put-4k-signed-16": 0.17}
"""
Requests per CPU second that s3proxy must reach, as a part of nginx's.
"""

RELAYS = frozenset({"nginx", "haproxy"})
OURS = frozenset({"s3proxy", OPTIONAL})


@dataclass(frozen=True)
class Goal:
    """
    One line of the table.

    Attributes:
        bound: The bound of the goal, in the unit of ``measured``.
        ratio: How far the goal is met: 1 or more if it is.
        plain_ratio: The ratio without scaling, as if this were the machine for which the goal was written.
        load: The name of the load that decides the goal; empty if no load does.
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
        Whether the goal is met.
        """
        return self.ratio >= 1

    @property
    def row(self) -> list[str]:
        """
        The cells of the line.
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
    Return the cost of s3proxy as a multiple of the cost of nginx and of hashing the same bytes, round by round.
    """
    ours = {run.number: run.cost(True) for run in results.of(load, "s3proxy")}
    nginx = {run.number: run.cost(True) for run in results.of(load, "nginx")}
    hashing = results.sha256.get(load, [])
    return [
        ours[number] / (nginx[number] + hashing[number]) for number in ours if number in nginx and number < len(hashing)
    ]


def goals_of(results: Results) -> list[Goal]:
    """
    Return the goals that the results decide.
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
    found = []
    for load, bound in SMALL.items():
        ratios = _nginx_ratio(results, load)
        if ratios:
            part = 1 / median(ratios)
            text = f"{LOADS[load].title}: requests per CPU second, as a part of nginx's in the same round"
            found.append(Goal("S3", text, f"≥ {bound:.2f}", f"{part:.2f}", part / bound, load=load))
    return found


def _ahead(results: Results) -> list[Goal]:
    found = []
    for load in results.loads:
        ours = _rates(results, load.name, "s3proxy")
        notes = results.cells.get(load.name, {})
        peers = {
            party: _rates(results, load.name, party)
            for party in results.parties
            if party not in RELAYS | OURS and not notes.get(party)
        }
        peers = {party: rate for party, rate in peers.items() if rate}
        unit = "MB" if load.counts_bytes else "requests"
        if ours and peers:
            best = max(peers, key=lambda party: peers[party])
            found.append(
                Goal(
                    "S4",
                    f"{load.title}: {unit} per CPU second, compared with the best peer that verifies ({best})",
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
            text = f"{LOADS[load_name].title}: the best peer ever measured, {best_rate:,} if nginx has {there:,}"
            found.append(Goal("S4", text, f"> {bound:,.0f}", f"{ours:,.0f}", ours / bound, ours / best_rate, load_name))
    return found


def _ceiling(results: Results, load: str) -> float:
    """
    Return the MB per CPU second that the relaying of nginx and the hash alone would reach; 0 if nothing is hashed.
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
            text = f"{LOADS[load].title}: {unit} per CPU second ({target:,} if nginx has {there:,}; here {here:,.0f})"
            ceiling = _ceiling(results, load)
            if ceiling:
                text += f"; nginx and SHA-256 alone reach {ceiling:,.0f}"
            found.append(
                Goal("target", text, f"≥ {bound:,.0f}", f"{reached:,.0f}", reached / bound, reached / target, load)
            )
    return found


def next_lever(load: Load) -> str:
    """
    Return what would reduce the cost of a load.
    """
    if not load.counts_bytes:
        return (
            "rooms in native code: the rooms without I/O take 54 % of a GET and 45 % of a PUT, measured by remembering "
            "their results. Python that is compiled (Cython) gained nothing"
        )
    if load.is_hashed:
        return "a faster SHA-256: the cost beyond SHA-256 and the relaying of nginx is that of the rooms below"
    return "splice(2), see decision 7" if not load.is_tls else "kTLS, if the kernel has it"
