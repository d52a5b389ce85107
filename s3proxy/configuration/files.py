"""
Which files a reload reads again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from s3proxy.configuration.endpoints import parse_tls
from s3proxy.configuration.options import FILE, Settings
from s3proxy.configuration.sources import find_source
from s3proxy.configuration.tables import options_of

_NOT_READ = frozenset({"spool_directory", "multipart_directory", "unix_socket"})
"""
Options whose path is not of a file that the daemon reads.
"""


def read_files(settings: Settings) -> set[Path]:
    """
    Return the files that a reload reads: the configuration, the keys, and each file that an option names, such as a
    certificate or a secret. An option may also name a directory of such files.
    """
    credentials = settings.credentials
    tables = [settings.server, *settings.listeners, *settings.backends, *settings.backend_keys]
    found = set(_named([*tables, credentials.ldap, credentials.callout, credentials.keystone]))
    if settings.file is not None:
        found.add(settings.file)
    form, argument = find_source(credentials.source)
    if form.is_file:
        found.add(Path(argument))
    for listener in settings.listeners:
        tls = parse_tls(listener.endpoint)
        if tls is not None:
            paths = (tls.directory, tls.private_key, tls.certificate, tls.chain, tls.dh_parameters)
            found |= {Path(path) for path in paths if path}
    return {settings.directory / path for path in found}


def _named(tables: Iterable[Any]) -> Iterator[Path]:
    for table in tables:
        for each in options_of(type(table)):
            value = getattr(table, each.name)
            if each.kind is FILE and each.name not in _NOT_READ and value is not None:
                yield Path(value)
