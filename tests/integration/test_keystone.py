"""
The real Keystone as the source of keys: which keys it gives us, and which it refuses.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import DeferredList
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.logger import capturedLogs

from s3proxy.configuration.options import CredentialsSettings, KeystoneSettings
from s3proxy.credentials.cache import CachedCredentials
from s3proxy.credentials.source import ANY_NAMES, CacheLimits, open_source
from s3proxy.s3.errors import ServiceUnavailable
from tests.credentials.rules import rules_with
from tests.integration.keystone import PASSWORD, Keystone, install

pytestmark = pytest.mark.integration

SERVICE_PASSWORD = "password-of-s3proxy-in-keystone"
PATIENCE = 60.0
"Seconds: Keystone has one thread here, and takes a second for a request on a busy machine."


@pytest.fixture(scope="module")
def keystone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keystone]:
    """
    Run Keystone, with a user for s3proxy that may only read credentials and have signatures judged.
    """
    running = Keystone(tmp_path_factory.mktemp("keystone"), install())
    try:
        running.start()
        service = running.make_user("s3proxy", SERVICE_PASSWORD)
        running.assign_on_system(service, "reader")
        running.assign_on_system(service, "service")
        yield running
    finally:
        running.stop()


class Tenant:
    """
    A user of a cloud with a project and a key.
    """

    def __init__(self, keystone: Keystone, name: str) -> None:
        self.user = keystone.make_user(name)
        self.project = keystone.make_project(name)
        keystone.assign(self.user, self.project, "member")
        self.access, self.secret = keystone.make_key(self.user, self.project)


SYSTEM = KeystoneSettings(user="s3proxy", system=True, secret_env="KEYSTONE_SECRET", roles=("member",))
ADMIN = replace(SYSTEM, user="admin", system=False, project="admin")


def opened(
    keystone: Keystone, monkeypatch: pytest.MonkeyPatch, settings: KeystoneSettings = SYSTEM, secret: str = ""
) -> CachedCredentials:
    """
    Return the started source, which remembers nothing.
    """
    monkeypatch.setenv("KEYSTONE_SECRET", secret or SERVICE_PASSWORD)
    rules = replace(
        ANY_NAMES,
        options=CredentialsSettings(keystone=settings),
        cache=CacheLimits(ttl=0, negative_ttl=0, stale=0, patience=PATIENCE),
    )
    source = open_source(f"keystone:{keystone.url}", Path(), rules)
    assert isinstance(source, CachedCredentials)
    source.start(reactor)
    return source


async def secrets(source: CachedCredentials, access: str) -> tuple[str, ...] | None:
    """
    Look up a key; return its secrets.
    """
    found: Any = source.look_up(access.encode())
    found = None if found is None else await found
    return None if found is None else found.secret_access_keys


async def secrets_at_last(source: CachedCredentials, access: str) -> tuple[str, ...] | None:
    """
    Look up a key until Keystone answers. It counts in seconds, so within the second in which it revokes the tokens of a
    user, it also refuses each new one.
    """
    for _ in range(600):
        try:
            return await secrets(source, access)
        except ServiceUnavailable:
            await deferLater(reactor, 0.05)
    raise AssertionError("Keystone does not answer")


@pytest.mark.parametrize(
    ("settings", "secret"), [(SYSTEM, SERVICE_PASSWORD), (ADMIN, PASSWORD)], ids=["system", "admin"]
)
@pytest_twisted.ensureDeferred
async def test_a_key(
    keystone: Keystone, monkeypatch: pytest.MonkeyPatch, settings: KeystoneSettings, secret: str
) -> None:
    """
    Its secret is that which Keystone made. A key that Keystone does not know is unknown.
    """
    tenant = Tenant(keystone, f"a-key-{settings.user}")
    source = opened(keystone, monkeypatch, settings, secret)
    found = [await secrets(source, access) for access in (tenant.access, "unknown", tenant.access.upper())]
    await source.stop()

    assert found == [(tenant.secret,), None, None]


@pytest.mark.parametrize("what", ["user", "project", "role", "key", "domain", "deleted user"])
@pytest_twisted.ensureDeferred
async def test_a_key_that_no_longer_holds(keystone: Keystone, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    """
    Its user or project is disabled, or its user has lost the role, or the key was deleted.
    """
    tenant = Tenant(keystone, f"gone-{what.replace(' ', '-')}")
    source = opened(keystone, monkeypatch)
    if what == "domain":
        domain = keystone.call("POST", "/domains", {"domain": {"name": "gone"}})["domain"]["id"]
        user = {"name": "gone", "password": "x-y-z-password", "domain_id": domain}
        tenant.user = keystone.call("POST", "/users", {"user": user})["user"]["id"]
        keystone.assign(tenant.user, tenant.project, "member")
        tenant.access, tenant.secret = keystone.make_key(tenant.user, tenant.project)
    before = await secrets(source, tenant.access)
    if what == "user":
        keystone.call("PATCH", f"/users/{tenant.user}", {"user": {"enabled": False}})
    elif what == "project":
        keystone.call("PATCH", f"/projects/{tenant.project}", {"project": {"enabled": False}})
    elif what == "role":
        keystone.withdraw(tenant.user, tenant.project, "member")
    elif what == "domain":
        keystone.call("PATCH", f"/domains/{domain}", {"domain": {"enabled": False}})
    elif what == "deleted user":
        keystone.call("DELETE", f"/users/{tenant.user}")
    else:
        keystone.call("DELETE", f"/users/{tenant.user}/credentials/OS-EC2/{tenant.access}")
    after = await secrets(source, tenant.access)
    await source.stop()

    assert (before, after) == ((tenant.secret,), None)


@pytest_twisted.ensureDeferred
async def test_roles_and_projects(keystone: Keystone, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Every user of Keystone can make keys, so the configuration says whose are accepted.
    """
    tenant = Tenant(keystone, "accepted")
    found = []
    for settings in (
        SYSTEM,
        replace(SYSTEM, roles=("another",)),
        replace(SYSTEM, roles=("another", "member"), projects=(tenant.project,)),
        replace(SYSTEM, projects=("another",)),
    ):
        source = opened(keystone, monkeypatch, settings)
        found.append(await secrets(source, tenant.access))
        await source.stop()

    assert found == [(tenant.secret,), None, (tenant.secret,), None]


