"""
Keys in a real PostgreSQL server: a daemon in this process, through real sockets.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from textwrap import dedent
from typing import Any

import psycopg
import pytest
import pytest_twisted
from trustme import CA
from twisted.internet import reactor
from twisted.logger import capturedLogs

from s3proxy.s3.errors import ServiceUnavailable
from tests.integration.postgresql import OWNER_PASSWORD, READER, READER_PASSWORD, PostgreSQL
from tests.support.databases import DatabaseDaemon
from tests.support.harness import NOW, turns, until
from tests.support.root import ROOT

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def running_server() -> Iterator[PostgreSQL]:
    """
    One server for all tests.
    """
    made = PostgreSQL()
    try:
        made.start()
        made.fill()
        yield made
    finally:
        made.remove()


@pytest.fixture
def server(running_server: PostgreSQL, monkeypatch: pytest.MonkeyPatch) -> PostgreSQL:
    """
    The server with one key, `A`.
    """
    monkeypatch.setattr("s3proxy.daemon.generation.utc_now", lambda: NOW)
    running_server.execute("DELETE FROM s3proxy_keys")
    running_server.put()
    return running_server


def lines(logs: list[dict[str, Any]]) -> list[str]:
    """
    Return the lines about the source.
    """
    return [
        event["log_format"].format(**event) for event in logs if str(event.get("name", "")).startswith("postgresql:")
    ]


async def listening(daemon: DatabaseDaemon) -> None:
    """
    Wait until the daemon is told of changes.
    """
    notifications = daemon.source._origin._notifications  # type: ignore[attr-defined]
    await until(lambda: notifications._connection is not None, 20_000)


async def told(daemon: DatabaseDaemon, *names: str) -> None:
    """
    Wait until the daemon has forgotten keys because the server told so.
    """
    await until(lambda: not daemon.source._known.keys() & {name.encode() for name in names})


@pytest_twisted.ensureDeferred
async def test_changes_take_effect_at_once(server: PostgreSQL) -> None:
    """
    First use, rotation with both secrets, a disabled, an enabled and an expired key. The server tells of each.
    """
    daemon = DatabaseDaemon(Path(), server.url(), ttl=3600, negative_ttl=3600)
    await listening(daemon)
    first = (await daemon.get()).status
    server.put("A", ["new", "secret"])
    await told(daemon, "A")
    rotating = [(await daemon.get("A", secret)).status for secret in ("new", "secret")]
    server.put("A", ["new"])
    await told(daemon, "A")
    rotated = [(await daemon.get("A", secret)).status for secret in ("new", "secret")]
    statuses = []
    for columns in ({"disabled": True}, {"disabled": False}, {"expires": NOW - timedelta(seconds=1)}):
        server.put("A", **columns)
        await told(daemon, "A")
        statuses.append((await daemon.get()).status)
    server.execute("TRUNCATE s3proxy_keys")
    await until(lambda: all(known.fresh_until == 0 for known in daemon.source._known.values()))
    removed = (await daemon.get()).status
    await daemon.close()

    assert (first, rotating, rotated) == (200, [200, 200], [200, 403])
    assert statuses == [403, 200, 403]
    assert removed == 403


@pytest_twisted.ensureDeferred
async def test_an_unknown_key_is_remembered_until_it_is_added(server: PostgreSQL) -> None:
    """
    A thousand requests with it are one question. The server tells that it is there.
    """
    daemon = DatabaseDaemon(Path(), server.url(), negative_ttl=3600)
    await listening(daemon)
    before = [(await daemon.get("B")).status for _ in range(3)]
    asked = daemon.source.counts.asked
    server.put("B")
    await until(lambda: not daemon.source._remembered.is_unknown(b"B", reactor.seconds()))
    after = (await daemon.get("B")).status
    await daemon.close()

    assert (before, asked, after) == ([403] * 3, 1, 200)


@pytest_twisted.ensureDeferred
async def test_without_notifications_changes_take_effect_after_ttl(server: PostgreSQL) -> None:
    """
    As behind a pooler that passes none on.
    """
    server.execute("ALTER TABLE s3proxy_keys DISABLE TRIGGER USER")
    daemon = DatabaseDaemon(Path(), server.url(), ttl=60)
    await listening(daemon)
    before = await daemon.statuses("A")
    server.put("A", disabled=True)
    meanwhile = await daemon.statuses("A")
    daemon.advance(60)
    after = await daemon.statuses("A")
    await daemon.close()
    server.execute("ALTER TABLE s3proxy_keys ENABLE TRIGGER USER")

    assert (before, meanwhile, after) == ([200], [200], [403])


@pytest_twisted.ensureDeferred
async def test_a_slow_server(server: PostgreSQL) -> None:
    """
    A thousand first uses of a key wait for one statement, and the reactor runs meanwhile. A client that leaves waits no
    more.
    """
    daemon = DatabaseDaemon(Path(), server.url())
    await listening(daemon)
    with server.connect() as writer:
        writer.execute("LOCK TABLE s3proxy_keys IN ACCESS EXCLUSIVE MODE")
        client, leaving = await daemon.connect(), await daemon.connect()
        await until(lambda: daemon.source._running)
        lookups: list[Any] = [daemon.source.look_up(b"A") for _ in range(1000)]
        leaving.transport.abortConnection()
        await until(lambda: len(next(iter(daemon.source._running)).waiters) == 1001)
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE usename = %s AND wait_event_type = 'Lock'"
        await until(lambda: server.execute(waiting, (READER,)) == [(1,)])
        await turns(100)
        was_waiting = not any(lookup.called for lookup in lookups)
        statements = server.execute(waiting, (READER,))
        writer.rollback()
        response = await client.response()
    found = [await lookup for lookup in lookups]
    await daemon.close()

    assert statements == [(1,)]
    assert was_waiting
    assert response is not None
    assert response.status == 200
    assert {key.access_key_id for key in found} == {"A"}


@pytest_twisted.ensureDeferred
async def test_a_server_that_hangs(server: PostgreSQL) -> None:
    """
    It accepts connections and answers nothing: known keys are served, others get 503. Later all is as before.
    """
    daemon = DatabaseDaemon(Path(), server.url())
    await listening(daemon)
    before = await daemon.statuses("A")
    server.signal(signal.SIGSTOP)
    try:
        with capturedLogs() as logs:
            daemon.advance(61)
            client = await daemon.connect("A")
            await until(lambda: daemon.source._running)
            # As its timer does.
            daemon.source._waited_in_vain(next(iter(daemon.source._running)))
            response = await client.response()
            meanwhile = await daemon.statuses("A", "B", "C")
    finally:
        server.signal(signal.SIGCONT)
    daemon.advance(61)
    probing = await daemon.statuses("A")
    await until(lambda: not daemon.source._running)
    after = await daemon.statuses("A", "B")
    await daemon.close()

    assert response is not None
    assert (before, response.status, meanwhile) == ([200], 200, [200, 503, 503])
    assert (probing, after) == ([200], [200, 403])
    assert lines(logs) == ["postgresql://127.0.0.1/keys fails: no response within 5 s"]


@pytest_twisted.ensureDeferred
async def test_a_server_that_is_down(server: PostgreSQL) -> None:
    """
    For longer than `ttl`: known keys are served, new ones get 503 with Retry-After, nothing gets 403. When it is up
    again, keys are asked for again, and its notifications are heard.
    """
    daemon = DatabaseDaemon(Path(), server.url(), ttl=30)
    await listening(daemon)
    before = await daemon.statuses("A")
    with capturedLogs() as logs:
        server.stop()
        daemon.advance(61)
        meanwhile = await daemon.statuses("A", "B", "A", "C", "A")
        refused = await daemon.get("D")
        daemon.service.reload()
        reloaded = await daemon.statuses("A", "B")
        server.start()
        server.put("A", ["changed"])
        daemon.advance(61)
        await listening(daemon)
        after = [(await daemon.get("A", "changed")).status, (await daemon.get("B")).status]
        server.put("A", disabled=True)
        await told(daemon, "A")
        disabled = await daemon.statuses("A")
    await daemon.close()

    assert (before, meanwhile, reloaded) == ([200], [200, 503, 200, 503, 200], [200, 503])
    assert (refused.status, refused.header("Retry-After")) == (503, "1")
    assert (after, disabled) == ([200, 403], [403])
    failures = [line for line in lines(logs) if " fails: " in line]
    assert len(failures) == 2, "one for each source"
    assert len([line for line in lines(logs) if line.endswith(" responds again")]) == 1
    assert READER_PASSWORD not in repr(logs)


@pytest_twisted.ensureDeferred
async def test_a_restart_of_the_server_is_not_noticed(server: PostgreSQL) -> None:
    """
    Connections that were lost meanwhile are replaced, without a 503.
    """
    daemon = DatabaseDaemon(Path(), server.url())
    await listening(daemon)
    before = await daemon.statuses("A", "B")
    server.stop()
    server.start()
    daemon.advance(61)
    after = await daemon.statuses("A", "B", "C")
    await daemon.close()

    assert (before, after) == ([200, 403], [200, 403, 403])


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"backend": "elsewhere"}, 'backend: "elsewhere" is not accepted'),
        ({"exempt": ["everything"]}, "exempt[0]"),
        ({"secrets": ["hidden\u0007"]}, "secret_access_key: this value is not accepted"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_wrong_row(server: PostgreSQL, columns: dict[str, Any], message: str) -> None:
    """
    503, one line of the log, no secret in it. Other keys are served.
    """
    server.put("W", **{"secrets": ["hidden"], **columns})
    daemon = DatabaseDaemon(Path(), server.url())
    await listening(daemon)
    with capturedLogs() as logs:
        statuses = await daemon.statuses("W", "W", "A")
    await daemon.close()

    assert statuses == [503, 503, 200]
    (line,) = lines(logs)
    assert line.startswith(f"postgresql://127.0.0.1/keys: wrong description of key W: {message}")
    assert "hidden" not in repr([event for event in logs if event.get("name")])


@pytest_twisted.ensureDeferred
async def test_a_value_that_python_cannot_have(server: PostgreSQL) -> None:
    """
    It is an outage of that key alone.
    """
    server.execute("ALTER TABLE s3proxy_keys DROP CONSTRAINT s3proxy_keys_expires_check")
    server.put("W", expires="infinity")
    daemon = DatabaseDaemon(Path(), server.url())
    await listening(daemon)
    with capturedLogs() as logs:
        statuses = await daemon.statuses("W", "A")
    await daemon.close()
    server.execute("DELETE FROM s3proxy_keys WHERE access_key_id = 'W'")
    server.execute("ALTER TABLE s3proxy_keys ADD CONSTRAINT s3proxy_keys_expires_check CHECK (isfinite(expires))")

    assert statuses == [503, 200]
    assert lines(logs) == [
        "postgresql://127.0.0.1/keys: wrong description of key W: a column cannot be read: DataError"
    ]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"database": "empty"}, "does not have the tables of s3proxy: apply the files in"),
        ({"database": "none"}, 'database "none" does not exist'),
        ({"password": "a-wrong-password"}, "password authentication failed"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_database_that_cannot_be_used(server: PostgreSQL, source: dict[str, str], message: str) -> None:
    """
    503, and the log says why, without the password.
    """
    daemon = DatabaseDaemon(Path(), server.url(**source))
    with capturedLogs() as logs:
        statuses = await daemon.statuses("A")
    await daemon.close()

    assert statuses == [503]
    assert any(" fails: " in line and message in line for line in lines(logs)), lines(logs)
    assert source.get("password", READER_PASSWORD) not in repr(logs)


@pytest_twisted.ensureDeferred
async def test_a_password_file(server: PostgreSQL, tmp_path: Path) -> None:
    """
    Its path starts from the directory of the configuration.
    """
    (tmp_path / "pgpass").write_text(f"127.0.0.1:{server.port}:keys:{READER}:{READER_PASSWORD}\n")
    (tmp_path / "pgpass").chmod(0o600)
    url = f"postgresql://{READER}@127.0.0.1:{server.port}/keys?passfile=pgpass"
    daemon = DatabaseDaemon(tmp_path, url)
    statuses = await daemon.statuses("A")
    await daemon.close()

    assert statuses == [200]
    assert list(daemon.source.secret_files) == [tmp_path / "pgpass"]


@pytest_twisted.ensureDeferred
async def test_tls(server: PostgreSQL, tmp_path: Path) -> None:
    """
    A server whose certificate does not verify gets no password, and clients get 503.
    """
    authority, other = CA(), CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    other.cert_pem.write_to_path(tmp_path / "other.pem")
    certificate = authority.issue_cert("127.0.0.1")
    certificate.cert_chain_pems[0].write_to_path(server.data / "server.crt")
    certificate.private_key_pem.write_to_path(server.data / "server.key")
    (server.data / "server.key").chmod(0o600)
    if os.geteuid() == 0:
        for name in ("server.crt", "server.key"):
            shutil.chown(server.data / name, "nobody", "nogroup")
    server.execute("ALTER SYSTEM SET ssl = on")
    server.execute("SELECT pg_reload_conf()")
    url = f"{server.url()}?sslmode=verify-full&sslrootcert="
    daemon = DatabaseDaemon(tmp_path, f"{url}ca.pem")
    await listening(daemon)
    verified = await daemon.statuses("A")
    server.put("A", disabled=True)
    await told(daemon, "A")
    disabled = await daemon.statuses("A")
    used = server.execute(
        "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE ssl AND usename = %s", (READER,)
    )
    await daemon.close()
    daemon = DatabaseDaemon(tmp_path, f"{url}other.pem")
    with capturedLogs() as logs:
        refused = await daemon.statuses("A")
    await daemon.close()
    server.execute("ALTER SYSTEM RESET ssl")
    server.execute("SELECT pg_reload_conf()")

    assert (verified, disabled, refused) == ([200], [403], [503])
    assert used[0][0] >= 2
    assert any("certificate verify failed" in line for line in lines(logs))


def test_the_commands_of_the_page(server: PostgreSQL, tmp_path: Path) -> None:
    """
    They make a database whose reader finds the key.
    """
    page = (ROOT / "docs/howto/keys-in-postgresql.md").read_text("utf-8")
    blocks = [dedent(block) for block in re.findall(r"^ *```sh\n(.*?)^ *```", page, re.MULTILINE | re.DOTALL)]
    script = "\n".join(["set -e", *(block for block in blocks if "pip install" not in block)])
    # The server has a database and a user of these names.
    script = script.replace("-d keys", "-d page").replace("createdb keys", "createdb page")
    script = script.replace("ROLE s3proxy ", "ROLE reader ").replace("TO s3proxy;", "TO reader;")
    ran = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False, env=server.environment())
    with psycopg.connect(server.url("reader", "a-password", "page")) as connection:
        found = connection.execute("SELECT * FROM s3proxy_keys").fetchall()

    assert ran.returncode == 0, ran.stderr
    assert [row[:2] for row in found] == [("ALICE", ["new"])]
    assert len(blocks) == 5


@pytest_twisted.ensureDeferred
async def test_the_reader_writes_nothing(server: PostgreSQL) -> None:
    """
    The how-to's user has no right to.
    """
    with psycopg.connect(server.url()) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("DELETE FROM s3proxy_keys")
    assert OWNER_PASSWORD


@pytest_twisted.ensureDeferred
async def test_the_end_does_not_wait_for_a_server_that_hangs(
    server: PostgreSQL, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A server may stop to answer between the connection and the request for notifications.
    """
    connect, made = psycopg.connect, []

    def hang(**parameters: Any) -> Any:
        connection = connect(**parameters)
        server.signal(signal.SIGSTOP)
        made.append(connection)
        return connection

    monkeypatch.setattr("s3proxy.credentials.postgresql.psycopg.connect", hang)
    daemon = DatabaseDaemon(Path(), server.url())
    try:
        driver = daemon.source._origin._keys._driver  # type: ignore[attr-defined]
        await until(lambda: driver._beginning is not None)
        await turns(10)
        await daemon.close()
    finally:
        server.signal(signal.SIGCONT)

    assert [connection.closed for connection in made] == [True]


@pytest_twisted.ensureDeferred
async def test_the_end_of_a_daemon_closes_its_connections(server: PostgreSQL) -> None:
    """
    Also while the server hangs in a statement.
    """
    daemon = DatabaseDaemon(Path(), server.url())
    await listening(daemon)
    with server.connect() as writer:
        writer.execute("LOCK TABLE s3proxy_keys IN ACCESS EXCLUSIVE MODE")
        looking: Any = daemon.source.look_up(b"A")
        await until(lambda: daemon.source._origin._keys._database._calls)  # type: ignore[attr-defined]
        await turns(20)
        await daemon.close()
        writer.rollback()
    with pytest.raises(ServiceUnavailable):
        await looking
    await until(
        lambda: server.execute("SELECT count(*) FROM pg_stat_activity WHERE usename = %s", (READER,)) == [(0,)], 200
    )
