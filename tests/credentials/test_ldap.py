"""
Client keys in a directory: the source as the daemon opens it, in front of a server of the test's own.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from ldaptor.protocols import pureldap
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import capturedLogs
from twisted.protocols.tls import TLSMemoryBIOFactory
from zope.interface.verify import verifyObject

from s3proxy.commands.cli import main
from s3proxy.configuration.options import LDAPSettings
from s3proxy.configuration.tables import Faults
from s3proxy.credentials.ldap import LDAPOrigin, open_ldap, parse_address
from s3proxy.credentials.source import KeyRules
from s3proxy.interfaces import ICredentialOrigin, ICredentialSource
from s3proxy.s3.credential import Credential
from s3proxy.s3.errors import ServiceUnavailable
from tests.credentials.rules import rules_with
from tests.support.harness import AUTHORITY, server_context, turns, until
from tests.support.ldap_server import BASE, BIND_DN, KEY, PASSWORD, FakeDirectory, entry
from tests.support.processes import write_configuration

reactor: Any = _reactor

URL = f"ldap://127.0.0.1/{BASE}"


def rules(**settings: Any) -> KeyRules:
    """
    Return rules with these options of LDAP.
    """
    return rules_with(ldap=LDAPSettings(**settings))


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """
    Write a password and an authority.
    """
    (tmp_path / "password").write_text(f"{PASSWORD}\n")
    AUTHORITY.cert_pem.write_to_path(tmp_path / "authority.pem")
    return tmp_path


# Open


def test_it_is_a_source(files: Path) -> None:
    """
    Opening needs no server and no reactor. `s3proxy check` hears of the file with the password.
    """
    source = open_ldap(URL, files, rules(bind_dn=BIND_DN, password_file="password"))

    assert verifyObject(ICredentialSource, source)
    assert verifyObject(ICredentialOrigin, source._origin)
    assert list(source.secret_files) == [files / "password"]
    assert source.list_credentials() is None


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("ldap://directory/dc=a", ("directory", 389, "dc=a", "ldap://directory:389")),
        ("ldaps://directory/dc=a", ("directory", 636, "dc=a", "ldaps://directory:636")),
        ("ldap://directory:1389/ou=a%20b,dc=%C3%BC%3F", ("directory", 1389, "ou=a b,dc=ü?", "ldap://directory:1389")),
        ("ldap://[::1]/dc=a", ("::1", 389, "dc=a", "ldap://[::1]:389")),
    ],
)
def test_urls(url: str, parts: tuple[Any, ...]) -> None:
    """
    The path is the DN, escaped as in every URL.
    """
    address = parse_address(url)

    assert (address.host, address.port, address.base, address.server) == parts


@pytest.mark.parametrize(
    ("url", "settings", "told"),
    [
        ("ldap://cn=a:hidden@host/dc=a", {}, "source: must not contain credentials; use bind_dn and password_file"),
        ("ldap:///dc=a", {}, "source: the URL names no host"),
        ("ldap://host:0/dc=a", {}, "source: the URL names no host"),
        ("ldap://host:x/dc=a", {}, "source: the URL is not valid"),
        ("ldap://host:99999/dc=a", {}, "source: the URL is not valid"),
        ("ldap://host/dc=%ff", {}, "source: the URL is not valid"),
        ("ldap://host", {}, "source: the URL must end with the DN below which the keys are"),
        ("ldap://host/example", {}, "source: the URL must end with the DN below which the keys are"),
        ("ldap://host/dc=a%00", {}, "source: the URL must end with the DN below which the keys are"),
        ("ldap://host/dc=a?uid?sub", {}, "source: only a host, a port and a DN are used of the URL"),
        ("ldap://host/dc=a#x", {}, "source: only a host, a port and a DN are used of the URL"),
        ("ldaps://host/dc=a", {"start_tls": True}, "ldap.start_tls: has no effect on ldaps://"),
        ("ldaps://host/dc=a", {"start_tls": False}, "ldap.start_tls: has no effect on ldaps://"),
        (URL, {"ca_file": "authority.pem"}, "ldap.ca_file: has no effect without TLS; set start_tls = true"),
        ("ldaps://host/dc=a", {"ca_file": "absent.pem"}, "ldap.ca_file: "),
        ("ldaps://host/dc=a", {"ca_file": "password"}, "ldap.ca_file: "),
        (URL, {"bind_dn": BIND_DN}, "ldap.bind_dn: exactly one of password_file, password_env is required"),
        (
            URL,
            {"bind_dn": BIND_DN, "password_file": "password", "password_env": "X"},
            "ldap.bind_dn: exactly one of password_file, password_env is required",
        ),
        (URL, {"password_file": "password"}, "ldap.bind_dn: is required if there is a password"),
        (URL, {"bind_dn": BIND_DN, "password_file": "absent"}, "ldap.password_file: "),
        (URL, {"bind_dn": BIND_DN, "password_file": "empty"}, "ldap.password_file: "),
        (URL, {"bind_dn": BIND_DN, "password_env": "S3PROXY_NO_SUCH"}, "ldap.password_env: environment variable"),
    ],
)
def test_what_cannot_be_opened(files: Path, url: str, settings: dict[str, Any], told: str) -> None:
    """
    Each error names its option, and has no secret.
    """
    (files / "empty").write_text("\n")

    with pytest.raises(Faults) as raised:
        open_ldap(url, files, rules(**settings))

    (fault,) = raised.value.faults
    assert str(fault).startswith(f"credentials.{told}")
    assert PASSWORD not in str(fault)
    assert "hidden" not in str(fault)


def test_the_password_from_the_environment(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    It is no file that somebody could read. No text has it.
    """
    monkeypatch.setenv("S3PROXY_TEST_PASSWORD", PASSWORD)

    source = open_ldap(URL, files, rules(bind_dn=BIND_DN, password_env="S3PROXY_TEST_PASSWORD"))

    origin = source._origin
    assert isinstance(origin, LDAPOrigin)
    assert list(source.secret_files) == []
    assert origin._login.password == PASSWORD
    assert PASSWORD not in repr(origin._login)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ('password_file = "password"', "ok, 1 backend, an unknown number of keys"),
        ('password_file = "absent"', "credentials.ldap.password_file: "),
        ('password_file = "password"\nstart_tls = 1', "credentials.ldap.start_tls: 1 is not accepted"),
    ],
)
def test_check(files: Path, capsys: pytest.CaptureFixture[str], options: str, told: str) -> None:
    """
    `s3proxy check` reads the files that the options name, warns of them, and connects to nothing.
    """
    path = write_configuration(files, "http://127.0.0.1:1")
    text = path.read_text().replace("file:keys.toml", URL)
    path.write_text(f'{text}\n[credentials.ldap]\nbind_dn = "{BIND_DN}"\n{options}\n')
    (files / "password").chmod(0o644)

    status = main(["check", str(path)])
    found = capsys.readouterr()

    assert told in found.out + found.err
    assert status == ("ok" not in told)
    if not status:
        assert f"{files / 'password'}: every user of this machine can read the secrets in it" in found.out
    assert PASSWORD not in found.out + found.err


