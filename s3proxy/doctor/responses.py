"""
How a storage system responds to the most common requests.
"""

from __future__ import annotations

import re

from s3proxy.backend.request import BackendError
from s3proxy.doctor import writes
from s3proxy.doctor.storage import Storage
from s3proxy.doctor.verdict import Examine, Judgement, Probe, judge, unclear
from s3proxy.s3.head import HeaderList
from s3proxy.s3.limits import KIB

CONTENT = b"0123456789"

_NAME_SPACE = re.compile(rb"<Error[^>]{0,200}?xmlns=[^>]{0,200}>")

HEADER_SIZES = (4 * KIB, 8 * KIB, 16 * KIB, 32 * KIB)


def _conditional(name: bytes, headers: HeaderList, status: int) -> Examine:
    async def examine(storage: Storage) -> Judgement:
        await storage.put(name, CONTENT)
        response = await storage.get(name, headers)
        return judge(response.status == status, str(response))

    return examine


async def range_(storage: Storage) -> Judgement:
    await storage.put(b"range", CONTENT)
    response = await storage.get(b"range", [(b"Range", b"bytes=2-4")])
    told = response.fields.value(b"content-range")
    if (response.status, response.content, told) == (206, b"234", b"bytes 2-4/10"):
        return judge(True, str(response))
    return judge(
        False, f"{response}, {len(response.content)} bytes, Content-Range {(told or b'none').decode('latin-1')}"
    )


async def range_status(storage: Storage) -> Judgement:
    await storage.put(b"range-status", CONTENT)
    response = await storage.get(b"range-status", [(b"Range", b"bytes=2-4")])
    return judge(response.status == 206, str(response))


async def etag_quoted(storage: Storage) -> Judgement:
    await storage.put(b"etag-quoted", CONTENT)
    told = (await storage.get(b"etag-quoted")).fields.value(b"etag") or b"none"
    return judge(told.startswith(b'"'), f"ETag {told.decode('latin-1')}")


async def error_plain(storage: Storage) -> Judgement:
    response = await storage.get(b"error-plain")
    if not response.code:
        return unclear(str(response))
    found = _NAME_SPACE.search(response.content)
    return judge(found is None, found[0].decode("latin-1") if found is not None else str(response))


async def versioning(storage: Storage) -> Judgement:
    response = await storage.ask(b"GET", storage.bucket_target(b"versioning"))
    return judge(response.is_success and b"VersioningConfiguration" in response.content, str(response))


async def if_none_match(storage: Storage) -> Judgement:
    etag = (await storage.put(b"if-none-match", CONTENT)).fields.value(b"etag") or b""
    response = await storage.get(b"if-none-match", [(b"If-None-Match", etag)])
    return judge(response.status == 304, str(response))


async def head_length(storage: Storage) -> Judgement:
    await storage.put(b"head", CONTENT)
    response = await storage.ask(b"HEAD", storage.target(b"head"))
    length = response.fields.value(b"content-length") or b"none"
    return judge(length == b"10", f"{response}, Content-Length {length.decode('latin-1')}")


async def head_service(storage: Storage) -> Judgement:
    response = await storage.ask(b"HEAD", storage.service_target())
    return judge(response.is_success, str(response))


async def list_buckets(storage: Storage) -> Judgement:
    response = await storage.ask(b"GET", storage.service_target())
    return judge(response.is_success and storage.bucket in response.elements("Name"), str(response))


async def location(storage: Storage) -> Judgement:
    response = await storage.ask(b"GET", storage.bucket_target(b"location"))
    is_one = response.is_success and b"LocationConstraint" in response.content
    return judge(
        is_one, f"{response}, {response.element('LocationConstraint') or 'no name'}" if is_one else str(response)
    )


async def list_v2(storage: Storage) -> Judgement:
    await storage.put(b"list-v2", CONTENT)
    prefix = f"{storage.prefix}list-v2".encode()
    response = await storage.ask(b"GET", storage.bucket_target(b"list-type=2&prefix=" + prefix))
    count = response.element("KeyCount")
    return judge(response.is_success and count == "1", f"{response}, KeyCount {count or 'none'}")


async def no_such_key(storage: Storage) -> Judgement:
    response = await storage.get(b"no-such-key")
    return judge(str(response) == "404 NoSuchKey", str(response))


async def no_such_bucket(storage: Storage) -> Judgement:
    response = await storage.ask(b"GET", storage.bucket_target(bucket=storage.absent_bucket))
    return judge(str(response) == "404 NoSuchBucket", str(response))


