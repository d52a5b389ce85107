"""
The doctor reports what a storage system does, leaves nothing there, and touches no other object.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet import reactor

from s3proxy.configuration.loading import make_settings
from s3proxy.doctor.approach import CannotExamine
from s3proxy.doctor.examination import PROBE_COUNT, Interrupted
from s3proxy.doctor.report import TAKES_ANYBODY, Report
from s3proxy.doctor.verdict import Finding
from s3proxy.testing import FaultyBackend
from s3proxy.testing.faults import responds
from s3proxy.testing.legacy_bucket_operations import BucketOperations
from s3proxy.testing.legacy_messages import Call, Refusal, Reply
from s3proxy.testing.legacy_objects import Folder
from s3proxy.testing.legacy_quirks import MODES
from s3proxy.testing.legacy_upload_operations import UploadOperations
from tests.doctor.patients import FOREIGN, SECRET, WORD, legacy, patient
from tests.support.harness import NOW


@pytest_twisted.ensureDeferred
async def test_a_legacy_store(tmp_path: Path) -> None:
    """
    The service path is found, the kind of signature and of dates is reported, the profile fits, and nothing is left.
    """
    async with legacy(tmp_path) as (store, examined):
        await examined.run()

        assert len(examined.told) == PROBE_COUNT == len(examined.findings)
        assert examined.verdicts("wrong-secret-refused", "v4-header", "v4-presigned") == ["yes", "no", "no"]
        assert examined.verdicts("v2-date", "v2-iso-date", "v2-presigned") == ["yes", "no", "yes"]
        assert examined.verdicts("reset-drops", "reset-drops-large", "reset-drops-part") == ["yes", "yes", "unclear"]
        assert examined.verdicts("reset-keeps-former", "fin-drops", "early-response") == ["yes", "yes", "yes"]
        assert examined.verdicts("signed-chunks", "unsigned-trailer", "chunked-transfer") == ["no", "no", "no"]
        assert examined.verdicts("key-plus", "key-escaped-plus", "key-slashes") == ["no", "yes", "no"]
        assert "'a b'" in examined.findings["key-plus"].why
        assert examined.verdicts("continue", "range", "list-v2", "multipart") == ["yes", "no", "no", "unclear"]
        report = examined.report()
        assert 'signature = "v2"' in report.table
        # Its uploads in parts never get a response, but s3proxy keeps the parts. The profile's default spools.
        assert "commit" not in report.table
        assert "`tail` is proven.\nBodies up to 64 MiB are verified on disk first" in report.text()
        (backend,) = make_settings(tomllib.loads(report.table), tmp_path, {"SECRET": SECRET}).backends
        assert (backend.profile, backend.places) == ("walrus-3.4", (examined.examination.storage.place,))
        assert SECRET not in report.text() + report.document()
        other = Report(examined.examination, "generic", [])
        assert 'profile = "generic"' in other.table
        # Nothing is proven for parts, which this profile would send.
        assert 'commit = "spool"' in other.table
        assert "a+b is the key a+b: no; a key with a plus becomes another key" in other.text()
        assert examined.examination.left == []
        assert store.objects.buckets() == []


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("mode", MODES)
async def test_each_kind_of_store_is_told(mode: str, tmp_path: Path) -> None:
    """
    A store that behaves like Walrus, or like another system of its time, gets the profile of its name.
    """
    async with legacy(tmp_path, mode) as (store, examined):
        await examined.run()

        assert examined.report().chosen.profile.name == mode
        assert examined.examination.left == []
        assert store.objects.buckets() == []


@pytest_twisted.ensureDeferred
async def test_a_store_which_commits_short_bodies(tmp_path: Path) -> None:
    """
    This is reported for each kind of cut, and the report says that ``spool`` is needed.
    """
    async with legacy(tmp_path, "walrusbackend-4.x") as (store, examined):
        store.commits_short_bodies = True

        await examined.run()

        names = ("reset-drops", "reset-drops-large", "reset-drops-half", "reset-keeps-former", "reset-drops-part")
        assert examined.verdicts(*names, "fin-drops", "fin-keeps-former") == ["no"] * 7
        assert examined.findings["reset-drops"].why == "102399 bytes of it were stored"
        assert 'commit = "spool"' in examined.report().table
        assert "`spool` is needed" in examined.report().text()
        assert examined.examination.left == []
        assert store.objects.buckets() == []


@pytest_twisted.ensureDeferred
async def test_a_store_without_uploads_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    No part can be stored short there, so ``tail`` is proven without parts.
    """

    def lack(operations: UploadOperations, call: Call, bucket: Folder) -> Reply:
        raise Refusal(501, "NotImplemented")

    monkeypatch.setattr(UploadOperations, "_begin_upload", lack)
    async with legacy(tmp_path, "walrusbackend-4.x") as (_, examined):
        await examined.run()

        assert examined.verdicts("reset-drops-part", "multipart", "multipart-etag") == ["yes", "unclear", "unclear"]
        assert "`tail` is proven" in examined.report().text()


