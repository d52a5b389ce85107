"""
Records of TLS, many at once, between a connection of ours and one of Twisted's own.
"""

from __future__ import annotations

import random
from typing import Any

import pytest
from twisted.internet.protocol import Protocol
from twisted.internet.ssl import CertificateOptions, TLSVersion
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.python.failure import Failure

from s3proxy.tls import Records
from tests.harness import server_context

OCTETS = random.Random(0).randbytes(3_000_000)


class Below(StringTransport):
    """
    What carries records: what was written waits, until it is taken.
    """

    dataBuffer = b""
    _tempDataBuffer: tuple[bytes, ...] = ()

    def take(self) -> bytes:
        """
        Take what was written.
        """
        octets = self.value()
        self.clear()
        return octets


class Receiver(Protocol):
    """
    Keeps what comes, piece by piece.
    """

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.ended: Failure | None = None

    def dataReceived(self, data: bytes) -> None:
        self.pieces.append(data)

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        self.ended = reason


class Side:
    """
    One side of a connection.
    """

    def __init__(self, context: Any, *, is_client: bool) -> None:
        self.receiver = Receiver()
        self.below = Below()
        # An option's own context is for its kind of side.
        factory = TLSMemoryBIOFactory(context, is_client, _Factory(self.receiver), Clock())  # type: ignore[arg-type]
        self.tls: Any = TLSMemoryBIOProtocol(factory, self.receiver)
        self.tls.makeConnection(self.below)


class _Factory:
    noisy = False

    def __init__(self, receiver: Receiver) -> None:
        self.receiver = receiver

    def doStart(self) -> None:
        """
        Do nothing.
        """

    doStop = doStart


@pytest.fixture(params=[TLSVersion.TLSv1_2, TLSVersion.TLSv1_3], ids=lambda version: version.name)
def sides(request: pytest.FixtureRequest) -> tuple[Side, Side]:
    """
    A server and a client before their handshake.
    """
    context = CertificateOptions(lowerMaximumSecurityTo=request.param)
    return Side(server_context(), is_client=False), Side(context, is_client=True)


def exchange(server: Side, client: Side) -> None:
    """
    Carry what was written, both ways, until nothing is.
    """
    while True:
        to_client, to_server = server.below.take(), client.below.take()
        if not to_client and not to_server:
            return
        if to_client:
            client.tls.dataReceived(to_client)
        if to_server:
            server.tls.dataReceived(to_server)


def test_one_read_is_one_piece(sides: tuple[Side, Side]) -> None:
    """
    What came in many records of one read is delivered together, and what came in two reads as two.
    """
    server, client = sides
    Records(server.tls).gather()
    exchange(server, client)
    client.tls.write(OCTETS[:1_000_000])
    wire = client.below.take()

    server.tls.dataReceived(wire[:500_000])
    server.tls.dataReceived(wire[500_000:])

    assert b"".join(server.receiver.pieces) == OCTETS[:1_000_000]
    assert len(server.receiver.pieces) == 2


def test_more_than_the_buffer_holds_is_still_one_piece(sides: tuple[Side, Side]) -> None:
    """
    Three megabytes of one read come whole.
    """
    server, client = sides
    Records(server.tls).gather()
    exchange(server, client)
    client.tls.write(OCTETS)

    server.tls.dataReceived(client.below.take())

    assert server.receiver.pieces == [OCTETS]


@pytest.mark.parametrize("cut", [1, 5, 17, 16_000, 70_000])
def test_records_may_be_cut_anywhere(sides: tuple[Side, Side], cut: int) -> None:
    """
    However the network cuts records, their octets arrive.
    """
    server, client = sides
    Records(server.tls).gather()
    exchange(server, client)
    client.tls.write(OCTETS[:50_000])
    wire = client.below.take()

    for start in range(0, len(wire), cut):
        server.tls.dataReceived(wire[start : start + cut])

    assert b"".join(server.receiver.pieces) == OCTETS[:50_000]


def test_pieces_are_encrypted_in_order(sides: tuple[Side, Side]) -> None:
    """
    Octets, views of them and empty pieces arrive as they were given.
    """
    server, client = sides
    records = Records(server.tls)
    exchange(server, client)

    wire = records.encrypt((OCTETS[:10], memoryview(OCTETS)[10:2_000_000], b"", OCTETS[2_000_000:]))
    client.tls.dataReceived(wire)

    assert b"".join(client.receiver.pieces) == OCTETS
    assert server.below.take() == b""


def test_what_was_written_before_the_handshake_leaves_first(sides: tuple[Side, Side]) -> None:
    """
    Twisted keeps what cannot be encrypted yet; what is written later does not overtake it.
    """
    server, client = sides
    records = Records(server.tls)
    records.gather()

    assert records.encrypt((b"first ",)) == b""
    assert records.encrypt((b"second ",)) == b""
    exchange(server, client)
    client.tls.dataReceived(records.encrypt((b"third",)))

    assert b"".join(client.receiver.pieces) == b"first second third"


def test_octets_before_an_end_are_delivered_and_the_end_is_told(sides: tuple[Side, Side]) -> None:
    """
    A close_notify in the same read as octets ends the connection after them.
    """
    server, client = sides
    Records(server.tls).gather()
    exchange(server, client)
    client.tls.write(b"the last octets")
    client.tls.loseConnection()

    server.tls.dataReceived(client.below.take())

    assert server.receiver.pieces == [b"the last octets"]
    assert server.below.disconnecting


@pytest.mark.parametrize("is_record", [True, False])
def test_changed_records_end_the_connection(sides: tuple[Side, Side], *, is_record: bool) -> None:
    """
    What cannot be decrypted is no octet of anybody, and the connection ends.
    """
    server, client = sides
    Records(server.tls).gather()
    exchange(server, client)
    client.tls.write(OCTETS[:1000])
    wire = client.below.take()

    server.tls.dataReceived(wire[:40] + bytes([wire[40] ^ 1]) + wire[41:] if is_record else b"GET / HTTP/1.1")

    assert server.receiver.pieces == []
    assert server.below.disconnecting


def test_nothing_is_delivered_after_an_abort(sides: tuple[Side, Side]) -> None:
    """
    Whoever has aborted a connection hears no more of it.
    """
    server, client = sides
    Records(server.tls).gather()
    exchange(server, client)
    client.tls.write(OCTETS[:1000])
    wire = client.below.take()

    server.tls._aborted = True
    server.tls.dataReceived(wire)

    assert server.receiver.pieces == []


def test_released_records_are_Twisteds_again(sides: tuple[Side, Side]) -> None:
    """
    Nothing of ours stays on a connection which is let go.
    """
    server, _ = sides
    records = Records(server.tls)
    records.gather()

    records.release()

    assert "dataReceived" not in vars(server.tls)
