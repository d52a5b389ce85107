"""
How a request is classified.
"""

from __future__ import annotations

from s3proxy.s3.address import parse_address
from s3proxy.s3.classification import Classification, check_request, classify
from s3proxy.s3.head import parse_request_head


def classified(method: str, target: str, *, covered: frozenset[bytes] | None = None, **headers: str) -> Classification:
    """
    Classify a request as if it were authenticated.
    """
    lines = [f"{method} {target} HTTP/1.1", "Host: s3.test"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    head = parse_request_head("\r\n".join(lines).encode())
    address = parse_address(head.raw_path, head.host, ())
    found = classify(head, address, covered)
    check_request(head, address, found.operation)
    return found
