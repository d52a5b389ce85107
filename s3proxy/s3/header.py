"""
Which names and values every reader of a header line reads alike.

Source:
    RFC 9110, sections 5.1 and 5.5.
"""

from __future__ import annotations

import re

METADATA_PREFIX = b"x-amz-meta-"

_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(rb"[^\x00-\x08\x0a-\x1f\x7f]*")


def is_token(name: bytes) -> bool:
    """
    Return True if a name is valid before the colon of a header line.
    """
    return _TOKEN.fullmatch(name) is not None


def is_unambiguous_name(name: bytes) -> bool:
    """
    Return True if all backends read a header's name alike.

    CGI-style backends (Ceph RGW, older eventlet) read ``x_amz_acl`` as ``x-amz-acl``. Metadata names may have
    underscores: clients use them, and such a header can set nothing but metadata.
    """
    return is_token(name) and (b"_" not in name or name.lower().startswith(METADATA_PREFIX))


def is_field_value(value: bytes) -> bool:
    """
    Return True if a value is valid after the colon: it has no line end, and no control byte except tabs.
    """
    return _VALUE.fullmatch(value) is not None
