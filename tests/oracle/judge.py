"""
Compare what a backend gets with what the client signed.

The rules, by letter:

* (a) It is one request as RFC 9112 defines it, and its body is the client's.
* (b) Its operation is the client's, and one of S3's.
* (c) Every header and parameter is covered by the client's signature, or on the short list, or the proxy's own; its
  value is the client's.
* (d) Bucket, key, copy source and version are those that the client named.
* (e) Nothing leaves for a refused request, and nothing is complete before the client's request is.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from urllib.parse import parse_qsl
from xml.etree import ElementTree
from xml.parsers import expat

from .operations import BUCKET, IGNORED, OBJECT, SERVICE, classify, known_names, parameters_of, subresources
from .wire import AUTHENTICATION, HOP_BY_HOP, ClientStream, Head, decoded, decoded_item, fully_decoded

TOLERATED = {
    "delete one by one": "DeleteObjects becomes a DeleteObject for each key: it is lacking, or an authorizer is asked.",
    "measured": "A read of a range or a part, or on a condition, is measured by HEAD: Eucalyptus reads both otherwise.",
    "explained": "HEAD answered 403 is asked again as GET of one byte: only a document says whose signature is meant.",
    "form": "A POST form is a PutObject: its fields are the headers, its policy covers all of them.",
    "form type": "A form without Content-Type gets binary/octet-stream, S3's own default.",
    "form field": "A field of a form that is no header of an upload goes nowhere.",
    "listed as the first version": "ListObjectsV2 becomes ListObjects: the backend ignores list-type.",
    "bare tag": "The entity tag of a PUT's condition loses its marks: the backend takes them for a part of it.",
    "checked": "A write's conditions that the backend ignores are judged by a HEAD before it, and are not sent.",
    "source checked": "A HEAD asks for a copy's source: the backend misreads conditions on it, or cuts a large one.",
    "versions known": "Walrus 3.4 is asked for a key's versions before a copy to it, and before one is deleted.",
    "first part": "partNumber=1 of a read is cut where the backend does not know the parts of an object.",
    "answered here": "response-* is cut where the profile sets the response's headers itself.",
    "written copy source": "# in a copy source is %23, since some backends read a URL there, and + is %20, as for S3.",
    "kept here": "A multipart upload is kept until it is complete: the storage hears of its bucket and of the object.",
    "of a beginning": "A header that S3 has not for CreateMultipartUpload is none of the object's: it is ignored.",
    "no copy": "Headers of a copy's source are not sent with an operation that copies nothing: S3 ignores them there.",
    "located here": "GetBucketLocation becomes ListObjects of one key where the backend lacks it.",
    "written anew": "Eucalyptus gets path, query and copy source anew, and reads in them what its client named.",
    "written document": "Eucalyptus gets a document anew, with a Content-MD5 of its own: it misreads what S3 reads.",
    "permitted objects": "A key with rules has its DeleteObjects document written anew, of what it may delete.",
    "not kept": "Eucalyptus keeps neither a storage class nor a redirect: they are not sent, and counted.",
    "unversioned": "Where Walrus lists no versions, ListObjects is asked for: it hides what never had any.",
    "rolled up here": "Behind a wildcard of SQL Eucalyptus makes folders of other names: it is asked for keys alone.",
    "further page": "If a page of Eucalyptus has no name below the prefix, the one after its marker is asked for.",
    "escaped plus": "+ in a path is %2B for backends which read it as a space.",
    "escaped semicolon": "; in a query is %3B: some backends take it for an ampersand, others drop the parameter.",
    "aws-chunked": "Content-Encoding loses aws-chunked with the coding; the rest stays.",
    "encoded here": "Names of a list are encoded here where the backend would not do it, or not say so.",
    "readable coding": "Accept-Encoding asks for what can be decoded here alone: an error must be judged.",
    "exact range": "Range and conditions are judged here, and Range is written anew, after an object was measured.",
    "ignored range": "Ceph and Swift refuse a Range that S3 ignores, or respond with a part of it. It is not sent.",
    "joined": "Several lines of a header may become one, joined with a comma, as the signature counts them.",
    "checksum": "x-amz-checksum-* may be dropped once verified, and may come from the client's trailer.",
    "integrity": "Content-MD5 is made for a document which was held: the backend asks for it.",
    "authentication": "Parameters of authentication end here: the query's signature was the client's.",
    "unsigned parameter": "A read under Signature V2 loses the parameters which no signature covers.",
    "ignored parameter": "S3 ignores what chooses a part of another operation's response; of reads, no sub-resource.",
    "foreign parameter": "A read loses parameters which its operation has not: S3 ignores them, others may not.",
    "signed into the query": "SDKs sign headers into a presigned query. S3 ignores all but x-amz-* there.",
    "ambiguous name": "A name with an underscore is another header to a backend behind CGI. It is not sent.",
    "x-id": "x-id is cut, and what SDKs add besides: it means nothing in a query.",
    "respelled": "A parameter is spelled as S3 spells it: a storage may not decode names.",
    "extension": "What the configuration allows beyond S3, by a name of `EXTENSIONS`.",
    "head of a read": "HEAD asks for whatever GET has, without its document (RFC 9110, section 9.3.2).",
    "head of the service": "HEAD of the service is ListBuckets without its document (RFC 9110, section 9.3.2).",
    "query header": "x-amz-* of a presigned query, and of any under Signature V2, is a header of that name.",
    "of responses": "S3 has the header in responses alone: of a request it is ignored, and not sent.",
    "marked preflight": "Swift takes a preflight for one of its own API's unless it asks for Authorization.",
    "unsigned client": "What nobody signed may be dropped: the backend judges the request as anonymous.",
}
"""
Every difference between a client's request and a backend's that is not a breach, with its reason. The table is closed.
"""

used: Counter[str] = Counter()
"""
How often each difference was tolerated in this process.
"""


def tolerate(name: str) -> bool:
    """
    Count a row of `TOLERATED`.
    """
    assert name in TOLERATED
    used[name] += 1
    return True


UNSIGNED_PASSED = frozenset(
    b"""accept accept-encoding accept-language cache-control content-disposition content-encoding content-language
    content-length content-md5 content-type expires if-match if-modified-since if-none-match if-range
    if-unmodified-since origin access-control-request-headers access-control-request-method range referer
    user-agent""".split()
)
"""
The short list: headers that pass without a signature.
"""

OURS = frozenset(
    b"""authorization content-length date expect host x-amz-content-sha256 x-amz-date x-amz-decoded-content-length
    x-amz-trailer""".split()
)
"""
Headers that the proxy writes.
"""

OF_RESPONSES = frozenset(
    b"""x-amz-copy-source-version-id x-amz-delete-marker x-amz-expiration x-amz-id-2 x-amz-mp-parts-count
    x-amz-replication-status x-amz-request-id x-amz-restore x-amz-tagging-count x-amz-version-id""".split()
)
"""
Headers that the API reference has only in responses.
"""

FORWARDING = {
    "none": frozenset[bytes](),
    "x-forwarded": frozenset({b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto"}),
    "forwarded": frozenset({b"forwarded"}),
}

_REPLACED = OURS | {b"x-amz-region-set", b"x-amz-sdk-checksum-algorithm", b"x-amz-security-token"}
_CONDITIONS = frozenset(b"if-match if-modified-since if-none-match if-range if-unmodified-since range".split())
_VALUED = frozenset({b"partNumber", b"uploadId", b"versionId"})
_WRITE_CONDITIONS = frozenset(b"if-match if-none-match x-amz-if-match-last-modified-time x-amz-if-match-size".split())
_COPIES = frozenset({"CopyObject", "UploadPartCopy"})
_SOURCE_CONDITIONS = frozenset(
    b"""x-amz-copy-source-if-match x-amz-copy-source-if-modified-since x-amz-copy-source-if-none-match
    x-amz-copy-source-if-unmodified-since""".split()
)
_CHECKED = frozenset({"CompleteMultipartUpload", "CopyObject", "DeleteObject"})
_KEPT = {
    "CreateMultipartUpload": frozenset({"HeadBucket"}),
    "ListMultipartUploads": frozenset({"HeadBucket"}),
    "CompleteMultipartUpload": frozenset({"PutObject"}),
    "UploadPartCopy": frozenset({"GetObject", "HeadObject"}),
}
_OF_KEPT_OBJECTS = re.compile(
    rb"x-amz-(?:acl|storage-class|tagging|website-redirect-location|server-side-encryption.*|(?:grant|meta|object-lock)-.*)"
)
_OF_KEPT_SOURCES = {
    b"range": b"x-amz-copy-source-range",
    **{name: b"x-amz-copy-source-" + name for name in _CONDITIONS - {b"range", b"if-range"}},
}
_LISTING = frozenset(
    b"""delimiter encoding-type fetch-owner continuation-token key-marker list-type marker max-keys max-parts
    max-uploads part-number-marker prefix start-after upload-id-marker version-id-marker""".split()
)
_OVERRIDES = frozenset(
    b"""response-cache-control response-content-disposition response-content-encoding response-content-language
    response-content-type response-expires""".split()
)
_SIGNED_INTO_QUERIES = frozenset(
    b"""cache-control content-disposition content-encoding content-language content-length content-md5 content-type
    expires host user-agent""".split()
)
_V2_HEADERS = frozenset({b"content-md5", b"content-type", b"date"})
_SPELLED = frozenset(
    b"""AWSAccessKeyId Expires Signature X-Amz-Algorithm X-Amz-Credential X-Amz-Date X-Amz-Expires X-Amz-Region-Set
    X-Amz-Security-Token X-Amz-Signature X-Amz-SignedHeaders""".split()
)
_V1_DROPS = frozenset({b"list-type", b"continuation-token", b"start-after", b"fetch-owner", b"marker"})
_SIGNED_HEADERS = re.compile(rb"SignedHeaders=([^,\s]*)")
_SIGNED = frozenset({"V4", "V2"})
_TRANSFER = re.compile(rb"([0-9A-Fa-f]+)[^\r\n]*\r\n")
_EXACT_RANGE = re.compile(rb"bytes=[0-9]+-[0-9]+")
_PARAMETER = re.compile(rb';\s*([^;=\s"]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;\s]*))\s*', re.DOTALL)

EXTENSIONS: dict[str, tuple[frozenset[str], frozenset[bytes]]] = {
    "append": (frozenset({"PutObject"}), frozenset({b"append", b"position"})),
    "unordered-listing": (
        frozenset({"ListObjects", "ListObjectsV2", "ListObjectVersions"}),
        frozenset({b"allow-unordered"}),
    ),
    "metadata-listing": (frozenset({"ListObjectsV2", "ListObjectVersions"}), frozenset({b"metadata"})),
}
"""
Operations and parameters of functions beyond S3, by their names in the configuration.

