"""
The stand-in for a Eucalyptus storage system as its own process: ``walrus.py MODE PORT DIRECTORY KEY_ID SECRET``.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from s3proxy.testing.legacy_quirks import MODES
from s3proxy.testing.legacy_store import LegacyStore


def main() -> None:
    """
    Serve on loopback until the process is ended.
    """
    from twisted.internet import reactor

    mode, port, directory, key_id, secret = sys.argv[1:]
    store = LegacyStore(
        Path(directory),
        {key_id: secret},
        wall_clock=lambda: datetime.now(UTC),
        reactor=reactor,
        quirks=MODES[mode],
    )
    serving: Any = reactor
    serving.listenTCP(int(port), store.make_factory(), interface="127.0.0.1")
    serving.run()


if __name__ == "__main__":
    main()
