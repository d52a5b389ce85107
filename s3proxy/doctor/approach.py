"""
The first questions: whether the storage system can be reached, the service path, and the signature that it accepts.
"""

from __future__ import annotations

from collections.abc import Iterator

from s3proxy.backend.faults import BackendFault
from s3proxy.backend.request import BackendError
from s3proxy.doctor.line import Response
from s3proxy.doctor.storage import Storage
from s3proxy.profiles.known import PROFILES
from s3proxy.profiles.profile import DateForm
from s3proxy.resign.account import Account, SignatureVersion


class CannotExamine(Exception):
    """
    The storage system cannot be reached, or refuses the key; the text says which, and what was seen.
    """


_BLAMED = {
    "InvalidAccessKeyId": "the access key id is unknown",
    "SignatureDoesNotMatch": "the secret or the region is wrong",
    "RequestTimeTooSkewed": "its clock and ours differ too much",
    "AccessDenied": "the key or the secret is wrong, or the key has no right to do this",
}


def _ways(storage: Storage) -> Iterator[tuple[str, Account]]:
    """
    Yield every way to sign a request, the most likely first.
    """
    yield "Signature V4", storage.account(SignatureVersion.V4)
    for signs_service_path in (False, True) if storage.service_path else (False,):
        signed = ", with the service path signed" if signs_service_path else ""
        for date_form in DateForm:
            account = storage.account(SignatureVersion.V2, date_form=date_form, signs_service_path=signs_service_path)
            yield f"Signature V2 with {date_form.value}{signed}", account


def _service_paths(storage: Storage) -> list[bytes]:
    if storage.service_path:
        return [storage.service_path]
    return list(dict.fromkeys([b"", *(profile.service_path for profile in PROFILES.values())]))


async def find_way(storage: Storage) -> None:
    """
    Find the service path and the signature for all further requests.

    Raises:
        CannotExamine: No combination works.
    """
    seen: list[tuple[str, Response]] = []
    for service_path in _service_paths(storage):
        storage.service_path = service_path
        for name, account in _ways(storage):
            target = storage.service_target() if storage.owns_bucket else storage.bucket_target(b"max-keys=1")
            try:
                response = await storage.ask(b"GET", target, account=account)
            except BackendError as error:
                raise CannotExamine(_unreached(storage, error)) from None
            seen.append((f"{name} at {target.decode()}", response))
            if response.is_success and b"Result" in response.content:
                storage.ways.setdefault(account.signature, account)
        if storage.ways:
            storage.way = next(iter(storage.ways.values()))
            return
    raise CannotExamine(_refused(storage, seen))


def _unreached(storage: Storage, error: BackendError) -> str:
    cause = f": {error.__cause__}" if error.__cause__ is not None else ""
    if error.fault is BackendFault.UNREACHABLE:
        return f"{storage.place.url} cannot be reached{cause}"
    return f"{storage.place.url} does not send an HTTP response ({error.fault.name.lower()}){cause}"


def _refused(storage: Storage, seen: list[tuple[str, Response]]) -> str:
    lines = [f"{storage.place.url} rejects the credentials of {storage.key.access_key_id}"]
    responses = [response for _, response in seen]
    regions = {
        response.element("Region") for response in responses if response.code == "AuthorizationHeaderMalformed"
    } - {""}
    if regions:
        lines[0] += f": use --region {regions.pop()}"
    elif not any(response.code for response in responses):
        lines[0] = f"{storage.place.url} is not an S3 service"
    elif not storage.owns_bucket and any(response.code == "NoSuchBucket" for response in responses):
        lines[0] = f"there is no bucket {storage.bucket} at {storage.place.url}"
    else:
        blamed = next((_BLAMED[code] for code in _BLAMED if any(response.code == code for response in responses)), "")
        lines[0] += f": {blamed}" if blamed else ""
    return "\n".join([*lines, *(f"  {name}: {response}" for name, response in seen)])


async def enter(storage: Storage) -> None:
    """
    Make the bucket if none was given.

    Raises:
        CannotExamine: The bucket cannot be made.
    """
    if not storage.owns_bucket:
        return
    response = await storage.ask(b"PUT", storage.bucket_target(), content=b"")
    if not response.is_success and storage.key.region != "us-east-1":
        constraint = f"<LocationConstraint>{storage.key.region}</LocationConstraint>"
        document = f"<CreateBucketConfiguration>{constraint}</CreateBucketConfiguration>".encode()
        response = await storage.ask(b"PUT", storage.bucket_target(), content=document)
    if not response.is_success:
        raise CannotExamine(
            f"the bucket {storage.bucket} cannot be made: {response}; use --bucket NAME with an existing bucket"
        )
