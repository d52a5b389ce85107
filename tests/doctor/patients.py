"""
Storage systems that the doctor examines.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock

from s3proxy.backend.request import BackendLimits
from s3proxy.configuration.options import Place
from s3proxy.doctor.examination import Examination
from s3proxy.doctor.line import Line
from s3proxy.doctor.report import Report
from s3proxy.doctor.storage import Storage
from s3proxy.doctor.verdict import Finding
from s3proxy.profiles.profile import BackendKey
from s3proxy.testing import LegacyStore
from s3proxy.testing.legacy_quirks import MODES
from tests.support.harness import NOW, ClockedReactor, turns, until

KEY_ID, SECRET = "LEGACYKEY", "the-secret-of-the-legacy-store"
WORD = "s3proxy-doctor-0123456789"
FOREIGN = b"an object of somebody else"


@dataclass
class Patient:
    """
    A storage system that listens, and an examination of it. Time passes as soon as nothing else is to be done.
    """

    examination: Examination
    clock: Clock
    port: Any
    told: list[Finding]

    @property
    def findings(self) -> dict[str, Finding]:
        return self.examination.findings

    def verdicts(self, *names: str) -> list[str]:
        """
        The verdicts of some probes.
        """
        return [self.findings[name].verdict.value for name in names]

    async def run(self) -> None:
        """
        Run the whole examination.
        """
        ended: list[None] = []
        running = Deferred.fromCoroutine(self.examination.run())
        running.addBoth(lambda result: (ended.append(None), result)[1])
        while not ended:
            await turns(20)
            self.clock.advance(0.1)
        await running

    def report(self) -> Report:
        """
        The final report.
        """
        return Report(self.examination, None, ['secret_access_key_env = "SECRET"'])


@asynccontextmanager
async def patient(
    factory: Factory, *, url: str = "", bucket: str | None = None, secret: str = SECRET, key_id: str = KEY_ID
) -> AsyncIterator[Patient]:
    """
    A server to be examined.
    """
    port = reactor.listenTCP(0, factory, interface="127.0.0.1")
    number = port.getHost().port
    clock = Clock()
    timed: Any = ClockedReactor(clock)
    limits = BackendLimits(continue_time=2.0)
    place = Place(f"http://127.0.0.1:{number}{url}")
    line = Line(timed, TCP4ClientEndpoint(reactor, "127.0.0.1", number), limits, place.authority)
    storage = Storage(line, place, BackendKey(key_id, secret), lambda: NOW, WORD, bucket)
    told: list[Finding] = []
    examination = Examination(storage, lambda title: None, told.append)
    try:
        yield Patient(examination, clock, port, told)
    finally:
        await line.close()
        await maybeDeferred(port.stopListening)


@asynccontextmanager
async def legacy(
    directory: Path, mode: str = "walrus-3.4", **options: Any
) -> AsyncIterator[tuple[LegacyStore, Patient]]:
    """
    A legacy store, to be examined.
    """
    store = LegacyStore(directory, {KEY_ID: SECRET}, wall_clock=lambda: NOW, reactor=reactor, quirks=MODES[mode])
    async with patient(store.make_factory(), **options) as examined:
        yield store, examined
    await until(lambda: not store.channels)
