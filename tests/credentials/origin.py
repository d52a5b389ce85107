"""
An origin of client keys whose answers a test gives, or that answers by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from zope.interface import implementer

from s3proxy.credentials.cache import CachedCredentials
from s3proxy.credentials.source import CacheLimits, KeyRules
from s3proxy.interfaces import ICredentialOrigin, KeyQuestion
from s3proxy.s3.credential import Credential

LIMITS = CacheLimits(ttl=60, negative_ttl=10, stale=3600, entries=100, patience=5)


def key(name: str = "A", secret: str = "secret", token: str | None = None) -> Credential:
    """
    Return a key.
    """
    return Credential(access_key_id=name, secret_access_keys=(secret,), session_token=token)


@implementer(ICredentialOrigin)
class FakeOrigin:
    """
    Its questions wait in `asked` until the test answers them.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[KeyQuestion, Deferred[Credential | None]]] = []
        self.count = 0
        self.cancelled: list[bytes] = []
        self.stops = 0
        self.changed: Callable[[bytes | None], None] = lambda access_key_id: None

    def start(self, reactor: Any, changed: Callable[[bytes | None], None]) -> None:
        """
        Keep what is to be called after a change.
        """
        self.changed = changed

    def stop(self) -> None:
        """
        Count the call.
        """
        self.stops += 1

    def identify(self, question: KeyQuestion) -> Hashable:
        """
        Tell questions apart by key and scope, as a service does that answers signing keys.
        """
        return question.access_key_id if question.scope is None else question[::2]

    def fetch(self, question: KeyQuestion) -> Deferred[Credential | None]:
        """
        Return what the test fires.
        """
        self.count += 1
        found: Deferred[Credential | None] = Deferred(lambda _: self.cancelled.append(question.access_key_id))
        self.asked.append((question, found))
        return found

    def answer(self, found: Credential | Exception | None) -> None:
        """
        Answer the oldest question that was not cancelled.
        """
        while True:
            _, waiting = self.asked.pop(0)
            if not waiting.called:
                break
        if isinstance(found, Exception):
            waiting.errback(found)
        else:
            waiting.callback(found)


class Cached:
    """
    A cache of such an origin, with a clock of its own.
    """

    def __init__(self, limits: CacheLimits = LIMITS, max_fetches: int = 32, **rules: Any) -> None:
        self.clock, self.origin = Clock(), FakeOrigin()
        self.clock.advance(1000)
        self.rules = KeyRules(backends=rules.pop("backends", None), cache=limits, **rules)
        self.cache = CachedCredentials(self.origin, self.rules, "the source", max_fetches=max_fetches)
        self.cache.start(self.clock)

    def look_up(self, name: str = "A") -> Looked:
        """
        Look up a key.
        """
        return Looked(self.cache.look_up(name.encode()))

    def know(self, credential: Credential) -> None:
        """
        Have a key looked up and found.
        """
        found = self.look_up(credential.access_key_id)
        self.origin.answer(credential)
        assert found.value is credential

    def break_down(self, name: str = "B") -> None:
        """
        Have the question for a key fail, so that the outage begins.
        """
        found = self.look_up(name)
        self.origin.answer(OSError("connection refused"))
        assert found.error is not None


class Looked:
    """
    A lookup.

    Attributes:
        value: What it found.
        error: What it failed with.
        is_waiting: Whether it has not ended.
    """

    def __init__(self, found: Any) -> None:
        self.value: Any = None
        self.error: BaseException | None = None
        self.is_waiting = isinstance(found, Deferred)
        self._found = found
        if self.is_waiting:
            found.addCallbacks(self._came, self._failed)
        else:
            self.value = found

    def cancel(self) -> None:
        """
        End it, as a client does that leaves.
        """
        self._found.cancel()

    def _came(self, value: Any) -> None:
        self.value, self.is_waiting = value, False

    def _failed(self, failure: Any) -> None:
        self.error, self.is_waiting = failure.value, False
