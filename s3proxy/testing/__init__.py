"""
Storage systems, backends and clients that run in the process of a test, of the demo or of an application that embeds
s3proxy.
"""

from s3proxy.testing.faulty_backend import FaultyBackend
from s3proxy.testing.faulty_client import FaultyClient
from s3proxy.testing.legacy_quirks import MODES, Quirks
from s3proxy.testing.legacy_store import LegacyStore

__all__ = ["MODES", "FaultyBackend", "FaultyClient", "LegacyStore", "Quirks"]
