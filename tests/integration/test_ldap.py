"""
Client keys in a directory of OpenLDAP: the page that says how, followed as it is written, and each promise of a source.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from trustme import CA
from twisted.internet import reactor as _reactor
from twisted.internet.defer import maybeDeferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs

from s3proxy.configuration.options import LDAPSettings
from s3proxy.credentials.ldap import open_ldap
from s3proxy.s3.credential import Credential
from s3proxy.s3.errors import ServiceUnavailable
from tests.credentials.rules import rules_with
from tests.integration.slapd import ADMIN_PASSWORD, SCHEMA, SUFFIX, Slapd
from tests.support.daemon import Daemon, twistd_arguments
from tests.support.harness import ClockedReactor, turns, until
from tests.support.processes import running, until_listening
from tests.support.root import ROOT

pytestmark = pytest.mark.integration

reactor: Any = _reactor

PAGE = (ROOT / "docs/howto/keys-in-ldap.md").read_text("utf-8")
MIGRATIONS = ROOT / "s3proxy/credentials/migrations/ldap"
BASE = f"ou=people,{SUFFIX}"
BIND_DN = f"cn=s3proxy,ou=services,{SUFFIX}"
LAPTOP = f"cn=laptop,uid=ada,{BASE}"
LAPTOP_KEY = b"AKADALAPTOP000000001"
TTL, NEGATIVE_TTL = 60.0, 10.0


def sections() -> dict[str, str]:
    """
    Return the commands of each section of the page.
    """
    parts = re.split(r"^## (.*)$", PAGE, flags=re.MULTILINE)
    return {
        title: "\n".join(re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
        for title, text in zip(parts[1::2], parts[2::2], strict=True)
    }


class Site:
    """
    A machine on which somebody follows the page.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.authority = CA()
        self.slapd = Slapd(directory)
        self.etc = directory / "etc"

    def follow(self, *titles: str) -> None:
        """
        Run the commands of some sections.
        """
        for title in titles:
            self.run(sections()[title])

    def run(self, commands: str) -> None:
        """
        Run commands of the page. The variables ``secret`` and ``new`` are kept for the next ones.

        Only what belongs to the machine differs: the socket of the server, and the directories below ``/etc``. The
        password that a person would enter is in a file.
        """
        script = f"set -eu\n{commands}\n"
        script += 'for name in secret new; do eval "value=\\${$name:-}"; echo "$value" > "$SAVED/$name"; done\n'
        (self.directory / "admin-password").write_text(ADMIN_PASSWORD)
        for former, this in (
            ("ldapi:///", self.slapd.socket),
            ("/etc/s3proxy", str(self.etc / "s3proxy")),
            ("/etc/ldap/tls", str(self.etc / "tls")),
            (" -W ", f" -y {self.directory / 'admin-password'} "),
        ):
            script = script.replace(former, this)
        saved = {name: self.secret(name) for name in ("secret", "new") if (self.directory / name).exists()}
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "SAVED": str(self.directory), **saved}
        ran = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stderr + ran.stdout

    def secret(self, name: str) -> str:
        """
        Return a secret that the page has made.
        """
        return (self.directory / name).read_text().strip()

    def certify(self, *names: str) -> None:
        """
        Give the server a certificate for these names, where the page has it.
        """
        (self.etc / "tls").mkdir(parents=True, exist_ok=True)
        issued = self.authority.issue_cert(*names)
        issued.private_key_pem.write_to_path(self.etc / "tls/private-key.pem")
        (self.etc / "tls/certificate.pem").write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
        self.authority.cert_pem.write_to_path(self.etc / "authority.pem")

    def settings(self, **more: Any) -> LDAPSettings:
        """
        Return the page's options.
        """
        return LDAPSettings(bind_dn=BIND_DN, password_file=str(self.etc / "s3proxy/ldap-password"), **more)


PREPARED = (
    "Load the schema",
    "Make an account for s3proxy",
    "Let only s3proxy read the secrets",
    "Add a key",
)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """
    Follow the page until there is a key.
    """
    # The path of a unix socket has a hundred bytes.
    directory = Path(subprocess.run(["mktemp", "-d"], capture_output=True, text=True, check=True).stdout.strip())
    here = Site(directory)
    try:
        here.slapd.start()
        here.follow(*PREPARED)
        yield here
    finally:
        here.slapd.stop()
        subprocess.run(["rm", "-r", str(directory)], check=True)


