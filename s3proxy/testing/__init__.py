"""
For tests, the demo, and applications which embed s3proxy: stores, backends and clients which run in the same process.
"""

from s3proxy.testing.faulty_backend import FaultyBackend
from s3proxy.testing.faulty_client import FaultyClient
from s3proxy.testing.legacy_quirks import MODES, Quirks
from s3proxy.testing.legacy_store import LegacyStore

__all__ = ["MODES", "FaultyBackend", "FaultyClient", "LegacyStore", "Quirks"]
