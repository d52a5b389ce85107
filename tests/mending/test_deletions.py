"""
The request document of DeleteObjects, the meaning of a response to DELETE, and the document that the client gets.
"""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3proxy.mending.deletions import (
    GONE,
    MAX_MESSAGE_SIZE,
    NOT_ANSWERED,
    Deletion,
    Deletions,
    Outcome,
    is_response_to_all,
    judge_response,
    read_deletions,
    result_document,
)
from s3proxy.profiles.known import PROFILES
from s3proxy.resign.error_documents import MAX_CODE_SIZE
from s3proxy.s3.error_xml import escape_text
from s3proxy.s3.errors import InternalError, MalformedXML
from s3proxy.s3.head import parse_response_head
from s3proxy.s3.limits import MAX_DELETED_OBJECTS

CODES = PROFILES["walrus-3.4"].error_codes
S3 = "http://s3.amazonaws.com/doc/2006-03-01/"
ONE = "<Object><Key>k</Key></Object>"
KEYS = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="".join(map(chr, range(32))) + "\ufffe\uffff")
    | st.sampled_from("\t\n\r&<>\"']"),
    min_size=1,
)


def objects(count: int) -> str:
    return "".join(f"<Object><Key>{number}</Key></Object>" for number in range(count))


@pytest.mark.parametrize(
    ("document", "wanted", "is_quiet"),
    [
        (f"<Delete>{ONE}</Delete>", (Deletion("k"),), False),
        (f'<?xml version="1.0" encoding="UTF-8"?>\n<Delete xmlns="{S3}">\n {ONE}\n</Delete>', (Deletion("k"),), False),
        (f'<d:Delete xmlns:d="{S3}"><d:Object><d:Key>k</d:Key></d:Object></d:Delete>', (Deletion("k"),), False),
        (f"<Delete><Quiet>true</Quiet>{ONE}</Delete>", (Deletion("k"),), True),
        (f"<Delete>{ONE}<Quiet> 1 </Quiet></Delete>", (Deletion("k"),), True),
        (f"<Delete>{ONE}<Quiet>false</Quiet></Delete>", (Deletion("k"),), False),
        (f"<Delete>{ONE}{ONE}</Delete>", (Deletion("k"), Deletion("k")), False),
        ("<Delete><Object><VersionId>v</VersionId><Key>k</Key></Object></Delete>", (Deletion("k", "v"),), False),
        ("<Delete><Object><Key>k</Key><VersionId/></Object></Delete>", (Deletion("k"),), False),
        ("<Delete><Object><Key>k</Key><ETag>x</ETag></Object></Delete>", (Deletion("k", "", (("ETag", "x"),)),), False),
        ("<Delete><Object><Key>k</Key><Size>1</Size></Object></Delete>", (Deletion("k", "", (("Size", "1"),)),), False),
        ("<Delete><Object><Key> a &amp;&#60;<![CDATA[<b>]]>&#13; </Key></Object></Delete>", None, False),
        ("<Delete><Object><Key>a<!-- -->b</Key></Object></Delete>", (Deletion("ab"),), False),
    ],
)
def test_a_document_is_read(document: str, wanted: tuple[Deletion, ...] | None, *, is_quiet: bool) -> None:
    """
    With any prefixes, order and entities; the white space of a key belongs to the key.
    """
    expected = Deletions(wanted or (Deletion(" a &<<b>\r "),), is_quiet)

    assert read_deletions(document.encode()) == expected


@pytest.mark.parametrize(
    "document",
    [
        "",
        "no XML",
        f"<Delete>{ONE}",
        f"<Tagging>{ONE}</Tagging>",
        "<Delete></Delete>",
        "<Delete><Quiet>true</Quiet></Delete>",
        f"<Delete>{objects(MAX_DELETED_OBJECTS + 1)}</Delete>",
        "<Delete><Object></Object></Delete>",
        "<Delete><Object><Key></Key></Object></Delete>",
        "<Delete><Object><Key/><VersionId>v</VersionId></Object></Delete>",
        "<Delete><Object><Key>a</Key><Key>b</Key></Object></Delete>",
        "<Delete><Object><Key>a<Key>b</Key></Key></Object></Delete>",
        "<Delete><Object><Key>a</Key><IfOlderThan>x</IfOlderThan></Object></Delete>",
        "<Delete><Object><Key>a</Key><VersionId>v</VersionId><VersionId>w</VersionId></Object></Delete>",
        f"<Delete>{ONE}<Quiet>maybe</Quiet></Delete>",
        f"<Delete>{ONE}<Quiet>true</Quiet><Quiet>false</Quiet></Delete>",
        f"<Delete>{ONE}<Bucket>other</Bucket></Delete>",
        f'<!DOCTYPE d [<!ENTITY e "x">]><Delete>{ONE}</Delete>',
        "<Delete><Object><Key>a&e;</Key></Object></Delete>",
        "<Delete><Object><Key>\x01</Key></Object></Delete>",
        "<Delete><Object><Key>&#1;</Key></Object></Delete>",
        "<Delete><Object><Key>nul\0</Key></Object></Delete>",
        f'<?xml version="1.0" encoding="x-y"?><Delete>{ONE}</Delete>',
    ],
)
def test_a_document_is_refused(document: str) -> None:
    """
    An unknown element is not ignored: that could delete more than was meant. An empty key would name the bucket.
    """
    with pytest.raises(MalformedXML):
        read_deletions(document.encode())


