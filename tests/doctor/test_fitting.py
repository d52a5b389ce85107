"""
The doctor chooses the profile that fits by the data of each profile.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from s3proxy.doctor.commits import TAIL_NAMES
from s3proxy.doctor.conditions import CONDITIONS
from s3proxy.doctor.examination import ROOMS
from s3proxy.doctor.fitting import OPERATIONS, SERVICE_PATH, SIGNS_SERVICE_PATH, claims, fits, proves_tail
from s3proxy.doctor.subresources import SUBRESOURCES
from s3proxy.doctor.surfaces import server_name
from s3proxy.doctor.verdict import Finding, Verdict
from s3proxy.profiles.known import PROFILES
from s3proxy.profiles.profile import Profile

PROBE_NAMES = [probe.name for _, probes in ROOMS for probe in probes]


def as_told(profile: Profile, **others: Verdict) -> dict[str, Finding]:
    """
    Findings for a storage system that matches a profile, with some exceptions.
    """
    verdicts = {claim.probe: claim.expected for claim in claims(profile, profile)} | {"v2-date": Verdict.YES, **others}
    return {name: Finding(name, name, verdict, "") for name, verdict in verdicts.items()}


@pytest.mark.parametrize("name", PROFILES)
def test_each_profile_fits_its_own_kind(name: str) -> None:
    """
    A storage system that matches a profile gets that profile, and no finding contradicts it. No profile with other
    claims is as good.
    """
    profile = PROFILES[name]

    found = fits(as_told(profile), profile)

    best = {fit.profile.name: fit for fit in found if fit.score == found[0].score}
    assert best[name].denied == ()
    for other in best.values():
        assert list(claims(other.profile, profile)) == list(claims(profile, profile))
    assert len(found) == len(PROFILES)


@pytest.mark.parametrize("name", ["walrus-3.4", "walrusbackend-4.x", "osg-4.3"])
def test_versions_of_one_family_are_told_apart(name: str) -> None:
    """
    By their behaviour, whatever their path is.
    """
    profile = replace(PROFILES[name], service_path=b"/elsewhere")
    findings = {probe: finding for probe, finding in as_told(profile).items() if not probe.startswith("surface-")}

    found = [fit.profile.name for fit in fits(findings, profile)]

    assert found[0] == name


def test_what_several_do_identifies_none() -> None:
    """
    A storage system that ignores what many ignore, and misreads what several misread, matches none of them.
    """
    generic = PROFILES["generic"]
    common = [*SUBRESOURCES, *(each.name for each in CONDITIONS), "copy-source-conditions", "part-source-conditions"]

    found = fits(as_told(generic, **dict.fromkeys(common, Verdict.NO)), generic)

    assert found[0].profile is generic
    assert found[0].score > found[1].score


@pytest.mark.parametrize("flag", ["bare_write_tags", "omits_etags", "refused_part_sources"])
def test_what_one_alone_does_identifies_it(flag: str) -> None:
    """
    Each of them counts for the one profile that has it, and against the others.
    """
    (profile,) = (each for each in PROFILES.values() if getattr(each, flag))
    probe = {"bare_write_tags": "put-quoted-tag", "omits_etags": "complete-etag"}.get(flag, "part-copy-percent")
    points = {}
    for verdict in (Verdict.YES, Verdict.NO):
        findings = {probe: Finding(probe, probe, verdict, "")}
        points[verdict] = {fit.profile.name: fit.score for fit in fits(findings, profile)}

    assert points[Verdict.NO][profile.name] > points[Verdict.YES][profile.name]
    assert points[Verdict.NO]["generic"] < points[Verdict.YES]["generic"]


def test_a_name_tells_a_storage_unless_a_proxy_hides_it() -> None:
    """
    Nothing but its name distinguishes versitygw from all others.
    """
    profile = PROFILES["versitygw"]

    assert fits(as_told(profile), profile)[0].profile is profile
    hidden = as_told(profile, **{server_name(profile.server): Verdict.NO})
    assert fits(hidden, profile)[0].profile is PROFILES["generic"]


def test_what_nobody_looked_at_counts_for_nobody() -> None:
    """
    Without findings no profile is better than the first.
    """
    assert fits({}, PROFILES["generic"])[0].profile.name == "generic"
    unclear = {name: Finding(name, name, Verdict.UNCLEAR, "") for name in PROBE_NAMES}
    assert [fit.score for fit in fits(unclear, PROFILES["generic"])] == [
        fit.score for fit in fits({}, PROFILES["generic"])
    ]


def test_a_storage_without_signature_v2_tells_nothing_by_refusing_it() -> None:
    """
    Its refusal of x-amz-date says nothing about forms of dates.
    """
    generic = PROFILES["generic"]
    refused = {"v2-amz-date": Verdict.NO, "v2-date": Verdict.NO}

    found = fits(as_told(generic) | as_told(generic, **refused), generic)

    assert found[0].profile is generic
    assert found[0].denied == ()


def test_every_claim_is_looked_at() -> None:
    """
    Each claim of a profile has a probe, and no two probes have the same name.
    """
    known = {*PROBE_NAMES, SERVICE_PATH, SIGNS_SERVICE_PATH}

    for profile in PROFILES.values():
        for found in PROFILES.values():
            assert {claim.probe for claim in claims(profile, found)} <= known
    assert len(set(PROBE_NAMES)) == len(PROBE_NAMES)
    assert known >= {*TAIL_NAMES, *OPERATIONS}


@pytest.mark.parametrize("name", TAIL_NAMES)
@pytest.mark.parametrize("verdict", [Verdict.NO, Verdict.UNCLEAR, None])
def test_tail_needs_every_proof(name: str, verdict: Verdict | None) -> None:
    """
    If one cut body was stored, or if its result is unclear, ``tail`` is not proven.
    """
    findings = {one: Finding(one, one, Verdict.YES, "") for one in TAIL_NAMES}
    assert proves_tail(findings, PROFILES["generic"])

    if verdict is None:
        del findings[name]
    else:
        findings[name] = Finding(name, name, verdict, "")

    assert not proves_tail(findings, PROFILES["generic"])
    # s3proxy keeps the parts itself.
    assert proves_tail(findings, PROFILES["walrus-3.4"]) is (name == "reset-drops-part")


def test_every_probe_has_its_line() -> None:
    """
    The page of the docs explains each name.
    """
    page = (Path(__file__).parents[2] / "docs/howto/doctor.md").read_text("utf-8")
    named = set(re.findall(r"^\| (`.*?`) \|", page, re.MULTILINE))
    names = {name for line in named for name in re.findall(r"`([a-z0-9-]+)(?:…)?`", line)}

    families = ("surface-", "health-", "server-", "subresource-")
    assert {name for name in PROBE_NAMES if not name.startswith(families)} == names.difference(families)
    assert names.issuperset(families)
