"""
Read secrets: from the configuration itself, an environment variable or a file.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from s3proxy.configuration.tables import Fault, Faults
from s3proxy.resign.account import SignatureVersion
from s3proxy.s3.limits import KIB

MAX_SECRET_FILE_SIZE = 4 * KIB
"""
Maximum bytes of a file with one secret.
"""

SECRET, SECRET_FILE = "secret_access_key", "secret_access_key_file"
_SECRET_OPTIONS = (SECRET, SECRET_FILE, "secret_access_key_env")


def read_secrets(
    content: Mapping[str, Any], name: str, directory: Path, environment: Mapping[str, str], faults: list[Fault]
) -> list[str | None]:
    """
    Return the secret of each table. Secrets are read even if the file has other errors, so that all errors are
    reported.

    Args:
        name: The name of the tables.
    """
    tables = content.get(name, [])
    if not isinstance(tables, list):
        return []
    secrets: list[str | None] = []
    for index, table in enumerate(tables):
        secrets.append(None)
        place = f"{name}[{index}]"
        if isinstance(table, dict) and _is_signed_for(name, table, place, faults):
            try:
                secrets[index] = _read_secret(table, place, directory, environment)
            except Faults as error:
                faults += error.faults
    return secrets


def _is_signed_for(name: str, table: Mapping[str, Any], place: str, faults: list[Fault]) -> bool:
    """
    Return True if a table must have a key. Add errors for a missing `access_key_id`, and for key options without
    effect.
    """
    if name != "backend":
        return True
    if table.get("signature") == SignatureVersion.NONE:
        needless = [option for option in ("access_key_id", *_SECRET_OPTIONS) if option in table]
        faults += [Fault(f"{place}.{option}", 'has no effect if signature is "none"') for option in needless]
        return False
    if "access_key_id" not in table:
        faults.append(Fault(f"{place}.access_key_id", 'is required unless signature is "none"'))
    return True


def _read_secret(table: Mapping[str, Any], place: str, directory: Path, environment: Mapping[str, str]) -> str | None:
    given = [name for name in _SECRET_OPTIONS if name in table]
    if len(given) != 1:
        why = f"exactly one of {', '.join(_SECRET_OPTIONS)} is required; {len(given)} are given"
        raise Faults([Fault(place, why)])
    value = table[given[0]]
    if not isinstance(value, str):
        # The check of the option reports this.
        return None
    if given[0] == "secret_access_key_env":
        return read_secret_variable(value, f"{place}.{given[0]}", environment)
    if given[0] == "secret_access_key_file":
        return read_secret_file(directory / value, f"{place}.{given[0]}")
    return value


def read_secret_variable(name: str, place: str, environment: Mapping[str, str]) -> str:
    """
    Return the secret in an environment variable.

    Args:
        place: The option that names the variable.

    Raises:
        Faults: The variable does not have one line of text.
    """
    secret = environment.get(name, "")
    if not secret or not secret.isprintable():
        raise Faults([Fault(place, f"environment variable {name} is unset or is not one line of text")])
    return secret


def read_secret_file(path: Path, place: str) -> str:
    """
    Return the secret that is the only line of a file.

    Args:
        place: The option that names the file.

    Raises:
        Faults: The file cannot be read, or does not have one line of text.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_SECRET_FILE_SIZE + 1)
    except OSError as error:
        raise Faults([Fault(place, f"{path}: {error.strerror}")]) from None
    secret = content.decode("utf-8", "replace").strip()
    if not secret or not secret.isprintable() or len(content) > MAX_SECRET_FILE_SIZE or "\ufffd" in secret:
        raise Faults([Fault(place, f"{path}: must contain one line of text, the secret")])
    return secret
