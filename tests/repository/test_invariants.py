"""
The rules that hold between two turns notice each state that must not be.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from s3proxy.exchange.machine import State
from s3proxy.frontend.incoming_body import NO_BODY
from tests.support.invariants import broken_of_channel, broken_of_connection, broken_of_exchange, broken_of_writer

REQUEST = object()
HOLDS, NO_HOLDS = SimpleNamespace(reasons={1}), SimpleNamespace(reasons=set())


def channel(state: str, **differing: Any) -> Any:
    usual: dict[str, Any] = {
        "_state": SimpleNamespace(name=state),
        "_request": None,
        "_is_reading": False,
        "body": NO_BODY,
        "holds": NO_HOLDS,
        "persistent": state != "LINGERING",
        "requests": [],
        "is_aborted": False,
    }
    return SimpleNamespace(**usual | differing)


def writer(**differing: Any) -> Any:
    usual: dict[str, Any] = {
        "_is_ready": True,
        "_socket": object(),
        "_is_attached": True,
        "is_paused": False,
        "has_failed": False,
        "waiting_size": 0,
    }
    return SimpleNamespace(**usual | differing)


def connection(*, is_idle: bool = False, **differing: Any) -> Any:
    usual: dict[str, Any] = {
        "_body": None,
        "_body_left": 0,
        "is_body_sent": True,
        "_is_lost": False,
        "is_paused": False,
        "reader": None,
        "splice": None,
        "deadline": SimpleNamespace(at=None),
        "pool": SimpleNamespace(_idle=[]),
    }
    found = SimpleNamespace(**usual | differing)
    if is_idle:
        found.pool._idle.append(found)
    return found


def exchange(state: State, *, is_over: bool = False, **differing: Any) -> Any:
    usual: dict[str, Any] = {
        "state": state,
        "_transfer": None,
        "_judgement": None,
        "_form": None,
        "_record": SimpleNamespace(is_over=is_over),
    }
    return SimpleNamespace(**usual | differing)


@pytest.mark.parametrize(
    "found",
    [
        channel("HEAD"),
        channel("BODY", body=object()),
        channel("ANSWERING", _request=REQUEST, requests=[REQUEST]),
        channel("LINGERING"),
        channel("CLOSED", is_aborted=True),
    ],
)
def test_what_a_channel_may_be(found: Any) -> None:
    """
    Each state has one that is right.
    """
    assert list(broken_of_channel(found)) == []


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (channel("HEAD", _is_reading=True), "it reads between two turns"),
        (channel("HEAD", _request=REQUEST, requests=[REQUEST]), "HEAD with a request or its body"),
        (channel("HEAD", body=object()), "HEAD with a request or its body"),
        (channel("BODY"), "BODY without a body"),
        (channel("ANSWERING"), "ANSWERING without a request"),
        (channel("LINGERING", holds=HOLDS), "LINGERING with a request, a hold or another request to come"),
        (channel("LINGERING", persistent=True), "LINGERING with a request, a hold or another request to come"),
        (channel("ANSWERING", _request=REQUEST), "Twisted knows other requests"),
        (channel("HEAD", is_aborted=True), "an aborted channel is not CLOSED"),
    ],
)
def test_what_a_channel_may_not_be(found: Any, words: str) -> None:
    """
    Each rule is broken by one thing alone.
    """
    assert list(broken_of_channel(found)) == [words]


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (writer(_socket=None), "ready without a socket"),
        (writer(_is_attached=False), "ready without a socket"),
        (writer(is_paused=True), "ready, although the socket is full or failed"),
        (writer(_is_ready=False, waiting_size=1), "bytes wait and its source is not paused"),
        (writer(_is_ready=False, has_failed=True), "it failed and its source is not paused"),
    ],
)
def test_what_a_writer_may_not_be(found: Any, words: str) -> None:
    """
    Each rule is broken by one thing alone.
    """
    assert list(broken_of_writer(writer())) == []
    assert list(broken_of_writer(found)) == [words]


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (connection(_body=object()), "a body that was sent is still there"),
        (connection(_is_lost=True, reader=object()), "a response is awaited from a lost connection"),
        (connection(_is_lost=True, deadline=SimpleNamespace(at=1.0)), "a lost connection has a deadline"),
        (connection(reader=object(), _body_left=1), "a sent body has bytes left"),
        (connection(is_idle=True, reader=object()), "a request is on a connection in the pool"),
        (connection(is_idle=True, is_body_sent=False), "a request is on a connection in the pool"),
        (connection(is_idle=True, is_paused=True), "a connection in the pool is not read"),
    ],
)
def test_what_a_connection_may_not_be(found: Any, words: str) -> None:
    """
    Each rule is broken by one thing alone.
    """
    assert list(broken_of_connection(connection(is_idle=True))) == []
    assert list(broken_of_connection(found)) == [words]


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (exchange(State.ENDED, is_over=True, _transfer=REQUEST), "ENDED with parts of it left"),
        (exchange(State.LOOKING_UP, _transfer=REQUEST), "it was admitted before it was judged"),
        (exchange(State.ENDED), "its record says another end"),
        (exchange(State.SENDING, is_over=True), "its record says another end"),
    ],
)
def test_what_an_exchange_may_not_be(found: Any, words: str) -> None:
    """
    Each rule is broken by one thing alone.
    """
    assert list(broken_of_exchange(exchange(State.SENDING))) == []
    assert list(broken_of_exchange(found)) == [words]