@pytest_twisted.ensureDeferred
async def test_another_type_of_credential(keystone: Keystone, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    One that is not for EC2 is no key, and one whose secret is no text gets 503.
    """
    tenant = Tenant(keystone, "types")
    blobs = {"no-text": '{"access": "no-text", "secret": 5}', "no-secret": '{"access": "no-secret"}'}
    for blob in blobs.values():
        document = {"blob": blob, "type": "ec2", "user_id": tenant.user, "project_id": tenant.project}
        keystone.call("POST", "/credentials", {"credential": document})
    source = opened(keystone, monkeypatch)
    with capturedLogs() as logs:
        for access in blobs:
            with pytest.raises(ServiceUnavailable):
                await secrets(source, access)
    other = await secrets(source, tenant.access)
    await source.stop()

    assert other == (tenant.secret,)
    assert [event["key"] for event in logs if "key" in event] == list(blobs)


@pytest.mark.parametrize("lacks", ["reader", "service", "password"])
@pytest_twisted.ensureDeferred
async def test_what_s3proxy_may_not_do(keystone: Keystone, monkeypatch: pytest.MonkeyPatch, lacks: str) -> None:
    """
    The log says so, keys get 503, and none is refused.
    """
    tenant = Tenant(keystone, f"lacks-{lacks}")
    user = keystone.make_user(f"s3proxy-without-{lacks}", SERVICE_PASSWORD)
    for role in {"reader", "service"} - {lacks}:
        keystone.assign_on_system(user, role)
    settings = replace(SYSTEM, user=f"s3proxy-without-{lacks}")
    source = opened(keystone, monkeypatch, settings, "a-wrong-password" if lacks == "password" else "")
    with capturedLogs() as logs, pytest.raises(ServiceUnavailable):
        await secrets(source, tenant.access)
    await source.stop()

    told = {"reader": "read credentials", "service": "use s3tokens", "password": "no token: status 401"}[lacks]
    assert told in str([event.get("reason") for event in logs])
    assert tenant.secret not in str(logs)
    assert "a-wrong-password" not in str(logs)


@pytest_twisted.ensureDeferred
async def test_a_token_that_is_revoked(keystone: Keystone, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Another one is asked for, and the key is not refused.
    """
    tenant = Tenant(keystone, "revoked")
    source = opened(keystone, monkeypatch)
    before = await secrets(source, tenant.access)
    user = keystone.call("GET", "/users?name=s3proxy")["users"][0]["id"]
    # This revokes every token of the user.
    keystone.call("PATCH", f"/users/{user}", {"user": {"enabled": False}})
    keystone.call("PATCH", f"/users/{user}", {"user": {"enabled": True}})
    after = await secrets_at_last(source, tenant.access)
    await source.stop()

    assert (before, after) == ((tenant.secret,), (tenant.secret,))


@pytest_twisted.ensureDeferred
async def test_an_application_credential(keystone: Keystone, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    It authenticates s3proxy without a password. Keystone lets it read only the keys of its own project.
    """
    admin = keystone.call("GET", "/users?name=admin")["users"][0]["id"]
    project = keystone.call("GET", "/projects?name=admin")["projects"][0]["id"]
    access, secret = keystone.make_key(admin, project)
    other = Tenant(keystone, "application")
    document = {"application_credential": {"name": "s3proxy", "secret": "secret-of-an-application"}}
    made = keystone.call("POST", f"/users/{admin}/application_credentials", document)["application_credential"]
    settings = KeystoneSettings(application_credential=made["id"], secret_env="KEYSTONE_SECRET", roles=("admin",))
    source = opened(keystone, monkeypatch, settings, "secret-of-an-application")
    found = await secrets(source, access)
    with capturedLogs() as logs, pytest.raises(ServiceUnavailable):
        await secrets(source, other.access)
    await source.stop()

    assert found == (secret,)
    assert "read credentials" in str([event.get("reason") for event in logs])


@pytest_twisted.ensureDeferred
async def test_a_keystone_that_is_down(keystone: Keystone, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A key that is known is used as Keystone described it last; any other gets 503.
    """
    known, other = Tenant(keystone, "known"), Tenant(keystone, "other")
    monkeypatch.setenv("KEYSTONE_SECRET", SERVICE_PASSWORD)
    rules = replace(rules_with(keystone=SYSTEM), cache=CacheLimits(ttl=0, patience=PATIENCE))
    source: Any = open_source(f"keystone:{keystone.url}", Path(), rules)
    source.start(reactor)
    access, before = known.access.encode(), keystone.log().count("POST /v3/s3tokens")
    found: Any = await DeferredList([source.look_up(access) for _ in range(1000)])
    asked = keystone.log().count("POST /v3/s3tokens") - before
    await deferToThread(keystone.stop)
    during = await source.look_up(access)
    with pytest.raises(ServiceUnavailable):
        await secrets(source, other.access)
    await deferToThread(keystone.resume)
    await source.stop()

    assert {credential.secret_access_keys for _, credential in found} == {(known.secret,)}
    assert asked == 1
    assert during.secret_access_keys == (known.secret,)
