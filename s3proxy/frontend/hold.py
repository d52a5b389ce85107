"""
Why a client is not read.
"""

from __future__ import annotations

from enum import auto

from s3proxy.s3.identity_enum import IdentityEnum


class Hold(IdentityEnum):
    """
    Why a client's socket is not read.
    """

    UNJUDGED = auto()
    "its request is not authenticated yet"
    BACKEND = auto()
    "the backend's socket is full"
    BUDGET = auto()
    "the bytes which may come a second are spent"
    MEMORY = auto()
    "the memory for bodies is in use"
    PIPELINED = auto()
    "it sent more requests than we keep"
