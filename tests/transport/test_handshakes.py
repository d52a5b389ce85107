"""
Handshakes without sockets: which certificate a client sees, which client is refused, and what a session resumes.
"""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.x509 import load_pem_x509_certificate
from OpenSSL import SSL
from trustme import CA
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from zope.interface.verify import verifyObject

from s3proxy.transport.certificates import CertificateError, read_directory
from s3proxy.transport.client_names import verified_names
from s3proxy.transport.handshakes import ClientTrust, Handshakes, TLSOptions, TLSServer
from tests.support.certificates import VERSIONS, client_context, host, issue

SERVERS, CLIENTS, OTHERS = CA(), CA(), CA()
NOW = datetime.now(UTC)


def trust(*authorities: CA, names: tuple[str, ...] = ()) -> ClientTrust:
    """
    Return the trust in some authorities.
    """
    return ClientTrust(tuple(load_pem_x509_certificate(each.cert_pem.bytes()) for each in authorities), names)


def make(directory: Path, now: datetime = NOW, **options: Any) -> Handshakes:
    """
    Return the handshakes of a directory of certificates.
    """
    return Handshakes(read_directory(directory).certificates, TLSOptions(**options), now)


class Client:
    """
    A client's handshake with a server, and one byte from each side.

    Attributes:
        error: The error that ended the handshake, or the first read after it; empty if there was none.
        names: The names of the server's certificate.
        server_names: The names of the client's certificate, as the server knows them.
    """

    def __init__(
        self,
        handshakes: Handshakes,
        context: ssl.SSLContext,
        name: str | None,
        session: ssl.SSLSession | None = None,
    ) -> None:
        self._server = handshakes.connect()
        self._server.set_accept_state()
        self._to_client, self._to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
        context.check_hostname = False
        self._client = context.wrap_bio(self._to_client, self._to_server, server_hostname=name, session=session)
        self.error = ""
        self._step_server_error = ""
        for _ in range(6):
            self._pump(self._server.do_handshake)
        if not self._step_server_error:
            self._server.send(b"!")
            self._flush()
        self._try(lambda: self._client.read(1))
        found: Any = {} if self.error else self._client.getpeercert()
        self.names = tuple(each[1] for each in found.get("subjectAltName", ()))
        self.is_resumed = bool(self._client.session_reused)
        self.session = None if self.error else self._client.session
        self.protocol = self._client.selected_alpn_protocol()
        self.version = self._client.version()
        self.server_names = () if self._step_server_error else verified_names(self._server, NOW)

    def _pump(self, shake: Any) -> None:
        self._try(self._client.do_handshake)
        if data := self._to_server.read():
            self._server.bio_write(data)
        if not self._step_server_error:
            try:
                shake()
            except SSL.WantReadError:
                pass
            except SSL.Error as error:
                self._step_server_error = str(error)
        self._flush()

    def _flush(self) -> None:
        try:
            while True:
                self._to_client.write(self._server.bio_read(65536))
        except SSL.WantReadError:
            pass

    def _try(self, step: Any) -> None:
        if self.error:
            return
        try:
            step()
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            self.error = str(error)


# The server's certificate


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("called", "shown"),
    [
        ("a.test", "a.test"),
        ("b.test", "b.test"),
        ("B.TEST", "b.test"),
        ("x.b.test", "*.b.test"),
        ("x.y.b.test", "a.test"),
        ("other.test", "a.test"),
        ("localhost", "a.test"),
        (None, "a.test"),
    ],
)
def test_the_name_that_a_client_calls_decides(version: str, called: str | None, shown: str, tmp_path: Path) -> None:
    """
    A wildcard stands for one label. Who calls another name, or none, sees the certificate of the first file.
    """
    for name in ("b.test", "a.test", "*.b.test"):
        issue(SERVERS, host(name)).write(tmp_path / f"{name.replace('*', 'wild')}.pem")
    handshakes = make(tmp_path)

    client = Client(handshakes, client_context(SERVERS, version), called)

    assert (client.error, client.names, client.version) == ("", (shown,), version)


