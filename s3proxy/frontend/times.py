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
        head: Time for a whole head, from its first byte or from the connection's start; also for all fields of a form.
        idle: Time between two bytes of a body, or until the client reads a byte of a response, while s3proxy waits for
            it.
        total: Time for a whole request, from its head to the end of its response; 0 for no limit.
        keep_alive: Time between two requests.
        linger: Time to read a response that was sent before the end of the body, and to drop the rest of a body to keep
            the connection. It is a total: no byte prolongs it.
        linger_size: Maximum number of bytes that are read and dropped in that time.
        minimum_rate: Average bytes a second that a body must have while s3proxy waits for it; 0 for no minimum.
    """

    head: float = 30.0
    idle: float = 60.0
    total: float = 0.0
    keep_alive: float = 75.0
    linger: float = 10.0
    linger_size: int = 256 * MIB
    minimum_rate: int = 0
