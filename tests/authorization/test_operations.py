"""
Each operation of S3 with a key that may carry it out, and with one that may do everything else.
"""

from __future__ import annotations

import pytest
from pytest_twisted import ensureDeferred

from s3proxy.authorization.actions import ACTIONS
from s3proxy.s3.operation import OPERATIONS, Level, Operation
from tests.authorization.asked import LIST, ask, request_for, xml
from tests.support.harness import turns

SIGNED = [each for each in OPERATIONS.values() if each.action is not None and each.name != "CreateSession"]
"""
All operations that a client signs. CreateSession is refused for everyone: its response is another credential.
"""

RESULTS = {
    "DeleteObjects": b"<DeleteResult/>",
    "GetBucketLocation": b"<LocationConstraint/>",
    "ListBuckets": LIST,
}
"""
Documents of the responses that are read.
"""


def response_to(operation: Operation) -> bytes:
    return xml(RESULTS[operation.name]) if operation.name in RESULTS else b""


def own_rules(operation: Operation) -> list[str]:
    """
    Return the rules without which a request for an operation is refused.
    """
    names_key = operation.level is Level.OBJECT and not str(operation.action).startswith("s3express:")
    source = ["s3:GetObject:mine/in/source"] if operation.copies else []
    return [f"{operation.action}:mine/in*" if names_key else f"{operation.action}:mine", *source]


@pytest.mark.parametrize("operation", SIGNED, ids=repr)
@ensureDeferred
async def test_a_key_may_do_what_its_rules_name(operation: Operation) -> None:
    """
    One rule is enough for each operation, except that a copy needs one for its source, too.
    """
    response, harness = await ask(request_for(operation), response_to(operation), allow=tuple(own_rules(operation)))
    assert response.status == 200, response.body
    assert len(harness.backend.requests) == 1


@pytest.mark.parametrize("operation", SIGNED, ids=repr)
@ensureDeferred
async def test_a_key_may_not_do_what_its_rules_do_not_name(operation: Operation) -> None:
    """
    All rules but the one are of no use: no byte of such a request reaches the backend.
    """
    needless = tuple(f"{action}:*" for action in sorted(ACTIONS - {operation.action}))
    if operation.name == "ListBuckets":
        needless = ()
    response, harness = await ask(request_for(operation), allow=needless)
    if operation.name == "DeleteObjects":
        assert (response.status, b"<Code>AccessDenied</Code>" in response.body) == (200, True)
    else:
        assert response.status == 403, response.body
        assert operation.method == b"HEAD" or b"<Code>AccessDenied</Code>" in response.body
    await turns()
    assert harness.backend.requests == []
    assert harness.backend.connections == []


@pytest.mark.parametrize("operation", SIGNED, ids=repr)
@ensureDeferred
async def test_a_denied_operation_is_refused_whatever_is_allowed(operation: Operation) -> None:
    response, harness = await ask(request_for(operation), allow=("*:*",), deny=(f"{operation.action}:*",))
    assert response.status == (200 if operation.name == "DeleteObjects" else 403), response.body
    assert harness.backend.requests == []


@pytest.mark.parametrize("operation", SIGNED, ids=repr)
@pytest.mark.parametrize(
    ("restriction", "code"),
    [
        ({"is_read_only_key": True}, b"AccessDenied"),
        ({"is_read_only": True}, b"MethodNotAllowed"),
        ({"has_read_only_backend": True}, b"MethodNotAllowed"),
    ],
    ids=("key", "listener", "backend"),
)
@ensureDeferred
async def test_reading_only(operation: Operation, restriction: dict[str, bool], code: bytes) -> None:
    """
    Whatever changes something is refused; every read passes, also the one that is a POST.
    """
    response, harness = await ask(request_for(operation), response_to(operation), **restriction)
    if operation.method in {b"GET", b"HEAD"} or operation.name == "SelectObjectContent":
        assert response.status == 200, response.body
        assert len(harness.backend.requests) == 1
    else:
        assert b"<Code>%s</Code>" % code in response.body
        assert response.status == (403 if code == b"AccessDenied" else 405)
        assert harness.backend.requests == []


@pytest.mark.parametrize(("networks", "is_allowed"), [(("127.0.0.0/8",), True), (("10.0.0.0/8", "::1"), False)])
@ensureDeferred
async def test_a_key_is_bound_to_networks(networks: tuple[str, ...], is_allowed: bool) -> None:
    response, harness = await ask(request_for(OPERATIONS["GetObject"]), networks=networks)
    assert response.status == (200 if is_allowed else 403)
    assert len(harness.backend.requests) == is_allowed
