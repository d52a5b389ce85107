"""
The certificates that a configuration names: paths, contradictions, and warnings before they expire.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from trustme import CA

from s3proxy.configuration.certificates import certificate_warnings, make_handshakes
from s3proxy.configuration.loading import make_settings
from s3proxy.configuration.options import Settings
from s3proxy.configuration.tables import Faults
from s3proxy.transport.certificates import CertificateError
from tests.support.certificates import host, issue

SERVERS, CLIENTS = CA(), CA()
BACKEND = {"name": "store", "url": "http://127.0.0.1:1", "signature": "none"}
NOW = datetime.now(UTC)
TLS = "tls:certificates:0:interface=127.0.0.1"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """
    Return the directory of a configuration: a directory of certificates, files of one certificate, and an authority.
    """
    (tmp_path / "certificates").mkdir()
    made = issue(SERVERS, host("a.test"))
    made.write(tmp_path / "certificates" / "a.pem")
    (tmp_path / "key.pem").write_bytes(made.private_key)
    (tmp_path / "cert.pem").write_bytes(made.chain)
    (tmp_path / "clients.pem").write_bytes(CLIENTS.cert_pem.bytes())
    return tmp_path


def settings(directory: Path, server: dict[str, Any] | None = None, *listeners: dict[str, Any]) -> Settings:
    """
    Return the settings of a configuration.
    """
    content = {"backend": [BACKEND], "server": server or {}, "listener": list(listeners)}
    return make_settings(content, directory, {})


def faults(directory: Path, server: dict[str, Any] | None = None, *listeners: dict[str, Any]) -> dict[str, str]:
    """
    Return the faults of a configuration by place.
    """
    with pytest.raises(Faults) as refusal:
        settings(directory, server, *listeners)
    return {fault.place: fault.message for fault in refusal.value.faults}


@pytest.mark.parametrize(
    "endpoint", [TLS, "ssl:0:privateKey=key.pem:certKey=cert.pem", "ssl:0:privateKey=certificates/a.pem"]
)
def test_paths_start_from_the_configuration_file(
    endpoint: str, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Not from the working directory, which twistd changes.
    """
    elsewhere = directory / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    made = settings(directory, {"listen": [endpoint], "client_ca_file": "clients.pem"})

    (listener,) = made.listeners
    handshakes = make_handshakes(listener, made.directory, NOW)

    assert handshakes is not None
    assert [each.names for each in handshakes.shown] == [("a.test",)]
    assert listener.client_ca_file == str(directory / "clients.pem")
    assert listener.endpoint == endpoint


def test_a_file_that_is_wrong_is_a_fault_of_its_endpoint(directory: Path) -> None:
    """
    Each with its file, in one run.
    """
    (directory / "certificates" / "b.pem").write_text("")
    listeners = [{"endpoint": "ssl:1:privateKey=key.pem"}, {"endpoint": "ssl:2:privateKey=none.pem"}]
    (directory / "none").mkdir()

    assert faults(directory, {"listen": [TLS], "client_ca_file": "no.pem"}, *listeners) == {
        "server.listen[0]": f"{directory}/certificates/b.pem: contains no PEM",
        "server.client_ca_file": f"{directory}/no.pem: No such file or directory",
        "listener[0].endpoint": f"{directory}/key.pem: contains no PEM certificate",
        "listener[1].endpoint": f"{directory}/none.pem: No such file or directory",
    }