Source:
    Ceph, "Bucket Operations" and "Object Operations" of the S3 API; minio/minio, ``ListObjectsV2MHandler``.
"""

FORM_HEADERS = {
    b"acl": b"x-amz-acl",
    b"cache-control": b"cache-control",
    b"content-disposition": b"content-disposition",
    b"content-encoding": b"content-encoding",
    b"content-language": b"content-language",
    b"content-md5": b"content-md5",
    b"content-type": b"content-type",
    b"expires": b"expires",
}

KEPT_SIZE = 6 << 20
"""
Bytes of a POST's body that are kept: a document of S3 has at most 4 MiB, and a form's fields come first.
"""


KEPT_OBJECT_SIZE = 64 << 10
"""
Maximum declared size of an object's body that is kept and compared: not more, for tests that measure memory.
"""

MAX_HASHED_SIZE = 1 << 20
"""
Maximum size of a body that is hashed on its way to the backend.
"""


@dataclass(slots=True)
class Facts:
    """
    The configuration: the proxy's names, and the backend's properties.

    Attributes:
        host: The backend's authority.
        is_signed: Whether the proxy has a key at the backend.
        reserved: First segments of a path, in lower case, below which the backend has no buckets.
        extensions: The allowed keys of `EXTENSIONS`.
        private: Prefixes of names, in lower case, that the backend reads as commands of its own.
        taken: Signatures of changes that were forwarded before; None if they may pass again.
        reader: The Eucalyptus system that reads the request; empty for any other backend.
        keeps_multipart: Whether the proxy keeps multipart uploads until they are complete.
        preflight_header: The header that the proxy adds to each preflight's list; empty for none.
        unencoded_lists: Lists whose names the proxy encodes.
        certified: Names of client certificates that stand for a signature.
    """

    domains: tuple[bytes, ...] = ()
    host: bytes = b""
    is_signed: bool = True
    service_path: bytes = b""
    escapes_plus: bool = False
    mends_reads: bool = False
    overrides_responses: bool = False
    lists_v1: bool = False
    deletes_one_by_one: bool = False
    forwarded: str = "none"
    taken: set[object] | None = None
    reserved: frozenset[bytes] = frozenset()
    private: tuple[bytes, ...] = ()
    extensions: tuple[str, ...] = ()
    reader: str = ""
    bare_write_tags: bool = False
    checks_conditions: bool = False
    keeps_multipart: bool = False
    misreads_ranges: bool = False
    preflight_header: bytes = b""
    misreads_sources: bool = False
    ignores_owners: bool = False
    unencoded_lists: frozenset[str] = frozenset()
    lacks_part_reads: bool = False
    certified: frozenset[str] = frozenset()


@dataclass(slots=True)
class Place:
    """
    Bucket and key, decoded; None if there is none.
    """

    bucket: bytes
    key: bytes
    is_virtual: bool = False

    @property
    def level(self) -> str:
        if self.key:
            return OBJECT
        return BUCKET if self.bucket else SERVICE


def read_place(path: bytes, host: bytes, domains: Iterable[bytes]) -> Place:
    """
    Find bucket and key: in the host's name if it is below one of the domains, otherwise in the path. A path is decoded
    once.
    """
    name = host.lower()
    if not name.endswith(b"]"):
        name = re.sub(rb":[0-9]*\Z", b"", name)
    name = name.removesuffix(b".")
    text = decoded(path)[1:]
    matching = [domain for domain in domains if name == domain or name.endswith(b"." + domain)]
    if matching:
        bucket = name[: -len(max(matching, key=len)) - 1]
        if bucket:
            return Place(bucket, text, True)
    bucket, _, key = text.partition(b"/")
    return Place(bucket, key)


EUCALYPTUS = frozenset({"walrus-3.4", "walrusbackend-4.x", "osg-4.3"})
"""
Storage systems that read a request differently from S3, by the names of their profiles.
"""

_EUCALYPTUS_NAMES = frozenset(
    b"""acl cors delete delimiter key-marker lifecycle location logging marker max-keys max-parts max-uploads
    notification partNumber part-number-marker policy prefix requestPayment tagging torrent uploadId upload-id-marker
    uploads versionId version-id-marker versioning versions website""".split()
)
"""
Parameters that any of them knows. Source: eucalyptus/eucalyptus, ``BucketParameter`` and ``ObjectParameter``.
"""

_LISTS = frozenset({"ListObjects", "ListObjectVersions"})
_OF_VERSIONS = frozenset({b"key-marker", b"version-id-marker", b"versions"})
_MARKERS = frozenset({b"key-marker", b"marker", b"version-id-marker"})
_PAGE_LENGTHS = frozenset({b"max-keys", b"max-parts", b"max-uploads"})
_WRITTEN = re.compile(rb"[A-Za-z0-9%._~/-]*")
_WRITTEN_ITEM = re.compile(rb"[A-Za-z-]+(?:=[A-Za-z0-9%._~-]+)?")


def read_place_of_eucalyptus(reader: str, path: bytes) -> Place:
    """
    Find bucket and key as Eucalyptus does.

    Args:
        path: The whole path for walrus-3.4; for the others without the service path, which they cut off once.

    Source:
        eucalyptus/eucalyptus 3.4.2, ``WalrusRESTBinding.getOperationPath`` and ``WalrusUtil.getTarget``; 4.3.1.1,
        ``OSGUtil.getTarget``. The bucket is not decoded; in the key, ``+`` is a space.
    """
    if reader == "walrus-3.4":
        path = re.sub(rb"/{2,}", b"/", path.replace(b"/services/Walrus", b""))
        bucket, *keys = path.removeprefix(b"/").rstrip(b"/").split(b"/")
        return Place(bucket, decoded_item(b"/".join(keys)))
    bucket, _, key = re.sub(rb"\A/{2,}", b"/", path).removeprefix(b"/").partition(b"/")
    return Place(bucket, decoded_item(key))


def read_source_of_eucalyptus(reader: str, value: bytes) -> tuple[bytes, bytes, bytes]:
    """
    Return bucket, key and version of a copy's source as Eucalyptus finds them: it decodes the whole value, then splits
    it.

    Source:
        The same, ``getOperation``.
    """
    parts = decoded_item(value).split(b"?")
    version = parts[1].replace(b"versionId=", b"", 1).strip() if len(parts) > 1 else b""
    path = parts[0]
    if reader == "walrus-3.4":
        path = re.sub(rb"/{2,}", b"/", path).rstrip(b"/")
    bucket, _, key = re.sub(rb"\A/{2,}", b"/", path).removeprefix(b"/").partition(b"/")
    return bucket, key, version


def read_source(value: bytes) -> tuple[bytes, bytes, bytes]:
    """
    Return bucket, key and version of a copy's source as S3 reads them: ``+`` is a space in its path.
    """
    path, _, query = value.partition(b"?")
    bucket, _, key = decoded(path.replace(b"+", b" ")).removeprefix(b"/").partition(b"/")
    return bucket, key, decoded(query.removeprefix(b"versionId="))


def query_items(query: bytes | None) -> list[bytes]:
    """
    Return the items of a query as they were sent.
    """
    return [item for item in query.split(b"&") if item] if query else []


def parameters(items: Iterable[bytes]) -> dict[bytes, bytes]:
    """
    Return names and values, decoded; the first value of a name counts.
    """
    found: dict[bytes, bytes] = {}
    for item in items:
        name, _, value = item.partition(b"=")
        found.setdefault(decoded_item(name), decoded_item(value))
    return found


@dataclass(eq=False)
class Client:
    """
    One request of a client, read from its own bytes.

    Attributes:
        facts: Those of the chosen backend; None before one is chosen.
        certificate_names: The names in the certificate that the client has shown in the TLS handshake.
        claimed_place: Bucket and key as the proxy read them.
        refused_status: Status of the response that the proxy made itself; 0 for none.
        changes: Requests other than reads that are complete at a backend.
        is_current: Whether no other request has begun on its connection.
        has_passed: Whether a request for it left, so that its signature is in `Facts.taken`.
        has_listed: Whether a page of a listing was requested.
        has_checked_source: Whether a HEAD was sent for the source of a copy.
    """

    head: Head
    stream: ClientStream
    host: bytes
    facts: Facts | None = None
    certificate_names: frozenset[str] = frozenset()
    claimed_place: tuple[bytes, bytes] | None = None
    refused_status: int = 0
    changes: list[Head] = field(default_factory=list)
    is_current: bool = True
    has_passed: bool = False
    has_listed: bool = False
    has_checked_source: bool = False

    @cached_property
    def items(self) -> list[bytes]:
        return query_items(self.head.query)

    @cached_property
    def query(self) -> dict[bytes, bytes]:
        return parameters(self.items)

    @cached_property
    def carrier(self) -> str:
        """
        The request's mechanism of authentication, by its name in the documentation.
        """
        authorization = self.head.one(b"authorization")
        if self.head.method == b"OPTIONS":
            return "preflight"
        if authorization is not None:
            return "V2 header" if authorization[:4].upper() == b"AWS " else "V4 header"
        if b"X-Amz-Algorithm" in self.query:
            return "V4 query"
        if b"Signature" in self.query or b"AWSAccessKeyId" in self.query:
            return "V2 query"
        if self.is_form:
            return "form"
        # A page of another site can make a browser send a request on such a connection, but cannot hide its origin.
        is_certified = self.facts is not None and not self.facts.certified.isdisjoint(self.certificate_names)
        return "certificate" if is_certified and b"origin" not in self.head.fields else "anonymous"

    @cached_property
    def is_form(self) -> bool:
        kind = self.head.one(b"content-type") or b""
        is_post = self.head.method == b"POST" and not self.head.query
        return is_post and kind.lower().startswith(b"multipart/form-data")

    @cached_property
    def query_headers(self) -> dict[bytes, bytes]:
        """
        Parameters that the mechanism uses as headers, by lower-case name.
        """
        if not self.carrier.startswith("V2") and self.carrier != "V4 query":
            return {}
        found: dict[bytes, bytes] = {}
        for item in self.items:
            name, _, value = item.partition(b"=")
            lower = decoded_item(name).lower()
            if lower.startswith(b"x-amz-") and lower not in AUTHENTICATION:
                # Joined like several lines of a header.
                text = decoded_item(value).strip(b" \t")
                found[lower] = b"%b,%b" % (found[lower], text) if lower in found else text
        return found

    @cached_property
    def fields(self) -> dict[bytes, list[bytes]]:
        """
        Headers by lower-case name, those of the query or the form included.
        """
        if self.carrier == "form":
            return self.form_headers
        if not self.query_headers:
            return self.head.fields
        carried = {name: [value] for name, value in self.query_headers.items()}
        if self.carrier == "V4 query":
            # A header that was sent and signed takes precedence.
            names = self.query.get(b"X-Amz-SignedHeaders", b"").lower().split(b";")
            carried = {
                name: value for name, value in carried.items() if not {name} <= self.head.fields.keys() & {*names}
            }
        return self.head.fields | carried

    @cached_property
    def covered(self) -> frozenset[bytes] | None:
        """
        Lower-case names of the headers that a signature covers; None for all.
        """
        carrier = self.carrier
        if carrier == "V4 header":
            found = _SIGNED_HEADERS.search(self.head.one(b"authorization") or b"")
            return frozenset(found[1].lower().split(b";")) if found else frozenset()
        if carrier == "V4 query":
            names = self.query.get(b"X-Amz-SignedHeaders", b"").lower().split(b";")
            return frozenset(names) | self.query_headers.keys()
        if carrier.startswith("V2"):
            return _V2_HEADERS | {name for name in self.fields if name.startswith(b"x-amz-")}
        return None if carrier in {"form", "anonymous", "certificate"} else frozenset()

    @cached_property
    def place(self) -> Place:
        assert self.facts is not None
        place = read_place(self.head.path, self.host, self.facts.domains)
        if self.carrier == "form" and not place.key:
            return Place(place.bucket, self.form_key, place.is_virtual)
        return place

    @cached_property
    def operation(self) -> str | None:
        """
        The client's operation. Parameters that do not belong to the operation make no difference.
        """
        if self.carrier == "form":
            return "PutObject"
        named = {name: value for name, value in self.query.items() if name.lower() not in AUTHENTICATION}
        is_copy = b"x-amz-copy-source" in self.fields
        return _classify(self.head.method, self.place.level, named, is_copy=is_copy)[0]

    @cached_property
    def body(self) -> bytes:
        """
        The kept bytes of the body, without aws-chunked coding.
        """
        data = b"".join(self.stream.body)
        if not (self.head.one(b"x-amz-content-sha256") or b"").startswith(b"STREAMING-"):
            return data
        pieces, position = [], 0
        while (found := _TRANSFER.match(data, position)) is not None and int(found[1], 16):
            pieces.append(data[found.end() : found.end() + int(found[1], 16)])
            position = found.end() + int(found[1], 16) + 2
        return b"".join(pieces)

    @cached_property
    def deletions(self) -> set[tuple[bytes, bytes]]:
        """
        Keys and versions that a DeleteObjects document names.
        """
        found = set()
        for element in ElementTree.fromstring(self.body):
            parts = {child.tag.rpartition("}")[2]: child.text or "" for child in element}
            if "Key" in parts:
                found.add((parts["Key"].encode(), parts.get("VersionId", "").encode()))
        return found

    @cached_property
    def form(self) -> dict[bytes, bytes]:
        """
        The fields of a form before its file, by lower-case name; the file's name as ``filename``.
        """
        boundary = _parameters(self.head.one(b"content-type") or b"").get(b"boundary")
        fields: dict[bytes, bytes] = {}
        if boundary is None:
            return fields
        data = b"\r\n" + b"".join(self.stream.body)
        for part in data.split(b"\r\n--" + boundary)[1:]:
            head, end, value = part.partition(b"\r\n\r\n")
            lines = [line for line in head.split(b"\r\n") if line.lower().startswith(b"content-disposition:")]
            named = _parameters(lines[0]) if lines else {}
            if not end or b"name" not in named:
                continue
            lower = named[b"name"].lower()
            if lower == b"file":
                fields[b"filename"] = named.get(b"filename", b"")
                break
            fields.setdefault(lower, value)
        return fields

    def _named(self, value: bytes) -> bytes:
        return value.replace(b"${filename}", re.split(rb"[/\\]", self.form.get(b"filename", b""))[-1])

    @property
    def form_key(self) -> bytes:
        return self._named(self.form.get(b"key", b""))

    @cached_property
    def form_headers(self) -> dict[bytes, list[bytes]]:
        found: dict[bytes, list[bytes]] = {}
        for name, value in self.form.items():
            header = FORM_HEADERS.get(name) or (name if _is_form_header(name) else None)
            if header is not None and (value or header != b"content-type"):
                found[header] = [self._named(value).strip(b" \t")]
        names = (b"user-agent", b"origin", b"referer", b"access-control-request-headers")
        found |= {name: self.head.fields[name] for name in names if name in self.head.fields}
        asked = self.head.fields.get(b"access-control-request-method")
        if asked is not None or b"origin" in self.head.fields:
            found[b"access-control-request-method"] = asked or [b"POST"]
        return found

    @cached_property
    def form_tags(self) -> dict[str, str] | None:
        """
        The tags of a form's ``tagging`` field; None if it is not a document, or one with a document type or its own
        entities.
        """
        tags: list[list[str]] = []
        path: list[str] = []
        parser = expat.ParserCreate(namespace_separator=":")

        def begun(name: str, attributes: object) -> None:
            path.append(name.rpartition(":")[2])
            if path[-1] == "Tag":
                tags.append(["", ""])

        def text(data: str) -> None:
            if path[-2:-1] == ["Tag"] and path[-1] in {"Key", "Value"}:
                tags[-1][path[-1] == "Value"] += data

        def refuse(*declaration: object) -> None:
            raise ValueError("a document type")

        parser.StartElementHandler = begun
        parser.EndElementHandler = lambda name: path.pop()
        parser.CharacterDataHandler = text
        parser.StartDoctypeDeclHandler = refuse
        try:
            parser.Parse(self._named(self.form.get(b"tagging", b"")), True)
        except (expat.ExpatError, ValueError):
            return None
        return dict(tags)

    @cached_property
    def announced(self) -> frozenset[bytes]:
        """
        Names of the trailers that the client announces, in lower case.
        """
        values = self.fields.get(b"x-amz-trailer", ())
        return frozenset(name.strip().lower() for value in values for name in value.split(b","))

    @cached_property
    def signature(self) -> object:
        """
        The claimed signature by its meaning: neither case nor padding nor n - s makes it another one.
        """
        if self.carrier.startswith("V2"):
            text = self.query.get(b"Signature") or (self.head.one(b"authorization") or b"").rpartition(b":")[2]
            return base64.b64decode(text + b"==")
        found = re.search(rb"Signature=([0-9A-Fa-f]*)", self.head.one(b"authorization") or b"")
        text = found[1] if found else self.query.get(b"X-Amz-Signature", b"")
        raw = bytes.fromhex(text.decode())
        return _point(raw) if raw[:1] == b"\x30" and len(raw) > 64 else raw

    @property
    def is_complete(self) -> bool:
        """
        Whether the whole body has arrived.
        """
        return not self.is_current or self.stream.is_body_complete


_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""
The order of P-256's group (SEC 2, section 2.4.2): r with s and r with ``_ORDER - s`` are one signature.
"""


