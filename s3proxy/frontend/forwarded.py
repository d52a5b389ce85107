"""
Read what a listed proxy says of its client in a request's headers: address, scheme, and the host name that the client
used.

Source:
    RFC 7239, "Forwarded HTTP Extension". The ``X-Forwarded-`` headers have no specification.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from s3proxy.frontend.peers import Peers, Trust
from s3proxy.s3.errors import BadRequest
from s3proxy.s3.forwarded import ForwardedHeaders
from s3proxy.s3.head import RequestHead
from s3proxy.s3.limits import MAX_FORWARDED_HOPS
from s3proxy.s3.network import parse_ip_address

UNKNOWN = "-"
"""
The address of a client whose address is not known, as the access log has it.
"""

_HOST = re.compile(rb"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_NODE = re.compile(r"(?:([0-9.]+)|\[([0-9A-Fa-f:.]+)\])(?::[0-9]{1,5})?|([0-9A-Fa-f:.]+)")
_OBFUSCATED = re.compile(r"(?:unknown|_[A-Za-z0-9._-]+)(?::[A-Za-z0-9._-]+)?", re.IGNORECASE)
_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
# Possessive: a client of the proxy may write 60 KiB of white space, and nothing must be tried twice.
_PAIR = re.compile(rb'[ \t]*+(?:(%b)=(?:(%b)|"([^"\\]*+(?:\\.[^"\\]*+)*)"))?[ \t]*+([;,]|\Z)' % (_TOKEN, _TOKEN))
_ESCAPED = re.compile(rb"\\(.)")


@dataclass(frozen=True, slots=True)
class Origin:
    """
    The client of a request, as far as it is believed.

    Attributes:
        client_host: The client's address as text, or `UNKNOWN`.
        scheme: ``http`` or ``https``: how the client itself is connected, to s3proxy or to the first listed proxy.
        hops: Addresses of the listed proxies between the client and s3proxy, the one nearest to the client first.
    """

    client_host: str
    scheme: bytes
    hops: tuple[str, ...] = ()


def believed_origin(head: RequestHead, trust: Trust, own: Origin) -> Origin:
    """
    Read what a listed proxy says, and set the request's Host to the name that the client used. From then on it is the
    only host, for the signature as for everything else.

    Args:
        head: The request's head. Its Host is replaced if the proxy names another.
        own: The origin that the connection itself shows, which is the proxy.

    Raises:
        BadRequest: What the proxy says cannot be read, or can be read in two ways.
    """
    if trust.forwarded == ForwardedHeaders.X_FORWARDED:
        return _read_x_forwarded(head, trust.peers, own)
    return _read_forwarded(head, trust.peers, own)


def why_not_believed(head: RequestHead) -> str:
    """
    Return in words for an operator why `believed_origin` has refused. The text has no bytes of the request.
    """
    for name in (b"X-Forwarded-Host", b"X-Forwarded-Proto"):
        number = len(head.fields.get(name.lower(), ()))
        if number > 1:
            return f"a listed proxy sends {number} {name.decode()} headers: its own beside its client's"
    return "what a listed proxy says of its client, in X-Forwarded-For, -Host and -Proto or Forwarded, cannot be read"


def _read_x_forwarded(head: RequestHead, peers: Peers, own: Origin) -> Origin:
    fields = head.fields
    values = fields.get(b"x-forwarded-for", ())
    entries = [entry for value in values for entry in value.split(b",")]
    chain = _believed_chain(entries, peers, own.client_host)
    _name_host(head, _only(fields.get(b"x-forwarded-host")))
    return _origin(chain, _only(fields.get(b"x-forwarded-proto")), own)


def _read_forwarded(head: RequestHead, peers: Peers, own: Origin) -> Origin:
    # Line by line: a quotation mark that one hop left open does not swallow what the next one wrote.
    elements = [element for value in head.fields.get(b"forwarded", ()) for element in _parse_elements(value)]
    chain = _believed_chain([element.get(b"for", b"unknown") for element in elements], peers, own.client_host)
    if len(chain) == 1:
        return own
    # The element of the proxy that the client is connected to.
    element = elements[len(elements) - len(chain) + 1]
    _name_host(head, element.get(b"host"))
    return _origin(chain, element.get(b"proto"), own)


def _only(values: Sequence[bytes] | None) -> bytes | None:
    if values is None:
        return None
    if len(values) != 1:
        # The proxy added its own header but left the client's in the request.
        raise BadRequest
    return values[0]


def _name_host(head: RequestHead, host: bytes | None) -> None:
    if host is None:
        return
    if _HOST.fullmatch(host) is None:
        raise BadRequest
    head.set_headers([(b"Host", host), *(header for header in head.headers if header[0].lower() != b"host")])


def _origin(chain: Sequence[str], scheme: bytes | None, own: Origin) -> Origin:
    scheme = own.scheme if scheme is None else scheme.lower()
    if scheme not in {b"http", b"https"}:
        raise BadRequest
    return Origin(chain[-1], scheme, tuple(chain[-2::-1]))


def _believed_chain(entries: Iterable[bytes], peers: Peers, own_host: str) -> list[str]:
    """
    Return the addresses from the nearest hop to the first that is not listed, which is the client. The client may have
    written the entries before it.

    Returns:
        The addresses, the nearest first; at least the connection's own.
    """
    chain = [own_host]
    for entry in reversed([*entries]):
        if len(chain) > MAX_FORWARDED_HOPS:
            raise BadRequest
        host = _node_host(entry.strip(b" \t"))
        chain.append(host)
        if not peers.lists_host(host):
            break
    return chain


def _node_host(node: bytes) -> str:
    text = node.decode("latin-1")
    if _OBFUSCATED.fullmatch(text) is not None:
        return UNKNOWN
    found = _NODE.fullmatch(text)
    if found is None:
        raise BadRequest
    try:
        return str(parse_ip_address(found[1] or found[2] or found[3]))
    except ValueError:
        raise BadRequest from None


def _parse_elements(value: bytes) -> list[dict[bytes, bytes]]:
    """
    Return the elements of one Forwarded header, left to right. Each maps lower-case names to values.
    """
    elements: list[dict[bytes, bytes]] = [{}]
    position = 0
    while True:
        found = _PAIR.match(value, position)
        if found is None:
            raise BadRequest
        name, token, quoted, delimiter = found.groups()
        if name is not None:
            name = name.lower()
            if name in elements[-1]:
                raise BadRequest
            elements[-1][name] = token if token is not None else _ESCAPED.sub(rb"\1", quoted)
        if not delimiter:
            return [element for element in elements if element]
        if delimiter == b",":
            elements.append({})
        position = found.end()
