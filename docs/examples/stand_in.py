"""
A stand-in for an old storage system, to try s3proxy with: ``python docs/examples/stand_in.py walrus-3.4 8773``.
"""

import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from twisted.internet import reactor

from s3proxy.testing import MODES, LegacyStore

profile, port = sys.argv[1], int(sys.argv[2])
reactor.seconds = time.monotonic
with TemporaryDirectory() as directory:
    keys = {"LEGACYKEY": "legacy-secret"}
    store = LegacyStore(
        Path(directory), keys, wall_clock=lambda: datetime.now(UTC), reactor=reactor, quirks=MODES[profile]
    )
    reactor.listenTCP(port, store.make_factory(), interface="127.0.0.1")
    reactor.run()
