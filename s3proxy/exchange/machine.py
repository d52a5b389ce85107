"""
The life of one request, told as a table: in this state, after this event, do that.

The machine decides; `s3proxy.exchange.exchange` carries out. No byte of a body passes through here, and nothing waits.

::

    LOOKING_UP ──► HOLDING ──► MEASURING ──► AWAITING ──────► RELAYING ──► ENDED
         │             └─────► DELETING ────┤ │  └► JUDGING ──┘
         └───────► SENDING ─────────────────┘ └► EXPLAINING
"""

from __future__ import annotations

from collections.abc import Callable
from enum import auto
from typing import Any, Protocol

from s3proxy.s3.errors import S3Error
from s3proxy.s3.identity_enum import IdentityEnum


class State(IdentityEnum):
    """
    What an exchange waits for.
    """

    LOOKING_UP = auto()
    "the credentials of a key which signed a well-formed head"
    READING_FORM = auto()
    "the fields of a form: its signature is among them"
    JUDGING_FORM = auto()
    "the credentials of the key which signed a form's policy; the client is stopped before its file"
    HOLDING = auto()
    "the rest of a body which is verified whole before a backend hears of it"
    SENDING = auto()
    "the rest of a body which is verified while it streams; its last bytes are withheld"
    MEASURING = auto()
    "the answer to HEAD, which decides about a request: what an object is, or whether conditions hold"
    DELETING = auto()
    "the answers to many requests, each of which deletes one object of a document"
    AWAITING = auto()
    "the backend's answer: all bytes were verified and may be with the backend"
    EXPLAINING = auto()
    "the answer to a GET: the one to HEAD refused, and did not say why"
    JUDGING = auto()
    "the document of an answer which may speak of our own signature, or must be edited"
    RELAYING = auto()
    "the end of the answer"
    ENDED = auto()
    "nothing: everything was released"


class Event(IdentityEnum):
    """
    What can happen to an exchange.
    """

    AUTHENTICATED_WITHOUT_BODY = auto()
    "the client is who it says; there is no body, and nothing was claimed of one"
    AUTHENTICATED_TO_HOLD = auto()
    "the client is who it says; its body is small, empty or a document"
    AUTHENTICATED_TO_STREAM = auto()
    "the client is who it says; its body goes to the backend as it arrives"
    FORM_BEGAN = auto()
    "the head asks to store a form's file, and carries no signature"
    FIELDS_READ = auto()
    "a form's fields are complete, and its file begins"
    REFUSED = auto()
    "an S3 error: of the head, of the credentials, of the body, or because the client stopped sending"
    REFUSED_HERE = auto()
    "an S3 error of what is carried out here, in the backend's place"
    VERIFIED = auto()
    "the whole body arrived, and everything claimed of it holds"
    VERIFIED_ON_DISK = auto()
    "the same, of a body which was too large to be held in memory"
    MUST_MEASURE = auto()
    "all of the request is verified, and what the backend has decides about it"
    MUST_DELETE_EACH = auto()
    "all of the request is verified, and its objects are to be deleted one by one"
    MEASURED = auto()
    "what the backend has is known, and the request may be sent"
    ANSWERED_BELOW_400 = auto()
    "the backend's final head claims success, or points elsewhere"
    ANSWERED_FROM_400 = auto()
    "the backend's final head refuses"
    ANSWER_NEEDS_READING = auto()
    "the same, and its document must be read before the client may see it"
    ANSWER_UNEXPLAINED = auto()
    "an answer to HEAD refuses, and has no document which says whether it speaks of us"
    ANSWER_BEGAN = auto()
    "the backend still works: its final head may be relayed, and the white space that keeps the client waiting"
    ANSWER_ACQUITS_US = auto()
    "the document may be relayed"
    ANSWER_BLAMES_US = auto()
    "the document says that our own signature or key was refused"
    ANSWER_CONTINUES = auto()
    "the page of a listing has nothing that the client asked for, and more follows"
    ANSWER_ENDED = auto()
    "the last byte of the answer was handed to the client's socket"
    BACKEND_FAILED = auto()
    "no answer will come, or its rest will not"
    CLIENT_GONE = auto()
    "nobody is there to read an answer"


