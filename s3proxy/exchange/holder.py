"""
What a budget is of: all clients together, or one key. `s3proxy.exchange.budget` takes from it and gives back.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import DeferredLock

from s3proxy.s3.credential import BudgetLimits
from s3proxy.transport.pace import Rate, Slots

BUDGETS = ("requests_per_second", "requests", "bodies", "memory")
"""
The budgets for which a request waits, in the order in which it takes them.
"""


class Holder:
    """
    The budgets of all clients together, or of one key.

    Attributes:
        bounded: The names of the budgets that have a limit, in the order in which they are taken.
        reserves_memory: Whether the first bytes of a body are taken from the budget before they arrive. Then only
            requests of the same key wait for them.
        turn: Held while a document of s3proxy's own is made, until it is counted.
    """

    __slots__ = (
        "bodies",
        "bounded",
        "bytes_per_second",
        "limits",
        "memory",
        "requests",
        "requests_per_second",
        "reserves_memory",
        "tickets",
        "turn",
    )

    def __init__(self, limits: BudgetLimits, reactor: Any, *, reserves_memory: bool = False) -> None:
        self.reserves_memory = reserves_memory
        self.limits = limits
        self.bounded = tuple(name for name in BUDGETS if getattr(limits, name))
        self.requests = Slots(limits.requests)
        self.bodies = Slots(limits.bodies)
        self.memory = Slots(limits.memory)
        self.requests_per_second = Rate(limits.requests_per_second, reactor)
        self.bytes_per_second = Rate(limits.bytes_per_second, reactor)
        self.tickets = 0
        self.turn = DeferredLock()

    @property
    def is_idle(self) -> bool:
        """
        Whether the key can be forgotten.
        """
        return not self.tickets and self.requests_per_second.is_full and self.bytes_per_second.is_full
