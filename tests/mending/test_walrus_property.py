"""
Random keys, metadata, listings, copies and deletions through s3proxy at each storage system of the Eucalyptus family: a
client sees what S3 would return, or an error for a request that changed nothing.
"""

from __future__ import annotations

import base64
import hashlib
import random
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote_plus
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import pytest
import pytest_twisted

from s3proxy.testing.faulty_client import Response
from tests.mending.walrus_rows import put
from tests.support.legacy import code, found
from tests.support.pair import Pair, running_pair
from tests.support.signer import Signer

FAMILY = ("walrus-3.4", "walrusbackend-4.x", "osg-4.3")
BUCKETS = ("www", "www-internal")
SEEDS = range(6)
STEPS = 200
COLUMN_LENGTH = 255
LINE_SIZE = 3900
"""
Bytes of a target above which the request line may be too long for the storage system.
"""

AWKWARD = (
    *("/", "//", "///", "a", "b", "dir", "dir/", "a/b", "a//b", "/a", "a/", ".", "..", "../a", "./", "services/Walrus"),
    *("services/Walrus-internal/secret", "services/objectstorage", "services/WalrusBackend", "%", "%2F", "%25", "%zz"),
    *("+", " ", "a+b", "a b", "?", "?versionId=null", "?acl", "&", "=", "a=b", "#", ";", ":", "*", "(", "[", "\\", "|"),
    *("_", "log_1/", "logs1/", "^", "$", ".x", "{", "}", "<", ">", '"', "'", "]]>", "&amp;", "\u00fc", "\u3042"),
    *("\U0001f600", "\ufeff", "\u2028", "\t", "\n", "\r", "\r\n", "\x00", "\x01", "\x1f", "\x7f", "\x85", "\ufffe"),
    *("\u0301", "\ufffd", "-", "~", "@", ",", "A", "0"),
)
"""
The pieces of keys, prefixes and delimiters.
"""

NOT_IN_XML = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")


