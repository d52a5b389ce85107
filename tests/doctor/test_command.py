"""
The command ``s3proxy doctor``: its requests, its output, and its end.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessTerminated
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from s3proxy.commands.cli import main
from s3proxy.testing import FaultyBackend, LegacyStore
from s3proxy.testing.faults import responds
from s3proxy.testing.legacy_quirks import MODES
from tests.support.harness import turns, until

KEY_ID, SECRET = "LEGACYKEY", "the-secret-of-the-legacy-store"


class Command(ProcessProtocol):
    """
    The command in a process of its own.

    Attributes:
        stdout, stderr: Its output so far.
        ended: Fires with its exit status.
    """

    def __init__(self, port: int, *options: str, secret: str = SECRET) -> None:
        self.stdout = b""
        self.stderr = b""
        self.ended: Deferred[int] = Deferred()
        arguments = ["doctor", f"http://127.0.0.1:{port}", "--access-key-id", KEY_ID, "--secret-env", "DOCTOR_SECRET"]
        environment = {**os.environ, "DOCTOR_SECRET": secret, "PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, "-m", "s3proxy.commands.cli", *arguments, *options]
        self.process: Any = reactor.spawnProcess(self, command[0], command, environment)

    def outReceived(self, data: bytes) -> None:
        self.stdout += data

    def errReceived(self, data: bytes) -> None:
        self.stderr += data

    def processEnded(self, reason: Failure) -> None:
        status = reason.value.exitCode if reason.check(ProcessTerminated) else 0
        self.ended.callback(-1 if status is None else status)


@asynccontextmanager
async def listening(directory: Path) -> AsyncIterator[tuple[LegacyStore, int]]:
    """
    A store that listens.
    """
    store = LegacyStore(
        directory, {KEY_ID: SECRET}, wall_clock=lambda: datetime.now(UTC), reactor=reactor, quirks=MODES["riakcs"]
    )
    port = reactor.listenTCP(0, store.make_factory(), interface="127.0.0.1")
    try:
        yield store, port.getHost().port
    finally:
        await port.stopListening()
        await until(lambda: not store.channels)


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal(number: signal.Signals, tmp_path: Path) -> None:
    """
    Progress is shown as it is made. A signal ends the command, which first removes what it stored.
    """
    async with listening(tmp_path) as (store, port):
        command = Command(port)
        while b"UNSIGNED-PAYLOAD" not in command.stdout and not command.ended.called:
            await turns(20)
        assert len(store.objects.buckets()) == 1

        os.kill(command.process.pid, number)
        os.kill(command.process.pid, number)
        status = await command.ended

        assert status == 1
        assert command.stdout.startswith(b"http://127.0.0.1:%d: " % port)
        assert (
            b"  yes      a signature with a wrong secret is refused: v2 403 SignatureDoesNotMatch\n" in command.stdout
        )
        assert b"interrupted" in command.stderr
        assert b"Traceback" not in command.stderr
        assert store.objects.buckets() == []


@pytest_twisted.ensureDeferred
async def test_who_is_not_let_in(tmp_path: Path) -> None:
    """
    The exit status is 1, and the message says which of the two failed; no secret is shown.
    """
    async with listening(tmp_path) as (_, port):
        refused = Command(port, "--json", secret="another-secret")
        assert await refused.ended == 1
        assert b"rejects the credentials of LEGACYKEY: the secret or the region is wrong" in refused.stderr
        assert b"another-secret" not in refused.stderr
        assert refused.stdout == b""

    unreached = Command(port)
    assert await unreached.ended == 1
    assert b"cannot be reached: Connection was refused" in unreached.stderr
    assert b"Traceback" not in unreached.stderr


@pytest_twisted.ensureDeferred
async def test_what_a_storage_says_does_not_reach_the_terminal_raw() -> None:
    """
    A malicious server cannot send control characters to the operator's terminal.
    """
    backend = FaultyBackend()
    document = b"<Error><Code>Odd]0;title\x1b[2J</Code></Error>"
    responds(b"HTTP/1.1 403 Forbidden\r\nContent-Length: %d\r\n\r\n%s" % (len(document), document))(backend)
    port = reactor.listenTCP(0, backend, interface="127.0.0.1")
    try:
        command = Command(port.getHost().port)

        assert await command.ended == 1
    finally:
        await port.stopListening()

    assert b"403 Odd]0;title\\x1b[2J" in command.stderr
    assert b"\x1b" not in command.stderr + command.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["ftp://127.0.0.1", "--secret-env", "DOCTOR_SECRET"], "URL: "),
        (["http://127.0.0.1", "--secret-env", "NOT_SET"], "--secret-env: environment variable NOT_SET is unset"),
        (["http://127.0.0.1", "--secret-file", "/nowhere"], "--secret-file: /nowhere: No such file"),
        (["http://127.0.0.1", "--secret-env", "DOCTOR_SECRET", "--ca-file", "/nowhere"], "--ca-file: "),
        (["http://127.0.0.1", "--secret-env", "DOCTOR_SECRET", "--region", "no region"], "--region: "),
    ],
)
def test_options(
    arguments: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    Errors name the options that they are about.
    """
    monkeypatch.setenv("DOCTOR_SECRET", SECRET)

    assert main(["doctor", *arguments, "--access-key-id", KEY_ID]) == 1

    told = capsys.readouterr().err
    assert told.startswith(said)
    assert SECRET not in told
