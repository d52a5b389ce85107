"""
The ``s3proxy doctor`` command itself: its options, its progress, its exit status.
"""

from __future__ import annotations

import argparse
import re
import secrets
import signal
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from s3proxy.backend.request import BackendLimits
from s3proxy.configuration.loading import make_settings
from s3proxy.configuration.options import BackendSettings
from s3proxy.configuration.tables import Faults
from s3proxy.daemon.backends import CannotStart, make_endpoint
from s3proxy.doctor.approach import CannotExamine
from s3proxy.doctor.examination import PROBE_COUNT, Examination, Interrupted
from s3proxy.doctor.line import Line
from s3proxy.doctor.report import Report, line_of, line_of_table
from s3proxy.doctor.storage import Patience, Storage
from s3proxy.doctor.verdict import Finding, printable
from s3proxy.profiles.known import PROFILES
from s3proxy.profiles.profile import BackendKey

WRONG = 1
"Exit status if the examination is incomplete, or something is left."

CONNECT_TIME = 10.0
"Seconds to connect."

CONTINUE_TIME = 2.0
"Seconds to wait for ``100 Continue``."

_OPTIONS = {
    "url": "URL",
    "region": "--region",
    "access_key_id": "--access-key-id",
    "secret_access_key_file": "--secret-file",
    "secret_access_key_env": "--secret-env",
    "ca_file": "--ca-file",
}


def add_doctor(parser: argparse.ArgumentParser) -> None:
    """
    Add the command's options.
    """
    parser.add_argument("url", help="URL of the backend, with the path of its buckets, if any")
    parser.add_argument("--access-key-id", required=True, help="of an account that can make a bucket, or use --bucket")
    secret = parser.add_mutually_exclusive_group(required=True)
    secret.add_argument("--secret-file", help="file with the secret in one line")
    secret.add_argument("--secret-env", help="environment variable with the secret")
    parser.add_argument("--bucket", type=_bucket, help="existing bucket to use, below a prefix (default: a new bucket)")
    parser.add_argument("--region", default="us-east-1", help="region to sign requests for (default: us-east-1)")
    parser.add_argument("--ca-file", help="PEM file of trusted certificate authorities (default: the system's)")
    parser.add_argument("--profile", choices=sorted(PROFILES), help="profile to compare with (default: the best)")
    parser.add_argument("--json", action="store_true", help="print one JSON document; progress goes to standard error")


def _bucket(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}", name):
        raise argparse.ArgumentTypeError("is not a bucket name")
    return name


def run_doctor(options: argparse.Namespace) -> int:
    """
    Examine a storage system; return the exit status.
    """
    from twisted.internet import reactor

    try:
        storage = make_storage(options, reactor)
    except Faults as error:
        for fault in error.faults:
            name = fault.place.rpartition(".")[2]
            print(f"{_OPTIONS.get(name, name)}: {fault.message}", file=sys.stderr)
        return WRONG
    except CannotStart as error:
        print(error, file=sys.stderr)
        return WRONG
    return Doctor(storage, options, reactor).run()


def make_storage(options: argparse.Namespace, reactor: Any, patience: Patience | None = None) -> Storage:
    """
    Return the storage system to examine.

    Raises:
        Faults: An option is not valid.
        CannotStart: A certificate file is not valid.
    """
    table = {
        "name": "storage",
        "url": options.url,
        "region": options.region,
        "access_key_id": options.access_key_id,
        "secret_access_key_file": options.secret_file,
        "secret_access_key_env": options.secret_env,
        "ca_file": options.ca_file,
    }
    given = {name: value for name, value in table.items() if value is not None}
    settings: BackendSettings = make_settings({"backend": [given]}, Path().absolute()).backends[0]
    assert settings.access_key_id is not None
    assert settings.secret_access_key is not None
    place = settings.places[0]
    limits = BackendLimits(connect_time=CONNECT_TIME, continue_time=CONTINUE_TIME)
    line = Line(reactor, make_endpoint(settings, place, CONNECT_TIME, reactor), limits, place.authority)
    key = BackendKey(settings.access_key_id, settings.secret_access_key, str(settings.region))
    word = f"s3proxy-doctor-{secrets.token_hex(5)}"
    return Storage(line, place, key, lambda: datetime.now(UTC), word, options.bucket, patience)


class Doctor:
    """
    One examination that prints its progress and its summary.
    """

    def __init__(self, storage: Storage, options: argparse.Namespace, reactor: Any) -> None:
        self._storage = storage
        self._options = options
        self._reactor = reactor
        self._status = WRONG
        self._progress: TextIO = sys.stderr if options.json else sys.stdout
        self._examination = Examination(storage, self._tell_room, self._tell)

    def run(self) -> int:
        """
        Run until the examination ends, or is interrupted and has cleaned up; return the exit status.
        """
        self._reactor.seconds = time.monotonic
        self._reactor.callWhenRunning(self._begin)
        self._reactor.run()
        return self._status

    def _begin(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *ignored: self._reactor.callFromThread(self._interrupt))
        storage = self._storage
        where = f"in the bucket {storage.bucket}, below {storage.prefix}"
        print(f"{storage.place.url}: {PROBE_COUNT} questions, {where}", file=self._progress, flush=True)
        Deferred.fromCoroutine(self._examination.run()).addBoth(self._ended)

    def _interrupt(self) -> None:
        print("interrupted; removing what was stored", file=sys.stderr)
        self._examination.interrupt()

    def _tell_room(self, title: str) -> None:
        print(f"\n{title}", file=self._progress, flush=True)

    def _tell(self, finding: Finding) -> None:
        print(line_of(finding), file=self._progress, flush=True)

    def _ended(self, result: Any) -> None:
        try:
            self._status = self._conclude(result)
        finally:
            self._storage.line.close().addBoth(lambda ignored: self._reactor.stop())

    def _conclude(self, result: Any) -> int:
        left = self._examination.left
        if left:
            print("not removed:", *(f"  {item}" for item in left), sep="\n", file=sys.stderr)
        if isinstance(result, Failure):
            if result.check(CannotExamine):
                print(printable(str(result.value)), file=sys.stderr)
            elif not result.check(Interrupted):
                result.printTraceback(sys.stderr)
            return WRONG
        options = self._options
        given = {
            "secret_access_key_file": options.secret_file,
            "secret_access_key_env": options.secret_env,
            "ca_file": options.ca_file,
        }
        lines = [line_of_table(name, value) for name, value in given.items() if value is not None]
        report = Report(self._examination, options.profile, lines)
        if options.json:
            print(report.document())
        else:
            print(f"\n{report.text()}")
            if not left:
                print("\nEverything that was stored has been removed.")
        return WRONG if left else 0
