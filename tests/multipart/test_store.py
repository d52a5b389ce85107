"""
The store on disk: a confirmed change is never lost and no file is left, whenever a process is killed.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from s3proxy.multipart import store as module
from s3proxy.multipart import sweeper
from s3proxy.multipart.database import DATABASE
from s3proxy.multipart.directory import CannotKeepUploads
from s3proxy.multipart.documents import CompletedPart, Part, UploadsQuery
from s3proxy.multipart.files import JoinedParts, PartWriter
from s3proxy.multipart.records import ClaimOutcome, Place, StoreLimits
from s3proxy.multipart.schema import LEAST_COST
from s3proxy.multipart.store import MultipartStore
from s3proxy.multipart.sweeper import REMEMBERED_TIME
from s3proxy.s3.errors import NoSuchUpload, OperationAborted, ServiceUnavailable, SlowDown
from s3proxy.s3.limits import MIB

LIMITS = StoreLimits(size=50 * MIB, uploads=5, uploads_of_owner=3, expires=1000.0)
PLACE = Place("walrus", "account", b"bucket", b"key")
CHILD = Path(__file__).parent / "killed.py"


class Clocked:
    """
    Stores of one directory, and a clock that the test sets.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory / "multipart"
        self.time = 1e9
        self.stores: list[MultipartStore] = []

    def open(self, limits: StoreLimits = LIMITS) -> MultipartStore:
        store = MultipartStore(self.directory, limits, lambda: self.time)
        self.stores.append(store)
        return store

    @property
    def files(self) -> list[str]:
        return sorted(os.listdir(self.directory / "parts"))

    @property
    def size(self) -> int:
        """
        Bytes in all files.
        """
        return sum((self.directory / "parts" / name).stat().st_size for name in self.files)


@pytest.fixture
def clocked(tmp_path: Path) -> Iterator[Clocked]:
    found = Clocked(tmp_path)
    yield found
    for store in found.stores:
        store.close()


def keep(store: MultipartStore, upload_id: str, number: int, content: bytes, place: Place = PLACE) -> Part:
    """
    Keep a part as a request does.
    """
    reservation = store.reserve(upload_id, place, len(content), "me")
    writer = PartWriter(reservation)
    writer.writeSequence([content])
    return store.commit(reservation, place, number, writer.md5, {})


def asked(*parts: Part) -> list[CompletedPart]:
    return [CompletedPart(part.number, part.etag) for part in parts]


def test_an_upload(clocked: Clocked) -> None:
    """
    From beginning to end, with parts in any order and one of them twice; nothing is left.
    """
    store = clocked.open()
    upload_id = store.begin(PLACE, "me", [(b"Content-Type", b"text/\xff")])
    second = keep(store, upload_id, 2, b"end")
    keep(store, upload_id, 1, b"x" * MIB)
    first = keep(store, upload_id, 1, b"y" * 5 * MIB)

    assert store.parts(upload_id, PLACE, 0, 1)[1:] == ([first], True)
    assert store.parts(upload_id, PLACE, 1, 1000)[1:] == ([second], False)
    assert (store.lead(), store.usage(), clocked.size) == (True, (5 * MIB + 3, 1), 5 * MIB + 3)
    claim = store.claim(upload_id, PLACE, asked(first, second), 10 * MIB)
    assert (claim.outcome, claim.parts, claim.headers) == (
        ClaimOutcome.CLAIMED,
        (first, second),
        ((b"Content-Type", b"text/\xff"),),
    )
    joined = JoinedParts([(part, store.path_of(part)) for part in claim.parts])
    joined.rewind()
    content = b"".join(iter(lambda: joined.read(MIB - 1), b""))
    assert content == b"y" * 5 * MIB + b"end"
    assert joined.etag == hashlib.md5(content).hexdigest()
    store.finish(upload_id, asked(first, second), "e-2")
    assert (store.usage(), clocked.files) == ((0, 0), [])