def key_of(chance: random.Random, known: list[str]) -> str:
    """
    Return a key: half of them are awkward, and some exist already.
    """
    kind = chance.random()
    if kind < 0.35 and known:
        return chance.choice(known)
    if kind < 0.6:
        # Folders whose names match each other if they are read as patterns.
        return "/".join(chance.choices(["log_1", "logA1", "logs1", "a", "b%", "bc"], k=chance.randint(1, 4)))
    if kind < 0.9:
        return "".join(chance.choices(AWKWARD, k=chance.randint(1, 4)))
    if kind < 0.95:
        # About as long as the database column, and about as long as S3 allows.
        unit = chance.choice(["k", "\u00e9", "%", "\U0001f600"])
        size = chance.choice([COLUMN_LENGTH, COLUMN_LENGTH + 1, 1024 // len(unit.encode())])
        return (unit * size).encode()[:1024].decode(errors="ignore")
    characters = [chr(chance.choice([chance.randrange(0x20), chance.randrange(0x300), chance.randrange(0x110000)]))]
    characters += [chr(chance.randrange(0x21, 0x7F)) for _ in range(chance.randint(0, 5))]
    return "".join(c for c in characters if not 0xD800 <= ord(c) < 0xE000) or "k"


def metadata_of(chance: random.Random) -> dict[str, str]:
    """
    Return headers of metadata.
    """
    found = {}
    for name in chance.sample(["a", "bc", "x-y", "n0", "long-name"], chance.randint(0, 3)):
        pieces = ["v", "two words", "  ", "\t", "=?UTF-8?Q?=C3=BC?=", ",", '"', "%2F", "+", ";", "a:b", ""]
        if chance.random() < 0.1:
            pieces.append("\u00fc")
        value = "".join(chance.choices(pieces, k=chance.randint(0, 5)))
        if chance.random() < 0.1:
            value = "m" * chance.choice([COLUMN_LENGTH, COLUMN_LENGTH + 1, 300])
        found[f"x-amz-meta-{name}"] = value
    return found


@dataclass
class Stored:
    """
    An object as S3 would have it.
    """

    content: bytes
    metadata: dict[str, str]

    @property
    def etag(self) -> str:
        """
        The entity tag of the object, in quotation marks.
        """
        return f'"{hashlib.md5(self.content).hexdigest()}"'


@dataclass
class Refused:
    """
    A refusal: the status and the error code, which is empty for HEAD.
    """

    status: int
    code: str


@dataclass
class Session:
    """
    A client of s3proxy, a model of S3, and the storage system.

    Attributes:
        model: Objects by bucket and key.
        refusals: How often each code occurred.
    """

    pair: Pair
    chance: random.Random
    is_walrus: bool
    is_oldest: bool
    model: dict[str, dict[str, Stored]] = field(default_factory=lambda: {name: {} for name in BUCKETS})
    refusals: dict[str, int] = field(default_factory=dict)
    client: Any = None
    log: list[str] = field(default_factory=list)

    async def ask(
        self, method: str, bucket: str, key: str = "", body: bytes = b"", query: str = "", **headers: str
    ) -> Response | Refused:
        """
        Send a request in either style; return the response, or the refusal.
        """
        signed = {name.replace("_", "-"): value for name, value in headers.items()}
        unsigned = {"Content-Length": str(len(body))} if method in {"PUT", "POST"} else {}
        is_virtual = self.chance.random() < 0.3
        signer = Signer(host=f"{bucket}.s3.example.test") if is_virtual else Signer()
        target = f"/{quote(key)}" if is_virtual else f"/{bucket}" + (f"/{quote(key)}" if key else "")
        target += f"?{query}" if query else ""
        # Signed with each run of white space as one space, but sent unchanged.
        folded = {name: " ".join(value.split()) for name, value in signed.items()}
        head, _ = signer.head(method, target, folded, payload=hashlib.sha256(body).hexdigest(), unsigned=unsigned)
        for name, value in signed.items():
            head = head.replace(f"\r\n{name}: {folded[name]}\r\n".encode(), f"\r\n{name}: {value}\r\n".encode())
        self.log.append(f"{method} {signer.host} {target[:200]} {headers}")
        if self.client is None or self.client.lost is not None:
            self.client = await self.pair.harness.connect()
        self.client.send(head + body)
        response = await self.client.response(method)
        assert response is not None, self.told("no response")
        self.log.append(f"  {response.status} {response.body[:300]!r}")
        if response.status < 400:
            return response
        code = ""
        if method != "HEAD":
            root = ElementTree.fromstring(response.body)
            assert root.tag == "Error", self.told("no error")
            code = root.findtext("Code") or ""
            assert code, self.told("no code")
        assert response.status < 500 or response.status == 501, self.told("a failure")
        assert code != "SignatureDoesNotMatch", self.told("the test signs otherwise")
        refused = Refused(response.status, code)
        self.refusals[code] = self.refusals.get(code, 0) + 1
        if is_virtual and code == "AccessDenied":
            # The first path segment, decoded or not, may be an invalid bucket name at the storage system.
            assert "services" in key, self.told("refused")
            refused.code = "services"
        return refused

    def told(self, what: str) -> str:
        """
        Return a description of a failure, with the last requests.
        """
        return "\n".join([what, *self.log[-4:]])

    def look(self) -> None:
        """
        Compare the storage system with the model of S3.
        """
        for bucket, objects in self.model.items():
            folder = self.pair.store.store.objects.bucket(bucket)
            assert folder.exists, self.told(f"{bucket} is gone")
            found = {stored.key: stored for stored in folder.objects()}
            assert found.keys() == objects.keys(), self.told(f"{found.keys() ^ objects.keys()}")
            for key, stored in found.items():
                assert stored.size == len(objects[key].content), self.told(f"{key!r} has another size")
                assert f'"{stored.etag}"' == objects[key].etag, self.told(f"{key!r} is another")

    def known(self, bucket: str) -> list[str]:
        """
        Return the existing keys.
        """
        return list(self.model[bucket])

    # What may be refused

    def key_codes(self, key: str, *, is_written: bool = False) -> set[str]:
        """
        Return the codes with which a key may be refused.
        """
        codes = {"services"}
        if NOT_IN_XML.search(key):
            codes.add("InvalidArgument")
        if is_written and self.is_walrus and len(key) > COLUMN_LENGTH:
            codes.add("KeyTooLongError")
        return codes

    def metadata_codes(self, metadata: dict[str, str]) -> set[str]:
        """
        Return the codes with which metadata may be refused.
        """
        codes = set()
        if any(not value.isascii() for value in metadata.values()):
            codes.add("InvalidArgument")
        if self.is_walrus and any(len(value.encode()) > COLUMN_LENGTH for value in metadata.values()):
            codes.add("MetadataTooLarge")
        return codes

    def expect(self, refused: Refused, codes: set[str]) -> None:
        """
        Fail if the refusal has another code.
        """
        assert refused.code in codes, self.told(f"refused with {refused.code}, not one of {sorted(codes)}")

    # Operations

    async def put(self, bucket: str) -> None:
        """
        Put an object.
        """
        key = key_of(self.chance, self.known(bucket))
        metadata, content = metadata_of(self.chance), self.chance.randbytes(self.chance.choice([0, 1, 10, 200]))
        got = await self.ask("PUT", bucket, key, content, **metadata)
        if isinstance(got, Refused):
            self.expect(got, self.key_codes(key, is_written=True) | self.metadata_codes(metadata))
            return
        stored = Stored(content, {name.lower(): value.strip(" \t") for name, value in metadata.items()})
        assert got.header("etag") == stored.etag, self.told("another entity tag")
        self.model[bucket][key] = stored

    async def get(self, bucket: str, key: str | None = None, method: str = "") -> None:
        """
        Read an object, or request one that does not exist.
        """
        key = key if key is not None else key_of(self.chance, self.known(bucket))
        method = method or self.chance.choice(["GET", "GET", "HEAD"])
        got = await self.ask(method, bucket, key)
        stored = self.model[bucket].get(key)
        if isinstance(got, Refused):
            if stored is None and got.status == 404:
                assert got.code in {"NoSuchKey", ""}, self.told("another code")
                return
            codes = self.key_codes(key) | ({""} if NOT_IN_XML.search(key) or "services" in key else set())
            self.expect(got, codes)
            return
        assert stored is not None, self.told("it was never stored")
        assert got.header("etag") == stored.etag, self.told("another entity tag")
        assert got.header("content-length") == str(len(stored.content)), self.told("another length")
        assert method == "HEAD" or got.body == stored.content, self.told("another content")
        found = {name.lower(): value for name, value in got.headers if name.lower().startswith("x-amz-meta-")}
        assert found == stored.metadata, self.told(f"another metadata: {found} {stored.metadata}")

    async def get_range(self, bucket: str) -> None:
        """
        Read a range of an object.
        """
        if not self.model[bucket]:
            return
        key = self.chance.choice(self.known(bucket))
        first, last = sorted(self.chance.choices([0, 1, 5, 9, 10, 199, 1000], k=2))
        span = self.chance.choice([f"{first}-{last}", f"{first}-", f"-{last}"])
        got = await self.ask("GET", bucket, key, range=f"bytes={span}")
        content = self.model[bucket][key].content
        start = max(0, len(content) - last) if span.startswith("-") else first
        end = len(content) if span.startswith("-") or span.endswith("-") else min(last + 1, len(content))
        # S3 returns the whole of an empty object to a client that requests its last bytes.
        is_whole = span.startswith("-") and last > 0 and not content
        if isinstance(got, Refused):
            is_beyond = start >= len(content) and not is_whole
            self.expect(got, self.key_codes(key) | ({"InvalidRange"} if is_beyond else set()))
            return
        if is_whole:
            assert (got.status, got.body) == (200, b""), self.told("another part")
            return
        assert (got.status, got.body) == (206, content[start:end]), self.told("another part")
        assert got.header("content-range") == f"bytes {start}-{end - 1}/{len(content)}", self.told("another range")

    async def delete(self, bucket: str) -> None:
        """
        Delete an object, which may not exist.
        """
        key = key_of(self.chance, self.known(bucket))
        got = await self.ask("DELETE", bucket, key)
        if isinstance(got, Refused):
            self.expect(got, self.key_codes(key))
            return
        assert got.status == 204, self.told("another status")
        self.model[bucket].pop(key, None)

    async def delete_many(self, bucket: str) -> None:
        """
        Delete several objects in one request.
        """
        keys = [key_of(self.chance, self.known(bucket)) for _ in range(self.chance.randint(1, 5))]
        keys = list(dict.fromkeys(key for key in keys if not NOT_IN_XML.search(key)))
        is_quiet = self.chance.random() < 0.3
        items = "".join(f"<Object><Key>{escape(key, {chr(13): '&#13;'})}</Key></Object>" for key in keys)
        body = f"<Delete>{'<Quiet>true</Quiet>' if is_quiet else ''}{items}</Delete>".encode()
        md5 = base64.b64encode(hashlib.md5(body).digest()).decode()
        got = await self.ask("POST", bucket, body=body, query="delete=", content_md5=md5)
        if isinstance(got, Refused):
            self.expect(got, set() if keys else {"MalformedXML"})
            return
        root = ElementTree.fromstring(got.body)
        told = {local(item): (item.findtext("{*}Key") or "") for item in root if local(item) != "Deleted"}
        assert not told, self.told(f"errors: {told}")
        deleted = sorted(item.findtext("{*}Key") or "" for item in root)
        assert deleted == ([] if is_quiet else sorted(keys)), self.told("others were deleted")
        for key in keys:
            self.model[bucket].pop(key, None)

    async def delete_bucket(self, bucket: str) -> None:
        """
        Delete a bucket with objects in it.
        """
        if self.model[bucket]:
            got = await self.ask("DELETE", bucket)
            assert isinstance(got, Refused), self.told("it is gone")
            self.expect(got, {"BucketNotEmpty"})

    async def copy(self, bucket: str) -> None:
        """
        Copy an object, which may not exist.
        """
        other = self.chance.choice(BUCKETS)
        source = key_of(self.chance, self.known(other))
        key = key_of(self.chance, self.known(bucket))
        header = self.chance.choice(["/", ""]) + other + "/" + quote(source, safe=self.chance.choice(["/", ""]))
        metadata = metadata_of(self.chance)
        replaces = self.chance.random() < 0.4
        more = {"x-amz-metadata-directive": "REPLACE", **metadata} if replaces else {}
        got = await self.ask("PUT", bucket, key, **{"x-amz-copy-source": header}, **more)
        stored = self.model[other].get(source)
        if isinstance(got, Refused):
            codes = self.key_codes(key, is_written=True) | self.key_codes(source)
            codes |= {"NoSuchKey"} if stored is None else set()
            codes |= self.metadata_codes(metadata) if replaces else set()
            codes |= {"InvalidRequest"} if (bucket, key) == (other, source) and not replaces else set()
            # The target may be the bucket's own path, with a slash after it.
            codes |= {"InvalidArgument"} if not source.strip("/") else set()
            is_unspeakable = "//" in source or source.startswith("/") or source.endswith("/")
            if "?" in source or (self.is_oldest and is_unspeakable):
                codes.add("NotImplemented")
            self.expect(got, codes)
            return
        assert stored is not None, self.told("a copy of nothing")
        root = ElementTree.fromstring(got.body)
        assert local(root) == "CopyObjectResult", self.told("another document")
        assert root.findtext("{*}ETag") == stored.etag, self.told("another entity tag")
        kept = {name.lower(): value.strip(" \t") for name, value in metadata.items()} if replaces else stored.metadata
        self.model[bucket][key] = Stored(stored.content, kept)

    async def list(self, bucket: str) -> None:
        """
        List a bucket, page by page to the end.
        """
        chance = self.chance
        known = self.known(bucket)
        prefix = ""
        if chance.random() < 0.6:
            prefix = key_of(chance, known)[: chance.randint(1, 8)]
            if chance.random() < 0.3:
                place = chance.randrange(len(prefix))
                prefix = prefix[:place] + chance.choice("_%") + prefix[place + 1 :]
        delimiter = chance.choice(["", "", "/", "/", "//", "a", "%", "+", "\u00fc", "dir/", " ", ".", "_", "&", "="])
        names = entries(self.model[bucket], prefix, delimiter)
        is_v2, is_encoded = chance.random() < 0.5, chance.random() < 0.5
        max_keys = chance.choice([None, None, 1, 2, 3, 1000, 2147483647, 0])
        after = chance.choice(["", *names]) if chance.random() < 0.3 else ""
        fixed = {"prefix": prefix, "delimiter": delimiter, "encoding-type": "url" if is_encoded else ""}
        fixed["max-keys"] = "" if max_keys is None else str(max_keys)
        fixed["list-type"] = "2" if is_v2 else ""
        expected = [name for name in names if name.encode() > after.encode()] if max_keys != 0 else []
        seen: list[str] = []
        token, marker = "", after
        for _ in range(len(expected) + 1):
            place = {"continuation-token": token} if token else {"start-after" if is_v2 else "marker": marker}
            query = "&".join(f"{n}={quote(v, safe='')}" for n, v in {**fixed, **place}.items() if v)
            got = await self.ask("GET", bucket, query=query)
            if isinstance(got, Refused):
                codes = set()
                if re.search(r"[\\.$|()\[{^?*+]", delimiter) or "\\" in prefix:
                    codes.add("NotImplemented")
                if NOT_IN_XML.search(prefix + delimiter + marker):
                    codes.add("InvalidArgument")
                if len(query) > LINE_SIZE:
                    codes.add("RequestHeaderSectionTooLarge")
                self.expect(got, codes)
                return
            page, is_truncated, token, marker = self.read_page(got, bucket, is_v2=is_v2, is_encoded=is_encoded)
            assert len(page) <= (1000 if max_keys is None else max_keys), self.told("too many names")
            seen += page
            if not is_truncated:
                break
            assert page, self.told("an empty page before the last")
        else:
            raise AssertionError(self.told("pages without end"))
        assert seen == expected, self.told(f"saw {seen}\nnot {expected}")

    def read_page(
        self, got: Response, bucket: str, *, is_v2: bool, is_encoded: bool
    ) -> tuple[list[str], bool, str, str]:
        """
        Return the names of a page, whether more follow, and where the next page begins.
        """
        root = ElementTree.fromstring(got.body)
        decode: Callable[[str], str] = unquote_plus if is_encoded else str
        assert local(root) == "ListBucketResult", self.told("no list")
        assert (root.findtext("{*}EncodingType") or "") == ("url" if is_encoded else ""), self.told("another encoding")
        keys, prefixes = [], []
        for item in root.iterfind("{*}Contents"):
            key = decode(item.findtext("{*}Key") or "")
            keys.append(key)
            stored = self.model[bucket].get(key)
            assert stored is not None, self.told(f"{key!r} is not there")
            size = item.findtext("{*}Size")
            assert (item.findtext("{*}ETag"), size) == (stored.etag, str(len(stored.content))), self.told("another")
        for item in root.iterfind("{*}CommonPrefixes"):
            prefixes.append(decode(item.findtext("{*}Prefix") or ""))
        for part in (keys, prefixes):
            assert part == sorted(part, key=str.encode), self.told("not in order")
        names = sorted(keys + prefixes, key=str.encode)
        is_truncated = root.findtext("{*}IsTruncated") == "true"
        if is_v2:
            assert root.findtext("{*}KeyCount") == str(len(names)), self.told("another count")
        token = root.findtext("{*}NextContinuationToken") or ""
        assert bool(token) == (is_v2 and is_truncated), self.told("a token")
        marker = decode(root.findtext("{*}NextMarker") or "") or (names[-1] if names else "")
        return names, is_truncated, token, marker


def local(element: ElementTree.Element) -> str:
    """
    Return an element's name without its name space.
    """
    return element.tag.rpartition("}")[2]


def entries(objects: dict[str, Stored], prefix: str, delimiter: str) -> list[str]:
    """
    Return what S3 lists: keys and common prefixes, in the order of their bytes.
    """
    found = set()
    for key in objects:
        if key.startswith(prefix):
            cut = key.find(delimiter, len(prefix)) if delimiter else -1
            found.add(key if cut < 0 else key[: cut + len(delimiter)])
    return sorted(found, key=str.encode)


OPERATIONS = {
    Session.put: 14,
    Session.get: 4,
    Session.get_range: 3,
    Session.delete: 2,
    Session.delete_many: 1,
    Session.delete_bucket: 1,
    Session.copy: 6,
    Session.list: 9,
}
"""
The relative frequency of each operation.
"""


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("profile", FAMILY)
@pytest_twisted.ensureDeferred
async def test_a_client_sees_s3_or_a_refusal(profile: str, seed: int, tmp_path: Path) -> None:
    """
    After each request the storage system holds what S3 would hold. The response is S3's, or a refusal.
    """
    chance = random.Random(f"{profile} {seed}")
    async with running_pair(tmp_path, profile) as pair:
        for bucket in BUCKETS:
            pair.store.store.objects.bucket(bucket).create()
        session = Session(pair, chance, profile.startswith("walrus"), profile == "walrus-3.4")
        for _ in range(STEPS):
            (operation,) = chance.choices([*OPERATIONS], [*OPERATIONS.values()])
            await operation(session, chance.choice(BUCKETS))
            session.look()
        for bucket in BUCKETS:
            for key in session.known(bucket):
                await session.get(bucket, key, "GET")
        assert sum(map(len, session.model.values())) > 5


# What the random test found, each as a test of its own


@pytest.mark.parametrize("profile", FAMILY)
@pytest_twisted.ensureDeferred
async def test_a_key_that_no_listing_can_tell_is_refused(profile: str, tmp_path: Path) -> None:
    """
    The listings are plain XML, which cannot contain U+0001. Such a key would be listed as another key, or not at all,
    and then every other key of the bucket would be missing too.
    """
    async with running_pair(tmp_path, profile) as pair:
        put = await pair.through("PUT", "/b/a%01", b"x")
        copied = await pair.through("PUT", "/b/a%01", x_amz_copy_source="/b/k")
        listed = await pair.through("GET", "/b")

        assert [(response.status, code(response)) for response in (put, copied)] == [(400, "InvalidArgument")] * 2
        assert found(listed, "Key") == ["k"]
        assert pair.stored("a\x01") is None


@pytest.mark.parametrize("query", ["prefix=a%01", "delimiter=%1F", "marker=%02", "list-type=2&start-after=%00"])
@pytest.mark.parametrize("profile", FAMILY)
@pytest_twisted.ensureDeferred
async def test_a_list_that_could_not_be_written_is_refused(profile: str, query: str, tmp_path: Path) -> None:
    """
    The storage system repeats the request's parameters in the listing, and fails on them.
    """
    async with running_pair(tmp_path, profile) as pair:
        straight = await pair.store.ask("GET", f"/b?{query.replace('start-after', 'marker')}")
        through = await pair.through("GET", f"/b?{query}")

    assert straight.status == 400
    assert (through.status, code(through)) == (400, "InvalidArgument")


@pytest.mark.parametrize("is_v2", [False, True])
@pytest.mark.parametrize("max_keys", [1, 2, 1000])
@pytest.mark.parametrize("profile", FAMILY)
@pytest_twisted.ensureDeferred
async def test_folders_below_a_wildcard_are_those_which_are_there(
    profile: str, max_keys: int, tmp_path: Path, *, is_v2: bool
) -> None:
    """
    From ``logA1/zzz/k`` and the prefix ``log_1/`` the storage system makes a folder ``log_1/zzz/``. A client would see
    it, and continue after it, past folders that exist.
    """
    keys = ["logA1/zzz/k", "log_1/aaa/1", "log_1/aaa/2", "log_1/bbb/", "log_1/k", "logs1/aa/k"]
    async with running_pair(tmp_path, profile) as pair:
        for key in keys:
            put(pair, key)
        seen, place = [], ""
        for _ in range(5):
            response = await pair.through(
                "GET",
                f"/b?{'list-type=2&' if is_v2 else ''}prefix=log_1/&delimiter=/&max-keys={max_keys}" + place,
            )
            (count,) = found(response, "KeyCount") or [""]
            names = found(response, "Key") + [name for name in found(response, "Prefix") if name != "log_1/"]
            assert count == (str(len(names)) if is_v2 else "")
            assert (found(response, "Delimiter"), found(response, "MaxKeys")) == (["/"], [str(max_keys)])
            seen += names
            following = found(response, "NextContinuationToken" if is_v2 else "NextMarker")
            if not following:
                break
            place = ("&continuation-token=" if is_v2 else "&marker=") + quote(following[0], safe="")

        assert sorted(seen) == ["log_1/aaa/", "log_1/bbb/", "log_1/k"]
        assert found(response, "IsTruncated") == ["false"]


@pytest.mark.parametrize("profile", ["walrus-3.4"])
@pytest_twisted.ensureDeferred
async def test_folders_of_versions_below_a_wildcard_are_refused(profile: str, tmp_path: Path) -> None:
    """
    In a listing of versions the next page begins at a key and a version, and a common prefix has no version.
    """
    async with running_pair(tmp_path, profile) as pair:
        folded = await pair.through("GET", "/b?versions&prefix=log_1/&delimiter=/")

        assert (folded.status, code(folded)) == (501, "NotImplemented")


@pytest.mark.parametrize("is_v2", [False, True])
@pytest.mark.parametrize("key", [" a/", "\ta/", "\ra/", "\na/"])
@pytest.mark.parametrize("profile", FAMILY)
@pytest_twisted.ensureDeferred
async def test_white_space_of_a_key_is_in_the_next_marker(
    profile: str, key: str, tmp_path: Path, *, is_v2: bool
) -> None:
    """
    Without it the next page would begin after keys that no page contained.
    """
    async with running_pair(tmp_path, profile) as pair:
        put(pair, key)
        put(pair, "B")
        query = "/b?delimiter=/&encoding-type=url&max-keys=1" + ("&list-type=2" if is_v2 else "")
        first = await pair.through("GET", query)
        (place,) = found(first, "NextContinuationToken" if is_v2 else "NextMarker")
        # A marker is encoded as it came, and a token is opaque.
        query += f"&continuation-token={quote(place, safe='')}" if is_v2 else f"&marker={place}"
        second = await pair.through("GET", query)

        assert [unquote_plus(name) for name in found(first, "Prefix") if name] == [key]
        assert found(second, "Key") == ["B"]


@pytest.mark.parametrize("is_v2", [False, True])
@pytest.mark.parametrize("max_keys", [1, 2])
@pytest.mark.parametrize("profile", FAMILY)
@pytest_twisted.ensureDeferred
async def test_a_folder_is_listed_once(profile: str, max_keys: int, tmp_path: Path, *, is_v2: bool) -> None:
    """
    Walrus lists ``a//`` as a key, and then the common prefix ``a/`` of others: over two pages the folder came twice.
    """
    async with running_pair(tmp_path, profile) as pair:
        for key in ("a/", "a//", "a///", "a/1", "a/2"):
            put(pair, key)
        seen, place = [], ""
        for _ in range(5):
            query = f"/b?delimiter=/&max-keys={max_keys}" + ("&list-type=2" if is_v2 else "") + place
            response = await pair.through("GET", query)
            seen += found(response, "Key") + [name for name in found(response, "Prefix") if name]
            following = found(response, "NextContinuationToken" if is_v2 else "NextMarker")
            if not following:
                break
            place = ("&continuation-token=" if is_v2 else "&marker=") + quote(following[0], safe="")

        assert sorted(seen) == ["a/", "k"]


@pytest.mark.parametrize("is_v2", [False, True])
@pytest.mark.parametrize("prefix", ["log_1", "log", ""])
@pytest.mark.parametrize("profile", FAMILY)
@pytest_twisted.ensureDeferred
async def test_a_place_within_a_folder_is_before_the_rest_of_it(
    profile: str, prefix: str, tmp_path: Path, *, is_v2: bool
) -> None:
    """
    The folder is listed as long as it has a key after that place; if the place is the folder itself, it is not.
    """
    async with running_pair(tmp_path, profile) as pair:
        for key in ("log_1/a", "log_1/b", "log_1z"):
            put(pair, key)
        seen = []
        for place in ("log_1/a", "log_1/b", "log_1/"):
            query = f"list-type=2&start-after={place}" if is_v2 else f"marker={place}"
            response = await pair.through("GET", f"/b?{query}&prefix={prefix}&delimiter=/")
            seen.append(found(response, "Key") + [name for name in found(response, "Prefix") if name.endswith("/")])

        assert seen == [["log_1z", "log_1/"], ["log_1z"], ["log_1z"]]