def test_the_best_of_several_certificates_for_a_name(tmp_path: Path) -> None:
    """
    The one that is valid now and ends last, also for who calls no name.
    """
    day = timedelta(days=1)
    for number, (begins, ends) in enumerate([(-9, -1), (-1, 5), (-1, 9), (-1, 7), (2, 99)]):
        made = issue(
            SERVERS, host("a.test"), host(f"{number}.test"), begins_at=NOW + begins * day, ends_at=NOW + ends * day
        )
        made.write(tmp_path / f"{number}.pem")
    handshakes = make(tmp_path)

    for called in ("a.test", None):
        assert Client(handshakes, client_context(SERVERS), called).names[1] == "2.test"
    assert Client(handshakes, client_context(SERVERS), "1.test").names[1] == "1.test"


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("called", ["a.test", "b.test"])
def test_a_session_is_resumed_under_every_name(version: str, called: str, tmp_path: Path) -> None:
    """
    Also under one whose context the connection does not begin with.
    """
    for name in ("a.test", "b.test"):
        issue(SERVERS, host(name)).write(tmp_path / f"{name}.pem")
    handshakes, context = make(tmp_path), client_context(SERVERS, version)
    first = Client(handshakes, context, called)

    second = Client(handshakes, context, called, first.session)

    assert (first.is_resumed, second.is_resumed, second.error) == (False, True, "")


@pytest.mark.parametrize(
    ("offered", "chosen"), [(["h2", "http/1.1"], "http/1.1"), (["http/1.1"], "http/1.1"), (["h2"], None), ([], None)]
)
@pytest.mark.parametrize("called", ["a.test", "b.test"])
def test_the_protocol_is_http_1_1(offered: list[str], chosen: str | None, called: str, tmp_path: Path) -> None:
    """
    With each certificate. A client that does not know it is served without the choice of a protocol.
    """
    for name in ("a.test", "b.test"):
        issue(SERVERS, host(name)).write(tmp_path / f"{name}.pem")
    context = client_context(SERVERS)
    if offered:
        context.set_alpn_protocols(offered)

    client = Client(make(tmp_path), context, called)

    assert (client.error, client.protocol) == ("", chosen)


@pytest.mark.parametrize(("method", "error"), [("", "version"), ("TLSv1_2_METHOD", "")])
def test_old_versions_are_refused(method: str, error: str, tmp_path: Path) -> None:
    """
    TLS 1.1 is refused. An endpoint may name a method, which then decides.
    """
    issue(SERVERS, host("a.test")).write(tmp_path / "a.pem")
    handshakes = make(tmp_path, method=method)
    context = client_context(SERVERS)
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1

    assert Client(handshakes, context, "a.test").error != ""
    modern = Client(handshakes, client_context(SERVERS), "a.test")
    assert (modern.error, modern.version) == ("", "TLSv1.2" if method else "TLSv1.3")


def test_what_openssl_does_not_accept_is_told(tmp_path: Path) -> None:
    """
    With the file of the certificate.
    """
    issue(SERVERS, host("a.test")).write(tmp_path / "a.pem")
    (tmp_path / "parameters").write_text("none")

    with pytest.raises(CertificateError, match=r"a\.pem: OpenSSL does not accept") as refusal:
        make(tmp_path, dh_parameters=str(tmp_path / "parameters"))
    assert refusal.value.__cause__ is None


# The client's certificate


def shown_by(authority: CA, directory: Path, *names: Any, **options: Any) -> Path:
    """
    Write the certificate of a client.
    """
    return issue(authority, *names, **options).write(directory / "client.crt")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """
    Return a directory with the certificates of two servers.
    """
    found = tmp_path / "servers"
    found.mkdir()
    for name in ("a.test", "b.test"):
        issue(SERVERS, host(name)).write(found / f"{name}.pem")
    return found


@pytest.mark.parametrize("called", ["a.test", "b.test"])
@pytest.mark.parametrize("version", VERSIONS)
def test_a_client_must_show_a_certificate(version: str, called: str, directory: Path, tmp_path: Path) -> None:
    """
    One of a trusted authority. Otherwise the handshake fails, whatever name is called.
    """
    handshakes = make(directory, clients=trust(CLIENTS))
    without = Client(handshakes, client_context(SERVERS, version), called)
    other = shown_by(OTHERS, tmp_path, host("a.test"))
    stranger = Client(handshakes, client_context(SERVERS, version, other), called)
    own = shown_by(CLIENTS, tmp_path, host("a.test"))
    known = Client(handshakes, client_context(SERVERS, version, own), called)

    assert "alert" in without.error.lower()
    assert "alert" in stranger.error.lower()
    assert (known.error, known.server_names) == ("", ("a.test",))


@pytest.mark.parametrize("version", VERSIONS)
def test_a_certificate_must_be_in_time(version: str, directory: Path, tmp_path: Path) -> None:
    """
    An expired one is refused.
    """
    handshakes = make(directory, clients=trust(CLIENTS))
    path = shown_by(CLIENTS, tmp_path, host("a.test"), ends_at=NOW - timedelta(hours=1))

    assert "expired" in Client(handshakes, client_context(SERVERS, version, path), "a.test").error


