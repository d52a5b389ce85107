"""
Documents of requests to the Eucalyptus family: written as the storage system reads them, or refused before they are
sent.

What it does with them is known from its source: see `s3proxy.mending.documents`.
"""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted

from s3proxy.mending.documents import check_part_order, write_document
from s3proxy.profiles.known import PROFILES
from s3proxy.s3.document import local_name, parse_document
from s3proxy.s3.errors import InvalidPartOrder, MalformedXML, S3Error
from s3proxy.s3.operation import OPERATIONS
from tests.support.eucalyptus import FAMILY, B, G, Sent, W, send
from tests.support.pair import running_pair
from tests.support.signer import Signer

ALL_USERS = "http://acs.amazonaws.com/groups/global/AllUsers"
XSI = 'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
GRANT = f'<Grant><Grantee {XSI} xsi:type="%s">%s</Grantee><Permission>%s</Permission></Grant>'
OWNERS = GRANT % ("CanonicalUser", "<ID>1</ID>", "FULL_CONTROL")
RIGHTS = "<AccessControlPolicy><AccessControlList>%s</AccessControlList></AccessControlPolicy>"
RULE = "<Rule><ID>a</ID>%s<Status>Enabled</Status><Expiration><Days>1</Days></Expiration></Rule>"
RULES = "<LifecycleConfiguration>%s</LifecycleConfiguration>"
LOGGED = "<BucketLoggingStatus><LoggingEnabled>%s</LoggingEnabled></BucketLoggingStatus>"
NO_METHOD = "<CORSRule><AllowedOrigin>*</AllowedOrigin></CORSRule>"
ORIGIN = "<CORSRule><AllowedOrigin>%s</AllowedOrigin><AllowedMethod>GET</AllowedMethod></CORSRule>"

ACL, VERSIONING, LIFECYCLE = "PutObjectAcl", "PutBucketVersioning", "PutBucketLifecycleConfiguration"
LOGGING, CORS, TAGGING, DELETE, CREATE = (
    "PutBucketLogging",
    "PutBucketCors",
    "PutBucketTagging",
    "DeleteObjects",
    "CreateBucket",
)
TARGETS = {
    ACL: "/b/k?acl",
    VERSIONING: "/b?versioning",
    LIFECYCLE: "/b?lifecycle",
    LOGGING: "/b?logging",
    CORS: "/b?cors",
    TAGGING: "/b?tagging",
    DELETE: "/b?delete",
    CREATE: "/b",
}


def inner(document: bytes) -> str:
    """
    Return what is between the tags of the root.
    """
    text = document.decode("ascii")
    start = text.index(">", text.index("xmlns=")) + 1
    return text[start : text.rindex("</")]


