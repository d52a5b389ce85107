"""
Several backends: which of them gets a request, and which key signs it there.
"""

from __future__ import annotations

import fnmatch
import itertools
from typing import Any, cast

import pytest
from twisted.internet.task import Clock
from twisted.logger import capturedLogs

from s3proxy.authentication.verdict import NOBODY, Authenticated
from s3proxy.backend.backend import Backend
from s3proxy.exchange.routing import Routing
from s3proxy.profiles.known import PROFILES
from s3proxy.profiles.profile import BackendKey
from s3proxy.resign.account import Account
from s3proxy.s3.address import parse_address
from s3proxy.s3.bucket_pattern import covers
from s3proxy.s3.claim import Carrier
from s3proxy.s3.credential import Credential
from s3proxy.s3.errors import AccessDenied, InternalError, NotImplementedByProxy, S3Error
from s3proxy.s3.head import HeaderList, RequestHead, index_headers
from s3proxy.s3.payload import UNSIGNED
from s3proxy.sigv4.signing_key import SigningKeys

DOMAINS = (b"s3.example.test",)


def backend(name: str) -> Backend:
    """
    Return a backend with its own key.
    """
    key = BackendKey(f"own-{name}", "secret")
    return Backend(name, cast(Any, Clock()), Account(PROFILES["generic"], key, name.encode(), "v4", SigningKeys(1)))


BACKENDS = {name: backend(name) for name in ("first", "logs", "media")}
ROUTES = [(("logs-*", "trace-?"), "logs"), (("video",), "media"), (("logs", "video-[ab]"), "media")]
KEYS = {
    "a": ("first", BackendKey("KEY-A", "secret")),
    "b": ("first", BackendKey("KEY-B", "secret")),
    "logs-a": ("logs", BackendKey("KEY-LOGS-A", "secret")),
}
ROUTING = Routing(BACKENDS, ROUTES, KEYS)


def chosen(
    path: bytes,
    credential: Credential | None = None,
    *,
    host: bytes = b"s3.example.test",
    headers: HeaderList | None = None,
    routing: Routing = ROUTING,
) -> str:
    """
    Return the key that signs for a request; each belongs to one backend.
    """
    head = RequestHead(b"PUT", path, b"HTTP/1.1", headers or [], index_headers(headers or []))
    known = credential or Credential("CLIENT", ("secret",))
    authenticated = Authenticated(b"CLIENT", Carrier.V4_HEADER, known, frozenset(), UNSIGNED, None, head)
    found = routing.choose(head, parse_address(path, host, DOMAINS), authenticated)
    base = BACKENDS[found.name]
    assert found.agent is base.agent, "connections are shared"
    assert found.account.profile is base.account.profile
    assert found.account.host == base.account.host
    assert found.account.key is not None
    return found.account.key.access_key_id


def key_of(*backend_keys: str, backend: str | None = None) -> Credential:
    """
    Return a client's key with a mapping.
    """
    return Credential("CLIENT", ("secret",), backend=backend, backend_keys=backend_keys)


def copied(source: bytes) -> HeaderList:
    """
    Return the header of a copy.
    """
    return [(b"x-amz-copy-source", source)]


@pytest.mark.parametrize(
    ("path", "name"),
    [
        (b"/logs-2026/key", "own-logs"),
        (b"/logs-/key", "own-logs"),
        (b"/logs-2026", "own-logs"),
        (b"/logs%2D2026/key", "own-logs"),
        (b"/trace-1/key", "own-logs"),
        (b"/trace-12/key", "own-first"),
        (b"/logs/key", "own-media"),
        (b"/video/key", "own-media"),
        (b"/video-a/key", "own-media"),
        (b"/video-c/key", "own-first"),
        (b"/Logs-2026/key", "own-first"),
        (b"/my-logs-2026/key", "own-first"),
        (b"/logs-2026%0A/key", "own-logs"),
        (b"/other/logs-2026", "own-first"),
        (b"/", "own-first"),
        (b"/%C3%A9/key", "own-first"),
    ],
)
def test_the_bucket_names_the_backend(path: bytes, name: str) -> None:
    """
    The first pattern that matches the whole decoded name, in its case; the first backend if none matches.
    """
    assert chosen(path) == name


