"""
What a configuration says about client keys, although the rest of it has errors or cannot be checked here.

A command that is about keys must not need the environment, the certificates or the directories of the daemon.
"""

from __future__ import annotations

from dataclasses import replace

from s3proxy.configuration.loading import Configuration
from s3proxy.configuration.options import SOURCE, CredentialsSettings
from s3proxy.configuration.tables import Faults, NotAccepted, structure
from s3proxy.credentials.source import ANY_NAMES, KeyRules


def likely_credentials(configuration: Configuration) -> CredentialsSettings | None:
    """
    Return the options of the source of client keys; None if the source is not valid. If others are wrong, all of them
    but the source have their defaults.
    """
    table = configuration.content.get("credentials", {})
    try:
        return structure(CredentialsSettings, table).with_paths(configuration.directory)
    except Faults:
        source = table.get("source", CredentialsSettings().source) if isinstance(table, dict) else None
    try:
        return CredentialsSettings(source=str(SOURCE.parse(source)))
    except NotAccepted:
        return None


def likely_rules(configuration: Configuration, credentials: CredentialsSettings) -> KeyRules:
    """
    Return the rules for keys. Any name is allowed if the name of a backend is unknown.
    """
    tables = {name: configuration.content.get(name, []) for name in ("backend", "backend_key")}
    try:
        names = [table["name"] for table in tables["backend"]]
        backends = {table["name"]: table["backend"] for table in tables["backend_key"]}
    except (LookupError, TypeError):
        return replace(ANY_NAMES, options=credentials)
    known = all(isinstance(name, str) for name in (*names, *backends, *backends.values()))
    rules = KeyRules(backends=names, backend_keys=backends) if known else ANY_NAMES
    return replace(rules, options=credentials)
