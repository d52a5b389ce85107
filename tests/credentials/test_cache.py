"""
A source with a cache: when its origin is asked, and what is served while the origin fails.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from twisted.internet.defer import CancelledError
from twisted.logger import capturedLogs
from zope.interface.verify import verifyObject

from s3proxy.configuration.tables import Fault, Faults
from s3proxy.credentials.cache import CachedCredentials, take_over
from s3proxy.credentials.outage import FIRST_PAUSE, LONGEST_PAUSE
from s3proxy.credentials.remembered import MAX_UNKNOWN
from s3proxy.interfaces import ICredentialOrigin, ICredentialSource, KeyQuestion
from s3proxy.s3.claim import Carrier
from s3proxy.s3.credential import Credential
from s3proxy.s3.errors import ServiceUnavailable
from tests.credentials.origin import LIMITS, Cached, Looked, key

DOWN = OSError("connection refused:\n\tis the server running?")


def texts(logs: list[Any]) -> list[str]:
    """
    Return the lines of a log.
    """
    return [event["log_format"].format(**event) for event in logs]


def test_it_is_a_source() -> None:
    """
    It has all that the daemon uses, and cannot list its keys.
    """
    cached = Cached()

    assert verifyObject(ICredentialSource, cached.cache)
    assert verifyObject(ICredentialOrigin, cached.origin)
    assert cached.cache.list_credentials() is None


# What is asked, and when


def test_a_key_is_asked_for_once_and_again_after_its_time() -> None:
    """
    Until then it is the same object, found without a Deferred. After it, the former answer is not used.
    """
    cached, first, second = Cached(), key(secret="first"), key(secret="second")
    cached.know(first)
    cached.clock.advance(59.9)
    assert cached.look_up().value is first
    assert cached.origin.count == 1

    cached.clock.advance(0.2)
    again = cached.look_up()
    was_waiting = again.is_waiting
    cached.origin.answer(second)

    assert was_waiting
    assert again.value is second
    assert cached.look_up().value is second
    assert cached.origin.count == 2


def test_the_time_begins_with_the_question() -> None:
    """
    A change right after the question was answered by the server, and before the answer arrived, takes effect in time.
    """
    cached = Cached()
    cached.look_up()
    cached.clock.advance(4)
    cached.origin.answer(key())
    cached.clock.advance(57)

    assert cached.look_up().is_waiting


@pytest.mark.parametrize("found", [key(), None])
def test_a_thousand_first_uses_are_one_question(found: Credential | None) -> None:
    """
    All get the answer.
    """
    cached = Cached()
    lookups = [cached.look_up() for _ in range(1000)]

    cached.origin.answer(found)

    assert cached.origin.count == 1
    assert [lookup.is_waiting for lookup in lookups] == [False] * 1000
    assert {id(lookup.value) for lookup in lookups} == {id(found)}


def test_only_the_last_who_leaves_ends_a_question() -> None:
    """
    Each waits for itself.
    """
    cached = Cached()
    first, second, third = cached.look_up(), cached.look_up(), cached.look_up()

    first.cancel()
    second.cancel()
    before = list(cached.origin.cancelled)
    third.cancel()

    assert (before, cached.origin.cancelled) == ([], [b"A"])
    assert isinstance(first.error, CancelledError)
    assert cached.look_up().is_waiting
    assert cached.origin.count == 2
    assert cached.cache.counts.failures == 0


def test_one_who_leaves_while_others_are_served() -> None:
    """
    The answer to one request may end another one: the rest still get theirs.
    """
    cached = Cached()
    found = cached.cache.look_up(b"A")
    other, last = cached.look_up(), cached.look_up()
    found.addCallback(lambda value: other.cancel())

    cached.origin.answer(key())

    assert isinstance(other.error, CancelledError)
    assert last.value == key()


def test_an_unknown_key_is_remembered_for_a_shorter_time() -> None:
    """
    A key that is added meanwhile is known after it.
    """
    cached = Cached()
    cached.look_up()
    cached.origin.answer(None)
    cached.clock.advance(9.9)
    unknown = cached.look_up()
    assert (unknown.is_waiting, unknown.value, cached.origin.count) == (False, None, 1)

    cached.clock.advance(0.2)
    added = cached.look_up()
    cached.origin.answer(key())

    assert added.value == key()
    assert cached.look_up().value == key()


def test_a_removed_key_is_unknown_after_its_time() -> None:
    """
    An answer replaces what was known, also for a later outage.
    """
    cached = Cached()
    cached.know(key())
    cached.clock.advance(61)
    removed = cached.look_up()
    cached.origin.answer(None)
    assert removed.value is None
    assert not removed.is_waiting

    cached.break_down()
    cached.clock.advance(11)
    again = cached.look_up()
    cached.origin.answer(DOWN)

    assert isinstance(again.error, ServiceUnavailable)


@pytest.mark.parametrize("name", [b"a/b", b"a b", b"a,b", b"\xff", b"", b"a" * 129, b"a\0", b"a\n"])
def test_what_no_key_can_be_called_is_not_asked_for(name: bytes) -> None:
    """
    It is unknown, and not remembered either.
    """
    cached = Cached()

    assert cached.cache.look_up(name) is None
    assert cached.origin.count == 0


def test_invented_keys_push_out_no_known_one() -> None:
    """
    They have a table of their own, which is bounded.
    """
    cached = Cached(replace(LIMITS, negative_ttl=1e6))
    cached.know(key())

    for number in range(MAX_UNKNOWN + 10):
        cached.look_up(f"X{number}")
        cached.origin.answer(None)

    assert cached.look_up().value == key()
    count = cached.origin.count
    assert not cached.look_up(f"X{MAX_UNKNOWN}").is_waiting
    assert cached.origin.count == count
    assert cached.look_up("X0").is_waiting


def test_the_table_of_known_keys_is_bounded() -> None:
    """
    The key that was described longest ago is dropped, with its token.
    """
    cached = Cached(replace(LIMITS, entries=3))
    for name in "ABC":
        cached.know(key(name, token=f"token-{name}"))
    cached.clock.advance(61)
    again = cached.look_up("A")
    cached.origin.answer(key("A", token="token-A"))
    assert again.value is not None

    cached.know(key("D"))

    tokens = cached.cache.session_tokens
    assert [b"token-%c" % name in tokens for name in b"ABC"] == [True, False, True]
    assert cached.look_up("A").value is not None


def test_questions_at_a_time_are_bounded() -> None:
    """
    Further ones wait, in their order, but those for keys that exist come first.
    """
    cached = Cached(max_fetches=2)
    cached.know(key("known"))
    cached.clock.advance(61)
    lookups = {name: cached.look_up(name) for name in ("A", "B", "C", "D", "known")}
    assert [question.access_key_id for question, _ in cached.origin.asked] == [b"A", b"B"]

    lookups["C"].cancel()
    cached.origin.answer(None)
    cached.origin.answer(None)

    assert [question.access_key_id for question, _ in cached.origin.asked] == [b"known", b"D"]
    assert [lookups[name].is_waiting for name in ("A", "B", "D")] == [False, False, True]


def test_a_key_of_another_name_is_not_taken() -> None:
    """
    A database may compare names without regard to case. A client must not get the rights of another key.
    """
    cached = Cached()
    found = cached.look_up("a")

    cached.origin.answer(key("A"))

    assert isinstance(found.error, ServiceUnavailable)


def test_the_identity_is_that_of_the_origin() -> None:
    """
    Two scopes of a key are two questions, if the origin says so.
    """
    cached = Cached()
    questions = [KeyQuestion(b"A", Carrier.V4_HEADER, scope) for scope in (b"1", b"2", b"1")]
    lookups = [Looked(cached.cache.ask(question)) for question in questions]

    cached.origin.answer(key(secret="one"))
    cached.origin.answer(key(secret="two"))

    assert [lookup.value.secret_access_keys for lookup in lookups] == [("one",), ("two",), ("one",)]
    assert cached.cache.ask(questions[0]) == key(secret="one")
    assert cached.origin.count == 2


def test_a_remembered_key_costs_one_look_at_the_clock() -> None:
    """
    And one in the table: the origin and its identities are not used.
    """
    cached = Cached()
    cached.know(key())
    calls: list[str] = []
    cached.cache._now = lambda: calls.append("clock") or 1001.0  # type: ignore[func-returns-value]
    for name in ("identify", "fetch"):
        setattr(cached.origin, name, lambda *args, name=name: calls.append(name))

    assert cached.cache.look_up(b"A") == key()
    assert calls == ["clock"]


# While the origin fails


def test_a_known_key_is_served_as_it_was() -> None:
    """
    At once while the origin is known to be down, and for `stale` seconds since the origin answered last.
    """
    cached = Cached()
    cached.know(key())
    cached.clock.advance(61)
    first = cached.look_up()
    cached.origin.answer(DOWN)
    second = cached.look_up()
    assert (first.value, second.value, cached.origin.count) == (key(), key(), 2)

    cached.clock.advance(3600 - 61 - 1)
    assert cached.look_up().value == key()
    cached.clock.advance(1)
    cached.origin.answer(DOWN)
    late = cached.look_up()

    assert isinstance(late.error, ServiceUnavailable)


def test_a_new_key_gets_503_and_never_403() -> None:
    """
    At once while the origin is known to be down. 503 is what the client sees, with Retry-After.
    """
    cached = Cached()
    cached.break_down("A")

    lookups = [cached.look_up(name) for name in ("A", "B")]

    assert [type(lookup.error) for lookup in lookups] == [ServiceUnavailable] * 2
    assert cached.origin.count == 1
    assert ServiceUnavailable.retry_after == 1


def test_one_question_at_a_time_finds_out_whether_it_is_up() -> None:
    """
    After a pause, which grows with each failure.
    """
    cached = Cached()
    cached.break_down()
    pause = FIRST_PAUSE
    for _ in range(8):
        cached.clock.advance(pause - 0.01)
        assert isinstance(cached.look_up("X").error, ServiceUnavailable)
        cached.clock.advance(0.02)
        probe, other = cached.look_up("X"), cached.look_up("Y")
        assert (probe.is_waiting, other.is_waiting) == (True, False)
        cached.origin.answer(DOWN)
        pause = min(2 * pause, LONGEST_PAUSE)
    assert pause == LONGEST_PAUSE
    cached.clock.advance(pause)

    probe = cached.look_up("X")
    cached.origin.answer(key("X"))

    assert probe.value == key("X")
    assert cached.look_up("Y").is_waiting
    assert cached.look_up("Z").is_waiting


def test_who_has_a_known_key_does_not_wait_for_that_question() -> None:
    """
    It is asked, and its answer is used for the next request.
    """
    cached = Cached()
    cached.know(key(secret="former"))
    cached.clock.advance(61)
    cached.break_down()
    cached.clock.advance(FIRST_PAUSE)

    probing = cached.look_up()
    assert (probing.is_waiting, probing.value.secret_access_keys, cached.origin.count) == (False, ("former",), 3)
    assert cached.look_up().value.secret_access_keys == ("former",)
    cached.origin.answer(key(secret="new"))

    assert cached.look_up().value.secret_access_keys == ("new",)
    assert cached.origin.count == 3


def test_a_question_that_is_given_up_in_an_outage_makes_room_for_another() -> None:
    """
    A client that leaves must not keep the origin from being found up again.
    """
    cached = Cached()
    cached.break_down()
    cached.clock.advance(FIRST_PAUSE)

    cached.look_up("X").cancel()

    assert cached.look_up("Y").is_waiting


def test_questions_that_were_asked_before_the_outage_do_not_lengthen_it() -> None:
    """
    A hundred failures at once are one outage. What still waits for its turn ends at once.
    """
    cached = Cached(max_fetches=3)
    lookups = [cached.look_up(f"X{number}") for number in range(6)]

    with capturedLogs() as logs:
        for _ in range(3):
            cached.origin.answer(DOWN)

    assert [type(lookup.error) for lookup in lookups] == [ServiceUnavailable] * 6
    assert cached.origin.count == 3
    assert texts(logs) == ["the source fails: connection refused: is the server running?"]
    cached.clock.advance(FIRST_PAUSE)
    assert cached.look_up("Y").is_waiting


def test_the_log_has_the_beginning_and_the_end_of_an_outage() -> None:
    """
    One line each, whatever the number of requests.
    """
    cached = Cached()
    with capturedLogs() as logs:
        cached.break_down()
        for _ in range(50):
            cached.look_up("X")
        cached.clock.advance(FIRST_PAUSE)
        cached.look_up("X")
        cached.origin.answer(None)

    assert texts(logs) == ["the source fails: connection refused", "the source responds again"]


def test_an_origin_that_does_not_answer_is_down() -> None:
    """
    Before the request itself is given up, so that known keys are served.
    """
    cached = Cached()
    cached.know(key())
    cached.clock.advance(61)
    known, new = cached.look_up(), cached.look_up("B")

    with capturedLogs() as logs:
        cached.clock.advance(LIMITS.patience)

    assert known.value == key()
    assert isinstance(new.error, ServiceUnavailable)
    assert cached.origin.cancelled == [b"A", b"B"]
    assert texts(logs) == ["the source fails: no response within 5 s"]
    assert cached.clock.getDelayedCalls() == []


def test_a_slow_origin_is_waited_for() -> None:
    """
    Requests wait until it answers.
    """
    cached = Cached()
    found = cached.look_up()
    cached.clock.advance(LIMITS.patience - 0.1)
    was_waiting = found.is_waiting

    cached.origin.answer(key())

    assert was_waiting
    assert found.value == key()
    assert cached.clock.getDelayedCalls() == []


# Descriptions that are wrong


def test_a_wrong_description_is_an_outage_of_one_key() -> None:
    """
    One log line for each change of it, 503, and a new question after a while. Other keys are served.
    """
    cached = Cached()
    fault = Faults([Fault("expires", "this value is not accepted")])
    with capturedLogs() as logs:
        first = cached.look_up()
        cached.origin.answer(fault)
        others = [cached.look_up() for _ in range(10)]
        cached.clock.advance(11)
        again = cached.look_up()
        cached.origin.answer(Faults(fault.faults))
        cached.clock.advance(11)
        changed = cached.look_up()
        cached.origin.answer(Faults([Fault("backend", "unknown")]))

    assert {type(lookup.error) for lookup in (first, *others, again, changed)} == {ServiceUnavailable}
    assert cached.origin.count == 3
    assert texts(logs) == [
        "the source: wrong description of key A: expires: this value is not accepted",
        "the source: wrong description of key A: backend: unknown",
    ]
    cached.know(key("B"))


def test_a_key_whose_description_becomes_wrong_is_served_as_it_was() -> None:
    """
    For the time of an outage.
    """
    cached = Cached()
    cached.know(key())
    cached.clock.advance(61)
    found = cached.look_up()
    cached.origin.answer(Faults([Fault("expires", "not accepted")]))
    assert (found.value, cached.look_up().value, cached.origin.count) == (key(), key(), 2)

    cached.clock.advance(3600)
    late = cached.look_up()
    cached.origin.answer(Faults([Fault("expires", "not accepted")]))

    assert isinstance(late.error, ServiceUnavailable)


# Changes


def test_a_changed_key_is_forgotten_at_once() -> None:
    """
    Whether it was known or unknown, and its token with it. Others stay.
    """
    cached = Cached()
    cached.know(key("A", token="token"))
    cached.know(key("B"))
    cached.look_up("C")
    cached.origin.answer(None)

    for name in (b"A", b"C", b"never-seen"):
        cached.origin.changed(name)

    assert b"token" not in cached.cache.session_tokens
    assert [cached.look_up(name).is_waiting for name in "ABC"] == [True, False, True]


def test_a_changed_key_is_not_served_as_it_was() -> None:
    """
    It may be disabled by now: in an outage it gets 503.
    """
    cached = Cached()
    cached.know(key())
    cached.origin.changed(b"A")

    found = cached.look_up()
    cached.origin.answer(DOWN)

    assert isinstance(found.error, ServiceUnavailable)


def test_all_are_asked_for_again_after_notifications_may_have_been_missed() -> None:
    """
    Nothing is known to be wrong, so all keys are still served in an outage.
    """
    cached = Cached()
    cached.know(key("A"))
    cached.look_up("B")
    cached.origin.answer(None)

    cached.origin.changed(None)

    known, unknown = cached.look_up("A"), cached.look_up("B")
    assert (known.is_waiting, unknown.is_waiting) == (True, True)
    cached.origin.answer(DOWN)
    assert known.value == key("A")


@pytest.mark.parametrize("told", [b"A", None])
def test_an_answer_from_before_the_change_is_not_remembered(told: bytes | None) -> None:
    """
    It is the answer for those who asked before the change. Who asks later causes a new question.
    """
    cached = Cached()
    before = cached.look_up()
    cached.origin.changed(told)
    after = cached.look_up()
    assert cached.origin.count == 2

    cached.origin.answer(key(secret="former"))
    assert before.value.secret_access_keys == ("former",)
    assert after.is_waiting
    assert cached.look_up().is_waiting
    cached.origin.answer(key(secret="new"))

    assert after.value.secret_access_keys == ("new",)
    assert cached.look_up().value.secret_access_keys == ("new",)
    assert cached.origin.count == 2


def test_a_question_that_waits_for_its_turn_is_not_from_before_the_change() -> None:
    """
    It is asked after it, so its answer is remembered.
    """
    cached = Cached(max_fetches=1)
    cached.look_up("B")
    cached.look_up("A")
    cached.origin.changed(b"A")
    cached.origin.answer(None)
    cached.origin.answer(key("A"))

    assert cached.look_up("A").value == key("A")


def test_an_origin_that_tells_of_changes_is_up() -> None:
    """
    So after it is connected again, no key is served as it was.
    """
    cached = Cached()
    cached.know(key())
    cached.break_down()

    cached.origin.changed(None)

    assert cached.look_up("A").is_waiting
    assert cached.look_up("B").is_waiting


def test_tokens_are_those_of_the_known_keys() -> None:
    """
    Two keys may have one; a rotated one is gone.
    """
    cached = Cached()
    tokens = cached.cache.session_tokens
    cached.know(key("A", token="shared"))
    cached.know(key("B", token="shared"))
    cached.clock.advance(61)
    cached.look_up("A")
    cached.origin.answer(key("A", token="new"))

    assert (b"shared" in tokens, b"new" in tokens, b"other" in tokens) == (True, True, False)
    cached.origin.changed(b"B")
    assert b"shared" not in tokens


# The end, and a successor


def test_the_end() -> None:
    """
    Who waits gets what was known, or 503. Later lookups do the same, and ask nothing.
    """
    cached = Cached(max_fetches=2)
    cached.know(key())
    cached.clock.advance(61)
    lookups = [cached.look_up(name) for name in "ABC"]

    cached.cache.stop()

    assert cached.origin.stops == 1
    assert lookups[0].value == key()
    assert [type(lookup.error) for lookup in lookups[1:]] == [ServiceUnavailable] * 2
    assert cached.look_up().value == key()
    assert isinstance(cached.look_up("D").error, ServiceUnavailable)
    assert cached.origin.count == 3
    assert cached.clock.getDelayedCalls() == []


def test_a_successor_serves_the_known_keys_in_an_outage() -> None:
    """
    It asks for each before its first use, and keeps the time of its last description.
    """
    former, following = Cached(), Cached()
    former.know(key("A", token="token"))
    former.clock.advance(100)
    following.clock.advance(100)

    take_over(former.cache, following.cache)
    found, new = following.look_up("A"), following.look_up("B")
    assert (found.is_waiting, new.is_waiting) == (True, True)
    following.origin.answer(DOWN)
    following.origin.answer(DOWN)

    assert found.value is not None
    assert isinstance(new.error, ServiceUnavailable)
    assert b"token" in following.cache.session_tokens
    assert following.cache.counts is former.cache.counts
    following.clock.advance(3500)
    assert isinstance(following.look_up("A").error, ServiceUnavailable) or following.look_up("A").is_waiting


@pytest.mark.parametrize(
    ("more", "is_served"),
    [
        ({}, True),
        ({"backend": "old"}, False),
        ({"backend": "new"}, True),
        ({"backend_keys": ("mine",)}, True),
        ({"backend_keys": ("mine", "gone")}, False),
    ],
)
def test_a_successor_takes_no_key_that_its_configuration_does_not_allow(
    more: dict[str, Any], *, is_served: bool
) -> None:
    """
    The key names a backend or a backend key that is gone.
    """
    former = Cached()
    following = Cached(backends=["new"], backend_keys={"mine": "new"})
    former.know(replace(key(), **more))

    take_over(former.cache, following.cache)
    found = following.look_up()
    following.origin.answer(DOWN)

    assert (found.value is not None) is is_served


def test_a_smaller_successor_takes_the_newest() -> None:
    """
    Its own limit applies.
    """
    former, following = Cached(), Cached(replace(LIMITS, entries=2))
    for name in "ABC":
        former.know(key(name, token=name))

    take_over(former.cache, following.cache)

    assert [name in following.cache.session_tokens for name in (b"A", b"B", b"C")] == [False, True, True]


def test_only_caches_take_over() -> None:
    """
    Other sources are left alone.
    """
    cached = Cached()
    other: Any = object()

    take_over(other, cached.cache)
    take_over(cached.cache, other)

    assert cached.cache.counts.remembered == 0


def test_what_is_counted() -> None:
    """
    Each lookup once.
    """
    cached = Cached()
    cached.know(key())
    cached.look_up()
    cached.look_up("B")
    cached.origin.answer(None)
    cached.look_up("B")
    cached.break_down("C")
    cached.look_up("C")
    cached.clock.advance(61)
    cached.look_up()

    counts = cached.cache.counts
    assert (counts.remembered, counts.asked, counts.stale, counts.refused, counts.failures) == (2, 2, 1, 2, 1)
    assert isinstance(cached.cache, CachedCredentials)
