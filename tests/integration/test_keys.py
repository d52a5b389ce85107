"""
Awkward keys on every kind of storage system: written, listed, read and deleted unchanged through s3proxy, or refused.
No key becomes another.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.integration import rgw, storages
from tests.integration.conftest import Field
from tests.integration.storages import Endpoint, Storage, encode_key

pytestmark = pytest.mark.integration

BUCKET = "awkward-keys"

KEYS = [
    b"plain",
    # Slashes and dots, which path normalization removes.
    b"a//b",
    b"/lead",
    b"/",
    b"//",
    b"trail/",
    b"trail//",
    b"a/./b",
    b"./a",
    b".",
    b"..",
    b"a/../b",
    b"../up",
    b"a/..",
    b"a/.",
    b"x/../../up",
    b"x/../../../../../../tmp/up",
    b".../a",
    b"..a/b",
    b"a../b",
    b".hidden",
    # What looks escaped, and what must be escaped.
    b"%",
    b"a%",
    b"%41",
    b"a%2Fb",
    b"%2e%2e/x",
    b"%00",
    b"%C3%28",
    b"+",
    b"a+b",
    b" ",
    b"a b",
    b" lead",
    b"end ",
    b"a/ /b",
    b"?",
    b"a?b=c",
    b"#",
    b"a#b",
    b";",
    b"a;b",
    b"a&b=c",
    b"a:b@c,d",
    b"'\"<>*|^`{}[]()!$~",
    b"]]>",
    b"&amp;&#65;",
    b"back\\slash",
    b"..\\x",
    # Every alphabet.
    "é".encode(),
    "e\u0301".encode(),
    "日本/語".encode(),
    "😀".encode(),
    "\ufeffmark".encode(),
    "\u202eleft".encode(),
    # Control characters.
    b"tab\there",
    b"line\nfeed",
    b"carriage\rreturn",
    b"delete\x7f",
    b"\x01",
    b"nul\0x",
    "\uffff".encode(),
    # Length: 1,024 bytes, in one segment, in several, in two-byte characters; one more; as long as a file's name.
    b"k" * 1024,
    (b"k" * 200 + b"/") * 5 + b"k" * 19,
    "é".encode() * 512,
    b"a/" * 511 + b"bc",
    b"k" * 1025,
    b"k" * 255,
    b"k" * 256,
    # Names that have a meaning for some program.
    b"-rf",
    b"~",
    b"CON",
    b"admin",
    b"_under",
    b"__multipart_x",
    b"_shadow_x",
    b".sgwtmp",
    b".sgwtmp/x",
    b"a/b.json",
]

UNESCAPED = "/-_.~!$&'()*+,;=:@[]|^`{}\"<>\\"
"""
Characters that a target may have unescaped.
"""

_PATHS = {key for key in KEYS if any(s in {b"", b".", b".."} for s in key.rstrip(b"/").split(b"/")) or b"//" in key}
_NO_XML = {b"\x01", b"nul\0x", "\uffff".encode()}

REFUSED: dict[str, set[bytes]] = {
    "versitygw": _PATHS | _NO_XML | {b".sgwtmp", b".sgwtmp/x"},
    "legacy-store": _NO_XML,
    "swift": {b"nul\0x"},
    "rgw v2": {b"nul\0x"},
    "rgw v4": {b"nul\0x"},
}
"""
Keys that s3proxy refuses by the profile, before it sends a request.
"""

LEFT_TO_THE_STORAGE: dict[tuple[str, bytes], tuple[int, str]] = {
    ("versitygw", b"trail/"): (400, "DirectoryObjectContainsData"),
    **{("versitygw", key): (400, "KeyTooLongError") for key in KEYS if max(map(len, key.split(b"/"))) > 255},
    ("moto", b"line\nfeed"): (404, ""),
    **{("legacy-store", key): (400, "KeyTooLongError") for key in KEYS if 255 < len(key.decode()) <= 1024},
}
"""
Keys that a storage system itself refuses or cannot store, as its profile knows, and its response.
"""

NO_PREFIX: dict[str, bytes] = {"legacy-store": b"\\"}
"""
What a listing's prefix must not have: it has another meaning in the storage system's database.
"""


@contextlib.contextmanager
def _rgw(field: Field, signature: str) -> Iterator[Storage]:
    way = field.ways[f"through {signature} http"]
    through = Endpoint(way.port, way.key_id, way.secret)
    yield storages.speaking_s3(f"rgw {signature}", through, Endpoint(field.gateway.port, rgw.KEY_ID, rgw.SECRET))


OTHERS = {
    "versitygw": storages.versitygw,
    "swift": storages.swift_s3,
    "moto": storages.moto,
    "legacy-store": storages.legacy_store,
}


@pytest.fixture(scope="module", params=["rgw v4", "rgw v2", *OTHERS])
def storage(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Storage]:
    """
    One storage system after another, with an empty bucket.
    """
    name = request.param
    with contextlib.ExitStack() as stack:
        if name in OTHERS:
            found = stack.enter_context(OTHERS[name](tmp_path_factory.mktemp(name)))
        else:
            found = stack.enter_context(_rgw(request.getfixturevalue("field"), name[-2:]))
        made = found.through.ask("PUT", f"/{BUCKET}")
        assert made.status in {200, 409}, made.body
        yield found


def _targets(key: bytes) -> list[str]:
    """
    Every way to write a key: with all escapes, with lower-case ones, and with as few as possible.
    """
    escaped = encode_key(key)
    pieces = escaped.split("%")
    lower = pieces[0] + "".join(f"%{piece[:2].lower()}{piece[2:]}" for piece in pieces[1:])
    return [f"/{BUCKET}/{one}" for one in dict.fromkeys((escaped, lower, quote(key, safe=UNESCAPED)))]


def _fits_xml(key: bytes) -> bool:
    return not any((ord(c) < 32 and c not in "\t\n\r") or c in "\x7f\uffff" for c in key.decode())


@pytest.mark.parametrize("key", KEYS, ids=lambda key: ascii(key)[1:30] + ("" if len(key) < 30 else f" {len(key)}"))
def test_a_key_is_the_key_which_was_meant(key: bytes, storage: Storage) -> None:
    """
    The storage system has exactly this key after the PUT, and none after the DELETE; or it never had one, and the
    response says why.
    """
    before = storage.outside()
    ask = storage.through.ask
    for target in _targets(key):
        body = b"content of " + target.encode()
        put = ask("PUT", target, body)
        if put.status != 200:
            _check_refusal(storage, key, target, put)
            continue
        assert key not in REFUSED.get(storage.name, ())
        assert storage.keys(BUCKET) == [key]
        assert storage.read(BUCKET, key) == body
        for read in _targets(key):
            assert ask("GET", read).body == body
            assert ask("HEAD", read).status == 200
        prefix = quote(key, safe="")
        nowhere = "%E2%98%83%E2%98%83"
        for query in ("", "&list-type=2", f"&list-type=2&prefix={prefix}", f"&prefix={prefix}&delimiter={nowhere}"):
            listed = ask("GET", f"/{BUCKET}?encoding-type=url{query}")
            if "prefix" in query and storage.name in NO_PREFIX and NO_PREFIX[storage.name] in key:
                assert (listed.status, listed.code) == (501, "NotImplemented")
            else:
                assert listed.keys == [key]
        if _fits_xml(key):
            assert ask("GET", f"/{BUCKET}?list-type=2").plain_keys == [key.decode()]
        assert ask("DELETE", target).status == 204
        assert storage.keys(BUCKET) == []
        assert storage.read(BUCKET, key) is None
    assert storage.outside() == before


def _check_refusal(storage: Storage, key: bytes, target: str, put: storages.Reply) -> None:
    assert storage.keys(BUCKET) == []
    if len(key) > 1024:
        assert (put.status, put.code) == (400, "KeyTooLongError")
    elif key in REFUSED.get(storage.name, ()):
        for method in ("PUT", "GET", "DELETE"):
            reply = storage.through.ask(method, target)
            assert (reply.status, reply.code) == (400, "InvalidArgument")
            # The error is s3proxy's: the storage system got no request.
            assert b"The storage system cannot store this key unchanged." in reply.body
    else:
        assert (put.status, put.code) == LEFT_TO_THE_STORAGE[storage.name, key]


def test_awkward_keys_stand_side_by_side(storage: Storage) -> None:
    """
    Each key has its own content while all others exist, and is deleted alone.
    """
    refused = REFUSED.get(storage.name, set()) | {key for name, key in LEFT_TO_THE_STORAGE if name == storage.name}
    # A file and a directory cannot have the same name.
    keys = [key for key in KEYS if key not in refused and len(key) <= 1024 and key != b"trail/"]
    targets = {key: f"/{BUCKET}/{encode_key(key)}" for key in keys}
    for key, target in targets.items():
        assert storage.through.ask("PUT", target, b"content of " + key).status == 200, key

    assert sorted(storage.keys(BUCKET)) == sorted(keys)
    for index, (key, target) in enumerate(targets.items()):
        assert storage.through.ask("GET", target).body == b"content of " + key
        assert storage.read(BUCKET, key) == b"content of " + key
        assert storage.through.ask("DELETE", target).status == 204
        if index % 10 == 0:
            assert sorted(storage.keys(BUCKET)) == sorted(itertools.islice(keys, index + 1, None))
    assert storage.keys(BUCKET) == []


@pytest.mark.parametrize(("key", "becomes"), [("a//b", b"a/b"), ("/lead", b"lead"), ("x/../b", b"b"), ("a/.", b"a")])
def test_versitygw_needs_it(key: str, becomes: bytes, tmp_path: Path) -> None:
    """
    The control: straight, it accepts these keys, and has others afterwards.
    """
    with storages.versitygw(tmp_path) as storage:
        assert storage.straight is not None
        storage.straight.ask("PUT", f"/{BUCKET}")
        put = storage.straight.ask("PUT", f"/{BUCKET}/{key}", b"hello")

        assert put.status == 200
        assert storage.keys(BUCKET) == [becomes]
