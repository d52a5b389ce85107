"""
Requests to the Eucalyptus family: targets that the storage system reads as the client means them, or no request.

What they read was seen at Walrus 3.4.2, WalrusBackend 4.3.1.1 and the object storage gateway 4.3.1.1.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote_to_bytes

import pytest
import pytest_twisted
from twisted.internet import reactor

from s3proxy.configuration.loading import make_settings
from s3proxy.daemon.backends import make_backend
from s3proxy.profiles.known import PROFILES
from s3proxy.profiles.profile import Profile
from s3proxy.s3.error_xml import error_document
from s3proxy.s3.errors import S3Error
from tests.oracle.judge import read_place_of_eucalyptus, read_source_of_eucalyptus
from tests.support.deletions import document
from tests.support.deletions import request as deletion_request
from tests.support.eucalyptus import CARRIERS, COPY, DATE, FAMILY, STYLES, B, G, Headers, W, request, send, service_path
from tests.support.forms import form_request, multipart, v4_fields
from tests.support.harness import Harness
from tests.support.signer import UNSIGNED_TRAILER, Signer

# The client


# The storage system


async def check_row(
    name: str, method: str, target: str, headers: Headers, expected: str, carrier: str, style: str
) -> None:
    """
    Fail unless the backend gets a target; or, for a refusal, the client gets it and the backend gets nothing.
    """
    for signature in ("v2", "v4") if name == G else ("v2",):
        sent = await send(name, request(method, target, headers, carrier, style), signature=signature)
        if re.match(r"[45]\d\d ", expected):
            assert (sent.code, sent.requests) == (expected, [])
        else:
            assert sent.head.raw_target.decode() == service_path(name) + expected, sent.code


# Targets

K255 = "k" * 255

TARGETS: list[tuple[str, str, str, str]] = [
    # profile, method, the client's target, the backend's
    (W, "GET", "/www/services/Walrus-internal/secret", "/www/services%2FWalrus-internal%2Fsecret"),
    (W, "GET", "/www/services/Walrus-internal/", "/www/services%2FWalrus-internal%2F"),
    (W, "PUT", "/b/x/services/Walrus/y", "/b/x%2Fservices%2FWalrus%2Fy"),
    (W, "PUT", "/b/dir/", "/b/dir%2F"),
    (W, "PUT", "/b/a//b", "/b/a%2F%2Fb"),
    (W, "PUT", "/b//lead", "/b/%2Flead"),
    (W, "DELETE", "/b//", "/b/%2F"),
    (W, "DELETE", "/b///", "/b/%2F%2F"),
    (W, "GET", "/b/a/b", "/b/a%2Fb"),
    (W, "GET", "/b/a%2Fb", "/b/a%2Fb"),
    (W, "GET", "/b/a+b", "/b/a%2Bb"),
    (W, "GET", "/b/\u00fc", "/b/%C3%BC"),
    (W, "GET", "/b/%c3%bc", "/b/%C3%BC"),
    (W, "GET", "/b/%6b*'()!", "/b/k%2A%27%28%29%21"),
    (W, "GET", "/%62/k", "/b/k"),
    (W, "GET", "/b", "/b"),
    (W, "GET", "/b/", "/b"),
    (B, "PUT", "/b/a//b/", "/b/a//b/"),
    (B, "GET", "/%62/a+\u00fc%2F", "/b/a%2B%C3%BC/"),
    (G, "PUT", "/b/a//b/", "/b/a//b/"),
    (G, "GET", "/%62/a+\u00fc%2F", "/b/a%2B%C3%BC/"),
    # queries
    (W, "GET", "/b?prefix=a=b", "/b?prefix=a%3Db"),
    (W, "GET", "/b?prefix=a+b%2Bc", "/b?prefix=a%20b%2Bc"),
    (W, "GET", "/b?prefix=a?b", "/b?prefix=a%3Fb"),
    (W, "GET", "/b?prefix=", "/b"),
    (W, "GET", "/b?max-keys=2147483647", "/b?max-keys=1000"),
    (W, "GET", "/b?max-keys=1001&marker=x", "/b?max-keys=1000&marker=x"),
    (W, "GET", "/b?max-keys=0", "/b?max-keys=0"),
    (W, "GET", "/b?max-keys=01000", "/b?max-keys=1000"),
    (W, "GET", "/b?versions&max-keys=5000", "/b?versions&max-keys=1000"),
    (W, "GET", "/b?delimiter=/", "/b?delimiter=%2F"),
    (W, "GET", "/b?delimiter=%5D-", "/b?delimiter=%5D-"),
    (W, "GET", "/b?list-type=2&start-after=a/b", "/b?marker=a%2Fb"),
    (W, "GET", "/b?encoding-type=url&prefix=_", "/b?prefix=_"),
    (W, "GET", "/b/k?acl=x", "/b/k?acl"),
    (W, "GET", "/b/k?acl=&versionId=a%2Bb", "/b/k?acl&versionId=a%2Bb"),
    (W, "GET", "/b/k?versionId=a+b", "/b/k?versionId=a%20b"),
    (W, "GET", "/b/k?versionId=a=b", "/b/k?versionId=a%3Db"),
    (W, "GET", "/b?location=x", "/b?location"),
    (W, "GET", "/b/k?%61cl", "/b/k?acl"),
    (B, "GET", "/b?max-keys=2147483647", "/b?max-keys=1000"),
    (B, "GET", "/b/k?acl=", "/b/k?acl"),
    (B, "GET", "/b?location=x", "/b?max-keys=1"),
    (G, "POST", "/b/k?uploads=", "/b/k?uploads"),
    (G, "GET", "/b?location=", "/b?location"),
    (G, "GET", "/b?acl=", "/b?acl"),
    (G, "GET", "/b?max-keys=2147483647", "/b?max-keys=1000"),
    (G, "GET", "/b?versioning=", "/b?versioning"),
    (G, "GET", "/b?versions=", "/b?versions"),
    (G, "GET", "/b?uploads=&max-uploads=9999", "/b?uploads&max-uploads=1000"),
    (G, "GET", "/b/k?uploadId=a/b&max-parts=9999", "/b/k?uploadId=a%2Fb&max-parts=1000"),
    (G, "GET", "/b?cors=", "/b?cors"),
    (G, "GET", "/b?lifecycle=", "/b?lifecycle"),
    (G, "GET", "/b?tagging=", "/b?tagging"),
    (G, "GET", "/b?logging=", "/b?logging"),
]


def _id(value: object) -> str | None:
    if isinstance(value, list):
        return ",".join(f"{name}={text[:40]}" for name, text in value) or "no header"
    return value[:60] if isinstance(value, str) else None


def styles(target: str) -> Sequence[str]:
    """
    Return the styles in which a client can name a target: a host has no escapes.
    """
    bucket = target.partition("?")[0].removeprefix("/").partition("/")[0]
    return STYLES[:1] if "%" in bucket or not bucket else STYLES


def each_style(rows: Sequence[Any]) -> list[Any]:
    """
    Return the rows, each with each of its styles.
    """
    return [(*row, style) for row in rows for style in styles(row[2])]


@pytest.mark.parametrize("carrier", CARRIERS)
@pytest.mark.parametrize(("name", "method", "target", "expected", "style"), each_style(TARGETS), ids=_id)
@pytest_twisted.ensureDeferred
async def test_a_target_is_read_as_it_is_meant(
    name: str, method: str, target: str, expected: str, carrier: str, style: str
) -> None:
    """
    F1, F2, F6, F11, F16, F23: the storage system reads the client's bucket, key and parameters, and accepts s3proxy's
    signature.
    """
    await check_row(name, method, target, (), expected, carrier, style)


@pytest.mark.parametrize("name", FAMILY)
@pytest_twisted.ensureDeferred
async def test_what_s3_has_no_meaning_for_is_not_sent(name: str) -> None:
    """
    F21: a parameter that only the storage system knows must not reach it.
    """
    sent = await send(name, request("GET", "/b/k?IsCompressed=true"))
    listed = await send(name, request("GET", "/b?maxkeys=0&PREFIX=x"))
    other = await send(name, request("GET", "/b/k?prefix=x&marker=y"))

    assert other.head.raw_target.decode() == service_path(name) + "/b/k"
    assert sent.head.raw_target.decode() == service_path(name) + "/b/k"
    assert listed.head.raw_target.decode() == service_path(name) + "/b"


AWKWARD = [
    *("+", " ", "%", "%25", "\u00fc", "\u3042", "\U0001f600", "?", "=", "&", "#", ";", ",", ":", "@", "$", "!", "*"),
    *("'", '"', "(", ")", "<", ">", "\\", "[", "]", "{", "}", "|", "^", "~", "\n", "\r", "\t", "\x7f", "`"),
    *(".", "..", "./a", "../a", "a/..", "a/./b", "/", "//", "/a", "a/", "a//b", "//a//", "services/Walrus", "a%2Fb"),
]


@pytest.mark.parametrize("key", AWKWARD)
@pytest_twisted.ensureDeferred
async def test_each_key_is_the_same_key_there(key: str) -> None:
    """
    Each storage system reads a path in its own way, and finds the key that the client named.
    """
    for name in FAMILY:
        if name == W and not key.isprintable() and key not in {"\n", "\r", "\t", "\x7f"}:
            continue
        sent = await send(name, request("PUT", f"/b/{quote(key, safe='')}"))
        path = sent.head.raw_target
        whole = path if name == W else path.removeprefix(PROFILES[name].service_path)
        place = read_place_of_eucalyptus(name, whole)
        assert (place.bucket, place.key) == (b"b", key.encode())


@pytest_twisted.ensureDeferred
async def test_a_form_is_stored_under_its_own_key() -> None:
    """
    A form's key is written by the same rule.
    """
    fields = v4_fields([["starts-with", "$key", ""]], key="dir//a+b/")
    made = form_request(multipart(fields, b"hello"))
    sent = await send(W, made.head, made.body)

    assert sent.head.raw_target == b"/services/Walrus/test-bucket/dir%2F%2Fa%2Bb%2F"


@pytest.mark.parametrize("name", [W, B])
@pytest_twisted.ensureDeferred
async def test_each_of_many_deletions_names_its_own_key(name: str) -> None:
    """
    F2: DeleteObjects of ``/`` deletes no bucket, and one of ``dir/`` not ``dir``.
    """
    keys = ["/", "a//b", "dir/", "a+b"]
    sent = await send(name, deletion_request(document(*keys)))

    found = set()
    for asked in sent.requests:
        path = asked.raw_target
        place = read_place_of_eucalyptus(name, path if name == W else path.removeprefix(PROFILES[name].service_path))
        found.add((asked.method, place.bucket, place.key))
    assert found == {(b"DELETE", b"b", key.encode()) for key in keys}


@pytest_twisted.ensureDeferred
async def test_a_version_that_a_storage_cannot_delete_keeps_its_object() -> None:
    """
    F13: also as one of many deletions.
    """
    raw = deletion_request(b"<Delete><Object><Key>k</Key><VersionId>v</VersionId></Object></Delete>")

    there = await send(W, raw)
    refused = await send(B, raw)

    assert there.head.raw_target == b"/services/Walrus/b/k?versionId=v"
    assert refused.requests == []
    assert b"<Code>NotImplemented</Code>" in refused.response.body


# Refusals


REFUSED: list[tuple[str, str, str, Headers, str]] = [
    # profile, method, target, headers, response
    *[(name, "GET", "//b/k", [], "400 InvalidURI") for name in FAMILY],
    *[(name, "GET", "/b%20c/k", [], "400 InvalidBucketName") for name in FAMILY],
    *[(name, "PUT", "/%2E%2E/k", [], "400 InvalidBucketName") for name in FAMILY],
    (W, "PUT", "/b/" + "k" * 256, [], "400 KeyTooLongError"),
    (B, "PUT", "/b/" + "k" * 256, [], "400 KeyTooLongError"),
    (W, "PUT", "/b/" + "%C3%BC" * 256, [], "400 KeyTooLongError"),
    (W, "PUT", "/b/" + "k" * 256, [(COPY, "/b/k")], "400 KeyTooLongError"),
    *[(name, "PUT", "/b/d", [(COPY, "/b/k%3Fx")], "501 NotImplemented") for name in FAMILY],
    *[(name, "PUT", "/b/d", [(COPY, "/b/k%3FversionId=null")], "501 NotImplemented") for name in FAMILY],
    *[(name, "PUT", "/b/d", [(COPY, "/b/k?x")], "400 InvalidArgument") for name in FAMILY],
    *[(name, "PUT", "/b/d", [(COPY, "/b/k?versionId=")], "400 InvalidArgument") for name in FAMILY],
    *[(name, "PUT", "/b/d", [(COPY, "/b/k?versionId=a%3Fb")], "400 InvalidArgument") for name in FAMILY],
    *[(name, "PUT", "/b/d", [(COPY, "/b/k%zz")], "400 InvalidArgument") for name in FAMILY],
    *[(name, "PUT", "/b/d", [(COPY, "/b/k%")], "400 InvalidArgument") for name in FAMILY],
    *[(name, "PUT", "/b/d", [(COPY, "/b/%FF")], "400 InvalidArgument") for name in FAMILY],
    *[(name, "PUT", "/b/d", [(COPY, "/b%3Fc/k")], "400 InvalidBucketName") for name in FAMILY],
    *[
        (name, "PUT", "/b/d", [(COPY, "arn:aws:s3:us-east-1:1:accesspoint/a/object/k")], "501 NotImplemented")
        for name in FAMILY
    ],
    (W, "PUT", "/b/d", [(COPY, "/b/a//b")], "501 NotImplemented"),
    (W, "PUT", "/b/d", [(COPY, "/b/a%2F/b")], "501 NotImplemented"),
    (W, "PUT", "/b/d", [(COPY, "/b//a")], "501 NotImplemented"),
    (W, "PUT", "/b/d", [(COPY, "b/dir/")], "501 NotImplemented"),
    (W, "PUT", "/b/d", [(COPY, "/b/k"), ("x-amz-acl", "public-read")], "501 NotImplemented"),
    (B, "PUT", "/b/d", [(COPY, "/b/k"), ("x-amz-acl", "public-read")], "501 NotImplemented"),
    *[
        (name, "PUT", target, [("x-amz-acl", acl)], "400 InvalidArgument")
        for name in FAMILY
        for target in ("/b", "/b/k")
        for acl in ("PUBLIC-READ", "all", "")
    ],
    *[
        (B, "PUT", target, [("x-amz-acl", acl)], "501 NotImplemented")
        for target in ("/b", "/b/k")
        for acl in ("public-read", "bucket-owner-full-control")
    ],
    (B, "POST", "/b/k?uploads", [("x-amz-acl", "public-read")], "501 NotImplemented"),
    *[
        (name, "PUT", "/b/d", [(COPY, "/b/k"), ("x-amz-metadata-directive", directive)], "400 InvalidArgument")
        for name in FAMILY
        for directive in ("replace", "REPLACE ALL", "")
    ],
    (W, "PUT", "/b/k", [("x-amz-meta-a", "z" * 256)], "400 MetadataTooLarge"),
    (B, "PUT", "/b/k", [("x-amz-meta-a", "z" * 256)], "400 MetadataTooLarge"),
    (W, "PUT", "/b/k", [("x-amz-meta-" + "n" * 256, "z")], "400 MetadataTooLarge"),
    (W, "PUT", "/b/k", [("Content-Type", "z" * 256)], "400 MetadataTooLarge"),
    (W, "PUT", "/b/k", [("Content-Disposition", "z" * 256)], "400 MetadataTooLarge"),
    (
        W,
        "PUT",
        "/b/d",
        [(COPY, "/b/k"), ("x-amz-metadata-directive", "REPLACE"), ("x-amz-meta-a", "z" * 256)],
        "400 MetadataTooLarge",
    ),
    (W, "PUT", "/b/k", [("Content-Encoding", "gzip")], "501 NotImplemented"),
    (B, "PUT", "/b/k", [("Content-Encoding", "gzip")], "501 NotImplemented"),
    (B, "POST", "/b/k?uploads", [("Content-Encoding", "gzip")], "501 NotImplemented"),
    (W, "PUT", "/b/k", [("x-amz-grant-read", "id=x")], "501 NotImplemented"),
    (B, "PUT", "/b", [("x-amz-grant-read", "id=x")], "501 NotImplemented"),
    *[(name, "PUT", "/b/k", [("x-amz-meta-a", "\u00fc")], "400 InvalidArgument") for name in FAMILY],
    *[(name, "PUT", "/b/k", [("Content-Type", "\u00fc")], "400 InvalidArgument") for name in FAMILY],
    *[(name, "GET", "/b?max-keys=abc", [], "400 InvalidArgument") for name in FAMILY],
    *[(name, "GET", "/b?max-keys=-1", [], "400 InvalidArgument") for name in FAMILY],
    *[(name, "GET", "/b?max-keys=2147483648", [], "400 InvalidArgument") for name in FAMILY],
    *[(name, "GET", "/b?prefix=%FF", [], "400 InvalidArgument") for name in FAMILY],
    # tokens that no listing has returned: U+0001, FF, and what is not a token
    *[
        (name, "GET", f"/b?list-type=2&continuation-token={token}", [], "400 InvalidArgument")
        for name in FAMILY
        for token in ("AQ%3D%3D", "_w%3D%3D", "%20")
    ],
    *[(name, "GET", "/?continuation-token=YQ%3D%3D", [], "400 InvalidArgument") for name in FAMILY],
    *[(name, "GET", "/b?prefix=a%5Cb", [], "501 NotImplemented") for name in FAMILY],
    *[(name, "GET", "/b?list-type=2&prefix=a%5Cb", [], "501 NotImplemented") for name in FAMILY],
    *[(W, "GET", f"/b?delimiter={quote(each)}", [], "501 NotImplemented") for each in "+.$|()[{^?*\\"],
    *[(name, "GET", "/b?delimiter=a%2B", [], "501 NotImplemented") for name in FAMILY],
    (G, "GET", "/b?versions&delimiter=.", [], "501 NotImplemented"),
    (G, "GET", "/b?uploads&delimiter=.", [], "501 NotImplemented"),
    (W, "DELETE", "/b/k?versionId=", [], "400 InvalidArgument"),
    *[(name, "GET", "/b/k?versionId=", [], "400 InvalidArgument") for name in FAMILY],
    (G, "DELETE", "/b/k?uploadId=", [], "404 NoSuchUpload"),
    (W, "POST", "/b/k?uploads", [], "501 NotImplemented"),
    (W, "PUT", "/b/k?partNumber=1&uploadId=u", [], "501 NotImplemented"),
    (W, "POST", "/b/k?uploadId=u", [], "501 NotImplemented"),
    (W, "DELETE", "/b/k?uploadId=u", [], "501 NotImplemented"),
    *[(B, "GET", f"/b?{each}", [], "501 NotImplemented") for each in ("logging", "versioning", "versions")],
    *[(B, "PUT", f"/b?{each}", [], "501 NotImplemented") for each in ("acl", "logging", "versioning")],
    (B, "PUT", "/b/k?acl", [], "501 NotImplemented"),
    (B, "DELETE", "/b/k?versionId=v", [], "501 NotImplemented"),
    # a list whose line would be too long: 500 characters of prefix and marker
    *[
        (name, "GET", f"/b?prefix={'%C3%BC' * 500}&marker={'%C3%BC' * 500}", [], "400 RequestHeaderSectionTooLarge")
        for name in FAMILY
    ],
    *[(name, "PUT", "/b/k", [("Cache-Control", "z" * 8192)], "400 RequestHeaderSectionTooLarge") for name in (G,)],
    *[(name, "GET", "/b/k", [("User-Agent", "z" * 8100)], "400 RequestHeaderSectionTooLarge") for name in FAMILY],
]


@pytest.mark.parametrize("carrier", CARRIERS)
@pytest.mark.parametrize(("name", "method", "target", "headers", "expected", "style"), each_style(REFUSED), ids=_id)
@pytest_twisted.ensureDeferred
async def test_what_cannot_be_said_is_refused(
    name: str, method: str, target: str, headers: Headers, expected: str, carrier: str, style: str
) -> None:
    """
    F3, F4, F5, F6, F8, F12, F13, F16, F18, F22, F25: the client reads the reason, and the backend gets nothing.
    """
    await check_row(name, method, target, headers, expected, carrier, style)


@pytest.mark.parametrize("header", ["SOAPAction", "S3UploadPolicy", "S3UploadPolicySignature", "AWSAccessKeyId"])
@pytest.mark.parametrize("name", FAMILY)
@pytest_twisted.ensureDeferred
async def test_private_headers_reach_nobody(name: str, header: str) -> None:
    """
    F20: with these headers an upload would be judged by a policy of its own, or would not be an S3 request at all.
    """
    sent = await send(name, request("PUT", "/b/k", [(header, "x")]))
    listed = await send(name, request("GET", "/b", [(header.lower(), "x")], "V2 header"))

    assert [(each.code, each.requests) for each in (sent, listed)] == [("403 AccessDenied", [])] * 2


# Copies

SOURCES = [
    ("/b/k", b"/b/k"),
    ("b/k", b"/b/k"),
    ("/b/a+b", b"/b/a%20b"),
    ("/b/a b", b"/b/a%20b"),
    ("/b/%C3%BC", b"/b/%C3%BC"),
    ("/b/\u00fc", b"/b/%C3%BC"),
    ("%2Fb%2Fa%2Fk", b"/b/a/k"),
    ("/b/k?versionId=v+1", b"/b/k?versionId=v%2B1"),
    ("/b/%25", b"/b/%25"),
    ("/b/%253F", b"/b/%253F"),
]


@pytest.mark.parametrize("carrier", CARRIERS)
@pytest.mark.parametrize(("source", "expected"), SOURCES)
@pytest_twisted.ensureDeferred
async def test_a_copy_is_of_the_object_that_was_named(source: str, expected: bytes, carrier: str) -> None:
    """
    F3, F16: a source is escaped so that the storage system may decode it before it splits it.
    """
    for name in FAMILY:
        sent = await send(name, request("PUT", "/b/d", [(COPY, source)], carrier))

        assert sent.head.fields.value(COPY.encode()) == expected
        bucket, key, _ = read_source_of_eucalyptus(name, expected)
        plain = unquote_to_bytes(source.partition("?")[0].replace("+", " ")).removeprefix(b"/")
        assert (bucket, key) == (b"b", plain.partition(b"/")[2])


@pytest.mark.parametrize(("name", "source"), [(B, "/b/a//b"), (B, "/b//a"), (G, "/b/dir/"), (G, "/b/a//b")])
@pytest_twisted.ensureDeferred
async def test_later_versions_copy_keys_with_slashes(name: str, source: str) -> None:
    """
    They do not join slashes: s3proxy refuses nothing there that the storage system understands.
    """
    sent = await send(name, request("PUT", "/b/d", [(COPY, source)]))

    assert sent.head.fields.value(COPY.encode()) == source.encode()


@pytest_twisted.ensureDeferred
async def test_two_copy_sources_are_refused() -> None:
    """
    Joined into one line they would name a third object, which s3proxy has not checked.
    """
    sent = await send(G, request("PUT", "/b/d", [(COPY, "/b/k"), (COPY, "/b/l")]))

    assert (sent.code, sent.requests) == ("400 InvalidArgument", [])


@pytest_twisted.ensureDeferred
async def test_an_empty_version_is_called_so() -> None:
    """
    As S3 names it.
    """
    sent = await send(W, request("PUT", "/b/d", [(COPY, "/b/k?versionId=")]))

    assert b"<Message>Version id cannot be the empty string</Message>" in sent.response.body


@pytest_twisted.ensureDeferred
async def test_a_copy_may_say_that_it_is_private() -> None:
    """
    Without an ACL the copy is private.
    """
    sent = await send(W, request("PUT", "/b/d", [(COPY, "/b/k"), ("x-amz-acl", "private")]))

    assert sent.head.fields.value(COPY.encode()) == b"/b/k"


# Values


@pytest.mark.parametrize("carrier", ["V4 header", "V2 header"])
@pytest.mark.parametrize("name", FAMILY)
@pytest_twisted.ensureDeferred
async def test_equal_headers_are_one_line(name: str, carrier: str) -> None:
    """
    F16: of two equal lines Walrus signs one, and the gateway both.
    """
    sent = await send(name, request("PUT", "/b/k", [("x-amz-meta-a", "1"), ("x-amz-meta-a", "1")], carrier))

    assert sent.head.fields[b"x-amz-meta-a"] == (b"1,1",)


@pytest_twisted.ensureDeferred
async def test_a_value_made_of_two_lines_is_measured_whole() -> None:
    """
    F4: the value is one column of the database.
    """
    headers = [("x-amz-meta-a", "z" * 128), ("x-amz-meta-a", "z" * 127)]
    sent = await send(W, request("PUT", "/b/k", headers))

    assert (sent.code, sent.requests) == ("400 MetadataTooLarge", [])


@pytest_twisted.ensureDeferred
async def test_255_characters_are_kept() -> None:
    """
    F4: characters, not bytes. At the gateway S3's own limits hold.
    """
    at_limit = [
        ("x-amz-meta-a", "z" * 255),
        ("Content-Type", "t" * 255),
        ("Content-Disposition", "d" * 255),
    ]
    kept = await send(W, request("PUT", f"/b/{'%C3%BC' * 255}", at_limit))
    longer = await send(G, request("PUT", f"/b/{'k' * 1000}", [("x-amz-meta-a", "z" * 1000)]))

    assert kept.head.raw_target == b"/services/Walrus/b/" + b"%C3%BC" * 255
    assert longer.head.fields.value(b"x-amz-meta-a") == b"z" * 1000


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
@pytest_twisted.ensureDeferred
async def test_a_long_key_that_is_not_written_is_asked_for(method: str) -> None:
    """
    There is no such object: the client gets the error of the storage system, in S3's words.
    """
    sent = await send(W, request(method, f"/b/{'k' * 256}"))

    assert sent.head.method == method.encode()


@pytest_twisted.ensureDeferred
async def test_a_body_in_chunks_is_not_coded() -> None:
    """
    F8: ``aws-chunked`` is not a coding of the object, and ``identity`` is not a coding at all.
    """
    made = Signer().put("/b/k", b"hello", UNSIGNED_TRAILER)
    chunked = await send(W, made.head, made.body)
    plain = await send(W, request("PUT", "/b/k", [("Content-Encoding", "identity")]))

    assert (chunked.bodies, b"content-encoding" in chunked.head.fields) == ([b"hello"], False)
    assert plain.response.status == 200


@pytest_twisted.ensureDeferred
async def test_the_coding_beside_the_chunks_is_refused() -> None:
    """
    F8: gzip under aws-chunked would be read back as plain data.
    """
    signer = Signer()
    wire = signer.encode(b"hello", UNSIGNED_TRAILER, "", 65536)
    headers = {
        "content-encoding": "gzip,aws-chunked",
        "x-amz-decoded-content-length": "5",
        "x-amz-trailer": "x-amz-checksum-crc32",
    }
    length = {"Content-Length": str(len(wire))}
    head = signer.head("PUT", "/b/k", headers, payload=UNSIGNED_TRAILER, unsigned=length)[0]
    sent = await send(W, head, wire)
    kept = await send(G, head, wire)

    assert (sent.code, sent.requests) == ("501 NotImplemented", [])
    assert (kept.bodies, kept.head.fields.value(b"content-encoding")) == ([b"hello"], b"gzip")


LOSSY = [("Cache-Control", "no-cache"), ("Expires", DATE), ("Content-Language", "en")]


@pytest.mark.parametrize("carrier", CARRIERS)
@pytest.mark.parametrize("name", [W, B])
@pytest_twisted.ensureDeferred
async def test_a_lost_header_is_counted(name: str, carrier: str) -> None:
    """
    F8: what the storage system does not keep is not sent, and a counter tells the operator how often.
    """
    sent = await send(name, request("PUT", "/b/k", LOSSY, carrier))
    read = await send(name, request("GET", "/b/k", LOSSY, carrier))

    names = {"cache-control", "expires", "content-language"}
    assert names.isdisjoint(header.decode() for header in sent.head.fields)
    assert sent.counts.lost_headers == dict.fromkeys([("test", each) for each in names], 1)
    assert read.counts.lost_headers == {}


@pytest.mark.parametrize("carrier", CARRIERS)
@pytest.mark.parametrize("headers", [(), ((COPY, "/b/k"),)], ids=["put", "copy"])
@pytest.mark.parametrize("name", FAMILY)
@pytest_twisted.ensureDeferred
async def test_a_lost_property_is_counted(name: str, headers: Headers, carrier: str) -> None:
    """
    There is one storage class, and no redirect. A copy may ask for both without new metadata.
    """
    redirect = ("x-amz-website-redirect-location", "/other")
    raw = request("PUT", "/b/d", [*headers, ("x-amz-storage-class", "GLACIER"), redirect], carrier)
    sent = await send(name, raw)
    refused = await send(name, raw, profile=_refusing(name))
    plain_headers = [*headers, ("x-amz-storage-class", "STANDARD")]
    plain = await send(name, request("PUT", "/b/d", plain_headers, carrier), profile=_refusing(name))

    names = {"x-amz-storage-class", "x-amz-website-redirect-location"}
    assert names.isdisjoint(header.decode() for header in sent.head.fields)
    assert sent.counts.lost_headers == dict.fromkeys([("test", each) for each in names], 1)
    assert (refused.code, refused.requests) == ("501 NotImplemented", [])
    assert (plain.response.status, plain.counts.lost_headers) == (200, {})


@pytest.mark.parametrize("name", [W, G])
@pytest_twisted.ensureDeferred
async def test_rights_that_are_kept_are_sent(name: str) -> None:
    """
    An ACL that is one of S3's canned ones.
    """
    sent = await send(name, request("PUT", "/b/k", [("x-amz-acl", "public-read")]))

    assert sent.head.fields.value(b"x-amz-acl") == b"public-read"


@pytest.mark.parametrize("carrier", CARRIERS)
@pytest.mark.parametrize("header", LOSSY, ids=_id)
@pytest_twisted.ensureDeferred
async def test_a_header_that_would_be_lost_is_refused_on_request(header: tuple[str, str], carrier: str) -> None:
    """
    F8: with ``lossy_headers = "refuse"``.
    """
    sent = await send(W, request("PUT", "/b/k", [header], carrier), profile=_refusing(W))
    plain = await send(W, request("PUT", "/b/k", (), carrier), profile=_refusing(W))

    assert (sent.code, sent.requests) == ("501 NotImplemented", [])
    assert plain.response.status == 200


def _refusing(name: str) -> Profile:
    backend = {"name": "a", "url": "http://127.0.0.1:1", "profile": name, "signature": "none"}
    settings = make_settings({"backend": [{**backend, "lossy_headers": "refuse"}]}, Path())
    made = make_backend(settings.backends[0], settings, reactor)
    return replace(made.account.profile, service_path=PROFILES[name].service_path)


@pytest_twisted.ensureDeferred
async def test_a_copy_does_not_change_its_type() -> None:
    """
    F14: REPLACE replaces the metadata only. The lost type is counted, or refused.
    """
    headers = [(COPY, "/b/k"), ("x-amz-metadata-directive", "REPLACE"), ("Content-Type", "text/x")]
    raw = request("PUT", "/b/d", headers)
    sent, refused = await send(W, raw), await send(W, raw, profile=_refusing(W))
    other = await send(W, request("PUT", "/b/d", [headers[0], headers[2]]), profile=_refusing(W))

    assert sent.counts.lost_headers == {("test", "content-type"): 1}
    assert b"content-type" not in sent.head.fields
    assert (refused.code, refused.requests) == ("501 NotImplemented", [])
    assert other.response.status == 200


@pytest_twisted.ensureDeferred
async def test_the_gateway_finds_headers_by_their_spelling() -> None:
    """
    The gateway stores ``Cache-Control``, and not ``cache-control``.
    """
    sent = await send(G, request("PUT", "/b/k", [("cache-control", "no-cache"), ("content-ENCODING", "gzip")]))

    names = [name for name, _ in sent.head.headers]
    assert {b"Cache-Control", b"Content-Encoding"} <= set(names)


# Sizes


async def _size_of(name: str, header_size: int, key: str = "k") -> tuple[str, int, int]:
    sent = await send(name, request("PUT", f"/b/{key}", [("User-Agent", "z" * header_size)]))
    if not sent.requests:
        return sent.code, 0, 0
    head = sent.head
    line = len(head.method) + len(head.raw_target) + len(b"  HTTP/1.1")
    return sent.code, line, sum(len(field) + len(value) + 4 for field, value in head.headers)


@pytest.mark.parametrize("name", FAMILY)
@pytest_twisted.ensureDeferred
async def test_a_head_is_measured_with_our_signature(name: str) -> None:
    """
    F18: 8,192 bytes of header lines pass, including those that s3proxy adds; one more is refused.
    """
    _, _, size = await _size_of(name, 5000)
    fits = await _size_of(name, 5000 + 8192 - size)
    above = await _size_of(name, 5001 + 8192 - size)

    assert (fits[0], fits[2], above) == ("200", 8192, ("400 RequestHeaderSectionTooLarge", 0, 0))


@pytest_twisted.ensureDeferred
async def test_a_line_is_measured_with_the_service_path() -> None:
    """
    F18: 4,096 bytes of a first line pass.
    """
    results = []
    for size in (1300, 1301):
        prefix = "%C3%BC" * 600 + "m" * (size - 1300)
        start = len("GET /services/Walrus/b?prefix= HTTP/1.1")
        filling = "x" * (4096 - start - 3600 - len("&marker="))
        sent = await send(W, request("GET", f"/b?prefix={prefix}&marker={filling}"))
        results.append((sent.code, len(sent.requests)))

    assert results == [("200", 1), ("400 RequestHeaderSectionTooLarge", 0)]


@pytest_twisted.ensureDeferred
async def test_a_refused_size_is_no_fault_of_the_storage() -> None:
    """
    F18: the request is refused before its body is accepted, and does not count as a failure of the backend.
    """
    read = await send(W, request("GET", "/b/k", [("User-Agent", "z" * 8100)]))
    harness = Harness(profile=PROFILES[W], signature="v2")
    client = await harness.connect()
    head = request("PUT", "/b/k", [("User-Agent", "z" * 8100), ("Expect", "100-continue")], "V2 header")
    client.send(head.replace(b"Content-Length: 0", b"Content-Length: 1000"))
    response = await client.response("PUT")
    await harness.close()

    assert response is not None
    assert (response.status, read.counts.aborted) == (400, {})
    assert (harness.backend.requests, harness.proxy.context.counts.aborted) == ([], {})


def test_errors_say_what_is_too_large() -> None:
    """
    The client reads the limit.
    """
    harness_error: S3Error
    with pytest.raises(S3Error) as raised:
        _check(W, "/b/" + "k" * 256)
    harness_error = raised.value

    document = error_document(harness_error, "1", "h")
    assert b"<Size>256</Size><MaxSizeAllowed>255</MaxSizeAllowed>" in document


def _check(name: str, target: str) -> None:
    from s3proxy.mending.restrictions import check_restrictions
    from s3proxy.s3.address import parse_address
    from s3proxy.s3.classification import classify
    from s3proxy.s3.head import parse_request_head

    head = parse_request_head(request("PUT", target).removesuffix(b"\r\n\r\n"))
    address = parse_address(head.raw_path, head.host, ())
    check_restrictions(PROFILES[name], head, address, classify(head, address))
