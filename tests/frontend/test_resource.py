"""
The requests that the resource accepts.
"""

from __future__ import annotations

from twisted.web.test.requesthelper import DummyRequest

from s3proxy.frontend.request import StreamedRequest
from s3proxy.frontend.resource import S3Resource
from tests.conftest import ErrorLog


class NeverBegun:
    """
    A proxy that no request may reach.
    """

    def begin(self, request: StreamedRequest) -> None:
        """
        Fail.
        """
        raise AssertionError("a request whose body was stored has begun")


def test_a_stored_request_is_refused(error_log: ErrorLog) -> None:
    """
    A stock `Site` stores a body of any size before it renders: none of that is verified or paced.
    """
    request = DummyRequest([b"s3"])

    body = S3Resource(NeverBegun()).render(request)

    assert request.responseCode == 500
    assert isinstance(body, bytes)
    assert b"S3Site" in body
    assert len(error_log.flush()) == 1