WRITTEN = [
    # operation, the client's document, the inside of the backend's document
    (ACL, RIGHTS % OWNERS, f"<AccessControlList>{OWNERS}</AccessControlList>"),
    (ACL, RIGHTS % "", "<AccessControlList></AccessControlList>"),
    (
        ACL,
        RIGHTS.replace("<AccessControlList>", "<Owner><ID>1</ID></Owner><AccessControlList>") % "",
        "<Owner><ID>1</ID></Owner><AccessControlList></AccessControlList>",
    ),
    (
        ACL,
        RIGHTS % (GRANT % ("x", "<EmailAddress>a@b</EmailAddress>", "READ")),
        "<AccessControlList>%s</AccessControlList>"
        % (GRANT % ("AmazonCustomerByEmail", "<EmailAddress>a@b</EmailAddress>", "READ")),
    ),
    (
        ACL,
        RIGHTS % (GRANT % ("Group", f"<URI>{ALL_USERS}</URI>", "<!-- all -->RE<![CDATA[AD]]>")),
        "<AccessControlList>%s</AccessControlList>" % (GRANT % ("Group", f"<URI>{ALL_USERS}</URI>", "READ")),
    ),
    (
        VERSIONING,
        "<VersioningConfiguration><Status> Enabled\n</Status></VersioningConfiguration>",
        "<Status>Enabled</Status>",
    ),
    (
        VERSIONING,
        "<VersioningConfiguration><MfaDelete>Disabled</MfaDelete><Status>Suspended</Status></VersioningConfiguration>",
        "<Status>Suspended</Status>",
    ),
    (LIFECYCLE, RULES % (RULE % "<Prefix>logs/</Prefix>"), RULE % "<Prefix>logs/</Prefix>"),
    # What today's clients send: the storage system would apply it to the whole bucket.
    (LIFECYCLE, RULES % (RULE % "<Filter><Prefix>logs/</Prefix></Filter>"), RULE % "<Prefix>logs/</Prefix>"),
    (LIFECYCLE, RULES % (RULE % "<Filter/>"), RULE % "<Prefix></Prefix>"),
    (LIFECYCLE, RULES % (RULE % "<Prefix/>").replace(" 1", " 01"), RULE % "<Prefix></Prefix>"),
    (LOGGING, "<BucketLoggingStatus/>", ""),
    (
        LOGGING,
        LOGGED % "<TargetPrefix>\u00fc</TargetPrefix><TargetBucket>t</TargetBucket>",
        "<LoggingEnabled><TargetBucket>t</TargetBucket><TargetPrefix>&#252;</TargetPrefix></LoggingEnabled>",
    ),
    (CORS, f"<CORSConfiguration>{ORIGIN % '*'}</CORSConfiguration>", ORIGIN % "*"),
    (
        TAGGING,
        "<Tagging><TagSet><Tag><Value>\u00fc</Value><Key>a&amp;b</Key></Tag></TagSet></Tagging>",
        "<TagSet><Tag><Key>a&amp;b</Key><Value>&#252;</Value></Tag></TagSet>",
    ),
    (
        DELETE,
        "<Delete><Quiet>1</Quiet><Object><VersionId/><Key> \u00fc&#13;/</Key></Object></Delete>",
        "<Object><Key> &#252;&#13;/</Key></Object><Quiet>true</Quiet>",
    ),
    (
        CREATE,
        "<CreateBucketConfiguration><LocationConstraint> eu </LocationConstraint></CreateBucketConfiguration>",
        "<LocationConstraint>eu</LocationConstraint>",
    ),
]


@pytest.mark.parametrize("form", ["plain", "prefixed", "spaced"])
@pytest.mark.parametrize(("operation", "document", "expected"), WRITTEN)
def test_a_document_is_written_as_it_is_meant(operation: str, document: str, expected: str, form: str) -> None:
    """
    No element has a prefix, no text has a comment or a byte above 0x7F.
    """
    if form == "prefixed":
        if "xsi:" in document:
            document = document.replace(f" {XSI}", "").replace(" xsi:type", " type")
        document = document.replace("</", "</s:").replace("<", "<s:").replace("<s:/s:", "</s:").replace("<s:!", "<!")
        document = document.replace(">", ' xmlns:s="http://s3.amazonaws.com/doc/2006-03-01/">', 1)
        document = document.replace('/ xmlns:s="http://s3.amazonaws.com/doc/2006-03-01/">', ' xmlns:s="x"/>')
    elif form == "spaced":
        document = f'<?xml version="1.0"?>\n<!-- {"x" * 120} -->\n' + document.replace("><", ">\n\t<")
    written = write_document(OPERATIONS[operation], document.encode())
    assert written is not None
    assert inner(written) == expected
    assert local_name(parse_document(written)) == local_name(parse_document(document.encode()))


