"""
Keys that a storage system would store under another name never reach it.
"""

from __future__ import annotations

import base64
import hashlib
from urllib.parse import quote

import pytest
import pytest_twisted

from s3proxy.profiles.known import PROFILES
from tests.support.forms import BUCKET, form_request, multipart, v4_fields
from tests.support.harness import Harness
from tests.support.signer import HASH, Signer

VERSITYGW = PROFILES["versitygw"]

REFUSED = [
    b"a//b",
    b"/lead",
    b"/",
    b"//",
    b"trail//",
    b"a/./b",
    b"./a",
    b".",
    b"..",
    b"a/../b",
    b"../up",
    b"a/..",
    b"a/.",
    b"x/../../up",
    b".sgwtmp",
    b".sgwtmp/x",
    b"\x01",
    b"a\x1f",
    b"nul\0x",
    "\ufffe".encode(),
    "x\uffff".encode(),
]
HELD = [
    b"a",
    b"a/b",
    b"trail/",
    b"...",
    b".../a",
    b"..a/b",
    b"a../b",
    b".a",
    b"a/.b",
    b".sgwtmpx",
    b"a/.sgwtmp",
    b"a\nb\t\r",
]


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "POST"])
@pytest.mark.parametrize("key", REFUSED)
@pytest_twisted.ensureDeferred
async def test_a_key_is_refused_before_the_backend(key: bytes, method: str) -> None:
    """
    For any method, and in any escaped form.
    """
    for safe in ("/-_.~", ""):
        harness = Harness(profile=VERSITYGW)
        target = f"/test-bucket/{quote(key, safe=safe)}" + ("?uploads" if method == "POST" else "")
        response = await harness.request(Signer().head(method, target, unsigned={"Content-Length": "0"})[0])
        await harness.close()

        assert response.status == 400
        assert method == "HEAD" or b"<Code>InvalidArgument</Code>" in response.body
        assert harness.backend.requests == []


@pytest.mark.parametrize("key", HELD)
@pytest_twisted.ensureDeferred
async def test_other_keys_pass(key: bytes) -> None:
    """
    They pass as they were sent.
    """
    harness = Harness(profile=VERSITYGW)
    target = f"/test-bucket/{quote(key)}"
    request = Signer().put(target, b"hello", HASH)
    response = await harness.request(request.head, request.body)
    await harness.close()

    assert response.status == 200
    assert harness.backend.requests[0].head.raw_target == target.encode()


@pytest.mark.parametrize("key", [key for key in REFUSED if key.strip(b"/")])
@pytest.mark.parametrize("before", ["", "/"])
@pytest_twisted.ensureDeferred
async def test_a_copys_source_is_refused(key: bytes, before: str) -> None:
    """
    ``bucket/../other/key`` would name another bucket.
    """
    harness = Harness(profile=VERSITYGW)
    source = f"{before}test-bucket/{quote(key)}?versionId=x"
    head = Signer().head("PUT", "/test-bucket/k", {"x-amz-copy-source": source}, unsigned={"Content-Length": "0"})[0]
    response = await harness.request(head)
    await harness.close()

    assert response.status == 400
    assert b"<Code>InvalidArgument</Code>" in response.body
    assert harness.backend.requests == []


DOCUMENTS = {
    "plain": (b"<Delete><Object><Key>ok</Key></Object><Object><Key>a//b</Key></Object></Delete>", "InvalidArgument"),
    "entities": (b"<Delete><Object><Key>a&#47;&#x2f;b</Key></Object></Delete>", "InvalidArgument"),
    "a section": (b"<Delete><Object><Key>a<![CDATA[//]]>b</Key></Object></Delete>", "InvalidArgument"),
    "a comment": (b"<Delete><Object><Key>a/<!-- -->/b</Key></Object></Delete>", "InvalidArgument"),
    "a name space": (b'<d:Delete xmlns:d="x"><d:Object><d:Key>..</d:Key></d:Object></d:Delete>', "InvalidArgument"),
    "a document type": (
        b'<!DOCTYPE d [<!ENTITY e "//">]><Delete><Object><Key>a&e;b</Key></Object></Delete>',
        "MalformedXML",
    ),
    "no XML": (b"<Delete><Object><Key>a//b</Key>", "MalformedXML"),
    "another width": ("<Delete><Object><Key>a//b</Key></Object></Delete>".encode("utf-16"), "MalformedXML"),
    "an unknown encoding": (b'<?xml version="1.0" encoding="x-y"?><Delete/>', "MalformedXML"),
    "right": (b"<Delete><Object><Key>a/b</Key></Object><Object><Key>a/..b</Key></Object></Delete>", ""),
}


@pytest.mark.parametrize("name", DOCUMENTS)
@pytest_twisted.ensureDeferred
async def test_keys_of_a_document_are_refused(name: str) -> None:
    """
    DeleteObjects, with keys as an XML reader reads them.
    """
    document, code = DOCUMENTS[name]
    harness = Harness(profile=VERSITYGW)
    md5 = base64.b64encode(hashlib.md5(document).digest()).decode()
    payload = hashlib.sha256(document).hexdigest()
    head = Signer().head(
        "POST",
        "/test-bucket?delete",
        {"content-md5": md5},
        payload=payload,
        unsigned={"Content-Length": str(len(document))},
    )[0]
    response = await harness.request(head, document)
    await harness.close()

    assert (response.status, len(harness.backend.requests)) == ((400, 0) if code else (200, 1))
    assert code.encode() in response.body


@pytest_twisted.ensureDeferred
async def test_a_forms_key_is_refused() -> None:
    """
    This also holds if only the name of its file makes it such a key.
    """
    harness = Harness(profile=VERSITYGW)
    fields = v4_fields([["starts-with", "$key", ""]], key="user/${filename}")
    request = form_request(multipart(fields, b"hello", filename=".."), target=f"/{BUCKET}")
    response = await harness.request(request.head, request.body)
    await harness.close()

    assert response.status == 400
    assert harness.backend.requests == []


@pytest.mark.parametrize(("profile", "status"), [("ceph-rgw", 400), ("generic", 200)])
@pytest_twisted.ensureDeferred
async def test_a_profile_refuses_what_it_says(profile: str, status: int) -> None:
    """
    Ceph can hold every key except one with a NUL.
    """
    harness = Harness(profile=PROFILES[profile])
    nul = await harness.request(Signer().head("GET", "/test-bucket/a%00b")[0])
    dots = await harness.request(Signer().head("GET", "/test-bucket/a/..//b%01")[0])
    await harness.close()

    assert (nul.status, dots.status) == (status, 200)
