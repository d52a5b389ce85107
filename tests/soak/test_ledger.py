"""
The ledger's verdicts: only the responses to clients decide what each key may hold.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.soak.footprints import MIB, Footprint, descriptor_faults, memory_faults
from tests.soak.ledger import ABSENT, Entry, Ledger, broken_promises, expectations, fault_of, table
from tests.soak.uploads import CUTS, FLAWS, GOOD, MODES, Upload, write_upload
from tests.support.signer import Signer


def upload(**changes: Any) -> Upload:
    """
    An upload of 100 bytes.
    """
    intended: dict[str, Any] = {
        "key": "k",
        "account": "a",
        "seed": 5,
        "size": 100,
        "mode": "signed-chunks",
        "flaw": GOOD,
        "chunk_size": 30,
        "transfer_size": 0,
        "expects": False,
        "place": 0.5,
    }
    return Upload(**(intended | changes))


def entry(sha256: str, status: str, *, was_ending: bool = True, **changes: Any) -> Entry:
    """
    An upload that has ended.
    """
    return Entry(upload(**changes), sha256, was_ending, status)


@pytest.mark.parametrize(
    ("history", "allowed"),
    [
        ([entry("new", "200")], {"new"}),
        ([entry("new", "400")], {ABSENT}),
        ([entry("new", "403", flaw="signature")], {ABSENT}),
        ([entry("new", "503")], {ABSENT, "new"}),
        ([entry("new", "503", was_ending=False)], {ABSENT}),
        ([entry("new", "cut")], {ABSENT, "new"}),
        ([entry("new", "killed")], {ABSENT, "new"}),
        ([entry("new", "killed", was_ending=False)], {ABSENT}),
        ([entry("new", "cut", flaw="changed-byte")], {ABSENT}),
        ([entry("new", "gave up", flaw="cut-reset", was_ending=False)], {ABSENT}),
        ([entry("old", "200"), entry("new", "200")], {"new"}),
        ([entry("old", "200"), entry("new", "400", flaw="checksum")], {"old"}),
        ([entry("old", "200"), entry("new", "500")], {"old", "new"}),
        ([entry("old", "200"), entry("new", "cut", was_ending=False), entry("newer", "killed")], {"old", "newer"}),
    ],
)
def test_what_a_key_may_hold(history: list[Entry], allowed: set[str]) -> None:
    """
    A key may hold the last object that was reported as stored, or the one in doubt after it, and nothing else.
    """
    (expected,) = expectations(history).values()

    assert {digest for digest in (ABSENT, "old", "new", "newer") if not fault_of(expected, digest)} == allowed
    assert "which nobody uploaded" in fault_of(expected, "something else")


def test_a_key_in_doubt_is_not_used_again() -> None:
    """
    A commit that arrives late could replace a later object: such a history proves nothing, and is reported.
    """
    with pytest.raises(ValueError, match="was used again"):
        expectations([entry("old", "cut"), entry("new", "200")])


@pytest.mark.parametrize(
    ("made", "is_broken"),
    [
        (entry("new", "200"), False),
        (entry("new", "200", flaw="checksum"), True),
        (entry("new", "200", was_ending=False), True),
        (entry("new", "400", flaw="checksum"), False),
    ],
)
def test_a_promise_which_nobody_may_make(made: Entry, is_broken: bool) -> None:
    """
    An upload that was bad, or not whole, must not be reported as stored.
    """
    assert bool(broken_promises([made])) == is_broken


def test_a_ledger_is_read_while_it_is_written(tmp_path: Path) -> None:
    """
    A line without its end is read when it is whole. An upload without an outcome belongs to a client that was killed.
    """
    start = {"event": "start", "number": "1", "sha256": "new", **upload().__dict__}
    path = tmp_path / "c0.jsonl"
    end = json.dumps({"event": "end", "number": "1", "status": "400", "code": "BadDigest"})
    ledger = Ledger(tmp_path)
    seen = []
    for text in (json.dumps(start) + "\n", '{"event": "last", "number": "1"}\n', end[:9], end[9:] + "\n"):
        with path.open("a") as file:
            file.write(text)
        ledger.read()
        (read,) = ledger.entries.values()
        seen.append((read.status, read.was_ending))

    assert seen == [("killed", False), ("killed", True), ("killed", True), ("400", True)]
    assert [" ".join(line.split()) for line in table(ledger.entries.values())] == [
        "signed-chunks, good 1 400 BadDigest 1",
        "all good 1 400 BadDigest 1",
    ]


@pytest.mark.parametrize("mode", [mode for mode in MODES if mode != "multipart"])
def test_every_flaw_is_one(mode: str) -> None:
    """
    A bad upload differs from the good one with the same seed, or ends early.
    """
    transfer_size = 40 if mode.endswith(" te") else 0
    flaws = (*FLAWS[mode.removesuffix(" te")], "signature", *CUTS)
    made = {
        flaw: write_upload(upload(mode=mode, flaw=flaw, transfer_size=transfer_size), "b", upload().body, Signer())
        for flaw in (GOOD, *flaws)
    }

    good = made[GOOD]
    assert good.stop == len(good.body)
    for flaw in flaws:
        bad = made[flaw]
        assert (bad.head, bad.body[: bad.stop]) != (good.head, good.body), flaw
        assert (bad.stop < len(bad.body)) == (flaw in CUTS)


def test_what_leaks_is_told() -> None:
    """
    One descriptor more than after the warm-up is a leak, and so is one process more. Memory and pipes have some slack.
    """
    begin = {"worker": [Footprint(60 * MIB, 13), Footprint(61 * MIB, 12)]}
    same = {"worker": [Footprint(61 * MIB, 12, pipes=6), Footprint(84 * MIB, 13)]}
    leaky = {"worker": [Footprint(86 * MIB, 14)]}
    plugged = {"worker": [Footprint(60 * MIB, 13, pipes=7), Footprint(61 * MIB, 12)]}

    assert descriptor_faults(begin, same, 3) == memory_faults(begin, same) == []
    assert len(descriptor_faults(begin, leaky, 3)) == 2
    assert len(descriptor_faults(begin, plugged, 3)) == 1
    assert len(memory_faults(begin, leaky)) == 1


def test_a_footprint_tells_pipes_from_other_descriptors() -> None:
    """
    The footprint of this process, before and after it has made a pipe.
    """
    before = Footprint.of(os.getpid())
    pipe = os.pipe()
    after = Footprint.of(os.getpid())
    for end in pipe:
        os.close(end)

    assert (after.descriptors, after.pipes) == (before.descriptors, before.pipes + 2)
