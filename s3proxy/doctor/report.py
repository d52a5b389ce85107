"""
The summary of an examination: the profile that fits, and the table to paste.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from s3proxy.configuration.modes import Commit
from s3proxy.configuration.tables import format_size
from s3proxy.doctor.comparison import Compared, compare
from s3proxy.doctor.examination import Examination
from s3proxy.doctor.fitting import Fit, fits, proves_fin, proves_tail
from s3proxy.doctor.storage import Storage
from s3proxy.doctor.verdict import Finding
from s3proxy.profiles.known import PROFILES
from s3proxy.resign.account import SignatureVersion

TAKES_ANYBODY = (
    "It accepts a wrong secret: every client that can reach it may do anything. "
    "The findings on signatures mean nothing."
)


def line_of(finding: Finding) -> str:
    """
    Return a finding as one line.
    """
    why = f": {finding.why}" if finding.why else ""
    return f"  {finding.verdict.value:7}  {finding.about}{why}"


def backend_table(storage: Storage, fitting: Fit, commit: str | None, lines: Sequence[str]) -> str:
    """
    Return the table of a configuration.

    Args:
        commit: The value of the option; None for the profile's default.
        lines: Further lines, which the examination cannot know: where the secret is.
    """
    profile, place = fitting.profile, storage.place
    path = storage.service_path.decode()
    url = place.url.removesuffix("/")
    if path and not place.service_path and path.encode() != profile.service_path:
        url += path
    table = {
        "name": "storage",
        "url": url,
        "profile": profile.name,
        "signature": str(storage.way.signature),
        "region": storage.key.region if storage.way.signature == SignatureVersion.V4 else None,
        "access_key_id": storage.key.access_key_id,
    }
    said = [line_of_table(name, value) for name, value in table.items() if value is not None]
    ending = [] if commit is None else [line_of_table("commit", commit)]
    return "\n".join(["[[backend]]", *said, *lines, *ending])


def line_of_table(name: str, value: str) -> str:
    """
    Return a line of TOML. A JSON string is also a TOML string.
    """
    return f"{name} = {json.dumps(value)}"


def _compared_document(compared: Compared) -> dict[str, Any]:
    found, expected = compared.found, compared.expected
    return {
        "name": compared.condition.name,
        "found": found and found.value,
        "expected": expected and [one.value for one in expected],
        "as_profile": compared.is_as_expected,
    }


class Report:
    """
    The summary of an examination.

    Args:
        asked: The name of a profile to compare with; None for the one that fits best.
        lines: Further lines of the table, which the examination cannot know: where the secret is.
    """

    def __init__(self, examination: Examination, asked: str | None, lines: Sequence[str]) -> None:
        self._examination = examination
        storage = examination.storage
        self.fits = fits(examination.findings, storage.way.profile)
        self.chosen = (
            self.fits[0] if asked is None else next(one for one in self.fits if one.profile is PROFILES[asked])
        )
        self.commit = Commit.TAIL if proves_tail(examination.findings, self.chosen.profile) else Commit.SPOOL
        self._spools_anyway = self.commit == Commit.TAIL and self.chosen.profile.spooled_size > 0
        self.table = backend_table(storage, self.chosen, None if self._spools_anyway else self.commit, lines)

    def text(self) -> str:
        """
        Return what follows the findings.
        """
        parts = []
        if self._examination.takes_any_secret:
            parts.append(TAKES_ANYBODY)
        ranks = ", ".join(f"{one.profile.name} ({one.score})" for one in self.fits)
        parts.append(f"Profiles, best first: {ranks}.")
        chosen = self.chosen
        if chosen.denied:
            findings = self._examination.findings
            lines = [f"Differences from the profile {chosen.profile.name}:"]
            for claim in chosen.denied:
                finding = findings.get(claim.probe)
                told = "the service path" if finding is None else f"{finding.about}: {finding.verdict.value}"
                lines.append(f"  {told}; {claim.about}")
            parts.append("\n".join(lines))
        compared = [f"  {one}" for one in compare(chosen.profile, self._examination.findings)]
        if compared:
            parts.append("\n".join([f"Conditions of writes, beside the profile {chosen.profile.name}:", *compared]))
        parts.append(self._tail_text())
        parts.append(self.table)
        return "\n\n".join(parts)

    def _tail_text(self) -> str:
        if self.commit == Commit.SPOOL:
            return "It is not proven that a body that is reset before its last byte is dropped: `spool` is needed."
        text = "A body that is reset before its last byte is dropped: `tail` is proven."
        if self._spools_anyway:
            size = format_size(self.chosen.profile.spooled_size)
            text += (
                f"\nBodies up to {size} are verified on disk first all the same, because this storage system pays for\n"
                "each body that is cut: this is the default of the profile, and the table has no `commit`."
            )
        if not proves_fin(self._examination.findings):
            text += (
                "\nA body that ends with FIN is stored. s3proxy never ends a body with FIN, but a load balancer in\n"
                "between may turn a reset into a FIN. Use `spool` unless s3proxy connects to the backend directly."
            )
        return text

    def document(self) -> str:
        """
        Return everything as a JSON document.
        """
        examination = self._examination
        storage = examination.storage
        content: dict[str, Any] = {
            "url": storage.place.url,
            "service_path": storage.service_path.decode(),
            "findings": [
                {"name": one.name, "about": one.about, "verdict": one.verdict.value, "why": one.why}
                for one in examination.findings.values()
            ],
            "takes_any_secret": examination.takes_any_secret,
            "profiles": [
                {
                    "name": one.profile.name,
                    "score": one.score,
                    "confirmed": [claim.probe for claim in one.confirmed],
                    "denied": [claim.probe for claim in one.denied],
                }
                for one in self.fits
            ],
            "conditions": [_compared_document(one) for one in compare(self.chosen.profile, examination.findings)],
            "profile": self.chosen.profile.name,
            "signature": str(storage.way.signature),
            "commit": self.commit,
            "drops_at_fin": proves_fin(examination.findings),
            "backend": self.table,
            "left": examination.left or [],
        }
        return json.dumps(content, indent=2)
