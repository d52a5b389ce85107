"""
A request that is authenticated and allowed: everything that was decided before its body is read.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from s3proxy.authentication.verdict import Authenticated
from s3proxy.backend.backend import Backend
from s3proxy.backend.request import BackendRequest
from s3proxy.body.plan import BodyPlan
from s3proxy.exchange.budget import Budgets, HeldMemory, Ticket
from s3proxy.forwarding.besides import ask_measure
from s3proxy.forwarding.conditions import Conditions
from s3proxy.forwarding.onward import Onward
from s3proxy.mending.mending import Mending
from s3proxy.multipart.operations import MultipartRequest
from s3proxy.s3.address import Address
from s3proxy.s3.head import ResponseHead
from s3proxy.s3.operation import Operation


@dataclass(slots=True)
class Admitted:
    """
    One admitted request.

    Attributes:
        authenticated: The verified client and its head.
        address: The bucket and the key of the request.
        operation: The operation of the request.
        backend: The backend that gets the request.
        plan: How the body is received.
        ticket: What the request has taken from the budgets; None if nothing that it needs is bounded.
        onward: Makes the requests to the backend.
        mending: Mends the backend's response; None if the response needs no mending.
        conditions: The conditions of the request that the backend does not judge; None if there are none.
        multipart: Carries the request out in the backend's place; None if the backend carries it out.
        memory: Counts the request's bytes in memory; None if there are none yet, or no budget bounds them.
    """

    authenticated: Authenticated
    address: Address
    operation: Operation
    backend: Backend
    plan: BodyPlan
    ticket: Ticket | None
    onward: Onward
    mending: Mending | None
    conditions: Conditions | None
    multipart: MultipartRequest | None
    memory: HeldMemory | None = field(default=None, init=False)

    def hold_memory(self, budgets: Budgets) -> HeldMemory | None:
        """
        Return the counter of the request's bytes in memory, and make it if there is none; None if no budget bounds
        them.
        """
        if self.memory is None:
            authenticated = self.authenticated
            self.memory = budgets.hold(authenticated.access_key_id, authenticated.credential.budget, self.ticket)
        return self.memory

    @property
    def is_paced(self) -> bool:
        """
        Whether the request's bytes are paced.
        """
        return self.ticket is not None and self.ticket.is_paced

    @property
    def must_measure(self) -> bool:
        """
        Whether the request depends on what the backend has, so that another request must be sent first.
        """
        if self.multipart is not None or (self.mending is None and self.conditions is None):
            return False
        return self._measuring is not None or (self.conditions is not None and self.conditions.must_check)

    @property
    def _measuring(self) -> Mending | None:
        """
        The mending, if it must know the object before the request is sent. Conditions are judged after that.
        """
        return self.mending if self.mending is not None and self.mending.must_measure else None

    def measuring(self, now: datetime) -> BackendRequest:
        """
        Return the request to send first: HEAD of an object, or GET of a document.
        """
        if self.conditions is None or self._measuring is not None:
            return ask_measure(self.onward, now)
        return self.conditions.checking(now)

    @property
    def measures_document(self) -> bool:
        """
        Whether the response to `measuring` has a document that must be read.
        """
        return self._measuring is None and self.conditions is not None and self.conditions.checks_document

    def know_measure(self, response: ResponseHead, document: bytes, now: datetime) -> None:
        """
        Judge the request by the response to `measuring`, and adapt the client's headers to the size of the object.

        Args:
            response: The head of that response.
            document: The document of that response; empty if it has none.

        Raises:
            S3Error: The request must not be sent. The error is for the client.
        """
        onward, mending = self.onward, self._measuring
        if mending is not None:
            onward.passed = mending.measure(response, onward.passed)
        elif self.conditions is not None:
            self.conditions.checked(response, document, now)

    def release(self) -> None:
        """
        Give back what the request has taken from the budgets and of the disk. Its memory may be in use until the client
        has the response.
        """
        if self.multipart is not None:
            self.multipart.discard()
        if self.ticket is not None:
            self.ticket.release()