REFUSED = [
    # A storage system of the family takes each of these for something else, and returns 200.
    (ACL, "<AccessControlPolicy>", "MalformedXML"),
    (ACL, "<!DOCTYPE a><AccessControlPolicy/>", "MalformedXML"),
    (ACL, "<AccessControlPolicy/>", "MalformedACLError"),
    (ACL, "<AccessControlList/>", "MalformedACLError"),
    (ACL, RIGHTS % OWNERS.replace("<Permission>FULL_CONTROL</Permission>", ""), "MalformedACLError"),
    (ACL, RIGHTS % OWNERS.replace("</Grant>", "<Permission>READ</Permission></Grant>"), "MalformedACLError"),
    (ACL, RIGHTS % OWNERS.replace("FULL_CONTROL", "public-read"), "MalformedACLError"),
    (ACL, RIGHTS % OWNERS.replace("<ID>1</ID>", f"<ID>1</ID><URI>{ALL_USERS}</URI>"), "MalformedACLError"),
    (ACL, RIGHTS % OWNERS.replace("<ID>1</ID>", "<ID/>"), "MalformedACLError"),
    (ACL, RIGHTS % OWNERS.replace("<ID>", "<Id>").replace("</ID>", "</Id>"), "MalformedACLError"),
    (ACL, RIGHTS % (OWNERS * 101), "MalformedACLError"),
    (VERSIONING, "<VersioningConfiguration/>", "MalformedXML"),
    (VERSIONING, "<VersioningConfiguration><Status>enabled</Status></VersioningConfiguration>", "MalformedXML"),
    (VERSIONING, "<VersioningConfiguration><Status>Disabled</Status></VersioningConfiguration>", "MalformedXML"),
    (
        VERSIONING,
        "<VersioningConfiguration><Status>Enabled</Status><MfaDelete>Enabled</MfaDelete></VersioningConfiguration>",
        "NotImplemented",
    ),
    (LIFECYCLE, "<LifecycleConfiguration>", "MalformedXML"),
    (LIFECYCLE, "<LifecycleConfiguration/>", "MalformedXML"),
    (LIFECYCLE, RULES % (RULE % ""), "MalformedXML"),
    (LIFECYCLE, RULES % (RULE % "<Prefix>a</Prefix><Filter/>"), "MalformedXML"),
    (LIFECYCLE, RULES % (RULE % "<Prefix/>").replace("Enabled", "enabled"), "MalformedXML"),
    (LIFECYCLE, RULES % (RULE % "<Prefix/>").replace("<Days>1</Days>", ""), "MalformedXML"),
    (LIFECYCLE, RULES % (RULE % "<Prefix/>").replace(">1<", ">0<"), "InvalidArgument"),
    (LIFECYCLE, RULES % (RULE % "<Prefix/>" * 2), "InvalidArgument"),
    *[
        (LIFECYCLE, RULES % (RULE % f"<Filter>{condition}</Filter>"), "NotImplemented")
        for condition in (
            "<Tag><Key>a</Key><Value>b</Value></Tag>",
            "<And><Prefix>a</Prefix></And>",
            "<Prefix>log_1/</Prefix>",
            "<ObjectSizeGreaterThan>1</ObjectSizeGreaterThan>",
        )
    ],
    *[(LIFECYCLE, RULES % (RULE % f"<Prefix>{prefix}</Prefix>"), "NotImplemented") for prefix in ("log_1/", "%", "\\")],
    *[
        (LIFECYCLE, RULES % (RULE % f"<Prefix/><{action}><Days>1</Days></{action}>"), "NotImplemented")
        for action in ("Transition", "NoncurrentVersionExpiration", "AbortIncompleteMultipartUpload")
    ],
    (LOGGING, LOGGED % "<TargetBucket/><TargetPrefix/>", "MalformedXML"),
    (LOGGING, LOGGED % "<TargetBucket>t</TargetBucket>", "MalformedXML"),
    (
        LOGGING,
        LOGGED % "<TargetBucket>t</TargetBucket><TargetPrefix/><TargetObjectKeyFormat/>",
        "NotImplemented",
    ),
    (CORS, "<CORSConfiguration/>", "MalformedXML"),
    (CORS, f"<CORSConfiguration>{ORIGIN % '*'}</CORSConfiguration>".replace("GET", "get"), "MalformedXML"),
    (TAGGING, "<Tagging/>", "MalformedXML"),
    (TAGGING, "<Tagging><TagSet><Tag><Key>a</Key></Tag></TagSet></Tagging>", "MalformedXML"),
    (DELETE, "<Delete/>", "MalformedXML"),
    (DELETE, "<Delete><Object><Key/></Object></Delete>", "MalformedXML"),
    (DELETE, "<Delete><Object><Key>a<b/></Key></Object></Delete>", "MalformedXML"),
    (DELETE, "<Delete><Object><Key>a</Key></Object><Quiet>yes</Quiet></Delete>", "MalformedXML"),
    *[
        (DELETE, f"<Delete><Object><Key>a</Key><{name}>1</{name}></Object></Delete>", "NotImplemented")
        for name in ("ETag", "LastModifiedTime", "Size")
    ],
    (CREATE, "<CreateBucketConfiguration>", "MalformedXML"),
    (CREATE, "<CreateBucketConfiguration><Tags/></CreateBucketConfiguration>", "NotImplemented"),
]


@pytest.mark.parametrize(("operation", "document", "expected"), REFUSED)
def test_what_would_be_carried_out_in_part_is_refused(operation: str, document: str, expected: str) -> None:
    """
    With the code that S3 has for the case, or with NotImplemented.
    """
    with pytest.raises(S3Error) as refused:
        write_document(OPERATIONS[operation], document.encode())
    assert refused.value.code == expected


