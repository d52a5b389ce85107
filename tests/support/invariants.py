"""
What is always true of a channel, a connection to a backend, a writer and an exchange, between two turns of the reactor.

`tests.support.liveness` asks for it after each turn of each test. A rule that needs several objects stands at the one
that would be harmed.
"""

from __future__ import annotations

from collections.abc import Iterator

from s3proxy.backend.connection import BackendConnection
from s3proxy.exchange.exchange import Exchange
from s3proxy.exchange.machine import State
from s3proxy.frontend.channel import S3Channel
from s3proxy.frontend.incoming_body import NO_BODY
from s3proxy.transport.writer import DirectWriter

_BEFORE_ADMISSION = frozenset({State.LOOKING_UP, State.READING_FORM, State.JUDGING_FORM})


def broken_of_channel(channel: S3Channel) -> Iterator[str]:
    """
    Yield the rules that a client's channel breaks.
    """
    state, request = channel._state.name, channel._request
    if channel._is_reading:
        yield "it reads between two turns"
    if state == "HEAD" and (request is not None or channel.body is not NO_BODY):
        yield "HEAD with a request or its body"
    if state == "BODY" and channel.body is NO_BODY:
        yield "BODY without a body"
    if state == "ANSWERING" and request is None:
        yield "ANSWERING without a request"
    if state == "LINGERING" and (request is not None or channel.holds.reasons or channel.persistent):
        yield "LINGERING with a request, a hold or another request to come"
    if request is not None and channel.requests != [request]:
        yield "Twisted knows other requests"
    if channel.is_aborted and state != "CLOSED":
        yield "an aborted channel is not CLOSED"


def broken_of_writer(writer: DirectWriter) -> Iterator[str]:
    """
    Yield the rules that a writer breaks.
    """
    if writer._is_ready and (writer._socket is None or not writer._is_attached):
        yield "ready without a socket"
    if writer._is_ready and (writer.is_paused or writer.has_failed or writer.waiting_size):
        yield "ready, although the socket is full or failed"
    if writer.waiting_size and not writer.is_paused:
        yield "bytes wait and its source is not paused"
    if writer.has_failed and not writer.is_paused:
        yield "it failed and its source is not paused"


def broken_of_connection(connection: BackendConnection) -> Iterator[str]:
    """
    Yield the rules that a connection to a backend breaks.
    """
    if connection._body is not None and connection.is_body_sent:
        yield "a body that was sent is still there"
    if connection._is_lost and connection.reader is not None:
        yield "a response is awaited from a lost connection"
    if connection._is_lost and connection.deadline.at is not None:
        yield "a lost connection has a deadline"
    if connection.is_body_sent and connection.reader is not None and connection._body_left:
        yield "a sent body has bytes left"
    if connection in getattr(connection.pool, "_idle", ()):
        if connection.reader is not None or connection._body is not None or not connection.is_body_sent:
            yield "a request is on a connection in the pool"
        if connection.is_paused or connection.splice is not None:
            yield "a connection in the pool is not read"


def broken_of_exchange(exchange: Exchange) -> Iterator[str]:
    """
    Yield the rules that an exchange breaks.
    """
    state, transfer = exchange.state, exchange._transfer
    if state is State.ENDED and (transfer is not None or exchange._judgement is not None or exchange._form is not None):
        yield "ENDED with parts of it left"
    if state in _BEFORE_ADMISSION and transfer is not None:
        yield "it was admitted before it was judged"
    if exchange._record.is_over != (state is State.ENDED):
        yield "its record says another end"
