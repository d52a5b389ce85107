"""
Which signatures a storage system accepts.
"""

from __future__ import annotations

from dataclasses import replace

from s3proxy.doctor.line import Response
from s3proxy.doctor.storage import Storage
from s3proxy.doctor.verdict import Examine, Judgement, Probe, Verdict, judge, unclear
from s3proxy.profiles.profile import DateForm
from s3proxy.resign.account import UNSIGNED_PAYLOAD, Account, SignatureVersion, payload_of
from s3proxy.resign.gate import write_head
from s3proxy.resign.presign import presign
from s3proxy.resign.v2 import string_to_sign
from s3proxy.s3.credential import Credential
from s3proxy.s3.date import format_basic_iso
from s3proxy.s3.head import HeaderList
from s3proxy.sigv2.verifier import sign

CONTENT = b"s3proxy doctor looks whether this is stored"

WRONG_SECRET = "this-is-not-the-secret-of-any-access-key"  # noqa: S105


async def _puts(storage: Storage, name: bytes, account: Account, payload: bytes | None = None) -> Judgement:
    """
    Judge whether an upload with this signature is stored.
    """
    response = await storage.put(name, CONTENT, account=account, payload=payload)
    if not response.is_success:
        return judge(False, str(response))
    stored = await storage.get(name)
    return judge(stored.content == CONTENT, f"PUT {response}, GET {stored}")


async def v4_header(storage: Storage) -> Judgement:
    return await _puts(storage, b"v4-header", storage.account(SignatureVersion.V4))


async def v4_unsigned_payload(storage: Storage) -> Judgement:
    return await _puts(storage, b"v4-unsigned", storage.account(SignatureVersion.V4), UNSIGNED_PAYLOAD)


async def v4_wrong_hash_refused(storage: Storage) -> Judgement:
    response = await storage.put(
        b"v4-wrong-hash", CONTENT, account=storage.account(SignatureVersion.V4), payload=payload_of(b"other")
    )
    return judge(not response.is_success, str(response))


def _v2(storage: Storage, date_form: DateForm) -> Account:
    way = storage.ways.get(SignatureVersion.V2, storage.way)
    return storage.account(SignatureVersion.V2, date_form=date_form, signs_service_path=way.profile.signs_service_path)


async def v2_amz_date(storage: Storage) -> Judgement:
    return await _puts(storage, b"v2-amz-date", _v2(storage, DateForm.AMZ_DATE))


async def v2_date(storage: Storage) -> Judgement:
    return await _puts(storage, b"v2-date", _v2(storage, DateForm.DATE))


async def v2_iso_date(storage: Storage) -> Judgement:
    account = _v2(storage, DateForm.AMZ_DATE)
    target = storage.target(b"v2-iso-date")
    headers: HeaderList = [(b"x-amz-date", format_basic_iso(storage.wall_clock()))]
    signature = sign(storage.key.secret_access_key, string_to_sign(b"PUT", target, headers, account.profile))
    headers.append((b"Authorization", b"AWS %s:%s" % (storage.key.access_key_id.encode(), signature)))
    return judge(
        *_told(await storage.ask(b"PUT", target, headers, CONTENT, account=storage.account(SignatureVersion.NONE)))
    )


def _presigned(signature: SignatureVersion) -> Examine:
    async def examine(storage: Storage) -> Judgement:
        name = b"presigned"
        await storage.put(name, CONTENT)
        key = storage.key
        origin = f"{'https' if storage.place.is_tls else 'http'}://{storage.place.authority}"
        url = presign(
            origin + storage.target(name).decode(),
            Credential(access_key_id=key.access_key_id, secret_access_keys=(key.secret_access_key,)),
            storage.wall_clock(),
            signature=signature,
            region=key.region,
        )
        target = url.removeprefix(origin).encode()
        host = (b"Host", storage.place.authority.encode())
        head = write_head(b"GET", target, [host], is_presigned=True) + b"\r\n"
        return judge(*_told(await storage.send(b"GET", head)))

    return examine


def _told(response: Response) -> tuple[bool, str]:
    return response.is_success, str(response)


def with_wrong_secret(account: Account) -> Account:
    """
    Return an account of the same key with a wrong secret.
    """
    assert account.key is not None
    return replace(account, key=replace(account.key, secret_access_key=WRONG_SECRET))


async def wrong_secret_refused(storage: Storage) -> Judgement:
    await storage.put(b"secret", CONTENT)
    responses = {
        signature: await storage.ask(b"GET", storage.target(b"secret"), account=with_wrong_secret(account))
        for signature, account in storage.ways.items()
    }
    why = ", ".join(f"{signature} {response}" for signature, response in responses.items())
    return judge(not any(response.is_success for response in responses.values()), why)


async def anonymous_refused(storage: Storage) -> Judgement:
    await storage.put(b"anonymous", CONTENT)
    response = await storage.ask(b"GET", storage.target(b"anonymous"), account=storage.account(SignatureVersion.NONE))
    if response.status >= 500:
        return unclear(str(response))
    return judge(not response.is_success, str(response))


PROBES = (
    Probe("wrong-secret-refused", "a signature with a wrong secret is refused", wrong_secret_refused),
    Probe("anonymous-refused", "a request without a signature is refused", anonymous_refused),
    Probe("v4-header", "Signature V4 in a header, with the body's hash", v4_header),
    Probe("v4-unsigned-payload", "Signature V4 in a header, with UNSIGNED-PAYLOAD", v4_unsigned_payload),
    Probe("v4-wrong-hash-refused", "a body that does not match its hash is refused", v4_wrong_hash_refused),
    Probe("v4-presigned", "Signature V4 in the query", _presigned(SignatureVersion.V4)),
    Probe("v2-amz-date", "Signature V2 in a header, with x-amz-date in RFC 1123 format", v2_amz_date),
    Probe("v2-date", "Signature V2 in a header, with Date only", v2_date),
    Probe("v2-iso-date", "Signature V2 in a header, with x-amz-date in ISO 8601 format", v2_iso_date),
    Probe("v2-presigned", "Signature V2 in the query", _presigned(SignatureVersion.V2)),
)

SIGNATURE_NAMES = frozenset(
    {"v4-header", "v4-unsigned-payload", "v4-presigned", "v2-amz-date", "v2-date", "v2-iso-date", "v2-presigned"}
)
"""
Probes whose success means nothing if any signature is accepted.
"""


def disbelieved(judgement: Judgement) -> Judgement:
    """
    Return the judgement to report if a wrong secret was accepted, too.
    """
    verdict, why = judgement
    return (Verdict.UNCLEAR, f"{why}, but a wrong secret is accepted, too") if verdict is Verdict.YES else judgement
