"""
Write the reference pages which the code knows: options, errors and limits; ``--check`` only says which are stale.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any

from twisted.internet.task import Clock

from s3proxy.configuration.options import TABLES
from s3proxy.configuration.tables import format_size, options_of
from s3proxy.credentials.callout import CalloutKey
from s3proxy.credentials.record import KeyTable
from s3proxy.daemon import supervisor
from s3proxy.daemon.instruments import INSTRUMENTS
from s3proxy.profiles.allowed import EXTENSIONS
from s3proxy.profiles.known import PROFILES
from s3proxy.s3 import errors, limits
from s3proxy.s3.operation import LIST_OBJECTS_V2, OPERATIONS, Level
from s3proxy.telemetry.declarations import BUCKETS, Metric
from s3proxy.testing.legacy_quirks import MODES, Quirks

ROOT = Path(__file__).parent.parent
# Behind what is installed: only the tests are to be found there.
sys.path.append(str(ROOT))

from tests.product import fault_rows  # noqa: E402

REFERENCE = Path(__file__).parent / "reference"
NOTE = "<!-- Written by `python docs/generate.py`. -->\n\n"


def options_page() -> str:
    """
    Every option with its unit, its default and what it does.
    """
    parts = [
        "# Options\n\n" + NOTE + "The configuration is a TOML file: `twistd -n s3proxy --config s3proxy.toml`. "
        "`s3proxy check FILE` reports the errors, each with its location. An unknown name is an error. A relative path "
        "starts from the directory of the file.\n"
    ]
    for name, table in {**TABLES, "[[key]] of keys.toml": KeyTable, "response of a callout": CalloutKey}.items():
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
    with_message = errors_with_messages()
    for name, class_ in inspect.getmembers(errors, inspect.isclass):
        if issubclass(class_, errors.S3Error) and class_ is not errors.S3Error:
            retry = "yes" if class_.retry_after is not None else ""
            is_own = class_ is errors.InternalError or class_.default_message != errors.S3Error.default_message
            messages = [class_.default_message] if is_own else []
            messages += ["*what is wrong*"] if name in with_message or not is_own else []
            rows.append((class_.code, class_.status, " / ".join(messages), retry))
    table = "".join(f"| {code} | {status} | {message} | {retry} |\n" for code, status, message, retry in sorted(rows))
    return (
        "# Errors\n\n"
        + NOTE
        + "The errors of s3proxy itself, sent as S3's error document. Responses of the backend are relayed, except "
        "errors about our own signature: these become a 500.\n\n"
        "*What is wrong* stands for a message about the request. Some errors have either message.\n\n"
        "| code | status | message | Retry-After |\n|---|---|---|---|\n" + table
    )


def errors_with_messages() -> set[str]:
    """
    The classes of errors that somewhere get a message of their own.
    """
    found = set()
    for path in (ROOT / "s3proxy").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ClassDef) and path.name == "errors.py":
                calls = [call for call in ast.walk(node) if isinstance(call, ast.Call) and _has_message(call)]
                found |= {node.name for call in calls if ast.unparse(call.func) in {"cls", "super().__init__"}}
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and _has_message(node):
                class_ = getattr(errors, node.func.id, None)
                if inspect.isclass(class_) and "__init__" not in vars(class_):
                    found.add(node.func.id)
    return found


def _has_message(call: ast.Call) -> bool:
    return bool(call.args) and not (isinstance(call.args[0], ast.Constant) and call.args[0].value is None)


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
            rows.append(f"| `{target.id}` | {shown} | {OPTIONS_OF_LIMITS.get(target.id, '-')} | {reason} |\n")
    return "# Limits\n\n" + NOTE + LIMITS_INTRODUCTION + "".join(rows)


LIMITS_INTRODUCTION = """
A limit with an [option](options.md) is that option's default. The others are fixed.

| limit | value | option | |
|---|---|---|---|
""".lstrip()
OPTIONS_OF_LIMITS = {
    "MAX_OBJECT_SIZE": "`object_size`",
    "SMALL_BODY_SIZE": "`small_body`",
    "MAX_XML_BODY_SIZE": "`xml_body`",
}


FAULTS_INTRODUCTION = """
This page says how each kind of request ends if its backend or its client fails. A cell has the status and the code
that the client gets. *cut*: the connection ends without a whole response. *none*: the client itself has left.
●: the backend has the whole request, because it failed, or the client left, after that. In every other case the
backend has nothing that it could take for a whole request. Afterwards another client is served, and no connection,
timer, file or Deferred is left.

`pytest tests/product/test_fault_matrix.py` runs each cell, on plain connections and with TLS on both sides. If the two
differ, each has a row. A streamed upload, a part and a form have 1.5 MB, and the kernel keeps 64 KiB for each socket.
If the fault is in the middle of a body, a download has it at the end of its head.
`s3proxy.testing.faults` has each fault by name, for [tests of your own](../howto/test.md).
"""

AMBIGUOUS_INTRODUCTION = """
## Ambiguous responses

