"""
Writes that several probes send.
"""

from __future__ import annotations

from dataclasses import dataclass

from s3proxy.doctor.line import Response
from s3proxy.doctor.storage import Storage, Unclear
from s3proxy.resign.head import content_md5
from s3proxy.s3.head import HeaderList


@dataclass(frozen=True, slots=True)
class Seen:
    """
    What a storage system returns about an object.

    Attributes:
        etag: The entity tag, in quotation marks.
        modified: The modification time, in the format of HTTP.
    """

    etag: bytes
    size: int
    modified: bytes


ABSENT = Seen(b'""', 0, b"")


async def store(storage: Storage, raw_key: bytes, content: bytes) -> Seen:
    """
    Store an object; return what the storage system returns about it.

    Raises:
        BackendError: There was no response.
        Unclear: The object is not stored.
    """
    put = await storage.put(raw_key, content)
    head = await storage.ask(b"HEAD", storage.target(raw_key))
    if not put.is_success or not head.is_success:
        raise Unclear(f"nothing is stored: PUT {put}, HEAD {head}")
    etag = (head.fields.value(b"etag") or b"").strip(b'"')
    return Seen(b'"%s"' % etag, len(content), head.fields.value(b"last-modified") or b"")


async def stored(storage: Storage, raw_key: bytes) -> bytes | None:
    """
    Return the content of an object; None if there is no object.

    Raises:
        BackendError: There was no response.
        Unclear: The response shows neither.
    """
    found = await storage.get(raw_key)
    if found.is_success:
        return found.content
    if found.status == 404:
        return None
    raise Unclear(f"GET {found}")


async def upload(
    storage: Storage, raw_key: bytes, content: bytes, headers: HeaderList | None = None
) -> tuple[Response, Response]:
    """
    Store an object with a multipart upload of one part; return the responses to the part and to the completion.

    Args:
        headers: The headers of the completion.

    Raises:
        BackendError: There was no response.
        Unclear: The upload cannot be started.
    """
    query = await storage.begin_upload(raw_key)
    part = await storage.ask(b"PUT", storage.target(raw_key, b"partNumber=1&" + query), content=content)
    etag = (part.fields.value(b"etag") or b"").decode("latin-1")
    return part, await storage.complete_upload(raw_key, query, etag, headers)


async def copy(storage: Storage, raw_key: bytes, source: bytes, headers: HeaderList | None = None) -> Response:
    """
    Copy an object below the prefix; return the response.

    Args:
        source: The raw key of the other object.

    Raises:
        BackendError: There was no response.
    """
    return await storage.ask(b"PUT", storage.target(raw_key), _copying(storage, source, headers), b"")


async def copy_part(storage: Storage, raw_key: bytes, source: bytes, headers: HeaderList | None = None) -> Response:
    """
    Copy an object with a multipart upload of one part; return the response to the part.

    The upload is completed if the part was copied.

    Args:
        source: The raw key of the other object.

    Raises:
        BackendError: There was no response.
        Unclear: The upload cannot be started.
    """
    query = await storage.begin_upload(raw_key)
    target = storage.target(raw_key, b"partNumber=1&" + query)
    part = await storage.ask(b"PUT", target, _copying(storage, source, headers), b"")
    etag = part.element("ETag")
    if part.is_success and etag:
        await storage.complete_upload(raw_key, query, etag)
    return part


def _copying(storage: Storage, source: bytes, headers: HeaderList | None) -> HeaderList:
    return [(b"x-amz-copy-source", storage.source(source)), *(headers or [])]


async def delete_listed(storage: Storage, raw_key: bytes, etag: bytes | None = None) -> Response:
    """
    Delete an object with DeleteObjects; return the response.

    Args:
        etag: The entity tag that the object must have, in quotation marks; None for any.

    Raises:
        BackendError: There was no response.
    """
    tag = "" if etag is None else f"<ETag>{etag.decode('latin-1')}</ETag>"
    document = f"<Delete><Object><Key>{storage.key_of(raw_key)}</Key>{tag}</Object></Delete>".encode()
    headers: HeaderList = [(b"Content-MD5", content_md5(document)), (b"Content-Type", b"application/xml")]
    return await storage.ask(b"POST", storage.bucket_target(b"delete"), headers, document)
