"""
What the fuzz found, each as small as it became.
"""

from __future__ import annotations

import pytest

from tests.fuzz.grammar import Draft
from tests.fuzz.signing import Attacker
from tests.harness import NOW, SERVER
from tests.memory import MemoryProxy, Verdict

_KEY = SERVER["credentials"][0]
ATTACKER = Attacker(_KEY["access_key"], _KEY["secret_key"], NOW)
KEY = b"/test-bucket/k"


def sent(draft: Draft, profile: str = "generic") -> Verdict:
    """
    Send a request that is signed for what it is.
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
    Brackets stand around an IPv6 address and nowhere else, and what follows a colon is a port.
    """
    verdict = sent(Draft(carrier, b"GET", KEY, host=host))

    assert (verdict.codes, verdict.stored) == (("BadRequest",), ())


@pytest.mark.parametrize(
    "host", [b"[::1]", b"[::1]:9000", b"127.0.0.1:9000", b"a_b.test", b"S3.example.test.:80", b"a:"]
)
def test_hosts_that_are(host: bytes) -> None:
    """
    Every way to write one goes on.
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
    Two readers would append at two places.
    """
    verdict = sent(Draft("v4-header", b"PUT", KEY, items, body=b"hello"), "ceph-rgw")

    assert (verdict.codes, verdict.stored) == (("InvalidArgument",), ())


@pytest.mark.parametrize(
    "name", [b"content-disposition", b"cache-control", b"content-language", b"expires", b"x-amz-meta-a"]
)
@pytest.mark.parametrize("carrier", ["v4-header", "v2-header", "v4-query", "v2-query"])
def test_two_lines_of_a_header(carrier: str, name: bytes) -> None:
    """
    A backend gets one line, with what the signature counts: of two it may read the first or the last.
    """
    draft = Draft(carrier, b"PUT", KEY, headers=[(name, b"a"), (name.upper(), b"b")], body=b"hello", payload="unsigned")

    (stored,) = sent(draft).stored

    assert stored.head.fields[name] == [b"a,b"]


@pytest.mark.parametrize(
    "codings", [(b"aws-chunked", b"gzip"), (b"gzip", b"aws-chunked"), (b"aws-chunked,gzip", b"aws-chunked")]
)
def test_two_lines_of_a_coding(codings: tuple[bytes, bytes]) -> None:
    """
    aws-chunked is struck from both before they become one.
    """
    headers = [(b"content-encoding", coding) for coding in codings]
    draft = Draft("v4-header", b"PUT", KEY, headers=headers, body=b"hello", payload="signed chunks")

    (stored,) = sent(draft).stored

    assert stored.head.fields[b"content-encoding"] == [b"gzip"]
    assert stored.body == b"hello"
