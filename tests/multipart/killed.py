"""
A process that works on a store until it is killed: started by `test_store`, which names the step.

For each number that it reads, a child process prepares an upload, then takes the steps of a scenario, and is killed by
SIGKILL before the call of that number. Only calls from the store's own code into the system and the database count.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from s3proxy import multipart
from s3proxy.multipart.documents import CompletedPart
from s3proxy.multipart.files import PartWriter
from s3proxy.multipart.records import Place, StoreLimits
from s3proxy.multipart.store import MultipartStore
from s3proxy.s3.limits import MIB

LIMITS = StoreLimits(size=50 * MIB, uploads=5, uploads_of_owner=3, expires=1e9)
PLACE = Place("walrus", "account", b"bucket", b"key")
_STEPS = frozenset(
    ("open", "close", "fsync", "rename", "unlink", "mkdir", "write", "execute", "fetchone", "fetchall", "flock")
)
_ROOM = str(Path(multipart.__file__).parent)


class Killer:
    """
    Counts steps, and ends the process at one.
    """

    def __init__(self, fatal: int) -> None:
        self._left = fatal

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:
        if event != "c_call" or getattr(argument, "__name__", "") not in _STEPS:
            return
        if not frame.f_code.co_filename.startswith(_ROOM):
            return
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        self._left -= 1


def keep(store: MultipartStore, upload_id: str, number: int, content: bytes) -> CompletedPart:
    """
    Keep a part.
    """
    reservation = store.reserve(upload_id, PLACE, len(content), "me")
    writer = PartWriter(reservation)
    writer.writeSequence([content])
    part = store.commit(reservation, PLACE, number, writer.md5, {})
    return CompletedPart(number, part.etag)


def run(scenario: str, directory: Path, fatal: int, tell: Callable[[dict[str, str]], None]) -> None:
    """
    Prepare, report the results, and continue until killed; report further results.
    """
    store = MultipartStore(directory, LIMITS, time.time)
    upload_id = store.begin(PLACE, "me", [])
    part = keep(store, upload_id, 1, b"first")
    answered = {"upload": upload_id, "1": "first"}
    following = {"part": "second", "replaced": "other"}.get(scenario, "")
    tell({**answered, "next": following} if scenario == "replaced" else answered)
    sys.setprofile(Killer(fatal))
    if scenario == "part":
        keep(store, upload_id, 2, b"second")
        answered["2"] = "second"
    elif scenario == "replaced":
        keep(store, upload_id, 1, b"other")
        answered["1"] = "other"
    elif scenario == "aborted":
        store.abort(upload_id, PLACE)
    else:
        store.claim(upload_id, PLACE, [part], MIB)
        if scenario == "completed":
            store.finish(upload_id, [part], "e-1")
        else:
            store.give_up(upload_id)
    sys.setprofile(None)
    tell(answered)


def main() -> None:
    """
    Run once for each line of the input; write one line for each.
    """
    scenario, directory = sys.argv[1], Path(sys.argv[2])
    for line in sys.stdin:
        read_fd, write_fd = os.pipe()
        child = os.fork()
        if child == 0:
            run(scenario, directory, int(line), partial(_write, write_fd))
            os._exit(0)
        os.close(write_fd)
        with os.fdopen(read_fd) as told:
            lines = told.read().splitlines()
        _, status = os.waitpid(child, 0)
        assert status in {0, signal.SIGKILL}, status
        print(json.dumps({"answered": json.loads(lines[-1]), "finished": status == 0}), flush=True)


def _write(fd: int, told: dict[str, str]) -> None:
    os.write(fd, json.dumps(told).encode() + b"\n")


if __name__ == "__main__":
    main()