@pytest.mark.parametrize(
    ("host", "start_tls", "expected"),
    [
        ("directory.example.com", None, True),
        ("192.0.2.1", None, True),
        ("localhost.example.com", None, True),
        ("127.example.com", None, True),
        ("127.0.0.1", None, False),
        ("127.8.9.1", None, False),
        ("[::1]", None, False),
        ("localhost", None, False),
        ("directory.example.com", False, False),
        ("127.0.0.1", True, True),
    ],
)
def test_secrets_leave_the_machine_only_in_tls(host: str, start_tls: bool | None, expected: bool) -> None:
    """
    Unless an option says otherwise.
    """
    source = open_ldap(f"ldap://{host}/dc=a", Path(), rules(start_tls=start_tls))

    origin = source._origin
    assert isinstance(origin, LDAPOrigin)
    assert (origin._login.start_tls is not None) == expected
    assert origin._tls is None


# Keys


class Scene:
    """
    A source that has been started, and its server.
    """

    def __init__(self, directory: FakeDirectory, port: Any, source: Any) -> None:
        self.directory = directory
        self.port = port
        self.source = source

    async def look_up(self, name: bytes = b"AK1") -> Credential | None:
        """
        Look up a key.
        """
        found: Credential | None = await maybeDeferred(self.source.look_up, name)
        return found


