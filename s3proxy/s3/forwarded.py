"""
Which headers tell a server behind a proxy who the client is.
"""

from __future__ import annotations

from enum import StrEnum


class ForwardedHeaders(StrEnum):
    """
    The headers that a proxy adds for the server behind it.
    """

    NONE = "none"
    X_FORWARDED = "x-forwarded"
    "``X-Forwarded-For``, ``X-Forwarded-Host`` and ``X-Forwarded-Proto``"
    FORWARDED = "forwarded"
    "``Forwarded``, of RFC 7239"
