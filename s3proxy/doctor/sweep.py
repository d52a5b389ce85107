"""
Remove what the probes stored, and list what is left.
"""

from __future__ import annotations

from s3proxy.backend.request import BackendError
from s3proxy.doctor.storage import Storage, Unclear, escape

ROUNDS = 3
"""
How often everything listed is deleted: some storage systems list a deleted key for a moment.
"""


async def sweep(storage: Storage) -> list[str]:
    """
    Delete everything below the prefix, and the bucket if it is ours.

    Returns:
        What still exists, and what could not be listed.
    """
    for target in [*storage.uploads, *storage.made]:
        if target != storage.bucket_target():
            await _delete(storage, target)
    left: list[str] = []
    for number in range(ROUNDS):
        if number:
            await storage.line.pause(sum(storage.patience.look))
        left = await _sweep_once(storage)
        if not left:
            break
    if storage.owns_bucket and storage.bucket_target() in storage.made:
        left += await _remove_bucket(storage)
    return left


async def _sweep_once(storage: Storage) -> list[str]:
    """
    Delete what is listed; return what is listed afterwards.
    """
    for target in (await _listed(storage))[0]:
        await _delete(storage, target)
    targets, faults = await _listed(storage)
    return [target.decode() for target in targets] + faults


async def _listed(storage: Storage) -> tuple[list[bytes], list[str]]:
    """
    Return the target that deletes each object, version and upload below the prefix, and errors of listings.
    """
    prefix = b"prefix=" + escape(storage.prefix)
    targets: list[bytes] = []
    faults: list[str] = []
    listings: list[tuple[bytes, tuple[str, ...], bytes, bytes, bytes]] = [(prefix, ("Key",), b"marker", b"", b"")]
    listings.append((b"uploads&" + prefix, ("Key", "UploadId"), b"key-marker", b"upload-id-marker", b"uploadId"))
    if await _is_versioned(storage):
        listings.append(
            (b"versions&" + prefix, ("Key", "VersionId"), b"key-marker", b"version-id-marker", b"versionId")
        )
    for query, elements, marker, second_marker, name in listings:
        try:
            entries = await storage.list_all(query, elements, marker, second_marker)
        except (BackendError, Unclear) as error:
            # A storage system without multipart uploads, or without a list of them, has none to report.
            if not name:
                faults.append(f"what is left cannot be listed: {error}")
            continue
        for key, *others in entries:
            # A storage system that ignores `prefix` also lists objects that are not ours.
            if key.startswith(storage.prefix):
                path = b"%s/%s/%s" % (storage.service_path, storage.bucket.encode(), escape(key))
                targets.append(b"%s?%s=%s" % (path, name, escape(others[0])) if name else path)
    return targets, faults


async def _is_versioned(storage: Storage) -> bool:
    if storage.owns_bucket:
        return False
    try:
        return bool((await storage.ask(b"GET", storage.bucket_target(b"versioning"))).element("Status"))
    except BackendError:
        return False


async def _delete(storage: Storage, target: bytes) -> None:
    try:
        await storage.ask(b"DELETE", target)
    except BackendError:
        # The listing afterwards shows whether it is gone.
        return


async def _remove_bucket(storage: Storage) -> list[str]:
    try:
        removed = await storage.ask(b"DELETE", storage.bucket_target())
        response = await storage.ask(b"HEAD", storage.bucket_target())
    except BackendError as error:
        return [f"possibly the bucket {storage.bucket}: {error.fault.name.lower()}"]
    return [] if response.status == 404 else [f"the bucket {storage.bucket}: DELETE {removed}, HEAD {response}"]