class Source:
    """
    A source whose times a test controls.
    """

    def __init__(self, site: Site, url: str, **settings: Any) -> None:
        self.clock = Clock()
        rules = rules_with(ldap=site.settings(**settings))
        self.source = open_ldap(url, site.directory, rules)
        self.source.start(ClockedReactor(self.clock))

    async def look_up(self, name: bytes = LAPTOP_KEY) -> Credential | None:
        """
        Look up a key.
        """
        found: Credential | None = await maybeDeferred(self.source.look_up, name)
        return found


@asynccontextmanager
async def started(site: Site, url: str = "", **settings: Any) -> AsyncIterator[Source]:
    """
    Start a source.
    """
    one = Source(site, url or f"ldap://127.0.0.1:{site.slapd.port}/{BASE}", **settings)
    try:
        yield one
    finally:
        stopping = maybeDeferred(one.source.stop)
        await until(lambda: stopping.called)
        await turns(3)


def change(site: Site, *lines: str, entry: str = LAPTOP) -> None:
    """
    Modify an entry.
    """
    site.slapd.change("\n".join([f"dn: {entry}", "changetype: modify", *lines, ""]))


def reasons(logs: Any) -> list[str]:
    """
    Return why the source failed, as it was logged.
    """
    return [event["reason"] for event in logs if "reason" in event]


# The page


@pytest_twisted.ensureDeferred
async def test_the_page(site: Site) -> None:
    """
    The key of the page is found, with the right secret. Rotation keeps both, then the new one alone, and then the key
    is disabled. Each change is seen after the TTL, and not before.
    """
    async with started(site) as source:
        first = await source.look_up()
        secret = site.secret("secret")
        rotation, removal = sections()["Rotate a secret"].split("ldapmodify")[1:]
        site.run("new=$(openssl rand -base64 30)\nldapmodify" + rotation)
        new = site.secret("new")
        within = await source.look_up()
        source.clock.advance(TTL)
        both = await source.look_up()
        site.run("ldapmodify" + removal)
        source.clock.advance(TTL)
        after = await source.look_up()
        site.follow("Disable a key")
        source.clock.advance(TTL)
        disabled = await source.look_up()

        assert first is not None
        assert (first.access_key_id, first.secret_access_keys) == ("AKADALAPTOP000000001", (secret,))
        assert within is first
        assert both is not None
        assert {*both.secret_access_keys} == {secret, new}
        assert after is not None
        assert after.secret_access_keys == (new,)
        assert not after.is_disabled
        assert disabled is not None
        assert disabled.is_disabled


