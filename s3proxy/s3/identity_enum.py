"""
Enumerations which are cheap as keys.
"""

from __future__ import annotations

from enum import Enum


class IdentityEnum(Enum):
    """
    An enumeration whose members are hashed by identity, as they are compared; `enum.Enum` hashes their names in Python.
    """

    __hash__ = object.__hash__
