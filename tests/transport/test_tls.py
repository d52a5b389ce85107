"""
TLS records, many at once, between a connection of s3proxy and one of Twisted's.
"""

from __future__ import annotations

import fcntl
import itertools
import random
import struct
import termios
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import pytest_twisted
from OpenSSL import SSL
from twisted.internet import reactor
from twisted.internet.protocol import Protocol
from twisted.internet.ssl import CertificateOptions, TLSVersion
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.python.failure import Failure

from s3proxy.backend.request import BackendRequest
from s3proxy.backend.response import BackendResponse
from s3proxy.s3.framing import LAST_CHUNK, encode_chunk
from s3proxy.testing.faulty_backend import FaultyBackend, FaultyConnection
from s3proxy.transport import tls
from s3proxy.transport.tls import Records
from s3proxy.transport.writer import FIRST_READ_SIZE, Buffer, SeesEachByte
from tests.support.harness import Harness, server_context, turns, until
from tests.support.signer import Signer
from tests.support.socket_client import SocketClient

BYTES = random.Random(0).randbytes(3_000_000)
RECORD = 16384
BODY = BYTES[:60_000]
"A response's: four records, and fewer bytes than one read takes."


class Below(StringTransport):
    """
    The transport below TLS: what was written waits until it is taken.
    """

    dataBuffer = b""
    _tempDataBuffer: tuple[bytes, ...] = ()

    def take(self) -> bytes:
        """
        Return what was written.
        """
        data = self.value()
        self.clear()
        return data


class Receiver(Protocol):
    """
    Keeps what arrives, piece by piece.
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
        # The options object makes its own context for one side only.
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


@pytest.fixture(params=[tls.ScratchEngine, tls.PublicEngine], autouse=True)
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Run with each way to write and read records.
    """
    monkeypatch.setattr(tls, "ENGINE", request.param())


@pytest.fixture(params=[TLSVersion.TLSv1_2, TLSVersion.TLSv1_3], ids=lambda version: version.name)
def sides(request: pytest.FixtureRequest) -> tuple[Side, Side]:
    """
    A server and a client before their handshake.
    """
    context = CertificateOptions(lowerMaximumSecurityTo=request.param)
    return Side(server_context(), is_client=False), Side(context, is_client=True)


def exchange(server: Side, client: Side) -> None:
    """
    Carry what was written in both directions, until there is nothing left.
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
    Data of many records in one read is delivered together; data of two reads is delivered as two pieces.
    """
    server, client = sides
    Records(server.tls).gather()
    exchange(server, client)
    client.tls.write(BYTES[:1_000_000])
    wire = client.below.take()

    server.tls.dataReceived(wire[:500_000])
    server.tls.dataReceived(wire[500_000:])

    assert b"".join(server.receiver.pieces) == BYTES[:1_000_000]
    assert len(server.receiver.pieces) == 2


def test_more_than_the_buffer_holds_is_still_one_piece(sides: tuple[Side, Side]) -> None:
    """
    Three megabytes of one read are delivered whole.
    """
    server, client = sides
    Records(server.tls).gather()
    exchange(server, client)
    client.tls.write(BYTES)

    server.tls.dataReceived(client.below.take())

    assert server.receiver.pieces == [BYTES]


@pytest.mark.parametrize("cut", [1, 5, 17, 16_000, 70_000])
def test_records_may_be_cut_anywhere(sides: tuple[Side, Side], cut: int) -> None:
    """
    However the network cuts records, their bytes arrive.
    """
    server, client = sides
    Records(server.tls).gather()
    exchange(server, client)
    client.tls.write(BYTES[:50_000])
    wire = client.below.take()

    for start in range(0, len(wire), cut):
        server.tls.dataReceived(wire[start : start + cut])

    assert b"".join(server.receiver.pieces) == BYTES[:50_000]


def test_pieces_are_encrypted_in_order(sides: tuple[Side, Side]) -> None:
    """
    Bytes, views of them and empty pieces arrive as they were given.
    """
    server, client = sides
    records = Records(server.tls)
    exchange(server, client)

    wire = records.encrypt((BYTES[:10], memoryview(BYTES)[10:2_000_000], b"", BYTES[2_000_000:]))
    client.tls.dataReceived(bytes(wire))

    assert b"".join(client.receiver.pieces) == BYTES
    assert server.below.take() == b""


def records_of(wire: bytes) -> int:
    """
    Return the number of records in some bytes: each has a head of five bytes, the last two with its length.
    """
    count, place = 0, 0
    while place < len(wire):
        place += 5 + int.from_bytes(wire[place + 3 : place + 5], "big")
        count += 1
    assert place == len(wire)
    return count


