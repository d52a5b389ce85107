"""
What a storage system serves besides S3: first path segments that are not buckets, health pages, and its name.
"""

from __future__ import annotations

from s3proxy.doctor.storage import Storage
from s3proxy.doctor.verdict import Examine, Judgement, Probe, judge, unclear
from s3proxy.profiles.known import PROFILES
from s3proxy.profiles.profile import ANY_BELOW_500, HealthRequest
from s3proxy.resign.account import SignatureVersion

_NO_BUCKET = frozenset({"NoSuchBucket", "InvalidBucketName", "NoSuchEntity"})

# MinIO's code for its own paths. Others respond with AccessDenied to a bucket of another user.
_RESERVED = frozenset({"AllAccessDisabled"})


def surface_name(segment: bytes) -> str:
    """
    Return the name of the probe of a first path segment.
    """
    return f"surface-{segment.decode()}"


def health_name(health: HealthRequest) -> str:
    """
    Return the name of the probe of a profile's health request.
    """
    path = health.path.decode().strip("/").replace("/", "-")
    return "-".join(filter(None, ["health", health.method.decode().lower(), path, *map(str, sorted(health.statuses))]))


def server_name(server: bytes) -> str:
    """
    Return the name of the probe of a profile's Server header.
    """
    return f"server-{server.decode().lower().replace(' ', '-')}"


def _is_surface(segment: bytes) -> Examine:
    """
    Return a probe that requests a bucket of that name, signed, and unsigned beside an absent bucket.
    """

    async def examine(storage: Storage) -> Judgement:
        signed = await storage.ask(b"GET", b"/" + segment)
        if b"ListBucketResult" in signed.content:
            return judge(False, "a bucket of this name exists")
        if not signed.code or signed.code in _RESERVED:
            return judge(True, str(signed))
        nobody = storage.account(SignatureVersion.NONE)
        for rest in (b"", b"/x"):
            unsigned = await storage.ask(b"GET", b"/" + segment + rest, account=nobody)
            absent = await storage.ask(b"GET", b"/" + storage.absent_bucket.encode() + rest, account=nobody)
            if unsigned.status != absent.status and not unsigned.code:
                return judge(True, f"{signed}, unsigned {unsigned}, but an absent bucket gets {absent}")
        if signed.code not in _NO_BUCKET:
            return unclear(f"{signed}: it may be another user's bucket")
        return judge(False, str(signed))

    return examine


def _is_healthy(health: HealthRequest) -> Examine:
    async def examine(storage: Storage) -> Judgement:
        target = storage.service_path + health.path or b"/"
        response = await storage.ask(health.method, target, account=storage.account(SignatureVersion.NONE))
        return judge(health.is_healthy(response.status), str(response))

    return examine


def _calls_itself(server: bytes) -> Examine:
    async def examine(storage: Storage) -> Judgement:
        response = await storage.ask(b"GET", storage.service_target())
        told = response.fields.value(b"server") or b"none"
        return judge(told.startswith(server), f"Server {told.decode('latin-1')}")

    return examine


def _about(health: HealthRequest) -> str:
    statuses = " or ".join(map(str, sorted(health.statuses))) or "below 500"
    path = health.path.decode() or "the service path"
    return f"{health.method.decode()} of {path}, unsigned, gets {statuses}"


_SEGMENTS = sorted({segment for profile in PROFILES.values() for segment in profile.reserved_segments})
SERVERS = sorted({profile.server for profile in PROFILES.values()} - {b""})
_HEALTH = {health_name(profile.health): profile.health for profile in PROFILES.values()}

PROBES = (
    *(Probe(surface_name(name), f"/{name.decode()} is not a bucket", _is_surface(name)) for name in _SEGMENTS),
    *(
        Probe(name, _about(health), _is_healthy(health))
        for name, health in _HEALTH.items()
        if health is not ANY_BELOW_500
    ),
    *(
        Probe(server_name(server), f"the Server header is {server.decode()}", _calls_itself(server))
        for server in SERVERS
    ),
)
"""
One for each segment that some profile reserves, each health request of some profile, and each Server header of one.
"""
