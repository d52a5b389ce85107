"""
What ``s3proxy check`` says of a listener's certificates and of the keys that client certificates stand for.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from trustme import CA

from s3proxy.commands.cli import main
from tests.support.certificates import host, issue
from tests.support.processes import write_configuration

SERVERS, CLIENTS = CA(), CA()
DAY = timedelta(days=1)
KEYS = """
[[key]]
access_key_id = "GOOD"
secret_access_key = "s"

[[key]]
access_key_id = "OFF"
secret_access_key = "s"
disabled = true

[[key]]
access_key_id = "SHORT"
secret_access_key = "s"
session_token = "t"
"""


def checked(directory: Path, capsys: pytest.CaptureFixture[str], server: str = "") -> list[str]:
    """
    Return the warnings about certificates and the keys of clients.
    """
    path = write_configuration(directory, "http://127.0.0.1:1", listen="tls:certificates:0", server=server)
    (directory / "keys.toml").write_text(KEYS)
    assert main(["check", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    return [line for line in lines if "certificate of" in line or "client_keys" in line or "clients.pem" in line]


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    """
    Return the directory of the listener's certificates, and write an authority of clients beside it.
    """
    found = tmp_path / "certificates"
    found.mkdir()
    (tmp_path / "clients.pem").write_bytes(CLIENTS.cert_pem.bytes())
    (tmp_path / "clients.pem").chmod(0o644)
    return found


@pytest.mark.parametrize(("days", "told"), [(31, ""), (29.5, "expires on {end}, in 29 days"), (-1, "expired on {end}")])
def test_a_certificate_that_ends_is_a_warning(
    days: float, told: str, certificates: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    Within 30 days of its end and after it. The configuration is valid nevertheless.
    """
    end = datetime.now(UTC) + days * DAY
    made = issue(SERVERS, host("a.test"), begins_at=end - 60 * DAY, ends_at=end)
    path = made.write(certificates / "a.pem")

    lines = [f"warning: {path}: the certificate of a.test {told.format(end=f'{end:%Y-%m-%d}')}"] if told else []
    assert checked(tmp_path, capsys) == lines


def test_a_key_that_a_certificate_cannot_stand_for_is_a_warning(
    certificates: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    One that is unknown, disabled or temporary: its client would get errors.
    """
    issue(SERVERS, host("a.test")).write(certificates / "a.pem")
    keys = '{ "a.test" = "GOOD", "b.test" = "NONE", "c.test" = "OFF", "d.test" = "SHORT" }'

    assert checked(tmp_path, capsys, f'client_ca_file = "clients.pem"\nclient_keys = {keys}') == [
        'warning: client_keys: "b.test": the key "NONE" is unknown',
        'warning: client_keys: "c.test": the key "OFF" is disabled',
        'warning: client_keys: "d.test": the key "SHORT" is temporary, and needs a session token',
    ]


def test_an_authority_that_others_can_change_is_a_warning(
    certificates: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    They could let their own clients in. Everyone may read it.
    """
    issue(SERVERS, host("a.test")).write(certificates / "a.pem")
    server = 'client_ca_file = "clients.pem"'
    before = checked(tmp_path, capsys, server)
    (tmp_path / "clients.pem").chmod(0o666)

    (line,) = checked(tmp_path, capsys, server)

    assert before == []
    assert line.startswith(f"warning: {tmp_path}/clients.pem: every user of this machine can change it")


def test_what_openssl_does_not_accept_is_an_error(
    certificates: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    One line, and the status of a wrong configuration.
    """
    path = issue(SERVERS, host("a.test")).write(certificates / "a.pem")
    (tmp_path / "dh.pem").write_text("none")
    listen = "ssl:0:privateKey=certificates/a.pem:dhParameters=dh.pem"
    configuration = write_configuration(tmp_path, "http://127.0.0.1:1", listen=listen)

    assert main(["check", str(configuration)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"{path}: OpenSSL does not accept the certificate, its key or the options of the endpoint"
