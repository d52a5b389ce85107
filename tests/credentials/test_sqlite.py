"""
Keys in an SQLite database: what a row means, and what happens if the database is not as it should be.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import fields
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs
from zope.interface.verify import verifyObject

from s3proxy.configuration.options import SOURCE
from s3proxy.configuration.tables import Faults
from s3proxy.credentials.cache import CachedCredentials
from s3proxy.credentials.record import KeyTable
from s3proxy.credentials.source import CacheLimits, KeyRules, count_keys, open_source
from s3proxy.interfaces import ICredentialSource
from s3proxy.s3.credential import Credential
from s3proxy.s3.errors import ServiceUnavailable
from s3proxy.s3.exemption import Exemption
from tests.support.databases import make_sqlite, put_sqlite
from tests.support.root import ROOT

ASKS_EACH_TIME = CacheLimits(ttl=0, negative_ttl=0)
RULES = KeyRules(backends=["only"], backend_keys={"mine": "only"}, cache=ASKS_EACH_TIME)


@asynccontextmanager
async def opened(path: Path, rules: KeyRules = RULES) -> AsyncIterator[CachedCredentials]:
    """
    A started source of a database. It is stopped in the end.
    """
    source = open_source(f"sqlite:{path.name}", path.parent, rules)
    assert isinstance(source, CachedCredentials)
    source.start(reactor)
    try:
        yield source
    finally:
        stopping: Any = source.stop()
        await stopping


async def found(source: CachedCredentials, name: str = "A") -> Credential | None:
    """
    Look up a key, and wait.
    """
    looking: Any = source.look_up(name.encode())
    result: Credential | None = await looking if isinstance(looking, Deferred) else looking
    return result


async def failure(source: CachedCredentials, name: str = "A") -> str:
    """
    Look up a key that gets 503; return the lines of the log.
    """
    with capturedLogs() as logs, pytest.raises(ServiceUnavailable):
        await found(source, name)
    return "\n".join(event["log_format"].format(**event) for event in logs)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """
    A database without keys.
    """
    made = tmp_path / "keys 100%?.sqlite"
    make_sqlite(made)
    return made


def test_it_is_opened_without_being_started(path: Path) -> None:
    """
    Its path starts from the directory of the configuration, and may have any character.
    """
    source = open_source(f"sqlite:{path.name}", path.parent, RULES)

    assert verifyObject(ICredentialSource, source)
    assert '"sqlite:PATH"' in SOURCE.accepted
    assert list(source.secret_files) == [path]
    assert count_keys(source) == "an unknown number of keys"


@pytest.mark.parametrize(("content", "message"), [(None, "No such file"), (b"[[key]]\n", "not an SQLite database")])
def test_what_is_no_database(tmp_path: Path, content: bytes | None, message: str) -> None:
    """
    The daemon does not start.
    """
    if content is not None:
        (tmp_path / "keys.sqlite").write_bytes(content)

    with pytest.raises(Faults, match=message) as raised:
        open_source("sqlite:keys.sqlite", tmp_path, RULES)

    assert str(tmp_path / "keys.sqlite") in raised.value.told[0]


def test_each_option_has_a_column(path: Path) -> None:
    """
    A new option needs a migration.
    """
    columns = {row[1] for row in sqlite3.connect(path).execute("PRAGMA table_info(s3proxy_keys)")}

    assert {field.name for field in fields(KeyTable)} <= columns
    assert columns >= {"allow", "deny", "networks", "read_only"}


@pytest_twisted.ensureDeferred
async def test_the_statements_of_the_page(path: Path) -> None:
    """
    They add a key, and rotate its secret.
    """
    page = (ROOT / "docs/howto/keys-in-sqlite.md").read_text("utf-8")
    statements = re.findall(r'sqlite3 keys\.sqlite "(.*?)"', page, re.DOTALL)
    secrets = []
    async with opened(path) as source:
        for statement in statements:
            with sqlite3.connect(path) as database:
                database.execute(statement)
            database.close()
            key = await found(source, "ALICE")
            secrets.append(key.secret_access_keys if key is not None else None)

    assert secrets == [("a-secret-of-alice",), ("a-secret-of-alice", "new"), ("new",)]
    assert "importlib.resources" in page
    assert (files("s3proxy.credentials") / "migrations/sqlite/0001_keys.sql").is_file()


@pytest_twisted.ensureDeferred
async def test_what_a_row_means(path: Path) -> None:
    """
    Every column, and none.
    """
    put_sqlite(path, "few")
    put_sqlite(
        path,
        "all",
        ["new", "former"],
        session_token="token",
        expires="2030-01-01T02:00:00+02:00",
        disabled=1,
        backend="only",
        backend_key=["mine"],
        exempt=["region"],
        refuse=["v2-query"],
        requests=1,
        bodies=2,
        requests_per_second=3,
        bytes_per_second=4,
    )
    async with opened(path) as source:
        few, everything, none = await found(source, "few"), await found(source, "all"), await found(source, "none")

    assert few == Credential(access_key_id="few", secret_access_keys=("secret",))
    assert none is None
    assert everything is not None
    assert everything.secret_access_keys == ("new", "former")
    assert everything.expires_at == datetime(2030, 1, 1, tzinfo=UTC)
    assert (everything.session_token, everything.is_disabled) == ("token", True)
    assert (everything.backend, everything.backend_keys) == ("only", ("mine",))
    assert (everything.exemptions, everything.refused) == ({Exemption.REGION}, {"v2-query"})
    budget = everything.budget
    assert budget is not None
    assert (budget.requests, budget.bodies, budget.requests_per_second, budget.bytes_per_second) == (1, 2, 3, 4)


@pytest.mark.parametrize("journal", ["wal", "delete"])
@pytest_twisted.ensureDeferred
async def test_changes_are_seen(tmp_path: Path, journal: str) -> None:
    """
    Each question reads what was committed last, also while another process has begun to write.
    """
    path = tmp_path / "keys.sqlite"
    make_sqlite(path, journal=journal)
    async with opened(path) as source:
        before = await found(source)
        put_sqlite(path, secret=["former"])
        added = await found(source)
        writer = sqlite3.connect(path, isolation_level=None)
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("DELETE FROM s3proxy_keys")
        meanwhile = await found(source)
        writer.execute("COMMIT")
        writer.close()
        removed = await found(source)

    assert (before, removed) == (None, None)
    assert added == meanwhile == Credential(access_key_id="A", secret_access_keys=("former",))


@pytest_twisted.ensureDeferred
async def test_another_file_at_the_path_is_read(path: Path) -> None:
    """
    Tools that deploy a file replace it. The former file, which is open, is not read any more.
    """
    put_sqlite(path, secret=["former"])
    other = path.with_name("other.sqlite")
    make_sqlite(other, journal="delete")
    put_sqlite(other, secret=["new"])
    async with opened(path) as source:
        former = await found(source)
        other.rename(path)
        new = await found(source)

    assert former is not None
    assert new is not None
    assert (former.secret_access_keys, new.secret_access_keys) == (("former",), ("new",))


@pytest_twisted.ensureDeferred
async def test_nothing_is_written(path: Path) -> None:
    """
    The source has no right that it does not need.
    """
    async with opened(path) as source:
        database: Any = source._origin
        running = database._database.run(lambda connection: connection.execute("DELETE FROM s3proxy_keys"))
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            await running


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"secret": "hidden"}, "secret_access_key: not a list in JSON"),
        ({"secret": '"hidden"'}, "secret_access_key: not a list in JSON"),
        ({"secret": "[" * 100_000}, "secret_access_key: not a list in JSON"),
        ({"secret": ["hidden", ""]}, "secret_access_key: this value is not accepted"),
        ({"secret": ["hidden"] * 3}, "secret_access_key: this value is not accepted"),
        ({"secret": [b"hidden\xff".decode("latin-1") + "\0"]}, "secret_access_key: this value is not accepted"),
        ({"secret": b"hidden\xff"}, "secret_access_key: not UTF-8"),
        ({"session_token": b"hidden\xff"}, "session_token: not UTF-8"),
        ({"expires": "tomorrow"}, "expires: not a date and time"),
        ({"expires": "2030-01-01T00:00:00"}, "expires: 2030-01-01T00:00:00 is not accepted"),
        ({"disabled": 2}, "disabled: 2 is not accepted"),
        ({"disabled": "no"}, 'disabled: "no" is not accepted'),
        ({"backend": "elsewhere"}, 'backend: "elsewhere" is not accepted'),
        ({"backend_key": "mine"}, "backend_key: not a list in JSON"),
        ({"exempt": ["everything"]}, "exempt[0]"),
        ({"requests": "many"}, "requests:"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_wrong_row(path: Path, columns: dict[str, Any], message: str) -> None:
    """
    503, and a line of the log that says which column of which key is wrong. It has no secret.
    """
    secret = columns.pop("secret", ["hidden"])
    put_sqlite(path, "A", secret, **columns)
    put_sqlite(path, "B")
    async with opened(path) as source:
        told = await failure(source)
        other = await found(source, "B")

    assert f"sqlite:{path}: wrong description of key A: {message}" in told
    assert len(told.splitlines()) == 1
    assert "hidden" not in told
    assert other is not None


@pytest.mark.parametrize(("value", "is_served"), [(None, True), ("[]", False)])
@pytest_twisted.ensureDeferred
async def test_a_column_that_this_version_does_not_know(path: Path, value: str | None, *, is_served: bool) -> None:
    """
    It may be a right that would not be enforced: such a key is not served.
    """
    put_sqlite(path)
    with sqlite3.connect(path) as database:
        database.execute("ALTER TABLE s3proxy_keys ADD COLUMN right_of_the_future TEXT")
        database.execute("UPDATE s3proxy_keys SET right_of_the_future = ?", (value,))
    database.close()
    async with opened(path) as source:
        if is_served:
            assert await found(source) is not None
        else:
            assert "right_of_the_future: unknown name" in await failure(source)


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("DROP TABLE s3proxy_schema", "does not have the tables of s3proxy: apply the files in"),
        ("DELETE FROM s3proxy_schema", "have no version, and version 1 is required"),
        ("UPDATE s3proxy_schema SET version = 0", "have version 0, and version 1 is required"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_wrong_schema(path: Path, statement: str, message: str) -> None:
    """
    503 until it is right, and one line of the log.
    """
    put_sqlite(path)
    with sqlite3.connect(path) as database:
        database.execute(statement)
    database.close()
    async with opened(path) as source:
        told = await failure(source)

    assert message in told
    assert len(told.splitlines()) == 1


@pytest_twisted.ensureDeferred
async def test_a_database_that_has_gone(path: Path) -> None:
    """
    Known keys are served, new ones get 503. The log names the file.
    """
    put_sqlite(path)
    async with opened(path) as source:
        known = await found(source)
        path.unlink()
        told = await failure(source, "B")
        again = await found(source)

    assert known == again
    assert known is not None
    # A thread without a connection tries to make one.
    assert "No such file or directory" in told or "unable to open database file" in told
    assert told.startswith(f"sqlite:{path} fails: ")


@pytest_twisted.ensureDeferred
async def test_a_database_that_a_writer_keeps(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    It is as if it were down, after a short time.
    """
    monkeypatch.setattr("s3proxy.credentials.sqlite.BUSY_TIME", 0.01)
    async with opened(path) as source:
        writer = sqlite3.connect(path, isolation_level=None)
        writer.execute("PRAGMA journal_mode = delete")
        writer.execute("BEGIN EXCLUSIVE")
        told = await failure(source)
        writer.close()

    assert "database is locked" in told


