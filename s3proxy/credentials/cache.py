"""
The source of client keys for every origin that takes time: a database, a directory, another service.

The strategy: a key is asked for once, whoever needs it meanwhile, and is then used for `credentials.ttl` seconds. A
question that fails says nothing about the key. So the key is used as it was described last, for `credentials.stale`
seconds, and a key that was never described gets 503. While the origin is down, no request waits for it except one now
and then, which finds out whether it is up again.

A key whose description is wrong is an outage of that key alone.
"""

from __future__ import annotations

import re
import time
from collections import OrderedDict
from collections.abc import Collection, Hashable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, fail, maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from s3proxy.configuration.tables import Fault, Faults
from s3proxy.credentials.outage import Outage
from s3proxy.credentials.remembered import Remembered
from s3proxy.credentials.source import KeyRules
from s3proxy.interfaces import ICredentialOrigin, ICredentialSource, KeyQuestion
from s3proxy.s3.claim import Carrier
from s3proxy.s3.credential import Credential
from s3proxy.s3.errors import ServiceUnavailable
from s3proxy.telemetry.declarations import Metric, counter

MAX_FETCHES = 32
"""
Maximum number of questions at a time, if the origin says nothing else. Further ones wait, those about known keys first.
"""

_POSSIBLE = re.compile(rb"[!-+\-.0-~]{1,128}")
"The access key ids that a key may have: see `s3proxy.credentials.record.KeyTable`. No other is asked for."


@dataclass(slots=True)
class LookupCounts:
    """
    What became of the lookups of a cache.

    Attributes:
        remembered: Those that a fresh memory answered, of a known or of an unknown key.
        asked: Those that waited for the origin.
        stale: Those that were answered by an older memory, because the origin failed or described the key wrongly.
        refused: Those that were answered by 503, for the same reasons.
        failures: Questions that the origin did not answer.
    """

    remembered: int = 0
    asked: int = 0
    stale: int = 0
    refused: int = 0
    failures: int = 0


METRICS: tuple[Metric[LookupCounts], ...] = (
    counter(
        "s3proxy_key_lookups",
        "Lookups of client keys in a source with a cache: from memory, by a question, or because a question failed.",
        lambda counts: {
            "remembered": counts.remembered,
            "asked": counts.asked,
            "stale": counts.stale,
            "refused": counts.refused,
        },
        {"result": ("remembered", "asked", "stale", "refused")},
    ),
    counter(
        "s3proxy_key_source_failures",
        "Questions for a client key that the source did not answer.",
        lambda counts: counts.failures,
    ),
)


class _Fetch:
    """
    One question, and those who wait for its answer.

    Attributes:
        is_probe: Whether it is asked during an outage.
        is_outdated: Whether the key has changed since it was asked: its answer is not remembered.
        is_late: Whether it was cancelled because the origin took too long.
        is_given_up: Whether nobody waits for it any more.
    """

    __slots__ = (
        *("asked_at", "asking", "identity", "question", "timer", "waiters"),
        *("is_given_up", "is_late", "is_outdated", "is_probe"),
    )

    def __init__(self, identity: Hashable, question: KeyQuestion, *, is_probe: bool) -> None:
        self.identity = identity
        self.question = question
        self.is_probe = is_probe
        self.is_outdated = self.is_late = self.is_given_up = False
        self.waiters: dict[Deferred[Credential | None], None] = {}
        self.asking: Deferred[Credential | None] = Deferred()
        self.asked_at = 0.0
        self.timer: Any = None


