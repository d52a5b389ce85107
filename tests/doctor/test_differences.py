"""
Each result of the probes for what a storage system ignores, or reads differently from S3.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.task import Clock

from s3proxy.backend.request import BackendLimits
from s3proxy.configuration.options import Place
from s3proxy.doctor import conditions, responses, sources, strays, subresources
from s3proxy.doctor.comparison import KEPT_BACK, compare, expected
from s3proxy.doctor.conditions import CONDITIONS
from s3proxy.doctor.examination import PROBE_COUNT
from s3proxy.doctor.fitting import claims
from s3proxy.doctor.line import Line
from s3proxy.doctor.report import Report
from s3proxy.doctor.storage import Storage, Unclear
from s3proxy.doctor.verdict import Finding, Probe, Verdict
from s3proxy.profiles.ignored import IN_DOCUMENT
from s3proxy.profiles.known import PROFILES
from s3proxy.profiles.profile import BackendKey, Profile
from s3proxy.s3.errors import BadRequest
from tests.conftest import ErrorLog
from tests.doctor.patients import FOREIGN, legacy, patient
from tests.doctor.scripted import Script
from tests.support.harness import NOW, ClockedReactor, turns, until

PROBES = {
    probe.name: probe
    for room in (conditions, sources, strays, subresources, responses)
    for probe in room.PROBES  # type: ignore[attr-defined]
}

NAMES = [condition.name for condition in CONDITIONS]


@asynccontextmanager
async def scripted(script: Script, *, bucket: str | None = None) -> AsyncIterator[tuple[Storage, Clock]]:
    """
    A scripted storage system, and a clock that the test moves.
    """
    backend = script.backend()
    port: Any = reactor.listenTCP(0, backend, interface="127.0.0.1")
    number = port.getHost().port
    clock = Clock()
    timed: Any = ClockedReactor(clock)
    place = Place(f"http://127.0.0.1:{number}")
    line = Line(timed, TCP4ClientEndpoint(reactor, "127.0.0.1", number), BackendLimits(), place.authority)
    try:
        yield Storage(line, place, BackendKey("KEY", "secret"), lambda: NOW, "doctor", bucket), clock
    finally:
        await line.close()
        await maybeDeferred(port.stopListening)
        await until(lambda: all(connection.lost is not None for connection in backend.connections))


async def ask(script: Script, name: str) -> tuple[str, str]:
    """
    Run one probe; return the verdict and the reason.
    """
    return await examine(script, PROBES[name])


async def examine(script: Script, probe: Probe) -> tuple[str, str]:
    """
    The same for a probe.
    """
    async with scripted(script) as (storage, clock):
        ended: list[None] = []
        running = Deferred.fromCoroutine(probe.examine(storage))
        running.addBoth(lambda result: (ended.append(None), result)[1])
        while not ended:
            await turns(5)
            clock.advance(0.1)
        try:
            verdict, why = await running
        except Unclear as error:
            return "unclear", str(error)
    return verdict.value, why


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("condition", CONDITIONS, ids=NAMES)
async def test_a_condition(condition: conditions.Condition) -> None:
    """
    Evaluated, ignored, always refused, and unclear.
    """
    key = (condition.operation, condition.header)

    judged = await ask(Script(), condition.name)
    assert judged[0] == "yes"
    assert judged[1].startswith("evaluated: ")
    assert judged[1].endswith(" if it holds")
    ignored = await ask(Script(ignored={key}), condition.name)
    assert ignored[0] == "no"
    assert ignored[1].startswith("ignored: 20")
    refused = await ask(Script(refused={key}), condition.name)
    assert refused[0] == "yes"
    assert refused[1].startswith("refused: ")
    assert refused[1].endswith(", even if it holds")
    lacking = await ask(Script(lacking={condition.operation}), condition.name)
    assert lacking[0] == "unclear"


@pytest_twisted.ensureDeferred
async def test_a_condition_of_what_is_never_done() -> None:
    """
    A write that gets 200 and is not carried out shows nothing about its conditions; nor does an object that cannot be
    read.
    """
    assert await ask(Script(overruled={"CopyObject"}), "copy-if-match") == (
        "unclear",
        "without it 200, and the write is not carried out",
    )
    assert await ask(Script(get_status=503), "delete-if-match") == ("unclear", "GET 503 Odd")
    assert (await ask(Script(get_status=503), "put-if-match"))[0] == "unclear"
    assert (await ask(Script(lacking={"CreateMultipartUpload"}), "complete-if-match"))[0] == "unclear"


@pytest_twisted.ensureDeferred
async def test_bytes_that_are_not_appended() -> None:
    """
    A storage system without ``x-amz-write-offset-bytes`` replaces the object.
    """
    key = ("PutObject", b"x-amz-write-offset-bytes")
    assert (await ask(Script(appends=True), "put-write-offset"))[0] == "yes"
    assert await ask(Script(ignored={key}, appends=False), "put-write-offset") == (
        "no",
        "ignored: 200, and the write is carried out",
    )


@pytest_twisted.ensureDeferred
async def test_an_entity_tag_without_quotation_marks() -> None:
    """
    A storage system that reads only bare entity tags evaluates conditions, but not with a quoted one.
    """
    bare = Script(tags="bare")
    assert (await ask(bare, "put-if-match"))[0] == "yes"
    assert await ask(bare, "put-quoted-tag") == ("no", "412 PreconditionFailed, and without them 200")
    assert await ask(Script(), "put-quoted-tag") == ("yes", "200")
    ignored = await ask(Script(ignored={("PutObject", b"if-match")}), "put-quoted-tag")
    assert ignored == ("unclear", "another ETag is accepted as well: 200")
    neither = await ask(Script(tags="none"), "put-quoted-tag")
    assert neither == ("unclear", "412 PreconditionFailed, and without them 412 PreconditionFailed")


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize(
    ("name", "lacking"), [("copy-source-conditions", "CopyObject"), ("part-source-conditions", "UploadPartCopy")]
)
async def test_conditions_on_a_source(name: str, lacking: str) -> None:
    """
    Evaluated, ignored, 304 in place of 412, refused if they hold, and unclear.
    """
    right, why = await ask(Script(), name)
    assert right == "yes"
    assert why.count("412 PreconditionFailed") == 4
    ignored = await ask(Script(source_status=200), name)
    assert ignored[0] == "no"
    assert ignored[1].count("ignored, 200") == 4
    as_reads = await ask(Script(source_status=304), name)
    assert as_reads[0] == "no"
    assert "if-none-match 304; " in as_reads[1]
    stubborn = await ask(Script(refuses_sources=True), name)
    assert stubborn[0] == "no"
    assert stubborn[1].endswith("if-match that holds 412 PreconditionFailed")
    assert await ask(Script(lacking={lacking}), name) == (
        "unclear",
        "without a condition 501 NotImplemented, and nothing is copied",
    )


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize(("name", "lacking"), [("copy-percent", "CopyObject"), ("part-copy-percent", "UploadPartCopy")])
async def test_a_percent_sign_in_a_source(name: str, lacking: str) -> None:
    """
    Decoded once, twice, or refused. The source is well-formed and exists, however often it is decoded.
    """
    assert await ask(Script(), name) == ("yes", "200")
    twice = Script(decodes=2)
    assert await ask(twice, name) == ("no", "200, and another object is copied: it is decoded twice")
    assert {b"doctor/source-a%41", b"doctor/source-aA"} <= {*twice.objects}
    assert await ask(Script(lacking={lacking}), name) == (
        "unclear",
        "without a percent sign 501 NotImplemented, and nothing is copied",
    )
    assert await ask(Script(decodes=0), name) == ("no", "404 NoSuchKey, and it is not copied")
    assert await ask(Script(get_status=503), name) == ("unclear", "GET 503 Odd")
    assert await ask(Script(is_one_object=True), name) == ("unclear", "both keys are one object")


@pytest_twisted.ensureDeferred
async def test_the_entity_tag_of_an_upload_in_parts() -> None:
    """
    It is present, empty, or missing.
    """
    assert (await ask(Script(), "complete-etag"))[0] == "yes"
    assert await ask(Script(complete="<ETag></ETag>"), "complete-etag") == ("no", "200, ETag is empty or absent")
    assert (await ask(Script(complete=""), "complete-etag"))[0] == "no"
    assert (await ask(Script(lacking={"CompleteMultipartUpload"}), "complete-etag"))[0] == "unclear"


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize(
    ("name", "method", "status"),
    [("head-silent", b"HEAD", 404), ("204-silent", b"DELETE", 204), ("304-silent", b"GET", 304)],
)
async def test_bytes_behind_a_response(name: str, method: bytes, status: int) -> None:
    """
    They are counted.
    """
    assert (await ask(Script(), name))[0] == "yes"
    verdict, why = await ask(Script(strays={(method, status): b"0\r\n\r\n"}), name)
    assert verdict == "no"
    assert f"{status} and 5 bytes after it" in why


@pytest_twisted.ensureDeferred
async def test_no_bytes_are_told_where_there_may_be_a_body() -> None:
    """
    A response to DELETE may have a body, unless it is 204.
    """
    assert await ask(Script(lacking={"DeleteObject"}), "204-silent") == ("unclear", "501, which may have a body")


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("name", subresources.SUBRESOURCES)
async def test_a_sub_resource(name: str) -> None:
    """
    Refused, taken for another operation, and unclear.
    """
    assert await ask(Script(), name) == ("yes", "501 NotImplemented")
    taken = await ask(Script(sub_status=0), name)
    assert taken[0] == "no"
    assert ", as " in taken[1]
    assert await ask(Script(sub_status=403), name) == ("unclear", "403 AccessDenied")
    assert await ask(Script(sub_status=503), name) == ("unclear", "503 Odd")


@pytest_twisted.ensureDeferred
async def test_a_sub_resource_after_which_nothing_is_seen() -> None:
    """
    It is then unclear whether the object is unchanged.
    """
    assert await ask(Script(get_status=503), "subresource-put-object-acl") == ("unclear", "GET 503 Odd")


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize(
    "script",
    [
        Script(),
        Script(sub_status=0, decodes=2),
        Script(get_status=503),
        Script(ignored={(each.operation, each.header) for each in CONDITIONS}),
        Script(unanswered={"CompleteMultipartUpload", "CopyObject"}),
        Script(unanswered={"PutObject", "UploadPart"}),
    ],
    ids=["right", "misread", "unreadable", "ignored", "ends unanswered", "uploads unanswered"],
)
async def test_nothing_is_left_where_nothing_is_listed(script: Script, error_log: ErrorLog) -> None:
    """
    Everything that was stored is removed, whatever the storage system does, and although all its lists are empty.
    """
    async with patient(script.backend()) as examined:
        await examined.run()

    # The script takes a body in chunks for a second request.
    (misread,) = error_log.flush()
    assert misread["failure"].check(BadRequest)
    assert len(examined.findings) == PROBE_COUNT
    assert script.stored_count > 20
    assert (script.objects, script.uploads) == ({}, {})


@pytest_twisted.ensureDeferred
async def test_only_what_is_harmless_is_asked() -> None:
    """
    No sub-resource of a bucket is written or deleted, and nothing outside the prefix. No part is stored for an upload
    that was never started: some storage systems can never remove it.
    """
    for sub_status in (0, 501):
        script = Script(sub_status=sub_status)
        for probe in (*conditions.PROBES, *sources.PROBES, *strays.PROBES, *subresources.PROBES):
            await examine(script, probe)

        assert len(script.asked) > 200
        for method, target in script.asked:
            path, _, query = target.partition(b"?")
            if method in {b"GET", b"HEAD"} or (method, path, query) == (b"POST", b"/doctor", b"delete"):
                continue
            assert path.startswith(b"/doctor/doctor/"), target
            if method != b"DELETE" and b"uploadId=" in query:
                assert query.endswith(b"uploadId=upload"), target


@pytest.mark.parametrize("name", PROFILES)
def test_what_a_profile_says_of_conditions(name: str) -> None:
    """
    There is a probe for each condition that a profile lists as ignored, except the one of AbortMultipartUpload.
    """
    profile = PROFILES[name]
    asked = {(each.operation, each.header) for each in CONDITIONS}
    told = {(operation, header) for operation, headers in profile.ignored_conditions.items() for header in headers}

    assert told - asked <= {("AbortMultipartUpload", b"x-amz-if-match-initiated-time")}
    ignored = {(each.operation, each.header) for each in CONDITIONS if expected(profile, each) == KEPT_BACK}
    assert ignored == {(operation, header) for operation, header in told & asked if operation in profile.operations}


@pytest.mark.parametrize(
    ("profile", "seen", "said"),
    [
        ("ceph-rgw", "ignored", "ignored, as the profile expects"),
        ("ceph-rgw", "refused", "refused, as the profile expects"),
        (
            "ceph-rgw",
            "evaluated",
            "evaluated, unlike the profile; clients get 501, though the storage system evaluates it",
        ),
        ("ceph-rgw", None, "unclear; the profile expects that it is ignored or refused"),
        ("generic", "ignored", "ignored, unlike the profile; it is sent, and clients take it for a lock"),
        ("generic", "refused", "refused, as the profile expects"),
        ("generic", "evaluated", "evaluated, as the profile expects"),
        ("generic", None, "unclear; the profile expects that it is evaluated or refused"),
        ("riakcs", "ignored", "ignored; s3proxy refuses it"),
        ("riakcs", None, "unclear; s3proxy refuses it"),
    ],
)
def test_a_condition_beside_a_profile(profile: str, seen: str | None, said: str) -> None:
    """
    The observed behaviour, and whether the profile expects it. No client takes a refused condition for a lock.
    """
    verdicts = {"ignored": Verdict.NO, None: Verdict.UNCLEAR}
    finding = Finding("copy-if-match", "", verdicts.get(seen, Verdict.YES), f"{seen}: 200")

    assert [str(one) for one in compare(PROFILES[profile], {"copy-if-match": finding})] == [
        f"If-Match of CopyObject: {said}"
    ]


def test_a_condition_in_a_document_has_a_name() -> None:
    """
    It is not in a header, so it has no header's name.
    """
    (about,) = (each.about for each in CONDITIONS if each.header == IN_DOCUMENT)

    assert about == "ETag of DeleteObjects"


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
def test_flags_are_claims(profile: Profile) -> None:
    """
    The profile expects the behaviour that these flags mend.
    """
    said = {claim.probe: claim.expected for claim in claims(profile, profile)}

    assert (said["put-quoted-tag"] is Verdict.NO) is profile.bare_write_tags
    assert (said.get("complete-etag") is Verdict.NO) is profile.omits_etags
    assert (said["copy-source-conditions"] is Verdict.NO) is profile.misreads_sources
    assert (said.get("part-copy-percent") is Verdict.NO) is (profile.refused_part_sources is not None)


@pytest_twisted.ensureDeferred
async def test_a_legacy_store(tmp_path: Path) -> None:
    """
    What Walrus ignores is reported, for people and for machines; no other object is touched.
    """
    async with legacy(tmp_path, "walrusbackend-4.x", bucket="mine") as (store, examined):
        folder = store.objects.bucket("mine")
        folder.create()
        body = store.objects.receive()
        body.write(FOREIGN)
        folder.put("photo", body, NOW.timestamp(), {})

        await examined.run()

        assert examined.verdicts("put-if-match", "put-if-none-match", "put-write-offset") == ["no", "no", "no"]
        assert examined.verdicts("delete-if-match", "delete-if-match-size") == ["no", "no"]
        assert examined.verdicts("delete-objects-etag", "complete-if-match") == ["unclear", "no"]
        assert examined.verdicts("head-silent", "204-silent") == ["no", "yes"]
        assert "bytes after it" in examined.findings["head-silent"].why
        report = examined.report()
        assert "  x-amz-write-offset-bytes of PutObject: ignored, as the profile expects\n" in report.text()
        assert "  If-Match of PutObject: ignored; s3proxy refuses it\n" in report.text()
        told = {one["name"]: one for one in json.loads(report.document())["conditions"]}
        assert told["put-write-offset"] == {
            "name": "put-write-offset",
            "found": "ignored",
            "expected": ["ignored", "refused"],
            "as_profile": True,
        }
        other = Report(examined.examination, "generic", [])
        assert "If-Match of PutObject: ignored, unlike the profile; it is sent, and clients take it" in other.text()
        assert [stored.key for stored in folder.objects()] == ["photo"]
        assert store.object_bytes("mine", "photo") == FOREIGN
        assert examined.examination.left == []


def test_nothing_is_said_of_conditions_that_nobody_asked_about() -> None:
    """
    The examination ended before these probes.
    """
    assert list(compare(PROFILES["generic"], {})) == []
