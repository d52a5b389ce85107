"""
Faults by name. Each function makes a `FaultyBackend` or a `FaultyClient` fail in one way.

::

    backend = FaultyBackend()
    resets_after(100_000)(backend)      # resets the next connection within its body
    ...
    backend.behave()                    # ends the fault
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime

from s3proxy.testing.faulty_backend import FaultyBackend, FaultyConnection, ReceivedRequest
from s3proxy.testing.faulty_client import FaultyClient

Misbehaviour = Callable[[FaultyBackend], None]
"""
A function that makes a backend fail in one way, until `FaultyBackend.behave` is called.
"""

Misdeed = Callable[[FaultyClient, bytes, int], None]
"""
A function that makes a client send a request and fail. It gets the client, the bytes of the request, and `size`: the
number of bytes before the fault.
"""

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

# A backend that does not respond


def ignore(connection: FaultyConnection, request: ReceivedRequest) -> None:
    """
    Do not respond to a request.
    """


def never_responds(backend: FaultyBackend) -> None:
    """
    Receive every request, and respond to none.
    """
    backend.on_request = ignore


def resets_at_once(backend: FaultyBackend) -> None:
    """
    Reset each connection as soon as it is made.
    """
    backend.on_connection = FaultyConnection.reset


def resets_at_the_head(backend: FaultyBackend) -> None:
    """
    Reset the connection when the head of a request is complete.
    """
    backend.on_head = lambda connection, head: connection.reset()
    backend.on_request = ignore


def ends_at_the_head(backend: FaultyBackend) -> None:
    """
    Send FIN when the head of a request is complete, and stop reading.
    """
    backend.on_head = lambda connection, head: connection.end()
    backend.on_request = ignore


def resets_when_it_has_all(backend: FaultyBackend) -> None:
    """
    Store the complete request, and reset the connection instead of responding.
    """
    backend.on_request = lambda connection, request: connection.reset()


def resets_after(size: int) -> Misbehaviour:
    """
    Reset the next connection that has sent a number of bytes. Later connections are not reset.
    """
    return _having(reset_after=size)


def ends_after(size: int) -> Misbehaviour:
    """
    Close the next connection that has sent a number of bytes. Later connections are not closed.
    """
    return _having(end_after=size)


def reads_no_more_after(size: int) -> Misbehaviour:
    """
    Stop reading the next connection that has sent a number of bytes.

    No request gets a response, not even one that is complete by then.
    """
    return _having(pause_after=size, on_request=ignore)


def reads_slowly(rate: float, clock: IReactorTime) -> Misbehaviour:
    """
    Read each connection at a limited rate.

    Args:
        rate: Bytes per second.
    """
    return _having(read_rate=(rate, clock))


def commits_short_bodies(backend: FaultyBackend) -> None:
    """
    Store a body that was cut short as if it were complete.
    """
    backend.commits_short_bodies = True


def _having(**attributes: object) -> Misbehaviour:
    def misbehave(backend: FaultyBackend) -> None:
        for name, value in attributes.items():
            setattr(backend, name, value)

    return misbehave


# A backend that responds wrongly


def responds(*data: bytes) -> Misbehaviour:
    """
    Send these bytes in response to each complete request.
    """
    return _having(on_request=lambda connection, request: connection.send(b"".join(data)))


def responds_early(data: bytes) -> Misbehaviour:
    """
    Send these bytes as soon as the head of a request is complete, and stop reading.
    """
    return _having(on_head=lambda connection, head: connection.send(data), on_request=ignore, pause_after=1)


def ends_within(data: bytes) -> Misbehaviour:
    """
    Send these bytes, which are only the beginning of a response, and close the connection.
    """
    return _responds_and(data, FaultyConnection.end)


def ends_without_notice(data: bytes) -> Misbehaviour:
    """
    Send these bytes in response, then FIN without the close_notify of TLS.
    """
    return _responds_and(data, FaultyConnection.end_without_notice)


def half_closes(data: bytes) -> Misbehaviour:
    """
    Send these bytes in response, then FIN, and continue to read.
    """
    return _responds_and(data, FaultyConnection.half_close)


def _responds_and(data: bytes, act: Callable[[FaultyConnection], None]) -> Misbehaviour:
    def respond(connection: FaultyConnection, request: ReceivedRequest) -> None:
        connection.send(data)
        act(connection)

    return _having(on_request=respond)


def asks_for_the_body(backend: FaultyBackend) -> None:
    """
    Send 100 Continue for each head, even if the request did not ask for it.
    """
    backend.on_head = lambda connection, head: connection.send(CONTINUE)


# A client


def sends_all(client: FaultyClient, data: bytes, size: int) -> None:
    """
    Send the whole request, without a fault.
    """
    client.send(data)


def stalls(client: FaultyClient, data: bytes, size: int) -> None:
    """
    Send the first `size` bytes, and nothing more.
    """
    client.send(data[:size])


def resets(client: FaultyClient, data: bytes, size: int) -> None:
    """
    Send the first `size` bytes, then RST.
    """
    client.send_then(data[:size], client.reset)


def half_closes_after(client: FaultyClient, data: bytes, size: int) -> None:
    """
    Send the first `size` bytes, then FIN, and continue to read. Under TLS, send close_notify and stop reading.
    """
    client.send_then(data[:size], client.half_close)


def leaves_without_notice(client: FaultyClient, data: bytes, size: int) -> None:
    """
    Send the first `size` bytes, then FIN; under TLS without close_notify.
    """
    client.send_then(data[:size], client.end_without_notice)


def resets_later(seconds: float, clock: IReactorTime) -> Misdeed:
    """
    Send the first `size` bytes, and RST some seconds later, even if bytes are still waiting to be sent.
    """

    def misdeed(client: FaultyClient, data: bytes, size: int) -> None:
        client.send(data[:size])
        client.after(seconds, clock, client.reset)

    return misdeed


def changes_an_byte(client: FaultyClient, data: bytes, size: int) -> None:
    """
    Send the whole request, but change one byte after it was signed: the byte at offset `size`.
    """
    client.send(data[:size] + bytes(byte ^ 1 for byte in data[size : size + 1]) + data[size + 1 :])


def reads_nothing(client: FaultyClient, data: bytes, size: int) -> None:
    """
    Send the whole request, and read nothing of its response.
    """
    client.send(data)
    client.pause()


def sends_slowly(rate: float, clock: IReactorTime) -> Misdeed:
    """
    Send the first `size` bytes at once, and the rest at a limited rate.

    Args:
        rate: Bytes per second.
    """

    def misdeed(client: FaultyClient, data: bytes, size: int) -> None:
        client.send(data[:size])
        client.send_slowly(data[size:], rate, clock)

    return misdeed