COUNTS = [
    # What S3 requires once, or at least once: "PutBucketAcl", "PutBucketVersioning", "PutBucketCors", "DeleteObjects"
    # and "PutBucketLifecycleConfiguration".
    (ACL, RIGHTS.replace("<AccessControlList>", "<Owner/><Owner/><AccessControlList>") % "", "MalformedACLError"),
    (ACL, RIGHTS.replace("<AccessControlList>", "<AccessControlList/><AccessControlList>") % "", "MalformedACLError"),
    (ACL, "<AccessControlPolicy><Owner/></AccessControlPolicy>", "MalformedACLError"),
    (VERSIONING, "<VersioningConfiguration><MfaDelete/></VersioningConfiguration>", "MalformedXML"),
    (CORS, "<CORSConfiguration></CORSConfiguration>", "MalformedXML"),
    (CORS, f"<CORSConfiguration>{NO_METHOD}</CORSConfiguration>", "MalformedXML"),
    (DELETE, "<Delete><Quiet>true</Quiet></Delete>", "MalformedXML"),
    (LIFECYCLE, RULES % "", "MalformedXML"),
]


@pytest.mark.parametrize(("operation", "document", "expected"), COUNTS)
def test_what_must_be_there_once(operation: str, document: str, expected: str) -> None:
    """
    Of two elements the storage system reads the first, and it does not notice if there is none.
    """
    with pytest.raises(S3Error) as refused:
        write_document(OPERATIONS[operation], document.encode())
    assert refused.value.code == expected


@pytest.mark.parametrize(("count", "is_taken"), [(100, True), (101, False)])
def test_how_many_origins_there_may_be(count: int, *, is_taken: bool) -> None:
    """
    "You can add up to 100 rules": "PutBucketCors".
    """
    document = f"<CORSConfiguration>{ORIGIN % '*' * count}</CORSConfiguration>".encode()

    if is_taken:
        written = write_document(OPERATIONS[CORS], document)
        assert written is not None
        assert inner(written) == ORIGIN % "*" * count
    else:
        with pytest.raises(MalformedXML):
            write_document(OPERATIONS[CORS], document)


FULL = [
    # With everything that the storage system keeps, in the order in which it writes it: the result is the same
    # document.
    (
        ACL,
        "AccessControlPolicy",
        "<Owner><ID>1</ID><DisplayName>a &amp; b</DisplayName></Owner><AccessControlList>"
        + OWNERS.replace("</ID>", "</ID><DisplayName>c</DisplayName>")
        + "</AccessControlList>",
    ),
    (
        CORS,
        "CORSConfiguration",
        (
            "<CORSRule><ID>1</ID><AllowedOrigin>http://a</AllowedOrigin><AllowedOrigin>http://b</AllowedOrigin>"
            "<AllowedHeader>*</AllowedHeader><ExposeHeader>x-amz-id-2</ExposeHeader><AllowedMethod>PUT</AllowedMethod>"
            "<AllowedMethod>HEAD</AllowedMethod><MaxAgeSeconds>3000</MaxAgeSeconds></CORSRule>"
        ),
    ),
    (
        LOGGING,
        "BucketLoggingStatus",
        (
            "<LoggingEnabled><TargetBucket>t</TargetBucket><TargetPrefix>p/</TargetPrefix>"
            f"<TargetGrants>{OWNERS}</TargetGrants></LoggingEnabled>"
        ),
    ),
    (TAGGING, "Tagging", "<TagSet><Tag><Key>a</Key><Value>1</Value></Tag><Tag><Key>b</Key><Value/></Tag></TagSet>"),
    (
        DELETE,
        "Delete",
        "<Object><Key>a</Key><VersionId>v</VersionId></Object><Object><Key>b</Key></Object><Quiet>false</Quiet>",
    ),
    (CREATE, "CreateBucketConfiguration", ""),
]


@pytest.mark.parametrize(("operation", "root", "content"), FULL)
def test_a_full_document_keeps_all(operation: str, root: str, content: str) -> None:
    """
    No element that the storage system knows is left out.
    """
    written = write_document(OPERATIONS[operation], f"<{root}>{content}</{root}>".encode())

    assert written is not None
    assert inner(written).replace("<Value></Value>", "<Value/>") == content


