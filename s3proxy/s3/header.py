"""
Which names and values may stand in a header line, whoever reads it.

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
    Return True if a name may stand before the colon of a header line.
    """
    return _TOKEN.fullmatch(name) is not None


def is_unambiguous_name(name: bytes) -> bool:
    """
    Return True if every backend reads a header's name as the same one.

    CGI-style backends (Ceph RGW, older eventlet) take ``x_amz_acl`` for ``x-amz-acl``. Names of metadata keep their
    underscores: clients have them, and they choose nothing but metadata.
    """
    return is_token(name) and (b"_" not in name or name.lower().startswith(METADATA_PREFIX))


def is_field_value(value: bytes) -> bool:
    """
    Return True if a value may stand behind the colon: it ends no line, and has no control bytes but tabs.
    """
    return _VALUE.fullmatch(value) is not None