class Action(IdentityEnum):
    """
    What the proxy is to do.
    """

    RECEIVE_BODY = auto()
    "let the client send: 100 Continue where it waits for it, then read its body"
    READ_FIELDS = auto()
    "let the client send a form, up to its file"
    JUDGE_FORM = auto()
    "read the claim among a form's fields, and look its key up"
    RECEIVE_FILE = auto()
    "let the client send a form's file"
    OPEN_UPLOAD = auto()
    "sign the head and ask the backend to take a body whose end is not there yet"
    SEND_FROM_DISK = auto()
    "give the verified body from disk to the upload, at the backend's pace"
    FINISH_UPLOAD = auto()
    "say that the body is complete"
    SEND = auto()
    "sign the head and send it with the body which was held"
    MEASURE = auto()
    "ask by HEAD what decides about the request"
    DELETE_EACH = auto()
    "send a request for each object that a document names"
    STOP_BODY = auto()
    "take no more of the client's body"
    READ_ANSWER = auto()
    "gather the answer's document, within a bound"
    ASK_WHY = auto()
    "ask by GET for the document which HEAD did not get"
    ASK_ON = auto()
    "ask for the next page of a listing"
    RELAY = auto()
    "give the answer to the client as it comes"
    RESPOND = auto()
    "answer with the S3 error"
    RELAY_EARLY = auto()
    "give the client the head and the white space; the document follows once it was read"
    FINISH = auto()
    "the client's answer is complete"
    ABORT_BACKEND = auto()
    "reset the backend's connection, so that it cannot hold a complete request"
    CUT_CLIENT = auto()
    "reset the client's connection: a cut answer must not look complete"
    RELEASE = auto()
    "let go of everything, and write the access log"


Step = tuple[State, tuple[Action, ...]]

_E = Event
_A = Action
_IGNORE: tuple[Action, ...] = ()

_ANSWERS: dict[Event, Step] = {
    _E.ANSWERED_BELOW_400: (State.RELAYING, (_A.RELAY,)),
    _E.ANSWERED_FROM_400: (State.RELAYING, (_A.RELAY,)),
    _E.ANSWER_NEEDS_READING: (State.JUDGING, (_A.READ_ANSWER,)),
    _E.ANSWER_UNEXPLAINED: (State.EXPLAINING, (_A.ASK_WHY,)),
}
"""
What an answer leads to, once all bytes were verified.
"""

_ENDS: dict[Event, Step] = {
    _E.BACKEND_FAILED: (State.ENDED, (_A.ABORT_BACKEND, _A.RESPOND, _A.RELEASE)),
    _E.CLIENT_GONE: (State.ENDED, (_A.ABORT_BACKEND, _A.RELEASE)),
}
"""
What ends an exchange whose client has nothing of an answer yet.
"""

