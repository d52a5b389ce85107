"""
The names in a client's certificate, and which of them a listener accepts.

The certificate is verified already: an authority of the listener's vouches for its names. The names are those of its
subject alternative names: DNS names, URIs and email addresses. The common name counts only if the certificate has no
subject alternative names at all.

Source:
    RFC 9525, "Service Identity in TLS", section 6, for the comparison of names and for the wildcard.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from cryptography.x509 import (
    Certificate,
    DNSName,
    ExtensionNotFound,
    NameOID,
    RFC822Name,
    SubjectAlternativeName,
    UniformResourceIdentifier,
)


def comparable_name(name: str) -> str:
    """
    Return a name in the form in which names are compared: the case of a URI matters, that of other names does not.
    """
    return name if ":" in name else name.lower()


def certificate_names(certificate: Certificate) -> tuple[str, ...]:
    """
    Return the names of a certificate, in the form of `comparable_name`. A certificate that cannot be read has none.
    """
    try:
        names = _alternative_names(certificate)
        if names is None:
            attributes = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
            # A subject with several common names names nobody.
            names = [str(attributes[0].value)] if len(attributes) == 1 else []
    except ValueError:
        return ()
    # A wildcard is not the name of a client, and must not be taken for a pattern's.
    return tuple(dict.fromkeys(comparable_name(name) for name in names if name and "*" not in name))


def _alternative_names(certificate: Certificate) -> list[str] | None:
    try:
        found = certificate.extensions.get_extension_for_class(SubjectAlternativeName).value
    except ExtensionNotFound:
        return None
    # A name is not another kind's: neither a DNS name that looks like a URI nor one that looks like an address.
    hosts = [name for name in found.get_values_for_type(DNSName) if ":" not in name and "@" not in name]
    addresses = [name for name in found.get_values_for_type(RFC822Name) if ":" not in name and "@" in name]
    uris = [name for name in found.get_values_for_type(UniformResourceIdentifier) if ":" in name]
    return [*hosts, *addresses, *uris]


def is_accepted(names: Iterable[str], patterns: Iterable[str]) -> bool:
    """
    Return True if one of the names is listed. ``*.`` at the beginning of a pattern stands for one label.

    Args:
        names: In the form of `comparable_name`.
        patterns: In the same form.
    """
    return any(_matches(name, pattern) for pattern in patterns for name in names)


def _matches(name: str, pattern: str) -> bool:
    if not pattern.startswith("*."):
        return name == pattern
    label, dot, parent = name.partition(".")
    return bool(label and dot) and parent == pattern[2:] and "@" not in name and ":" not in name


def verified_names(connection: Any, now: datetime) -> tuple[str, ...]:
    """
    Return the names of the certificate that the client of a TLS connection has shown; none if it has shown none, or if
    the certificate has expired since.

    Args:
        connection: An `OpenSSL.SSL.Connection` whose handshake is complete. OpenSSL has verified the certificate: a
            server that does not verify asks for none. A resumed session has the certificate of its first handshake.
        now: Aware, UTC.
    """
    shown = connection.get_peer_certificate()
    if shown is None:
        return ()
    certificate = shown.to_cryptography()
    # A connection may be old, and OpenSSL does not look at the certificate again when a session is resumed.
    if now > certificate.not_valid_after_utc:
        return ()
    return certificate_names(certificate)
