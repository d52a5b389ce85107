"""
Which conditions of writes a storage judges: one is set that does not hold, and it is looked if the write was done.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from s3proxy.doctor.line import Answer
from s3proxy.doctor.storage import Storage, Unclear
from s3proxy.doctor.verdict import Examine, Finding, Judgement, Probe, Verdict, judge, unclear
from s3proxy.profiles.allowed import Feature
from s3proxy.profiles.ignored import IN_DOCUMENT
from s3proxy.profiles.profile import Profile
from s3proxy.resign.head import content_md5
from s3proxy.s3.head import HeaderList

FORMER = b"the object that was there before"
NEW = b"what is written under a condition"

OTHER_TAG = b'"00000000000000000000000000000000"'
LONG_AGO = b"Thu, 01 Feb 2001 00:00:00 GMT"

_OFFSET = b"x-amz-write-offset-bytes"


@dataclass(frozen=True, slots=True)
class Seen:
    """
    What a storage says of an object that is there.

    Attributes:
        etag: In quotation marks.
        modified: A date as HTTP writes it.
    """

    etag: bytes
    size: int
    modified: bytes


async def see(storage: Storage, raw_key: bytes, content: bytes) -> Seen:
    """
    Store an object; return what the storage says of it.

    Raises:
        BackendError: There was no answer.
        Unclear: It is not stored.
    """
    put = await storage.put(raw_key, content)
    head = await storage.ask(b"HEAD", storage.target(raw_key))
    if not put.is_success or not head.is_success:
        raise Unclear(f"nothing is stored: PUT {put}, HEAD {head}")
    etag = (head.fields.value(b"etag") or b"").strip(b'"')
    return Seen(b'"%s"' % etag, len(content), head.fields.value(b"last-modified") or b"")


def told(answer: Answer) -> str:
    """
    Return a status with a code, which may be in a document of success.
    """
    return f"{answer.status} {answer.element('Code')}".strip()


# Writes, each with a condition or without


async def _put(storage: Storage, raw_key: bytes, headers: HeaderList) -> Answer:
    return await storage.put(raw_key, NEW, headers)


async def _complete(storage: Storage, raw_key: bytes, headers: HeaderList) -> Answer:
    upload = await storage.begin_upload(raw_key)
    part = await storage.ask(b"PUT", storage.target(raw_key, b"partNumber=1&" + upload), content=NEW)
    etag = (part.fields.value(b"etag") or b"").decode("latin-1")
    return await storage.complete_upload(raw_key, upload, etag, headers)


async def _copy(storage: Storage, raw_key: bytes, headers: HeaderList) -> Answer:
    source = raw_key + b"-source"
    await storage.put(source, NEW)
    copied = (b"x-amz-copy-source", storage.source(source))
    return await storage.ask(b"PUT", storage.target(raw_key), [copied, *headers], b"")


async def _delete(storage: Storage, raw_key: bytes, headers: HeaderList) -> Answer:
    return await storage.ask(b"DELETE", storage.target(raw_key), headers)


async def _delete_objects(storage: Storage, raw_key: bytes, headers: HeaderList) -> Answer:
    tags = "".join(f"<ETag>{value.decode('latin-1')}</ETag>" for name, value in headers if name == IN_DOCUMENT)
    document = f"<Delete><Object><Key>{storage.key_of(raw_key)}</Key>{tags}</Object></Delete>".encode()
    sent: HeaderList = [(b"Content-MD5", content_md5(document)), (b"Content-Type", b"application/xml")]
    return await storage.ask(b"POST", storage.bucket_target(b"delete"), sent, document)


async def _is_written(storage: Storage, raw_key: bytes) -> bool:
    found = await storage.get(raw_key)
    if found.is_success and found.content in {NEW, FORMER + NEW}:
        return True
    if found.status == 404 or (found.is_success and found.content == FORMER):
        return False
    raise Unclear(f"GET {found}")


async def _is_deleted(storage: Storage, raw_key: bytes) -> bool:
    found = await storage.get(raw_key)
    if found.is_success or found.status == 404:
        return found.status == 404
    raise Unclear(f"GET {found}")


@dataclass(frozen=True, slots=True)
class _Write:
    act: Callable[[Storage, bytes, HeaderList], Coroutine[Any, Any, Answer]]
    is_done: Callable[[Storage, bytes], Coroutine[Any, Any, bool]] = _is_written


_WRITES = {
    "PutObject": _Write(_put),
    "CompleteMultipartUpload": _Write(_complete),
    "CopyObject": _Write(_copy),
    "DeleteObject": _Write(_delete, _is_deleted),
    "DeleteObjects": _Write(_delete_objects, _is_deleted),
}


# Conditions


@dataclass(frozen=True, slots=True)
class Condition:
    """
    A condition of a write.

    Attributes:
        name: Of its probe.
        header: In lower case; `IN_DOCUMENT` for an entity tag in the document.
        broken: Makes a value which does not hold for an object.
        held: Makes values of which one must hold: not every storage reads each form.
        holds_for_none: Whether it holds where there is no object.
    """

    name: str
    operation: str
    header: bytes
    broken: Callable[[Seen], bytes]
    held: Callable[[Seen], tuple[bytes, ...]]
    holds_for_none: bool = False

    @property
    def about(self) -> str:
        """
        What it is, for whoever reads.
        """
        return f"{_SPELLED.get(self.header, self.header.decode())} of {self.operation}"


_SPELLED = {IN_DOCUMENT: "ETag", b"if-match": "If-Match", b"if-none-match": "If-None-Match"}


def _if_match(name: str, operation: str, header: bytes = b"if-match") -> Condition:
    return Condition(name, operation, header, lambda seen: OTHER_TAG, lambda seen: (seen.etag, seen.etag.strip(b'"')))


def _if_none_match(name: str, operation: str) -> Condition:
    return Condition(name, operation, b"if-none-match", lambda seen: b"*", lambda seen: (b"*",), holds_for_none=True)


CONDITIONS = (
    _if_match("put-if-match", "PutObject"),
    _if_none_match("put-if-none-match", "PutObject"),
    # It is about the end of the object. Whoever does not know it replaces the object.
    Condition("put-write-offset", "PutObject", _OFFSET, lambda seen: b"1", lambda seen: (str(seen.size).encode(),)),
    _if_match("complete-if-match", "CompleteMultipartUpload"),
    _if_none_match("complete-if-none-match", "CompleteMultipartUpload"),
    _if_match("copy-if-match", "CopyObject"),
    _if_none_match("copy-if-none-match", "CopyObject"),
    _if_match("delete-if-match", "DeleteObject"),
    Condition(
        "delete-if-match-size",
        "DeleteObject",
        b"x-amz-if-match-size",
        lambda seen: str(seen.size + 1).encode(),
        lambda seen: (str(seen.size).encode(),),
    ),
    Condition(
        "delete-if-match-modified",
        "DeleteObject",
        b"x-amz-if-match-last-modified-time",
        lambda seen: LONG_AGO,
        lambda seen: (seen.modified,),
    ),
    _if_match("delete-objects-etag", "DeleteObjects", IN_DOCUMENT),
)
"""
Those that are asked about. That of AbortMultipartUpload is about no object.
"""


def _judges(condition: Condition) -> Examine:
    """
    Make a probe of a condition.
    """
    write = _WRITES[condition.operation]

    async def attempt(storage: Storage, number: int, value: bytes | None, *, is_there: bool) -> tuple[Answer, bool]:
        raw_key = f"{condition.name}-{number}".encode()
        if is_there:
            await see(storage, raw_key, FORMER)
        headers: HeaderList = [] if value is None else [(condition.header, value)]
        answer = await write.act(storage, raw_key, headers)
        return answer, await write.is_done(storage, raw_key)

    async def examine(storage: Storage) -> Judgement:
        seen = await see(storage, f"{condition.name}-seen".encode(), FORMER)
        refused, is_done = await attempt(storage, 0, condition.broken(seen), is_there=True)
        if is_done:
            return judge(False, f"ignored: {told(refused)}, and it is done")
        number = 0
        for number, value in enumerate(condition.held(seen), 1):
            answer, is_done = await attempt(storage, number, value, is_there=not condition.holds_for_none)
            if is_done:
                return judge(True, f"judged: {told(refused)}, and {told(answer)} where it holds")
        answer, is_done = await attempt(storage, number + 1, None, is_there=True)
        if is_done:
            return judge(True, f"refused: {told(refused)}, even where it holds")
        return unclear(f"without it {told(answer)}, and nothing is done")

    return examine


async def quoted_tag(storage: Storage) -> Judgement:
    """
    Judge whether the entity tag of If-Match is read as S3 writes it, where it is read at all.
    """
    broken, bare = b"put-quoted-broken", b"put-quoted-bare"
    raw_key = b"put-quoted"
    await see(storage, broken, FORMER)
    ignored = await storage.put(broken, NEW, [(b"If-Match", OTHER_TAG)])
    if await _is_written(storage, broken):
        return unclear(f"another one is taken as well: {ignored}")
    seen = await see(storage, raw_key, FORMER)
    answer = await storage.put(raw_key, NEW, [(b"If-Match", seen.etag)])
    if await _is_written(storage, raw_key):
        return judge(True, told(answer))
    seen = await see(storage, bare, FORMER)
    other = await storage.put(bare, NEW, [(b"If-Match", seen.etag.strip(b'"'))])
    if await _is_written(storage, bare):
        return judge(False, f"{told(answer)}, and without them {told(other)}")
    return unclear(f"{told(answer)}, and without them {told(other)}")


PROBES = (
    *(
        Probe(each.name, f"{each.about}: the write is not done where it does not hold", _judges(each))
        for each in CONDITIONS
    ),
    Probe("put-quoted-tag", "If-Match of PutObject takes the ETag in its quotation marks", quoted_tag),
)


# Beside a profile


@dataclass(frozen=True, slots=True)
class Compared:
    """
    A condition, as it was seen and as a profile has it.

    Attributes:
        is_ignored: None where it could not be seen.
        is_expected: Whether the profile says that it is ignored; None where it is refused whatever the storage does.
    """

    condition: Condition
    is_ignored: bool | None
    is_expected: bool | None

    @property
    def is_as_expected(self) -> bool | None:
        """
        Whether it is as the profile says; None where that is not known.
        """
        if self.is_ignored is None or self.is_expected is None:
            return None
        return self.is_ignored is self.is_expected

    def __str__(self) -> str:
        seen = {None: "unclear", True: "ignored", False: "judged"}[self.is_ignored]
        if self.is_expected is None:
            return f"{self.condition.about}: {seen}; it is refused before the storage"
        if self.is_ignored is None:
            said = "ignored" if self.is_expected else "judged"
            return f"{self.condition.about}: {seen}; the profile says that it is {said}"
        return f"{self.condition.about}: {seen}, {'as' if self.is_as_expected else 'not as'} the profile says"


def expected(profile: Profile, condition: Condition) -> bool | None:
    """
    Say whether a profile says that its storage ignores a condition; None where it never gets one.
    """
    if condition.operation not in profile.operations:
        return None
    if condition.header in profile.ignored_conditions.get(condition.operation, ()):
        return True
    return False if Feature.CONDITIONAL_WRITES in profile.features else None


def compare(profile: Profile, findings: Mapping[str, Finding]) -> Iterator[Compared]:
    """
    Give each condition that was asked about.

    Args:
        findings: By name of the probe.
    """
    for condition in CONDITIONS:
        finding = findings.get(condition.name)
        if finding is not None:
            is_ignored = None if finding.verdict is Verdict.UNCLEAR else finding.verdict is Verdict.NO
            yield Compared(condition, is_ignored, expected(profile, condition))
