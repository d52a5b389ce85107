"""
What clients have written down, and what must therefore hold for every key.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from pathlib import Path

from tests.soak.uploads import Upload

ABSENT = ""
"""
Stands for a digest if there is no object.
"""


@dataclass
class Entry:
    """
    One upload.

    Attributes:
        was_ending: Whether its last byte may have left the client.
        status: Which the client read, ``cut`` if there was no whole response, ``gave up`` if it asked for none, and
            ``killed`` if it did not live to see one.
        code: The S3 error.
    """

    upload: Upload
    sha256: str
    was_ending: bool = False
    status: str = "killed"
    code: str = ""

    @property
    def is_stored(self) -> bool:
        """
        Whether the client's response said so.
        """
        return self.status.startswith("2")

    @property
    def is_uncertain(self) -> bool:
        """
        Whether the client cannot know what happened to the upload.
        """
        return self.upload.is_good and self.was_ending and self.status[0] not in "24"


@dataclass
class Expected:
    """
    What one key may hold.

    Attributes:
        digests: SHA-256 of the objects that may be there; `ABSENT` if there may be none.
        history: All uploads to the key, in order.
    """

    account: str
    digests: set[str] = field(default_factory=lambda: {ABSENT})
    history: list[Entry] = field(default_factory=list)


class Ledger:
    """
    All lines of all clients, read as they are written.

    Args:
        directory: Directory of the files.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._read: Counter[Path] = Counter()
        self.entries: dict[str, Entry] = {}

    def read(self) -> None:
        """
        Read what was written since the last call.
        """
        names = {item.name for item in fields(Upload)}
        for path in sorted(self._directory.glob("*.jsonl")):
            with path.open("rb") as file:
                file.seek(self._read[path])
                for line in file:
                    # The last line is still being written.
                    if not line.endswith(b"\n"):
                        break
                    self._read[path] += len(line)
                    record = json.loads(line)
                    if record["event"] == "start":
                        upload = Upload(**{name: value for name, value in record.items() if name in names})
                        self.entries[record["number"]] = Entry(upload, record["sha256"])
                    elif record["event"] == "last":
                        self.entries[record["number"]].was_ending = True
                    else:
                        entry = self.entries[record["number"]]
                        entry.status, entry.code = record["status"], record["code"]

    @property
    def stored_count(self) -> int:
        """
        Number of uploads whose response says that they are stored.
        """
        return sum(entry.is_stored for entry in self.entries.values())

    def outcomes(self) -> Counter[str]:
        """
        Count uploads by status; those that run are ``killed`` until they end.
        """
        return Counter(entry.status for entry in self.entries.values())

    def certain_keys(self, client: str) -> list[tuple[str, str]]:
        """
        Keys, each with its account, whose content a client that has ended knew for certain.
        """
        last: dict[tuple[str, str], Entry] = {}
        for number, entry in self.entries.items():
            upload = entry.upload
            last.pop((upload.key, upload.account), None)
            if number.startswith(f"{client}-"):
                last[upload.key, upload.account] = entry
        return [key for key, entry in last.items() if not entry.is_uncertain]

    def surprises(self) -> list[str]:
        """
        Name what must not happen while nothing fails: a good upload that is not stored, a bad one that is not refused.
        """
        return [
            f"without a fault: {entry.status} {entry.code} for {entry.upload}"
            for entry in self.entries.values()
            if (entry.status[0] != "2" if entry.upload.is_good else entry.status[0] not in "4g")
        ]


def broken_promises(entries: Iterable[Entry]) -> list[str]:
    """
    Name each upload that was reported as stored although it was bad, or although not all of it had been sent.
    """
    return [
        f"{entry.upload}: {entry.status}, {'whole' if entry.was_ending else 'not whole'}"
        for entry in entries
        if entry.is_stored and not (entry.upload.is_good and entry.was_ending)
    ]


def expectations(entries: Iterable[Entry]) -> dict[str, Expected]:
    """
    Return what each key may hold.

    Args:
        entries: Those of one key, in order.
    """
    found: dict[str, Expected] = {}
    for entry in entries:
        upload = entry.upload
        expected = found.setdefault(upload.key, Expected(upload.account))
        if expected.history and expected.history[-1].is_uncertain:
            raise ValueError(f"{upload.key} was used again though nobody knew what it held")
        expected.history.append(entry)
        if upload.is_good and entry.is_stored:
            expected.digests = {entry.sha256}
        elif entry.is_uncertain:
            expected.digests.add(entry.sha256)
    return found


def table(entries: Iterable[Entry]) -> list[str]:
    """
    Return the ledger as a table: for each mode and each intention, how often each outcome occurred.
    """
    rows: dict[tuple[int, str], Counter[str]] = {}
    for entry in entries:
        intention = "good" if entry.upload.is_good else "bad"
        size = "" if entry.upload.is_good else f": {entry.upload.flaw}"
        outcome = entry.status if not entry.code else f"{entry.status} {entry.code}"
        if entry.status == "cut":
            outcome = "cut"
        for row in ((0, f"{entry.upload.mode}, {intention}"), (1, f"all {intention}{size}")):
            rows.setdefault(row, Counter())[outcome] += 1
    lines = []
    for (_, name), counted in sorted(rows.items()):
        cells = ", ".join(f"{outcome} {count}" for outcome, count in counted.most_common())
        lines.append(f"{name:32}{sum(counted.values()):>6}  {cells}")
    return lines


def fault_of(expected: Expected, digest: str) -> str:
    """
    Return what is wrong with the content of a key; empty if the key may hold it.
    """
    if digest in expected.digests:
        return ""
    names = {entry.sha256: f"{entry.status} {entry.code} of {entry.upload}" for entry in expected.history}
    history = "; ".join(f"{_told_of(entry)}" for entry in expected.history)
    holds = "nothing" if digest == ABSENT else names.get(digest, f"{digest}, which nobody uploaded")
    return f"holds {holds}; its history: {history}"


def _told_of(entry: Entry) -> str:
    return f"{entry.upload.mode} {entry.upload.flaw} {entry.sha256[:8]} {entry.status} {entry.code}" + (
        "" if entry.was_ending else " (not whole)"
    )


def sort_of(expected: Expected, digest: str) -> str:
    """
    Describe in a few words how a key was verified.
    """
    if len(expected.digests) == 1:
        return "absent as they must be" if digest == ABSENT else "with the one object which they must hold"
    return "absent, as they may be" if digest == ABSENT else "with one of the objects which they may hold"
