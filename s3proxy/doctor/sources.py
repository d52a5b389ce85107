"""
How a storage reads the source of a copy, and the conditions on it.
"""

from __future__ import annotations

from s3proxy.doctor.conditions import LONG_AGO, OTHER_TAG, see, told
from s3proxy.doctor.line import Answer
from s3proxy.doctor.storage import Storage
from s3proxy.doctor.verdict import Examine, Judgement, Probe, Verdict, judge, unclear
from s3proxy.s3.head import HeaderList

CONTENT = b"the content of the source"
OTHER_CONTENT = b"the content of another object"

SOURCE, DOUBLE_SOURCE = b"source-a%2541", b"source-aA"
"""
Raw keys: whoever decodes the first one twice reads the second. Both are there, and each decoding of one is well-formed:
a gateway is known that ends over one which is not.
"""


async def _copies(storage: Storage, raw_key: bytes, source: bytes, headers: HeaderList) -> tuple[Answer, bytes | None]:
    """
    Copy an object; return the answer, and what was copied: None for nothing.
    """
    copied: HeaderList = [(b"x-amz-copy-source", storage.source(source)), *headers]
    answer = await storage.ask(b"PUT", storage.target(raw_key), copied, b"")
    found = await storage.get(raw_key)
    return answer, found.content if found.is_success else None


async def _copies_part(
    storage: Storage, raw_key: bytes, source: bytes, headers: HeaderList
) -> tuple[Answer, bytes | None]:
    """
    Make an object of one part that is a copy; return the part's answer, and what was copied.
    """
    upload = await storage.begin_upload(raw_key)
    copied: HeaderList = [(b"x-amz-copy-source", storage.source(source)), *headers]
    answer = await storage.ask(b"PUT", storage.target(raw_key, b"partNumber=1&" + upload), copied, b"")
    etag = answer.element("ETag")
    if not answer.is_success or not etag:
        return answer, None
    await storage.complete_upload(raw_key, upload, etag)
    found = await storage.get(raw_key)
    return answer, found.content if found.is_success else None


def _judges_conditions(name: bytes, *, is_part: bool) -> Examine:
    """
    Make a probe which sets each condition so that it does not hold, and one so that it does.
    """
    copy = _copies_part if is_part else _copies

    async def examine(storage: Storage) -> Judgement:
        source = name + b"-source"
        seen = await see(storage, source, CONTENT)
        answer, content = await copy(storage, name + b"-plain", source, [])
        if content is None:
            return unclear(f"without a condition {told(answer)}, and nothing is copied")
        broken = {
            "if-match": OTHER_TAG,
            "if-none-match": seen.etag,
            "if-modified-since": seen.modified,
            "if-unmodified-since": LONG_AGO,
        }
        seen_so, is_right = [], True
        for which, value in broken.items():
            header = f"x-amz-copy-source-{which}".encode()
            answer, content = await copy(storage, name + b"-" + which.encode(), source, [(header, value)])
            is_right = is_right and content is None and answer.status == 412
            seen_so.append(f"{which} {'ignored, ' if content is not None else ''}{told(answer)}")
        answer, content = await copy(storage, name + b"-held", source, [(b"x-amz-copy-source-if-match", seen.etag)])
        if content is None:
            is_right = False
            seen_so.append(f"if-match that holds {told(answer)}")
        return judge(is_right, "; ".join(seen_so))

    return examine


def _reads_percent(name: bytes, *, is_part: bool) -> Examine:
    """
    Make a probe which copies from a key with a percent sign.
    """
    copy = _copies_part if is_part else _copies

    async def examine(storage: Storage) -> Judgement:
        # Without the second it would be missing what is decoded twice, and nobody knows what is done then.
        await see(storage, DOUBLE_SOURCE, OTHER_CONTENT)
        await see(storage, SOURCE, CONTENT)
        apart = [(await storage.get(key)).content for key in (SOURCE, DOUBLE_SOURCE)]
        if apart != [CONTENT, OTHER_CONTENT]:
            return unclear("both keys are one object there")
        answer, content = await copy(storage, name, SOURCE, [])
        if content == CONTENT:
            return judge(True, told(answer))
        if content == OTHER_CONTENT:
            return judge(False, f"{told(answer)}, and another object is copied: it is decoded twice")
        return (Verdict.UNCLEAR if content is not None else Verdict.NO), f"{told(answer)}, and it is not copied"

    return examine


PROBES = (
    Probe(
        "copy-source-conditions",
        "conditions on the source of CopyObject are judged, 412 where one does not hold",
        _judges_conditions(b"copy-conditions", is_part=False),
    ),
    Probe(
        "part-source-conditions",
        "conditions on the source of UploadPartCopy are judged, 412 where one does not hold",
        _judges_conditions(b"part-conditions", is_part=True),
    ),
    Probe(
        "copy-percent",
        "a%2541 as the source of CopyObject is the key a%41",
        _reads_percent(b"copy-percent", is_part=False),
    ),
    Probe(
        "part-copy-percent",
        "a%2541 as the source of UploadPartCopy is the key a%41",
        _reads_percent(b"part-copy-percent", is_part=True),
    ),
)
