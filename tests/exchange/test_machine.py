"""
The state table of an exchange, row by row and along every path.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3proxy.backend.faults import BackendFault, error_for_fault
from s3proxy.exchange.exchange import Exchange
from s3proxy.exchange.machine import TABLE, Action, Event, State
from s3proxy.s3.errors import AccessDenied, InternalError, S3Error, ServiceUnavailable, SlowDown
from s3proxy.s3.head import RequestHead, index_headers
from tests.support.memory import MemoryProxy

WHOLE_AND_VERIFIED = {Event.VERIFIED, Event.AUTHENTICATED_WITHOUT_BODY, Event.MUST_MEASURE}
"The events that come only once the whole request is verified, as `Event` says of each."


def run(*events: Event) -> tuple[State, list[Action]]:
    """
    Return the last state and all actions.
    """
    state, actions = State.LOOKING_UP, list[Action]()
    for event in events:
        state, more = TABLE[state, event]
        actions += more
    return state, actions


def test_a_streamed_upload_is_finished_only_after_it_was_verified() -> None:
    """
    The backend gets the end of a body in one place only: after the verdict.
    """
    state, actions = run(Event.AUTHENTICATED_TO_STREAM, Event.VERIFIED, Event.ANSWERED_BELOW_400, Event.RESPONSE_ENDED)

    assert actions == [
        Action.OPEN_UPLOAD,
        Action.RECEIVE_BODY,
        Action.FINISH_UPLOAD,
        Action.RELAY,
        Action.FINISH,
        Action.RELEASE,
    ]
    assert state is State.ENDED


def test_a_held_body_reaches_the_backend_only_after_it_was_verified() -> None:
    """
    A small body that is refused is never sent.
    """
    _, verified = run(Event.AUTHENTICATED_TO_HOLD, Event.VERIFIED)
    _, refused = run(Event.AUTHENTICATED_TO_HOLD, Event.REFUSED)

    assert verified == [Action.RECEIVE_BODY, Action.SEND]
    assert refused == [Action.RECEIVE_BODY, Action.STOP_BODY, Action.RESPOND, Action.RELEASE]


def test_success_before_the_tail_was_released_is_not_believed() -> None:
    """
    A backend that returns 200 to half a body is reset, and its client reads an error.
    """
    state, actions = run(Event.AUTHENTICATED_TO_STREAM, Event.ANSWERED_BELOW_400)

    assert actions[-4:] == [Action.STOP_BODY, Action.ABORT_BACKEND, Action.RESPOND, Action.RELEASE]
    assert state is State.ENDED


@pytest.mark.parametrize("event", [Event.ANSWERED_FROM_400, Event.RESPONSE_NEEDS_READING])
def test_an_early_refusal_is_passed_on(event: Event) -> None:
    """
    A backend's early 4xx or 5xx reaches the client, whose body is no longer read.
    """
    _, actions = run(Event.AUTHENTICATED_TO_STREAM, event)

    assert actions[2] is Action.STOP_BODY
    assert actions[3] in {Action.RELAY, Action.READ_RESPONSE}


@pytest.mark.parametrize(("state", "event"), list(TABLE))
def test_whatever_ends_an_exchange_releases_everything(state: State, event: Event) -> None:
    """
    Each step into the final state releases; no other step does.
    """
    next_state, actions = TABLE[state, event]

    assert (Action.RELEASE in actions) == (next_state is State.ENDED and state is not State.ENDED)
    assert Action.RELEASE not in actions[:-1]


@pytest.mark.parametrize(("state", "event"), list(TABLE))
def test_a_refusal_while_bytes_are_with_the_backend_resets_it(state: State, event: Event) -> None:
    """
    From a state in which the backend has part of a body, s3proxy resets it before it sends its own response.
    """
    next_state, actions = TABLE[state, event]

    if state in {State.SENDING, State.AWAITING, State.JUDGING} and next_state is State.ENDED:
        assert Action.ABORT_BACKEND in actions
        if Action.RESPOND in actions:
            assert actions.index(Action.ABORT_BACKEND) < actions.index(Action.RESPOND)


@pytest.mark.parametrize("event", list(Event))
def test_nothing_happens_after_the_end(event: Event) -> None:
    """
    An event that comes too late changes nothing.
    """
    assert TABLE[State.ENDED, event] == (State.ENDED, ())


@given(st.lists(st.sampled_from(list(Event)), max_size=12))
def test_no_order_of_events_breaks_a_promise(events: list[Event]) -> None:
    """
    Whatever events come in whatever order: one end, one release, at most one response, no commit before the verdict.
    """
    state, actions = run(*events)

    ends = [action for action in actions if action is Action.RELEASE]
    responses = [action for action in actions if action in {Action.RESPOND, Action.RELAY}]
    assert len(ends) == (state is State.ENDED)
    assert len(responses) <= 1 or actions[-1] is not Action.RESPOND
    if Action.FINISH_UPLOAD in actions:
        assert Event.VERIFIED in events
    if Action.SEND in actions:
        assert WHOLE_AND_VERIFIED & set(events)


def test_the_first_error_is_what_the_client_reads() -> None:
    """
    A second refusal does not replace the first.
    """
    head = RequestHead(b"GET", b"/", b"HTTP/1.1", [], index_headers([]))
    statuses: list[int] = []

    def respond(status: int, *others: Any) -> None:
        statuses.append(status)
        exchange.receive(Event.REFUSED, InternalError())

    request: Any = SimpleNamespace(head=head, received_size=0, origin=SimpleNamespace(client_host="-"), respond=respond)
    request.tls_names = lambda: (None, None)
    exchange = Exchange(MemoryProxy().proxy.context, request, lambda ended: None)

    exchange.receive(Event.REFUSED, AccessDenied())
    exchange.receive(Event.REFUSED, InternalError())

    assert statuses == [403]


@pytest.mark.parametrize(
    ("fault", "wanted"),
    [
        (BackendFault.UNREACHABLE, ServiceUnavailable),
        (BackendFault.LOST, InternalError),
        (BackendFault.SILENT, ServiceUnavailable),
        (BackendFault.STALLED, ServiceUnavailable),
        (BackendFault.STALE, SlowDown),
        (BackendFault.OPEN, ServiceUnavailable),
        (BackendFault.BUSY, SlowDown),
    ],
)
def test_each_fault_has_its_response(fault: BackendFault, wanted: type[S3Error]) -> None:
    """
    The error for a backend's failure tells the client whether to try again.
    """
    assert type(error_for_fault(fault)) is wanted


@pytest.mark.parametrize("state", [State.MEASURING, State.DELETING, State.AWAITING, State.EXPLAINING])
@pytest.mark.parametrize(
    "event",
    [
        Event.ANSWERED_BELOW_400,
        Event.ANSWERED_FROM_400,
        Event.RESPONSE_NEEDS_READING,
        Event.RESPONSE_UNEXPLAINED,
        Event.BACKEND_FAILED,
        Event.CLIENT_GONE,
    ],
)
def test_no_response_is_ignored_where_one_is_awaited(state: State, event: Event) -> None:
    """
    Any response of a backend leads to another state: if the table ignored one, its client would wait for ever.
    """
    next_state, actions = TABLE[state, event]

    assert actions
    assert next_state is not state or Action.ASK_WHY in actions