def _point(der: bytes) -> tuple[int, int]:
    """
    Read an ECDSA signature in DER: a sequence of two integers.
    """
    first = 4 + der[3]
    r, s = int.from_bytes(der[4:first]), int.from_bytes(der[first + 2 : first + 2 + der[first + 1]])
    return r, min(s, _ORDER - s)


def _parameters(line: bytes) -> dict[bytes, bytes]:
    """
    Return the parameters of a header by lower-case name; the first value of a name counts.
    """
    found: dict[bytes, bytes] = {}
    for each in _PARAMETER.finditer(line):
        # As browsers write it: a backslash stands for itself, except before a quotation mark.
        value = each[3] if each[2] is None else each[2].replace(b'\\"', b'"')
        found.setdefault(each[1].lower(), value)
    return found


BEGUN: dict[tuple[bytes, bytes], list[Client]] = {}
"""
Clients that have begun a kept multipart upload, by bucket and key.
"""


def judge(client: Client, head: Head) -> list[str]:
    """
    Return the breaches of one request that leaves for a client.
    """
    facts = client.facts
    if facts is None:
        return ["(e) a request leaves before a backend was chosen"]
    if client.refused_status:
        return [f"(e) a request leaves after its client was refused with {client.refused_status}"]
    path = head.path
    if not path.startswith(facts.service_path):
        return [f"(d) the path is not below {facts.service_path!r}"]
    path = path[len(facts.service_path) :]
    read = path.replace(b"+", b" ") if facts.escapes_plus else path
    place = read_place(read, b"", ())
    if facts.reader:
        place = read_place_of_eucalyptus(facts.reader, head.path if facts.reader == "walrus-3.4" else path)
    items = query_items(head.query)
    query = parameters(items)
    is_copy = b"x-amz-copy-source" in head.fields
    operation, foreign = _classify(head.method, place.level, query, is_copy=is_copy)
    faults: list[str] = []
    breach = faults.append
    if facts.taken is not None and client.head.method in {b"PUT", b"POST", b"DELETE"} and client.carrier[:2] in _SIGNED:
        if not client.has_passed and client.signature in facts.taken:
            breach("(e) a signature is taken a second time")
        client.has_passed = True
        facts.taken.add(client.signature)
    if len(place.key) > 1024 or not _is_utf8(place.bucket + place.key):
        breach(f"(d) a key of S3 is at most 1,024 bytes of UTF-8: {place.key[:80]!r}")
    if place.key and not place.bucket:
        breach(f"(d) a key without a bucket: {path!r}")
    if operation is None:
        breach(f"(b) S3 has no {head.method.decode()} of a {place.level} with {sorted(query)}")
    elif foreign and not _is_extension(facts, operation, foreign) and not _is_ignored(head.method, foreign):
        breach(f"(b) {operation} has no parameter {sorted(foreign)}")
    if client.claimed_place is not None and client.claimed_place != (client.place.bucket, client.place.key):
        breach(f"(d) the proxy judges {client.claimed_place!r}, the client names {client.place!r}")
    difference = _difference(client, facts, head, operation, place)
    if difference is None:
        breach(f"(b) the client asks for {client.operation}, the backend for {operation}")
        difference = ""
    elif difference:
        tolerate(difference)
    if difference == "kept here":
        _judge_kept(client, facts, head, place, items, query, breach)
        _judge_surface(facts, head, path, items, breach)
        return faults
    _judge_target(client, facts, path, place, items, query, difference, operation, breach)
    _judge_headers(client, facts, head, difference, breach)
    _judge_surface(facts, head, path, items, breach)
    _judge_length(client, head, operation, breach)
    return faults


