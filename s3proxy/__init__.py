"""
A Twisted reverse proxy for S3: it authenticates as S3 does, verifies every byte as it streams, and signs each request
again for the backend.

The names of `__all__` are what an application needs. Each is imported when it is first used, so that ``import s3proxy``
costs little, and the parts without I/O can be used without Twisted.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from s3proxy.s3.version import __version__

if TYPE_CHECKING:
    from s3proxy.authentication.reading import read_claim
    from s3proxy.authentication.realm import Realm
    from s3proxy.authentication.verdict import Authenticated, verify_claim
    from s3proxy.authorization.access_request import AccessRequest
    from s3proxy.authorization.accesses import Access, Scope
    from s3proxy.awschunked.checksums import parse_body_digests
    from s3proxy.awschunked.decoder import AwsChunkedDecoder
    from s3proxy.backend.agent import BackendAgent
    from s3proxy.backend.pool import Pool
    from s3proxy.backend.request import BackendLimits
    from s3proxy.configuration.loading import load_settings, make_settings
    from s3proxy.daemon.service import ProxyService
    from s3proxy.embedding.resource import authenticated
    from s3proxy.frontend.resource import S3Resource
    from s3proxy.frontend.site import S3Site
    from s3proxy.interfaces import (
        IAuthenticatedRequest,
        IAuthorizer,
        ICredentialSource,
        ICredentialStore,
        IStreamedRequest,
        IStreamedResource,
    )
    from s3proxy.s3.address import parse_address
    from s3proxy.s3.credential import Credential
    from s3proxy.s3.errors import AccessDenied, S3Error
    from s3proxy.s3.head import parse_request_head

__all__ = [
    "Access",
    "AccessDenied",
    "AccessRequest",
    "Authenticated",
    "AwsChunkedDecoder",
    "BackendAgent",
    "BackendLimits",
    "Credential",
    "IAuthenticatedRequest",
    "IAuthorizer",
    "ICredentialSource",
    "ICredentialStore",
    "IStreamedRequest",
    "IStreamedResource",
    "Pool",
    "ProxyService",
    "Realm",
    "S3Error",
    "S3Resource",
    "S3Site",
    "Scope",
    "__version__",
    "authenticated",
    "load_settings",
    "make_settings",
    "parse_address",
    "parse_body_digests",
    "parse_request_head",
    "read_claim",
    "verify_claim",
]

_PLACES = {
    "authentication.reading": ("read_claim",),
    "authentication.realm": ("Realm",),
    "authentication.verdict": ("Authenticated", "verify_claim"),
    "authorization.access_request": ("AccessRequest",),
    "authorization.accesses": ("Access", "Scope"),
    "awschunked.checksums": ("parse_body_digests",),
    "awschunked.decoder": ("AwsChunkedDecoder",),
    "backend.agent": ("BackendAgent",),
    "backend.pool": ("Pool",),
    "backend.request": ("BackendLimits",),
    "configuration.loading": ("load_settings", "make_settings"),
    "daemon.service": ("ProxyService",),
    "embedding.resource": ("authenticated",),
    "frontend.resource": ("S3Resource",),
    "frontend.site": ("S3Site",),
    "interfaces": (
        "IAuthenticatedRequest",
        "IAuthorizer",
        "ICredentialSource",
        "ICredentialStore",
        "IStreamedRequest",
        "IStreamedResource",
    ),
    "s3.address": ("parse_address",),
    "s3.credential": ("Credential",),
    "s3.errors": ("AccessDenied", "S3Error"),
    "s3.head": ("parse_request_head",),
}


class _Name:
    """
    A name of this package that is imported from its room when it is first used.
    """

    def __init__(self, room: str, name: str) -> None:
        self._room = room
        self._name = name

    def __get__(self, package: object, kind: type) -> Any:
        found = getattr(import_module(f"s3proxy.{self._room}"), self._name)
        # From now on the package itself has it.
        vars(package)[self._name] = found
        return found


class _Package(ModuleType):
    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *__all__})


for _room, _names in _PLACES.items():
    for _name in _names:
        setattr(_Package, _name, _Name(_room, _name))
sys.modules[__name__].__class__ = _Package
