"""
What a client reads of a claim that is refused.
"""

from __future__ import annotations

import pytest

from s3proxy.s3.claim import refuse
from s3proxy.s3.errors import AccessDenied, InternalError, InvalidRequest, S3Error


def test_the_first_error_is_the_one_that_is_raised() -> None:
    """
    Also one that an exemption could waive: no key was looked up yet.
    """
    first, second, last = AccessDenied(), InvalidRequest("second"), InternalError()

    for waivable, raised in (([("a", first), ("b", second)], first), ([], last)):
        with pytest.raises(S3Error) as refusal:
            refuse(waivable, last)
        assert refusal.value is raised