@implementer(ICredentialSource)
class CachedCredentials:
    """
    A source of keys that remembers what an origin tells.

    Args:
        origin: Where the keys are.
        rules: Its `cache` says how long and how much is remembered.
        name: The origin as the log names it. It contains no secret.
        secret_files: See `s3proxy.interfaces.ICredentialSource`.
        max_fetches: Maximum number of questions at a time.

    Attributes:
        session_tokens: The tokens of the keys that are known now.
        counts: What became of the lookups.
    """

    _log = Logger()

    def __init__(
        self,
        origin: ICredentialOrigin,
        rules: KeyRules,
        name: str,
        secret_files: Collection[Path] = (),
        max_fetches: int = MAX_FETCHES,
    ) -> None:
        self._origin = origin
        self._rules = rules
        self._name = name
        self._max_fetches = max_fetches
        self._remembered = Remembered(rules.cache)
        self._known = self._remembered.known
        self._outage = Outage()
        self._fetches: dict[Hashable, _Fetch] = {}
        self._queue: OrderedDict[_Fetch, None] = OrderedDict()
        self._running: set[_Fetch] = set()
        self._is_beginning = False
        self._reactor: Any = None
        self._now = time.monotonic
        self.session_tokens = self._remembered.session_tokens
        self.secret_files = secret_files
        self.counts = LookupCounts()

    def start(self, reactor: Any) -> None:
        """
        Start the origin.
        """
        self._reactor, self._now = reactor, reactor.seconds
        self._origin.start(reactor, self.changed)

    def stop(self) -> Deferred[None] | None:
        """
        End every question, and stop the origin. Later lookups use only what is remembered.
        """
        self._outage.stop()
        self._resolve_queue()
        for fetch in tuple(self._running):
            fetch.is_given_up = True
            self._resolve(fetch)
            fetch.asking.cancel()
        return self._origin.stop()

    def list_credentials(self) -> None:
        """
        Return None: the keys are elsewhere.
        """

    def look_up(self, access_key_id: bytes) -> Deferred[Credential | None] | Credential | None:
        """
        Look up a key by its id alone, for an origin that needs no more.
        """
        known = self._known.get(access_key_id)
        if known is not None and self._now() < known.fresh_until:
            self.counts.remembered += 1
            return known.credential
        return self._look_up(access_key_id, KeyQuestion(access_key_id, Carrier.ANONYMOUS))

    def ask(self, question: KeyQuestion) -> Deferred[Credential | None] | Credential | None:
        """
        Look up the key that a request claims. The result is that of `look_up`.
        """
        identity = self._origin.identify(question)
        known = self._known.get(identity)
        if known is not None and self._now() < known.fresh_until:
            self.counts.remembered += 1
            return known.credential
        return self._look_up(identity, question)

    def changed(self, access_key_id: bytes | None) -> None:
        """
        Forget a key, which has changed; with None, have all keys asked for again, because any may have changed.

        An answer that is on its way may be older than the change. It is given to those who wait for it, and not
        remembered. An origin that tells of changes is not down, as far as it knows.
        """
        self._is_up()
        if access_key_id is None:
            self._remembered.expire()
            outdated = [fetch for fetch in self._fetches.values() if fetch in self._running]
        else:
            self._remembered.forget(access_key_id)
            asked = self._fetches.get(access_key_id)
            outdated = [asked] if asked is not None and asked in self._running else []
        for fetch in outdated:
            fetch.is_outdated = True
            del self._fetches[fetch.identity]

    def take_over(self, former: CachedCredentials) -> None:
        """
        Take over what a former cache of the same origin remembers, so that its keys are served even if the origin is
        down. Each is asked for again before its next use.
        """
        self._remembered.take_over(former._remembered, self._fits)
        self.counts = former.counts

    def _fits(self, credential: Credential) -> bool:
        # The configuration may have changed, too.
        rules = self._rules
        if rules.backends is None:
            return True
        names = {credential.backend} - {None}
        return names <= {*rules.backends} and {*credential.backend_keys} <= rules.backend_keys.keys()

    # Lookups

    def _look_up(self, identity: Hashable, question: KeyQuestion) -> Deferred[Credential | None] | Credential | None:
        now, remembered = self._now(), self._remembered
        if not _POSSIBLE.fullmatch(question.access_key_id) or remembered.is_unknown(identity, now):
            self.counts.remembered += 1
            return None
        fetch, last, is_new = self._fetches.get(identity), remembered.last(identity, now), False
        is_down = self._outage.is_on
        if fetch is None and self._outage.may_ask(now) and not remembered.is_wrong(identity, now):
            fetch, is_new = self._prepare(identity, question, is_known=last is not None), True
        if last is not None and (is_down or fetch is None):
            if is_new:
                self._begin_queued()
            self.counts.stale += 1
            return last
        if fetch is None:
            self.counts.refused += 1
            return fail(ServiceUnavailable())
        waiter: Deferred[Credential | None] = Deferred(partial(self._leave, fetch))
        fetch.waiters[waiter] = None
        if is_new:
            self._begin_queued()
        return waiter

    def _leave(self, fetch: _Fetch, waiter: Deferred[Credential | None]) -> None:
        """
        Called when a waiting request is cancelled. The last one ends the question.
        """
        fetch.waiters.pop(waiter, None)
        if fetch.waiters:
            return
        fetch.is_given_up = True
        if fetch in self._running:
            if self._fetches.get(fetch.identity) is fetch:
                del self._fetches[fetch.identity]
            fetch.asking.cancel()
        elif fetch in self._queue:
            del self._queue[fetch]
            self._ended(fetch)

    # Questions

    def _prepare(self, identity: Hashable, question: KeyQuestion, *, is_known: bool) -> _Fetch:
        """
        Put a question into the queue, so that the first request can wait for it before it is asked.
        """
        fetch = self._fetches[identity] = _Fetch(identity, question, is_probe=self._outage.is_on)
        if fetch.is_probe:
            self._outage.probe()
        self._queue[fetch] = None
        if is_known:
            # A stranger who invents key ids must not delay the keys that exist.
            self._queue.move_to_end(fetch, last=False)
        return fetch

    def _begin_queued(self) -> None:
        if self._is_beginning:
            # An origin may answer at once.
            return
        self._is_beginning = True
        while self._queue and len(self._running) < self._max_fetches:
            self._begin(self._queue.popitem(last=False)[0])
        self._is_beginning = False

    def _begin(self, fetch: _Fetch) -> None:
        self._running.add(fetch)
        fetch.asked_at = self._now()
        fetch.asking = maybeDeferred(self._origin.fetch, fetch.question)
        fetch.timer = self._reactor.callLater(self._rules.cache.patience, self._waited_in_vain, fetch)
        fetch.asking.addCallbacks(self._answered, self._failed, callbackArgs=(fetch,), errbackArgs=(fetch,))

    def _waited_in_vain(self, fetch: _Fetch) -> None:
        fetch.is_late = True
        fetch.asking.cancel()

    def _answered(self, credential: Credential | None, fetch: _Fetch) -> None:
        if credential is not None and credential.access_key_id.encode() != fetch.question.access_key_id:
            # A database may compare without regard to case.
            self._failed(
                Failure(Faults([Fault("access_key_id", "another key than the one that was asked for")])), fetch
            )
            return
        self._ended(fetch)
        self._is_up()
        # A change after the question may be missing in the answer.
        if not fetch.is_outdated and credential is not None:
            self._remembered.keep(fetch.identity, credential, fetch.asked_at)
        elif not fetch.is_outdated:
            self._remembered.keep_unknown(fetch.identity, fetch.asked_at)
        waiters, fetch.waiters = fetch.waiters, {}
        self.counts.asked += len(waiters)
        for waiter in waiters:
            if not waiter.called:
                waiter.callback(credential)
        self._begin_queued()

    def _failed(self, failure: Failure, fetch: _Fetch) -> None:
        self._ended(fetch)
        if fetch.is_given_up:
            self._begin_queued()
            return
        if isinstance(failure.value, Faults):
            self._is_up()
            what = "; ".join(map(str, failure.value.faults))
            if not fetch.is_outdated and self._remembered.keep_wrong(fetch.identity, what, self._now()):
                key = fetch.question.access_key_id.decode("ascii", "backslashreplace")
                self._log.error("{name}: wrong description of key {key}: {what}", name=self._name, key=key, what=what)
        else:
            self.counts.failures += 1
            if self._outage.failed(self._now(), is_probe=fetch.is_probe):
                self._log.error("{name} fails: {reason}", name=self._name, reason=self._reason(failure, fetch))
        self._resolve(fetch)
        if self._outage.is_on:
            self._resolve_queue()
        self._begin_queued()

    def _ended(self, fetch: _Fetch) -> None:
        self._running.discard(fetch)
        if self._fetches.get(fetch.identity) is fetch:
            del self._fetches[fetch.identity]
        if fetch.is_probe:
            self._outage.probed()
        if fetch.timer is not None and fetch.timer.active():
            fetch.timer.cancel()

    def _is_up(self) -> None:
        if self._outage.answered():
            self._log.info("{name} responds again", name=self._name)

    def _reason(self, failure: Failure, fetch: _Fetch) -> str:
        if fetch.is_late:
            return f"no response within {self._rules.cache.patience:g} s"
        # Messages of servers have several lines.
        return " ".join(failure.getErrorMessage().split()) or type(failure.value).__name__

    def _resolve_queue(self) -> None:
        """
        End the questions that were not asked yet.
        """
        queued, self._queue = self._queue, OrderedDict()
        for fetch in queued:
            self._ended(fetch)
            self._resolve(fetch)

    def _resolve(self, fetch: _Fetch) -> None:
        """
        Answer those who wait for a question that failed: by what was known before, or by 503.
        """
        last = self._remembered.last(fetch.identity, self._now())
        waiters, fetch.waiters = fetch.waiters, {}
        for waiter in waiters:
            if waiter.called:
                continue
            if last is None:
                self.counts.refused += 1
                waiter.errback(ServiceUnavailable())
            else:
                self.counts.stale += 1
                waiter.callback(last)


def take_over(former: ICredentialSource, successor: ICredentialSource) -> None:
    """
    Let a source take over what another one of the same origin remembers, if both have a cache.
    """
    if isinstance(former, CachedCredentials) and isinstance(successor, CachedCredentials):
        successor.take_over(former)
