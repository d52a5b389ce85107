"""
One OpenStack Keystone, from PyPI: its WSGI application on loopback, its database in SQLite, all in one directory.
"""

from __future__ import annotations

import contextlib
import getpass
import grp
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from tests.integration.swift import CACHE
from tests.support.processes import end_all, free_port, wait_for_port

REQUIREMENT = "keystone==28.*"
PASSWORD = "admin-password-of-the-integration-suite"

_SERVER = """
import sys
from werkzeug.serving import run_simple
from keystone.server.wsgi import initialize_public_application
run_simple("127.0.0.1", int(sys.argv.pop()), initialize_public_application())
"""
# One request at a time, each on a connection of its own: two threads would lock each other out of SQLite.


def install() -> Path:
    """
    Install Keystone if it is missing.

    Returns:
        The directory of its commands.
    """
    commands = CACHE / "keystone" / "bin"
    if not (commands / "keystone-manage").exists():
        print("installing Keystone", flush=True)
        shutil.rmtree(CACHE / "keystone", ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(CACHE / "keystone")], check=True)
        subprocess.run([str(commands / "pip"), "install", "-q", REQUIREMENT], check=True)
    return commands


class Keystone:
    """
    The running server.

    Args:
        commands: The directory of Keystone's commands.

    Attributes:
        url: Its URL, with the version of the API.
    """

    def __init__(self, directory: Path, commands: Path) -> None:
        self._directory = directory
        self._commands = commands
        self._port = free_port()
        self._processes: list[subprocess.Popen[bytes]] = []
        self._token = ""
        self.url = f"http://127.0.0.1:{self._port}/v3"

    @property
    def _environment(self) -> dict[str, str]:
        own = {name: value for name, value in os.environ.items() if not name.startswith(("OS_", "PYTHON"))}
        return {**own, "OS_KEYSTONE_CONFIG_DIR": str(self._directory)}

    def start(self) -> None:
        """
        Make the database, and start the server.
        """
        directory, user = self._directory, getpass.getuser()
        group = grp.getgrgid(os.getgid()).gr_name
        (directory / "keystone.conf").write_text(
            f"""[DEFAULT]
log_file = {directory}/keystone.log
[database]
connection = sqlite:///{directory}/keystone.db
[cache]
enabled = false
[identity]
password_hash_rounds = 4
[fernet_tokens]
key_repository = {directory}/fernet-keys
[credential]
key_repository = {directory}/credential-keys
"""
        )
        of_user = ["--keystone-user", user, "--keystone-group", group]
        bootstrap = ["--bootstrap-password", PASSWORD, "--bootstrap-public-url", self.url]
        for arguments in (
            ["db_sync"],
            ["fernet_setup", *of_user],
            ["credential_setup", *of_user],
            ["bootstrap", *bootstrap, "--bootstrap-region-id", "one"],
        ):
            command = [str(self._commands / "keystone-manage"), "--config-dir", str(directory), *arguments]
            subprocess.run(command, check=True, env=self._environment, cwd=directory, stdout=subprocess.DEVNULL)
        with contextlib.closing(sqlite3.connect(directory / "keystone.db")) as database:
            # Keystone writes on one connection while it reads on another.
            database.execute("PRAGMA journal_mode = WAL")
        self.resume()
        self._token = self._log_in()

    def resume(self) -> None:
        """
        Start the server, with the database as it is.
        """
        with (self._directory / "server.log").open("ab") as log:
            arguments = [str(self._commands / "python"), "-c", _SERVER, str(self._port)]
            process = subprocess.Popen(arguments, env=self._environment, cwd=self._directory, stdout=log, stderr=log)
        self._processes.append(process)
        wait_for_port(self._port, process)

    def stop(self) -> None:
        """
        End the server.
        """
        end_all(self._processes)
        self._processes.clear()

    def log(self) -> str:
        """
        Return what the server has logged.
        """
        return (self._directory / "keystone.log").read_text("utf-8", "replace")

    # What an administrator does

    def _log_in(self) -> str:
        user = {"name": "admin", "domain": {"id": "default"}, "password": PASSWORD}
        scope = {"project": {"name": "admin", "domain": {"id": "default"}}}
        identity = {"methods": ["password"], "password": {"user": user}}
        request = self._request("POST", "/auth/tokens", {"auth": {"identity": identity, "scope": scope}})
        with urllib.request.urlopen(request, timeout=30) as response:
            return str(response.headers["X-Subject-Token"])

    def _request(self, method: str, path: str, document: Any) -> urllib.request.Request:
        content = None if document is None else json.dumps(document).encode()
        headers = {"Content-Type": "application/json", "X-Auth-Token": self._token}
        return urllib.request.Request(self.url + path, content, headers, method=method)

    def call(self, method: str, path: str, document: Any = None) -> Any:
        """
        Call the API as its administrator; return the document of the response.
        """
        with urllib.request.urlopen(self._request(method, path, document), timeout=30) as response:
            content = response.read()
        return json.loads(content) if content else None

    def make_user(self, name: str, password: str = "a-password-of-a-user") -> str:
        """
        Make a user; return its id.
        """
        user = {"name": name, "password": password, "domain_id": "default"}
        return str(self.call("POST", "/users", {"user": user})["user"]["id"])

    def make_project(self, name: str) -> str:
        """
        Make a project; return its id.
        """
        return str(self.call("POST", "/projects", {"project": {"name": name, "domain_id": "default"}})["project"]["id"])

    def role(self, name: str) -> str:
        """
        Return the id of a role, which is made if there is none of that name.
        """
        found = self.call("GET", f"/roles?name={name}")["roles"]
        return str((found or [self.call("POST", "/roles", {"role": {"name": name}})["role"]])[0]["id"])

    def assign(self, user: str, project: str, role: str) -> None:
        """
        Give a user a role on a project.
        """
        self.call("PUT", f"/projects/{project}/users/{user}/roles/{self.role(role)}")

    def withdraw(self, user: str, project: str, role: str) -> None:
        """
        Take it away.
        """
        self.call("DELETE", f"/projects/{project}/users/{user}/roles/{self.role(role)}")

    def assign_on_system(self, user: str, role: str) -> None:
        """
        Give a user a role on the whole system.
        """
        self.call("PUT", f"/system/users/{user}/roles/{self.role(role)}")

    def make_key(self, user: str, project: str) -> tuple[str, str]:
        """
        Make an EC2 credential; return its access key id and secret.
        """
        made = self.call("POST", f"/users/{user}/credentials/OS-EC2", {"tenant_id": project})["credential"]
        return made["access"], made["secret"]