def test_only_the_account_reads_the_secret(site: Site) -> None:
    """
    Neither anonymous nor a person does, nor can they find out by searching for it, nor see which keys there are.
    """
    secret = site.secret("secret")
    change(site, "add: userPassword", "userPassword: adas-password", entry=f"uid=ada,{BASE}")
    url = ["-x", "-LLL", "-H", site.slapd.socket, "-b", SUFFIX]
    person = ["-D", f"uid=ada,{BASE}", "-w", "adas-password"]
    account = ["-D", BIND_DN, "-y", str(site.etc / "s3proxy/ldap-password")]

    def search(*arguments: str) -> str:
        command = ["ldapsearch", *url, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    for who in ([], person):
        assert "s3proxy" not in search(*who, "(cn=laptop)", "*").replace("s3proxyKey", "")
        assert search(*who, f"(s3proxySecretAccessKey={secret})", "cn") == ""
        assert search(*who, "(s3proxyAccessKeyId=AK*)", "cn") == ""
        assert search(*who, "(s3proxyAccessKeyId=AKADALAPTOP000000001)", "cn") == ""
        assert "objectClass: s3proxyKey" in search(*who, "(cn=laptop)", "objectClass")
    assert f"s3proxySecretAccessKey: {secret}" in search(*account, "(cn=laptop)", "*")
    assert "cn: laptop" in search(*account, "(s3proxyAccessKeyId=AKADALAPTOP000000001)", "cn")


def test_the_overlay_of_the_page_prevents_a_second_entry(site: Site) -> None:
    """
    The server refuses it.
    """
    with pytest.raises(AssertionError, match="non-unique attributes found"):
        site.slapd.change(key(b"desktop", LAPTOP_KEY))


def test_the_other_form_of_the_schema(site: Site, tmp_path: Path) -> None:
    """
    A server with a slapd.conf accepts it.
    """
    path = tmp_path / "slapd.conf"
    path.write_text(f"include {SCHEMA}/core.schema\ninclude {MIGRATIONS}/s3proxy.schema\n")

    ran = subprocess.run(["/usr/sbin/slaptest", "-u", "-f", str(path)], capture_output=True, text=True, check=False)

    assert ran.returncode == 0, ran.stderr


def key(name: bytes, access_key_id: bytes, *lines: str, person: bool = False) -> str:
    """
    Return an entry of a key below a person, or a person's own.
    """
    if person:
        head = [f"dn: uid={name.decode()},{BASE}", "objectClass: inetOrgPerson", f"sn: {name.decode()}"]
    else:
        head = [f"dn: cn={name.decode()},uid=ada,{BASE}", "objectClass: applicationProcess"]
    common = ["objectClass: s3proxyKey", f"cn: {name.decode()}", f"s3proxyAccessKeyId: {access_key_id.decode()}"]
    return "\n".join([*head, *common, *(lines or ("s3proxySecretAccessKey: a-secret",)), ""])


# Keys


@pytest_twisted.ensureDeferred
async def test_every_kind_of_attribute(site: Site) -> None:
    """
    The server accepts what the schema says, and returns it so that it can be read. A person's own entry may have a key.
    """
    lines = ("s3proxySecretAccessKey:: w7w=", "s3proxySessionToken: a-token", "s3proxyExpires: 20300101000000Z")
    lines += ("s3proxyDisabled: FALSE", "s3proxyRefuse: v2-query", "s3proxyRefuse: v2-form", "s3proxyRequests: 7")
    lines += ("s3proxyBytesPerSecond: 1000000", "s3proxyExempt: clock-skew", "s3proxyBackend: main")
    site.slapd.change(key(b"grace", b"AKGRACE", *lines, person=True))
    async with started(site) as source:
        found = await source.look_up(b"AKGRACE")

        assert found is not None
        assert found.secret_access_keys == ("ü",)
        assert found.expires_at == datetime(2030, 1, 1, tzinfo=UTC)
        assert found.refused == {"v2-query", "v2-form"}
        assert (found.session_token, found.backend, found.is_disabled) == ("a-token", "main", False)
        assert found.budget is not None
        assert (found.budget.requests, found.budget.bytes_per_second) == (7, 1_000_000)
        assert b"a-token" in source.source.session_tokens


@pytest_twisted.ensureDeferred
async def test_an_unknown_key(site: Site) -> None:
    """
    It is remembered as unknown for its own time. Then a key that was added meanwhile is found.
    """
    async with started(site) as source:
        first = await source.look_up(b"AKNEW")
        count = site.slapd.log().count("SRCH base=")
        again = await source.look_up(b"AKNEW")
        same = site.slapd.log().count("SRCH base=")
        site.slapd.change(key(b"new", b"AKNEW"))
        source.clock.advance(NEGATIVE_TTL)
        later = await source.look_up(b"AKNEW")

        assert (first, again) == (None, None)
        assert count == same > 0
        assert later is not None


@pytest_twisted.ensureDeferred
async def test_what_a_stranger_may_send(site: Site) -> None:
    """
    It finds no entry, and it is no error for the server: the next search on the same connection finds the key.
    """
    values = [b"*", b"AK*", b"AKADALAPTOP00000000*", b")(objectClass=*", b"x)(|(s3proxyAccessKeyId=*", b"\\2a", b"\x00"]
    values += [LAPTOP_KEY.lower(), "schlüssel".encode(), b"\xff\xfe", b"", b"x" * 5000]
    async with started(site) as source:
        link = source.source._origin._link  # type: ignore[attr-defined]
        for value in values:
            found = await link.search(BASE, {"s3proxyAccessKeyId": value}, ["cn"])
            assert (value, found) == (value, [])
            assert await source.look_up(value) is None
        right = await link.search(BASE, {"s3proxyAccessKeyId": LAPTOP_KEY}, ["cn"])

        assert [entry.name for entry in right] == [LAPTOP.encode()]
        assert site.slapd.log().count("ACCEPT from IP=127.0.0.1") == 2  # The first one is this suite's own probe.


@pytest_twisted.ensureDeferred
async def test_what_is_nearly_a_key(site: Site) -> None:
    """
    slapd takes such a value for the key: its rule for ASCII text ignores what is after a NUL, and spaces at the ends.
    So an access key id with such characters is not searched for.
    """
    async with started(site) as source:
        link = source.source._origin._link  # type: ignore[attr-defined]
        for value in (LAPTOP_KEY + b"\x00", LAPTOP_KEY + b" ", b" " + LAPTOP_KEY):
            taken = await link.search(BASE, {"s3proxyAccessKeyId": value}, ["cn"])
            assert [entry.name for entry in taken] == [LAPTOP.encode()]
            assert await source.look_up(value) is None


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (
            ("s3proxySecretAccessKey: a", "s3proxySecretAccessKey: b", "s3proxySecretAccessKey: c"),
            "s3proxySecretAccess",
        ),
        (("s3proxySecretAccessKey: a", "s3proxyRefuse: everything"), 's3proxyRefuse[0]: "everything" is not accepted'),
        (("s3proxySecretAccessKey: a", "s3proxyRequests: -1"), "s3proxyRequests: -1 is not accepted"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_wrong_data(site: Site, lines: tuple[str, ...], told: str) -> None:
    """
    What the schema cannot prevent is logged once, and the client gets 503.
    """
    site.slapd.change(key(b"wrong", b"AKWRONG", *lines))
    async with started(site) as source:
        with capturedLogs() as logs:
            for _ in range(3):
                with pytest.raises(ServiceUnavailable):
                    await source.look_up(b"AKWRONG")
        lines_logged = [event["what"] for event in logs if "what" in event]

        assert len(lines_logged) == 1
        assert told in lines_logged[0]
        assert not any("log_failure" in event for event in logs)


@pytest_twisted.ensureDeferred
async def test_an_account_that_must_not_read_the_secret(site: Site) -> None:
    """
    The rule of the page is needed by s3proxy, too. Nobody is told that the key is unknown.
    """
    site.slapd.configure(
        "dn: olcDatabase={1}mdb,cn=config\nchangetype: modify\nadd: olcAccess\n"
        "olcAccess: {0}to attrs=s3proxySecretAccessKey by * none\n"
    )
    async with started(site) as source:
        with capturedLogs() as logs, pytest.raises(ServiceUnavailable):
            await source.look_up()

        assert [event["what"] for event in logs if "what" in event] == [
            "s3proxySecretAccessKey: missing required option"
        ]


# The server


@pytest_twisted.ensureDeferred
async def test_the_server_goes_and_comes_back(site: Site) -> None:
    """
    A known key is served, a new one gets 503, and after the restart both are looked up.
    """
    site.slapd.change(key(b"new", b"AKNEW"))
    async with started(site) as source:
        known = await source.look_up()
        source.clock.advance(TTL)
        site.slapd.stop()
        with capturedLogs() as logs:
            served = await source.look_up()
            with pytest.raises(ServiceUnavailable):
                await source.look_up(b"AKNEW")
        for _ in range(60):
            source.clock.advance(1)
            assert await source.look_up() is known
            await turns(5)
        site.slapd.start()
        while source.source._outage.is_on:
            # A known key does not wait for the question that finds out.
            source.clock.advance(1)
            await source.look_up()
            await turns(5)
        found = await source.look_up(b"AKNEW")
        fresh = await source.look_up()

        assert known is not None
        assert served is known
        assert len(reasons(logs)) == 1
        assert found is not None
        assert fresh is not None
        assert fresh is not known


@pytest_twisted.ensureDeferred
async def test_a_base_that_does_not_exist(site: Site) -> None:
    """
    That makes no key unknown.
    """
    async with started(site, f"ldap://127.0.0.1:{site.slapd.port}/ou=nobody,{SUFFIX}") as source:
        with capturedLogs() as logs, pytest.raises(ServiceUnavailable):
            await source.look_up()

        assert reasons(logs) == ["the search failed: noSuchObject (32)"]


@pytest_twisted.ensureDeferred
async def test_a_wrong_password(site: Site) -> None:
    """
    It is logged without the password, and not tried again for a while.
    """
    (site.etc / "s3proxy/ldap-password").chmod(0o600)
    (site.etc / "s3proxy/ldap-password").write_text("a-wrong-password")
    with capturedLogs() as logs:
        async with started(site) as source:
            for _ in range(3):
                with pytest.raises(ServiceUnavailable):
                    await source.look_up()
                source.clock.advance(5)
    binds = site.slapd.log().count(f'BIND dn="{BIND_DN}" method=128')

    assert any("invalidCredentials (49)" in reason for reason in reasons(logs))
    assert "a-wrong-password" not in repr(list(logs))
    assert binds == 2  # The page has bound once, by ldapwhoami.


# TLS


@pytest.mark.parametrize("way", ["ldaps", "StartTLS"])
@pytest_twisted.ensureDeferred
async def test_tls(site: Site, way: str) -> None:
    """
    With the certificate of the page, and from then on only by TLS.
    """
    site.certify("localhost", "127.0.0.1")
    site.follow("Use TLS")
    site.slapd.configure("dn: cn=config\nchangetype: modify\nreplace: olcSecurity\nolcSecurity: tls=1\n")
    url = f"ldaps://127.0.0.1:{site.slapd.tls_port}/{BASE}"
    more: dict[str, Any] = {"ca_file": str(site.etc / "authority.pem")}
    if way == "StartTLS":
        url, more["start_tls"] = f"ldap://localhost:{site.slapd.port}/{BASE}", True
    async with started(site, url, **more) as source:
        found = await source.look_up()
    with capturedLogs() as logs:
        async with started(site) as source:
            with pytest.raises(ServiceUnavailable):
                await source.look_up()

    assert found is not None
    assert "confidentialityRequired (13)" in reasons(logs)[0]


@pytest.mark.parametrize("way", ["ldaps", "StartTLS"])
@pytest_twisted.ensureDeferred
async def test_a_certificate_for_another_name(site: Site, way: str) -> None:
    """
    No bind is sent.
    """
    site.certify("other.example.org")
    site.follow("Use TLS")
    before = site.slapd.log().count(f'BIND dn="{BIND_DN}" method=128')
    url = f"ldaps://127.0.0.1:{site.slapd.tls_port}/{BASE}"
    more: dict[str, Any] = {"ca_file": str(site.etc / "authority.pem")}
    if way == "StartTLS":
        url, more["start_tls"] = f"ldap://127.0.0.1:{site.slapd.port}/{BASE}", True
    with capturedLogs() as logs:
        async with started(site, url, **more) as source:
            with pytest.raises(ServiceUnavailable):
                await source.look_up()
    await until(lambda: "TLS" in site.slapd.log())

    assert site.slapd.log().count(f'BIND dn="{BIND_DN}" method=128') == before
    assert any("certificate" in reason for reason in reasons(logs))


# The daemon


@pytest_twisted.ensureDeferred
async def test_a_daemon(site: Site, tmp_path: Path) -> None:
    """
    A request with the key of the page passes, one with another key is refused, and the log has no secret.
    """
    daemon = Daemon(tmp_path)
    text = daemon.configuration.read_text().replace(
        'source = "file:keys.toml"',
        f'source = "ldap://127.0.0.1:{site.slapd.port}/{BASE}"\n[credentials.ldap]\n'
        f'bind_dn = "{BIND_DN}"\npassword_file = "{site.etc}/s3proxy/ldap-password"',
    )
    daemon.configuration.write_text(text)
    signer = daemon.signer(access_key_id=LAPTOP_KEY.decode(), secret=site.secret("secret"))
    with running(twistd_arguments(daemon.configuration), tmp_path) as process:
        await until_listening(daemon.port, process)
        passed = await daemon.ask(signer.head("GET", "/b/k")[0])
        wrong = await daemon.ask(daemon.signer(access_key_id=LAPTOP_KEY.decode(), secret="x").head("GET", "/b/k")[0])
        unknown = await daemon.ask(daemon.signer(access_key_id="AKNOBODY", secret="x").head("GET", "/b/k")[0])
        site.slapd.stop()
        known = await daemon.ask(signer.head("GET", "/b/k")[0])
        refused = await daemon.ask(daemon.signer(access_key_id="AKOTHER", secret="x").head("GET", "/b/k")[0])
    await daemon.close()
    password = (site.etc / "s3proxy/ldap-password").read_text()

    assert passed.startswith(b"HTTP/1.1 200")
    assert b"SignatureDoesNotMatch" in wrong
    assert b"InvalidAccessKeyId" in unknown
    assert known.startswith(b"HTTP/1.1 200")
    assert refused.startswith(b"HTTP/1.1 503")
    assert b"Retry-After" in refused
    assert site.secret("secret") not in daemon.output() + password * 0
    assert password not in daemon.output()
    assert "Traceback" not in daemon.output()