@pytest.mark.parametrize(
    ("sizes", "count"),
    [
        # A head and its body.
        ((300, 1024), 1),
        ((300, 0, 1024, 2), 1),
        ((300, RECORD - 300), 1),
        ((300, RECORD - 299), 2),
        # A chunk between the lines around it.
        ((6, RECORD, 2), 2),
        ((6, 2 * RECORD, 2), 3),
        ((2 * RECORD, 5, 5), 3),
        ((RECORD,), 1),
    ],
)
def test_small_pieces_share_a_record(sides: tuple[Side, Side], sizes: tuple[int, ...], count: int) -> None:
    """
    There are no more records than the bytes need.
    """
    server, client = sides
    records = Records(server.tls)
    exchange(server, client)
    places = [0, *itertools.accumulate(sizes)]
    pieces = [BYTES[start:end] for start, end in itertools.pairwise(places)]

    wire = bytes(records.encrypt(tls.in_records(pieces)))
    client.tls.dataReceived(wire)

    assert records_of(wire) == count
    assert b"".join(client.receiver.pieces) == BYTES[: sum(sizes)]


def test_any_pieces_keep_their_bytes() -> None:
    """
    Whatever the sizes, bytes and their order stay, and all records but the last are full.
    """
    rng = random.Random(23)
    for _ in range(2000):
        sizes = [rng.choice((0, 1, 5, 300, RECORD - 1, RECORD, RECORD + 1, 70_000)) for _ in range(rng.randrange(8))]
        places = [0, *itertools.accumulate(sizes)]
        pieces = [memoryview(BYTES)[start:end] for start, end in itertools.pairwise(places)]

        found = tls.in_records(pieces)

        assert b"".join(found) == BYTES[: sum(sizes)]
        assert all(found)
        assert all(len(piece) % RECORD == 0 for piece in found[:-1])


def test_what_was_written_before_the_handshake_leaves_first(sides: tuple[Side, Side]) -> None:
    """
    Twisted keeps what cannot be encrypted yet; later writes do not overtake it.
    """
    server, client = sides
    records = Records(server.tls)
    records.gather()

    assert records.encrypt((b"first ",)) == b""
    assert records.encrypt((b"second ",)) == b""
    exchange(server, client)
    client.tls.dataReceived(bytes(records.encrypt((b"third",))))

    assert b"".join(client.receiver.pieces) == b"first second third"


def test_what_openssl_has_to_send_is_sent_after_a_read(sides: tuple[Side, Side]) -> None:
    """
    A read can make OpenSSL write records, such as the response to a key update. They do not wait for a later write.
    """
    server, client = sides
    Records(server.tls).gather()
    exchange(server, client)
    server.tls.getHandle().send(b"as if OpenSSL had written it")
    client.tls.write(b"a request")

    server.tls.dataReceived(client.below.take())
    client.tls.dataReceived(server.below.take())

    assert server.receiver.pieces == [b"a request"]
    assert client.receiver.pieces == [b"as if OpenSSL had written it"]