def test_the_result_is_remembered(clocked: Clocked) -> None:
    """
    It is remembered for the same document, for a while; for any other request the upload is gone.
    """
    store = clocked.open()
    upload_id = store.begin(PLACE, "me", [])
    part = keep(store, upload_id, 1, b"x")
    store.claim(upload_id, PLACE, asked(part), MIB)
    store.finish(upload_id, asked(part), "e-1")

    again = store.claim(upload_id, PLACE, asked(part), MIB)
    assert (again.outcome, again.etag) == (ClaimOutcome.DONE, "e-1")
    for refused in (
        lambda: store.claim(upload_id, PLACE, [CompletedPart(2, part.etag)], MIB),
        lambda: store.claim(upload_id, replace(PLACE, key=b"other"), asked(part), MIB),
        lambda: store.abort(upload_id, PLACE),
        lambda: store.reserve(upload_id, PLACE, 1, "me"),
        lambda: store.parts(upload_id, PLACE, 0, 1),
    ):
        with pytest.raises(NoSuchUpload):
            refused()
    assert store.uploads(PLACE, UploadsQuery()).uploads == ()
    clocked.time += REMEMBERED_TIME + 1
    store.sweep()
    with pytest.raises(NoSuchUpload):
        store.claim(upload_id, PLACE, asked(part), MIB)


@pytest.mark.parametrize(
    "place",
    [
        replace(PLACE, key=b"other"),
        replace(PLACE, bucket=b"other"),
        replace(PLACE, account="other"),
        replace(PLACE, backend="other"),
    ],
)
def test_an_upload_belongs_to_one_place(clocked: Clocked, place: Place) -> None:
    """
    With another key, bucket, account or backend it does not exist.
    """
    store = clocked.open()
    upload_id = store.begin(PLACE, "me", [])
    part = keep(store, upload_id, 1, b"x")

    for act in (
        lambda: store.parts(upload_id, place, 0, 1),
        lambda: store.reserve(upload_id, place, 1, "me"),
        lambda: store.abort(upload_id, place),
        lambda: store.claim(upload_id, place, asked(part), MIB),
    ):
        with pytest.raises(NoSuchUpload):
            act()
    if place.bucket == PLACE.bucket and place.key == PLACE.key:
        assert store.uploads(place, UploadsQuery()).uploads == ()
    assert store.parts(upload_id, PLACE, 0, 1)[1] == [part]


@pytest.mark.parametrize(
    "upload_id", ["", "x", "../../etc/passwd", "a/b", "\0", "x" * 43 + "\n", "%", "' OR 1=1 --", "x" * 10**6]
)
def test_ids_that_are_none(clocked: Clocked, upload_id: str) -> None:
    """
    No upload has such an id, and the error does not repeat all of it.
    """
    store = clocked.open()
    store.begin(PLACE, "me", [])

    with pytest.raises(NoSuchUpload) as caught:
        store.reserve(upload_id, PLACE, 1, "me")
    assert sum(len(text) for _, text in caught.value.elements) <= 128


def test_ids_are_not_to_be_guessed(clocked: Clocked) -> None:
    """
    They have 256 bits of the system's randomness, and need no escapes in a URL.
    """
    store = clocked.open(replace(LIMITS, uploads=100, uploads_of_owner=0))
    found = {store.begin(PLACE, "me", []) for _ in range(20)}

    assert len(found) == 20
    assert all(len(each) == 43 and each.replace("-", "").replace("_", "").isalnum() for each in found)


def test_the_quota(clocked: Clocked) -> None:
    """
    Announced bytes count, over all processes, until they are given back.
    """
    store, other = clocked.open(), clocked.open()
    upload_id = store.begin(PLACE, "me", [])
    reservation = store.reserve(upload_id, PLACE, 30 * MIB, "me")

    with pytest.raises(SlowDown):
        other.reserve(upload_id, PLACE, 21 * MIB, "me")
    assert (other.refused_count, clocked.size) == (1, 0)
    store.release(reservation)
    store.release(reservation)
    other.release(other.reserve(upload_id, PLACE, 50 * MIB, "me"))
    with pytest.raises(SlowDown):
        other.reserve(upload_id, PLACE, 50 * MIB + 1, "me")
    assert (store.lead(), store.usage()[0], clocked.files) == (True, 0, [])


