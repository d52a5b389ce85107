"""
Decide whether a key may do what its request asks for.
"""

from __future__ import annotations

from s3proxy.authorization.accesses import needed_accesses
from s3proxy.authorization.rules import Rules, rules_of
from s3proxy.s3.address import Address
from s3proxy.s3.classification import Classification
from s3proxy.s3.credential import Credential
from s3proxy.s3.errors import AccessDenied
from s3proxy.s3.head import RequestHead
from s3proxy.s3.network import networks_of
from s3proxy.s3.operation import LIST_BUCKETS, Operation

_READS_BY_POST = frozenset({"SelectObjectContent"})


def is_change(operation: Operation) -> bool:
    """
    Return True if an operation changes anything.
    """
    return not operation.is_read and operation.name not in _READS_BY_POST


def check_network(credential: Credential, client_host: str) -> None:
    """
    Refuse a client that is in none of the networks of its key.

    Args:
        client_host: The address of the client, as text.

    Raises:
        AccessDenied: It is in none of them.
        ValueError: A network of the key cannot be read.
    """
    if credential.networks and not networks_of(credential.networks).contain(client_host):
        raise AccessDenied


def check_permission(
    credential: Credential, head: RequestHead, address: Address, classification: Classification, client_host: str
) -> Rules | None:
    """
    Refuse a request that its key does not allow.

    Args:
        head: The authenticated head.
        client_host: The address of the client, as text.

    Returns:
        The rules of the key; None if it has none. They also decide about what only a document names.

    Raises:
        AccessDenied: The key does not allow it.
        ValueError: A rule or a network of the key cannot be read.
    """
    if credential.is_read_only and is_change(classification.operation):
        raise AccessDenied
    check_network(credential, client_host)
    rules = rules_of(credential)
    if rules is not None:
        for access in needed_accesses(head, address, classification):
            if not rules.permits(access):
                raise AccessDenied
        if classification.operation is LIST_BUCKETS and head.method == b"HEAD" and rules.hides_buckets:
            # The length of the list would tell of all buckets.
            raise AccessDenied
    return rules