@pytest_twisted.ensureDeferred
async def test_a_body_which_is_stored_later(tmp_path: Path) -> None:
    """
    A storage system that stores a cut body only after a while does not prove ``tail`` either.
    """
    async with legacy(tmp_path) as (store, examined):

        def tell(finding: Finding) -> None:
            if finding.name == "long-header":
                folder = store.objects.bucket(WORD)
                body = store.objects.receive()
                body.write(b"late")
                folder.put(f"{WORD}/reset", body, NOW.timestamp(), {})

        examined.examination.tell = tell
        await examined.run()

        assert examined.verdicts("reset-drops", "nothing-came-later") == ["yes", "no"]
        assert "`spool` is needed" in examined.report().text()
        assert store.objects.buckets() == []


@pytest_twisted.ensureDeferred
async def test_an_existing_bucket(tmp_path: Path) -> None:
    """
    The doctor uses it below the prefix; other objects stay, and so does the bucket.
    """
    async with legacy(tmp_path, bucket="mine", url="/services/Walrus") as (store, examined):
        folder = store.objects.bucket("mine")
        folder.create()
        for key in ("photo", "s3proxy-doctor-9999999999/reset"):
            body = store.objects.receive()
            body.write(FOREIGN)
            folder.put(key, body, NOW.timestamp(), {})

        await examined.run()

        assert examined.verdicts("v2-date", "reset-drops") == ["yes", "yes"]
        assert sorted(stored.key for stored in folder.objects()) == ["photo", "s3proxy-doctor-9999999999/reset"]
        assert store.object_bytes("mine", "photo") == FOREIGN
        assert examined.examination.left == []


@pytest_twisted.ensureDeferred
async def test_a_storage_which_lists_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    If the storage system ignores ``prefix``, its listing has objects of others: none of them is deleted.
    """
    from s3proxy.testing import legacy_bucket_operations

    page = legacy_bucket_operations.walrus_page
    monkeypatch.setattr(
        legacy_bucket_operations, "walrus_page", lambda objects, prefix, *rest: page(objects, "", *rest)
    )
    async with legacy(tmp_path, bucket="mine") as (store, examined):
        folder = store.objects.bucket("mine")
        folder.create()
        body = store.objects.receive()
        body.write(FOREIGN)
        folder.put("photo", body, NOW.timestamp(), {})

        await examined.run()

        assert [stored.key for stored in folder.objects()] == ["photo"]
        assert examined.examination.left == []


@pytest_twisted.ensureDeferred
async def test_a_listing_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The doctor stops reading the listing at a limit.
    """
    from s3proxy.doctor import storage

    def endless(operations: BucketOperations, call: Call, bucket: Folder) -> Reply:
        marker = call.query.get("marker", "0")
        keys = "".join(f"<Key>{WORD}/{int(marker.rpartition('/')[2]) + number}</Key>" for number in range(1, 11))
        return Reply(
            200, content=f"<ListBucketResult><IsTruncated>true</IsTruncated>{keys}</ListBucketResult>".encode()
        )

    monkeypatch.setattr(storage, "MAX_ENTRIES", 100)
    monkeypatch.setattr(BucketOperations, "_list_objects", endless)
    async with legacy(tmp_path) as (_, examined):
        await examined.run()

        assert "the listing does not end" in str(examined.examination.left)
        assert examined.verdicts("key-plus", "reset-drops") == ["yes", "yes"]


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("probe", ["wrong-secret-refused", "reset-keeps-former", "key-unicode", "multipart"])
async def test_an_interruption(probe: str, tmp_path: Path) -> None:
    """
    What was stored is removed, whenever the interruption comes.
    """
    async with legacy(tmp_path) as (store, examined):

        def tell(finding: Finding) -> None:
            if finding.name == probe:
                # Within the next probe, not between two.
                reactor.callLater(0, examined.examination.interrupt)

        examined.examination.tell = tell
        with pytest.raises(Interrupted):
            await examined.run()

        assert probe in examined.findings
        assert len(examined.findings) < PROBE_COUNT
        assert examined.examination.left == []
        assert store.objects.buckets() == []


