"""
What can go wrong, by name: each makes a `FaultyBackend` or a `FaultyClient` do it.

::

    backend = FaultyBackend()
    resets_after(100_000)(backend)      # the next connection ends within its body
    ...
    backend.behave()                    # and all is well again
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime

from s3proxy.testing.faulty_backend import FaultyBackend, FaultyConnection, ReceivedRequest
from s3proxy.testing.faulty_client import FaultyClient

Misbehaviour = Callable[[FaultyBackend], None]
"""
Makes a backend do something wrong until `FaultyBackend.behave`.
"""

Misdeed = Callable[[FaultyClient, bytes, int], None]
"""
Makes a client send a request, of which something goes wrong after so many bytes.
"""

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

# A backend which does not answer


def ignore(connection: FaultyConnection, request: ReceivedRequest) -> None:
    """
    Take a request, and say nothing.
    """


def never_responds(backend: FaultyBackend) -> None:
    """
    Take all, and say nothing.
    """
    backend.on_request = ignore


def resets_at_once(backend: FaultyBackend) -> None:
    """
    Reset each connection as soon as it is there.
    """
    backend.on_connection = FaultyConnection.reset


def resets_at_the_head(backend: FaultyBackend) -> None:
    """
    Reset when a head is complete.
    """
    backend.on_head = lambda connection, head: connection.reset()
    backend.on_request = ignore


def ends_at_the_head(backend: FaultyBackend) -> None:
    """
    Send FIN when a head is complete, and read no more.
    """
    backend.on_head = lambda connection, head: connection.end()
    backend.on_request = ignore


def resets_when_it_has_all(backend: FaultyBackend) -> None:
    """
    Store what came with its last byte, and reset instead of a response.
    """
    backend.on_request = lambda connection, request: connection.reset()


def resets_after(size: int) -> Misbehaviour:
    """
    Reset the next connection which has sent so many bytes.
    """
    return _having(reset_after=size)


def ends_after(size: int) -> Misbehaviour:
    """
    End the next connection which has sent so many bytes.
    """
    return _having(end_after=size)


def reads_no_more_after(size: int) -> Misbehaviour:
    """
    Stop reading the next connection which has sent so many bytes; what is complete by then is not answered either.
    """
    return _having(pause_after=size, on_request=ignore)


def reads_slowly(rate: float, clock: IReactorTime) -> Misbehaviour:
    """
    Read so many bytes a second.
    """
    return _having(read_rate=(rate, clock))


def commits_short_bodies(backend: FaultyBackend) -> None:
    """
    Take a body which was cut for a whole one.
    """
    backend.commits_short_bodies = True


def _having(**attributes: object) -> Misbehaviour:
    def misbehave(backend: FaultyBackend) -> None:
        for name, value in attributes.items():
            setattr(backend, name, value)

    return misbehave


# A backend which answers wrongly


def responds(*data: bytes) -> Misbehaviour:
    """
    Answer each whole request with these bytes.
    """
    return _having(on_request=lambda connection, request: connection.send(b"".join(data)))


def responds_early(data: bytes) -> Misbehaviour:
    """
    Answer as soon as a head is there, and read no more.
    """
    return _having(on_head=lambda connection, head: connection.send(data), on_request=ignore, pause_after=1)


def ends_within(data: bytes) -> Misbehaviour:
    """
    Answer with these bytes, which are not all, and end.
    """
    return _responds_and(data, FaultyConnection.end)


def ends_without_notice(data: bytes) -> Misbehaviour:
    """
    Answer with these bytes, and send FIN without TLS's close_notify.
    """
    return _responds_and(data, FaultyConnection.end_without_notice)


def half_closes(data: bytes) -> Misbehaviour:
    """
    Answer with these bytes, send FIN, and read on.
    """
    return _responds_and(data, FaultyConnection.half_close)


def _responds_and(data: bytes, act: Callable[[FaultyConnection], None]) -> Misbehaviour:
    def respond(connection: FaultyConnection, request: ReceivedRequest) -> None:
        connection.send(data)
        act(connection)

    return _having(on_request=respond)


def asks_for_the_body(backend: FaultyBackend) -> None:
    """
    Say 100 Continue at each head, whether that was asked for or not.
    """
    backend.on_head = lambda connection, head: connection.send(CONTINUE)


# A client


def sends_all(client: FaultyClient, data: bytes, size: int) -> None:
    """
    Send a whole request, as it should be.
    """
    client.send(data)


def stalls(client: FaultyClient, data: bytes, size: int) -> None:
    """
    Send so many bytes, and no more.
    """
    client.send(data[:size])


def resets(client: FaultyClient, data: bytes, size: int) -> None:
    """
    Send so many bytes, then RST.
    """
    client.send_then(data[:size], client.reset)


def half_closes_after(client: FaultyClient, data: bytes, size: int) -> None:
    """
    Send so many bytes, then FIN, and read on; under TLS close_notify, and nothing is read.
    """
    client.send_then(data[:size], client.half_close)


def leaves_without_notice(client: FaultyClient, data: bytes, size: int) -> None:
    """
    Send so many bytes, then FIN; under TLS without close_notify.
    """
    client.send_then(data[:size], client.end_without_notice)


def resets_later(seconds: float, clock: IReactorTime) -> Misdeed:
    """
    Send so many bytes, and RST after a while, whether they were taken or not.
    """

    def misdeed(client: FaultyClient, data: bytes, size: int) -> None:
        client.send(data[:size])
        client.after(seconds, clock, client.reset)

    return misdeed


def changes_an_byte(client: FaultyClient, data: bytes, size: int) -> None:
    """
    Send a whole request, of which one byte is not the one which was signed.
    """
    client.send(data[:size] + bytes(byte ^ 1 for byte in data[size : size + 1]) + data[size + 1 :])


def reads_nothing(client: FaultyClient, data: bytes, size: int) -> None:
    """
    Send a whole request, and read nothing of its response.
    """
    client.send(data)
    client.pause()


def sends_slowly(rate: float, clock: IReactorTime) -> Misdeed:
    """
    Send so many bytes at once, and those after them at this rate.
    """

    def misdeed(client: FaultyClient, data: bytes, size: int) -> None:
        client.send(data[:size])
        client.send_slowly(data[size:], rate, clock)

    return misdeed
