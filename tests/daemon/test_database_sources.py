"""
A daemon whose clients' keys are in a database: through real sockets, with a real SQLite database.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.logger import capturedLogs

from s3proxy.commands.cli import main
from tests.support.databases import DatabaseDaemon, make_sqlite, put_sqlite
from tests.support.harness import NOW, until
from tests.support.processes import write_configuration


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """
    A database with one key.
    """
    monkeypatch.setattr("s3proxy.daemon.generation.utc_now", lambda: NOW)
    made = tmp_path / "keys.sqlite"
    make_sqlite(made)
    put_sqlite(made)
    return made


@pytest_twisted.ensureDeferred
async def test_keys_change_while_it_runs(path: Path) -> None:
    """
    First use, rotation with both secrets, a disabled, an expired, a removed and an added key: within `ttl`.
    """
    daemon = DatabaseDaemon(path.parent, "sqlite:keys.sqlite", ttl=60, negative_ttl=60)
    first = [(await daemon.get()).status, (await daemon.get("B")).status]
    put_sqlite(path, "A", ["new", "secret"])
    put_sqlite(path, "B")
    before = [(await daemon.get("A", "new")).status, (await daemon.get("B")).status]
    daemon.advance(61)
    rotating = [(await daemon.get("A", secret)).status for secret in ("new", "secret")]
    added = (await daemon.get("B")).status
    put_sqlite(path, "A", ["new"])
    put_sqlite(path, "B", disabled=1)
    daemon.advance(61)
    rotated = [(await daemon.get("A", secret)).status for secret in ("new", "secret")]
    disabled = (await daemon.get("B")).status
    put_sqlite(path, "A", expires=(NOW - timedelta(seconds=1)).isoformat())
    daemon.advance(61)
    expired = (await daemon.get()).status
    await daemon.close()

    assert first == [200, 403]
    assert before == [403, 403]
    assert (rotating, added) == ([200, 200], 200)
    assert (rotated, disabled, expired) == ([200, 403], 403, 403)


@pytest_twisted.ensureDeferred
async def test_an_outage(path: Path) -> None:
    """
    Known keys are served, whatever their time. Unknown ones get 503 with Retry-After, and never 403. The log has one
    line. Afterwards all is as before.
    """
    daemon = DatabaseDaemon(path.parent, "sqlite:keys.sqlite")
    before = await daemon.statuses("A")
    hidden = path.rename(path.with_suffix(".hidden"))
    with capturedLogs() as logs:
        daemon.advance(61)
        meanwhile = await daemon.statuses("A", "A", "B", "A", "C")
        refused = await daemon.get("B")
        hidden.rename(path)
        daemon.advance(61)
        # The first one finds out that the database is there again.
        after = await daemon.statuses("A")
        await until(lambda: not daemon.source._running)
        after += await daemon.statuses("A", "B")
    metrics = daemon.service.metrics.document().decode()
    await daemon.close()

    assert before == [200]
    assert meanwhile == [200, 200, 503, 200, 503]
    assert (refused.header("Retry-After"), b"ServiceUnavailable" in refused.body) == ("1", True)
    assert after == [200, 200, 403]
    told = [event["log_format"].format(**event) for event in logs if "name" in event]
    assert len(told) == 2
    assert told[0].startswith(f"sqlite:{path} fails: ")
    assert told[1].endswith("keys.sqlite responds again")
    assert 's3proxy_key_lookups_total{result="stale"} 4.0' in metrics
    assert 's3proxy_key_lookups_total{result="refused"} 3.0' in metrics


@pytest_twisted.ensureDeferred
async def test_a_reload_in_an_outage(path: Path) -> None:
    """
    An operator may reload while the database fails: known keys are still served. Not after a change of the source.
    """
    daemon = DatabaseDaemon(path.parent, "sqlite:keys.sqlite")
    before = await daemon.statuses("A")
    hidden = path.read_bytes()
    path.write_bytes(b"")
    former = daemon.source
    with capturedLogs():
        is_reloaded = daemon.service.reload()
        meanwhile = await daemon.statuses("A", "B")
        (path.parent / "other.sqlite").write_bytes(b"")
        daemon.content["credentials"] = {"source": "sqlite:other.sqlite"}
        daemon.service.reload()
        elsewhere = await daemon.statuses("A")
    await daemon.close()

    assert hidden
    assert is_reloaded
    assert daemon.source is not former
    assert (before, meanwhile, elsewhere) == ([200], [200, 503], [503])


@pytest_twisted.ensureDeferred
async def test_a_reload_asks_again(path: Path) -> None:
    """
    As with a keys file, a change takes effect at once.
    """
    daemon = DatabaseDaemon(path.parent, "sqlite:keys.sqlite")
    before = await daemon.statuses("A")
    put_sqlite(path, disabled=1)
    is_reloaded = daemon.service.reload()
    after = await daemon.statuses("A")
    await daemon.close()

    assert is_reloaded
    assert (before, after) == ([200], [403])


@pytest_twisted.ensureDeferred
async def test_a_client_that_leaves_a_slow_database(path: Path) -> None:
    """
    Its lookup is cancelled. The reactor runs meanwhile.
    """
    import threading

    daemon = DatabaseDaemon(path.parent, "sqlite:keys.sqlite")
    gate, begun = threading.Event(), []
    database = daemon.source._origin._database  # type: ignore[attr-defined]
    run = database.run
    database.run = lambda work: run(lambda connection: begun.append(1) or (gate.wait(60) and work(connection)))
    client, other = await daemon.connect(), await daemon.connect()
    await until(lambda: begun)
    client.transport.abortConnection()
    await until(lambda: len(next(iter(daemon.source._fetches.values())).waiters) == 1)
    gate.set()
    response = await other.response()
    await daemon.close()

    assert response is not None
    assert response.status == 200
    assert begun == [1]
    assert not daemon.source._fetches


def test_check_knows_the_source(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    It warns if others can read the database.
    """
    configuration = write_configuration(path.parent, "http://127.0.0.1:1")
    configuration.write_text(configuration.read_text().replace("file:keys.toml", "sqlite:keys.sqlite"))
    configuration.chmod(0o600)
    path.chmod(0o644)

    assert main(["check", str(configuration)]) == 0
    told = capsys.readouterr().out
    assert f"warning: {path}: every user of this machine can read the secrets" in told
    assert "an unknown number of keys" in told
    assert reactor.running
