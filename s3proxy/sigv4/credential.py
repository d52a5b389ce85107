"""
Reads the Credential value of a signature, which all carriers have: the access key and its scope.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from s3proxy.s3.claim import Waivable, refuse
from s3proxy.s3.date import is_day
from s3proxy.s3.errors import AuthorizationHeaderMalformed, RegionSetMismatch, S3Error
from s3proxy.s3.exemption import Exemption
from s3proxy.sigv4.asymmetric import region_set_matches
from s3proxy.sigv4.scope import SERVICE, TERMINAL, CredentialScope

_CREDENTIAL_FORM = 'the Credential is mal-formed; expecting "<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request".'
_ASYMMETRIC_CREDENTIAL_FORM = _CREDENTIAL_FORM.replace("REGION/", "")
_KEPT_CREDENTIAL_SIZE = 256
_MAX_REGION_SIZE = 64
"""
Bytes of a region that an exemption may accept: the signing key of each is kept, before a signature is verified.
"""

Faults = Callable[..., S3Error]
"""
Returns the error of a carrier for a message about a bad credential, and further elements.
"""


def read_credential(
    credential: bytes, regions: tuple[bytes, ...] | None, fault: Faults, waivable: Waivable
) -> tuple[bytes, CredentialScope]:
    """
    Return the access key and its scope.

    Args:
        regions: The accepted regions; None under SigV4A, whose scope has no region.
    """
    found = _read_sound_credential(credential, regions) if len(credential) <= _KEPT_CREDENTIAL_SIZE else None
    return found or _judge_credential(credential, regions, fault, waivable)


@lru_cache(maxsize=256)
def _read_sound_credential(
    credential: bytes, regions: tuple[bytes, ...] | None
) -> tuple[bytes, CredentialScope] | None:
    """
    Return the key and the scope of a valid credential; None for any other. A client's credential is the same for a day.
    """
    waivable: Waivable = []
    try:
        found = _judge_credential(credential, regions, AuthorizationHeaderMalformed, waivable)
    except AuthorizationHeaderMalformed:
        return None
    return None if waivable else found


def _judge_credential(
    credential: bytes, regions: tuple[bytes, ...] | None, fault: Faults, waivable: Waivable
) -> tuple[bytes, CredentialScope]:
    parts = credential.split(b"/")
    if regions is None:
        parts[2:2] = [b""]
    if len(parts) != 5:
        raise fault(_CREDENTIAL_FORM if regions is not None else _ASYMMETRIC_CREDENTIAL_FORM)
    key, day, region, service, terminal = parts
    if not is_day(day):
        raise fault(
            f'incorrect date format "{_text(day)}". This date in the credential must be in the format "yyyyMMdd".'
        )
    if regions is not None:
        if not region:
            raise fault("a non-empty region must be provided in the credential.")
        if region not in regions:
            expected = _text(regions[0])
            error = fault(f"the region '{_text(region)}' is wrong; expecting '{expected}'", Region=expected)
            if len(region) > _MAX_REGION_SIZE:
                refuse(waivable, error)
            waivable.append((Exemption.REGION, error))
    if not key:
        refuse(waivable, fault("a non-empty Access Key (AKID) must be provided in the credential."))
    if service != SERVICE:
        refuse(waivable, fault(f'incorrect service "{_text(service)}". This endpoint belongs to "s3".'))
    if terminal != TERMINAL:
        refuse(waivable, fault(f'incorrect terminal "{_text(terminal)}". This endpoint uses "aws4_request".'))
    return key, CredentialScope(day, region if regions is not None else None, service, terminal)


def check_day(scope: CredentialScope, raw_date: bytes, fault: Faults, waivable: Waivable) -> None:
    """
    Refuse a scope whose day is not that of the date, as sent.
    """
    if scope.day != raw_date[:8]:
        refuse(
            waivable,
            fault(
                f'Invalid credential date "{_text(scope.day)}". '
                f'This date is not the same as X-Amz-Date: "{_text(raw_date[:8])}".'
            ),
        )


def check_region_set(region_set: bytes, regions: tuple[bytes, ...], waivable: Waivable) -> None:
    if not region_set_matches(region_set, regions):
        waivable.append((Exemption.REGION, RegionSetMismatch(RequestedRegion=regions[0], RegionSet=region_set)))


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")