def test_the_room_of_one_key(clocked: Clocked) -> None:
    """
    A key that announces parts and sends nothing leaves room to others.
    """
    store = clocked.open(replace(LIMITS, size_of_owner=30 * MIB))
    upload_id = store.begin(PLACE, "me", [])
    announced = [store.reserve(upload_id, PLACE, 10 * MIB, "me") for _ in range(3)]

    with pytest.raises(SlowDown):
        store.reserve(upload_id, PLACE, 0, "me")
    store.release(store.reserve(upload_id, PLACE, 20 * MIB, "you"))
    for each in announced:
        store.release(each)
    store.release(store.reserve(upload_id, PLACE, 30 * MIB, "me"))
    # Kept parts count as well, until their upload ends.
    keep(store, upload_id, 1, b"x")
    with pytest.raises(SlowDown):
        store.reserve(upload_id, PLACE, 30 * MIB, "me")
    store.abort(upload_id, PLACE)
    again = store.begin(PLACE, "me", [])
    store.release(store.reserve(again, PLACE, 30 * MIB, "me"))


def test_small_parts_are_not_for_nothing(clocked: Clocked) -> None:
    """
    Each part is a file: ten thousand empty ones of each upload could fill the disk.
    """
    store = clocked.open(replace(LIMITS, size=4 * LEAST_COST))
    upload_id = store.begin(PLACE, "me", [])
    for number in range(1, 5):
        keep(store, upload_id, number, b"")

    with pytest.raises(SlowDown):
        store.reserve(upload_id, PLACE, 0, "me")
    assert (store.lead(), store.usage(), len(clocked.files)) == (True, (0, 1), 4)
    store.abort(upload_id, PLACE)
    again = store.begin(PLACE, "me", [])
    store.release(store.reserve(again, PLACE, 4 * LEAST_COST, "me"))


