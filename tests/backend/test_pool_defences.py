"""
The connections to one address: how many there are, how long requests wait for them, and what is sent again.
"""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.error import ConnectionRefusedError

from s3proxy.backend.faults import BackendFault
from s3proxy.backend.upload import Upload
from tests.backend.asked import HEAD, Asked


def test_connections_have_a_bound() -> None:
    """
    Further requests wait for one, but not forever.
    """
    asked = Asked(max_connections=1)
    asked.send()
    asked.endpoint.connected()
    asked.send()
    asked.send()
    assert asked.endpoint.connecting == []

    asked.response()
    assert len(asked.responses) == 1
    asked.clock.advance(5.1)

    assert asked.faults == [BackendFault.BUSY]
    assert len(asked.endpoint.transports) == 1


def test_connecting_takes_a_while_at_most() -> None:
    """
    This includes TLS.
    """
    asked = Asked()
    asked.send()
    asked.clock.advance(4.9)
    assert asked.faults == []
    asked.clock.advance(0.2)

    assert asked.faults == [BackendFault.UNREACHABLE]


def test_idle_connections_have_a_bound() -> None:
    """
    Connections beyond the limit are closed.
    """
    asked = Asked(max_pooled=1)
    for _ in range(2):
        asked.send()
        asked.endpoint.connected()
    asked.response(0)
    asked.response(1)

    assert [transport.disconnecting for transport in asked.endpoint.transports] == [False, True]


def test_a_pool_that_was_left_behind_keeps_nothing() -> None:
    """
    Neither connections that are idle nor those that become idle.
    """
    asked = Asked()
    asked.make_idle()
    asked.send()
    asked.send()
    asked.endpoint.connected()

    asked.pool.retire()
    asked.response(0)
    asked.response(1)

    assert [transport.disconnecting for transport in asked.endpoint.transports] == [True, True]


