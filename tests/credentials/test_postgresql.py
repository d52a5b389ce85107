"""
The URL of a PostgreSQL database: what of it is checked when the source is opened. The server itself is in the
integration suite.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.logger import capturedLogs
from zope.interface.verify import verifyObject

from s3proxy.commands.cli import main
from s3proxy.configuration.tables import Faults
from s3proxy.credentials.cache import CachedCredentials
from s3proxy.credentials.postgresql import read_parameters
from s3proxy.credentials.source import ANY_NAMES, open_source
from s3proxy.interfaces import ICredentialOrigin, ICredentialSource
from s3proxy.s3.errors import ServiceUnavailable
from tests.support.harness import until
from tests.support.processes import free_port, write_configuration


def refusal(url: str, directory: Path) -> str:
    """
    Return the error of a URL.
    """
    with pytest.raises(Faults) as raised:
        open_source(url, directory, ANY_NAMES)
    (fault,) = raised.value.faults
    assert fault.place == "credentials.source"
    return fault.message


def test_it_is_opened_without_being_started(tmp_path: Path) -> None:
    """
    No server is needed.
    """
    source: Any = open_source("postgresql://s3proxy:hidden@db.example.test/keys", tmp_path, ANY_NAMES)

    assert verifyObject(ICredentialSource, source)
    assert verifyObject(ICredentialOrigin, source._origin)
    assert list(source.secret_files) == []
    assert source._name == "postgresql://db.example.test/keys"


def test_parameters_have_defaults_and_paths_a_directory(tmp_path: Path) -> None:
    """
    The URL may override each default.
    """
    for name in ("pgpass", "ca.pem"):
        (tmp_path / name).write_text("")
    url = "postgresql://h1,h2/keys?passfile=pgpass&sslrootcert=ca.pem&connect_timeout=7"

    parameters = read_parameters(url, tmp_path)
    system = read_parameters("postgresql://h/keys?sslrootcert=system", tmp_path)

    assert (parameters["host"], parameters["dbname"]) == ("h1,h2", "keys")
    assert (str(parameters["connect_timeout"]), parameters["keepalives_idle"]) == ("7", 30)
    assert (parameters["passfile"], parameters["sslrootcert"]) == (f"{tmp_path}/pgpass", f"{tmp_path}/ca.pem")
    assert system["sslrootcert"] == "system"


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:hid@den@h/keys",
        "postgresql://u:hid/den@h/keys",
        "postgresql://u:1/hidden@h/keys",
        "postgresql://u:hid%zzden@h/keys",
        "postgresql://u:hidden@h:port/keys",
        "postgresql://h/keys?secret=hidden",
    ],
)
def test_a_wrong_url_shows_no_part_of_a_password(url: str, tmp_path: Path) -> None:
    """
    libpq takes a part of it for a host, a port or a parameter, and names it in an error.
    """
    told = refusal(url, tmp_path)

    assert not {"hid", "den", "hidden"} & set(told.replace("@", " ").replace("/", " ").split())
    assert "hidden" not in told


def test_a_file_that_is_missing(tmp_path: Path) -> None:
    """
    libpq would ignore it, and fail later.
    """
    message = f"passfile: {tmp_path}/pgpass: No such file or directory"
    assert refusal("postgresql://h/keys?passfile=pgpass", tmp_path) == message


def test_without_the_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    One line says what to install.
    """
    for name in ("s3proxy.credentials.postgresql", "s3proxy.credentials.notifications"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "psycopg", None)

    told = refusal("postgresql://h/keys", tmp_path)

    assert "the driver is missing" in told
    assert 'pip install "txs3proxy[postgresql]"' in told


@pytest.mark.parametrize("url", ["postgresql://u:hidden@h/keys", "postgresql://h/keys?password=hidden"])
def test_check_warns_of_a_password_in_the_configuration(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    Others can read it there.
    """
    path = write_configuration(tmp_path, "http://127.0.0.1:1", backend='signature = "none"')
    text = path.read_text().replace("file:keys.toml", url)
    path.write_text("\n".join(line for line in text.splitlines() if "access_key" not in line))
    path.chmod(0o644)

    assert main(["check", str(path)]) == 0
    told = capsys.readouterr().out
    path.write_text(path.read_text().replace(url, "postgresql://u@h/keys"))
    assert main(["check", str(path)]) == 0
    without = capsys.readouterr().out

    assert f"warning: {path}: every user of this machine can read the secrets" in told
    assert "hidden" not in told
    assert str(path) + ": every user" not in without


@pytest_twisted.ensureDeferred
async def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    """
    Lookups fail with 503. The log says why, once for the keys and once for the notifications, without the password.
    """
    source: Any = open_source(f"postgresql://u:hidden@127.0.0.1:{free_port()}/keys", tmp_path, ANY_NAMES)
    assert isinstance(source, CachedCredentials)
    source.start(reactor)
    with capturedLogs() as logs:
        with pytest.raises(ServiceUnavailable):
            await source.look_up(b"A")
        notifications = source._origin._notifications
        await until(lambda: notifications._is_told)
    await source.stop()

    told = [event["log_format"].format(**event) for event in logs if "name" in event]
    assert len(told) == 2
    assert all("refused" in line for line in told)
    assert "hidden" not in repr(logs)
