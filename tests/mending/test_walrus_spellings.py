"""
No spelling of a target reaches what its client may not: the bindings of the Eucalyptus family read targets differently.

Spellings are made from what the bindings do: they delete service paths, collapse slashes, split a path before they
decode it, decode a copy's source before they split it, fold the case of parameters and take the last of several.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterator
from urllib.parse import unquote_to_bytes

import pytest
import pytest_twisted

from s3proxy.authentication.realm import Anonymous
from s3proxy.authorization.access_request import AccessRequest
from s3proxy.profiles.known import PROFILES
from s3proxy.s3.errors import AccessDenied
from tests.oracle.judge import read_place_of_eucalyptus, read_source_of_eucalyptus
from tests.support.eucalyptus import FAMILY, W, asks_for_versions, request, respond_as_storage, service_path
from tests.support.harness import Harness

COUNT = 500
"""
Unsigned, and the same number signed: 1,000 at each storage system.
"""

OPEN = b"www"
DOMAIN = "s3.example.test"

SERVICE_PATHS = ("/services/Walrus", "/services/objectstorage", "/services/WalrusBackend")
BUCKETS = (
    *["www"] * 12, "www-internal", "secret", "%77ww", "ww%77", "www%2Dinternal", "WWW", "", ".", "..", "%2e%2e",
)  # fmt: skip
PIECES = (
    "/", "/", "//", "%2F", "%2f", "%252F", "..", ".", "%2e%2e", "-internal", "internal", "secret", "k", ";", ";a=b",
    "%3B", "+", "%20", "%2B", "%3F", "%23", "%5C", "\\", "%00", "%0A", "%zz", "%", "%FF", "%C3%BC", "\u00fc", "~", "*",
    *SERVICE_PATHS, *(path[1:] for path in SERVICE_PATHS), "services%2FWalrus", "/services//Walrus",
    "/serv/services/Walrusices/Walrus", "%2Fservices%2FWalrus", "/SERVICES/walrus", "Walrus",
)  # fmt: skip
QUERIES = (
    "", "", "", "", "acl", "ACL", "a%63l", "acl=", "acl=x", "versionId=1", "VERSIONID=1", "versionid=1", "uploads",
    "location", "lOcation", "delete", "prefix=", "PREFIX=secret", "marker=/services/Walrus", "maxkeys=0",
    "IsCompressed=true", "IsCompressed=false", "torrent", "policy", "prefix=www/../secret", "versions", "logging",
)  # fmt: skip
SUBRESOURCES = frozenset(
    b"acl cors delete lifecycle location logging notification policy requestpayment tagging torrent uploads versioning"
    b" versions website".split()
)


def spellings(rng: random.Random) -> Iterator[str]:
    """
    Yield targets, about half of which name the open bucket to a reader of S3.
    """
    for _ in range(COUNT):
        prefix = rng.choice((*["/"] * 20, "//", *SERVICE_PATHS, *(f"{path}/" for path in SERVICE_PATHS)))
        key = "".join(rng.choices(PIECES, k=rng.randint(0, 5)))
        slash = rng.choice(("/", "/", "/", "/", "//", "%2F", "/%2F", ""))
        query = "&".join(filter(None, rng.choices(QUERIES, k=rng.randint(0, 2))))
        yield prefix + rng.choice(BUCKETS) + slash + key + (f"?{query}" if query else "")


def place_of_s3(target: str) -> tuple[bytes, bytes]:
    """
    Return bucket and key as S3 reads a target in path style. An escaped slash ends the bucket, too.
    """
    path = unquote_to_bytes(target.encode().partition(b"?")[0])
    bucket, _, key = path.removeprefix(b"/").partition(b"/")
    return bucket, key


def bound(profile: str, raw_target: bytes) -> tuple[bytes, bytes, frozenset[bytes]]:
    """
    Return bucket, key and sub-resources as a binding reads them; see `tests.oracle.judge`.
    """
    path, _, query = raw_target.partition(b"?")
    if profile != FAMILY[0]:
        path = path.removeprefix(PROFILES[profile].service_path)
    place = read_place_of_eucalyptus(profile, path)
    names = {
        unquote_to_bytes(item.partition(b"=")[0].replace(b"+", b" ")).lower() for item in query.split(b"&") if item
    }
    return place.bucket, place.key, SUBRESOURCES & names


def subresources_of_s3(target: str) -> frozenset[bytes]:
    """
    Return the sub-resources that S3 sees in a query: it knows them by their exact names.
    """
    items = target.encode().partition(b"?")[2].split(b"&")
    return SUBRESOURCES & {unquote_to_bytes(item.partition(b"=")[0]) for item in items if item}


class OnlyOpen:
    """
    Allows every operation on one bucket.
    """

    def authorize(self, asked: AccessRequest) -> None:
        """
        Refuse any other bucket.
        """
        if asked.address.bucket != OPEN:
            raise AccessDenied


def harness_for(profile: str, *, is_signed: bool) -> Harness:
    """
    Return a proxy in front of a backend that records its requests.
    """
    anonymous = Anonymous() if is_signed else Anonymous(signed_buckets=(OPEN.decode(),))
    authorizer = OnlyOpen() if is_signed else None
    harness = Harness(profile=PROFILES[profile], signature="v2", anonymous=anonymous, authorizer=authorizer)
    harness.backend.on_request = respond_as_storage
    return harness


@pytest.mark.parametrize("is_signed", [False, True], ids=["unsigned", "signed"])
@pytest.mark.parametrize("profile", FAMILY)
@pytest_twisted.ensureDeferred
async def test_no_spelling_leaves_the_open_bucket(profile: str, *, is_signed: bool) -> None:
    """
    The storage system reads what S3 reads, and within the open bucket.
    """
    rng = random.Random(20)
    harness = harness_for(profile, is_signed=is_signed)
    outcomes: Counter[str] = Counter()
    for target in spellings(rng):
        method = rng.choice(("GET", "HEAD", "PUT", "DELETE") if is_signed else ("GET", "HEAD"))
        raw = f"{method} {target} HTTP/1.1\r\nHost: {DOMAIN}\r\n\r\n".encode()
        if is_signed:
            raw = request(method, target, [])
        harness.backend.requests.clear()
        response = await harness.request(raw)
        asked = [received.head for received in harness.backend.requests]

        # The request may need a document in the response that this backend does not send.
        assert asked or response is None or response.status < 500 or response.status == 501, (target, response.status)
        outcomes["asked" if asked else f"{response.status}" if response else "closed"] += 1
        bucket, key = place_of_s3(target)
        for head in asked:
            assert bucket == OPEN, target
            *place, names = bound(profile, head.raw_target)
            if asks_for_versions(head):
                # Our own, before a deletion: it is of the same key, and the client does not see the response.
                prefix = head.raw_target.partition(b"prefix=")[2].partition(b"&")[0]
                assert (place, unquote_to_bytes(prefix)) == ([bucket, b""], key), (target, head.raw_target)
                continue
            assert place == [bucket, key], (target, head.raw_target)
            # S3 has some sub-resources only for a bucket. With a key they name nothing.
            assert names <= subresources_of_s3(target), (target, head.raw_target)
    await harness.close()

    assert outcomes["asked"] > COUNT / 10, outcomes
    assert len(outcomes) > 2, outcomes


SOURCES = ("/www/k", "www/k", "/www/services/Walrus-internal/k", "/www//k", "/www/k/", "//www/k", "/www/k%3Fx")


@pytest.mark.parametrize("profile", FAMILY)
@pytest_twisted.ensureDeferred
async def test_no_spelling_of_a_source_names_another_object(profile: str) -> None:
    """
    The family decodes a copy's source before it splits it.
    """
    rng = random.Random(21)
    harness = harness_for(profile, is_signed=True)
    copied = 0
    for number in range(COUNT // 2):
        source = SOURCES[number] if number < len(SOURCES) else next(spellings(rng)).partition("?")[0]
        if not source.isascii() or re.search(r"[\x00-\x20]", source):
            continue
        harness.backend.requests.clear()
        response = await harness.request(request("PUT", "/www/copy", [("x-amz-copy-source", source)]))
        assert response is not None
        assert response.status < 500 or response.status == 501, (source, response.status)
        for received in harness.backend.requests:
            if asks_for_versions(received.head):
                assert received.head.raw_target.partition(b"?")[0].endswith(b"/www"), source
                continue
            if received.head.method == b"HEAD":
                target = received.head.raw_target
                place = read_place_of_eucalyptus(
                    profile, target if profile == W else target.removeprefix(service_path(profile).encode())
                )
                found = place.bucket, place.key, b""
            else:
                copied += 1
                found = read_source_of_eucalyptus(profile, received.head.fields[b"x-amz-copy-source"][0])
            path = source.removeprefix("/").encode().replace(b"+", b" ")
            named, _, named_key = unquote_to_bytes(path).partition(b"/")
            assert found == (named, named_key, b""), source
    await harness.close()

    assert copied > COUNT / 20
