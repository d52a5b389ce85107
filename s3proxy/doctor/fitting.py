"""
Which profile fits: compares what each profile claims with the findings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from s3proxy.doctor.commits import PART_NAME, TAIL_NAMES
from s3proxy.doctor.subresources import SUBRESOURCES
from s3proxy.doctor.surfaces import SERVERS, health_name, server_name, surface_name
from s3proxy.doctor.verdict import Finding, Verdict
from s3proxy.profiles.known import PROFILES
from s3proxy.profiles.profile import ANY_BELOW_500, DateForm, Profile


@dataclass(frozen=True, slots=True)
class Claim:
    """
    A claim of a profile about a storage system.

    Attributes:
        probe: The name of the probe whose finding confirms or denies the claim.
        expected: The verdict that confirms the claim.
        confirmed: Points for the profile if the claim is true: 0 if it is true of nearly every storage system.
        denied: Points against the profile if the claim is false.
        about: The consequence if the claim is false.
    """

    probe: str
    expected: Verdict
    confirmed: int
    denied: int
    about: str


@dataclass(frozen=True, slots=True)
class Fit:
    """
    How well a profile fits.

    Attributes:
        confirmed: The claims that are true.
        denied: The claims that are false.
    """

    profile: Profile
    confirmed: tuple[Claim, ...]
    denied: tuple[Claim, ...]

    @property
    def score(self) -> int:
        """
        The points for the profile, less the points against it.
        """
        return sum(claim.confirmed for claim in self.confirmed) - sum(claim.denied for claim in self.denied)


SERVICE_PATH, SIGNS_SERVICE_PATH = "service-path", "signs-service-path"
"""
Names used as probes in claims: both are found before any probe runs.
"""

OPERATIONS = {
    "list-v2": "ListObjectsV2",
    "location": "GetBucketLocation",
    "delete-objects": "DeleteObjects",
    "copy": "CopyObject",
    "multipart": "CreateMultipartUpload",
}
"""
Probes that show whether an operation exists, and its name in profiles.
"""


def claims(profile: Profile, found: Profile) -> Iterator[Claim]:
    """
    Yield every claim of a profile.

    Args:
        found: The service path as it was found, and whether Signature V2 covers it.
    """
    yes, no = Verdict.YES, Verdict.NO
    is_found = yes if profile.service_path == found.service_path else no
    yield Claim(SERVICE_PATH, is_found, 4 if profile.service_path else 0, 4, "add its path to the url")
    if found.service_path:
        signs_alike = profile.signs_service_path == found.signs_service_path
        yield Claim(SIGNS_SERVICE_PATH, yes if signs_alike else no, 1, 4, "Signature V2 covers another path")
    if profile.date_form is DateForm.DATE:
        yield Claim("v2-amz-date", no, 2, 1, "only Date is sent, which is accepted as well")
    else:
        yield Claim("v2-amz-date", yes, 0, 2, "Signature V2 is sent with x-amz-date")
    if profile.escapes_plus or profile.target is not None:
        yield Claim("key-plus", no, 2, 1, "+ is sent as %2B, which means the same")
    else:
        yield Claim("key-plus", yes, 0, 2, "a key with a plus becomes another key")
    yield from _claims_about_bodies(profile)
    yield from _claims_about_responses(profile)
    yield from _claims_about_writes(profile)
    yield from _claims_beside_s3(profile)


def _claims_about_bodies(profile: Profile) -> Iterator[Claim]:
    yes, no = Verdict.YES, Verdict.NO
    if profile.takes_checksums:
        yield Claim("crc32", yes, 0, 4, "uploads with checksums fail")
        yield Claim("crc32-wrong-refused", yes, 1, 1, "checksums are sent, but not verified there")
    else:
        yield Claim("crc32-wrong-refused", no, 1, 1, "checksums are dropped once verified, though it would verify them")
    if profile.sends_expect:
        yield Claim("continue", yes, 0, 1, "each large upload waits a second for 100 Continue")
    if profile.proves_tail:
        for name in TAIL_NAMES:
            yield Claim(name, yes, 0, 4, 'commit = "spool" is needed')


def _claims_about_responses(profile: Profile) -> Iterator[Claim]:
    yes, no = Verdict.YES, Verdict.NO
    if profile.error_codes:
        yield Claim("no-such-key", no, 1, 0, "its error codes are those of S3")
    else:
        yield Claim("no-such-key", yes, 0, 1, "its error codes are relayed unchanged")
    if profile.mends_reads:
        yield Claim("range", no, 1, 0, "its ranges need no correction")
    else:
        yield Claim("range", yes, 0, 2, "ranges are relayed unchanged")
    for probe, is_so in profile.facts.items():
        yield Claim(probe, yes if is_so else no, 2, 2, "it is another version of the storage system")
    if profile.lists_v1:
        yield Claim("list-v2", no, 1, 1, "lists are requested with ListObjects, version 1")
    for probe, operation in OPERATIONS.items():
        if operation not in profile.taken_operations:
            yield Claim(probe, no, 1, 1, "clients get 501, though the storage system has it")
        elif operation not in profile.operations:
            yield Claim(probe, no, 1, 1, "it is carried out as several requests, though the storage system has it")
        elif not (profile.lists_v1 and probe == "list-v2"):
            yield Claim(probe, yes, 0, 1, "it is sent, and fails")
    if "CreateMultipartUpload" in profile.operations:
        # No profile mends it, so it does not distinguish profiles.
        yield Claim("multipart-etag", yes, 0, 0, "its entity tag is different")


@dataclass(frozen=True, slots=True)
class _Quirk:
    """
    A deviation from S3 that some profiles correct.

    Attributes:
        probe: Its verdict is no if the storage system deviates.
        operation: Without it nothing is expected.
        is_of: Whether a profile corrects it.
        needless: The consequence if a profile corrects it and the storage system does not deviate.
        missed: The consequence if the storage system deviates and a profile does not correct it.
    """

    probe: str
    operation: str
    is_of: Callable[[Profile], bool]
    needless: str
    missed: str

    @property
    def weight(self) -> int:
        """
        The points for and against a profile: 0 if several storage systems deviate alike, because it identifies none.
        """
        return 1 if sum(map(self.is_of, PROFILES.values())) == 1 else 0


_QUIRKS = (
    _Quirk(
        "put-quoted-tag",
        "PutObject",
        lambda profile: profile.bare_write_tags,
        "entity tags of conditions are sent without quotation marks",
        "uploads with If-Match are refused",
    ),
    _Quirk(
        "complete-etag",
        "CompleteMultipartUpload",
        lambda profile: profile.omits_etags,
        "the ETag is filled in, though it is there",
        "clients get no ETag",
    ),
    _Quirk(
        "copy-source-conditions",
        "CopyObject",
        lambda profile: profile.misreads_sources,
        "they are evaluated with a HEAD before the copy",
        "they are sent unchanged",
    ),
    _Quirk(
        "part-source-conditions",
        "UploadPartCopy",
        lambda profile: profile.misreads_sources,
        "they are evaluated with a HEAD before the copy",
        "they are sent unchanged",
    ),
    _Quirk(
        "part-copy-percent",
        "UploadPartCopy",
        lambda profile: profile.refused_part_sources is not None and bool(profile.refused_part_sources.search(b"%")),
        "such a source is refused, though it is read correctly",
        "another object is copied",
    ),
)


def _claims_about_writes(profile: Profile) -> Iterator[Claim]:
    for quirk in _QUIRKS:
        if quirk.is_of(profile):
            yield Claim(quirk.probe, Verdict.NO, quirk.weight, quirk.weight, quirk.needless)
        elif quirk.operation in profile.operations:
            yield Claim(quirk.probe, Verdict.YES, 0, quirk.weight, quirk.missed)
    for probe, operation in SUBRESOURCES.items():
        if operation.name in profile.operations:
            # Nearly every storage system ignores some, so they do not distinguish profiles.
            yield Claim(probe, Verdict.YES, 0, 0, "it is sent, and carried out as another operation")


def _claims_beside_s3(profile: Profile) -> Iterator[Claim]:
    yes, no = Verdict.YES, Verdict.NO
    for segment in sorted({name for known in PROFILES.values() for name in known.reserved_segments}):
        told = segment.decode()
        if segment in profile.reserved_segments:
            yield Claim(surface_name(segment), yes, 2, 1, f"a bucket called {told} cannot be reached")
        else:
            yield Claim(surface_name(segment), no, 0, 1, f"clients can reach /{told}")
    for server in SERVERS:
        if server == profile.server:
            yield Claim(server_name(server), yes, 4, 1, "a proxy may replace the header")
        else:
            yield Claim(server_name(server), no, 0, 1, "another profile is for what calls itself so")
    if profile.health is not ANY_BELOW_500:
        # Many refuse HEAD of the root in the same way; few have a health page of their own.
        weight = 4 if profile.health.path.strip(b"/") else 0
        yield Claim(health_name(profile.health), yes, weight, 2, "set `health` if there are several `urls`")


def _responses(findings: Mapping[str, Finding]) -> dict[str, Verdict]:
    """
    Return the verdicts that distinguish profiles.
    """
    verdicts = {name: finding.verdict for name, finding in findings.items()}
    if Verdict.YES not in {verdicts.get("v2-amz-date"), verdicts.get("v2-date")}:
        # Without any Signature V2 this shows nothing.
        verdicts["v2-amz-date"] = Verdict.UNCLEAR
    return {**verdicts, SERVICE_PATH: Verdict.YES, SIGNS_SERVICE_PATH: Verdict.YES}


def fits(findings: Mapping[str, Finding], found: Profile) -> list[Fit]:
    """
    Return every profile, the best first. Of two equal ones, the one that is declared first comes first.

    Args:
        findings: The findings by name of the probe. An unclear one counts neither way.
        found: The service path as it was found, and whether Signature V2 covers it.
    """
    verdicts = _responses(findings)
    fitted = []
    for profile in PROFILES.values():
        told = [
            (claim, verdicts[claim.probe])
            for claim in claims(profile, found)
            if verdicts.get(claim.probe, Verdict.UNCLEAR) is not Verdict.UNCLEAR
        ]
        confirmed = tuple(claim for claim, verdict in told if verdict is claim.expected)
        denied = tuple(claim for claim, verdict in told if verdict is not claim.expected)
        fitted.append(Fit(profile, confirmed, denied))
    return sorted(fitted, key=lambda fit: -fit.score)


def proves_tail(findings: Mapping[str, Finding], profile: Profile) -> bool:
    """
    Return True if every finding shows that a body that is reset before its end is dropped. Of parts nothing must be
    shown if s3proxy keeps them itself.
    """
    names = [name for name in TAIL_NAMES if not (profile.lacks_multipart and name == PART_NAME)]
    return all(name in findings and findings[name].verdict is Verdict.YES for name in names)


def proves_fin(findings: Mapping[str, Finding]) -> bool:
    """
    Return True if the findings show the same for a body that ends with FIN.
    """
    return all(findings[name].verdict is Verdict.YES for name in ("fin-drops", "fin-keeps-former") if name in findings)
