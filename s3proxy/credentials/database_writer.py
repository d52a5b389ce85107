"""
Change the keys in the table of an SQL database: what SQLite and PostgreSQL have in common.

A command has one connection of its own, and waits for it. No error of a driver is shown as it is: the details of one
may have the values of a row, and so a secret.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any, Protocol

from s3proxy.configuration.tables import Fault, Faults, options_of, structure
from s3proxy.credentials.database import Driver, WrongSchema, check_schema
from s3proxy.credentials.record import KeyTable, key_faults
from s3proxy.credentials.source import KeyRules
from s3proxy.credentials.writer import Record


class Dialect(Protocol):
    """
    What differs from database to database when keys are changed.

    Attributes:
        driver: Reads rows.
        placeholder: The place of a parameter in a statement.
        begin: Begins a transaction that changes keys.
        locking_query: Finds the row of a key, which no other transaction changes until the end of this one.
        errors: What the driver raises.
    """

    driver: Driver
    placeholder: str
    begin: str
    locking_query: str
    errors: tuple[type[Exception], ...]

    def connect(self, *, writes: bool) -> Any:
        """
        Return a new connection. Each statement outside of a transaction is one of its own.
        """

    def column(self, value: Any) -> Any:
        """
        Return the value of an option as its column has it.
        """

    def told(self, error: Exception) -> str:
        """
        Return an error as text without any value of a row.
        """


class DatabaseKeyEdit:
    """
    One transaction.
    """

    def __init__(self, dialect: Dialect, connection: Any, rules: KeyRules) -> None:
        self._dialect = dialect
        self._connection = connection
        self._rules = rules

    def get(self, access_key_id: str) -> Record | None:
        for record in _select(self._dialect, self._connection, self._dialect.locking_query, (access_key_id,)):
            return record
        return None

    def put(self, record: Record) -> None:
        table = structure(KeyTable, record)
        faults = list(key_faults(table, "", self._rules))
        if faults:
            raise Faults(faults)
        access_key_id = record["access_key_id"]
        former = self.get(access_key_id)
        before: Mapping[str, Any] = {} if former is None else former
        values = {
            each.name: self._dialect.column(getattr(table, each.name)) if each.name in record else None
            for each in options_of(KeyTable)
            if record.get(each.name) != before.get(each.name)
        }
        # The names are those of the declarations, never of a record.
        names, places = list(values), self._dialect.placeholder
        if former is None:
            columns, marks = ", ".join(map(_quoted, names)), ", ".join([places] * len(names))
            self._run(f"INSERT INTO s3proxy_keys ({columns}) VALUES ({marks})", values.values())  # noqa: S608
        elif values:
            changes = ", ".join(f"{_quoted(name)} = {places}" for name in names)
            statement = f"UPDATE s3proxy_keys SET {changes} WHERE access_key_id = {places}"  # noqa: S608
            self._run(statement, [*values.values(), access_key_id])

    def remove(self, access_key_id: str) -> None:
        statement = f"DELETE FROM s3proxy_keys WHERE access_key_id = {self._dialect.placeholder}"  # noqa: S608
        self._run(statement, (access_key_id,))

    def _run(self, statement: str, values: Any) -> None:
        with closing(self._connection.cursor()) as cursor:
            cursor.execute(statement, tuple(values))


class DatabaseKeyWriter:
    """
    Lists and changes the keys of one database.

    Args:
        name: The database as errors name it.
        effect: See `KeyWriter`.
    """

    def __init__(self, dialect: Dialect, rules: KeyRules, name: str, effect: str) -> None:
        self._dialect = dialect
        self._rules = rules
        self._name = name
        self.effect = effect

    def records(self) -> list[Record]:
        query = "SELECT * FROM s3proxy_keys ORDER BY access_key_id"
        with self._told(), closing(self._connected(writes=False)) as connection:
            return list(_select(self._dialect, connection, query))

    @contextmanager
    def edit(self) -> Iterator[DatabaseKeyEdit]:
        with self._told(), closing(self._connected(writes=True)) as connection:
            connection.execute(self._dialect.begin)
            try:
                yield DatabaseKeyEdit(self._dialect, connection, self._rules)
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    def _connected(self, *, writes: bool) -> Any:
        connection = self._dialect.connect(writes=writes)
        try:
            self._dialect.driver.prepare(connection)
            check_schema(self._dialect.driver, connection)
        except BaseException:
            connection.close()
            raise
        return connection

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except WrongSchema as error:
            raise Faults([Fault("", f"{self._name}: {error}")]) from None
        except self._dialect.errors as error:
            raise Faults([Fault("", f"{self._name}: {self._dialect.told(error)}")]) from None


def _select(dialect: Dialect, connection: Any, query: str, parameters: tuple[Any, ...] = ()) -> Iterator[Record]:
    """
    Yield the rows of a query, without what is NULL, as records.

    Raises:
        Faults: A column does not have the form of its option. The text has the key, and nothing of the column.
    """
    with closing(connection.cursor()) as cursor:
        cursor.execute(query, parameters)
        names = [column[0] for column in cursor.description]
        for row in cursor:
            found = {name: value for name, value in zip(names, row, strict=True) if value is not None}
            try:
                yield dialect.driver.values(found)
            except Faults as error:
                key = found["access_key_id"]
                named = key.decode("ascii", "replace") if isinstance(key, bytes) else key
                raise Faults(Fault(f'key "{named}": {each.place}', each.message) for each in error.faults) from None


def _quoted(name: str) -> str:
    return f'"{name}"'