def _classify(
    method: bytes, level: str, named: dict[bytes, bytes], *, is_copy: bool
) -> tuple[str | None, frozenset[bytes]]:
    if method == b"HEAD" and level == SERVICE and tolerate("head of the service"):
        return "ListBuckets", frozenset(named)
    found = classify(method, level, named, is_copy=is_copy)
    if method == b"HEAD" and not found[1].isdisjoint(subresources()):
        other = classify(b"GET", level, named, is_copy=is_copy)
        if found[1] - other[1] and tolerate("head of a read"):
            return other
    return found


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def _is_extension(facts: Facts, operation: str, foreign: frozenset[bytes]) -> bool:
    for name in facts.extensions:
        operations, names = EXTENSIONS.get(name, (frozenset(), frozenset()))
        if operation in operations:
            foreign = foreign - names
    return not foreign and tolerate("extension")


def _is_ignored(method: bytes, foreign: frozenset[bytes]) -> bool:
    is_ignored = method in {b"GET", b"HEAD"} and foreign <= known_names() and foreign.isdisjoint(subresources())
    return is_ignored and tolerate("ignored parameter")


def _difference(client: Client, facts: Facts, head: Head, operation: str | None, place: Place) -> str | None:
    """
    Return the name of the row of `TOLERATED` that explains the difference between two operations; empty if they are the
    same.
    """
    wanted = client.operation
    if client.head.method == b"HEAD" and head.method == b"GET" and head.fields.get(b"range") == [b"bytes=0-0"]:
        named = {name: value for name, value in client.query.items() if name.lower() not in AUTHENTICATION}
        same, _ = classify(b"GET", client.place.level, named, is_copy=False)
        return "explained" if same == operation else None
    if facts.keeps_multipart and wanted in _KEPT:
        return "kept here" if operation in _KEPT[wanted] else None
    if wanted == operation:
        if client.carrier == "form":
            return "form"
        return ""
    if wanted == "DeleteObjects" and operation == "DeleteObject" and facts.deletes_one_by_one:
        return "delete one by one"
    if wanted == "GetObject" and operation == "HeadObject" and (facts.mends_reads or facts.lacks_part_reads):
        is_first_part = client.query.get(b"partNumber", b"").lstrip(b"0") == b"1"
        is_range = facts.mends_reads and _CONDITIONS & client.fields.keys()
        return "measured" if is_first_part or is_range else None
    if operation == "HeadObject":
        checks_write = wanted in _CHECKED and facts.checks_conditions and _WRITE_CONDITIONS & client.fields.keys()
        checks_source = wanted in _COPIES and facts.misreads_sources and _SOURCE_CONDITIONS & client.fields.keys()
        # They cut the copy of a large object.
        checks_source = checks_source or (wanted == "CopyObject" and facts.reader)
        # The HEAD for the source comes first.
        is_own = (place.bucket, place.key) == (client.place.bucket, client.place.key)
        if checks_source and not (checks_write and client.has_checked_source and is_own):
            return "source checked"
        return "checked" if checks_write else None
    # The response to HEAD of a list has no document, whichever version is requested.
    as_first = "HeadBucket" if head.method == b"HEAD" else "ListObjects"
    if wanted == "ListObjectsV2" and operation == as_first and facts.lists_v1:
        return "listed as the first version"
    if wanted == "ListObjectVersions" and operation == "ListObjects" and facts.reader == "walrus-3.4":
        return "unversioned" if client.has_listed else None
    if operation == "ListObjectVersions" and facts.reader == "walrus-3.4":
        names_version = wanted == "DeleteObject" and client.query.get(b"versionId")
        return "versions known" if wanted in {"CopyObject", "DeleteObjects"} or names_version else None
    if wanted == "GetBucketLocation" and facts.reader == "walrusbackend-4.x":
        return "located here" if operation in {"ListObjects", "HeadBucket"} else None
    return None


