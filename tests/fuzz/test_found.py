"""
The findings of the fuzz tests, each in its smallest form.
"""

from __future__ import annotations

import pytest

from tests.fuzz.grammar import Draft
from tests.fuzz.signing import Attacker
from tests.support.harness import NOW, SERVER
from tests.support.memory import MemoryProxy, Verdict

_KEY = SERVER["credentials"][0]
ATTACKER = Attacker(_KEY["access_key"], _KEY["secret_key"], NOW)
KEY = b"/test-bucket/k"


def sent(draft: Draft, profile: str = "generic") -> Verdict:
    """
    Send a correctly signed request.
    """
    return MemoryProxy(profile=profile).send(ATTACKER.encode(draft))


@pytest.mark.parametrize("carrier", ["v4-header", "v2-header", "v4-query", "v2-query", "anonymous"])
@pytest.mark.parametrize(
    "host",
    [
        b"S3.EXAMPLE.TES[]T",
        b"[s3.example.test]",
        b"[::1%3A%201%0D%0A%0D%0AGET%20%2Fother-bucket%2Fsecret]",
        b"[::1]a",
        b"[::1",
        b"a:b:80",
        b"a:80a",
    ],
)
def test_a_host_is_a_name_or_an_address(host: bytes, carrier: str) -> None:
    """
    Brackets may only surround an IPv6 address, and what follows a colon is a port.
    """
    verdict = sent(Draft(carrier, b"GET", KEY, host=host))

    assert (verdict.codes, verdict.stored) == (("BadRequest",), ())


@pytest.mark.parametrize(
    "host", [b"[::1]", b"[::1]:9000", b"127.0.0.1:9000", b"a_b.test", b"S3.example.test.:80", b"a:"]
)
def test_hosts_that_are(host: bytes) -> None:
    """
    Every valid form of a host is forwarded.
    """
    assert sent(Draft("v4-header", b"GET", KEY, host=host)).statuses == (200,)


@pytest.mark.parametrize("carrier", ["v4-header", "v4-query", "v2-header", "v2-query"])
@pytest.mark.parametrize("items", [[b"list-type=2", b"list-type=x"], [b"list-type=x", b"list-type=2"]])
def test_two_list_types(items: list[bytes], carrier: str) -> None:
    """
    One reader lists by the first version and another by the second.
    """
    verdict = sent(Draft(carrier, b"GET", b"/test-bucket", items))

    assert (verdict.codes, verdict.stored) == (("InvalidArgument",), ())


@pytest.mark.parametrize("items", [[b"append", b"position=0", b"position=5"], [b"append", b"append=", b"position=0"]])
def test_a_repeated_parameter_of_an_extension(items: list[bytes]) -> None:
    """
    Two readers would append at two different places.
    """
    verdict = sent(Draft("v4-header", b"PUT", KEY, items, body=b"hello"), "ceph-rgw")

    assert (verdict.codes, verdict.stored) == (("InvalidArgument",), ())


@pytest.mark.parametrize(
    "name", [b"content-disposition", b"cache-control", b"content-language", b"expires", b"x-amz-meta-a"]
)
@pytest.mark.parametrize("carrier", ["v4-header", "v2-header", "v4-query", "v2-query"])
def test_two_lines_of_a_header(carrier: str, name: bytes) -> None:
    """
    A backend gets one line, with the value that the signature covers: of two lines it may read the first or the last.
    """
    draft = Draft(carrier, b"PUT", KEY, headers=[(name, b"a"), (name.upper(), b"b")], body=b"hello", payload="unsigned")

    (stored,) = sent(draft).stored

    assert stored.head.fields[name] == (b"a,b",)


@pytest.mark.parametrize(
    "codings", [(b"aws-chunked", b"gzip"), (b"gzip", b"aws-chunked"), (b"aws-chunked,gzip", b"aws-chunked")]
)
def test_two_lines_of_a_coding(codings: tuple[bytes, bytes]) -> None:
    """
    aws-chunked is removed from both before they are joined.
    """
    headers = [(b"content-encoding", coding) for coding in codings]
    draft = Draft("v4-header", b"PUT", KEY, headers=headers, body=b"hello", payload="signed chunks")

    (stored,) = sent(draft).stored

    assert stored.head.fields[b"content-encoding"] == (b"gzip",)
    assert stored.body == b"hello"