def test_the_first_route_holds() -> None:
    """
    A name before a pattern is an exception to it; after a pattern that matches it, it has no effect.
    """
    before = Routing(BACKENDS, [(("logs-1",), "media"), (("logs-*",), "logs")])
    behind = Routing(BACKENDS, [(("logs-*",), "logs"), (("logs-1", "logs"), "media"), (("logs",), "first")])

    assert [chosen(path, routing=before) for path in (b"/logs-1/k", b"/logs-2/k")] == ["own-media", "own-logs"]
    assert [chosen(path, routing=behind) for path in (b"/logs-1/k", b"/logs/k")] == ["own-logs", "own-media"]


def test_a_bucket_in_the_host_name_is_one() -> None:
    """
    Virtual-hosted style is routed like path style.
    """
    assert chosen(b"/key", host=b"logs-2026.s3.example.test") == "own-logs"
    assert chosen(b"/logs-2026/key", host=b"other.s3.example.test") == "own-first"
    # An escaped slash ends a bucket, as it does at the backend.
    assert chosen(b"/logs-2026%2Fkey") == "own-logs"


def test_a_star_is_no_listing_of_buckets() -> None:
    """
    A request without a bucket matches no route.
    """
    routing = Routing(BACKENDS, [(("*",), "logs")], KEYS)

    assert chosen(b"/any/key", routing=routing) == "own-logs"
    assert chosen(b"/", routing=routing) == "own-first"
    assert chosen(b"/", key_of("a"), routing=routing) == "KEY-A"


def test_a_keys_own_backend_goes_before_routes() -> None:
    """
    All of its requests go there, also copies: no object of the key can be at another backend.
    """
    credential = key_of(backend="media")

    assert chosen(b"/logs-2026/key", credential) == "own-media"
    assert chosen(b"/", credential) == "own-media"
    assert chosen(b"/logs-2026/key", credential, headers=copied(b"/video/key")) == "own-media"


@pytest.mark.parametrize(
    ("target", "source", "outcome"),
    [
        (b"/logs-1/key", b"/logs-2/key", "own-logs"),
        (b"/logs-1/key", b"logs-2/key?versionId=7", "own-logs"),
        (b"/logs-1/key", b"logs%2D2%2Fkey", "own-logs"),
        (b"/logs-1/key", b"/other/key", NotImplementedByProxy),
        (b"/logs-1/key", b"/Logs-2/key", NotImplementedByProxy),
        (b"/other/key", b"/logs-1/key", NotImplementedByProxy),
        (b"/other/key", b"logs%2D1%2Fkey", NotImplementedByProxy),
        (b"/other/key", b"/logs/key", NotImplementedByProxy),
        (b"/other/key", b"/another/logs-1", "own-first"),
        (b"/logs-1/key", b"arn:aws:s3:us-east-1:1:accesspoint/p/object/key", "own-logs"),
    ],
)
def test_a_copy_stays_within_a_backend(target: bytes, source: bytes, outcome: str | type[S3Error]) -> None:
    """
    A backend cannot read what another has: 501, before either gets a request.
    """
    if isinstance(outcome, str):
        assert chosen(target, headers=copied(source)) == outcome
    else:
        with pytest.raises(outcome):
            chosen(target, headers=copied(source))


def test_each_of_several_sources_is_looked_at() -> None:
    """
    Which of two headers a backend uses is unknown.
    """
    with pytest.raises(NotImplementedByProxy):
        chosen(b"/other/key", headers=copied(b"/other/a") + copied(b"/logs-1/b"))


