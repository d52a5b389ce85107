"""
What a configuration says about client keys, although the rest of it has errors or cannot be checked here.

A command that is about keys must not need the environment, the certificates or the directories of the daemon.
"""

from __future__ import annotations

from s3proxy.configuration.loading import Configuration
from s3proxy.configuration.options import SOURCE, CredentialsSettings
from s3proxy.configuration.tables import NotAccepted
from s3proxy.credentials.source import ANY_NAMES, KeyRules


def likely_source(configuration: Configuration) -> str | None:
    """
    Return the source of client keys; None if it is not valid.
    """
    credentials = configuration.content.get("credentials", {})
    source = credentials.get("source", CredentialsSettings().source) if isinstance(credentials, dict) else None
    try:
        return str(SOURCE.parse(source))
    except NotAccepted:
        return None


def likely_rules(configuration: Configuration) -> KeyRules:
    """
    Return the rules for keys. Any name is allowed if the name of a backend is unknown.
    """
    tables = {name: configuration.content.get(name, []) for name in ("backend", "backend_key")}
    try:
        names = [table["name"] for table in tables["backend"]]
        backends = {table["name"]: table["backend"] for table in tables["backend_key"]}
    except (LookupError, TypeError):
        return ANY_NAMES
    known = all(isinstance(name, str) for name in (*names, *backends, *backends.values()))
    return KeyRules(backends=names, backend_keys=backends) if known else ANY_NAMES
