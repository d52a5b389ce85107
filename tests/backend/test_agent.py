"""
Requests to a backend: another address gets only what was not sent, no redirect is followed, and no cookie is kept.
"""

from __future__ import annotations

from typing import Any, cast

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.web.iweb import UNKNOWN_LENGTH

from s3proxy.backend.agent import BackendAgent
from s3proxy.backend.faults import BackendFault
from s3proxy.backend.pool import Pool
from s3proxy.backend.request import BackendLimits, BackendRequest, backend_failure
from s3proxy.backend.upload import Upload
from tests.backend.asked import HEAD, Asked


class OtherPool:
    """
    An address that responds or fails.
    """

    reactor: Any = None
    is_usable = True
    busy_count = 0

    def __init__(self, turn: int, fault: BackendFault | None) -> None:
        self.turn = turn
        self._fault = fault
        self.count = 0

    def send(self, request: BackendRequest, body: Any = None) -> Deferred[Any]:
        """
        Count the call.
        """
        self.count += 1
        return fail(backend_failure(self._fault)) if self._fault is not None else succeed("response")


@pytest.mark.parametrize(
    ("fault", "is_idempotent", "is_asked_elsewhere"),
    [
        (BackendFault.UNREACHABLE, False, True),
        (BackendFault.OPEN, False, True),
        (BackendFault.UNANSWERED, True, True),
        (BackendFault.UNANSWERED, False, False),
        (BackendFault.LOST, True, False),
        (BackendFault.SILENT, True, False),
        (BackendFault.STALLED, True, False),
    ],
)
def test_another_address_gets_what_was_not_sent(
    fault: BackendFault, is_idempotent: bool, is_asked_elsewhere: bool
) -> None:
    """
    Or what may be sent twice: anything else may have been carried out.
    """
    first, second = OtherPool(0, fault), OtherPool(1, None)
    agent = BackendAgent(cast("list[Pool]", [first, second]))
    outcomes: list[Any] = []

    agent.send(BackendRequest(b"PUT", HEAD, is_idempotent=is_idempotent)).addBoth(outcomes.append)

    assert first.count == 1
    assert second.count == int(is_asked_elsewhere)
    assert (outcomes == ["response"]) is is_asked_elsewhere


@pytest.mark.parametrize("status", [b"301 Moved", b"302 Found", b"303 See Other", b"307 Temporary Redirect"])
def test_a_redirect_is_not_followed(status: bytes) -> None:
    """
    s3proxy would sign the request to it; nor does the next upload have a cookie.
    """
    asked = Asked()
    agent = BackendAgent([asked.pool])
    responses: list[Any] = []
    for number in range(2):
        upload = Upload(b"PUT /b/k HTTP/1.1\r\nHost: backend\r\nContent-Length: 5\r\n\r\n", 5)
        agent.send_upload(upload).addBoth(responses.append)
        if not number:
            asked.endpoint.connected()
        upload.write(b"hello")
        upload.finish()
        asked.endpoint.protocols[0].dataReceived(
            b"HTTP/1.1 %s\r\nLocation: http://backend/other\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n" % status
        )

    assert [response.head.status for response in responses] == [int(status[:3])] * 2
    sent = asked.endpoint.transports[0].value()
    assert sent.count(b"HTTP/1.1\r\n") == 2
    assert b"ookie" not in sent
    assert asked.endpoint.connecting == []


def test_a_body_of_treq_has_a_length() -> None:
    """
    Without one a backend would wait for the end of the connection.
    """

    class Unknown:
        length = UNKNOWN_LENGTH

    agent = BackendAgent([Pool(Asked().clock, cast("Any", None), BackendLimits())])

    with pytest.raises(ValueError, match="length"):
        agent.request(b"PUT", b"http://backend/b/k", None, Unknown())