@pytest_twisted.ensureDeferred
async def test_what_is_left_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A storage system reports objects as deleted and keeps them: the report names each object, and the bucket.
    """
    delete = Folder.delete

    def keep(folder: Folder, key: str) -> None:
        if not key.endswith("/head"):
            delete(folder, key)

    monkeypatch.setattr(Folder, "delete", keep)
    async with legacy(tmp_path) as (_, examined):
        await examined.run()

        left = examined.examination.left
        assert left is not None
        assert left[0] == f"/services/Walrus/{WORD}/{WORD}/head"
        assert left[1] == f"the bucket {WORD}: DELETE 409 BucketNotEmpty, HEAD 200"
        assert len(left) == 2


@pytest_twisted.ensureDeferred
async def test_a_store_which_takes_any_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The report has a clear warning, and no verdict about signatures.
    """
    from s3proxy.testing import legacy_store

    monkeypatch.setattr(legacy_store, "check_signature", lambda *ignored: True)
    async with legacy(tmp_path) as (_, examined):
        await examined.run()

        assert examined.verdicts("wrong-secret-refused", "v2-date", "v4-header") == ["no", "unclear", "no"]
        assert TAKES_ANYBODY in examined.report().text()


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize(
    ("mode", "options", "said"),
    [
        ("riakcs", {"secret": "wrong"}, "the secret or the region is wrong"),
        ("riakcs", {"key_id": "NOBODY"}, "the access key id is unknown"),
        ("riakcs", {"bucket": "nowhere"}, "there is no bucket nowhere"),
        ("walrus-3.4", {"secret": "wrong"}, "the key or the secret is wrong"),
    ],
)
async def test_who_is_not_let_in(mode: str, options: dict[str, str], said: str, tmp_path: Path) -> None:
    """
    The cause is reported, with every way that was tried, and nothing is stored.
    """
    async with legacy(tmp_path, mode, **options) as (store, examined):
        with pytest.raises(CannotExamine) as caught:
            await examined.run()

        assert said in str(caught.value)
        assert "Signature V4 at /" in str(caught.value)
        assert examined.findings == {}
        assert store.objects.buckets() == []
        assert store.stored_count == 0


@pytest_twisted.ensureDeferred
async def test_no_storage() -> None:
    """
    A server that is not S3 is reported, and so is one that does not exist.
    """
    page = FaultyBackend()
    responds(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nIt works!")(page)
    async with patient(page) as examined:
        with pytest.raises(CannotExamine, match="is not an S3 service"):
            await examined.run()
        await examined.port.stopListening()
        with pytest.raises(CannotExamine, match="cannot be reached: Connection was refused"):
            await examined.run()

    assert all(request.head.method == b"GET" for request in page.requests)