@pytest.mark.parametrize(
    ("server", "place", "message"),
    [
        ({"client_names": ["a.test"]}, "server.client_names", "has no effect unless client_ca_file is set"),
        ({"client_keys": {"a.test": "K"}}, "server.client_keys", "has no effect unless client_ca_file is set"),
        (
            {"client_ca_file": "clients.pem", "listen": ["tcp:0"]},
            "server.client_ca_file",
            'requires an endpoint with TLS; "tcp:0" has none',
        ),
        ({"client_ca_file": "key.pem"}, "server.client_ca_file", "key.pem: contains no PEM certificate"),
        (
            {"client_ca_file": "clients.pem", "client_names": ["*.a.test"], "client_keys": {"a.test": "K"}},
            "server.client_keys",
            '"a.test" has no effect: client_names does not accept it',
        ),
        (
            {"client_ca_file": "clients.pem", "client_keys": {"a.test": "K", "A.test": "L"}},
            "server.client_keys",
            '"A.test" differs from another name only in its case',
        ),
        ({"client_keys": ["a.test"]}, "server.client_keys", 'a table like { "backup.example.com" = "AKIABACKUP" }'),
        ({"client_keys": {"a.test": "a b"}}, "server.client_keys", "an access key id of at most 128 characters"),
        ({"client_keys": {"*.a.test": "K"}}, "server.client_keys", "a DNS name, a URI or an email address"),
        ({"client_names": ["*.urn:a"]}, "server.client_names[0]", "only a DNS name may begin with a wildcard"),
        ({"client_names": ["a.*.test"]}, "server.client_names[0]", "a DNS name, a URI or an email address"),
    ],
)
def test_options_about_clients_that_are_not_accepted(
    server: dict[str, Any], place: str, message: str, directory: Path
) -> None:
    """
    Because they say nothing, or would not do what an operator expects.
    """
    found = faults(directory, {"listen": [TLS], **server})

    assert list(found) == [place]
    assert message in found[place]


def test_an_inherited_authority_needs_tls_everywhere(directory: Path) -> None:
    """
    Otherwise one open listener would be overlooked.
    """
    found = faults(directory, {"listen": [TLS], "client_ca_file": "clients.pem"}, {"endpoint": "tcp:0"})

    assert found == {"listener[0].client_ca_file": 'requires an endpoint with TLS; "tcp:0" has none'}


def test_a_listener_has_clients_of_its_own(directory: Path) -> None:
    """
    Names and keys are those of one listener: another authority may vouch for the same name.
    """
    made = settings(
        directory,
        {},
        {
            "endpoint": TLS,
            "client_ca_file": "clients.pem",
            "client_keys": {"a.test": "KEY"},
            "client_names": ["*.test"],
        },
        {"endpoint": "tcp:0"},
    )

    first, second = made.listeners
    assert (first.client_names, first.client_keys) == (("*.test",), (("a.test", "KEY"),))
    assert (second.client_ca_file, second.client_names, second.client_keys) == (None, (), ())
    handshakes = make_handshakes(first, made.directory, NOW)
    assert handshakes is not None
    assert handshakes.clients is not None
    assert handshakes.clients.names == ("*.test",)
    assert make_handshakes(second, made.directory, NOW) is None


def test_certificates_that_end_soon(directory: Path) -> None:
    """
    A line for each, with its file and its first name, and one for a key without a certificate.
    """
    day = timedelta(days=1)
    place = directory / "certificates"
    issue(SERVERS, host("b.test"), host("c.test"), ends_at=NOW + 10 * day).write(place / "b.pem")
    issue(SERVERS, host("d.test"), begins_at=NOW - 9 * day, ends_at=NOW - day).write(place / "d.pem")
    issue(SERVERS, host("e.test"), begins_at=NOW + day, ends_at=NOW + 99 * day).write(place / "e.pem")
    (place / "f.pem").write_bytes(issue(SERVERS, host("f.test")).private_key)
    old = issue(CLIENTS, common_name="Old", begins_at=NOW - 9 * day, ends_at=NOW - day)
    (directory / "clients.pem").write_bytes(CLIENTS.cert_pem.bytes() + old.chain)
    made = settings(directory, {"listen": [TLS, TLS.replace(":0:", ":1:")], "client_ca_file": "clients.pem"})

    found = list(certificate_warnings(made, NOW + timedelta(seconds=1)))

    assert found == [
        f"{place}/b.pem: the certificate of b.test expires on {NOW + 10 * day:%Y-%m-%d}, in 9 days",
        f"{place}/d.pem: the certificate of d.test expired on {NOW - day:%Y-%m-%d}",
        f"{place}/e.pem: the certificate of e.test is not valid before {NOW + day:%Y-%m-%d %H:%M} UTC",
        f"{directory}/clients.pem: the authority CN=Old expired on {NOW - day:%Y-%m-%d}",
        f"{place}/f.pem: no certificate has the private key in this file",
    ]


def test_what_openssl_does_not_accept_is_an_error(directory: Path) -> None:
    """
    It is found before the daemon starts.
    """
    (directory / "dh.pem").write_text("none")
    made = settings(directory, {"listen": ["ssl:0:privateKey=certificates/a.pem:dhParameters=dh.pem"]})

    with pytest.raises(CertificateError, match="OpenSSL does not accept"):
        list(certificate_warnings(made, NOW))
