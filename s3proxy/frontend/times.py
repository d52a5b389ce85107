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
        head: Seconds for a whole head, from its first byte or from the start of the connection; also for all fields of
            a form.
        idle: Seconds between two bytes of a body, or until the client reads a byte of a response. Time in which s3proxy
            holds the client does not count.
        total: Seconds for a whole request, from its head to the end of its response; 0 for no limit.
        keep_alive: Seconds between two requests.
        linger: Seconds to read a response that was sent before the end of the body, or to send the rest of a body that
            is dropped to keep the connection. No byte prolongs this time.
        linger_size: Bytes that are read and dropped during `linger`.
        minimum_rate: Minimum bytes a second of a body, on average; 0 for no minimum. Time in which s3proxy holds the
            client does not count.
    """

    head: float = 30.0
    idle: float = 60.0
    total: float = 0.0
    keep_alive: float = 75.0
    linger: float = 10.0
    linger_size: int = 256 * MIB
    minimum_rate: int = 0
