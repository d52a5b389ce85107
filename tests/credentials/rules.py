"""
Rules for client keys.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from s3proxy.configuration.options import CredentialsSettings
from s3proxy.credentials.source import ANY_NAMES, KeyRules


def rules_with(**options: Any) -> KeyRules:
    """
    Return rules that allow any names, with options of the source.
    """
    return replace(ANY_NAMES, options=CredentialsSettings(**options))