_OF_ASKING = UNSIGNED_PASSED & {b"accept", b"accept-encoding", b"accept-language", b"origin", b"referer", b"user-agent"}


def _judge_kept(
    client: Client,
    facts: Facts,
    head: Head,
    place: Place,
    items: list[bytes],
    query: dict[bytes, bytes],
    breach: Callable[[str], None],
) -> None:
    """
    Judge what the proxy requests from the backend for a multipart upload that it keeps: whether the bucket exists, the
    source object of a part, and finally a PUT of the whole object, with what the client signed when the upload began.
    """
    own = client.place
    named = own.bucket, own.key
    if client.operation == "UploadPartCopy":
        _judge_source(client, place, items, query, breach)
        for name, values in head.fields.items():
            if name in OURS or (name in UNSIGNED_PASSED and values == client.fields.get(name)):
                continue
            # Conditions may be judged before, by a HEAD. They are not sent then.
            sent = client.fields.get(_OF_KEPT_SOURCES.get(name, b""))
            if values != sent and not (name == b"range" and sent is not None and _is_within(values[0], sent[0])):
                breach(f"(c) the source of a part is asked for with {name!r}: {values!r}")
        return
    if items:
        breach(f"(c) an upload that is kept has no query, the backend gets {items!r}")
    if client.operation != "CompleteMultipartUpload":
        if (place.bucket, place.key) != (own.bucket, b""):
            breach(f"(d) the client names {own!r}, the backend reads {place!r}")
        passed = UNSIGNED_PASSED & {name for name, values in head.fields.items() if values == client.fields.get(name)}
        if not head.fields.keys() <= OURS | FORWARDING[facts.forwarded] | passed:
            breach(f"(c) a bucket is asked for with {sorted(head.fields)}")
        if client.operation == "CreateMultipartUpload":
            BEGUN.setdefault(named, []).append(client)
        return
    if (place.bucket, place.key) != named:
        breach(f"(d) the client names {own!r}, the backend reads {place!r}")
    for name in head.fields:
        if name.startswith(b"x-amz-") and name not in OURS and _OF_KEPT_OBJECTS.fullmatch(name) is None:
            breach(f"(c) {name!r} is no header of an object")
    # The headers in `_OF_ASKING` come from the request that completes the upload, the object's headers from the one
    # that began it.
    of_object = {n: v for n, v in head.fields.items() if n not in _OF_ASKING or v != client.fields.get(n)}
    head = replace(head, fields=of_object)
    # If no beginning is known, the upload began in another process.
    found_by_client: list[list[str]] = []
    for begun in BEGUN.get(named, []):
        faults: list[str] = []
        _judge_headers(begun, facts, head, "kept here", faults.append)
        found_by_client.append(faults)
    if found_by_client and all(found_by_client):
        for fault in min(found_by_client, key=len):
            breach(fault)


