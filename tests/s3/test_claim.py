"""
A claim that is refused, and one that is not verified.
"""

from __future__ import annotations

import pytest

from s3proxy.s3.claim import Carrier, Claim, refuse
from s3proxy.s3.errors import AccessDenied, InternalError, InvalidRequest, S3Error
from s3proxy.s3.head import parse_request_head
from s3proxy.s3.payload import Payload


def test_the_first_error_is_the_one_that_is_raised() -> None:
    """
    Also one that an exemption could waive: no key was looked up yet.
    """
    first, second, last = AccessDenied(), InvalidRequest("second"), InternalError()

    for waivable, raised in (([("a", first), ("b", second)], first), ([], last)):
        with pytest.raises(S3Error) as refusal:
            refuse(waivable, last)
        assert refusal.value is raised


def test_the_fingerprint_is_of_what_was_verified() -> None:
    """
    Without it all claims of a key would look alike.
    """
    head = parse_request_head(b"GET /b/k HTTP/1.1\r\nHost: h")
    claims = [Claim(Carrier.V4_HEADER, head, key, b"", None, Payload(b""), ()) for key in (b"A", b"A", b"AB", b"A")]
    for claim in claims:
        with pytest.raises(ValueError, match="not verified"):
            claim.fingerprint()
    for claim, text in zip(claims, (b"text", b"text", b"text", b"other"), strict=True):
        claim.verified_text = text
    same, again, *others = [claim.fingerprint() for claim in claims]

    assert (len(same), same) == (32, again)
    assert len({same, *others}) == 3
