"""
Reads the claim of a form that is signed with Signature V4: who signed its policy.

The checks and their order are those of S3.

Source:
    "Authenticating Requests in Browser-Based Uploads Using POST (AWS Signature Version 4)".
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from s3proxy.s3.claim import Carrier, Waivable
from s3proxy.s3.date import parse_basic_iso
from s3proxy.s3.errors import InvalidArgument, S3Error
from s3proxy.s3.head import RequestHead
from s3proxy.s3.payload import UNSIGNED
from s3proxy.sigv4.claims import FormClaim
from s3proxy.sigv4.credential import check_day, read_credential
from s3proxy.sigv4.scope import HMAC_ALGORITHM

FORM_NAMES = frozenset({b"x-amz-algorithm", b"x-amz-credential", b"x-amz-date", b"x-amz-signature"})
"""
The fields of a form that is signed with Signature V4, in lower case. The policy is a further one.
"""


def read_form_claim(head: RequestHead, fields: Mapping[bytes, bytes], regions: tuple[bytes, ...]) -> FormClaim:
    """
    Return the claim that the fields of a form make.

    Args:
        fields: Values by lower-case name, with each of `FORM_NAMES` and the policy.

    Raises:
        InvalidArgument: A field is not valid.
    """
    algorithm = fields[b"x-amz-algorithm"]
    if algorithm != HMAC_ALGORITHM:
        raise InvalidArgument("Only AWS4-HMAC-SHA256 is supported", "X-Amz-Algorithm", algorithm)
    raw_date = fields[b"x-amz-date"]
    if parse_basic_iso(raw_date) is None:
        raise InvalidArgument("X-Amz-Date must be formated via ISO8601 Long format", "X-Amz-Date", raw_date)
    credential = fields[b"x-amz-credential"]
    fault = partial(_form_fault, credential)
    waivable: Waivable = []
    key, scope = read_credential(credential, regions, fault, waivable)
    check_day(scope, raw_date, fault, waivable)
    return FormClaim(
        Carrier.V4_FORM,
        head,
        key,
        fields[b"x-amz-signature"],
        fields.get(b"x-amz-security-token"),
        UNSIGNED,
        (),
        fields[b"policy"],
        scope,
        waivable=waivable,
    )


def _form_fault(credential: bytes, sentence: str, **elements: bytes | str) -> S3Error:
    return InvalidArgument(sentence, "X-Amz-Credential", credential, **elements)
