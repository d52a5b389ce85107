"""
The rooms in native code, if the extra ``native`` is installed.

A native function does what a function of this package does, for the common case. For anything else it returns None, and
the function of this package decides. So it is the contract and the oracle, and without the extra nothing changes.
"""

from __future__ import annotations

from typing import Any

from s3proxy.s3.version import __version__


def find() -> Any:
    """
    Return the native module as it is installed; None if it is not.
    """
    try:
        import s3proxy_native
    except ImportError:
        return None
    return s3proxy_native


def load() -> Any:
    """
    Return the native module; None if it is not installed, or is of another version: it could judge in another way.
    """
    found = find()
    return found if found is not None and _version(found) == __version__ else None


def describe() -> str:
    """
    Return in words for an operator whether native code is used.
    """
    found = find()
    if found is None:
        return "not installed"
    version = _version(found)
    return "in use" if version == __version__ else f"not used, because they are of version {version}"


def _version(found: Any) -> str:
    # Any module may have this name.
    return str(getattr(found, "__version__", "unknown"))


NATIVE = load()
"""
The native module, or None.
"""
