"""
``s3proxy keys`` on an SQLite database: each command, two at a time, and what a database refuses.
"""

from __future__ import annotations

import json
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from s3proxy.commands.cli import main
from s3proxy.configuration.tables import Faults
from s3proxy.credentials.source import ANY_NAMES, KeyRules
from s3proxy.credentials.sqlite_writer import open_writer
from tests.support.databases import make_sqlite, put_sqlite

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """
    A database with one key.
    """
    made = tmp_path / "keys 100%?.sqlite"
    make_sqlite(made)
    put_sqlite(made, "ALICE", ["secret of alice"], expires="2031-01-01T00:00:00+01:00", networks='["10.0.0.0/8"]')
    return made


@pytest.fixture
def run(path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """
    The command; it returns its status, standard output and standard error.
    """

    def run(*arguments: str) -> tuple[int, str, str]:
        status = main(["keys", "--source", f"sqlite:{path}", *arguments])
        return status, *capsys.readouterr()

    return run


def rows(path: Path) -> dict[str, dict[str, Any]]:
    """
    What is in the table, without what is NULL.
    """
    database = sqlite3.connect(path)
    database.row_factory = sqlite3.Row
    found = {
        row["access_key_id"]: {name: row[name] for name in row.keys() if row[name] is not None}  # noqa: SIM118
        for row in database.execute("SELECT * FROM s3proxy_keys")
    }
    database.close()
    return found


def only_known(path: Path) -> None:
    """
    Leave the columns that this version does not know empty.
    """
    database = sqlite3.connect(path)
    with database:
        database.execute("UPDATE s3proxy_keys SET networks = NULL")
    database.close()


def test_each_command(path: Path, run: Run) -> None:
    """
    A key is added with its rules, rotated, disabled, enabled, listed and removed. The other key stays as it is.
    """
    only_known(path)
    alice = rows(path)["ALICE"]

    status, out, err = run(
        *("add", "BOB", "--exempt", "region", "--bytes-per-second", "2 MiB", "--backend", "any", "--disabled"),
        *("--expires", "2031-01-01T00:00:00+01:00"),
    )
    assert (status, "within the `ttl`" in err) == (0, True)
    (first,) = re.findall(r"aws_secret_access_key = (\S{40})\n", out)
    assert rows(path)["BOB"] == {
        "access_key_id": "BOB",
        "secret_access_key": json.dumps([first]),
        "expires": "2030-12-31T23:00:00Z",
        "disabled": 1,
        "backend": "any",
        "exempt": '["region"]',
        "bytes_per_second": 2 << 20,
    }

    assert run("enable", "BOB")[0] == 0
    assert rows(path)["BOB"]["disabled"] == 0
    assert run("disable", "BOB")[0] == 0
    assert rows(path)["BOB"]["disabled"] == 1

    status, out, err = run("rotate", "BOB")
    (second,) = re.findall(r"aws_secret_access_key = (\S{40})\n", out)
    assert json.loads(rows(path)["BOB"]["secret_access_key"]) == [first, second]
    assert run("rotate", "BOB")[0] == 1
    assert run("rotate", "--finish", "BOB")[0] == 0
    assert json.loads(rows(path)["BOB"]["secret_access_key"]) == [second]

    status, out, err = run("list", "--json")
    listed = {key["access_key_id"]: key for key in json.loads(out)}
    assert (listed["BOB"]["state"], listed["BOB"]["secrets"], listed["ALICE"]["state"]) == ("disabled", 1, "active")
    assert listed["BOB"]["rules"] == {"exempt": ["region"], "bytes_per_second": 2 << 20}
    assert second not in out

    assert run("remove", "--yes", "BOB")[0] == 0
    assert rows(path) == {"ALICE": alice}


def test_only_what_changes_is_written(path: Path) -> None:
    """
    A time that was written in another form stays as it is.
    """
    only_known(path)
    writer = open_writer(path.name, path.parent, ANY_NAMES)

    with writer.edit() as edit:
        record = edit.get("ALICE")
        assert record is not None
        edit.put({**record, "requests": 5})
        edit.put({**record, "requests": 5})

    assert rows(path)["ALICE"]["expires"] == "2031-01-01T00:00:00+01:00"
    assert rows(path)["ALICE"]["requests"] == 5


@pytest.mark.parametrize(
    ("record", "told"),
    [
        ({"access_key_id": "BOB", "secret_access_key": ""}, "secret_access_key: this value is not accepted"),
        ({"access_key_id": "BOB", "secret_access_key": "hidden", "backend": "other"}, 'backend: "other"'),
        ({"access_key_id": "BOB", "secret_access_key": "hidden", "nonsense": 1}, "nonsense: unknown name"),
    ],
)
def test_what_is_no_key_is_refused(path: Path, record: dict[str, Any], told: str) -> None:
    """
    A row that the daemon could not use is never written.
    """
    with (
        pytest.raises(Faults) as raised,
        open_writer(path.name, path.parent, KeyRules(backends=["only"])).edit() as edit,
    ):
        edit.put(record)

    assert told in "\n".join(raised.value.told)
    assert "hidden" not in "\n".join(raised.value.told)
    assert list(rows(path)) == ["ALICE"]


def test_an_exception_undoes_a_change(path: Path) -> None:
    """
    Nothing is written, and the database is free again.
    """
    only_known(path)
    writer = open_writer(path.name, path.parent, ANY_NAMES)
    change = writer.edit()
    change.__enter__().put({"access_key_id": "BOB", "secret_access_key": "s"})
    assert not change.__exit__(ZeroDivisionError, ZeroDivisionError(), None)
    assert list(rows(path)) == ["ALICE"]

    with writer.edit() as edit:
        edit.remove("ALICE")
    assert rows(path) == {}


def test_concurrent_changes_are_all_kept(path: Path) -> None:
    """
    Each reads what the one before it has written: of several rotations at once, one succeeds.
    """
    only_known(path)
    command = [sys.executable, "-P", "-m", "s3proxy.commands.cli", "keys", "--source", f"sqlite:{path}"]
    processes = [
        subprocess.Popen([*command, "rotate", "ALICE"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    ended = [process.communicate(timeout=120) for process in processes]

    assert sorted(process.returncode for process in processes) == [0, 1, 1, 1]
    assert sum("has two secrets already" in err for _, err in ended) == 3
    assert len(json.loads(rows(path)["ALICE"]["secret_access_key"])) == 2


def test_a_change_waits_for_another_one(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    It does not read before the first one has ended.
    """
    only_known(path)
    monkeypatch.setattr("s3proxy.credentials.sqlite_writer.BUSY_TIME", 0.01)
    first, second = (open_writer(path.name, path.parent, ANY_NAMES).edit() for _ in range(2))
    first.__enter__()
    with pytest.raises(Faults, match="database is locked"):
        second.__enter__().get("ALICE")
    first.__exit__(None, None, None)

    with open_writer(path.name, path.parent, ANY_NAMES).edit() as edit:
        assert edit.get("ALICE") is not None


def test_a_wrong_row_is_named(path: Path, run: Run) -> None:
    """
    With its key and its column, and nothing of its content.
    """
    put_sqlite(path, "BOB", "hidden secret")

    status, out, err = run("list")

    assert (status, out, err) == (1, "", 'key "BOB": secret_access_key: not a list in JSON\n')


def test_what_is_no_database_of_keys(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    A missing file, another one, one without the tables: one line each.
    """
    (tmp_path / "text").write_text("[[key]]\n")
    (tmp_path / "empty").write_bytes(b"")
    for name, told in (
        ("none", "No such file"),
        ("text", "not an SQLite database"),
        ("empty", "does not have the tables"),
    ):
        assert main(["keys", "--source", f"sqlite:{tmp_path / name}", "list"]) == 1
        captured = capsys.readouterr()
        assert (captured.out, captured.err.count("\n")) == ("", 1)
        assert told in captured.err


def test_a_database_that_cannot_be_written(path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Another program has it for too long: one line, without a traceback.
    """
    only_known(path)
    monkeypatch.setattr("s3proxy.credentials.sqlite_writer.BUSY_TIME", 0.01)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    status, out, err = run("disable", "ALICE")
    other.close()

    assert (status, out, err) == (1, "", f"{path}: database is locked\n")