SOURCES = {
    "a broken escape": b"/test-bucket/k%zz",
    "a broken escape at the end": b"/test-bucket/k%",
    "a broken escape in the bucket": b"/test%-bucket/k",
    "no UTF-8": b"/test-bucket/%ff",
    "another parameter": b"/test-bucket/k?x=1",
    "an escaped parameter": b"/test-bucket/k?versio%25nId=1",
    "two parameters": b"/test-bucket/k?versionId=1&x=2",
    "two queries": b"/test-bucket/k?versionId=1?versionId=2",
    "a query without a value": b"/test-bucket/k?versionId",
    "an empty query": b"/test-bucket/k?",
}
COPIES = {"CopyObject": [], "UploadPartCopy": [b"partNumber=1", b"uploadId=a"]}


@pytest.mark.parametrize("carrier", ["v4-header", "v2-header", "v4-query", "v2-query"])
@pytest.mark.parametrize("operation", COPIES)
@pytest.mark.parametrize("source", SOURCES)
def test_a_copy_source_that_two_readers_read_otherwise(source: str, operation: str, carrier: str) -> None:
    """
    Ceph 16.2 copies "k" for "k%", and stores an empty part for "k%zz".
    """
    headers = [(b"x-amz-copy-source", SOURCES[source])]
    verdict = sent(Draft(carrier, b"PUT", KEY, list(COPIES[operation]), headers, payload="unsigned"))

    assert (verdict.codes, verdict.stored) == (("InvalidArgument",), ())


@pytest.mark.parametrize(
    "source", [b"test-bucket/k?versionId=null", b"/test-bucket/%C3%A9?versionId=a.b-c_D9", b"/b/a+b"]
)
def test_copy_sources_that_are(source: bytes) -> None:
    """
    A version, and a key with any letters.
    """
    for items in COPIES.values():
        verdict = sent(Draft("v4-header", b"PUT", KEY, list(items), [(b"x-amz-copy-source", source)]), "ceph-rgw")
        assert verdict.statuses == (200,)


@pytest.mark.parametrize(
    "source",
    [
        b"/test-bucket/%25",
        b"/test-bucket/100%25",
        b"/test-bucket/a%2541",
        b"/test-bucket/%3FversionId=x",
        b"/other%252Dbucket/k",
    ],
)
def test_ceph_decodes_the_source_of_a_part_twice(source: bytes) -> None:
    """
    It would copy another object, and a key that is empty after the second decoding crashes the gateway. CopyObject is
    forwarded, because Ceph decodes its source once.
    """
    headers = [(b"x-amz-copy-source", source)]
    part = sent(Draft("v4-header", b"PUT", KEY, list(COPIES["UploadPartCopy"]), headers), "ceph-rgw")
    whole = sent(Draft("v4-header", b"PUT", KEY, [], headers), "ceph-rgw")

    assert (part.codes, part.stored) == (("NotImplemented",), ())
    assert whole.statuses == (200,)


@pytest.mark.parametrize("path", [b"/:test-bucket/k", b"/tenant:test-bucket/k", b"/%3atest-bucket/k", b"/:test-bucket"])
def test_a_second_name_of_a_bucket(path: bytes) -> None:
    """
    Ceph reads ":bucket" as "bucket": access rules and routes would not match it.
    """
    for draft in (
        Draft("v4-header", b"GET", path),
        Draft("v4-header", b"PUT", KEY, [], [(b"x-amz-copy-source", path + b"/k")]),
    ):
        verdict = sent(draft, "ceph-rgw")
        assert (verdict.codes, verdict.stored) == (("InvalidBucketName",), ())


def test_a_listing_parameter_beside_a_sub_resource() -> None:
    """
    GetBucketAcl remains GetBucketAcl at Walrus, whose listings are of the first version.
    """
    verdict = sent(Draft("v4-header", b"GET", b"/test-bucket", [b"acl", b"list-type=2", b"prefix=a"]), "walrus-3.4")

    # The backend of these tests returns no documents, so its response is not used.
    (request,) = verdict.stored
    assert request.head.raw_query == b"acl"
