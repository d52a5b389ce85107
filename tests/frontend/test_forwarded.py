"""
Headers of proxies with any content are used or refused, and have no other effect.
"""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from s3proxy.frontend.forwarded import Origin, believed_origin
from s3proxy.frontend.peers import Peers, Trust
from s3proxy.resign.headers import forwarded_headers
from s3proxy.s3.errors import BadRequest
from s3proxy.s3.head import RequestHead, parse_request_head

PEERS = Peers(["127.0.0.0/8", "10.0.0.0/8", "unix"])
OWN = Origin("127.0.0.1", b"http")

PIECES = [
    *(b"for=", b"host=", b"proto=", b"FOR", b"=", b";", b",", b" ", b"\t", b'"', b"\\", b"192.0.2.7", b"10.0.0.1"),
    *(b"[::1]", b":80", b"https", b"unknown", b"_x", b"s3.example.test", b"evil", b"\xff", b"%", b"<", b"/"),
]
VALUES = st.lists(st.sampled_from(PIECES), max_size=12).map(b"".join)
LINES = st.lists(
    st.tuples(
        st.sampled_from(
            [b"Forwarded", b"X-Forwarded-For", b"X-Forwarded-Host", b"X-Forwarded-Proto", b"x-forwarded-for"]
        ),
        VALUES,
    ),
    max_size=5,
)


def head_with(lines: list[tuple[bytes, bytes]]) -> RequestHead:
    """
    A request with these headers.
    """
    return parse_request_head(
        b"GET / HTTP/1.1\r\nHost: inner\r\n" + b"\r\n".join([b"%s: %s" % line for line in lines] + [b"A: b"])
    )


@example(lines=[(b"X-Forwarded-For", b"192.0.2.7"), (b"X-Forwarded-Host", b"a/b")], form="x-forwarded")
@given(lines=LINES, form=st.sampled_from(["x-forwarded", "forwarded"]))
def test_whatever_is_believed_is_well_formed(lines: list[tuple[bytes, bytes]], form: str) -> None:
    """
    The result is an address, a scheme and one host, which mean nothing else in a header, a log or a Location; or it is
    a refusal.
    """
    head = head_with(lines)
    try:
        origin = believed_origin(head, Trust(PEERS, forwarded=form), OWN)
    except BadRequest:
        return

    nodes = (origin.client_host, *origin.hops)
    assert all(re.fullmatch(r"[0-9a-f.:]+|-", node) for node in nodes)
    assert all(PEERS.lists_host(hop) for hop in origin.hops)
    assert nodes[-1] == "127.0.0.1"
    assert origin.scheme in {b"http", b"https"}
    (host,) = head.fields[b"host"]
    assert re.fullmatch(rb"[\w.\-\[\]:]+", host)
    assert [value for name, value in head.headers if name.lower() == b"host"] == [host]


@example(lines=[(b"Forwarded", b'for="6.6.6.6')], form="forwarded", after="192.0.2.9")
@example(lines=[(b"X-Forwarded-For", b"192.0.2.7")], form="x-forwarded", after="192.0.2.9")
@given(
    lines=LINES, form=st.sampled_from(["x-forwarded", "forwarded"]), after=st.sampled_from(["192.0.2.9", "2001:db8::9"])
)
def test_a_client_cannot_get_past_its_own_address(lines: list[tuple[bytes, bytes]], form: str, after: str) -> None:
    """
    Whatever a client itself sends: once a listed proxy has appended the address that it saw, that is the client's
    address, or the request is refused.
    """
    header = b"Forwarded" if form == "forwarded" else b"X-Forwarded-For"
    appended = b'for="[%s]";host=real' if ":" in after else b"for=%s;host=real"
    value = after.encode() if form != "forwarded" else appended % after.encode()
    # The proxy sets the others, and appends to the last line of this one, or adds another line.
    kept = [line for line in lines if line[0].lower() == header.lower()]
    for heads in ([*kept, (header, value)], [*kept[:-1], (header, b", ".join([*(v for _, v in kept[-1:]), value]))]):
        head = head_with(heads)
        try:
            origin = believed_origin(head, Trust(PEERS, forwarded=form), OWN)
        except BadRequest:
            continue
        assert origin.client_host == after
        assert form != "forwarded" or head.host == b"real"


@pytest.mark.parametrize("form", ["x-forwarded", "forwarded"])
def test_what_is_written_is_read_by_the_next(form: str) -> None:
    """
    With one s3proxy after another, the chain grows by a hop, and the client's address stays the same.
    """
    written = forwarded_headers(form, [b"2001:db8::7", b"10.0.0.3"], b"s3.example.test:9000", b"https")
    head = head_with(written)
    origin = believed_origin(head, Trust(PEERS, forwarded=form), Origin("10.0.0.2", b"http"))

    assert origin == Origin("2001:db8::7", b"https", ("10.0.0.3", "10.0.0.2"))
    assert head.host == b"s3.example.test:9000"


def test_a_unix_socket_has_no_address() -> None:
    """
    The backend gets its hop as unknown.
    """
    head = head_with([(b"X-Forwarded-For", b"192.0.2.7")])
    origin = believed_origin(head, Trust(PEERS, forwarded="x-forwarded"), Origin("-", b"http"))
    chain = [host.encode() for host in (origin.client_host, *origin.hops)]

    assert forwarded_headers("x-forwarded", chain, b"h", b"http")[0] == (b"X-Forwarded-For", b"192.0.2.7, unknown")
    assert forwarded_headers("forwarded", chain, b"h", b"http") == [
        (b"Forwarded", b'for=192.0.2.7;host="h";proto=http, for=unknown')
    ]
