"""
Many requests for one: how many run at a time, and the result of the whole if some fail.
"""

from __future__ import annotations

import re
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from s3proxy.backend.faults import BackendFault
from s3proxy.backend.request import BackendError, BackendRequest
from s3proxy.backend.response import BackendResponse
from s3proxy.forwarding.deletions import MAX_AT_ONCE, DeletingEach
from s3proxy.mending.deletions import Deletion, Deletions
from s3proxy.profiles.known import PROFILES
from s3proxy.resign.response import MAX_JUDGED_SIZE
from s3proxy.s3.errors import InvalidArgument
from s3proxy.s3.head import parse_response_head

CODES = PROFILES["walrus-3.4"].error_codes
REFUSED = "refused"


class FakeConnection:
    """
    Replaces the connection of a response, and records whether it was reset.
    """

    transport: Any = None

    def __init__(self) -> None:
        self.is_aborted = False

    def abort(self) -> None:
        self.is_aborted = True

    def claimed(self, response: BackendResponse) -> None:
        pass


class Asked:
    """
    A backend that responds when the test says so.

    Attributes:
        keys: The requested keys, in order.
        waiting: The requests that have no response yet.
        given_up: Keys of requests that were cancelled.
        failures: Log messages about requests without a response.
    """

    def __init__(self, *keys: str, is_quiet: bool = False) -> None:
        self.keys: list[str] = []
        self.waiting: dict[str, Deferred[BackendResponse]] = {}
        self.given_up: list[str] = []
        self.failures: list[BackendFault] = []
        self.connections: list[FakeConnection] = []
        self.results: list[BackendResponse | Failure] = []
        deletions = Deletions(tuple(Deletion(key) for key in keys), is_quiet)
        each = DeletingEach(deletions, self._make, self._send, CODES, lambda error, fault: self.failures.append(fault))
        self.whole = each.start()
        self.whole.addBoth(self.results.append)

    def _make(self, deletion: Deletion) -> BackendRequest:
        if deletion.key == REFUSED:
            raise InvalidArgument("The storage system cannot store this key unchanged.", "Key", deletion.key.encode())
        return BackendRequest(b"DELETE", deletion.key.encode())

    def _send(self, request: BackendRequest) -> Deferred[BackendResponse]:
        key = request.head.decode()

        def cancelled(ignored: object) -> None:
            self.given_up.append(key)
            self.waiting.pop(key)

        self.keys.append(key)
        self.waiting[key] = answered = Deferred(cancelled)
        return answered

    def response(self, key: str, status: int = 204, document: bytes = b"", *, is_whole: bool = True) -> BackendResponse:
        """
        Respond to one request; if the document is not whole, the rest has yet to arrive.
        """
        head = parse_response_head(b"HTTP/1.1 %d x\r\nContent-Length: %d" % (status, len(document)))
        connection = FakeConnection()
        self.connections.append(connection)
        response = BackendResponse(None, head, len(document), connection)
        if document:
            response.received((document,))
        if is_whole:
            response.ended(None)
        self.waiting.pop(key).callback(response)
        return response

    def fail(self, key: str, fault: BackendFault) -> None:
        """
        Make one request fail without a response.
        """
        self.waiting.pop(key).errback(BackendError(fault))

    @property
    def document(self) -> str:
        """
        The document of the response to the whole.
        """
        (response,) = self.results
        assert isinstance(response, BackendResponse)
        content = response.take_content()
        assert response.head.content_length == response.body_length == len(content)
        return content.decode()

    def told(self, name: str) -> list[str]:
        """
        The keys of the elements with a name.
        """
        return re.findall(f"<{name}><Key>([^<]*)</Key>", self.document)


def error(code: str) -> bytes:
    return f"<Error><Code>{code}</Code><Message>m</Message></Error>".encode()


def test_a_few_at_once() -> None:
    """
    The number of parallel requests does not depend on the number of keys. Each key has its own outcome, in the order of
    the request.
    """
    names = [f"k{number}" for number in range(MAX_AT_ONCE * 3)]
    asked = Asked(*names)

    most = 0
    while asked.waiting:
        most = max(most, len(asked.waiting))
        last = list(asked.waiting)[-1]
        asked.response(last, *((403, error("AccessDenied")) if last == "k7" else ()))

    document = asked.document
    assert (most, sorted(asked.keys)) == (MAX_AT_ONCE, sorted(names))
    assert re.findall("<Key>([^<]*)</Key>", document) == names
    assert re.findall("<Error><Key>([^<]*)</Key><Code>([^<]*)</Code>", document) == [("k7", "AccessDenied")]


def test_what_is_refused_here_is_not_asked_for() -> None:
    """
    The other keys are requested.
    """
    asked = Asked("a", REFUSED, "b")
    assert asked.keys == ["a", "b"]

    asked.response("a")
    asked.response("b")

    assert "<Error><Key>refused</Key><Code>InvalidArgument</Code><Message>The storage system cannot" in asked.document


def test_where_all_is_refused_here() -> None:
    """
    The response is ready at once.
    """
    asked = Asked(*[REFUSED] * 1000)

    assert asked.told("Error") == [REFUSED] * 1000
    assert asked.keys == []


