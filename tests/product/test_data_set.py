"""
Every case of the data set, judged by the rooms alone: the same verdicts as over sockets, in a hundredth of the time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote_to_bytes

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from s3proxy.authentication.reading import carries_form, read_claim, read_form_claim
from s3proxy.authentication.realm import Realm
from s3proxy.authentication.verdict import Authenticated, admit_anonymous, admit_preflight, verify_claim
from s3proxy.body.guard import GuardedBody, HeldBody
from s3proxy.body.intake import FormIntake
from s3proxy.body.plan import BodyLimits, BodyPlan, plan_body
from s3proxy.postobject.upload import form_key
from s3proxy.s3.address import Address, parse_address
from s3proxy.s3.claim import Claim
from s3proxy.s3.classification import Classification, check_method, check_request, classify
from s3proxy.s3.credential import Credential
from s3proxy.s3.error_xml import error_document
from s3proxy.s3.errors import S3Error
from s3proxy.s3.head import Fields, RequestHead, parse_request_head
from s3proxy.s3.operation import PUT_OBJECT
from s3proxy.sigv4.asymmetric import VerifyingKeys, derive_private_key
from s3proxy.sigv4.claims import ASYMMETRIC, FormClaim, SignatureClaim
from s3proxy.sigv4.given_key import give_public_key, give_signing_key
from s3proxy.sigv4.signing_key import derive_signing_key
from tests.support.harness import NOW, data_set_credentials, load_cases, material
from tests.support.wire_cases import FILES, LONG, judge_refusal

CREDENTIALS = data_set_credentials()
TOKENS = frozenset(c.session_token.encode() for c in CREDENTIALS.values() if c.session_token)
KEYS = VerifyingKeys()
LIMITS = BodyLimits()


def _cases() -> Iterator[Any]:
    for case in load_cases(FILES):
        if "raw" in case or case.get("server", "default") != "default" or case.get("send_body") is False:
            continue
        is_cut = "wire" in case or case["file"] == "negative/post"
        for step in (0, 7) if is_cut and case.get("wire_length", 0) <= LONG else (0,):
            yield pytest.param(case, step, id=f"{case['file']}:{case['name']}:{step}")


class Judged:
    """
    A case on its way through the rooms, in the order of `s3proxy.exchange.judging`.

    Args:
        find: Finds the credential of a claim.

    Attributes:
        stored: What a backend would get; None if the case was refused.
    """

    def __init__(self, case: dict[str, Any], find: Callable[[Claim], Credential | None]) -> None:
        self._find = find
        request = case["request"]
        head = f"{request['method']} {request['target']} HTTP/1.1"
        head += "".join(f"\r\n{name}: {value}" for name, value in request["headers"])
        self.body = material(case["wire"]) if "wire" in case else material(request.get("payload"))
        self.raw_head = head.encode()
        self.realm = Realm(domains=(b"s3.example.test",), known_tokens=TOKENS, verifying_keys=KEYS)
        self.refusal: S3Error | None = None
        self.stored: bytes | None = None
        self.address: Address | None = None
        self._file: GuardedBody | None = None

    def judge(self, step: int) -> S3Error | None:
        """
        Return the refusal, or None.
        """
        try:
            self._judge(step)
        except S3Error as error:
            return error
        return self.refusal

    def _judge(self, step: int) -> None:
        head = parse_request_head(self.raw_head)
        check_method(head.method)
        address = parse_address(head.raw_path, head.host, self.realm.domains)
        if head.method == b"OPTIONS":
            self._judge_body(admit_preflight(head), address, step)
            return
        claim = read_claim(head, address, self.realm, NOW)
        if claim is not None:
            found = self._find(claim)
            authenticated = verify_claim(claim, found, self.realm, NOW)
        elif carries_form(head, address):
            self._judge_form(head, address, step)
            return
        else:
            authenticated = admit_anonymous(head, address, classify(head, address), self.realm)
        self._judge_body(authenticated, address, step)

    def _judge_body(self, authenticated: Authenticated, address: Address, step: int) -> None:
        head = authenticated.head
        self.address = address
        operation = classify(head, address, authenticated.covered_names).operation
        check_request(head, address, operation)
        plan = plan_body(head, operation, authenticated, LIMITS)
        if plan.decoder is None:
            self.stored = b""
            return
        body = self._guarded(plan)
        self._feed(body, step)

    def _guarded(self, plan: BodyPlan) -> GuardedBody:
        assert plan.decoder is not None
        held = HeldBody(LIMITS.object_size, AssertionError)

        def verified(checksums: object) -> None:
            self.stored = held.content

        return GuardedBody(plan.decoder, held, verified, self._refused)

    def _refused(self, error: S3Error) -> None:
        self.refusal = error

    def _feed(self, consumer: Any, step: int) -> None:
        for start in range(0, len(self.body), step or len(self.body) or 1):
            consumer.write(self.body[start : start + (step or len(self.body))])
        if self.refusal is None:
            consumer.wireEnded()

    def _judge_form(self, head: RequestHead, bucket: Address, step: int) -> None:
        intake = FormIntake(head, bucket, LIMITS, lambda: self._judge_fields(intake, head, bucket), self._refused)
        self._feed(intake.reader, step)

    def _judge_fields(self, intake: FormIntake, head: RequestHead, bucket: Address) -> None:
        try:
            form_key(intake.form)
            claim = read_form_claim(head, intake.form, self.realm)
            authenticated: Authenticated
            if claim is not None:
                found = self._find(claim)
                authenticated = verify_claim(claim, found, self.realm, NOW)
                intake.check_policy(NOW)
                asked, self.address = intake.upload()
                authenticated = replace(authenticated, head=asked, signed_headers=frozenset(asked.fields))
            else:
                bare = replace(head, headers=[], fields=Fields())
                authenticated = admit_anonymous(bare, bucket, Classification(PUT_OBJECT), self.realm)
                asked, self.address = intake.upload()
                authenticated = replace(authenticated, head=asked, signed_headers=frozenset(asked.fields))
            check_request(asked, self.address, classify(asked, self.address, authenticated.covered_names).operation)
            file = self._guarded(intake.plan(asked))
        except S3Error as error:
            intake.reader.stop()
            self._refused(error)
            return
        intake.give_file_to(file)


CASES = list(_cases())


@pytest.mark.parametrize(("case", "step"), CASES)
def test_each_case(case: dict[str, Any], step: int) -> None:
    """
    A refusal has the expected code, status, message and elements. An accepted request stores the expected object.
    """
    check(case, Judged(case, told), step)


@pytest.mark.parametrize(("case", "step"), CASES)
def test_each_case_without_secrets(case: dict[str, Any], step: int) -> None:
    """
    The same, if the source tells no secret, but the signing key of the claim's scope, or the public key of V4A.
    """
    check(case, Judged(case, given), step)


def told(claim: Claim) -> Credential | None:
    """
    Return the credential of a claim, with its secret.
    """
    return CREDENTIALS.get(claim.claimed_access_key_id)


def given(claim: Claim) -> Credential | None:
    """
    Return the credential of a claim with another key in place of its secret. Signature V2 needs the secret.
    """
    credential = told(claim)
    if credential is None or not isinstance(claim, SignatureClaim | FormClaim):
        return credential
    (secret,) = credential.secret_access_keys
    if claim.carrier in ASYMMETRIC:
        public = derive_private_key(secret, claim.claimed_access_key_id).public_key()
        pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
        return replace(credential, secret_access_keys=(), given_key=give_public_key(pem))
    key = give_signing_key(derive_signing_key(secret, claim.scope), bytes(claim.scope))
    return replace(credential, secret_access_keys=(), given_key=key)


def check(case: dict[str, Any], judged: Judged, step: int) -> None:
    """
    Judge a case, and compare the verdict with the expected one.
    """
    error = judged.judge(step)

    wanted = case["expected"]
    if error is not None:
        response: Any = SimpleNamespace(
            status=error.status, body=error_document(error, "0" * 16, "s3proxy"), interim=[]
        )
        assert judged.stored is None
        assert wanted["verdict"] != "accept", f"{error.code}: {error.message}"
        assert judge_refusal(case, response) == []
        return
    assert wanted["verdict"] == "accept" or case.get("tolerated_accept"), "it was accepted"
    assert judged.stored is not None
    stored = wanted.get("stored") or case.get("stored") or {}
    if "sha256" in stored:
        assert hashlib.sha256(judged.stored).hexdigest() == stored["sha256"]
    if "length" in stored:
        assert len(judged.stored) == stored["length"]
    if "key" in stored:
        assert judged.address is not None
        assert judged.address.key == unquote_to_bytes(stored["key"])


def test_there_are_enough() -> None:
    """
    This module judges nearly the whole data set.
    """
    assert len(CASES) > 450
