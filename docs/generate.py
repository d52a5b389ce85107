"""
Write the reference pages which the code knows: options, errors and limits; ``--check`` only says which are stale.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Iterable
from pathlib import Path

from twisted.internet.task import Clock

from s3proxy.credentials.file import KeyTable
from s3proxy.resign.profiles import PROFILES, Profile
from s3proxy.s3 import errors, limits
from s3proxy.settings import TABLES
from s3proxy.tables import format_size, options_of
from s3proxy.testing.legacy_quirks import MODES, Quirks

ROOT = Path(__file__).parent.parent
# Behind what is installed: only the tests are to be found there.
sys.path.append(str(ROOT))

from tests import fault_rows  # noqa: E402

REFERENCE = Path(__file__).parent / "reference"
NOTE = "<!-- Written by `python docs/generate.py`. -->\n\n"


def options_page() -> str:
    """
    Every option with its unit, its default and what it does.
    """
    parts = [
        "# Options\n\n" + NOTE + "The configuration is a TOML file: `twistd -n s3proxy --config s3proxy.toml`. "
        "`s3proxy check FILE` tells every fault with its place. Unknown names are faults. Relative paths are meant "
        "from where the file is.\n"
    ]
    for name, table in {**TABLES, "[[key]] of keys.toml": KeyTable}.items():
        about = " ".join((inspect.getdoc(table) or "").split("\n\n")[0].split())
        parts.append(f"\n## `{name}`\n\n{about}\n\n| option | accepts | unit | default | |\n|---|---|---|---|---|\n")
        for option in options_of(table):
            cells = [
                f"`{option.name}`",
                option.kind.accepted,
                option.kind.unit or "-",
                option.default_text,
                option.about,
            ]
            parts.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n")
    return "".join(parts)


def errors_page() -> str:
    """
    Every error which s3proxy itself answers.
    """
    rows = []
    for _, class_ in inspect.getmembers(errors, inspect.isclass):
        if issubclass(class_, errors.S3Error) and class_ is not errors.S3Error:
            retry = "yes" if class_.retry_after is not None else ""
            rows.append((class_.code, class_.status, class_.default_message, retry))
    table = "".join(f"| {code} | {status} | {message} | {retry} |\n" for code, status, message, retry in sorted(rows))
    return (
        "# Errors\n\n"
        + NOTE
        + "What s3proxy itself answers, as S3's document of an error. What the storage answers is "
        "relayed, save what speaks of our own signature: that is a 500.\n\n"
        "| code | status | message, where it is always the same | Retry-After |\n|---|---|---|---|\n" + table
    )


def limits_page() -> str:
    """
    Every limit of the protocol with its reason.
    """
    tree = ast.parse(inspect.getsource(limits))
    rows = []
    for node, following in zip(tree.body, tree.body[1:], strict=False):
        if not isinstance(node, ast.Assign) or not isinstance(following, ast.Expr):
            continue
        target = node.targets[0]
        if isinstance(target, ast.Name) and isinstance(following.value, ast.Constant):
            value = getattr(limits, target.id)
            reason = " ".join(str(following.value.value).split())
            shown = format_size(value) if reason.startswith("Bytes") else str(value)
            rows.append(f"| `{target.id}` | {shown} | {reason} |\n")
    return "# Limits\n\n" + NOTE + "| limit | value | |\n|---|---|---|\n" + "".join(rows)


FAULTS_INTRODUCTION = """
What becomes of each kind of request when its backend or its client fails: status and code which the client reads,
*cut* where its connection ends without a whole answer, *none* where the client itself has left. A ● says that the
backend holds the whole request: it failed afterwards, or the client left then. In every other case it holds nothing
which it could take for one. Afterwards another client is served, and no connection, timer, file or Deferred is left.

`pytest tests/test_fault_matrix.py` runs each cell, on plain connections and with TLS on both sides; where the two
differ there is a row for each. A streamed upload, a part and a form have 1.5 MB, the kernel keeps 64 KiB for each
socket. Where the fault is in the middle of a body, a download has it at the end of its head.
`s3proxy.testing.faults` has each fault by name, for [tests of your own](../howto/test.md).
"""

AMBIGUOUS_INTRODUCTION = """
## Answers which nobody believes

