"""
One PostgreSQL server from Debian's packages, on 127.0.0.1, in a directory of its own.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psycopg

from tests.clients.catalogue import apt_install
from tests.support.databases import migrations
from tests.support.processes import end_all, free_port

OWNER, OWNER_PASSWORD = "owner", "owner-password-of-the-integration-suite"
READER, READER_PASSWORD = "s3proxy", "reader-password-of-the-integration-suite"


def _programs() -> Path:
    """
    Return the directory of the server's programs; install the server if it is missing.
    """
    for _ in range(2):
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
        if found:
            return found[-1].parent
        # Without this file the package would make a cluster of its own, and start it.
        configuration = Path("/etc/postgresql-common/createcluster.conf")
        if not configuration.exists():
            configuration.parent.mkdir(exist_ok=True)
            configuration.write_text("create_main_cluster = false\n")
        apt_install("postgresql")
    raise AssertionError("Debian's postgresql has no server")


class PostgreSQL:
    """
    A server with the tables, its owner, and a user who may only read them.

    Attributes:
        port: Its port on 127.0.0.1; the same after a restart.
    """

    def __init__(self) -> None:
        self.port = free_port()
        # pytest's directories are closed for other users, and the server refuses to run as root.
        self._directory = Path(tempfile.mkdtemp(prefix="s3proxy-postgresql-"))
        self._user: dict[str, Any] = {}
        if os.geteuid() == 0:
            self._user = {"user": "nobody", "group": "nogroup", "extra_groups": []}
            shutil.chown(self._directory, "nobody", "nogroup")
        self._programs = _programs()
        self._process: subprocess.Popen[bytes] | None = None
        self._make()

    @property
    def data(self) -> Path:
        """
        The directory of the cluster.
        """
        return self._directory / "data"

    def url(self, user: str = READER, password: str = READER_PASSWORD, database: str = "keys") -> str:
        """
        Return the URL of a database.
        """
        return f"postgresql://{user}:{password}@127.0.0.1:{self.port}/{database}"

    def environment(self) -> dict[str, str]:
        """
        Return variables for the server's own clients, as its owner.
        """
        path = f"{Path(sys.executable).parent}:{self._programs}:{os.environ['PATH']}"
        place = {"PGHOST": "127.0.0.1", "PGPORT": str(self.port), "PGUSER": OWNER, "PGPASSWORD": OWNER_PASSWORD}
        return {**os.environ, **place, "PATH": path}

    def _run(self, program: str, *arguments: str) -> None:
        ran = subprocess.run(
            [str(self._programs / program), *arguments],
            cwd=self._directory,
            capture_output=True,
            text=True,
            check=False,
            **self._user,
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr

    def _make(self) -> None:
        password = self._directory / "password"
        password.write_text(OWNER_PASSWORD)
        password.chmod(0o644)
        arguments = ("--auth=scram-sha-256", f"--pwfile={password}", f"--username={OWNER}", "--no-sync")
        self._run("initdb", "-D", str(self.data), "--encoding=UTF8", "--locale=C", *arguments)
        with (self.data / "postgresql.conf").open("a") as file:
            file.write(
                f"port = {self.port}\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = ''\n"
                "fsync = off\nmax_connections = 40\nshared_buffers = 16MB\n"
            )

    def start(self) -> None:
        """
        Start the server; return when it responds.
        """
        log = (self._directory / "log").open("ab")
        self._process = subprocess.Popen(
            [str(self._programs / "postgres"), "-D", str(self.data)],
            cwd=self._directory,
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            **self._user,
        )
        log.close()
        for _ in range(600):
            try:
                psycopg.connect(self.url(OWNER, OWNER_PASSWORD, "postgres")).close()
                return
            except psycopg.OperationalError:
                assert self._process.poll() is None, (self._directory / "log").read_text()
                time.sleep(0.05)
        raise AssertionError("the server does not respond")

    def fill(self) -> None:
        """
        Make the tables.
        """
        self.execute("CREATE DATABASE keys", database="postgres")
        self.execute("CREATE DATABASE empty", database="postgres")
        self.execute(migrations("postgresql"))
        self.execute(f"CREATE ROLE {READER} LOGIN PASSWORD '{READER_PASSWORD}'")
        self.execute(f"GRANT SELECT ON s3proxy_keys, s3proxy_schema TO {READER}")

    def execute(self, statement: str, parameters: Any = None, *, database: str = "keys") -> list[Any]:
        """
        Execute a statement as the owner; return its rows.
        """
        with psycopg.connect(self.url(OWNER, OWNER_PASSWORD, database), autocommit=True) as connection:
            cursor = connection.execute(statement.encode(), parameters)
            return cursor.fetchall() if cursor.description is not None else []

    def put(self, access_key_id: str = "A", secrets: list[str] | None = None, **columns: Any) -> None:
        """
        Write a key, or write it again.
        """
        row = {"access_key_id": access_key_id, "secret_access_key": secrets or ["secret"], **columns}
        names, marks = ", ".join(row), ", ".join(["%s"] * len(row))
        again = ", ".join(f"{name} = excluded.{name}" for name in row)
        self.execute(
            f"INSERT INTO s3proxy_keys ({names}) VALUES ({marks}) ON CONFLICT (access_key_id) DO UPDATE SET {again}",
            list(row.values()),
        )

    def connect(self) -> psycopg.Connection[Any]:
        """
        Return a connection of the owner.
        """
        return psycopg.connect(self.url(OWNER, OWNER_PASSWORD))

    def stop(self) -> None:
        """
        End the server at once, as a crash of its machine does.
        """
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            end_all([self._process])

    def signal(self, number: int) -> None:
        """
        Send a signal to the server and to the processes of its connections.
        """
        assert self._process is not None
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text()
        for pid in (self._process.pid, *map(int, re.findall(r"\d+", children))):
            os.kill(pid, number)

    def remove(self) -> None:
        """
        End the server, and remove its files.
        """
        self.stop()
        shutil.rmtree(self._directory)
