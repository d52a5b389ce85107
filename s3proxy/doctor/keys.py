"""
Which keys a storage system stores unchanged.
"""

from __future__ import annotations

from s3proxy.doctor.storage import Storage, Unclear
from s3proxy.doctor.verdict import Examine, Judgement, Probe, judge
from s3proxy.s3.limits import MAX_KEY_SIZE


def _keeps(folder: bytes, rest: bytes) -> Examine:
    """
    Return a probe that stores a key, as it is in a path, and compares its name in the listing.

    Args:
        folder: Keeps the keys of one probe apart from those of others.
    """

    async def examine(storage: Storage) -> Judgement:
        raw_key = folder + b"/" + rest
        content = b"the content of " + raw_key
        put = await storage.put(raw_key, content)
        if not put.is_success:
            # A storage system that stores files may have made a folder for it, which is removed with the last object in
            # it.
            await storage.put(folder + b"/tidy", b"")
            return judge(False, f"PUT {put}")
        got = await storage.get(raw_key)
        if got.content != content:
            size = f" with {len(got.content)} bytes instead of {len(content)}" if got.is_success else ""
            return judge(False, f"PUT {put}, GET {got}{size}")
        name = storage.key_of(raw_key)
        try:
            listed = await storage.list_keys(storage.prefix + folder.decode())
        except Unclear as error:
            return judge(True, f"GET returns it; {error}")
        if name in listed:
            return judge(True, "")
        others = " and ".join(repr(key.removeprefix(f"{storage.prefix}{folder.decode()}/")) for key in listed[:3])
        return judge(False, f"it is listed as {others}" if others else "it is not listed")

    return examine


async def _longest(storage: Storage) -> Judgement:
    folder = b"long/"
    fits = b"k" * (MAX_KEY_SIZE - len(storage.prefix) - len(folder))
    # In pieces: a storage system that stores files limits the length of one name.
    pieces = b"/".join(fits[start : start + 200] for start in range(0, len(fits), 201))
    return await _keeps(b"long", (pieces + fits)[: len(fits)])(storage)


PROBES = (
    Probe("key-slashes", "a//b is a key", _keeps(b"slashes", b"a//b")),
    Probe("key-final-slash", "a/ is a key", _keeps(b"final", b"a/")),
    Probe("key-dot", "a/./b is a key", _keeps(b"dot", b"a/./b")),
    Probe("key-dots", "a/../b is a key", _keeps(b"dots", b"a/../b")),
    Probe("key-escaped-slash", "a%2Fb is the key a/b", _keeps(b"escaped", b"a%2Fb")),
    Probe("key-plus", "a+b is the key a+b", _keeps(b"plus", b"a+b")),
    Probe("key-escaped-plus", "a%2Bb is the key a+b", _keeps(b"escaped-plus", b"a%2Bb")),
    Probe("key-space", "a%20b is the key a b", _keeps(b"space", b"a%20b")),
    Probe("key-semicolon", "a;b is a key", _keeps(b"semicolon", b"a;b")),
    Probe("key-signs", "!$&'()*,:=@ is a key", _keeps(b"signs", b"!$&'()*,:=@")),
    Probe("key-percent", "a%2525b is the key a%25b", _keeps(b"percent", b"a%2525b")),
    Probe("key-unicode", "%C3%A9 is the key é", _keeps(b"unicode", b"%C3%A9")),
    Probe("key-long", f"a key may have {MAX_KEY_SIZE} bytes", _longest),
)