500 InternalError where nothing was sent to the client yet, *cut* otherwise; the connection to the backend is dropped.
Each is run with every kind of request, whole and octet by octet, while another tenant waits for the only connection
there may be, and reads an answer of its own.
"""


def faults_page() -> str:
    """
    What becomes of requests when something fails.
    """
    clock = Clock()
    parts = ["# Faults\n\n" + NOTE.rstrip() + "\n" + FAULTS_INTRODUCTION]
    for title, rows in (("The backend", fault_rows.backend_rows(clock)), ("The client", fault_rows.client_rows(clock))):
        head = "| | " + " | ".join(fault_rows.KINDS) + " |\n|---|" + "---|" * len(fault_rows.KINDS) + "\n"
        parts.append(f"\n## {title}\n\n{head}")
        for name, row in rows.items():
            cells = {channel: fault_cells(row, channel) for channel in row.channels}
            is_same = len(set(cells.values())) == 1 and len(cells) > 1
            for channel in row.channels[:1] if is_same else row.channels:
                label = name if is_same else f"{name} ({channel})"
                parts.append(f"| {label} | {cells[channel]} |\n")
    parts.append(AMBIGUOUS_INTRODUCTION)
    names = [*fault_rows.AMBIGUOUS_HEADS, *fault_rows.AMBIGUOUS_BODIES, *fault_rows.EXCESS]
    parts.append("\n" + "".join(f"- {name}\n" for name in names))
    return "".join(parts)


def fault_cells(row: fault_rows.Row, channel: str) -> str:
    """
    The cells of one row of the table of faults.
    """
    return " | ".join(
        row.outcome(kind, channel) + (" ●" if row.is_stored(kind, channel) else "") for kind in fault_rows.KINDS
    )


def profiles_page() -> str:
    """
    What each profile says of its kind of backend.
    """
    rows = []
    for profile in PROFILES.values():
        health = profile.health
        answers = ", ".join(map(str, sorted(health.statuses))) or "below 500"
        cells = [
            f"[{profile.name}](backends/{profile.name}.md)",
            f"`{profile.service_path.decode()}`" if profile.service_path else "-",
            profile.date_form.value,
            ("passed" if profile.takes_checksums else "dropped")
            + (", in trailers too" if profile.takes_trailers else ""),
            "proven" if profile.proves_tail else "not proven",
            f"`{health.method.decode()} {(profile.service_path + health.path).decode()}`: {answers}",
            _code_list(name.decode() for name in sorted(profile.reserved_segments)),
            _code_list(f"{prefix.decode()}…" for prefix in profile.private_headers),
            "all" if profile.operations is None else str(len(profile.operations)),
        ]
        rows.append("| " + " | ".join(cells) + " |\n")
    lists = "".join(
        f"\n## Operations which {profile.name} has\n\n{_code_list(sorted(profile.operations))}\n"
        f"{_made_of_others(profile)}"
        for profile in PROFILES.values()
        if profile.operations is not None
    )
    return f"# Profiles\n\n{NOTE}{PROFILES_INTRODUCTION}{''.join(rows)}{lists}{quirks_table()}"


def _made_of_others(profile: Profile) -> str:
    return "\nDeleteObjects is carried out as one `DELETE object` for each.\n" if profile.deletes_one_by_one else ""


def quirks_table() -> str:
    """
    What each stand-in does otherwise than S3.
    """
    attributes = (inspect.getdoc(Quirks) or "").partition("Attributes:\n")[2]
    abouts = dict(re.findall(r"^    (\w+): (.*(?:\n        .*)*)", attributes, re.MULTILINE))
    plain = Quirks()
    rows = []
    for name, about in abouts.items():
        cells = []
        for quirks in MODES.values():
            value = getattr(quirks, name)
            shown = value.decode() if isinstance(value, bytes) else value if isinstance(value, str) else "●"
            cells.append(shown if value != getattr(plain, name) or (shown == "in" and quirks.service_path) else "")
        rows.append(f"| {' '.join(about.split()).replace('``', '`')} | " + " | ".join(cells) + " |\n")
    head = "| | " + " | ".join(MODES) + " |\n|---|" + "---|" * len(MODES) + "\n"
    return f"\n## Quirks\n\n{QUIRKS_INTRODUCTION}\n{head}{''.join(rows)}"


QUIRKS_INTRODUCTION = (
    """
What `s3proxy.testing.LegacyStore` does in the place of the older ones. `pytest tests/test_profiles.py` tries each
straight, where it shows, and through s3proxy, where it does not; but for the one which cannot be mended: where a store
says AccessDenied to a wrong key, nobody can tell whose.
""".strip()
    + "\n"
)


PROFILES_INTRODUCTION = """
The `profile` of a backend says what kind of storage it is. Each has a page: what it refuses, what is translated, how it
is set up.

*Date* is where Signature V2 has it. *Checksums* are `x-amz-checksum-…` headers, after they were verified. Where they
are passed in trailers too, which needs Signature V4, so are those of an upload in parts; else they are not. *Tail* says
whether that kind of storage was seen to drop a body which was reset before its end. *Reserved* are first segments of
paths, and *private* are headers, which are answered 403 AccessDenied before the backend is asked. Where a number of
*operations* stands, the others are answered 501 NotImplemented before it is asked.

| profile | service path | date | checksums | tail | health | reserved | private | operations |
|---|---|---|---|---|---|---|---|---|
""".lstrip()


def _code_list(texts: Iterable[str]) -> str:
    return ", ".join(f"`{text}`" for text in texts) or "-"


PAGES = {
    "profiles.md": profiles_page,
    "options.md": options_page,
    "errors.md": errors_page,
    "limits.md": limits_page,
    "faults.md": faults_page,
}


def main() -> int:
    """
    Write the pages, or say which are stale.
    """
    stale = 0
    for name, make in PAGES.items():
        path = REFERENCE / name
        text = make()
        if path.exists() and path.read_text("utf-8") == text:
            continue
        if "--check" in sys.argv[1:]:
            print(f"{path} is stale: run python docs/generate.py", file=sys.stderr)
            stale = 1
        else:
            path.write_text(text, "utf-8")
    return stale


if __name__ == "__main__":
    sys.exit(main())