@pytest.mark.parametrize(
    ("word", "expected"), [("0", "false"), ("false", "false"), (" 1 ", "true"), ("true", "true"), ("True", "")]
)
def test_the_words_of_a_boolean(word: str, expected: str) -> None:
    """
    The words of XML Schema; the storage system knows one, "true".
    """
    document = f"<Delete><Quiet>{word}</Quiet><Object><Key>a</Key></Object></Delete>".encode()

    if not expected:
        with pytest.raises(MalformedXML):
            write_document(OPERATIONS[DELETE], document)
        return
    written = write_document(OPERATIONS[DELETE], document)
    assert written is not None
    assert inner(written) == f"<Object><Key>a</Key></Object><Quiet>{expected}</Quiet>"


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ("<Days> 30 </Days>", "<Days>30</Days>"),
        ("<Date> 2026-03-01T00:00:00Z </Date>", "<Date>2026-03-01T00:00:00Z</Date>"),
        ("<Days>0</Days>", "InvalidArgument"),
        ("<Days>-1</Days>", "InvalidArgument"),
        ("<Days>1</Days><Date>2026-03-01T00:00:00Z</Date>", "MalformedXML"),
        ("", "MalformedXML"),
    ],
)
@pytest.mark.parametrize("place", ["<Prefix>a/</Prefix>", "<Filter><Prefix>a/</Prefix></Filter>"])
def test_when_a_rule_deletes(place: str, told: str, expected: str) -> None:
    """
    After a number of days, or from a date on: "LifecycleExpiration".
    """
    document = (RULES % (RULE % place)).replace("<Days>1</Days>", told).encode()

    if expected.startswith("<"):
        written = write_document(OPERATIONS[LIFECYCLE], document)
        assert written is not None
        assert inner(written) == (RULE % "<Prefix>a/</Prefix>").replace("<Days>1</Days>", expected)
        return
    with pytest.raises(S3Error) as refused:
        write_document(OPERATIONS[LIFECYCLE], document)
    assert refused.value.code == expected


def test_rules_without_a_name_get_one_each() -> None:
    """
    Of several rules without a name the storage system carries out none.
    """
    rule = (RULE % "<Prefix>a</Prefix>").replace("<ID>a</ID>", "")
    written = write_document(OPERATIONS[LIFECYCLE], (RULES % (rule * 3)).encode())
    assert written is not None
    names = [element.text for element in parse_document(written).iter() if local_name(element) == "ID"]
    assert len(set(names)) == 3
    assert all(name and len(name) == 48 for name in names)


def put(operation: str, document: bytes, *, is_chunked: bool = False, **headers: str) -> bytes:
    """
    Return a signed request with a document.
    """
    method = "POST" if operation == DELETE else "PUT"
    signed = {"content-type": "application/xml", **{name.replace("_", "-"): value for name, value in headers.items()}}
    if document:
        signed["content-md5"] = base64.b64encode(hashlib.md5(document).digest()).decode()
    unsigned = {"Transfer-Encoding": "chunked"} if is_chunked else {"Content-Length": str(len(document))}
    payload = hashlib.sha256(document).hexdigest()
    return Signer().head(method, TARGETS[operation], signed, payload=payload, unsigned=unsigned)[0]


async def ask(name: str, operation: str, document: bytes, **headers: str) -> Sent:
    return await send(name, put(operation, document, **headers), document)


@pytest.mark.parametrize(
    ("name", "operation"),
    [(W, ACL), (W, VERSIONING), (W, LOGGING), (G, ACL), (G, VERSIONING), (G, LIFECYCLE), (G, CORS), (G, TAGGING)],
)
@pytest_twisted.ensureDeferred
async def test_the_storage_gets_the_written_document(name: str, operation: str) -> None:
    """
    With its own Content-MD5. A document that cannot be read does not reach the storage system.
    """
    document = next(text for each, text, _ in WRITTEN if each == operation).encode() + b"<!-- the end -->"
    sent = await ask(name, operation, document)
    malformed = await ask(name, operation, document[:-30])

    assert sent.response.status == 200
    assert sent.bodies == [write_document(OPERATIONS[operation], document)]
    md5 = base64.b64encode(hashlib.md5(sent.bodies[0]).digest())
    assert sent.head.fields[b"content-md5"] == (md5,)
    assert (malformed.code, malformed.requests) == ("400 MalformedXML", [])


@pytest.mark.parametrize(
    ("headers", "document", "expected"),
    [
        ({}, "", "400 MissingSecurityHeader"),
        ({"x_amz_acl": "private"}, "", "200"),
        ({"x_amz_acl": "private"}, RIGHTS % "", "400 UnexpectedContent"),
        ({}, RIGHTS % "", "200"),
    ],
)
@pytest.mark.parametrize("name", [W, G])
@pytest_twisted.ensureDeferred
async def test_rights_are_told_once(name: str, headers: dict[str, str], document: str, expected: str) -> None:
    """
    Without a list the storage system removes all rights; of two lists it makes a third.
    """
    sent = await ask(name, ACL, document.encode(), **headers)

    assert sent.code == expected
    assert len(sent.requests) == (expected == "200")


