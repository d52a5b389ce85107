"""
Which backend gets a request, and which key of ours signs it there.
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

_OTHER_STORAGE = "The source of this copy is on another storage than its target."


class Routing:
    """
    Chooses the backend of each request.

    Args:
        backends: By name; the first is the default.
        routes: Patterns of buckets and the name of their backend; the first which matches holds.
        keys: Further keys of ours by name, each with the name of its backend.
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
        Return the backend for a request, with the key which signs for its client there.

        Raises:
            NotImplementedByProxy: It is a copy, and its source is at another backend.
            AccessDenied: Its bucket is at a backend where its client has no key.
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
            # An access point is not a bucket: the target's backend knows what it is, and nobody else is asked.
            if bucket is not None and self._route(bucket, home).name != chosen.name:
                raise NotImplementedByProxy(_OTHER_STORAGE, Header="x-amz-copy-source")
        if credential.backend_keys and chosen is not home:
            return self._with_key_of(credential, chosen)
        return chosen

    def _add_route(self, pattern: str, backend: Backend) -> None:
        if is_wild(pattern):
            self._patterns.append((compile_pattern(pattern), backend))
        elif not any(former.fullmatch(pattern) for former, _ in self._patterns):
            # No former pattern has it, and later ones do not matter: it is found at once, however many names there are.
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
        Return where the requests of a key go which no route sends elsewhere.
        """
        try:
            if credential.backend is None:
                return self._of_key[credential.backend_keys[0]]
            pinned = self._backends[credential.backend]
        except KeyError as error:
            # A keys file is held against the configuration when it is read; other sources are not.
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
        # Our own key there may do more than any of this client's.
        raise AccessDenied


def _with_key(backend: Backend, key: BackendKey) -> Backend:
    """
    Return a backend, its connections the same, for which another key signs.
    """
    return replace(backend, account=replace(backend.account, key=key, signing_keys=SigningKeys(8)))
