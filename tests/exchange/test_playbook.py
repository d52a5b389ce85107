"""
A playbook: what happens in the life of a request, in order, without a socket.

Each story sends bytes to a whole proxy in memory. It names the events that its exchange receives, each with the actions
that it takes, and what client and backend see in the end. Read it beside the table of `s3proxy.exchange.machine`: the
table has every step, and the stories have the usual ones.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterator
from typing import Any

import pytest

from s3proxy.exchange.exchange import Exchange
from s3proxy.exchange.machine import TABLE, Action, Event
from s3proxy.s3.errors import S3Error
from tests.support.memory import MemoryProxy, Verdict
from tests.support.signer import HASH, SIGNED_CHUNKS, Signer

SMALL, LARGE = b"hello", bytes(300_000)
TAG = '"5d41402abc4b2a76b9719d911017c592"'
"The entity tag of every object of the backend."


class Play:
    """
    A proxy whose exchange is watched.

    Attributes:
        story: A line for each event that changed something: the event, then the actions.
    """

    def __init__(self, profile: str = "generic") -> None:
        self.proxy = MemoryProxy(profile=profile)
        self.agent = self.proxy.agent
        self.story: list[str] = []

    def note(self, event: Event, actions: tuple[Action, ...]) -> None:
        """
        Add a line.
        """
        if actions:
            self.story.append(f"{event.name}: {', '.join(action.name for action in actions)}")


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """
    Return a function that makes a `Play`; one for each test.
    """
    plays: list[Play] = []
    receive = Exchange.receive

    def watched(self: Exchange, event: Event, error: S3Error | None = None) -> None:
        plays[-1].note(event, TABLE[self.state, event][1])
        receive(self, event, error)

    def make(profile: str = "generic") -> Play:
        plays.append(Play(profile))
        return plays[-1]

    monkeypatch.setattr(Exchange, "receive", watched)
    yield make
    assert len(plays) == 1


def methods(verdict: Verdict) -> list[bytes]:
    return [stored.head.method for stored in verdict.stored]


def test_a_read(play: Any) -> None:
    """
    The head says everything, and the response goes on as it arrives.
    """
    told = play()

    verdict = told.proxy.send(Signer().head("GET", "/bucket/key")[0])

    assert told.story == [
        "AUTHENTICATED_WITHOUT_BODY: SEND",
        "ANSWERED_BELOW_400: RELAY",
        "RESPONSE_ENDED: FINISH, RELEASE",
    ]
    assert (methods(verdict), verdict.statuses) == ([b"GET"], (200,))


def test_a_small_upload(play: Any) -> None:
    """
    A small body is verified whole before the backend hears of it.
    """
    told = play()
    request = Signer().put("/bucket/key", SMALL, HASH)

    verdict = told.proxy.send(request.head + request.body)

    assert told.story == [
        "AUTHENTICATED_TO_HOLD: RECEIVE_BODY",
        "VERIFIED: SEND",
        "ANSWERED_BELOW_400: RELAY",
        "RESPONSE_ENDED: FINISH, RELEASE",
    ]
    assert ([stored.body for stored in verdict.stored], verdict.statuses) == ([SMALL], (200,))


def test_a_large_upload(play: Any) -> None:
    """
    A large body streams: the upload is opened first, and its last bytes follow the verdict.
    """
    told = play()
    request = Signer().put("/bucket/key", LARGE, SIGNED_CHUNKS)

    verdict = told.proxy.send(request.head + request.body)

    assert told.story == [
        "AUTHENTICATED_TO_STREAM: OPEN_UPLOAD, RECEIVE_BODY",
        "VERIFIED: FINISH_UPLOAD",
        "ANSWERED_BELOW_400: RELAY",
        "RESPONSE_ENDED: FINISH, RELEASE",
    ]
    assert ([stored.body for stored in verdict.stored], verdict.statuses) == ([LARGE], (200,))


def test_a_large_upload_with_a_changed_byte(play: Any) -> None:
    """
    The backend's connection is reset before its request is complete, and then the client is told.
    """
    told = play()
    request = Signer().put("/bucket/key", LARGE, SIGNED_CHUNKS)
    changed = bytearray(request.body)
    changed[200_000] ^= 1

    verdict = told.proxy.send(request.head + bytes(changed))

    assert told.story == [
        "AUTHENTICATED_TO_STREAM: OPEN_UPLOAD, RECEIVE_BODY",
        "REFUSED: STOP_BODY, ABORT_BACKEND, RESPOND, RELEASE",
    ]
    assert (verdict.stored, verdict.statuses, verdict.codes) == ((), (403,), ("SignatureDoesNotMatch",))
    assert told.agent.partial_count == 1


def test_a_small_upload_with_a_changed_byte(play: Any) -> None:
    """
    The backend hears nothing.
    """
    told = play()
    request = Signer().put("/bucket/key", SMALL, HASH)

    verdict = told.proxy.send(request.head + b"jello")

    assert told.story == [
        "AUTHENTICATED_TO_HOLD: RECEIVE_BODY",
        "REFUSED: STOP_BODY, RESPOND, RELEASE",
    ]
    assert (verdict.stored, verdict.statuses, verdict.codes) == ((), (400,), ("XAmzContentSHA256Mismatch",))


@pytest.mark.parametrize(
    ("signer", "code"),
    [
        (Signer(secret="x" * 40), "SignatureDoesNotMatch"),
        (Signer(access_key_id="AKIANOBODYHASTHISKEY"), "InvalidAccessKeyId"),
    ],
)
def test_a_stranger(play: Any, signer: Signer, code: str) -> None:
    """
    Judged by the head alone: nothing is read, nothing is sent.
    """
    told = play()

    verdict = told.proxy.send(signer.head("GET", "/bucket/key")[0])

    assert told.story == ["REFUSED: RESPOND, RELEASE"]
    assert (verdict.stored, verdict.statuses, verdict.codes) == ((), (403,), (code,))


def test_a_client_that_leaves_within_its_body(play: Any) -> None:
    """
    Both sides end, and the backend has no complete request.
    """
    told = play()
    request = Signer().put("/bucket/key", LARGE, SIGNED_CHUNKS)

    verdict = told.proxy.send((request.head + request.body)[:250_000])

    assert told.story == [
        "AUTHENTICATED_TO_STREAM: OPEN_UPLOAD, RECEIVE_BODY",
        "CLIENT_GONE: STOP_BODY, ABORT_BACKEND, RELEASE",
    ]
    assert (verdict.stored, verdict.statuses) == ((), ())
    assert told.agent.partial_count == 1


def test_a_refusal_of_the_backend(play: Any) -> None:
    """
    The client gets it. One that may be about our own signature is read first.
    """
    told = play()
    told.agent.statuses = [404]

    verdict = told.proxy.send(Signer().head("GET", "/bucket/key")[0])

    assert told.story == [
        "AUTHENTICATED_WITHOUT_BODY: SEND",
        "ANSWERED_FROM_400: RELAY",
        "RESPONSE_ENDED: FINISH, RELEASE",
    ]
    assert (methods(verdict), verdict.statuses) == ([b"GET"], (404,))


def test_a_refused_head(play: Any) -> None:
    """
    The response to HEAD has no document, so a GET asks for the reason.
    """
    told = play()
    told.agent.statuses = [403, 403]

    verdict = told.proxy.send(Signer().head("HEAD", "/bucket/key")[0])

    assert told.story == [
        "AUTHENTICATED_WITHOUT_BODY: SEND",
        "RESPONSE_UNEXPLAINED: ASK_WHY",
        "ANSWERED_FROM_400: RELAY",
        "RESPONSE_ENDED: FINISH, RELEASE",
    ]
    assert (methods(verdict), verdict.statuses) == ([b"HEAD", b"GET"], (403,))


def test_a_condition_that_the_storage_ignores(play: Any) -> None:
    """
    s3proxy asks for the object first. What it learns may be the response.
    """
    told = play("walrus-3.4")
    told.agent.statuses = [200]

    verdict = told.proxy.send(Signer().head("GET", "/bucket/key", {"if-none-match": TAG})[0])

    assert told.story == [
        "MUST_MEASURE: MEASURE",
        "ANSWERED_BELOW_400: RELAY",
        "RESPONSE_ENDED: FINISH, RELEASE",
    ]
    assert (methods(verdict), verdict.statuses) == ([b"HEAD"], (304,))


def form(secret: str) -> bytes:
    """
    Return an upload by a form of Signature V2.
    """
    text = b'{"expiration": "2030-01-01T00:00:00Z", "conditions": [{"bucket": "bucket"}, {"key": "k"}]}'
    policy = base64.b64encode(text).decode()
    signature = base64.b64encode(hmac.digest(secret.encode(), policy.encode(), "sha1")).decode()
    fields = {"key": "k", "AWSAccessKeyId": Signer().access_key_id, "policy": policy, "signature": signature}
    named = [f'name="{name}"\r\n\r\n{value}' for name, value in fields.items()]
    parts = [*named, 'name="file"; filename="f"\r\n\r\nhello']
    body = "".join(f"--b\r\nContent-Disposition: form-data; {part}\r\n" for part in parts) + "--b--\r\n"
    head = "POST /bucket HTTP/1.1\r\nHost: s3.example.test\r\nContent-Type: multipart/form-data; boundary=b\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()


def test_a_form(play: Any) -> None:
    """
    The signature of a form is in its fields. They are read before its key is looked up, and its file after that.
    """
    told = play()

    verdict = told.proxy.send(form(Signer().secret))

    assert told.story == [
        "FORM_BEGAN: READ_FIELDS",
        "FIELDS_READ: JUDGE_FORM",
        "AUTHENTICATED_TO_HOLD: RECEIVE_FILE",
        "VERIFIED: SEND",
        "ANSWERED_BELOW_400: RELAY",
        "RESPONSE_ENDED: FINISH, RELEASE",
    ]
    assert ([stored.body for stored in verdict.stored], verdict.statuses) == ([SMALL], (204,))


def test_a_form_of_a_stranger(play: Any) -> None:
    """
    Its file is not read.
    """
    told = play()

    verdict = told.proxy.send(form("x" * 40))

    assert told.story == [
        "FORM_BEGAN: READ_FIELDS",
        "FIELDS_READ: JUDGE_FORM",
        "REFUSED: STOP_BODY, RESPOND, RELEASE",
    ]
    assert (verdict.stored, verdict.codes) == ((), ("SignatureDoesNotMatch",))


def test_many_deletions(play: Any) -> None:
    """
    A storage system without DeleteObjects gets a request for each object, once the whole document is verified.
    """
    told = play("walrus-3.4")
    document = b"<Delete><Object><Key>a</Key></Object><Object><Key>b</Key></Object></Delete>"
    headers = {"content-md5": base64.b64encode(hashlib.md5(document).digest()).decode()}
    length = {"Content-Length": str(len(document))}
    payload = hashlib.sha256(document).hexdigest()

    verdict = told.proxy.send(
        Signer().head("POST", "/bucket?delete", headers, payload=payload, unsigned=length)[0] + document
    )

    assert told.story == [
        "AUTHENTICATED_TO_HOLD: RECEIVE_BODY",
        "MUST_DELETE_EACH: DELETE_EACH",
        "RESPONSE_NEEDS_READING: READ_RESPONSE",
        "RESPONSE_ACQUITS_US: RELAY",
        "RESPONSE_ENDED: FINISH, RELEASE",
    ]
    assert [stored.head.raw_target for stored in verdict.stored] == [
        b"/services/Walrus/bucket/a",
        b"/services/Walrus/bucket/b",
    ]
    assert verdict.statuses == (200,)