@pytest.mark.parametrize("called", ["a.test", "b.test"])
@pytest.mark.parametrize("version", VERSIONS)
def test_a_certificate_must_have_an_accepted_name(version: str, called: str, directory: Path, tmp_path: Path) -> None:
    """
    If the listener names some. Another name is refused in the handshake.
    """
    handshakes = make(directory, clients=trust(CLIENTS, names=("*.backup.test",)))
    good = shown_by(CLIENTS, tmp_path, host("x.backup.test"))
    accepted = Client(handshakes, client_context(SERVERS, version, good), called)
    bad = shown_by(CLIENTS, tmp_path, host("backup.test"), host("x.backup.test.evil"))
    refused = Client(handshakes, client_context(SERVERS, version, bad), called)

    assert (accepted.error, accepted.server_names) == ("", ("x.backup.test",))
    assert "alert" in refused.error.lower()


@pytest.mark.parametrize("version", VERSIONS)
def test_an_intermediate_authority_is_trusted_without_its_root(version: str, directory: Path, tmp_path: Path) -> None:
    """
    Its own clients are accepted, those of its root are not.
    """
    issuer = CLIENTS.create_child_ca()
    handshakes = make(directory, clients=trust(issuer))
    below = Client(handshakes, client_context(SERVERS, version, shown_by(issuer, tmp_path, host("a.test"))), "a.test")
    beside = Client(handshakes, client_context(SERVERS, version, shown_by(CLIENTS, tmp_path, host("a.test"))), "a.test")

    assert below.error == ""
    assert "alert" in beside.error.lower()


@pytest.mark.parametrize("called", ["a.test", "b.test"])
@pytest.mark.parametrize("version", VERSIONS)
def test_a_resumed_session_keeps_its_client(version: str, called: str, directory: Path, tmp_path: Path) -> None:
    """
    The certificate is that of the first handshake, also if another client has connected since.
    """
    handshakes = make(directory, clients=trust(CLIENTS))
    contexts = [
        client_context(SERVERS, version, shown_by(CLIENTS, tmp_path, host(f"{name}.client.test"))) for name in "ab"
    ]
    first = [Client(handshakes, context, called) for context in contexts]

    second = [Client(handshakes, context, called, one.session) for context, one in zip(contexts, first, strict=True)]

    assert [each.is_resumed for each in second] == [True, True]
    assert [each.server_names for each in second] == [("a.client.test",), ("b.client.test",)]


@pytest.mark.parametrize("later", ["another authority", "another name", "the same", "no certificate"])
@pytest.mark.parametrize("version", VERSIONS)
def test_a_session_does_not_outlive_its_authority(version: str, later: str, directory: Path, tmp_path: Path) -> None:
    """
    After a reload a session begins anew, so the certificate is judged by what is trusted then.
    """
    context = client_context(SERVERS, version, shown_by(CLIENTS, tmp_path, host("a.client.test")))
    server = TLSServer(make(directory, clients=trust(CLIENTS)))
    first = Client(server.handshakes, context, "a.test")
    assert first.error == ""
    server.handshakes = make(
        directory,
        clients={
            "another authority": trust(OTHERS),
            "another name": trust(CLIENTS, names=("b.client.test",)),
            "the same": trust(CLIENTS),
            "no certificate": None,
        }[later],
    )

    second = Client(server.handshakes, context, "a.test", first.session)

    assert not second.is_resumed
    assert bool(second.error) is later.startswith("another")


def test_the_fingerprint_of_a_trust() -> None:
    """
    It has the length of a session id context, and differs with every authority and name.
    """
    made = [
        trust(CLIENTS),
        trust(OTHERS),
        trust(CLIENTS, OTHERS),
        trust(CLIENTS, names=("a",)),
        trust(CLIENTS, names=("a", "b")),
        trust(CLIENTS, names=("ab",)),
    ]

    assert len({each.fingerprint for each in made}) == len(made)
    assert {len(each.fingerprint) for each in made} == {32}
    assert trust(CLIENTS).fingerprint == trust(CLIENTS).fingerprint


def test_a_server_asks_the_handshakes_of_the_moment(tmp_path: Path) -> None:
    """
    A reload replaces them.
    """
    issue(SERVERS, host("a.test")).write(tmp_path / "a.pem")
    server = TLSServer(make(tmp_path))
    first = server.serverConnectionForTLS(None)
    server.handshakes = make(tmp_path)
    second = server.serverConnectionForTLS(None)

    assert verifyObject(IOpenSSLServerConnectionCreator, server)
    assert first.get_context() is not second.get_context()
