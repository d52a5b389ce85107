"""
What a cache remembers of client keys: known ones, unknown ones, and those whose description is wrong.

The three tables are bounded, each for itself. Anyone can invent key ids, so unknown keys must not push out known ones.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Container, Hashable

from s3proxy.credentials.source import CacheLimits
from s3proxy.s3.credential import Credential

MAX_UNKNOWN = 10_000
"""
Maximum number of unknown keys that are remembered, and of wrong descriptions. 10,000 need about 3 MiB.
"""


class KnownKey:
    """
    A key as it was described last.

    Attributes:
        fresh_until: Until then the key is used without a question.
        stale_until: Until then it is used if the question fails.
    """

    __slots__ = ("credential", "fresh_until", "stale_until")

    def __init__(self, credential: Credential, fresh_until: float, stale_until: float) -> None:
        self.credential = credential
        self.fresh_until = fresh_until
        self.stale_until = stale_until


class SessionTokens(Container[bytes]):
    """
    The session tokens of the known keys.
    """

    def __init__(self) -> None:
        # Two keys may have the same token.
        self._counts: Counter[bytes] = Counter()

    def __contains__(self, token: object) -> bool:
        return token in self._counts

    def add(self, credential: Credential) -> None:
        """
        Add the token of a key that is known now.
        """
        if credential.session_token is not None:
            self._counts[credential.session_token.encode()] += 1

    def remove(self, credential: Credential) -> None:
        """
        Remove the token of a key that was added.
        """
        if credential.session_token is None:
            return
        token = credential.session_token.encode()
        self._counts[token] -= 1
        if not self._counts[token]:
            del self._counts[token]


class Remembered:
    """
    The tables of a cache. Keys are named by their identity: see `s3proxy.interfaces.ICredentialOrigin.identify`.

    Attributes:
        known: The known keys. The key that was described longest ago comes first, and is dropped first.
        session_tokens: Their session tokens.
    """

    def __init__(self, limits: CacheLimits) -> None:
        self._limits = limits
        self.known: OrderedDict[Hashable, KnownKey] = OrderedDict()
        self.session_tokens = SessionTokens()
        self._unknown: OrderedDict[Hashable, float] = OrderedDict()
        self._wrong: OrderedDict[Hashable, tuple[float, str]] = OrderedDict()

    def is_unknown(self, identity: Hashable, now: float) -> bool:
        """
        Return True if the key was unknown a short time ago.
        """
        return now < self._unknown.get(identity, now)

    def is_wrong(self, identity: Hashable, now: float) -> bool:
        """
        Return True if the description of the key was wrong a short time ago.
        """
        return identity in self._wrong and now < self._wrong[identity][0]

    def last(self, identity: Hashable, now: float) -> Credential | None:
        """
        Return the key as it was described last; None if that was never, or is too long ago.
        """
        known = self.known.get(identity)
        return known.credential if known is not None and now < known.stale_until else None

    def keep(self, identity: Hashable, credential: Credential, now: float) -> None:
        """
        Remember a key.

        Args:
            now: The time of the question.
        """
        self.forget(identity)
        self._add(identity, KnownKey(credential, now + self._limits.ttl, now + self._limits.stale))

    def keep_unknown(self, identity: Hashable, now: float) -> None:
        """
        Remember that a key is unknown.

        Args:
            now: The time of the question.
        """
        self.forget(identity)
        self._unknown[identity] = now + self._limits.negative_ttl
        if len(self._unknown) > MAX_UNKNOWN:
            self._unknown.popitem(last=False)

    def keep_wrong(self, identity: Hashable, what: str, now: float) -> bool:
        """
        Remember what is wrong with the description of a key. The former description stays.

        Returns:
            Whether this is new.
        """
        _, former = self._wrong.pop(identity, (0.0, ""))
        self._unknown.pop(identity, None)
        self._wrong[identity] = (now + self._limits.negative_ttl, what)
        if len(self._wrong) > MAX_UNKNOWN:
            self._wrong.popitem(last=False)
        return what != former

    def forget(self, identity: Hashable) -> None:
        """
        Forget everything about a key.
        """
        known = self.known.pop(identity, None)
        if known is not None:
            self.session_tokens.remove(known.credential)
        self._unknown.pop(identity, None)
        self._wrong.pop(identity, None)

    def expire(self) -> None:
        """
        Have every key asked for again before its next use. Until then nothing wrong is known about a known key, so it
        is still used if the question fails.
        """
        for known in self.known.values():
            known.fresh_until = 0.0
        self._unknown.clear()
        for identity, (_, what) in self._wrong.items():
            # What was logged is not logged again.
            self._wrong[identity] = (0.0, what)

    def take_over(self, former: Remembered, fits: Callable[[Credential], bool]) -> None:
        """
        Remember the known keys of a former cache as expired.

        Args:
            fits: Says whether a key is still valid under the rules of this cache.
        """
        for identity, known in former.known.items():
            if fits(known.credential):
                self._add(identity, KnownKey(known.credential, 0.0, known.stale_until))

    def _add(self, identity: Hashable, known: KnownKey) -> None:
        if len(self.known) >= self._limits.entries:
            _, oldest = self.known.popitem(last=False)
            self.session_tokens.remove(oldest.credential)
        self.known[identity] = known
        self.session_tokens.add(known.credential)