@pytest.mark.parametrize(
    "columns",
    [
        {"access_key_id": "a/b"},
        {"access_key_id": "a b"},
        {"access_key_id": ""},
        {"secret_access_key": "secret"},
        {"secret_access_key": "[]"},
        {"secret_access_key": '["a", "b", "c"]'},
        {"expires": "2030-01-01"},
        {"expires": "2030-01-01T00:00:00"},
        {"expires": "never"},
        {"disabled": 2},
        {"requests": -1},
        {"backend_key": "[]"},
        {"allow": "read:*"},
        {"read_only": "yes"},
    ],
)
def test_the_table_refuses_what_cannot_be_read(path: Path, columns: dict[str, Any]) -> None:
    """
    A mistake is found when it is made.
    """
    row = {"access_key_id": "A", "secret_access_key": '["secret"]', **columns}
    database = sqlite3.connect(path)
    statement = f"INSERT INTO s3proxy_keys ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})"

    with pytest.raises(sqlite3.Error):
        database.execute(statement, tuple(row.values()))
    good = "INSERT INTO s3proxy_keys (access_key_id, secret_access_key) VALUES ('A', json_array('secret'))"
    database.execute(good)
    database.close()


@pytest.mark.parametrize(
    "expires", ["2030-01-01T00:00:00Z", "2030-01-01T00:00:00+02:00", "2030-01-01 00:00:00.5-08:00"]
)
@pytest_twisted.ensureDeferred
async def test_the_table_takes_what_can_be_read(path: Path, expires: str) -> None:
    """
    The moments of ISO 8601.
    """
    database = sqlite3.connect(path)
    with database:
        database.execute(
            "INSERT INTO s3proxy_keys (access_key_id, secret_access_key, expires) VALUES ('A:b+c=', '[\"s\"]', ?)",
            (expires,),
        )
    database.close()
    async with opened(path) as source:
        key = await found(source, "A:b+c=")

    assert key is not None
    assert key.expires_at == datetime.fromisoformat(expires)