@pytest.mark.parametrize("fault", [BackendFault.LOST, BackendFault.UNANSWERED, BackendFault.STALE])
def test_one_which_gets_no_response(fault: BackendFault) -> None:
    """
    Its key has an error, the other keys are tried, and one line of the log reports it.
    """
    names = [f"k{number}" for number in range(20)]
    asked = Asked(*names)

    asked.fail("k3", fault)
    asked.fail("k4", fault)
    while asked.waiting:
        asked.response(next(iter(asked.waiting)))

    document = asked.document
    assert re.findall("<Error><Key>([^<]*)</Key><Code>([^<]*)<", document) == [
        ("k3", "InternalError"),
        ("k4", "InternalError"),
    ]
    assert (len(asked.keys), asked.failures) == (20, [fault])


@pytest.mark.parametrize("fault", [BackendFault.UNREACHABLE, BackendFault.SILENT, BackendFault.OPEN, BackendFault.BUSY])
def test_where_nobody_is_there_no_more_are_tried(fault: BackendFault) -> None:
    """
    A thousand times the timeout of one request would be hours; requests that run are waited for.
    """
    asked = Asked(*[f"k{number}" for number in range(20)])

    asked.fail("k0", fault)
    for number in range(1, MAX_AT_ONCE):
        asked.response(f"k{number}")

    document = asked.document
    assert len(asked.keys) == MAX_AT_ONCE
    assert len(re.findall("<Deleted>", document)) == MAX_AT_ONCE - 1
    assert len(re.findall("<Error>", document)) == 20 - MAX_AT_ONCE + 1


def test_where_none_is_answered_the_whole_fails() -> None:
    """
    Like any request without a response: the client may retry.
    """
    asked = Asked(REFUSED, "a", "b")

    asked.fail("b", BackendFault.SILENT)
    asked.fail("a", BackendFault.UNREACHABLE)

    (failure,) = asked.results
    assert isinstance(failure, Failure)
    assert isinstance(failure.value, BackendError)
    assert (failure.value.fault, asked.failures) == (BackendFault.SILENT, [])


@pytest.mark.parametrize(("status", "code"), [(404, "NoSuchBucket"), (403, "SignatureDoesNotMatch")])
def test_a_response_which_is_about_all(status: int, code: str) -> None:
    """
    It becomes the response to the whole, and no more requests are sent.
    """
    asked = Asked(*[f"k{number}" for number in range(20)])

    asked.response("k0")
    asked.response("k5", status, error(code))

    (response,) = asked.results
    assert isinstance(response, BackendResponse)
    assert (response.head.status, response.take_content()) == (status, error(code))
    assert len(asked.keys) == MAX_AT_ONCE + 1
    assert sorted(asked.given_up) == ["k1", "k2", "k3", "k4", "k6", "k7", "k8"]
    assert asked.waiting == {}


def test_giving_up() -> None:
    """
    Running requests are given up, and no other one begins.
    """
    asked = Asked(*[f"k{number}" for number in range(20)])
    asked.response("k0")

    asked.whole.cancel()

    (failure,) = asked.results
    assert isinstance(failure, Failure)
    assert failure.check(CancelledError) is not None
    assert len(asked.keys) == MAX_AT_ONCE + 1
    assert (sorted(asked.given_up), asked.waiting) == ([f"k{number}" for number in range(1, MAX_AT_ONCE + 1)], {})


def test_giving_up_while_a_document_is_read() -> None:
    """
    Its connection is reset; its end in the next turn is not reported.
    """
    asked = Asked("a")
    response = asked.response("a", 500, error("UNKNOWN")[:9], is_whole=False)

    asked.whole.cancel()
    response.ended(Failure(BackendError(BackendFault.LOST)))

    assert [connection.is_aborted for connection in asked.connections] == [True]
    assert isinstance(asked.results[0], Failure)


def test_a_document_which_comes_later() -> None:
    """
    It is waited for.
    """
    asked = Asked("a")
    response = asked.response("a", 500, b"<Error><Code>UNK", is_whole=False)
    assert asked.results == []

    response.received((b"NOWN</Code></Error>",))
    response.ended(None)

    assert "<Code>InternalError</Code><Message></Message>" in asked.document


@pytest.mark.parametrize("end", ["cut", "long"])
def test_a_document_which_is_not_whole(end: str) -> None:
    """
    The error is unknown if the document is cut, and the document is not read if it is not an S3 error.
    """
    asked = Asked("a", "b")
    response = asked.response("a", 403, b"<Error><Code>AccessDenied</Code>", is_whole=False)
    if end == "cut":
        response.ended(Failure(BackendError(BackendFault.LOST)))
    else:
        response.received((b" " * MAX_JUDGED_SIZE,))
    asked.response("b")

    assert asked.connections[0].is_aborted is (end == "long")
    assert "<Error><Key>a</Key><Code>InternalError</Code>" in asked.document


def test_an_object_is_gone_whose_response_is_cut() -> None:
    """
    The status alone is enough.
    """
    asked = Asked("a")
    asked.response("a", 200, b"<", is_whole=False).ended(Failure(BackendError(BackendFault.LOST)))

    assert asked.told("Deleted") == ["a"]
