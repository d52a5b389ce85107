"""
Whether a storage system verifies the checksums of a body.
"""

from __future__ import annotations

import base64
import zlib

from s3proxy.doctor.storage import Storage
from s3proxy.doctor.verdict import Judgement, Probe, judge, unclear
from s3proxy.resign.head import content_md5

CONTENT = b"s3proxy doctor looks at checksums"
CRC32 = base64.b64encode(zlib.crc32(CONTENT).to_bytes(4, "big"))
OTHER_CRC32 = base64.b64encode(zlib.crc32(b"other").to_bytes(4, "big"))


async def crc32(storage: Storage) -> Judgement:
    response = await storage.put(b"crc32", CONTENT, [(b"x-amz-checksum-crc32", CRC32)])
    return judge(response.is_success, str(response))


async def crc32_told(storage: Storage) -> Judgement:
    response = await storage.put(b"crc32-told", CONTENT, [(b"x-amz-checksum-crc32", CRC32)])
    if not response.is_success:
        return unclear(str(response))
    target = storage.target(b"crc32-told")
    asked = await storage.ask(b"HEAD", target, [(b"x-amz-checksum-mode", b"ENABLED")])
    told = [name for name, seen in (("PUT", response), ("HEAD", asked)) if b"x-amz-checksum-crc32" in seen.fields]
    return judge(bool(told), f"by {' and '.join(told)}" if told else "by neither PUT nor HEAD")


async def crc32_wrong_refused(storage: Storage) -> Judgement:
    response = await storage.put(b"crc32-wrong", CONTENT, [(b"x-amz-checksum-crc32", OTHER_CRC32)])
    return judge(not response.is_success, str(response))


async def md5_wrong_refused(storage: Storage) -> Judgement:
    right = await storage.put(b"md5", CONTENT, [(b"Content-MD5", content_md5(CONTENT))])
    wrong = await storage.put(b"md5-wrong", CONTENT, [(b"Content-MD5", content_md5(b"other"))])
    if not right.is_success:
        return unclear(f"a correct one is refused: {right}")
    return judge(not wrong.is_success, str(wrong))


PROBES = (
    Probe("crc32", "x-amz-checksum-crc32 is accepted", crc32),
    Probe("crc32-wrong-refused", "a wrong x-amz-checksum-crc32 is refused", crc32_wrong_refused),
    Probe("crc32-told", "x-amz-checksum-crc32 is returned", crc32_told),
    Probe("md5-wrong-refused", "a wrong Content-MD5 is refused", md5_wrong_refused),
)