def test_a_thousand_are_taken() -> None:
    """
    And no more: see above.
    """
    assert (
        len(read_deletions(f"<Delete>{objects(MAX_DELETED_OBJECTS)}</Delete>".encode()).wanted) == MAX_DELETED_OBJECTS
    )


def test_the_longest_document_is_read() -> None:
    """
    A thousand objects, each with every element that S3 has for one.
    """
    names = ("VersionId", "ETag", "LastModifiedTime", "Size")
    one = "<Object><Key><![CDATA[k]]></Key>" + "".join(f"<{name}>1</{name}>" for name in names) + "</Object>"

    assert len(read_deletions(f"<Delete>{one * MAX_DELETED_OBJECTS}</Delete>".encode()).wanted) == MAX_DELETED_OBJECTS


def error(code: str, message: str = "<Message>m</Message>") -> bytes:
    return f"<Error><Code>{code}</Code>{message}</Error>".encode()


@pytest.mark.parametrize(
    ("head", "document", "outcome"),
    [
        ("204 No Content", b"", GONE),
        ("200 OK", b"whatever", GONE),
        ("204 x\r\nx-amz-version-id: v", b"", GONE),
        ("204 x\r\nx-amz-delete-marker: true\r\nx-amz-version-id: v", b"", Outcome(marker="v")),
        ("204 x\r\nx-amz-delete-marker: true", b"", Outcome(marker="")),
        ("404 Not Found", error("NoSuchKey"), GONE),
        ("404 Not Found", error("NoSuchEntity"), GONE),
        ("400 Bad Request", error("NoSuchKey"), Outcome("NoSuchKey", "m")),
        ("404 Not Found", error("NoSuchVersion"), Outcome("NoSuchVersion", "m")),
        ("404 Not Found", b"<html>no such page</html>", NOT_ANSWERED),
        ("404 Not Found", b"", NOT_ANSWERED),
        ("403 Forbidden", error("AccessDenied", "<Message>a &lt;b&gt; &amp;</Message>"), None),
        ("403 Forbidden", error("AccessDenied", ""), Outcome("AccessDenied", "")),
        ("500 x", error("UNKNOWN"), Outcome("InternalError", "m")),
        ("400 x", error("ContentMismatch"), Outcome("BadDigest", "m")),
        ("307 x", error("TemporaryRedirect"), Outcome("TemporaryRedirect", "m")),
        ("500 x", error("C" * (MAX_CODE_SIZE + 1)), NOT_ANSWERED),
        (
            "500 x",
            error("Long", f"<Message>{'m' * 9999}</Message>"),
            Outcome("Long", "m" * MAX_MESSAGE_SIZE),
        ),
    ],
)
def test_a_response_is_judged(head: str, document: bytes, outcome: Outcome | None) -> None:
    """
    An object is gone if it was deleted or did not exist. Any other status is an error, even if S3 has no code for it.
    """
    response = parse_response_head(f"HTTP/1.1 {head}".encode())

    assert judge_response(response, document, CODES) == (outcome or Outcome("AccessDenied", "a <b> &"))


@pytest.mark.parametrize(
    ("head", "document", "outcome"),
    [
        ("400 x", error("null", "<Message>java.lang.Boom</Message>"), NOT_ANSWERED),
        (
            "500 x",
            error("UNKNOWN", "<Message>java.lang.Boom</Message>"),
            Outcome("InternalError", InternalError.default_message),
        ),
        ("403 x", b"", Outcome("AccessDenied", "Access Denied")),
        ("403 x", error("AccessDenied", "<Message>No.</Message>"), Outcome("AccessDenied", "No.")),
        ("404 x", b"", NOT_ANSWERED),
        ("404 x", b"<html>no such page</html>", NOT_ANSWERED),
        ("404 x", error("NoSuchEntity"), GONE),
        ("307 x", b"", NOT_ANSWERED),
    ],
)
def test_a_response_of_a_storage_with_errors_of_its_own(head: str, document: bytes, outcome: Outcome) -> None:
    """
    The client gets S3's codes, and no class names of the storage system.
    """
    response = parse_response_head(f"HTTP/1.1 {head}".encode())

    assert judge_response(response, document, CODES, writes_own_errors=True) == outcome


