"""
The list of ``s3proxy keys list``: what each key is and may do, and never a secret.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from s3proxy.commands.key_options import ACCESS_KEY_ID, SECRET, rule_options
from s3proxy.credentials.writer import Record

_COLUMNS = ("disabled", "expires", "backend")
"Options that have a column of their own."

_HEADERS = ("KEY", "STATE", "EXPIRES", "BACKEND", "SECRETS", "RULES")


def describe(record: Record, now: datetime) -> dict[str, Any]:
    """
    Return what may be shown of a key, as JSON values.
    """
    expires = record.get("expires")
    secrets = record[SECRET]
    return {
        "access_key_id": record[ACCESS_KEY_ID],
        "state": _state(record, now),
        "expires": None if expires is None else _moment(expires),
        "backend": record.get("backend"),
        "secrets": 1 if isinstance(secrets, str) else len(secrets),
        "is_temporary": record.get("session_token") is not None,
        # Only what is known to be no secret: a new option is left out until it is declared.
        "rules": {
            each.name: record[each.name] for each in rule_options() if each.name not in _COLUMNS and each.name in record
        },
    }


def _state(record: Record, now: datetime) -> str:
    if record.get("disabled"):
        return "disabled"
    expires = record.get("expires")
    return "expired" if expires is not None and now >= expires else "active"


def _moment(value: datetime) -> str:
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


def as_json(keys: Iterable[dict[str, Any]]) -> str:
    """
    Return descriptions as a JSON document.
    """
    return json.dumps(list(keys), indent=2, ensure_ascii=False, default=str)


def as_table(keys: Iterable[dict[str, Any]]) -> str:
    """
    Return descriptions as a table, with one line for each key.
    """
    rows = [_HEADERS, *map(_row, keys)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADERS))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _row(key: dict[str, Any]) -> tuple[str, ...]:
    rules = [f"{name}={_compact(value)}" for name, value in key["rules"].items()]
    if key["is_temporary"]:
        rules.insert(0, "session_token")
    return (
        key["access_key_id"],
        key["state"],
        key["expires"] or "-",
        key["backend"] or "-",
        str(key["secrets"]),
        " ".join(rules) or "-",
    )


def _compact(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ",".join(map(_compact, value))
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)