@pytest.mark.parametrize(
    ("operation", "expected"),
    [(ACL, "MissingSecurityHeader"), (VERSIONING, "MissingRequestBodyError"), (LIFECYCLE, "MissingRequestBodyError")],
)
@pytest_twisted.ensureDeferred
async def test_an_empty_body_in_chunks_is_none(operation: str, expected: str) -> None:
    """
    Its head does not say that it is empty.
    """
    md5 = base64.b64encode(hashlib.md5(b"").digest()).decode()
    sent = await send(G, put(operation, b"", is_chunked=True, content_md5=md5), b"0\r\n\r\n")

    assert (sent.code, sent.requests) == (f"400 {expected}", [])


@pytest.mark.parametrize(("name", "expected"), [(W, "400 MaxMessageLengthExceeded"), (G, "200")])
@pytest_twisted.ensureDeferred
async def test_a_document_above_a_chunk_is_refused(name: str, expected: str) -> None:
    """
    Walrus takes the first chunk of a body for the document, and the first chunk of a body above 100 KiB is empty.
    """
    large = RIGHTS % OWNERS.replace("<ID>1</ID>", f"<ID>{'1' * 102_400}</ID>")
    spaced = (RIGHTS % OWNERS + " " * 102_400).encode()

    assert (await ask(name, ACL, large.encode())).code == expected
    assert (await ask(name, ACL, spaced)).code == "200"


@pytest.mark.parametrize("name", FAMILY)
@pytest_twisted.ensureDeferred
async def test_the_region_of_a_new_bucket_is_the_storages(name: str) -> None:
    """
    A rewritten document has the translated region.
    """
    document = b"<a:CreateBucketConfiguration xmlns:a='x'><a:LocationConstraint>%s</a:LocationConstraint>"
    document += b"</a:CreateBucketConfiguration>"
    ours = await ask(name, CREATE, document % b"us-east-1")
    other = await ask(name, CREATE, document % b"eu-west-9")

    assert ours.bodies == [inner_location("us-east-1")]
    assert other.bodies == [inner_location("eu-west-9")]


def inner_location(region: str) -> bytes:
    document = (
        f"<CreateBucketConfiguration><LocationConstraint>{region}</LocationConstraint></CreateBucketConfiguration>"
    )
    written = write_document(OPERATIONS[CREATE], document.encode())
    assert written is not None
    return written


@pytest_twisted.ensureDeferred
async def test_deletions_on_a_condition_are_refused(tmp_path: Path) -> None:
    """
    The gateway would delete without checking the condition.
    """
    document = b"<Delete><Object><Key>k</Key><ETag>other</ETag></Object></Delete>"
    async with running_pair(tmp_path, G) as pair:
        response: Any = await pair.harness.request(put(DELETE, document), document, method="POST")
        kept = pair.stored("k")

    assert (response.status, b"NotImplemented" in response.body) == (501, True)
    assert kept is not None


def test_the_family_gets_its_documents_so() -> None:
    """
    Other storage systems get them unchanged.
    """
    assert {name for name, profile in PROFILES.items() if profile.misreads_documents} == {W, B, G}


def part_numbers(*numbers: str) -> bytes:
    parts = "".join(f"<Part><PartNumber>{number}</PartNumber></Part>" for number in numbers)
    return f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()


@pytest.mark.parametrize(
    ("document", "error"),
    [
        (part_numbers(), None),
        (part_numbers("1", "2", "10000"), None),
        (part_numbers(" 1\n", "2"), None),
        (part_numbers("2", "1"), InvalidPartOrder),
        (part_numbers("1", "2", "2"), InvalidPartOrder),
        # The backend refuses what is no number.
        (part_numbers("2", "x", "1"), None),
        (part_numbers("1", "2")[:-1], MalformedXML),
        (b"text", MalformedXML),
    ],
)
def test_the_order_of_parts(document: bytes, error: type[S3Error] | None) -> None:
    """
    A storage system that ignores it would join the parts in another order than the client.
    """
    found = None
    try:
        check_part_order(document)
    except S3Error as refusal:
        found = type(refusal)

    assert found is error