async def delete_objects(storage: Storage) -> Judgement:
    await storage.put(b"delete-objects", CONTENT)
    response = await writes.delete_listed(storage, b"delete-objects")
    left = await storage.get(b"delete-objects")
    return judge(response.is_success and left.status == 404, f"POST {response}, then GET {left}")


async def copy(storage: Storage) -> Judgement:
    await storage.put(b"copy-source", CONTENT)
    response = await writes.copy(storage, b"copy", b"copy-source")
    copied = await storage.get(b"copy")
    return judge(copied.content == CONTENT, f"PUT {response}, GET {copied}")


async def multipart(storage: Storage) -> Judgement:
    part, done = await writes.upload(storage, b"multipart", CONTENT)
    stored = await storage.get(b"multipart")
    told = (stored.fields.value(b"etag") or b"none").decode("latin-1")
    return judge(stored.content == CONTENT, f"part {part}, end {done}, GET {stored}, ETag {told}")


async def multipart_etag(storage: Storage) -> Judgement:
    stored = await storage.get(b"multipart")
    if stored.content != CONTENT:
        return unclear("there is no object from a multipart upload")
    told = (stored.fields.value(b"etag") or b"none").decode("latin-1")
    return judge(re.fullmatch(r'"[0-9a-f]{32}-1"', told) is not None, f"ETag {told}")


async def complete_etag(storage: Storage) -> Judgement:
    part, done = await writes.upload(storage, b"complete-etag", CONTENT)
    if not done.is_success or b"CompleteMultipartUploadResult" not in done.content:
        return unclear(f"part {part}, end {done}")
    etag = done.element("ETag")
    return judge(bool(etag.strip()), f"{done}, ETag {etag or 'is empty or absent'}")


async def keeps_connection(storage: Storage) -> Judgement:
    async with storage.line.open() as connection:
        first = await storage.ask(b"GET", storage.target(b"no-such-key"), connection=connection)
        try:
            second = await storage.ask(b"GET", storage.target(b"no-such-key"), connection=connection)
        except BackendError as error:
            return judge(False, f"{first}, then {error.fault.name.lower()}")
    return judge(True, f"{first}, then {second}")


async def long_header(storage: Storage) -> Judgement:
    await storage.put(b"long-header", CONTENT)
    largest, why = 0, ""
    for size in HEADER_SIZES:
        try:
            response = await storage.get(b"long-header", [(b"X-Doctor", b"d" * size)])
        except BackendError as error:
            why = error.fault.name.lower()
            break
        if not response.is_success:
            why = str(response)
            break
        largest = size
    told = f"{largest // KIB} KiB" + (f"; more: {why}" if why else " and perhaps more")
    return judge(largest >= 8 * KIB, told)


PROBES = (
    Probe("range", "a Range gets 206 and only its bytes", range_),
    Probe("range-beyond", "a Range beyond the end gets 416", _conditional(b"r", [(b"Range", b"bytes=99-")], 416)),
    Probe("range-status", "a Range gets status 206", range_status),
    Probe("etag-quoted", "GET returns the entity tag in quotation marks", etag_quoted),
    Probe("if-none-match", "If-None-Match with the ETag gets 304", if_none_match),
    Probe("if-match", "If-Match with another ETag gets 412", _conditional(b"m", [(b"If-Match", b'"0"')], 412)),
    Probe("head-length", "HEAD returns the length", head_length),
    Probe("no-such-key", "an absent object gets 404 NoSuchKey", no_such_key),
    Probe("error-plain", "an error document has no namespace", error_plain),
    Probe("no-such-bucket", "an absent bucket gets 404 NoSuchBucket", no_such_bucket),
    Probe("list-buckets", "ListBuckets names the bucket", list_buckets),
    Probe("head-service", "HEAD of the service itself succeeds", head_service),
    Probe("location", "GetBucketLocation", location),
    Probe("versioning", "GetBucketVersioning", versioning),
    Probe("list-v2", "ListObjectsV2", list_v2),
    Probe("delete-objects", "DeleteObjects", delete_objects),
    Probe("copy", "CopyObject", copy),
    Probe("multipart", "a multipart upload", multipart),
    Probe("multipart-etag", "the ETag of a multipart upload of one part ends in -1", multipart_etag),
    Probe("complete-etag", "the response to CompleteMultipartUpload has the ETag", complete_etag),
    Probe("keep-alive", "a connection stays open after an error", keeps_connection),
    Probe("long-header", "a header of 8 KiB is accepted", long_header),
)
