"""
Draw flame graphs of the time that s3proxy spends on a load.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from bench.comparison import Bench, prepared
from bench.loads import LOADS, Load
from bench.parties import PARTIES, running_party

if TYPE_CHECKING:
    from collections.abc import Iterator

FLAMES = Path(__file__).parent.parent / "docs" / "reference" / "flames"

RATE = 200
"""
Samples per second.
"""

LEAST = 0.004
"""
The smallest share of the samples for which a frame is drawn.
"""

_WIDTH, _ROW, _LETTER = 1200.0, 15, 6.6
_Place = tuple[str, float, float, int]
_SKIPPED = re.compile(r"twistd|application/app|_twistd_unix|<module>|internet/base|postApplication")


class Frame:
    """
    A function in one place of the call tree.

    Attributes:
        count: The number of samples in which it was running.
        inner: The functions that it called, by name.
    """

    def __init__(self) -> None:
        self.count = 0
        self.inner: dict[str, Frame] = {}

    def add(self, names: list[str], count: int) -> None:
        """
        Add samples of a stack.

        Args:
            names: The functions of the stack, beginning with the outermost.
        """
        frame = self
        frame.count += count
        for name in names:
            frame = frame.inner.setdefault(name, Frame())
            frame.count += count


def read_stacks(text: str) -> Frame:
    """
    Parse the raw format of py-spy. A line has the frames of a stack, joined by semicolons, and the number of samples.
    """
    root = Frame()
    for line in text.splitlines():
        stack, _, count = line.rpartition(" ")
        names = [name for name in stack.split(";") if not _SKIPPED.search(name)]
        root.add(names, int(count))
    return root


def draw(root: Frame, title: str) -> str:
    """
    Return an SVG image of the frames, with callers below the functions that they call.
    """
    rows = list(_placed(root, 0.0, _WIDTH, 0, root.count * LEAST))
    height = (max(depth for _, _, _, depth in rows) + 2) * _ROW + 10
    box = f'viewBox="0 0 {_WIDTH:.0f} {height}" font-family="monospace" font-size="11"'
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" {box}>\n<text x="4" y="12">{_escaped(title)}</text>\n']
    for name, left, width, depth in rows:
        share = 100 * width / _WIDTH
        top = height - (depth + 1) * _ROW
        ours = "s3proxy/" in name
        short = name.partition(" (")[0]
        shown = short if len(short) * _LETTER < width else short[: max(0, int(width / _LETTER) - 1)]
        label = f'<text x="{left + 2:.1f}" y="{top + 11}">{_escaped(shown)}</text>' if len(shown) > 2 else ""
        parts.append(
            f"<g><title>{_escaped(name)}: {share:.1f} %</title>"
            f'<rect x="{left:.1f}" y="{top}" width="{width:.1f}" height="{_ROW - 1}" '
            f'fill="{"#f2b26b" if ours else "#c9d3df"}"/>{label}</g>\n'
        )
    return "".join(parts) + "</svg>\n"


def _placed(frame: Frame, left: float, width: float, depth: int, least: float) -> Iterator[_Place]:
    for name, inner in sorted(frame.inner.items()):
        share = width * inner.count / frame.count
        if inner.count >= least:
            yield name, left, share, depth
            yield from _placed(inner, left, share, depth + 1, least)
        left += share


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def record(bench: Bench, load: Load, seconds: int) -> str:
    """
    Run a load on s3proxy, and return the sampled stacks in the raw format of py-spy.
    """
    certificate = bench.certificate if load.is_tls else None
    with running_party(PARTIES["s3proxy"], bench.directory, bench.sink, certificate) as (pid, port):
        raw = bench.directory / "stacks"
        spying = [
            *("py-spy", "record", "--pid", str(pid), "--format", "raw", "--function", "--rate", str(RATE)),
            *("--duration", str(seconds), "--output", str(raw)),
        ]
        quiet = {"check": True, "stdout": subprocess.DEVNULL}
        spy = threading.Thread(target=subprocess.run, args=(spying,), kwargs=quiet)
        spy.start()
        bench.generator.run(load, "s3proxy", 0, pid, port, requests=10**6, seconds=seconds + 2)
        spy.join()
        return raw.read_text()


def run(options: argparse.Namespace) -> int:
    """
    Draw a flame graph for each load.
    """
    options.directory.mkdir(parents=True, exist_ok=True)
    with prepared() as bench:
        for name in options.loads.split(","):
            load = replace(LOADS[name])
            print(f"{load.title}: {options.seconds} s", flush=True)
            root = read_stacks(record(bench, load, options.seconds))
            if not root.inner:
                print(f"no samples of {name}", file=sys.stderr)
                return 1
            path = options.directory / f"{name}.svg"
            path.write_text(draw(root, f"{load.title}: {root.count} samples; orange: code of s3proxy"))
            print(f"wrote {path}")
    return 0


def add_options(parser: argparse.ArgumentParser) -> None:
    """
    Add the options of ``flame``.
    """
    parser.add_argument("--loads", default="get-1k-16,put-1k-16,put-signed-64k,get", help="names, separated by commas")
    parser.add_argument("--seconds", type=int, default=15, help="seconds of samples for each load")
    parser.add_argument("--directory", type=Path, default=FLAMES, help="directory for the images")
    parser.set_defaults(function=run)