_ROWS: dict[State, dict[Event, Step]] = {
    State.LOOKING_UP: {
        _E.AUTHENTICATED_WITHOUT_BODY: (State.AWAITING, (_A.SEND,)),
        _E.MUST_MEASURE: (State.MEASURING, (_A.MEASURE,)),
        _E.AUTHENTICATED_TO_HOLD: (State.HOLDING, (_A.RECEIVE_BODY,)),
        _E.AUTHENTICATED_TO_STREAM: (State.SENDING, (_A.OPEN_UPLOAD, _A.RECEIVE_BODY)),
        _E.FORM_BEGAN: (State.READING_FORM, (_A.READ_FIELDS,)),
        _E.REFUSED: (State.ENDED, (_A.RESPOND, _A.RELEASE)),
        _E.CLIENT_GONE: (State.ENDED, (_A.RELEASE,)),
    },
    State.READING_FORM: {
        _E.FIELDS_READ: (State.JUDGING_FORM, (_A.JUDGE_FORM,)),
        _E.REFUSED: (State.ENDED, (_A.STOP_BODY, _A.RESPOND, _A.RELEASE)),
        _E.CLIENT_GONE: (State.ENDED, (_A.STOP_BODY, _A.RELEASE)),
    },
    State.JUDGING_FORM: {
        _E.AUTHENTICATED_TO_HOLD: (State.HOLDING, (_A.RECEIVE_FILE,)),
        _E.AUTHENTICATED_TO_STREAM: (State.SENDING, (_A.OPEN_UPLOAD, _A.RECEIVE_FILE)),
        _E.REFUSED: (State.ENDED, (_A.STOP_BODY, _A.RESPOND, _A.RELEASE)),
        _E.CLIENT_GONE: (State.ENDED, (_A.STOP_BODY, _A.RELEASE)),
    },
    State.HOLDING: {
        _E.VERIFIED: (State.AWAITING, (_A.SEND,)),
        _E.MUST_MEASURE: (State.MEASURING, (_A.MEASURE,)),
        _E.MUST_DELETE_EACH: (State.DELETING, (_A.DELETE_EACH,)),
        _E.VERIFIED_ON_DISK: (State.SENDING, (_A.OPEN_UPLOAD, _A.SEND_FROM_DISK)),
        _E.REFUSED: (State.ENDED, (_A.STOP_BODY, _A.RESPOND, _A.RELEASE)),
        _E.CLIENT_GONE: (State.ENDED, (_A.STOP_BODY, _A.RELEASE)),
    },
    State.SENDING: {
        _E.VERIFIED: (State.AWAITING, (_A.FINISH_UPLOAD,)),
        _E.REFUSED: (State.ENDED, (_A.STOP_BODY, _A.ABORT_BACKEND, _A.RESPOND, _A.RELEASE)),
        # The commit guard: success before the tail was released is a lie, or a backend which commits short bodies.
        _E.ANSWERED_BELOW_400: (State.ENDED, (_A.STOP_BODY, _A.ABORT_BACKEND, _A.RESPOND, _A.RELEASE)),
        _E.ANSWERED_FROM_400: (State.RELAYING, (_A.STOP_BODY, _A.RELAY)),
        _E.ANSWER_NEEDS_READING: (State.JUDGING, (_A.STOP_BODY, _A.READ_ANSWER)),
        _E.BACKEND_FAILED: (State.ENDED, (_A.STOP_BODY, _A.ABORT_BACKEND, _A.RESPOND, _A.RELEASE)),
        _E.CLIENT_GONE: (State.ENDED, (_A.STOP_BODY, _A.ABORT_BACKEND, _A.RELEASE)),
    },
    State.MEASURING: {
        _E.MUST_MEASURE: (State.MEASURING, (_A.MEASURE,)),
        _E.MEASURED: (State.AWAITING, (_A.SEND,)),
        **_ANSWERS,
        **_ENDS,
        # What was asked says that the request is not to be sent: nothing has failed.
        _E.REFUSED: (State.ENDED, (_A.ABORT_BACKEND, _A.RESPOND, _A.RELEASE)),
    },
    State.DELETING: {**_ANSWERS, **_ENDS},
    State.AWAITING: {
        **_ANSWERS,
        _E.REFUSED_HERE: (State.ENDED, (_A.ABORT_BACKEND, _A.RESPOND, _A.RELEASE)),
        **_ENDS,
    },
    State.EXPLAINING: {**_ANSWERS, **_ENDS},
    State.JUDGING: {
        _E.ANSWER_BEGAN: (State.RELAYING, (_A.RELAY_EARLY,)),
        _E.ANSWER_ACQUITS_US: (State.RELAYING, (_A.RELAY,)),
        _E.ANSWER_CONTINUES: (State.AWAITING, (_A.ASK_ON,)),
        _E.ANSWER_BLAMES_US: (State.ENDED, (_A.ABORT_BACKEND, _A.RESPOND, _A.RELEASE)),
        **_ENDS,
    },
    State.RELAYING: {
        _E.ANSWER_ENDED: (State.ENDED, (_A.FINISH, _A.RELEASE)),
        _E.BACKEND_FAILED: (State.ENDED, (_A.CUT_CLIENT, _A.RELEASE)),
        _E.CLIENT_GONE: (State.ENDED, (_A.ABORT_BACKEND, _A.RELEASE)),
    },
    State.ENDED: {},
}

TABLE: dict[tuple[State, Event], Step] = {
    (state, event): _ROWS[state].get(event, (state, _IGNORE)) for state in State for event in Event
}
"""
Every state with every event. An event without a row of its own came too late to matter and changes nothing.
"""


class Machine:
    """
    One request on its way through the table.

    Attributes:
        error: What the client is to read, once an event has brought a refusal.
    """

    __slots__ = ("error", "state")

    def __init__(self) -> None:
        self.state = State.LOOKING_UP
        self.error: S3Error | None = None

    def receive(self, event: Event, error: S3Error | None = None) -> tuple[Action, ...]:
        """
        Move on, and return what is to be done, in order.

        Args:
            error: With an event which leads to RESPOND: what the client is told.
        """
        state, actions = TABLE[self.state, event]
        if error is not None and self.error is None and actions:
            self.error = error
        self.state = state
        return actions


class EventReceiver(Protocol):
    """
    What each stage of a request tells: a `s3proxy.exchange.exchange.Exchange`.
    """

    @property
    def state(self) -> State:
        """
        What the request waits for.
        """

    def receive(self, event: Event, error: S3Error | None = None) -> None:
        """
        Know what has happened, and do what is due.
        """

    def guarded(self, step: Callable[..., None], *arguments: Any) -> None:
        """
        Take a step, and turn whatever it raises into what the client reads.
        """