def _judge_target(
    client: Client,
    facts: Facts,
    path: bytes,
    place: Place,
    items: list[bytes],
    query: dict[bytes, bytes],
    difference: str,
    operation: str | None,
    breach: Callable[[str], None],
) -> None:
    own = client.place
    if facts.reader and _WRITTEN.fullmatch(path) is None:
        breach(f"(d) the path has bytes that the storage may read as others: {path!r}")
    if difference == "source checked":
        _judge_source(client, place, items, query, breach)
        return
    if difference == "versions known":
        _judge_versions(client, place, items, query, breach)
        return
    if difference == "delete one by one":
        if place.bucket != own.bucket or (place.key, query.get(b"versionId", b"")) not in client.deletions:
            breach(f"(d) the document names no {place!r}")
        return
    if (place.bucket, place.key) != (own.bucket, own.key):
        breach(f"(d) the client names {own!r}, the backend reads {place!r}")
    if difference == "form":
        # The key of a form is never in its target.
        if items:
            breach(f"(c) a form has no query, the backend gets {items!r}")
        return
    if facts.reader:
        _judge_written_query(client, facts, items, difference, operation, breach)
        return
    raw = client.head.path
    if own.is_virtual:
        raw = b"/" + own.bucket + raw
    if facts.escapes_plus and b"+" in raw and tolerate("escaped plus"):
        raw = raw.replace(b"+", b"%2B")
    if path != raw:
        breach(f"(d) the path is {path!r}, the client's {raw!r}")
    if any(b";" in item for item in items):
        breach(f"(c) a semicolon begins another parameter: {items!r}")
    if items == client.items:
        return
    left = list(items)
    if difference == "listed as the first version" and left and left[-1].startswith(b"marker="):
        marker = decoded_item(left.pop()[7:])
        token = client.query.get(b"continuation-token") or b""
        named = base64.b64decode(token, b"-_") if token else client.query.get(b"start-after", b"")
        if marker != named:
            breach(f"(c) the marker {marker!r} is not the client's {named!r}")
    for item in client.items:
        if left and (left[0] == item or _is_respelled(facts, left[0], item)):
            del left[0]
            continue
        name = decoded_item(item.partition(b"=")[0])
        if not _may_be_cut(client, facts, name, difference, operation):
            breach(f"(c) the parameter {name!r} is lost")
    if left:
        breach(f"(c) parameters which the client did not send: {left!r}")


def _judge_source(
    client: Client, place: Place, items: list[bytes], query: dict[bytes, bytes], breach: Callable[[str], None]
) -> None:
    """
    Judge the target of a HEAD before a copy: it names the source that the client signed and its version, and nothing
    else.
    """
    sources = client.fields[b"x-amz-copy-source"]
    named = read_source(b",".join(sources))
    found = place.bucket, place.key, query.get(b"versionId", b"")
    if len(sources) != 1 or found != named:
        breach(f"(d) the client copies {named!r}, the backend is asked for {found!r}")
    if len(items) != bool(named[2]) or any(_WRITTEN_ITEM.fullmatch(item) is None for item in items):
        breach(f"(c) the HEAD of a source has other parameters than its version: {items!r}")
    client.has_checked_source = True


def _judge_versions(
    client: Client, place: Place, items: list[bytes], query: dict[bytes, bytes], breach: Callable[[str], None]
) -> None:
    """
    Judge the target of a list of the versions of a key, as SQL's LIKE reads its prefix: of a key that the client names.
    """
    named = {client.place.key}
    if client.operation == "DeleteObjects":
        named = {key for key, version in client.deletions if version}
    prefix = re.sub(rb"\\(.)", rb"\1", query.get(b"prefix", b""), flags=re.DOTALL)
    if place.bucket != client.place.bucket or prefix not in named:
        breach(f"(d) the client names {named!r}, the backend is asked for versions of {prefix!r}")
    names = {b"key-marker", b"max-keys", b"prefix", b"version-id-marker", b"versions"}
    if query.keys() - names or any(_WRITTEN_ITEM.fullmatch(item) is None for item in items):
        breach(f"(c) the list of a key's versions has parameters of something else: {items!r}")


def _is_within(found: bytes, sent: bytes) -> bool:
    """
    Return True if one range is within another, with the same first byte.
    """
    read = [re.fullmatch(rb"bytes=([0-9]+)-([0-9]+)", value.strip()) for value in (found, sent)]
    inner, outer = read
    return inner is not None and outer is not None and inner[1] == outer[1] and int(inner[2]) <= int(outer[2])


def _is_form_header(name: bytes) -> bool:
    # S3 has a field acl, but no x-amz-acl.
    return name.startswith(b"x-amz-") and name != b"x-amz-acl"


def _judge_written_query(
    client: Client,
    facts: Facts,
    items: list[bytes],
    difference: str,
    operation: str | None,
    breach: Callable[[str], None],
) -> None:
    """
    Judge a rewritten query. Bucket, key and operation were compared before, as the storage system reads them.
    """
    tolerate("written anew")
    query = parameters(items)
    if len(query) != len(items):
        breach(f"(c) a parameter stands twice: {items!r}")
    wanted = dict(client.query)
    if difference == "located here":
        wanted = {b"max-keys": b"1"}
    if difference == "unversioned":
        wanted = {name: value for name, value in wanted.items() if name not in _OF_VERSIONS}
        wanted[b"marker"] = client.query.get(b"key-marker", b"")
    if difference == "listed as the first version":
        token = client.query.get(b"continuation-token") or b""
        wanted[b"marker"] = base64.b64decode(token, b"-_") if token else client.query.get(b"start-after", b"")
    if operation in _LISTS:
        if wanted.get(b"delimiter") and re.search(rb"[_%]", wanted.get(b"prefix", b"")) and tolerate("rolled up here"):
            del wanted[b"delimiter"]
            if query.get(b"max-keys") == b"1000":
                wanted[b"max-keys"] = b"1000"
        is_first = difference == "unversioned" and query.get(b"marker", b"") == wanted[b"marker"]
        if client.has_listed and not is_first and query.keys() & _MARKERS and tolerate("further page"):
            wanted |= {name: value for name, value in query.items() if name in _MARKERS}
            wanted[b"max-keys"] = query.get(b"max-keys", b"1000")
            if wanted[b"max-keys"] not in {client.query.get(b"max-keys", b"1000"), b"1000"}:
                breach(f"(c) max-keys is {wanted[b'max-keys']!r} for a further page")
        client.has_listed = True
    for item in items:
        if _WRITTEN_ITEM.fullmatch(item) is None:
            breach(f"(c) the storage may read the parameter otherwise: {item!r}")
        name, equals, value = item.partition(b"=")
        value = decoded_item(value)
        if name not in wanted or name not in _EUCALYPTUS_NAMES:
            breach(f"(c) a parameter which the client did not send: {item!r}")
        elif name in _PAGE_LENGTHS and value != wanted[name]:
            if value != b"1000" or int(wanted[name]) < 1000:
                breach(f"(c) {name!r} is {value!r}, the client's {wanted[name]!r}")
        elif value != wanted[name] and (equals or name not in subresources() or name in _VALUED):
            breach(f"(c) {name!r} is {value!r}, the client's {wanted[name]!r}")
    for name in wanted.keys() - query.keys():
        is_read = client.head.method in {b"GET", b"HEAD"}
        # S3 ignores an empty value; but for a write with an empty version, S3 responds that this is not a version.
        is_none = not wanted[name] and (name not in subresources()) and (is_read or name != b"versionId")
        is_known = name in _EUCALYPTUS_NAMES and bool(client.place.bucket)
        if is_none or (is_read and not is_known):
            continue
        if not _may_be_cut(client, facts, name, difference, client.operation):
            breach(f"(c) the parameter {name!r} is lost")