@pytest.mark.parametrize("is_quiet", [True, False])
def test_an_idle_connection_that_says_something(is_quiet: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    It serves no request, neither out of the pool nor at once: its bytes would become the next client's response.
    """
    monkeypatch.setattr("s3proxy.backend.connection.is_readable", lambda transport: not is_quiet)
    asked = Asked()
    asked.make_idle()
    asked.send()
    assert asked.endpoint.transports[0].disconnected is not is_quiet
    assert len(asked.endpoint.connecting) == (0 if is_quiet else 1)

    asked = Asked(max_connections=1)
    asked.send()
    asked.endpoint.connected()
    asked.send()
    asked.response()
    assert asked.endpoint.transports[0].disconnected is not is_quiet
    assert (asked.endpoint.transports[0].value() == HEAD * 2) is is_quiet


def test_a_body_that_cannot_be_sent_twice_gets_a_young_connection() -> None:
    """
    A connection that was idle for a while may be closed already.
    """
    for seconds, is_taken in ((1.9, True), (2.1, False)):
        asked = Asked()
        asked.make_idle()
        asked.clock.advance(seconds)
        asked.send(body=Upload(HEAD, 5))

        assert (asked.endpoint.connecting == []) is is_taken


@pytest.mark.parametrize("is_idempotent", [True, False])
def test_what_is_sent_again(is_idempotent: bool) -> None:
    """
    A request on a reused connection that failed without a response, if it may be repeated; otherwise its client must
    retry.
    """
    asked = Asked()
    asked.make_idle()
    asked.send(is_idempotent=is_idempotent)
    asked.lose()

    assert len(asked.endpoint.connecting) == (1 if is_idempotent else 0)
    assert asked.faults == ([] if is_idempotent else [BackendFault.STALE])
    if is_idempotent:
        asked.endpoint.connected()
        asked.lose()
        assert asked.faults == [BackendFault.UNANSWERED]


@pytest.mark.parametrize("is_idempotent", [True, False])
@pytest.mark.parametrize("left", [b"0\r\n\r\n", b"<Error/>", b"\r\n", b"\0", b"HTTQ"], ids=repr)
def test_what_got_nothing_but_what_was_left(left: bytes, is_idempotent: bool) -> None:
    """
    Bytes left over from an ordinary response arrive after the next request was sent: they are not its response.
    """
    asked = Asked()
    asked.make_idle()
    asked.send(is_idempotent=is_idempotent)
    asked.endpoint.protocols[0].dataReceived(left)

    assert asked.endpoint.transports[0].disconnected
    assert len(asked.endpoint.connecting) == (1 if is_idempotent else 0)
    assert asked.faults == ([] if is_idempotent else [BackendFault.STALE])


def test_a_new_connection_brings_nothing_that_was_left() -> None:
    """
    What the first request gets is the backend's response to it, and no reason to send it again.
    """
    asked = Asked()
    asked.send()
    asked.endpoint.connected()
    asked.endpoint.protocols[0].dataReceived(b"<Error/>\r\n\r\n")

    assert asked.endpoint.connecting == []
    assert asked.faults == [BackendFault.LOST]


@pytest.mark.parametrize("is_idempotent", [True, False])
@pytest.mark.parametrize("brings", [b"0\r\n\r\n", b""], ids=["what was left", "its end"])
def test_a_connection_that_was_waited_for_is_a_used_one(brings: bytes, is_idempotent: bool) -> None:
    """
    If all connections are in use, the next request gets one that has just served another, and may be sent again.
    """
    asked = Asked(max_connections=1)
    asked.send()
    asked.endpoint.connected()
    asked.send(is_idempotent=is_idempotent)
    asked.response()
    if brings:
        asked.endpoint.protocols[0].dataReceived(brings)
        assert asked.endpoint.transports[0].disconnected
    asked.lose(0)

    assert len(asked.responses) == 1
    assert asked.pool.retried_count == (1 if is_idempotent else 0)
    assert asked.faults == ([] if is_idempotent else [BackendFault.STALE])
    if is_idempotent:
        asked.endpoint.connected()
        asked.response()
        assert len(asked.responses) == 2


def test_what_is_sent_again_gets_a_new_connection() -> None:
    """
    It never gets a used one, whichever becomes free first: that could again have bytes of another response.
    """
    asked = Asked(max_connections=2)
    asked.make_idle()
    asked.send()
    asked.send()
    asked.endpoint.connected()
    asked.endpoint.protocols[0].dataReceived(b"0\r\n\r\n")
    assert asked.endpoint.connecting == []

    asked.response(1)
    assert asked.endpoint.transports[1].disconnected
    asked.lose(1)
    asked.endpoint.connected()
    asked.response()

    assert len(asked.endpoint.transports) == 3
    assert len(asked.responses) == 2
    assert asked.faults == []


def test_what_was_answered_is_not_sent_again() -> None:
    """
    A byte of a response shows that the request arrived.
    """
    asked = Asked()
    asked.make_idle()
    asked.send()
    asked.endpoint.protocols[0].dataReceived(b"HTTP/1.1 ")
    asked.lose()

    assert asked.endpoint.connecting == []
    assert asked.faults == [BackendFault.LOST]


def test_a_request_on_a_pooled_connection_is_given_up() -> None:
    """
    Its connection is reset, nobody is told anything of it, and it says nothing about the address.
    """
    asked = Asked(breaker_failures=1)
    asked.make_idle()
    pending = asked.send()
    pending.cancel()

    assert asked.endpoint.transports[0].disconnected
    asked.lose()
    assert (asked.responses, asked.faults, asked.endpoint.connecting) == ([], [], [])
    assert not asked.pool.breaker.is_open
    pending.cancel()


def test_a_request_that_is_sent_again_is_given_up() -> None:
    """
    The attempt to connect ends, and no other follows.
    """
    asked = Asked()
    asked.make_idle()
    pending = asked.send()
    asked.lose()
    assert len(asked.endpoint.connecting) == 1

    pending.cancel()

    assert asked.pool.busy_count == 0
    assert (asked.responses, asked.faults, len(asked.endpoint.connecting)) == ([], [], 1)


def test_what_is_complete_cannot_be_given_up() -> None:
    """
    Once there is a response, its connection may serve another request: to cancel the former resets nothing.
    """
    asked = Asked()
    asked.make_idle()
    former = asked.send()
    asked.response()
    asked.send()

    former.cancel()

    assert not asked.endpoint.transports[0].disconnected
    asked.response()
    assert len(asked.responses) == 2


def test_an_upload_is_sent_again_up_to_its_second_block() -> None:
    """
    Its first block is kept until then.
    """
    head = b"PUT / HTTP/1.1\r\nHost: s3.test\r\nContent-Length: 9\r\n\r\n"
    for blocks, is_repeated in ((1, True), (2, False)):
        asked = Asked()
        asked.make_idle()
        upload = Upload(head, 9)
        asked.send(body=upload)
        for _ in range(blocks):
            upload.write(b"abc")
        asked.lose()

        assert (asked.endpoint.connecting != []) is is_repeated
        assert asked.faults == ([] if is_repeated else [BackendFault.STALE])
        if is_repeated:
            asked.endpoint.connected()
            assert asked.endpoint.transports[-1].value() == head + b"abc"


def test_a_backend_that_is_gone_is_not_asked_for_a_while() -> None:
    """
    After failures in a row; a request that its client gives up or that breaks in the middle does not count.
    """
    asked = Asked(breaker_failures=2, breaker_time=5)
    for _ in range(2):
        asked.send()
        asked.endpoint.connecting.pop()[1].errback(ConnectionRefusedError())
    asked.send()
    assert asked.faults == [BackendFault.UNREACHABLE, BackendFault.UNREACHABLE, BackendFault.OPEN]
    assert asked.endpoint.connecting == []
    asked.clock.advance(5.1)
    asked.send()
    assert len(asked.endpoint.connecting) == 1

    asked = Asked(breaker_failures=2, breaker_time=5)
    for _ in range(3):
        asked.send()
        asked.endpoint.connected()
        asked.endpoint.protocols[-1].dataReceived(b"garbage\r\n\r\n")
    assert asked.faults == [BackendFault.LOST] * 3
    for _ in range(3):
        asked.send().cancel()
    assert BackendFault.OPEN not in asked.faults


# Uploads


class Socket:
    """
    The backend's side of an upload.
    """

    waiting_size = 0

    def __init__(self) -> None:
        self.data = b""

    def writeSequence(self, pieces: Any) -> None:
        """
        Keep.
        """
        self.data += b"".join(pieces)


class Source:
    """
    The client's side of an upload.
    """

    def __init__(self) -> None:
        self.calls: list[str] = []

    def pauseProducing(self) -> None:
        """
        Stop.
        """
        self.calls.append("pause")

    def resumeProducing(self) -> None:
        """
        Continue.
        """
        self.calls.append("resume")


def test_a_client_waits_for_its_backend() -> None:
    """
    This holds before there is a connection, and while it accepts nothing.
    """
    upload, source, socket = Upload(HEAD, 9), Source(), Socket()
    upload.registerProducer(source, True)
    upload.write(b"abc")
    assert source.calls == ["pause"]

    upload.startProducing(socket).addErrback(lambda failure: None)
    assert (socket.data, source.calls) == (b"abc", ["pause", "resume"])
    upload.pauseProducing()
    assert source.calls == ["pause", "resume", "pause"]


def test_nothing_of_a_refused_body_leaves() -> None:
    """
    Nothing leaves, whatever the client still sends; and the connection gets the reason.
    """
    upload, socket, failures = Upload(HEAD, 9), Socket(), list[Any]()
    upload.startProducing(socket).addErrback(failures.append)
    upload.write(b"abc")
    upload.fail(ValueError("it was not verified"))
    upload.write(b"def")

    assert socket.data == b"abc"
    assert upload.waiting_size == 0
    assert [failure.type for failure in failures] == [ValueError]
    assert not upload.rewind()
