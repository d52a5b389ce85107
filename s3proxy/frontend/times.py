"""
The time limits for a client.
"""

from __future__ import annotations

from dataclasses import dataclass

from s3proxy.s3.limits import MIB

DRAINED_KEEP_ALIVE = 5.0
"""
Seconds for which an idle connection of a replaced process may still bring a request.
"""


@dataclass(frozen=True, slots=True)
class ClientTimes:
    """
    The time limits for a client in seconds, and the size limit on what it sends after its response.

    Attributes:
        head: For a whole head, from its first byte, or from the connection's start; and for all fields of a form.
        idle: Between two bytes of a body, or until it takes a byte of an answer, while it is we who wait.
        total: For a whole request, from its head to its answer's end; 0 for none.
        keep_alive: Between two requests.
        linger: For reading an answer that was given before the body's end, and for the rest of a body that is dropped
            to keep the connection. A total: no byte prolongs it.
        linger_size: Bytes which are read and dropped meanwhile.
        minimum_rate: Bytes a second of a body, on average, while it is we who wait; 0 for none.
    """

    head: float = 30.0
    idle: float = 60.0
    total: float = 0.0
    keep_alive: float = 75.0
    linger: float = 10.0
    linger_size: int = 256 * MIB
    minimum_rate: int = 0