def _is_respelled(facts: Facts, item: bytes, sent: bytes) -> bool:
    name, _, value = item.partition(b"=")
    sent_name, _, sent_value = sent.partition(b"=")
    escaped = sent_value.replace(b";", b"%3B")
    same = name == decoded_item(sent_name) and value == escaped
    if same and escaped != sent_value:
        tolerate("escaped semicolon")
    extended = {each for extension in facts.extensions for each in EXTENSIONS.get(extension, ((), ()))[1]}
    return same and name in known_names() | extended and tolerate("respelled")


def _may_be_cut(client: Client, facts: Facts, name: bytes, difference: str, operation: str | None) -> bool:
    is_read = client.head.method in {b"GET", b"HEAD"}
    if name.lower() in IGNORED | {b"x-amz-user-agent", b"x-amz-content-sha256"}:
        return tolerate("x-id")
    if name.lower() in client.query_headers:
        return tolerate("query header")
    if client.carrier in {"V4 query", "V2 query"} and name.lower() in _SIGNED_INTO_QUERIES:
        return tolerate("signed into the query")
    if name.lower() in AUTHENTICATION:
        is_own = client.carrier in {"V4 query", "V2 query", "V2 header", "preflight"}
        # Without a signature, or in another spelling, it is a name like any other.
        is_foreign = is_read and (name == b"Expires" or name not in _SPELLED)
        return (is_own or is_foreign) and tolerate("authentication")
    if name == b"encoding-type" and operation in facts.unencoded_lists:
        return tolerate("encoded here")
    if client.carrier == "preflight":
        return tolerate("unsigned client")
    if facts.overrides_responses and name in _OVERRIDES and is_read:
        return tolerate("answered here")
    if difference == "checked":
        return True
    if (
        (facts.mends_reads or facts.lacks_part_reads)
        and name == b"partNumber"
        and is_read
        and client.query[name].lstrip(b"0") == b"1"
    ):
        return tolerate("first part")
    if difference == "listed as the first version" and name in _V1_DROPS:
        return True
    if client.carrier.startswith("V2") and name not in subresources() | _LISTING | _OVERRIDES | {b"versionId"}:
        return is_read and tolerate("unsigned parameter")
    if difference == "explained":
        # A parameter that HEAD does not have, such as a list's beside HeadBucket, is not in the GET that asks why,
        # either.
        operation = client.operation
    # The two operations were compared before: the parameter chose none.
    is_foreign = operation is not None and name not in parameters_of(operation)
    return is_read and is_foreign and tolerate("foreign parameter")


def _judge_headers(client: Client, facts: Facts, head: Head, difference: str, breach: Callable[[str], None]) -> None:
    theirs = client.fields
    covered = client.covered
    is_signed = b"authorization" in head.fields
    if client.carrier == "anonymous" and is_signed:
        if head.method not in {b"GET", b"HEAD"}:
            breach("(c) a signature stands on what nobody signed, and it is no read")
        if not {b".", b".."}.isdisjoint(fully_decoded(head.path).split(b"/")):
            breach("(d) a signature stands on a path with dots, which the backend may read as another")
        covered = frozenset()
    if client.carrier == "preflight" and is_signed:
        breach("(c) a signature stands on a preflight")
    if not facts.is_signed and is_signed:
        breach("(c) a signature of nobody's")
    for name, values in head.fields.items():
        if name in OURS:
            if name == b"host" and values != [facts.host]:
                breach(f"(c) Host is {values!r}")
            elif name == b"expect" and values != [b"100-continue"]:
                breach(f"(c) Expect is {values!r}")
            elif not is_signed and name not in {b"host", b"content-length", b"expect"}:
                breach(f"(c) {name!r} without a signature")
            continue
        if name in FORWARDING[facts.forwarded]:
            continue
        if name in HOP_BY_HOP:
            breach(f"(a) a header of the hop: {name!r}")
        if difference == "source checked":
            # The headers that decrypt the source pass, under the names that a read has for them.
            if name.startswith(_DECRYPTING) and values == theirs.get(_OF_SOURCE + name[len(b"x-amz-") :]):
                continue
            breach(f"(c) the HEAD of a source has a header of the copy: {name!r}")
        if difference == "versions known":
            breach(f"(c) the list of a key's versions has a header of the request: {name!r}")
        if name in _SOURCE_CONDITIONS and facts.misreads_sources:
            breach(f"(c) a condition which the backend reads otherwise: {name!r}")
        if name.startswith(b"x-amz-copy-source") and client.operation not in _COPIES:
            breach(f"(c) the source of a copy, and nothing is copied: {name!r}")
        if facts.ignores_owners and (
            (name == b"x-amz-expected-bucket-owner" and client.operation not in {"CreateBucket", "ListBuckets"})
            or (name == b"x-amz-source-expected-bucket-owner" and client.operation in _COPIES)
        ):
            breach(f"(c) a condition which the backend does not look at: {name!r}")
        sent = theirs.get(name)
        if sent is None:
            if not _is_made(client, facts, head, name, values, difference):
                breach(f"(c) the client did not send {name!r}: {values!r}")
            continue
        if covered is not None and name not in covered and name not in UNSIGNED_PASSED:
            breach(f"(c) no signature covers {name!r}: {values!r}")
        is_same = values == sent and not (facts.reader and name == b"x-amz-copy-source")
        is_marked = name == _ASKED and _is_marked(client, facts, values, sent)
        if not is_same and not is_marked and not _is_edited(client, facts, name, values, sent, difference):
            breach(f"(c) {name!r} is {values!r}, the client's {sent!r}")
    for name in theirs:
        if name in head.fields or name in _REPLACED or not (name.startswith(b"x-amz-") or name in _CONDITIONS):
            continue
        if covered is not None and name not in covered and name not in UNSIGNED_PASSED:
            continue
        if name in OF_RESPONSES and tolerate("of responses"):
            continue
        if not _may_be_lost(client, facts, name, difference):
            breach(f"(c) the header {name!r} is lost")


def _is_made(client: Client, facts: Facts, head: Head, name: bytes, values: list[bytes], difference: str) -> bool:
    """
    Return True if the proxy may write a header that the client did not send.
    """
    if name == _ASKED:
        return _is_marked(client, facts, values, [])
    if name == b"range":
        return difference == "explained" and values == [b"bytes=0-0"]
    if name.startswith(b"x-amz-checksum-"):
        return name in client.announced and tolerate("checksum")
    if name == b"content-md5":
        has_document = head.method in {b"PUT", b"POST"} and head.one(b"content-length") != b"0"
        return has_document and tolerate("integrity")
    if name == b"x-amz-tagging" and difference == "form":
        return dict(parse_qsl(values[0].decode("latin-1"), keep_blank_values=True)) == client.form_tags
    if name == b"content-type" and difference == "form":
        return values == [b"binary/octet-stream"] and tolerate("form type")
    return False