@pytest.mark.parametrize("cut", [0, 1])
def test_a_read_that_brought_only_data_is_not_read_again(
    sides: tuple[Side, Side], cut: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Twisted would find that there is nothing more by two exceptions. It is asked only if there may be more.
    """
    monkeypatch.setattr(tls, "ENGINE", tls.ScratchEngine())
    server, client = sides
    Records(server.tls).gather()
    exchange(server, client)
    asked: list[None] = []
    stock = server.tls._flushReceiveBIO
    server.tls._flushReceiveBIO = lambda: (asked.append(None), stock())
    client.tls.write(BYTES[:100_000])
    wire = client.below.take()

    server.tls.dataReceived(wire[: len(wire) - cut])
    server.tls.dataReceived(wire[len(wire) - cut :] or b"")
    assert asked == []
    client.tls.loseConnection()
    server.tls.dataReceived(client.below.take())

    assert b"".join(server.receiver.pieces) == BYTES[:100_000]
    assert asked == [None]


def test_bytes_before_an_end_are_delivered_and_the_end_is_told(sides: tuple[Side, Side]) -> None:
    """
    A close_notify in the same read as bytes ends the connection after them.
    """
    server, client = sides
    Records(server.tls).gather()
    exchange(server, client)
    client.tls.write(b"the last bytes")
    client.tls.loseConnection()

    server.tls.dataReceived(client.below.take())

    assert server.receiver.pieces == [b"the last bytes"]
    assert server.below.disconnecting


@pytest.mark.parametrize("is_record", [True, False])
def test_changed_records_end_the_connection(sides: tuple[Side, Side], *, is_record: bool) -> None:
    """
    What cannot be decrypted is no byte of anybody, and the connection ends.
    """
    server, client = sides
    Records(server.tls).gather()
    exchange(server, client)
    client.tls.write(BYTES[:1000])
    wire = client.below.take()

    server.tls.dataReceived(wire[:40] + bytes([wire[40] ^ 1]) + wire[41:] if is_record else b"GET / HTTP/1.1")

    assert server.receiver.pieces == []
    assert server.below.disconnecting


def test_nothing_is_delivered_after_an_abort(sides: tuple[Side, Side]) -> None:
    """
    A protocol that has aborted a connection gets no more data from it.
    """
    server, client = sides
    Records(server.tls).gather()
    exchange(server, client)
    client.tls.write(BYTES[:1000])
    wire = client.below.take()

    server.tls._aborted = True
    server.tls.dataReceived(wire)

    assert server.receiver.pieces == []


def test_released_records_are_Twisteds_again(sides: tuple[Side, Side]) -> None:
    """
    No object of s3proxy stays on a connection that is released.
    """
    server, _ = sides
    records = Records(server.tls)
    records.gather()

    records.release()

    assert "dataReceived" not in vars(server.tls)


class Taker(SeesEachByte):
    """
    Takes the body of a backend's response.
    """

    def __init__(self, on_piece: Callable[[], None] = lambda: None) -> None:
        self.pieces: list[bytes] = []
        self.endings: list[Failure | None] = []
        self._on_piece = on_piece

    def bodyReceived(self, pieces: Sequence[Buffer]) -> None:
        self.pieces += map(bytes, pieces)
        self._on_piece()

    def bodyEnded(self, failure: Failure | None) -> None:
        self.endings.append(failure)

    @property
    def body(self) -> bytes:
        """
        The body so far.
        """
        return b"".join(self.pieces)


class Asked:
    """
    A backend with TLS, on real sockets, that got a request and has sent only a head so far.

    Attributes:
        connection: The backend's side.
        below: The transport under TLS on s3proxy's side.
    """

    def __init__(self, harness: Harness, response: BackendResponse) -> None:
        self._harness = harness
        self.response = response
        self.connection: FaultyConnection = harness.backend.connections[0]
        (ours,) = harness.pool.connections
        self.tls: Any = ours.transport
        self.below: Any = self.tls.transport
        self.close = harness.close

    @property
    def queued_size(self) -> int:
        """
        Bytes of records which nobody has read.
        """
        return int(struct.unpack("i", fcntl.ioctl(self.below.fileno(), termios.FIONREAD, bytes(4)))[0])

    async def send(self, data: bytes, end: Callable[[FaultyConnection], None] = lambda connection: None) -> None:
        """
        Have the backend send bytes, and end; wait until all are in our kernel, where a response which nobody takes
        leaves them.
        """
        self.connection.send(data)
        await turns()
        end(self.connection)
        below = self.connection.transport.transport
        await until(lambda: self.queued_size > len(data) and not below.dataBuffer and not below._tempDataBuffer)


async def ask(framing: bytes) -> Asked:
    """
    Send a request to a backend whose head says how long the body is.
    """
    backend = FaultyBackend()
    backend.on_request = lambda connection, request: connection.send(b"HTTP/1.1 200 OK\r\n%s\r\n" % framing)
    harness = Harness(is_tls=True, backend=backend)
    response = await harness.agent.send(BackendRequest(b"GET", b"GET /b/k HTTP/1.1\r\nHost: b\r\n\r\n"))
    return Asked(harness, response)


BY_LENGTH = b"Content-Length: %d\r\n"
BY_ITS_END = b"Connection: close\r\n"


@pytest_twisted.ensureDeferred
async def test_a_backends_records_come_many_at_once() -> None:
    """
    The data of one read of a backend's socket is delivered together.
    """
    asked = await ask(BY_LENGTH % len(BODY))
    await asked.send(BODY)
    taker = Taker()

    asked.response.deliver(taker)
    await until(lambda: taker.endings)
    await asked.close()

    assert taker.endings == [None]
    assert taker.body == BODY
    assert max(map(len, taker.pieces)) > RECORD


@pytest.mark.parametrize("is_chunked", [False, True])
@pytest_twisted.ensureDeferred
async def test_a_pause_among_a_backends_records_loses_nothing(*, is_chunked: bool) -> None:
    """
    Whoever pauses a response gets the rest of one read, and nothing more until it resumes; then every byte, in order.
    """
    asked = await ask(b"Transfer-Encoding: chunked\r\n" if is_chunked else BY_LENGTH % len(BYTES))
    places = range(0, len(BYTES), 9999)
    chunks = [encode_chunk(len(BYTES[at : at + 9999])) + BYTES[at : at + 9999] + b"\r\n" for at in places]
    asked.connection.send(b"".join([*chunks, LAST_CHUNK]) if is_chunked else BYTES)
    await until(lambda: asked.queued_size > FIRST_READ_SIZE)
    sizes = [0]

    def pause() -> None:
        sizes.append(len(taker.body))
        asked.response.pauseProducing()

    taker = Taker(pause)
    asked.response.deliver(taker)
    await until(lambda: len(sizes) > 1)
    while not taker.endings:
        await turns(3)
        assert asked.below not in reactor.getReaders()
        assert len(taker.body) == sizes[-1]
        asked.response.resumeProducing()
        count = len(sizes)
        await until(lambda count=count: len(sizes) > count or taker.endings)  # type: ignore[misc]
    await asked.close()

    steps = [after - before for before, after in itertools.pairwise(sizes)]
    assert taker.endings == [None]
    assert taker.body == BYTES
    # One read, and the beginning of a record which the one before had.
    assert RECORD < max(steps) < FIRST_READ_SIZE + RECORD


NO_RECORD = b"\x17\x03\x03\x00\x40" + bytes(64)


def sends_no_record(connection: FaultyConnection) -> None:
    """
    Send bytes that cannot be decrypted, and FIN.
    """
    below = connection.transport.transport
    below.write(NO_RECORD)
    below.loseConnection()


def sends_an_alert(connection: FaultyConnection) -> None:
    """
    Send the TLS alert for a bad record, and FIN.
    """
    connection.transport.dataReceived(NO_RECORD)


@pytest.mark.parametrize(
    "end",
    [FaultyConnection.end, FaultyConnection.end_without_notice, sends_no_record, sends_an_alert],
    ids=lambda end: end.__name__,
)
@pytest.mark.parametrize("framing", [BY_LENGTH % len(BODY), BY_LENGTH % (len(BODY) + 1), BY_ITS_END])
@pytest_twisted.ensureDeferred
async def test_an_end_among_a_backends_records_is_judged(
    framing: bytes, end: Callable[[FaultyConnection], None]
) -> None:
    """
    An end in the same read as bytes comes after them; only close_notify ends a body whose length nobody told.
    """
    asked = await ask(framing)
    await asked.send(BODY, end)
    taker = Taker()

    asked.response.deliver(taker)
    await until(lambda: taker.endings)
    await asked.close()

    is_whole = framing == BY_LENGTH % len(BODY) or (framing == BY_ITS_END and end is FaultyConnection.end)
    assert taker.body == BODY
    assert [failure is None for failure in taker.endings] == [is_whole]


@pytest_twisted.ensureDeferred
async def test_bytes_after_a_backends_response_spoil_it() -> None:
    """
    An unexpected record in the same read as the last of a response: the connection is not reused, with TLS or without.
    """
    asked = await ask(BY_LENGTH % (3 * RECORD))
    await asked.send(BODY)
    taker = Taker()

    asked.response.deliver(taker)
    await until(lambda: taker.endings)
    await asked.close()

    assert taker.body == b""
    assert taker.endings[0] is not None


@pytest_twisted.ensureDeferred
async def test_both_sides_let_go_of_what_was_lost() -> None:
    """
    Once they are lost, no object of s3proxy stays on a client's connection or a backend's.
    """
    backend = FaultyBackend()
    harness = Harness(is_tls=True, backend=backend)
    client = SocketClient(harness.port.getHost().port)
    await client.start_tls()
    client.put(Signer().head("GET", "/test-bucket/key")[0])
    await until(lambda: client.pump() or client.received.endswith(b"hello"))
    sides = [next(iter(found)).transport for found in (harness.site.channels, harness.pool.connections)]
    gathered = ["dataReceived" in vars(side) for side in sides]

    client.close()
    await harness.close()

    assert gathered == [True, True]
    assert ["dataReceived" in vars(side) for side in sides] == [False, False]


def test_the_fast_way_is_the_one_in_use() -> None:
    """
    The installed pyOpenSSL has the private parts that the fast way needs; without them the public ones are used.
    """
    assert isinstance(tls.make_engine(), tls.ScratchEngine)


def test_what_is_not_public_may_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A pyOpenSSL without its private parts costs speed, and nothing else.
    """
    monkeypatch.delattr(SSL, "_lib")

    assert isinstance(tls.make_engine(), tls.PublicEngine)
