"""
The ACLs of a `LegacyStore`: canned ACLs, documents, and the rights of anonymous requests.
"""

from __future__ import annotations

from typing import Any

from s3proxy.testing.legacy_messages import XSI_NAMESPACE, Refusal, element

OWNER_ID = "1"
OWNER = f"{element('ID', OWNER_ID)}{element('DisplayName', 'legacy')}"
ALL_USERS = "http://acs.amazonaws.com/groups/global/AllUsers"
_AUTHENTICATED_USERS = "http://acs.amazonaws.com/groups/global/AuthenticatedUsers"

Grants = list[list[str]]
"""
Pairs of a grantee and a permission.
"""

_CANNED: dict[str, Grants] = {
    "private": [],
    "public-read": [[ALL_USERS, "READ"]],
    "public-read-write": [[ALL_USERS, "READ"], [ALL_USERS, "WRITE"]],
    "authenticated-read": [[_AUTHENTICATED_USERS, "READ"]],
    "bucket-owner-read": [],
    "bucket-owner-full-control": [],
    "aws-exec-read": [],
    "log-delivery-write": [],
}


def canned_grants(name: bytes | None) -> Grants:
    """
    Return the grants of a canned ACL, including the grant of the owner.

    Args:
        name: The value of x-amz-acl; None for ``private``.

    Raises:
        Refusal: InvalidArgument: there is no such canned ACL.
    """
    grants = _CANNED.get((name or b"private").decode("latin-1"))
    if grants is None:
        raise Refusal(400, "InvalidArgument", "Invalid canned-acl")
    return [[OWNER_ID, "FULL_CONTROL"], *grants]


def read_grants(root: Any) -> Grants:
    """
    Return the grants of an AccessControlPolicy document.

    Args:
        root: The root element, without namespaces.
    """
    return [
        [grant.findtext("Grantee/URI") or grant.findtext("Grantee/ID") or "", grant.findtext("Permission") or ""]
        for grant in root.iter("Grant")
    ]


def write_grants(grants: Grants) -> str:
    """
    Return the grants as the content of an AccessControlPolicy.
    """
    parts = []
    for grantee, permission in grants or canned_grants(None):
        is_group = grantee.startswith("http:")
        name = element("URI", grantee) if is_group else f"{element('ID', grantee)}{element('DisplayName', 'legacy')}"
        kind = "Group" if is_group else "CanonicalUser"
        parts.append(
            f'<Grant><Grantee xmlns:xsi="{XSI_NAMESPACE}" xsi:type="{kind}">{name}</Grantee>'
            f"{element('Permission', permission)}</Grant>"
        )
    return f"<Owner>{OWNER}</Owner><AccessControlList>{''.join(parts)}</AccessControlList>"


def lets_anybody(grants: Grants, permission: str) -> bool:
    """
    Return True if the group AllUsers has a permission.
    """
    return any(grantee == ALL_USERS and given in {permission, "FULL_CONTROL"} for grantee, given in grants)