@asynccontextmanager
async def scene(
    path: Path, *, scheme: str = "ldap", host: str = "127.0.0.1", context: Any = None, **settings: Any
) -> AsyncIterator[Scene]:
    """
    Start a source.

    Args:
        context: The server's TLS context: for each connection of ldaps, or for StartTLS.
        settings: Further options of LDAP.
    """
    directory = FakeDirectory()
    factory: Any = directory
    if scheme == "ldaps":
        factory = TLSMemoryBIOFactory(context, isClient=False, wrappedFactory=directory)
    else:
        directory.start_tls = context
    port = reactor.listenTCP(0, factory, interface="127.0.0.1")
    url = f"{scheme}://{host}:{port.getHost().port}/{BASE}"
    source = open_ldap(url, path, rules(bind_dn=BIND_DN, password_file="password", **settings))
    source.start(reactor)
    here = Scene(directory, port, source)
    try:
        yield here
    finally:
        await maybeDeferred(source.stop)
        await maybeDeferred(port.stopListening)
        for connection in directory.connections:
            if not connection.is_lost:
                connection.transport.abortConnection()
        await until(lambda: all(connection.is_lost for connection in directory.connections))
        await turns(3)


@pytest_twisted.ensureDeferred
async def test_keys_are_found(files: Path) -> None:
    """
    A key is searched for below the base, bound as the configured name, and remembered. Others are unknown.
    """
    async with scene(files) as here:
        first, second = await here.look_up(), await here.look_up()
        unknown = await here.look_up(b"AK2")
        (bind,) = here.directory.bound
        (connection,) = here.directory.connections
        (_, search), (_, other) = connection.searches()

        assert first is not None
        assert second is first
        assert (first.access_key_id, first.secret_access_keys) == ("AK1", ("secret-of-AK1",))
        assert unknown is None
        assert (bind.dn, bind.auth) == (BIND_DN.encode(), PASSWORD.encode())
        assert (search.baseObject, search.scope, search.sizeLimit) == (BASE.encode(), 2, 2)
        assert b"s3proxySecretAccessKey" in search.attributes
        assert [(each.attributeDesc.value, each.assertionValue.value) for each in other.filter] == [
            (b"objectClass", b"s3proxyKey"),
            (b"s3proxyAccessKeyId", b"AK2"),
        ]


@pytest_twisted.ensureDeferred
async def test_a_thousand_first_uses_make_one_search(files: Path) -> None:
    """
    Also while the connection is made.
    """
    async with scene(files) as here:
        looking_up = [Deferred.fromCoroutine(here.look_up()) for _ in range(1000)]
        found = [await each for each in looking_up]

        assert found[0] is not None
        assert all(each is found[0] for each in found)
        assert here.directory.search_count() == 1


@pytest_twisted.ensureDeferred
async def test_a_slow_server(files: Path) -> None:
    """
    Requests wait for it, and the reactor does other things meanwhile: another key is found first.
    """
    async with scene(files) as here:
        here.directory.entries[b"AK2"] = [entry({**KEY, "s3proxyAccessKeyId": ["AK2"]})]
        here.directory.answers = False
        slow = Deferred.fromCoroutine(here.look_up())
        await until(lambda: here.directory.search_count() == 1)
        here.directory.answers = True
        other = await here.look_up(b"AK2")
        before = slow.called
        (connection,) = here.directory.connections
        connection.send(connection.searches()[0][0], entry(KEY), pureldap.LDAPSearchResultDone(resultCode=0))
        found = await slow

        assert other is not None
        assert not before
        assert found is not None
        assert found.access_key_id == "AK1"