_READ_CODINGS = frozenset({b"deflate", b"gzip", b"identity", b"x-gzip"})
_ASKED = b"access-control-request-headers"
_DECRYPTING = b"x-amz-server-side-encryption-customer-"
_OF_SOURCE = b"x-amz-copy-source-"
_WRITTEN_DOCUMENTS = frozenset(
    [
        "DeleteObjects",
        "PutBucketAcl",
        "PutBucketCors",
        "PutBucketLifecycleConfiguration",
        "PutBucketLogging",
        "PutBucketTagging",
        "PutBucketVersioning",
        "PutObjectAcl",
        "CreateBucket",
    ]
)


def _is_marked(client: Client, facts: Facts, values: list[bytes], sent: list[bytes]) -> bool:
    is_told = client.carrier == "preflight" and facts.preflight_header and len(values) == 1
    wanted = {b",".join([*sent, facts.preflight_header]), b", ".join([*sent, facts.preflight_header])}
    return bool(is_told) and values[0] in wanted and tolerate("marked preflight")


def _is_edited(
    client: Client, facts: Facts, name: bytes, values: list[bytes], sent: list[bytes], difference: str
) -> bool:
    if name == b"x-amz-copy-source" and facts.reader and len(values) == 1:
        sent = [b",".join(sent)]
        same = read_source_of_eucalyptus(facts.reader, values[0]) == read_source(sent[0])
        return same and values[0].isascii() and tolerate("written anew")
    if values in ([b",".join(sent)], [b", ".join(sent)]):
        return tolerate("joined")
    if name == b"content-md5" and facts.reader:
        return client.operation in _WRITTEN_DOCUMENTS and tolerate("written document")
    if name == b"content-md5":
        return client.operation == "DeleteObjects" and tolerate("permitted objects")
    if name == b"content-encoding":
        kept = [coding for coding in _codings(sent) if coding.lower() != b"aws-chunked"]
        return _codings(values) == kept and tolerate("aws-chunked")
    if name == b"accept-encoding":
        read = [coding for coding in _codings(sent) if coding.partition(b";")[0].strip().lower() in _READ_CODINGS]
        found = _codings(values)
        return (found == read or set(found) - set(read) == {b"identity"}) and tolerate("readable coding")
    if name == b"x-amz-copy-source" and len(values) == 1:
        source = b",".join(sent)
        path, mark, query = source.replace(b"#", b"%23").partition(b"?")
        return values == [path.replace(b"+", b"%20") + mark + query] and tolerate("written copy source")
    if name in {b"if-match", b"if-none-match"} and facts.bare_write_tags:
        return values == [value.strip(b'"') for value in sent] and tolerate("bare tag")
    if name == b"range":
        is_exact = len(values) == 1 and _EXACT_RANGE.fullmatch(values[0]) is not None
        return is_exact and (difference == "explained" or (facts.mends_reads and tolerate("exact range")))
    return False


def _codings(values: list[bytes]) -> list[bytes]:
    return [coding.strip() for value in values for coding in value.split(b",") if coding.strip()]


def _may_be_lost(client: Client, facts: Facts, name: bytes, difference: str) -> bool:
    if name == b"x-amz-user-agent" and name in client.query_headers:
        return tolerate("x-id")
    if client.carrier in {"preflight", "anonymous"}:
        return tolerate("unsigned client")
    if b"_" in name and not name.startswith(b"x-amz-meta-"):
        return tolerate("ambiguous name")
    if difference in {"source checked", "versions known"}:
        return True
    if facts.reader and name in {b"x-amz-storage-class", b"x-amz-website-redirect-location"}:
        return tolerate("not kept")
    if name.startswith(b"x-amz-copy-source") and client.operation not in _COPIES:
        return tolerate("no copy")
    if name in _SOURCE_CONDITIONS and facts.misreads_sources:
        return client.has_checked_source
    if difference == "checked" or (facts.checks_conditions and name in _WRITE_CONDITIONS):
        return tolerate("checked")
    if name == b"range" and facts.misreads_ranges:
        return not _is_range(b",".join(client.fields[name])) and tolerate("ignored range")
    if name in _CONDITIONS:
        return facts.mends_reads and tolerate("exact range")
    if name.startswith(b"x-amz-checksum-"):
        return name != b"x-amz-checksum-mode" and tolerate("checksum")
    if difference == "kept here":
        return _OF_KEPT_OBJECTS.fullmatch(name) is None and tolerate("of a beginning")
    return difference == "form" and tolerate("form field")


def _is_range(value: bytes) -> bool:
    first, hyphen, last = value.removeprefix(b"bytes=").partition(b"-")
    if not (value.startswith(b"bytes=") and hyphen and (first + last).isdigit()):
        return False
    return not (first and last) or int(first) <= int(last)


def _judge_surface(facts: Facts, head: Head, path: bytes, items: list[bytes], breach: Callable[[str], None]) -> None:
    named = [segment for segment in fully_decoded(path).split(b"/") if segment not in {b"", b".", b".."}]
    if named and named[0].lower() in facts.reserved:
        breach(f"(b) {named[0]!r} is the backend's own surface")
    allowed = {b"x-minio-extract"} if "extract" in facts.extensions and tolerate("extension") else set()
    names = {*(head.fields.keys() - allowed), *(fully_decoded(item.partition(b"=")[0]).lower() for item in items)}
    for name in names:
        if facts.private and name.replace(b"_", b"-").startswith(facts.private):
            breach(f"(b) {name!r} is an order of the backend's own kind")


def _judge_length(client: Client, head: Head, operation: str | None, breach: Callable[[str], None]) -> None:
    length = head.one(b"content-length")
    if head.method not in {b"PUT", b"POST"}:
        if length not in {None, b"0"}:
            breach(f"(a) a body of {length!r} bytes goes with {head.method!r}")
        return
    if length is None:
        breach("(a) no length")
        return
    if client.carrier == "form" or operation not in {"PutObject", "UploadPart"}:
        if operation in {"CopyObject", "UploadPartCopy"} and length != b"0":
            breach(f"(a) a copy has a body of {length!r} bytes")
        return
    declared = client.fields.get(b"x-amz-decoded-content-length") or client.head.fields.get(b"content-length")
    payload = (client.fields.get(b"x-amz-content-sha256") or [b""])[0]
    if not payload.startswith(b"STREAMING-"):
        declared = client.head.fields.get(b"content-length")
    sent = head.one(b"x-amz-decoded-content-length") or length
    if declared and int(declared[0]) != int(sent):
        breach(f"(a) a body of {sent!r} bytes, where the client declared {declared[0]!r}")


def has_comparable_body(client: Client, head: Head) -> bool:
    """
    Return True if the body must be the client's, byte for byte.
    """
    length = int(head.one(b"content-length") or 0)
    is_object = client.carrier != "form" and client.operation in {"PutObject", "UploadPart"}
    return is_object and 0 < length <= MAX_HASHED_SIZE and b"x-amz-decoded-content-length" not in head.fields


def expected_sha256(client: Client) -> bytes | None:
    """
    Return the hash of the client's body: of its own bytes if they were kept, otherwise as it was signed; None if
    neither is known.
    """
    kept = sum(map(len, client.stream.body))
    if client.is_current and kept and kept == client.stream.body_size:
        return hashlib.sha256(client.body).hexdigest().encode()
    payload = (client.fields.get(b"x-amz-content-sha256") or [b""])[0]
    return payload.lower() if len(payload) == 64 else None


def kept_size(head: Head) -> int:
    """
    Return how many bytes of a body the rules read.
    """
    if head.method == b"POST":
        return KEPT_SIZE
    length = head.one(b"content-length") or head.one(b"x-amz-decoded-content-length") or b""
    is_small = length.isdigit() and int(length) <= KEPT_OBJECT_SIZE
    return 2 * KEPT_OBJECT_SIZE if head.method == b"PUT" and is_small else 0