def test_a_key_is_mapped_to_a_backend_key() -> None:
    """
    The connections are the same, the signature differs. Of several keys, the one of the backend of the route signs.
    """
    assert chosen(b"/bucket/key", key_of("a")) == "KEY-A"
    assert chosen(b"/bucket/key", key_of("b")) == "KEY-B"
    assert chosen(b"/", key_of("logs-a")) == "KEY-LOGS-A"
    assert chosen(b"/bucket/key", key_of("logs-a")) == "KEY-LOGS-A"
    assert chosen(b"/logs-1/key", key_of("b", "logs-a")) == "KEY-LOGS-A"
    assert chosen(b"/bucket/key", key_of("b", "logs-a")) == "KEY-B"
    assert chosen(b"/bucket/key", key_of("logs-a", "b")) == "KEY-LOGS-A"
    assert chosen(b"/bucket/key", key_of("b", backend="first")) == "KEY-B"
    assert chosen(b"/logs-1/key", key_of("b", backend="first")) == "KEY-B"


def test_no_stronger_key_signs_for_a_mapped_one() -> None:
    """
    If a route leads to a backend without a key for the client's key, the backend's own key does not replace it.
    """
    with pytest.raises(AccessDenied):
        chosen(b"/logs-1/key", key_of("a"))
    with pytest.raises(AccessDenied):
        chosen(b"/video/key", key_of("a", "logs-a"))
    with pytest.raises(NotImplementedByProxy):
        chosen(b"/bucket/key", key_of("a"), headers=copied(b"/logs-1/key"))


def test_nobody_has_the_backends_own_key() -> None:
    """
    Anonymous requests are routed by their bucket only.
    """
    assert chosen(b"/logs-1/key", NOBODY) == "own-logs"
    assert chosen(b"/other/key", NOBODY) == "own-first"


@pytest.mark.parametrize("credential", [key_of("gone"), key_of(backend="gone"), key_of("a", backend="gone")])
def test_a_name_which_is_not_configured_is_no_way_around(credential: Credential) -> None:
    """
    A credential source that is not checked against the configuration may name anything: 500, and a line in the log.
    """
    with capturedLogs() as captured, pytest.raises(InternalError):
        chosen(b"/bucket/key", credential)

    assert [event["name"] for event in captured] == ["gone"]
    for contradiction in (key_of("a", "gone"), key_of("gone", backend="logs"), key_of("a", backend="logs")):
        with pytest.raises(AccessDenied):
            chosen(b"/logs-1/key", contradiction)
    assert chosen(b"/logs-1/key", key_of("a", "logs-a", backend="logs")) == "KEY-LOGS-A"


PATTERNS = ["".join(letters) for size in range(1, 4) for letters in itertools.product("ab*?", repeat=size)]
NAMES = ["".join(letters) for size in range(6) for letters in itertools.product("abc", repeat=size)]


def test_a_pattern_which_covers_another_leaves_it_nothing() -> None:
    """
    A pattern called covered never matches first, and any other has a name that shows it: tried with all short patterns.
    """
    matched = {pattern: set(fnmatch.filter(NAMES, pattern)) for pattern in PATTERNS}

    wrong = [
        (pattern, other)
        for pattern, other in itertools.product(PATTERNS, repeat=2)
        if covers(pattern, other) != (matched[other] <= matched[pattern])
    ]

    assert wrong == []


@pytest.mark.parametrize(
    ("pattern", "other", "is_covered"),
    [
        ("a[bc]", "ab", True),
        ("a[bc]", "ad", False),
        ("a[!b]", "a?", False),
        ("a?", "a[bc]", False),
        ("*", "a[bc]", True),
        ("**", "[!a]", True),
        ("a[*]", "a*", False),
        ("a[*]", "a[*]", True),
    ],
)
def test_sets_are_judged_with_care(pattern: str, other: str, *, is_covered: bool) -> None:
    """
    If it is not certain that no name is left, no warning is given.
    """
    assert covers(pattern, other) is is_covered
