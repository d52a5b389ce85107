"""
Find files with secrets that other users can read, and files that other users can change.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator
from pathlib import Path

from s3proxy.configuration.certificates import read_certificates
from s3proxy.configuration.endpoints import parse_tls
from s3proxy.configuration.loading import Configuration
from s3proxy.configuration.options import Settings
from s3proxy.configuration.secrets import SECRET, SECRET_FILE
from s3proxy.interfaces import ICredentialSource

_PASSWORD = re.compile(r"//[^/@]*:[^/@]+@|[?&]password=")


def exposed_files(
    configuration: Configuration, path: Path, settings: Settings, source: ICredentialSource
) -> Iterator[tuple[Path, str]]:
    """
    Find the files with secrets that other users of the machine can read, and the files that they can change or replace.

    Args:
        path: The configuration file.
        source: The opened source of client keys.

    Returns:
        Each file with what is wrong, as text for the operator.
    """
    tables = [*configuration.content.get("backend", []), *configuration.content.get("backend_key", [])]
    secret_paths = set(source.secret_files)
    secret_paths |= {configuration.directory / table[SECRET_FILE] for table in tables if SECRET_FILE in table}
    secret_paths |= {Path(name) for one in settings.backends if (name := one.client_private_key_file) is not None}
    for listener in settings.listeners:
        endpoint = parse_tls(listener.endpoint)
        if endpoint is not None:
            shown = read_certificates(endpoint, settings.directory)
            secret_paths |= {each.key_path for each in shown.certificates} | set(shown.unused_keys)
    if any(SECRET in table for table in tables) or _PASSWORD.search(settings.credentials.source):
        secret_paths.add(path)
    trusted_paths = secret_paths | {path}
    trusted_paths |= {Path(one.client_ca_file) for one in settings.listeners if one.client_ca_file is not None}
    for each in sorted(trusted_paths):
        mode = stat.S_IMODE(each.stat().st_mode)
        needed = f"(its mode is {mode:04o}); use chmod 600"
        if mode & (stat.S_IWGRP | stat.S_IWOTH):
            yield each, f"{_whose(mode, stat.S_IWOTH)} can change it {needed}"
        elif each in secret_paths and mode & (stat.S_IRGRP | stat.S_IROTH):
            yield each, f"{_whose(mode, stat.S_IROTH)} can read the secrets in it {needed}"
    for directory in sorted({each.absolute().parent for each in trusted_paths}):
        mode = stat.S_IMODE(directory.stat().st_mode)
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            yield directory, f"{_whose(mode, stat.S_IWOTH)} can replace files in it (its mode is {mode:04o})"


def _whose(mode: int, of_others: int) -> str:
    return "every user of this machine" if mode & of_others else "every member of its group"