The client gets 500 InternalError if nothing was sent to it yet, and *cut* otherwise. The connection to the backend is
dropped. Each response is tested with every kind of request, whole and byte by byte. Meanwhile another tenant waits for
the only connection that is allowed, and gets a response of its own.
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
        responses = ", ".join(map(str, sorted(health.statuses))) or "below 500"
        cells = [
            f"[{profile.name}](backends/{profile.name}.md)",
            f"`{profile.service_path.decode()}`" if profile.service_path else "-",
            profile.date_form.value,
            ("passed" if profile.takes_checksums else "dropped")
            + (", in trailers too" if profile.takes_trailers else ""),
            "proven" if profile.proves_tail else "not proven",
            f"`{health.method.decode()} {(profile.service_path + health.path).decode()}`: {responses}",
            _code_list(name.decode() for name in sorted(profile.reserved_segments)),
            _code_list(f"{prefix.decode()}…" for prefix in profile.private_headers),
            str(len(profile.taken_operations)),
        ]
        rows.append("| " + " | ".join(cells) + " |\n")
    return f"# Profiles\n\n{NOTE}{PROFILES_INTRODUCTION}{''.join(rows)}{quirks_table()}"


def operations_page() -> str:
    """
    Every operation of S3, and what each profile takes.
    """
    levels: dict[str, list[str]] = {level.value: [] for level in Level}
    for operation in sorted(OPERATIONS.values(), key=lambda each: each.name):
        query = "&".join(sorted(name.decode() for name in operation.required))
        if operation.subresource is not None:
            subresource = operation.subresource.decode() + ("=2" if operation is LIST_OBJECTS_V2 else "")
            query = "?" + subresource + (f"&{query}" if query else "")
        copies = ", with `x-amz-copy-source`" if operation.copies else ""
        cells = [
            operation.name,
            f"`{operation.method.decode()} {query}`".replace(" `", "`") + copies,
            _code_list(sorted(name.decode() for name in operation.parameters)),
            _code_list(dict.fromkeys(each for each in (operation.action, operation.version_action) if each)),
        ]
        for profile in PROFILES.values():
            is_made = operation.name in profile.taken_operations and operation.name not in profile.operations
            is_made = is_made or (profile.lacks_multipart and operation.is_part_of_upload)
            cells.append("○" if is_made else "●" if operation.name in profile.taken_operations else "")
        levels[operation.level.value].append("| " + " | ".join(cells) + " |\n")
    head = "| Operation | Request | Further parameters | Action | " + " | ".join(PROFILES) + " |\n"
    head += "|---" * (4 + len(PROFILES)) + "|\n"
    tables = "".join(f"\n## {level.capitalize()}\n\n{head}{''.join(rows)}" for level, rows in levels.items())
    features = ""
    for profile in PROFILES.values():
        functions = ", ".join(sorted(each.value for each in profile.features)) or "none"
        known = ", ".join(f"`{each.name}`" + ("" if each.is_default else " (off)") for each in profile.extensions)
        features += f"| {profile.name} | {functions} | {known or 'none'} |\n"
    extensions = "".join(
        f"| `{each.name}` | {', '.join(sorted(each.operations))} | "
        f"{_code_list(sorted(name.decode() for name in each.parameters | each.headers))} |\n"
        for each in EXTENSIONS.values()
    )
    return (
        f"# Operations\n\n{NOTE}{OPERATIONS_INTRODUCTION}{tables}{FEATURES_INTRODUCTION}{features}"
        f"{EXTENSIONS_INTRODUCTION}{extensions}"
    )


OPERATIONS_INTRODUCTION = """These are the operations of the Amazon S3 API, grouped by what the request's path names.
s3proxy sends nothing else to a backend, whatever key signed it:

- The methods PATCH, TRACE and CONNECT, and a sub-resource that S3 does not have with this method, get 405
  MethodNotAllowed. Any other method gets 400 BadRequest.
- Two sub-resources in one request, a repeated parameter, and a missing or empty one get 400 InvalidArgument. An empty
  `uploadId` gets 404 NoSuchUpload.
- A query parameter that S3 does not know is ignored in a read, as S3 ignores it, and not sent. A write with one gets
  501 NotImplemented: without the parameter it would be another operation.
- `x-id`, `X-Amz-User-Agent` and `X-Amz-Content-Sha256` have no effect. They are accepted everywhere and not sent.

● marks what a profile accepts, and ○ what s3proxy carries out by other requests. An operation that a profile does not
accept gets 501 NotImplemented, and no request is sent: many storage systems ignore a sub-resource that they do not
know, and carry out another operation. *Action* is what S3's access policies call the permission; the second one is for
a request that names a version. `extensions` of a `[[backend]]` adds operations for a backend that has them.
CreateSession is never sent: its response would hold credentials of the backend's own key.
"""
FEATURES_INTRODUCTION = """
## Functions that headers ask for

A write whose headers ask for a function that the profile does not have gets 501 NotImplemented.

| Profile | Functions | Extensions |
|---|---|---|
"""
EXTENSIONS_INTRODUCTION = """
## Extensions

What storage systems have beyond S3. `extensions` of a `[[backend]]` names those that clients may use. The default is
all that are not marked "off" above.

| Extension | Operations | Parameters and headers |
|---|---|---|
"""


