"""
Choose the backend of a request, and the backend key that signs it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace

from twisted.logger import Logger

from s3proxy.authentication.verdict import Authenticated
from s3proxy.backend.backend import Backend
from s3proxy.profiles.profile import BackendKey
from s3proxy.s3.address import Address
from s3proxy.s3.bucket_pattern import compile_pattern, is_wild
from s3proxy.s3.copy_source import copy_source_bucket
from s3proxy.s3.credential import Credential
from s3proxy.s3.errors import AccessDenied, InternalError, NotImplementedByProxy
from s3proxy.s3.head import RequestHead
from s3proxy.sigv4.signing_key import SigningKeys

_OTHER_STORAGE = "The source of this copy is on another backend than its target."


class Routing:
    """
    Chooses the backend of each request.

    Args:
        backends: The backends by name; the first is the default.
        routes: Bucket patterns, each with the name of a backend; the first pattern that matches is used.
        keys: Further backend keys by name, each with the name of its backend.
    """

    _log = Logger()

    def __init__(
        self,
        backends: Mapping[str, Backend],
        routes: Iterable[tuple[Iterable[str], str]] = (),
        keys: Mapping[str, tuple[str, BackendKey]] | None = None,
    ) -> None:
        self._backends = backends
        self._default = next(iter(backends.values()))
        self._names: dict[bytes, Backend] = {}
        self._patterns: list[tuple[re.Pattern[str], Backend]] = []
        for patterns, name in routes:
            for pattern in patterns:
                self._add_route(pattern, backends[name])
        self._has_routes = bool(self._names or self._patterns)
        self._of_key = {name: _with_key(backends[at], key) for name, (at, key) in (keys or {}).items()}

    def choose(self, head: RequestHead, address: Address, authenticated: Authenticated) -> Backend:
        """
        Return the backend for a request, with the key that signs for its client there.

        Raises:
            NotImplementedByProxy: The request is a copy, and its source is at another backend.
            AccessDenied: The bucket is at a backend for which the client has no key.
        """
        credential = authenticated.credential
        if credential.backend_keys or credential.backend is not None:
            home = self._home(credential)
        else:
            home = self._default
        if not self._has_routes or credential.backend is not None:
            return home
        chosen = self._route(address.bucket, home)
        for source in head.fields.get(b"x-amz-copy-source", ()):
            bucket = copy_source_bucket(source)
            # An access point is not a bucket. The target's backend resolves it; no other backend is used.
            if bucket is not None and self._route(bucket, home).name != chosen.name:
                raise NotImplementedByProxy(_OTHER_STORAGE, Header="x-amz-copy-source")
        if credential.backend_keys and chosen is not home:
            return self._with_key_of(credential, chosen)
        return chosen

    def _add_route(self, pattern: str, backend: Backend) -> None:
        if is_wild(pattern):
            self._patterns.append((compile_pattern(pattern), backend))
        elif not any(former.fullmatch(pattern) for former, _ in self._patterns):
            # No earlier pattern matches this name, and later ones do not matter. A dict finds it at once, however many
            # names there are.
            self._names.setdefault(pattern.encode(), backend)

    def _route(self, bucket: bytes, home: Backend) -> Backend:
        if not bucket:
            return home
        named = self._names.get(bucket)
        if named is not None:
            return named
        if self._patterns:
            name = bucket.decode("utf-8", "replace")
            for pattern, backend in self._patterns:
                if pattern.fullmatch(name) is not None:
                    return backend
        return home

    def _home(self, credential: Credential) -> Backend:
        """
        Return the backend for those requests of a key that match no route.
        """
        try:
            if credential.backend is None:
                return self._of_key[credential.backend_keys[0]]
            pinned = self._backends[credential.backend]
        except KeyError as error:
            # A keys file is checked against the configuration when it is read; other sources are not.
            self._log.error(
                "key {access_key_id} names {name}, which the configuration does not have",
                access_key_id=credential.access_key_id,
                name=error.args[0],
            )
            raise InternalError from None
        return self._with_key_of(credential, pinned) if credential.backend_keys else pinned

    def _with_key_of(self, credential: Credential, chosen: Backend) -> Backend:
        for name in credential.backend_keys:
            backend = self._of_key.get(name)
            if backend is not None and backend.name == chosen.name:
                return backend
        # The backend's own key may have more rights than any key of this client.
        raise AccessDenied


def _with_key(backend: Backend, key: BackendKey) -> Backend:
    """
    Return the same backend, with the same connections, but with another key for signing.
    """
    return replace(backend, account=replace(backend.account, key=key, signing_keys=SigningKeys(8)))
