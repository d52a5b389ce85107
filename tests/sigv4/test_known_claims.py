"""
A client's Authorization header is read once a day: its beginning is remembered after a verified request. What can
differ from request to request is judged each time.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest

from s3proxy.authentication.reading import read_claim
from s3proxy.authentication.realm import MAX_BEGINNINGS, Realm
from s3proxy.authentication.verdict import Authenticated, verify_claim
from s3proxy.s3.address import parse_address
from s3proxy.s3.claim import Claim
from s3proxy.s3.credential import Credential
from s3proxy.s3.errors import S3Error
from s3proxy.s3.head import RequestHead, parse_request_head
from s3proxy.sigv4.coverage import KNOWN_COVERAGES, find_coverage
from s3proxy.sigv4.signed_headers import _MAX_KEPT_NAMES, _kept_list, split_list
from tests.support.harness import NOW
from tests.support.signer import SIGNED_CHUNKS, UNSIGNED, Signer

SIGNER = Signer()
CREDENTIAL = Credential(SIGNER.access_key_id, (SIGNER.secret,))


def read(data: bytes, realm: Realm, now: datetime = NOW) -> Claim:
    """
    Return the claim of a signed head.
    """
    head = parse_request_head(data.removesuffix(b"\r\n\r\n"))
    claim = read_claim(head, parse_address(head.raw_path, head.host, ()), realm, now)
    assert claim is not None
    return claim


def judge(data: bytes, realm: Realm, now: datetime = NOW, credential: Credential = CREDENTIAL) -> Authenticated:
    """
    Return the authenticated request of a head, or raise.
    """
    return verify_claim(read(data, realm, now), credential, realm, now)


def outcome(data: bytes, realm: Realm, now: datetime = NOW) -> tuple[str, bytes | str]:
    """
    Return the error of a head, or its signed headers.
    """
    try:
        found = judge(data, realm, now)
    except S3Error as error:
        return error.code, error.message
    return "", b";".join(sorted(found.signed_headers)) + (found.payload.raw)


def get(target: str = "/b/k", **names: str) -> bytes:
    """
    Return a signed head.
    """
    return SIGNER.head("GET", target, names)[0]


def test_a_known_header_is_the_same_claim() -> None:
    """
    In each attribute, for another target and another value of a signed header.
    """
    known, fresh = Realm(), Realm()
    judge(get(), known)
    assert len(known.beginnings) == 1

    for data in (get("/b/other"), get("/b/k?list-type=2&prefix=a")):
        first, again = judge(data, fresh), judge(data, known)
        for name in (
            "access_key_id",
            "carrier",
            "credential",
            "signed_headers",
            "payload",
            "covered_names",
            "exempted",
        ):
            assert getattr(first, name) == getattr(again, name), name
        fresh.beginnings.clear()
    assert len(known.beginnings) == 1


def _changed(before: bytes, after: bytes) -> Callable[[], bytes]:
    def change() -> bytes:
        data = get()
        assert before in data
        return data.replace(before, after)

    return change


@pytest.mark.parametrize(
    ("make", "late"),
    [
        (_changed(b"/b/k", b"/b/x"), timedelta()),
        (_changed(b"x-amz-date: 2", b"x-amz-date: 3"), timedelta()),
        (_changed(b"x-amz-date: ", b"Date: "), timedelta()),
        (_changed(b"x-amz-content-sha256: e", b"x-amz-content-sha256: f"), timedelta()),
        (_changed(b"x-amz-content-sha256: e", b"x-amz-content-sha256: no"), timedelta()),
        (_changed(b"x-amz-content-sha256: ", b"X-Other: "), timedelta()),
        (_changed(b"\r\n\r\n", b"\r\nx-amz-acl: public-read\r\n\r\n"), timedelta()),
        (_changed(b"\r\n\r\n", b"\r\nx-amz-security-token: token\r\n\r\n"), timedelta()),
        (_changed(b"\r\n\r\n", b"\r\nContent-MD5: x\r\n\r\n"), timedelta()),
        (_changed(b"Signature=", b"Signature=0"), timedelta()),
        (_changed(b"us-east-1", b"us-west-9"), timedelta()),
        (get, timedelta(minutes=15, seconds=1)),
        (get, timedelta(minutes=-15, seconds=-1)),
        (get, timedelta(days=1)),
        (lambda: get("/b/k?X-Amz-Signature=a"), timedelta()),
    ],
)
def test_what_is_judged_each_time(make: Callable[[], bytes], late: timedelta) -> None:
    """
    A known header leads to the same error as an unknown one.
    """
    known = Realm()
    judge(get(), known)

    wanted = outcome(make(), Realm(), NOW + late)
    assert wanted[0]
    for _ in range(2):
        assert outcome(make(), known, NOW + late) == wanted


def test_a_date_of_another_day_is_not_covered() -> None:
    """
    The beginning names the day of the key.
    """
    midnight = NOW.replace(hour=0, minute=1)
    evening = Signer(now=midnight)
    known = Realm()
    judge(evening.head("GET", "/b/k")[0], known, midnight)
    data = evening.head("GET", "/b/k")[0].replace(b"x-amz-date: 20260301T000100Z", b"x-amz-date: 20260228T235900Z")

    assert outcome(data, known, midnight) == outcome(data, Realm(), midnight)
    assert outcome(data, known, midnight)[0] == "AuthorizationHeaderMalformed"


def test_only_a_verified_request_is_remembered() -> None:
    """
    A stranger could fill the table otherwise.
    """
    realm = Realm()
    data = get().replace(b"/b/k", b"/b/x")
    assert outcome(data, realm)[0] == "SignatureDoesNotMatch"
    assert not realm.beginnings
    read(get(), realm)
    assert not realm.beginnings
    judge(get(), realm)
    assert len(realm.beginnings) == 1


def test_the_table_is_bounded() -> None:
    """
    Whatever a client signs.
    """
    realm = Realm()
    realm.beginnings.most = 3
    for number in range(8):
        judge(get(**{f"x-amz-meta-{number}": "1"}), realm)
        assert 0 < len(realm.beginnings) <= 3
    assert Realm().beginnings.most == MAX_BEGINNINGS


@pytest.mark.parametrize("word", [UNSIGNED, SIGNED_CHUNKS])
def test_a_switched_off_payload_stays_so(word: str) -> None:
    """
    For a realm or for a key.
    """
    refused = frozenset({"unsigned-payload"})
    data = SIGNER.head("PUT", "/b/k", {"content-length": "5"}, payload=word)[0]
    realm, of_key = Realm(refused=refused), Credential(SIGNER.access_key_id, (SIGNER.secret,), refused=refused)
    judge(get(**{"content-length": "0"}), realm)
    open_realm = Realm()
    judge(data, open_realm)

    for each, credential in ((realm, CREDENTIAL), (open_realm, of_key)):
        if word == UNSIGNED:
            with pytest.raises(S3Error, match="AccessDenied"):
                judge(data, each, credential=credential)
        else:
            assert judge(data, each, credential=credential).payload.raw == word.encode()


def test_a_made_head_is_not_known() -> None:
    """
    A head whose headers were replaced has no set of names, and is read whole.
    """
    realm = Realm()
    judge(get(), realm)
    head = parse_request_head(get().removesuffix(b"\r\n\r\n"))
    head.set_headers([(b"Host", b"other.test"), *head.headers[1:]])
    assert head.names is None
    claim = read_claim(head, parse_address(head.raw_path, head.host, ()), realm, NOW)

    assert isinstance(head, RequestHead)
    assert claim is not None
    with pytest.raises(S3Error, match="SignatureDoesNotMatch"):
        verify_claim(claim, CREDENTIAL, realm, NOW)


@pytest.mark.parametrize(
    ("listed", "is_kept"), [(b"host;x-amz-date", True), (b"host", True), (b"host;not-sent", False), (b"host;;", False)]
)
def test_a_list_is_remembered_if_all_its_headers_were_sent(listed: bytes, is_kept: bool) -> None:
    """
    A list comes before any signature, and could name a hundred headers that were not sent. It is covered either way.
    """
    names = parse_request_head(b"GET / HTTP/1.1\r\nHost: a\r\nx-amz-date: b").names
    KNOWN_COVERAGES.clear()

    coverage = find_coverage(names, listed)

    assert coverage is not None
    assert coverage.signed_headers == tuple(dict.fromkeys(listed.split(b";")))
    assert (len(KNOWN_COVERAGES) == 1) is is_kept


def test_a_list_of_many_names_is_not_remembered_alone() -> None:
    """
    In 255 bytes there could be 128 names.
    """
    _kept_list.cache_clear()

    few, many = (b";".join([b"a"] * count) for count in (_MAX_KEPT_NAMES, _MAX_KEPT_NAMES + 1))

    assert split_list(few) == split_list(many) == ((b"a",), frozenset({b"a"}))
    assert _kept_list.cache_info().currsize == 1