@pytest.mark.parametrize(
    ("found", "told"),
    [
        ([entry(KEY, "cn=a"), entry(KEY, "cn=b\n")], "s3proxyAccessKeyId: two entries have it: cn=a and cn=b"),
        ([entry({"s3proxyAccessKeyId": ["AK1"]})], "s3proxySecretAccessKey: missing required option"),
        ([entry({**KEY, "s3proxyExpires": ["tomorrow"]})], "s3proxyExpires: is not a time with an offset"),
        ([entry({**KEY, "s3proxyAccessKeyId": ["ak1"]})], "another key than the one that was asked for"),
        ([entry({**KEY, "s3proxyRestriction": ["new"]})], "s3proxyRestriction: is not known to this version"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_what_does_not_describe_a_key(files: Path, found: list[Any], told: str) -> None:
    """
    The client gets 503, for it is no fault of its own. The log says what is wrong, without the secret.
    """
    async with scene(files) as here:
        here.directory.entries[b"AK1"] = found
        with capturedLogs() as logs, pytest.raises(ServiceUnavailable):
            await here.look_up()
        lines = [str(event["what"]) for event in logs if "what" in event]

        assert len(lines) == 1
        assert told in lines[0]
        assert "secret-of-AK1" not in repr(list(logs))
        assert "log_failure" not in {name for event in logs for name in event}


@pytest_twisted.ensureDeferred
async def test_a_server_that_is_down(files: Path) -> None:
    """
    A key that is known stays in use. A key that is not gets 503: nothing says that it is unknown.
    """
    async with scene(files) as here:
        known = await here.look_up()
        here.source.changed(None)
        await here.port.stopListening()
        for connection in here.directory.connections:
            connection.transport.abortConnection()
        await until(lambda: here.directory.connections[0].is_lost)
        with capturedLogs() as logs:
            again = await here.look_up()
            with pytest.raises(ServiceUnavailable):
                await here.look_up(b"AK3")

        assert known is not None
        assert again is known
        assert [event["reason"] for event in logs if "reason" in event] == [
            "connection refused: no process listens there"
        ]
        assert PASSWORD not in repr(list(logs))


@pytest_twisted.ensureDeferred
async def test_a_base_that_does_not_exist(files: Path) -> None:
    """
    That is an error of the configuration or of the server's rights, and no key is unknown because of it.
    """
    async with scene(files) as here:
        here.directory.answers = False
        waiting = Deferred.fromCoroutine(here.look_up())
        await until(lambda: here.directory.search_count() == 1)
        connection = here.directory.connections[0]
        connection.send(connection.searches()[0][0], pureldap.LDAPSearchResultDone(resultCode=32))
        with capturedLogs() as logs, pytest.raises(ServiceUnavailable):
            await waiting

        assert [event["reason"] for event in logs if "reason" in event] == ["the search failed: noSuchObject (32)"]


@pytest_twisted.ensureDeferred
async def test_a_client_that_leaves(files: Path) -> None:
    """
    The server is told that nobody waits any more, and the connection stays in use.
    """
    async with scene(files) as here:
        here.directory.answers = False
        leaving = Deferred.fromCoroutine(here.look_up())
        leaving.addErrback(lambda ignored: None)
        await until(lambda: here.directory.search_count() == 1)
        leaving.cancel()
        (connection,) = here.directory.connections
        await until(lambda: isinstance(connection.received[-1][1], pureldap.LDAPAbandonRequest))
        here.directory.answers = True
        found = await here.look_up()

        assert found is not None
        assert len(here.directory.connections) == 1


# TLS


def tls_way(way: str, context: Any) -> dict[str, Any]:
    """
    Return the arguments of a scene with TLS.
    """
    options: dict[str, Any] = {"context": context, "ca_file": "authority.pem"}
    return options | ({"scheme": "ldaps"} if way == "ldaps" else {"start_tls": True})


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
@pytest.mark.parametrize("way", ["ldaps", "StartTLS"])
@pytest_twisted.ensureDeferred
async def test_a_server_with_the_right_certificate(files: Path, way: str, host: str) -> None:
    """
    It gets the password, inside of TLS only, and is asked.
    """
    async with scene(files, host=host, **tls_way(way, server_context())) as here:
        found = await here.look_up()

        assert found is not None
        assert [bind.auth for bind in here.directory.bound] == [PASSWORD.encode()]


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("name", ("not for 127.0.0.1", "IP address mismatch", "certificate verify failed")),
        ("issuer", ("certificate verify failed",)),
        ("date", ("certificate has expired",)),
    ],
)
@pytest.mark.parametrize("way", ["ldaps", "StartTLS"])
@pytest_twisted.ensureDeferred
async def test_a_server_with_a_wrong_certificate(files: Path, way: str, fault: str, told: tuple[str, ...]) -> None:
    """
    It does not get the password, and no search either.
    """
    with capturedLogs() as logs:
        async with scene(files, **tls_way(way, server_context(fault))) as here:
            with pytest.raises(ServiceUnavailable):
                await here.look_up()
            received = [
                type(request) for connection in here.directory.connections for _, request in connection.received
            ]
            raw = b"".join(connection.raw for connection in here.directory.connections)
    reasons = [event["reason"] for event in logs if "reason" in event]

    assert {*received} <= {pureldap.LDAPExtendedRequest}
    assert PASSWORD.encode() not in raw
    assert any(any(each in reason for each in told) for reason in reasons), reasons


@pytest_twisted.ensureDeferred
async def test_a_server_without_start_tls(files: Path) -> None:
    """
    The password is not sent in plain text instead.
    """
    with capturedLogs() as logs:
        async with scene(files, start_tls=True, ca_file="authority.pem") as here:
            with pytest.raises(ServiceUnavailable):
                await here.look_up()
            raw = b"".join(connection.raw for connection in here.directory.connections)

    assert PASSWORD.encode() not in raw
    assert here.directory.bound == []
    assert "it does not begin TLS: protocolError (2)" in [event["reason"] for event in logs if "reason" in event]
