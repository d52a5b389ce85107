"""
Enumerations whose members are cheap as dictionary keys.
"""

from __future__ import annotations

from enum import Enum


class IdentityEnum(Enum):
    """
    An enumeration whose members are hashed by identity. `enum.Enum` hashes their names, in Python code.
    """

    __hash__ = object.__hash__
