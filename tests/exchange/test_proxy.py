"""
Any failure on the way to a backend is an S3 error, and no request passes because something failed.
"""

from __future__ import annotations

from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import fail
from twisted.logger import capturedLogs, formatEvent

from s3proxy.backend.faults import BackendFault
from s3proxy.backend.request import BackendError
from s3proxy.backend.trouble import why
from s3proxy.profiles.known import PROFILES
from s3proxy.s3.credential import BudgetLimits
from s3proxy.s3.errors import AccessDenied
from tests.conftest import ErrorLog
from tests.support.harness import Harness, turns
from tests.support.signer import SIGNED_CHUNKS, Signer
from tests.support.wire_cases import element

GET = Signer().head("GET", "/test-bucket/k")[0]


async def ask(harness: Harness, head: bytes = GET) -> tuple[int, str | None, int]:
    """
    Send a request; return status and code of the response, and the number of requests that reached the backend.
    """
    response: Any = await harness.request(head)
    await turns(3)
    await harness.close()
    return response.status, element(response.body, "Code"), len(harness.backend.requests)


class Authorizer:
    """
    Responds as the test says.
    """

    def __init__(self, error: Exception, *, is_late: bool) -> None:
        self.error = error
        self.is_late = is_late

    def authorize(self, *given: object) -> Any:
        """
        Refuse, or fail.
        """
        if self.is_late:
            return fail(self.error)
        raise self.error


@pytest.mark.parametrize("is_late", [False, True])
@pytest.mark.parametrize(
    ("error", "response"), [(AccessDenied(), (403, "AccessDenied")), (ValueError("x"), (500, "InternalError"))]
)
@pytest_twisted.ensureDeferred
async def test_an_authorizer_that_refuses_or_fails(
    error: Exception, response: tuple[int, str], error_log: ErrorLog, *, is_late: bool
) -> None:
    """
    Nothing reaches the backend.
    """
    if is_late and not isinstance(error, AccessDenied):
        response = (503, "ServiceUnavailable")

    found = await ask(Harness(authorizer=Authorizer(error, is_late=is_late)))

    assert found == (*response, 0)
    assert len(error_log.flush()) == (1 if response[0] == 500 else 0)


@pytest_twisted.ensureDeferred
async def test_a_source_of_keys_that_fails() -> None:
    """
    That does not mean that the key is unknown.
    """
    harness = Harness()
    harness.proxy.context.look_up = lambda name: fail(ValueError("down"))

    assert await ask(harness) == (503, "ServiceUnavailable", 0)


@pytest_twisted.ensureDeferred
async def test_a_fault_of_ours(error_log: ErrorLog) -> None:
    """
    It is an S3 error for the client, and a traceback only in the log.
    """
    harness = Harness()

    def choose(*given: object) -> Any:
        raise LookupError("the-secret")

    harness.proxy.context.choose_backend = choose

    assert await ask(harness) == (500, "InternalError", 0)
    assert len(error_log.flush()) == 1


def test_a_cause_is_named_by_its_kind() -> None:
    """
    The exception's text could quote what was sent.
    """
    error = ValueError("outer")
    error.__cause__ = KeyError("the-secret")

    assert why(error) == "KeyError"
    assert why(ValueError("the-secret")) == "ValueError"


def test_a_breaker_which_is_open_is_told_in_words() -> None:
    """
    The backend got no request: the breaker is the only cause.
    """
    assert why(BackendError(BackendFault.OPEN)) == "not asked: the breaker is open"


@pytest_twisted.ensureDeferred
async def test_the_log_names_a_backend_which_cannot_be_reached() -> None:
    """
    In both logs: the access log has its name, and the other one its address and the reason.
    """
    harness = Harness()
    await harness.backend_port.stopListening()
    harness.pool.address = "the-address"

    with capturedLogs() as captured:
        assert await ask(harness) == (503, "ServiceUnavailable", 0)

    assert [record.backend for record in harness.records] == ["test"]
    (event,) = [event for event in captured if "fault" in event]
    assert (event["backend"], event["fault"]) == ("test", "UNREACHABLE")
    assert event["address"] == "the-address"
    assert event["cause"] == "connection refused: no process listens there"


@pytest_twisted.ensureDeferred
async def test_the_log_says_that_a_bodys_coding_is_broken() -> None:
    """
    With the request's id, and without a byte of the body.
    """
    harness = Harness()
    upload = Signer().put("/test-bucket/k", b"hello" * 100, SIGNED_CHUNKS, transfer_chunks=100)

    with capturedLogs() as captured:
        assert (await ask(harness, upload.head + b"secret\r\n"))[:2] == (400, "BadRequest")

    (event,) = [event for event in captured if "chunked transfer coding" in event["log_format"]]
    assert event["request_id"] == harness.records[0].request_id
    assert "secret" not in formatEvent(event)


@pytest_twisted.ensureDeferred
async def test_the_log_names_no_backend_which_was_not_asked() -> None:
    """
    A refusal by s3proxy is not the backend's.
    """
    harness = Harness(profile=PROFILES["ceph-rgw"])

    assert await ask(harness, Signer().head("GET", "/admin/user")[0]) == (403, "AccessDenied", 0)
    assert [record.backend for record in harness.records] == [None]


@pytest.mark.parametrize(
    ("profile", "head", "found"),
    [
        ("generic", GET.replace(b"GET", b"PATCH", 1), (405, "MethodNotAllowed", 0)),
        ("generic", GET.replace(b"GET", b"FETCH", 1), (400, "BadRequest", 0)),
        ("riakcs", Signer().head("GET", "/test-bucket?replication")[0], (501, "NotImplemented", 0)),
        ("versitygw", Signer().head("GET", "/test-bucket/a//b")[0], (400, "InvalidArgument", 0)),
        ("ceph-rgw", Signer().head("GET", "/admin/user")[0], (403, "AccessDenied", 0)),
        (
            "generic",
            Signer().head("PUT", "/test-bucket/k", {"x-amz-copy-source": "/b/"})[0],
            (400, "InvalidArgument", 0),
        ),
        ("generic", GET, (200, None, 1)),
    ],
)
@pytest_twisted.ensureDeferred
async def test_what_goes_nowhere(profile: str, head: bytes, found: tuple[int, str | None, int]) -> None:
    """
    What S3 does not have, what the backend does not have, what it cannot store, and its private paths.
    """
    assert await ask(Harness(profile=PROFILES[profile]), head) == found


@pytest_twisted.ensureDeferred
async def test_a_process_that_ends_takes_no_new_request() -> None:
    """
    Its client tries again, and reaches another process.
    """
    harness = Harness()
    harness.proxy.context.is_draining = True

    assert await ask(harness) == (503, "SlowDown", 0)


@pytest_twisted.ensureDeferred
async def test_what_a_request_had_is_given_back() -> None:
    """
    The next request gets it.
    """
    harness = Harness(budget_limits=BudgetLimits(requests=1))
    for _ in range(2):
        response = await harness.request(GET)
        assert response.status == 200
        await turns(3)
        assert harness.proxy.context.budgets.used["requests"] == 0
    await harness.close()
