"""
One random change of a signed request, and the meaning of a request.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from urllib.parse import unquote_to_bytes

from s3proxy.s3.query import query_items
from s3proxy.sigv2.canonical import LISTING_NAMES
from tests.differential.signers import Wire
from tests.support.memory import Stored

_CHARACTERS = "aA0/%+-.~=&?;:,_" + "é"
_PARAMETERS = ("acl", "versionId=1", "x=y", "prefix=a", "%61cl", "=", "X-Amz-Date=1", "x-amz-acl=private", "delete")
_HEADERS = (
    ("x-amz-meta-evil", "1"),
    ("x-amz-copy-source", "/a/b"),
    ("x-amz-acl", "public-read"),
    ("Content-Type", "text/html"),
    ("x-amz-content-sha256", "UNSIGNED-PAYLOAD"),
    ("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"),
)
_FIELDS = (("x-amz-meta-evil", "1"), ("acl", "public-read"), ("x-ignore-a", "b"), ("bucket", "b"))
_KINDS = ("path", "query", "header", "body", "signature")
_FORM_KINDS = ("path", "field", "field", "body", "signature")
_OURS = frozenset({b"host", b"authorization", b"date", b"x-amz-date", b"x-amz-content-sha256", b"content-length"})


@dataclass(frozen=True)
class Meaning:
    """
    What a request asks the backend to do.
    """

    method: bytes
    path: bytes
    query: tuple[tuple[bytes, bytes], ...]
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


def meaning_of(stored: Stored, wire: Wire) -> Meaning:
    """
    Return what a request asked the backend to do, as far as the signature must cover it.

    The result leaves out what no signature covers: with Signature V2 the parameters that choose a part of a listing,
    and headers that were not signed and may pass. Several blanks within a header's value count as one, and a signed
    header without a value counts as not sent: S3's canonical request is the same.

    Args:
        wire: The request as it was signed.
    """
    head = stored.head
    query = [item for item in query_items(head.raw_query or b"") if not (wire.is_v2 and item[0] in LISTING_NAMES)]
    headers = [
        (name, b" ".join(b",".join(values).split()))
        for name, values in head.fields.items()
        if name not in _OURS
        and (wire.is_form or name.decode() in wire.signed or name.startswith(b"x-amz-"))
        and b",".join(values)
    ]
    return Meaning(
        head.method, unquote_to_bytes(head.raw_path), tuple(sorted(query)), tuple(sorted(headers)), stored.body
    )


def _edit(rng: random.Random, text: str) -> str:
    place = rng.randrange(len(text)) if text else 0
    kind = rng.randrange(4)
    if kind == 0 or not text:
        return text[:place] + rng.choice(_CHARACTERS) + text[place:]
    if kind == 1:
        return text[:place] + text[place + 1 :]
    if kind == 2:
        return text[:place] + rng.choice(_CHARACTERS) + text[place + 1 :]
    return text[:place] + text[place:].swapcase()


def change_path(rng: random.Random, wire: Wire) -> Wire:
    """
    Change the path.
    """
    path, mark, query = wire.target.partition("?")
    return replace(wire, target="/" + _edit(rng, path[1:]).replace("?", "%3F") + mark + query)


def change_query(rng: random.Random, wire: Wire) -> Wire:
    """
    Add, remove, change or move a parameter.
    """
    path, _, query = wire.target.partition("?")
    items = [item for item in query.split("&") if item]
    kind = rng.randrange(4)
    if kind == 0 or not items:
        items.insert(
            rng.randrange(len(items) + 1),
            rng.choice(["acl", "versionId=1", "x=y", "prefix=a", "%61cl", "=", "X-Amz-Date=1"]),
        )
    elif kind == 1:
        items.pop(rng.randrange(len(items)))
    elif kind == 2:
        place = rng.randrange(len(items))
        items[place] = _edit(rng, items[place])
    else:
        rng.shuffle(items)
    return replace(wire, target=path + ("?" + "&".join(items) if items else ""))


def change_header(rng: random.Random, wire: Wire) -> Wire:
    """
    Add, remove, change, move, double or split a header.
    """
    headers = list(wire.headers)
    place = rng.randrange(len(headers))
    name, value = headers[place]
    kind = rng.randrange(7)
    if kind == 0:
        headers.insert(place, rng.choice(_HEADERS))
    elif kind == 1:
        headers.pop(place)
    elif kind == 2:
        headers[place] = (name, _edit(rng, value))
    elif kind == 3:
        headers.append((name, value))
    elif kind == 4:
        headers[place] = (name.swapcase(), f"  {value} ")
    elif kind == 5 and "," in value:
        first, _, second = value.partition(",")
        headers[place : place + 1] = [(name, first), (name, second)]
    else:
        rng.shuffle(headers)
    return replace(wire, headers=tuple(headers))


def change_body(rng: random.Random, wire: Wire) -> Wire:
    """
    A byte more, less or changed.
    """
    content = wire.file if wire.is_form else wire.body
    place = rng.randrange(len(content) + 1)
    kind = rng.randrange(3)
    if kind == 0 or not content:
        content = content[:place] + b"x" + content[place:]
    elif kind == 1:
        content = content[:place] + content[place + 1 :] if place < len(content) else content[:-1]
    else:
        place %= len(content)
        content = content[:place] + bytes([content[place] ^ (1 << rng.randrange(8))]) + content[place + 1 :]
    return replace(wire, file=content) if wire.is_form else replace(wire, body=content)


def change_signature(rng: random.Random, wire: Wire) -> Wire:
    """
    Change the signature.
    """
    if wire.is_form:
        names = {"x-amz-signature", "signature"}
        fields = [(name, _edit(rng, value) if name in names else value) for name, value in wire.fields]
        return replace(wire, fields=tuple(fields))
    if "Signature=" in wire.target:
        before, _, after = wire.target.rpartition("Signature=")
        signature, mark, rest = after.partition("&")
        return replace(wire, target=f"{before}Signature={_edit(rng, signature)}{mark}{rest}")
    headers = []
    for name, value in wire.headers:
        if name.lower() == "authorization":
            before, sign, signature = value.rpartition("=") if "Signature=" in value else value.rpartition(":")
            headers.append((name, before + sign + _edit(rng, signature)))
        else:
            headers.append((name, value))
    return replace(wire, headers=tuple(headers))


def change_field(rng: random.Random, wire: Wire) -> Wire:
    """
    Add, remove, change or move a form field.
    """
    fields = list(wire.fields)
    place = rng.randrange(len(fields))
    kind = rng.randrange(4)
    if kind == 0:
        fields.insert(place, rng.choice(_FIELDS))
    elif kind == 1:
        fields.pop(place)
    elif kind == 2:
        fields[place] = (fields[place][0], _edit(rng, fields[place][1]))
    else:
        rng.shuffle(fields)
    return replace(wire, fields=tuple(fields))


CHANGES: dict[str, Callable[[random.Random, Wire], Wire]] = {
    "path": change_path,
    "query": change_query,
    "header": change_header,
    "body": change_body,
    "signature": change_signature,
    "field": change_field,
}


def change(rng: random.Random, wire: Wire) -> tuple[str, Wire]:
    """
    Make one change; return what was changed, and the result.
    """
    while True:
        kind = rng.choice(_FORM_KINDS if wire.is_form else _KINDS)
        changed = CHANGES[kind](rng, wire)
        if changed != wire:
            return kind, changed