def test_how_many_results_are_remembered(clocked: Clocked, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The latest results of each key are remembered; other keys do not affect them.
    """
    monkeypatch.setattr(module, "REMEMBERED_COUNT", 2)
    store = clocked.open()
    ended = []
    for owner in ("you", "me", "me", "me"):
        clocked.time += 1
        upload_id = store.begin(PLACE, owner, [])
        wanted = asked(keep(store, upload_id, 1, b"x"))
        store.claim(upload_id, PLACE, wanted, MIB)
        store.finish(upload_id, wanted, "e-1")
        ended.append((upload_id, wanted))

    with pytest.raises(NoSuchUpload):
        store.claim(ended[1][0], PLACE, ended[1][1], MIB)
    for upload_id, wanted in (ended[0], *ended[2:]):
        assert store.claim(upload_id, PLACE, wanted, MIB).outcome is ClaimOutcome.DONE


def test_how_many_uploads(clocked: Clocked) -> None:
    """
    There is a limit for each key and one for all; uploads that have ended do not count.
    """
    store = clocked.open()
    mine = [store.begin(PLACE, "me", []) for _ in range(3)]
    with pytest.raises(SlowDown):
        store.begin(PLACE, "me", [])
    for owner in ("you", "he"):
        store.begin(PLACE, owner, [])
    with pytest.raises(SlowDown):
        store.begin(PLACE, "she", [])
    store.abort(mine.pop(), PLACE)
    part = keep(store, mine[0], 1, b"x")
    store.claim(mine[0], PLACE, asked(part), MIB)
    store.finish(mine[0], asked(part), "e-1")

    for owner in ("me", "she"):
        store.begin(PLACE, owner, [])
    assert (store.lead(), store.usage()) == (True, (0, 5))


def test_two_that_complete(clocked: Clocked) -> None:
    """
    One request completes the upload. The other gets an error, and so does a request that would change the parts. A
    process that has ended completes nothing.
    """
    store, other = clocked.open(), clocked.open()
    upload_id = store.begin(PLACE, "me", [])
    part = keep(store, upload_id, 1, b"x")
    late = store.reserve(upload_id, PLACE, 1, "me")
    store.claim(upload_id, PLACE, asked(part), MIB)

    for each in (store, other):
        assert each.claim(upload_id, PLACE, asked(part), MIB).outcome is ClaimOutcome.BUSY
        for act in (lambda: each.abort(upload_id, PLACE), lambda: each.reserve(upload_id, PLACE, 1, "me")):  # noqa: B023
            with pytest.raises(OperationAborted):
                act()
    with pytest.raises(OperationAborted):
        store.commit(late, PLACE, 1, b"", {})
    clocked.stores.remove(store)
    store.close()
    assert other.claim(upload_id, PLACE, asked(part), MIB).outcome is ClaimOutcome.CLAIMED
    other.give_up(upload_id)
    other.abort(upload_id, PLACE)
    other.sweep()
    assert clocked.files == []


def test_who_waits_costs_little(clocked: Clocked, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    While another request still completes the upload, a retry is cheap, however many parts its document names.
    """
    store = clocked.open()
    upload_id = store.begin(PLACE, "me", [])
    wanted = asked(keep(store, upload_id, 1, b"x"))
    store.claim(upload_id, PLACE, wanted, MIB)

    def dear(parts: object) -> bytes:
        raise AssertionError

    with monkeypatch.context() as patched:
        patched.setattr(module, "completion_digest", dear)
        patched.setattr(module, "choose_parts", dear)
        outcome = store.claim(upload_id, PLACE, wanted, MIB).outcome
    store.give_up(upload_id)

    assert outcome is ClaimOutcome.BUSY


def test_abort_while_a_part_is_on_its_way(clocked: Clocked) -> None:
    """
    The part is refused when it is complete, and nothing of it is left.
    """
    store = clocked.open()
    upload_id = store.begin(PLACE, "me", [])
    reservation = store.reserve(upload_id, PLACE, 3, "me")
    os.write(reservation.fd, b"abc")
    store.abort(upload_id, PLACE)

    with pytest.raises(NoSuchUpload):
        store.commit(reservation, PLACE, 1, b"", {})
    store.sweep()
    assert (store.lead(), store.usage(), clocked.files) == (True, (0, 0), [])


def test_a_part_that_comes_too_late_leaves_no_file(clocked: Clocked) -> None:
    """
    It leaves no file, not even until a sweep: a client that ends uploads while their parts arrive would otherwise fill
    the disk. And another process, the leader, cannot distinguish that file from one of a part that is just being kept.
    """
    leader, store = clocked.open(), clocked.open()
    assert leader.lead()
    for end in (lambda upload_id: leader.abort(upload_id, PLACE), lambda upload_id: _complete(leader, upload_id)):
        upload_id = store.begin(PLACE, "me", [])
        keep(store, upload_id, 1, b"kept")
        reservation = store.reserve(upload_id, PLACE, 3, "me")
        os.write(reservation.fd, b"abc")
        end(upload_id)

        with pytest.raises(NoSuchUpload):
            store.commit(reservation, PLACE, 1, b"", {})
        assert (leader.usage(), clocked.files) == ((0, 0), [])


def _complete(store: MultipartStore, upload_id: str) -> None:
    wanted = asked(*store.parts(upload_id, PLACE, 0, 9)[1])
    store.claim(upload_id, PLACE, wanted, MIB)
    store.finish(upload_id, wanted, "e-1")


def test_what_a_living_process_has_left_behind(clocked: Clocked) -> None:
    """
    The process removes such files itself: no other process can.
    """
    leader, store = clocked.open(), clocked.open()
    assert leader.lead()
    upload_id = store.begin(PLACE, "me", [])
    part = keep(store, upload_id, 1, b"x")
    lost = store.reserve(upload_id, PLACE, 5, "me")
    late = store.reserve(upload_id, PLACE, 7, "me")
    store.claim(upload_id, PLACE, asked(part), MIB)
    locking = sqlite3.connect(clocked.directory / DATABASE)
    store._database._connection.execute("PRAGMA busy_timeout = 0")
    locking.execute("BEGIN IMMEDIATE")
    for fails in (
        lambda: store.release(lost),
        lambda: store.commit(late, PLACE, 2, b"m", {}),
        lambda: store.give_up(upload_id),
    ):
        with pytest.raises(SlowDown):
            fails()
    locking.close()
    leader.sweep()
    assert (leader.usage(), len(clocked.files)) == ((13, 1), 2)
    store.sweep_own()

    assert (leader.usage(), clocked.files) == ((1, 1), [part.file])
    assert leader.claim(upload_id, PLACE, asked(part), MIB).outcome is ClaimOutcome.CLAIMED


def test_a_file_that_cannot_be_removed(clocked: Clocked, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    It is removed later, even if another process leads.
    """
    leader, store = clocked.open(), clocked.open()
    assert leader.lead()
    upload_id = store.begin(PLACE, "me", [])
    keep(store, upload_id, 1, b"x")

    def refuse(path: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    with monkeypatch.context() as patched:
        patched.setattr(os, "unlink", refuse)
        store.abort(upload_id, PLACE)
        store.sweep_own()
    assert len(clocked.files) == 1
    store.sweep_own()

    assert clocked.files == []


def test_a_sweep_lets_others_write(clocked: Clocked, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Others can write, however many files are looked up.
    """
    monkeypatch.setattr(sweeper, "SWEPT_AT_ONCE", 2)
    store = clocked.open()
    for number in range(5):
        (clocked.directory / "parts" / f"dead-{number}.part").touch()
    steps: list[str] = []
    store._database._connection.set_trace_callback(steps.append)
    store.sweep()

    looked_up, most = 0, 0
    for step in steps:
        looked_up = looked_up + 1 if step.startswith("SELECT 1 FROM parts") else 0 if step == "COMMIT" else looked_up
        most = max(most, looked_up)
    assert (clocked.files, most) == ([], 2)


def test_a_database_of_another_version(clocked: Clocked) -> None:
    """
    It is not written to.
    """
    store = clocked.open()
    store._database._connection.execute("PRAGMA user_version = 99")

    with pytest.raises(CannotKeepUploads, match="another version"):
        clocked.open()


def test_expiry(clocked: Clocked) -> None:
    """
    An upload that began too long ago is removed, by a sweep and by the next start.
    """
    store = clocked.open()
    old = store.begin(PLACE, "me", [])
    keep(store, old, 1, b"x")
    clocked.time += 999
    new = store.begin(PLACE, "me", [])
    part = keep(store, new, 1, b"y")
    store.sweep()
    assert len(clocked.files) == 2
    clocked.time += 2
    store.sweep()

    with pytest.raises(NoSuchUpload):
        store.parts(old, PLACE, 0, 1)
    assert clocked.files == [part.file]
    clocked.time += 1000
    assert clocked.open().uploads(PLACE, UploadsQuery()).uploads == ()
    assert clocked.files == []


def test_one_process_leads(clocked: Clocked) -> None:
    """
    Only the leader reports how much is kept: the others' figures would be added to its own. When it ends, another
    process leads.
    """
    first, second = clocked.open(), clocked.open()
    upload_id = first.begin(PLACE, "me", [])
    keep(second, upload_id, 1, b"abc")

    assert (first.lead(), second.lead(), first.usage(), second.usage()) == (True, False, (3, 1), (0, 0))
    first.resign()
    assert (second.lead(), first.lead(), first.usage()) == (True, False, (0, 0))
    second.resign()
    assert first.lead()
    clocked.stores.remove(first)
    first.close()
    assert (second.lead(), second.usage()) == (True, (3, 1))


def test_a_sweep_leaves_what_lives(clocked: Clocked) -> None:
    """
    Parts that still arrive in this process or in another are kept.
    """
    store, other = clocked.open(), clocked.open()
    upload_id = store.begin(PLACE, "me", [])
    mine, theirs = store.reserve(upload_id, PLACE, 1, "me"), other.reserve(upload_id, PLACE, 1, "me")
    for reservation in (mine, theirs):
        os.write(reservation.fd, b"x")
    store.sweep()
    other.sweep()
    clocked.open()

    assert len(clocked.files) == 2
    for each, reservation, number in ((store, mine, 1), (other, theirs, 2)):
        each.commit(reservation, PLACE, number, b"m", {})
    assert len(store.parts(upload_id, PLACE, 0, 9)[1]) == 2


@pytest.mark.parametrize("damage", ["cut", "changed", "gone", "longer"])
def test_a_file_that_is_not_as_it_was_written(clocked: Clocked, damage: str) -> None:
    """
    Its last bytes are never returned, so it cannot become an object. Bytes after its end are not read.
    """
    store = clocked.open()
    upload_id = store.begin(PLACE, "me", [])
    part = keep(store, upload_id, 1, b"abcdef")
    path = store.path_of(part)
    damaged = {"cut": b"abc", "changed": b"abcdeF", "longer": b"abcdefg"}
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(damaged[damage])
    joined = JoinedParts([(part, path)])
    joined.rewind()

    given = b""
    try:
        while data := joined.read(2):
            given += data
        is_whole = True
    except OSError:
        is_whole = False
    joined.close()

    assert (is_whole, len(given) < 6) == ((True, False) if damage == "longer" else (False, True))


def test_what_the_client_claims_of_the_whole(clocked: Clocked) -> None:
    """
    The claim is checked before the last bytes are returned.
    """
    store = clocked.open()
    upload_id = store.begin(PLACE, "me", [])
    parts = [keep(store, upload_id, number, b"abc") for number in (1, 2)]
    paths = [(part, store.path_of(part)) for part in parts]
    right = (b"sha256", hashlib.sha256(b"abcabc").digest())
    for claimed, is_right in ((right, True), ((b"sha256", b"\0" * 32), False)):
        joined = JoinedParts(paths, claimed)
        joined.rewind()
        assert joined.read(2) + joined.read(2) + joined.read(2) == b"abcab"
        if is_right:
            assert (joined.read(2), joined.read(2)) == (b"c", b"")
        else:
            with pytest.raises(OSError, match="claims"):
                joined.read(2)
        assert joined.is_other_than_claimed is not is_right
        joined.close()


# The disk


def test_a_directory_that_others_reach(tmp_path: Path) -> None:
    """
    Parts are objects of tenants: no other user may read them. The directory is made with this mode, and refused with
    another.
    """
    directory = tmp_path / "d"
    MultipartStore(directory, LIMITS, lambda: 0.0).close()
    assert directory.stat().st_mode & 0o777 == 0o700
    assert all(path.stat().st_mode & 0o077 == 0 for path in (directory / "parts", directory / "processes"))
    directory.chmod(0o750)
    with pytest.raises(CannotKeepUploads, match="chmod 700"):
        MultipartStore(directory, LIMITS, lambda: 0.0)
    (tmp_path / "file").touch()
    with pytest.raises(CannotKeepUploads, match="is not a directory"):
        MultipartStore(tmp_path / "file", LIMITS, lambda: 0.0)
    with pytest.raises(CannotKeepUploads, match="No such file"):
        MultipartStore(tmp_path / "a" / "b", LIMITS, lambda: 0.0)


def test_a_database_that_is_none(clocked: Clocked) -> None:
    """
    The error is reported at the start.
    """
    clocked.open()
    for store in clocked.stores:
        store.close()
    clocked.stores.clear()
    for name in os.listdir(clocked.directory):
        if name.startswith(DATABASE):
            (clocked.directory / name).write_bytes(b"no database, but long enough to be looked at" * 100)
    with pytest.raises(CannotKeepUploads, match="not a database"):
        clocked.open()


def test_a_database_that_breaks(clocked: Clocked) -> None:
    """
    Requests get an error that allows a retry; the cause goes to the log.
    """
    store = clocked.open()
    upload_id = store.begin(PLACE, "me", [])
    store._database._connection.execute("DROP TABLE parts")

    with pytest.raises(ServiceUnavailable) as caught:
        store.parts(upload_id, PLACE, 0, 1)
    assert isinstance(caught.value.__cause__, sqlite3.Error)


def test_a_database_that_is_locked(clocked: Clocked) -> None:
    """
    The client may retry.
    """
    store = clocked.open()
    store._database._connection.execute("PRAGMA busy_timeout = 1")
    other = sqlite3.connect(clocked.directory / DATABASE, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    with pytest.raises(SlowDown):
        store.begin(PLACE, "me", [])
    other.execute("ROLLBACK")
    other.close()
    assert store.begin(PLACE, "me", [])


@pytest.mark.parametrize("call", ["open", "fsync", "rename"])
def test_a_full_disk(clocked: Clocked, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """
    The client may retry, and what was taken is given back.
    """
    store = clocked.open()
    upload_id = store.begin(PLACE, "me", [])
    former = keep(store, upload_id, 1, b"former")

    def full(*arguments: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, call, full)
        with pytest.raises(SlowDown):
            keep(store, upload_id, 1, b"x")
    store.sweep()

    assert (store.lead(), store.usage(), clocked.files) == (True, (6, 1), [former.file])
    assert store.parts(upload_id, PLACE, 0, 9)[1] == [former]


def test_a_commit_that_fails(clocked: Clocked, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The former part of this number stays, and so does its file.
    """
    store = clocked.open()
    upload_id = store.begin(PLACE, "me", [])
    former = keep(store, upload_id, 1, b"former")
    store._database._connection.execute(
        "CREATE TRIGGER broken BEFORE INSERT ON parts BEGIN SELECT RAISE(ABORT, 'no'); END"
    )

    with pytest.raises(ServiceUnavailable):
        keep(store, upload_id, 1, b"new")
    store.sweep()

    assert (store.parts(upload_id, PLACE, 0, 9)[1], clocked.files) == ([former], [former.file])
    assert (store.lead(), store.usage()) == (True, (6, 1))


def test_the_order_of_steps(clocked: Clocked, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A power cut loses what is not on disk. The bytes of a part are on disk first, then its name, then its row; a row is
    gone from the disk before its file is removed.
    """
    store = clocked.open()
    upload_id = store.begin(PLACE, "me", [])
    keep(store, upload_id, 1, b"former")
    steps: list[str] = []

    def noting(name: str) -> Callable[..., object]:
        real = getattr(os, name)

        def call(*arguments: object, **named: object) -> object:
            steps.append(name)
            return real(*arguments, **named)

        return call

    with monkeypatch.context() as patched:
        reservation = store.reserve(upload_id, PLACE, 3, "me")
        os.write(reservation.fd, b"new")
        for name in ("fsync", "rename", "unlink"):
            patched.setattr(os, name, noting(name))
        store._database._connection.set_trace_callback(steps.append)
        store.commit(reservation, PLACE, 1, b"m", {})
    kept = [step for step in steps if step in {"fsync", "rename", "unlink", "COMMIT", "PRAGMA synchronous = FULL"}]
    assert kept == ["fsync", "rename", "fsync", "PRAGMA synchronous = FULL", "COMMIT", "unlink"]


# A process that is killed


SCENARIOS = ["part", "replaced", "aborted", "completed", "given-up"]


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_process_that_is_killed_between_any_two_steps(clocked: Clocked, scenario: str) -> None:
    """
    The process is killed before each call to the system or the database in turn, until a run is complete. What was
    confirmed is there, anything else is whole or absent, no file is left, and the quota is right.
    """
    finished = False
    clocked.directory.parent.mkdir(exist_ok=True)
    command = [sys.executable, "-P", str(CHILD), scenario, str(clocked.directory)]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=_environment())
    assert child.stdin is not None
    assert child.stdout is not None
    steps = 0
    try:
        while not finished:
            child.stdin.write(f"{steps}\n")
            child.stdin.flush()
            told = json.loads(child.stdout.readline())
            finished = told["finished"]
            _check_what_is_left(clocked, scenario, told["answered"], finished=finished)
            steps += 1
    finally:
        child.stdin.close()
        child.wait(60)
        child.stdout.close()

    assert steps > {"part": 15, "replaced": 15, "aborted": 4, "completed": 8, "given-up": 6}[scenario]


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent.parent)}


def _check_what_is_left(clocked: Clocked, scenario: str, answered: dict[str, str], *, finished: bool) -> None:
    store = clocked.open()
    try:
        assert store.lead()
        upload_id = answered["upload"]
        try:
            parts = {part.number: part for part in store.parts(upload_id, PLACE, 0, 1000)[1]}
        except NoSuchUpload:
            # Only an upload that has ended is gone.
            assert scenario in {"aborted", "completed"}
            parts = {}
        else:
            assert not (finished and scenario in {"aborted", "completed"})
            for number in ("1", "2"):
                if number in answered:
                    content = store.path_of(parts[int(number)]).read_bytes()
                    allowed = [answered[number]] if finished else [answered[number], answered.get("next", "")]
                    assert content.decode() in allowed
            assert store.claim(upload_id, PLACE, asked(parts[1]), MIB).outcome is ClaimOutcome.CLAIMED
            store.give_up(upload_id)
        assert clocked.files == sorted(part.file for part in parts.values())
        assert store.usage() == (clocked.size, 1 if parts else 0)
        for part in parts.values():
            assert hashlib.md5(store.path_of(part).read_bytes()).digest() == part.md5
        if parts:
            store.abort(upload_id, PLACE)
        assert (store.usage(), clocked.files) == ((0, 0), [])
    finally:
        clocked.stores.remove(store)
        store.close()


def test_what_removes_the_remains_is_this(clocked: Clocked, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Without a sweep they stay: this proves that the test above looks for the right files.
    """
    store = clocked.open()
    upload_id = store.begin(PLACE, "me", [])
    store.reserve(upload_id, PLACE, 7, "me").close()
    clocked.stores.remove(store)
    store.close()
    with monkeypatch.context() as patched:
        patched.setattr(MultipartStore, "sweep", _nothing)
        blind = clocked.open()
        assert (blind.lead(), blind.usage(), len(clocked.files)) == (True, (7, 1), 1)
    blind.sweep()
    assert (blind.usage(), clocked.files) == ((0, 1), [])


def _nothing(store: MultipartStore) -> None:
    pass
