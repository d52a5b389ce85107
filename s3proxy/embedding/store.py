"""
An application's own store of keys, as a source of the daemon.
"""

from __future__ import annotations

from collections.abc import Collection, Container
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from zope.interface import implementer
from zope.interface.verify import verifyObject

from s3proxy.interfaces import ICredentialSource, ICredentialStore
from s3proxy.s3.credential import Credential


@implementer(ICredentialSource)
class StoreSource:
    """
    A store that is asked for keys, and for nothing else: it is neither started nor stopped, and its keys are not
    listed.

    Its keys may have session tokens. If a request has another token than its key, S3 distinguishes the token of another
    key (InvalidAccessKeyId) from one that was never issued (InvalidToken). With such a store it is always the latter.
    """

    session_tokens: Container[bytes] = frozenset()
    secret_files: Collection[Path] = ()

    def __init__(self, store: ICredentialStore) -> None:
        self._store = store

    def look_up(self, access_key_id: bytes) -> Deferred[Credential | None] | Credential | None:
        return self._store.look_up(access_key_id)

    def start(self, reactor: Any) -> None:
        pass

    def stop(self) -> None:
        pass

    def list_credentials(self) -> None:
        pass


def as_source(store: ICredentialStore) -> ICredentialSource:
    """
    Return an application's store as a source. If it says that it is an ICredentialSource, it is returned itself.

    Raises:
        zope.interface.Invalid: It does not look up keys.
    """
    if ICredentialSource.providedBy(store):
        source: ICredentialSource = store
        return source
    verifyObject(ICredentialStore, store, tentative=True)
    return StoreSource(store)
