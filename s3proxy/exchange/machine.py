"""
The life of one request as a table: for each state and event, the next state and the actions to perform.

The table decides; `s3proxy.exchange.exchange` carries out. No byte of a body passes through here, and nothing waits.

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
    "the credentials of the key that signed a well-formed head"
    READING_FORM = auto()
    "the fields of a form, which include its signature"
    JUDGING_FORM = auto()
    "the credentials of the key that signed a form's policy; s3proxy does not read the file yet"
    HOLDING = auto()
    "the rest of a body that is verified whole before s3proxy sends anything to a backend"
    SENDING = auto()
    "the rest of a body that is verified while it streams; its last bytes are withheld"
    MEASURING = auto()
    "the response to a request that must come first: it describes the object, or says if conditions hold"
    DELETING = auto()
    "the responses to many requests, each of which deletes one object of a document"
    AWAITING = auto()
    "the backend's response: all bytes were verified, and the backend may have them"
    EXPLAINING = auto()
    "the response to a GET: the response to HEAD refused, and could not say why"
    JUDGING = auto()
    "the document of a response, if it may be about our own signature or must be edited"
    RELAYING = auto()
    "the end of the response"
    ENDED = auto()
    "nothing; everything was released"


class Event(IdentityEnum):
    """
    What can happen to an exchange.
    """

    AUTHENTICATED_WITHOUT_BODY = auto()
    "the client is authenticated; the request has no body, and claims nothing about one"
    AUTHENTICATED_TO_HOLD = auto()
    "the client is authenticated; its body is small, empty or a document"
    AUTHENTICATED_TO_STREAM = auto()
    "the client is authenticated; its body goes to the backend as it arrives"
    FORM_BEGAN = auto()
    "the request is a form upload, and its head has no signature"
    FIELDS_READ = auto()
    "the fields of a form are complete, and its file begins"
    REFUSED = auto()
    "an S3 error: of the head, of the credentials, of the body, or because the client stopped sending"
    REFUSED_HERE = auto()
    "an S3 error of an operation that s3proxy carries out in the backend's place"
    VERIFIED = auto()
    "the whole body arrived, and every claim about it is true"
    VERIFIED_ON_DISK = auto()
    "the whole body arrived and is verified; it was too large for memory, and is on disk"
    MUST_MEASURE = auto()
    "the whole request is verified, and it depends on the object at the backend"
    MUST_DELETE_EACH = auto()
    "the whole request is verified, and its objects are deleted one by one"
    MEASURED = auto()
    "the object at the backend is known, and the request may be sent"
    ANSWERED_BELOW_400 = auto()
    "the backend's final head claims success, or redirects"
    ANSWERED_FROM_400 = auto()
    "the backend's final head refuses"
    RESPONSE_NEEDS_READING = auto()
    "the backend's final head has come, and its document must be read before the client may see it"
    RESPONSE_UNEXPLAINED = auto()
    "a response to HEAD refuses, and has no document to say if the refusal is about our own signature"
    RESPONSE_BEGAN = auto()
    "the backend still works; its final head may be relayed, with the white space that keeps the client waiting"
    RESPONSE_ACQUITS_US = auto()
    "the document may be relayed"
    RESPONSE_BLAMES_US = auto()
    "the document says that our own signature or key was refused"
    RESPONSE_CONTINUES = auto()
    "the page of a listing has no entry for the client, and another page follows"
    RESPONSE_ENDED = auto()
    "the last byte of the response was handed to the client's socket"
    BACKEND_FAILED = auto()
    "the response will not arrive, or not completely"
    CLIENT_GONE = auto()
    "the client has disconnected"


class Action(IdentityEnum):
    """
    What the proxy must do.
    """

    RECEIVE_BODY = auto()
    "let the client send: 100 Continue if it waits for that, then read its body"
    READ_FIELDS = auto()
    "let the client send a form, up to its file"
    JUDGE_FORM = auto()
    "read the claim in the form's fields, and look up its key"
    RECEIVE_FILE = auto()
    "let the client send a form's file"
    OPEN_UPLOAD = auto()
    "sign the head and begin an upload to the backend, before the end of the body has arrived"
    SEND_FROM_DISK = auto()
    "send the verified body from disk, at the backend's pace"
    FINISH_UPLOAD = auto()
    "complete the upload: the whole body is verified"
    SEND = auto()
    "sign the head and send it with the body that was held"
    MEASURE = auto()
    "send the request that must come first: HEAD of an object, or GET of a document"
    DELETE_EACH = auto()
    "send a request for each object that a document names"
    STOP_BODY = auto()
    "stop reading the client's body"
    READ_RESPONSE = auto()
    "read the response's document, up to a maximum size"
    ASK_WHY = auto()
    "send a GET for the error document that a response to HEAD cannot have"
    ASK_ON = auto()
    "request the next page of a listing"
    RELAY = auto()
    "send the response to the client as it arrives"
    RESPOND = auto()
    "respond with the S3 error"
    RELAY_EARLY = auto()
    "send the head and the white space to the client; the document follows once it was read"
    FINISH = auto()
    "end the client's response"
    ABORT_BACKEND = auto()
    "reset the backend's connection, so that the backend never has a complete request"
    CUT_CLIENT = auto()
    "reset the client's connection: a cut response must not look complete"
    RELEASE = auto()
    "release everything, and write the access log"


Step = tuple[State, tuple[Action, ...]]

_E = Event
_A = Action
_IGNORE: tuple[Action, ...] = ()

_RESPONSES: dict[Event, Step] = {
    _E.ANSWERED_BELOW_400: (State.RELAYING, (_A.RELAY,)),
    _E.ANSWERED_FROM_400: (State.RELAYING, (_A.RELAY,)),
    _E.RESPONSE_NEEDS_READING: (State.JUDGING, (_A.READ_RESPONSE,)),
    _E.RESPONSE_UNEXPLAINED: (State.EXPLAINING, (_A.ASK_WHY,)),
}
"""
The steps after a response, once all bytes were verified.
"""

_ENDS: dict[Event, Step] = {
    _E.BACKEND_FAILED: (State.ENDED, (_A.ABORT_BACKEND, _A.RESPOND, _A.RELEASE)),
    _E.CLIENT_GONE: (State.ENDED, (_A.ABORT_BACKEND, _A.RELEASE)),
}
"""
The steps that end an exchange whose client has nothing of a response yet.
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
        # The commit guard: success before the tail was released is false, or the backend commits short bodies.
        _E.ANSWERED_BELOW_400: (State.ENDED, (_A.STOP_BODY, _A.ABORT_BACKEND, _A.RESPOND, _A.RELEASE)),
        _E.ANSWERED_FROM_400: (State.RELAYING, (_A.STOP_BODY, _A.RELAY)),
        _E.RESPONSE_NEEDS_READING: (State.JUDGING, (_A.STOP_BODY, _A.READ_RESPONSE)),
        _E.BACKEND_FAILED: (State.ENDED, (_A.STOP_BODY, _A.ABORT_BACKEND, _A.RESPOND, _A.RELEASE)),
        _E.CLIENT_GONE: (State.ENDED, (_A.STOP_BODY, _A.ABORT_BACKEND, _A.RELEASE)),
    },
    State.MEASURING: {
        _E.MUST_MEASURE: (State.MEASURING, (_A.MEASURE,)),
        _E.MEASURED: (State.AWAITING, (_A.SEND,)),
        **_RESPONSES,
        **_ENDS,
        # The response says that the client's request must not be sent. Nothing has failed.
        _E.REFUSED: (State.ENDED, (_A.ABORT_BACKEND, _A.RESPOND, _A.RELEASE)),
    },
    State.DELETING: {**_RESPONSES, **_ENDS},
    State.AWAITING: {
        **_RESPONSES,
        _E.REFUSED_HERE: (State.ENDED, (_A.ABORT_BACKEND, _A.RESPOND, _A.RELEASE)),
        **_ENDS,
    },
    State.EXPLAINING: {**_RESPONSES, **_ENDS},
    State.JUDGING: {
        _E.RESPONSE_BEGAN: (State.RELAYING, (_A.RELAY_EARLY,)),
        _E.RESPONSE_ACQUITS_US: (State.RELAYING, (_A.RELAY,)),
        _E.RESPONSE_CONTINUES: (State.AWAITING, (_A.ASK_ON,)),
        _E.RESPONSE_BLAMES_US: (State.ENDED, (_A.ABORT_BACKEND, _A.RESPOND, _A.RELEASE)),
        **_ENDS,
    },
    State.RELAYING: {
        _E.RESPONSE_ENDED: (State.ENDED, (_A.FINISH, _A.RELEASE)),
        _E.BACKEND_FAILED: (State.ENDED, (_A.CUT_CLIENT, _A.RELEASE)),
        _E.CLIENT_GONE: (State.ENDED, (_A.ABORT_BACKEND, _A.RELEASE)),
    },
    State.ENDED: {},
}

TABLE: dict[tuple[State, Event], Step] = {
    (state, event): _ROWS[state].get(event, (state, _IGNORE)) for state in State for event in Event
}
"""
The step for every state and event. An event without a row of its own came too late, and changes nothing.
"""


class EventReceiver(Protocol):
    """
    Receives the events of each stage of a request: a `s3proxy.exchange.exchange.Exchange`.

    Attributes:
        state: What the request waits for.
    """

    state: State

    def receive(self, event: Event, error: S3Error | None = None) -> None:
        """
        Handle an event: change the state and perform the actions that the table names.
        """

    def failed(self, error: Exception) -> None:
        """
        Turn an exception into the client's error response.
        """

    def guarded(self, step: Callable[..., None], *arguments: Any) -> None:
        """
        Call a function, and turn any exception into the client's error response.
        """
