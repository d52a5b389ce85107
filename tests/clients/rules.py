"""
What may fail through s3proxy, and why: two closed tables. Whatever else fails is a fault of s3proxy's.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.clients.drivers.scenario import OPERATIONS
from tests.clients.field import BACKENDS
from tests.clients.matrix import SCHEMES, STYLES, Place

PUTS = ("put", "put large", "put stream", "put odd key")


@dataclass(frozen=True)
class Rule:
    """
    Operations which fail through s3proxy.

    Attributes:
        code: What the client says.
        reason: Why it is right so.
    """

    clients: tuple[str, ...]
    operations: tuple[str, ...]
    code: str
    reason: str
    backends: tuple[str, ...] = tuple(BACKENDS)
    schemes: tuple[str, ...] = SCHEMES
    styles: tuple[str, ...] = STYLES

    def __post_init__(self) -> None:
        assert set(self.operations) <= set(OPERATIONS)

    def covers(self, place: Place, operation: str, code: str) -> bool:
        """
        Say whether it is about a failure.
        """
        return (
            place.client in self.clients
            and place.door in self.backends
            and place.scheme in self.schemes
            and place.style in self.styles
            and operation in self.operations
            and code == self.code
        )


REFUSED: tuple[Rule, ...] = ()
"""
What some storage takes and S3 does not: each reason is S3's rule.
"""

LACKING: tuple[Rule, ...] = ()
"""
What fails straight as well, and is not for a proxy to mend: the client's or the storage's own lack.
"""
TRANSLATED: tuple[tuple[str, str, str, str, str], ...] = (
    ("boto3", "rgw", "https", "put", "MissingContentLength"),
    ("boto3-v2", "versitygw", "http", "get", "403"),
)
"""
Client, storage, scheme, operation and code of what must fail straight, in path style, and work through: the features
which s3proxy translates, each with one witness.
"""
