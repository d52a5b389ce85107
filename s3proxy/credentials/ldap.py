"""
Client keys in an LDAP directory: ``ldap://HOST[:PORT]/BASE_DN`` and ``ldaps://``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from twisted.internet.defer import Deferred, fail
from twisted.internet.endpoints import wrapClientTLS
from zope.interface import implementer

from s3proxy.backend.endpoints import BadTLSFiles, TLSFiles, make_endpoint, verifying_tls
from s3proxy.configuration.options import LDAPSettings
from s3proxy.configuration.secrets import read_secret_file, read_secret_variable
from s3proxy.configuration.tables import Fault, Faults
from s3proxy.credentials.cache import CachedCredentials
from s3proxy.credentials.ldap_connection import Login, NoAnswer, printable
from s3proxy.credentials.ldap_entry import ASKED_ATTRIBUTES, KEY_ATTRIBUTE, OBJECT_CLASS, read_entry
from s3proxy.credentials.ldap_link import OPEN_TIME, LDAPLink
from s3proxy.credentials.ldap_messages import Entry
from s3proxy.credentials.source import KeyRules
from s3proxy.interfaces import ICredentialOrigin, KeyQuestion
from s3proxy.s3.credential import Credential

DEFAULT_PORTS = {"ldap": 389, "ldaps": 636}


@dataclass(frozen=True, slots=True)
class LDAPAddress:
    """
    The URL of a directory, parsed.

    Attributes:
        host: The host name or address, without the brackets of an IPv6 address.
        base: The distinguished name below which the keys are.
    """

    scheme: str
    host: str
    port: int
    base: str

    @property
    def server(self) -> str:
        """
        The server in messages.
        """
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"

    @property
    def is_tls(self) -> bool:
        """
        Whether a connection begins with TLS.
        """
        return self.scheme == "ldaps"

    @property
    def is_loopback(self) -> bool:
        """
        Whether nothing that is sent to the server leaves this machine.
        """
        if self.host == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False


def parse_address(url: str) -> LDAPAddress:
    """
    Return the parts of a URL.

    Raises:
        Faults: It names no host or no base, or has parts that are not used. Nothing of it is in the text.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
        base = unquote(parts.path[1:], errors="strict")
    except ValueError:
        raise _fault("source", "the URL is not valid") from None
    if "@" in parts.netloc:
        raise _fault("source", "must not contain credentials; use bind_dn and password_file")
    if not parts.hostname or port == 0:
        raise _fault("source", "the URL names no host, or no possible port")
    if "=" not in base or not base.isprintable():
        raise _fault("source", "the URL must end with the DN below which the keys are, like /ou=people,dc=example")
    if "?" in url or "#" in url:
        raise _fault("source", "only a host, a port and a DN are used of the URL; a question mark in a DN is %3F")
    return LDAPAddress(parts.scheme, parts.hostname, port or DEFAULT_PORTS[parts.scheme], base)


@implementer(ICredentialOrigin)
class LDAPOrigin:
    """
    The keys below one entry of a directory.

    Args:
        address: Where the directory is.
        login: How a connection begins.
        tls: Makes the TLS connections of a server whose connections begin with TLS; None for others.
        rules: The rules for keys.
    """

    def __init__(self, address: LDAPAddress, login: Login, tls: Any, rules: KeyRules) -> None:
        self._address = address
        self._login = login
        self._tls = tls
        self._rules = rules
        self._link: LDAPLink | None = None

    def start(self, reactor: Any, changed: Callable[[bytes | None], None]) -> None:
        """
        Begin to connect. A directory says nothing of changes.
        """
        address = self._address
        endpoint = make_endpoint(reactor, address.host, address.port, OPEN_TIME)
        if self._tls is not None:
            endpoint = wrapClientTLS(self._tls, endpoint)
        self._link = LDAPLink(reactor, endpoint, self._login)
        self._link.connect()

    def stop(self) -> Deferred[None] | None:
        """
        Close the connection.
        """
        return None if self._link is None else self._link.stop()

    def identify(self, question: KeyQuestion) -> Hashable:
        """
        Return the access key id: an entry describes a key for every scope.
        """
        return question.access_key_id

    def fetch(self, question: KeyQuestion) -> Deferred[Credential | None]:
        """
        Search for the entry of a key.
        """
        if self._link is None:
            return fail(NoAnswer("the source was not started"))
        equal = {"objectClass": OBJECT_CLASS.encode(), KEY_ATTRIBUTE: question.access_key_id}
        return self._link.search(self._address.base, equal, ASKED_ATTRIBUTES).addCallback(self._read)

    def _read(self, entries: list[Entry]) -> Credential | None:
        if not entries:
            return None
        if len(entries) > 1:
            # None of them is more right than the other.
            names = " and ".join(printable(entry.name) for entry in entries)
            raise Faults([Fault(KEY_ATTRIBUTE, f"two entries have it: {names}")])
        return read_entry(entries[0], self._rules)


def open_ldap(url: str, directory: Path, rules: KeyRules) -> CachedCredentials:
    """
    Open the source ``ldap://HOST[:PORT]/BASE_DN`` or ``ldaps://HOST[:PORT]/BASE_DN``.

    Raises:
        Faults: The URL or an option of it has errors, or a file cannot be read.
    """
    address, settings = parse_address(url), rules.options.ldap
    starts_tls = not address.is_tls and (not address.is_loopback if settings.start_tls is None else settings.start_tls)
    if address.is_tls and settings.start_tls is not None:
        raise _fault("ldap.start_tls", "has no effect on ldaps://, which begins with TLS")
    if settings.ca_file is not None and not address.is_tls and not starts_tls:
        raise _fault("ldap.ca_file", "has no effect without TLS; set start_tls = true")
    tls = None
    if address.is_tls or starts_tls:
        files = TLSFiles(ca_file=None if settings.ca_file is None else str(directory / settings.ca_file))
        try:
            tls = verifying_tls(files, address.host)
        except BadTLSFiles as error:
            # Without a file, the host cannot be a name.
            raise _fault("source" if settings.ca_file is None else "ldap.ca_file", str(error)) from None
    password, secret_files = _read_password(settings, directory, os.environ)
    login = Login(
        server=address.server,
        name=settings.bind_dn,
        password=password,
        start_tls=tls if starts_tls else None,
        silence=rules.cache.patience / 2,
    )
    origin = LDAPOrigin(address, login, tls if address.is_tls else None, rules)
    return CachedCredentials(origin, rules, address.server, secret_files)


def _read_password(
    settings: LDAPSettings, directory: Path, environment: Mapping[str, str]
) -> tuple[str, tuple[Path, ...]]:
    """
    Return the password of the bind DN, and the files with secrets that were read.
    """
    file, variable = settings.password_file, settings.password_env
    if settings.bind_dn is None:
        if file is not None or variable is not None:
            raise _fault("ldap.bind_dn", "is required if there is a password")
        return "", ()
    if (file is None) == (variable is None):
        # Many servers accept a bind without a password, as anonymous.
        raise _fault("ldap.bind_dn", "exactly one of password_file, password_env is required with it")
    if file is not None:
        return read_secret_file(directory / file, "credentials.ldap.password_file"), (directory / file,)
    return read_secret_variable(str(variable), "credentials.ldap.password_env", environment), ()


def _fault(option: str, message: str) -> Faults:
    return Faults([Fault(f"credentials.{option}", message)])