def metrics_page() -> str:
    """
    Every metric, as its declaration describes it.
    """
    bounds = ", ".join(f"{bound:g}" for bound in BUCKETS)
    declared = [metric for instrument in INSTRUMENTS for metric in instrument.metrics]
    parts = ["# Metrics\n\n" + NOTE + METRICS_INTRODUCTION.format(bounds=bounds) + metrics_table(declared)]
    parts += [SUPERVISOR_INTRODUCTION + metrics_table(supervisor.METRICS)]
    return "".join(parts)


def metrics_table(declared: Iterable[Metric[Any]]) -> str:
    """
    A row for each metric, by name.
    """
    rows = []
    for metric in sorted(declared, key=lambda each: each.name):
        labels = [
            f"`{name}`: " + (values if isinstance(values, str) else ", ".join(f"`{value}`" for value in values))
            for name, values in metric.labels.items()
        ]
        cells = [
            f"`{metric.queried_name}`",
            metric.kind.value,
            "<br>".join(labels) or "-",
            metric.unit or "-",
            metric.about,
        ]
        rows.append("| " + " | ".join(cells) + " |\n")
    return "| metric | kind | labels | unit | meaning |\n|---|---|---|---|---|\n" + "".join(rows)


METRICS_INTRODUCTION = """
The [admin endpoint](../howto/operate.md#watch-it) serves `/metrics` in the text format of Prometheus.
With several workers, the numbers are those of all workers together. Counters of workers that have ended stay in them.

- A *counter* only goes up. It begins at 0 when the daemon starts. The counters of a backend or of budgets also do so
  when a reload changes their options.
- A *gauge* goes up and down.
- A *histogram* has `_count`, `_sum`, and `_bucket` with the label `le`. Its bounds are {bounds}
  and `+Inf` seconds.

If a label has a list of values, it has no other value. A metric that has no value yet has no line.

""".lstrip()
SUPERVISOR_INTRODUCTION = """
## With several workers

These are of the supervisor. A daemon with `workers = 1` does not have them.

"""


def quirks_table() -> str:
    """
    What each stand-in does otherwise than S3.
    """
    attributes = (inspect.getdoc(Quirks) or "").partition("Attributes:\n")[2]
    abouts = dict(re.findall(r"^    (\w+): (.*(?:\n        .*)*)", attributes, re.MULTILINE))
    plain = Quirks()
    rows = []
    for name in (field.name for field in fields(Quirks)):
        cells = []
        for quirks in MODES.values():
            value = getattr(quirks, name)
            shown = value.decode() if isinstance(value, bytes) else value if isinstance(value, str) else "●"
            cells.append(shown if value != getattr(plain, name) or (shown == "in" and quirks.service_path) else "")
        rows.append(f"| {' '.join(abouts[name].split()).replace('``', '`')} | " + " | ".join(cells) + " |\n")
    head = "| | " + " | ".join(MODES) + " |\n|---|" + "---|" * len(MODES) + "\n"
    return f"\n## Quirks\n\n{QUIRKS_INTRODUCTION}\n{head}{''.join(rows)}"


QUIRKS_INTRODUCTION = (
    """
`s3proxy.testing.LegacyStore` has these quirks if it stands in for an older storage system. A *fault* is an error of the
store itself, for which S3 has no code. `pytest tests/mending/test_profiles.py` shows each quirk directly, and shows
that it does not appear through s3proxy. Four quirks are not mended, and their tests show what a client sees. If a store
responds with AccessDenied to a wrong key, s3proxy cannot know whose key is wrong. If the versioning of a bucket that
never had versions is suspended, s3proxy cannot see that, and the bucket has no versions. The entity tags of
CompleteMultipartUpload are checked only if s3proxy keeps the parts. A full disk is not reported, and reads of the
object break off.
""".strip()
    + "\n"
)


PROFILES_INTRODUCTION = """
The `profile` of a backend says what kind of storage system it is. Each profile has a page: what the storage system
refuses, what s3proxy does about it, and how to set it up.

- *Date* is the header that has the date under Signature V2.
- *Checksums* are `x-amz-checksum-…` headers, after they were verified. If they are passed in trailers too, which needs
  Signature V4, then those of a multipart upload are passed as well. Otherwise they are not.
- *Tail* says whether it was proven that such a storage system drops a body that is reset before its end.
- *Reserved* are first segments of paths, and *private* are headers, that get 403 AccessDenied. No request is sent.
- *Operations* is the number of [S3's operations](operations.md) that it accepts. The others get 501 NotImplemented, and
  no request is sent.

| profile | service path | date | checksums | tail | health | reserved | private | operations |
|---|---|---|---|---|---|---|---|---|
""".lstrip()


def _code_list(texts: Iterable[str]) -> str:
    return ", ".join(f"`{text}`" for text in texts) or "-"


PAGES = {
    "profiles.md": profiles_page,
    "operations.md": operations_page,
    "options.md": options_page,
    "errors.md": errors_page,
    "limits.md": limits_page,
    "metrics.md": metrics_page,
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