@pytest.mark.parametrize(("status", "is_gone"), [(199, False), (200, True), (204, True), (299, True), (300, False)])
def test_which_answers_are_a_success(status: int, *, is_gone: bool) -> None:
    """
    2xx, and no other ("RFC 9110", section 15).
    """
    response = parse_response_head(b"HTTP/1.1 %d x" % status)

    assert judge_response(response, b"", CODES) == (GONE if is_gone else NOT_ANSWERED)


@pytest.mark.parametrize(
    ("status", "document", "code"),
    [
        (399, b"", "InternalError"),
        (400, b"", "InvalidRequest"),
        (401, b"", "AccessDenied"),
        (404, error("unheardof"), "NoSuchKey"),
    ],
)
def test_a_refusal_without_a_code_of_s3(status: int, document: bytes, code: str) -> None:
    """
    The status gives the error, and the error is about the object. A redirection is not a refusal.
    """
    response = parse_response_head(b"HTTP/1.1 %d x" % status)

    assert judge_response(response, document, CODES, writes_own_errors=True).code == code


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (404, "NoSuchBucket", True),
        (403, "SignatureDoesNotMatch", True),
        (403, "InvalidAccessKeyId", True),
        (403, "RequestTimeTooSkewed", True),
        (403, "AccessDenied", False),
        (404, "NoSuchKey", False),
        (404, "NoSuchEntity", False),
        (500, "InternalError", False),
        (204, "NoSuchBucket", False),
    ],
)
def test_some_responses_are_about_all(status: int, code: str, *, expected: bool) -> None:
    """
    A missing bucket, and the backend's errors about s3proxy's own signature.
    """
    assert is_response_to_all(parse_response_head(b"HTTP/1.1 %d x" % status), error(code)) is expected


def test_the_responses_document() -> None:
    """
    As S3 writes it, in the order of the request.
    """
    deletions = Deletions((Deletion("a<&>"), Deletion("b", "v"), Deletion("c", "w"), Deletion("d"), Deletion("e")))
    outcomes = [GONE, Outcome("AccessDenied", "no & <never>"), GONE, Outcome(marker="m"), Outcome(marker="")]

    assert result_document(deletions, outcomes).decode() == (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<DeleteResult xmlns="{S3}"><Deleted><Key>a&lt;&amp;&gt;</Key></Deleted>'
        "<Error><Key>b</Key><VersionId>v</VersionId><Code>AccessDenied</Code>"
        "<Message>no &amp; &lt;never&gt;</Message></Error>"
        "<Deleted><Key>c</Key><VersionId>w</VersionId></Deleted>"
        "<Deleted><Key>d</Key><DeleteMarker>true</DeleteMarker>"
        "<DeleteMarkerVersionId>m</DeleteMarkerVersionId></Deleted>"
        "<Deleted><Key>e</Key><DeleteMarker>true</DeleteMarker></Deleted></DeleteResult>"
    )


def test_the_responses_document_where_only_errors_are_wanted() -> None:
    """
    Deleted objects are not listed.
    """
    wanted = (Deletion("a"), Deletion("b"))

    told = result_document(Deletions(wanted, is_quiet=True), [GONE, NOT_ANSWERED]).decode()
    nothing = result_document(Deletions(wanted, is_quiet=True), [GONE, GONE]).decode()

    assert ("<Deleted>" in told, "<Key>a<" in told) == (False, False)
    assert "<Error><Key>b</Key><Code>InternalError</Code>" in told
    assert nothing.endswith(f'<DeleteResult xmlns="{S3}"></DeleteResult>')


@pytest.mark.parametrize("outcomes", [[GONE], [GONE] * 3])
def test_no_object_is_left_out_of_the_response(outcomes: list[Outcome]) -> None:
    """
    A client would take an object that is not listed as deleted, or would wait for it.
    """
    with pytest.raises(ValueError, match="zip"):
        result_document(Deletions((Deletion("a"), Deletion("b"))), outcomes)


@given(keys=st.lists(KEYS, min_size=1, max_size=5))
def test_every_key_comes_back(keys: list[str]) -> None:
    """
    With any characters that XML can hold, the response has the key that was read, and is still one document.
    """
    document = "".join(f"<Object><Key>{escape_text(key)}</Key></Object>" for key in keys)

    deletions = read_deletions(f"<Delete>{document}</Delete>".encode())
    told = ElementTree.fromstring(result_document(deletions, [GONE] * len(keys)))

    assert [deletion.key for deletion in deletions.wanted] == keys
    assert [element.text for element in told.iter(f"{{{S3}}}Key")] == keys
