"""
What a client asks to do, as an authorizer sees it.
"""

from __future__ import annotations

from dataclasses import dataclass

from s3proxy.authentication.verdict import Authenticated
from s3proxy.authorization.accesses import Access
from s3proxy.s3.address import Address
from s3proxy.s3.operation import Operation


@dataclass(frozen=True, slots=True, eq=False)
class AccessRequest:
    """
    A request whose signature is verified and which the rules of its key allow.

    Attributes:
        operation: What the client wants. For each object of a DeleteObjects document, it is DeleteObjects.
        accesses: Everything that must be allowed: S3 actions, each on a key, on a prefix, or on a bucket.
        address: The bucket and the key of the request.
        authenticated: The client: its access key id, which is None if it is anonymous, its credential, the carrier of
            its signature, and the head of its request.
        age: Seconds since the signature was made, by the client's clock; None if the signature does not say it, as in a
            form or in a presigned URL of Signature V2.
        client_host: The address of the client as text; ``-`` if it is unknown.
    """

    operation: Operation
    accesses: tuple[Access, ...]
    address: Address
    authenticated: Authenticated
    age: float | None
    client_host: str

    @property
    def signature_version(self) -> str | None:
        """
        ``SigV4``, ``SigV4A`` or ``SigV2``; None if the request is anonymous.
        """
        return self.authenticated.carrier.version
