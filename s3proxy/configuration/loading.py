"""
Make settings from a configuration file. All errors in it are reported together, each with its location.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from s3proxy.configuration.checks import (
    ConfigurationFile,
    faults_between,
    further_faults,
)
from s3proxy.configuration.options import (
    DEFAULT_LISTEN,
    Limits,
    ListenerSettings,
    LogSettings,
    Settings,
    with_paths,
)
from s3proxy.configuration.secrets import read_secrets
from s3proxy.configuration.tables import Fault, Faults, named_faults, options_of, read_toml, structure
from s3proxy.s3.limits import MIB

MAX_FILE_SIZE = 1 * MIB
"""
Maximum bytes of the configuration file; a hundred backends need 40 KiB.
"""


@dataclass(frozen=True, slots=True)
class Configuration:
    """
    The content of a configuration, unchecked.

    Attributes:
        content: Tables and options, as JSON values.
        directory: The directory from which relative paths start.
        path: The configuration file; None if the configuration is from the command line.
    """

    content: Mapping[str, Any]
    directory: Path
    path: Path | None = None

    def settings(self) -> Settings:
        """
        Return the checked settings.

        Raises:
            Faults: All errors of the file, each with its location.
        """
        try:
            return replace(make_settings(self.content, self.directory), file=self.path)
        except Faults as error:
            raise Faults(error.faults, self.path) from None


def read_configuration(path: Path) -> Configuration:
    """
    Read a configuration file.

    Raises:
        Faults: The file cannot be read, or is not TOML.
    """
    return Configuration(read_toml(path, MAX_FILE_SIZE), path.parent, path)


def load_settings(path: Path, environment: Mapping[str, str] = os.environ) -> Settings:
    """
    Read and check a configuration file.

    Raises:
        Faults: All errors of the file, each with its location.
    """
    return replace(make_settings(read_toml(path, MAX_FILE_SIZE), path.parent, environment), file=path)


def make_settings(content: Mapping[str, Any], directory: Path, environment: Mapping[str, str] = os.environ) -> Settings:
    """
    Return settings from the content of a configuration file.

    Args:
        directory: The directory from which relative paths start.

    Raises:
        Faults: All errors of the file, each with its location.
    """
    faults: list[Fault] = []
    secrets = read_secrets(content, "backend", directory, environment, faults)
    key_secrets = read_secrets(content, "backend_key", directory, environment, faults)
    try:
        file = structure(ConfigurationFile, content)
    except Faults as error:
        faults += [*error.faults, *further_faults(content, error.faults, directory)]
    else:
        faults += faults_between(file, directory)
    if faults:
        raise Faults(sorted(named_faults(set(faults), content)))
    server = file.server
    endpoints = server.listen or (() if file.listener else (DEFAULT_LISTEN,))
    listeners = [ListenerSettings(endpoint=endpoint) for endpoint in endpoints] + list(file.listener)
    return Settings(
        server=with_paths(server, directory),
        listeners=tuple(with_paths(listener.inheriting(server), directory) for listener in listeners),
        backends=tuple(
            replace(
                with_paths(backend, directory),
                region=backend.region or server.region,
                secret_access_key=secrets[index],
            )
            for index, backend in enumerate(file.backend)
        ),
        backend_keys=tuple(
            replace(key, secret_access_key=secret) for key, secret in zip(file.backend_key, key_secrets, strict=True)
        ),
        routes=file.route,
        credentials=file.credentials.with_paths(directory),
        directory=directory,
        anonymous=file.anonymous,
        limits=file.limits,
        times=file.times,
        log=file.log if file.log.access in {"-", "none"} else LogSettings(access=str(directory / file.log.access)),
    )


def _share(amount: int | None, workers: int) -> int | None:
    # 0 means no limit, and stays 0; a limit never becomes 0. None means that the limit follows from other, shared
    # limits.
    return None if amount is None else -(-amount // workers)


def share_of(settings: Settings, workers: int) -> Settings:
    """
    Return the settings of one of several processes: limits are divided among them, and none has the admin endpoint.
    """
    limits = settings.limits
    shared: dict[str, Any] = {
        each.name: _share(getattr(limits, each.name), workers) for each in options_of(Limits) if each.is_shared
    }
    return replace(
        settings,
        server=replace(settings.server, admin=None),
        limits=replace(limits, **shared),
        backends=tuple(
            replace(backend, connections=max(1, backend.connections // workers)) for backend in settings.backends
        ),
    )
