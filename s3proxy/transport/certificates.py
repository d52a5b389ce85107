"""
Read certificates and private keys from PEM files: those of one server name, or a directory with those of many.

A directory is read as Twisted's ``tls:`` endpoint reads one: every file below it whose name ends in ``.pem`` may have
private keys, certificates, or both. A certificate is a server's if there is a private key for it. The names of a server
are the DNS names in the subject alternative names of its certificate.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from cryptography.x509 import (
    Certificate,
    DNSName,
    ExtensionNotFound,
    SubjectAlternativeName,
    load_pem_x509_certificate,
)

from s3proxy.s3.limits import MIB

MAX_PEM_FILE_SIZE = MIB
"""
Maximum bytes of a PEM file; the certificates of all public authorities together need 250 KiB.
"""

MAX_ISSUERS = 9
"""
Maximum issuers of a certificate that are found by their names: two authorities may each be the other's issuer.
"""

WARNING_TIME = timedelta(days=30)
"""
The time before the end of a certificate in which operators are warned.
"""

_BEGIN = b"-----BEGIN "
_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----\s.*?-----END \1-----", re.DOTALL)
_CERTIFICATE_LABELS = frozenset({b"CERTIFICATE", b"X509 CERTIFICATE"})
_UNREADABLE = (ValueError, TypeError, UnsupportedAlgorithm)


class CertificateError(Exception):
    """
    A file has no certificate or private key that can be used. The text names the file, and quotes nothing of it.
    """


@dataclass(frozen=True, slots=True, eq=False)
class ServerCertificate:
    """
    A certificate that a server can show.

    Attributes:
        path: The file of the certificate.
        key_path: The file of the private key.
        chain: The certificate, then those of its issuers, without the root.
        names: Its DNS names in lower case. The first label may be ``*``.
    """

    path: Path
    key_path: Path
    chain: tuple[Certificate, ...]
    names: tuple[str, ...]
    private_key: PrivateKeyTypes = field(repr=False)

    @property
    def begins_at(self) -> datetime:
        """
        The moment from which the whole chain is valid.
        """
        return max(each.not_valid_before_utc for each in self.chain)

    @property
    def ends_at(self) -> datetime:
        """
        The moment after which a part of the chain is no longer valid.
        """
        return min(each.not_valid_after_utc for each in self.chain)

    def is_valid(self, now: datetime) -> bool:
        """
        Return True if the whole chain is valid.
        """
        return self.begins_at <= now <= self.ends_at


def why_expiring(begins_at: datetime, ends_at: datetime, now: datetime) -> str:
    """
    Return what is wrong with the validity of a certificate, as the end of a sentence about it; empty if it is valid for
    longer than `WARNING_TIME`.
    """
    if now < begins_at:
        return f"is not valid before {begins_at:%Y-%m-%d %H:%M} UTC"
    if now > ends_at:
        return f"expired on {ends_at:%Y-%m-%d}"
    if ends_at - now > WARNING_TIME:
        return ""
    days = (ends_at - now).days
    return f"expires on {ends_at:%Y-%m-%d}, in {days} {'day' if days == 1 else 'days'}"


# Files


class _Content(NamedTuple):
    """
    What a PEM file has, in its order.
    """

    path: Path
    certificates: tuple[Certificate, ...]
    keys: tuple[PrivateKeyTypes, ...]


def _read_file(path: Path) -> _Content:
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_PEM_FILE_SIZE + 1)
    except OSError as error:
        raise CertificateError(f"{path}: {os.strerror(error.errno or 0)}") from None
    if len(raw) > MAX_PEM_FILE_SIZE:
        raise CertificateError(f"{path}: larger than {MAX_PEM_FILE_SIZE} bytes")
    certificates: list[Certificate] = []
    keys: list[PrivateKeyTypes] = []
    count = 0
    for found in _BLOCK.finditer(raw):
        count += 1
        label, block = found[1], found[0]
        if label in _CERTIFICATE_LABELS:
            certificates.append(_parse_certificate(path, block))
        elif label.endswith(b"PRIVATE KEY"):
            keys.append(_parse_key(path, block))
    # A file that is being written may end within a block.
    if not count or count != raw.count(_BEGIN):
        raise CertificateError(f"{path}: {'incomplete' if _BEGIN in raw else 'contains no'} PEM")
    return _Content(path, tuple(certificates), tuple(keys))


def _parse_certificate(path: Path, block: bytes) -> Certificate:
    try:
        found = load_pem_x509_certificate(block)
        # Its extensions are parsed only now.
        _dns_names(found)
    except _UNREADABLE:
        raise CertificateError(f"{path}: contains a certificate that cannot be read") from None
    return found


def _parse_key(path: Path, block: bytes) -> PrivateKeyTypes:
    if b"ENCRYPTED" in block:
        raise CertificateError(f"{path}: the private key is encrypted")
    try:
        # The check of an RSA key takes longer than all else. That it is the key of a certificate is checked below.
        key = load_pem_private_key(block, None, unsafe_skip_rsa_key_validation=True)
    except _UNREADABLE:
        raise CertificateError(f"{path}: contains a private key that cannot be read") from None
    return key


def _dns_names(certificate: Certificate) -> tuple[str, ...]:
    try:
        extension = certificate.extensions.get_extension_for_class(SubjectAlternativeName)
    except ExtensionNotFound:
        return ()
    return tuple(name.lower() for name in extension.value.get_values_for_type(DNSName))


def _public_bytes(owner: Certificate | PrivateKeyTypes) -> bytes:
    """
    Return the public key of a certificate or of a private key; empty if a certificate has one of an unknown kind.
    """
    try:
        public = owner.public_key()
        return public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except _UNREADABLE:
        return b""


# One server


def read_server_files(certificate: Path, private_key: Path, chain: Path | None = None) -> ServerCertificate:
    """
    Read a certificate, its private key and the certificates of its issuers from files, which may be the same.

    Args:
        certificate: Begins with the server's own certificate. Those of its issuers may follow.
        chain: More certificates of its issuers.

    Raises:
        CertificateError: A file cannot be read, has not what it should have, or the key is not the certificate's.
    """
    shown = _read_file(certificate)
    secret = shown if private_key == certificate else _read_file(private_key)
    if not shown.certificates:
        raise CertificateError(f"{certificate}: contains no PEM certificate")
    if not secret.keys:
        raise CertificateError(f"{private_key}: contains no PEM private key")
    leaf, key = shown.certificates[0], secret.keys[0]
    if _public_bytes(leaf) != _public_bytes(key):
        raise CertificateError(f"{private_key}: its private key is not that of the certificate in {certificate}")
    more = _read_file(chain).certificates if chain is not None else ()
    issuers = _without_roots((*shown.certificates[1:], *more))
    return ServerCertificate(certificate, private_key, (leaf, *issuers), _dns_names(leaf), key)


def read_authorities(path: Path) -> tuple[Certificate, ...]:
    """
    Read the certificates of authorities.

    Raises:
        CertificateError: The file cannot be read, or has no certificate.
    """
    found = _read_file(path).certificates
    if not found:
        raise CertificateError(f"{path}: contains no PEM certificate")
    return tuple(dict.fromkeys(found))


def _without_roots(certificates: Iterable[Certificate]) -> tuple[Certificate, ...]:
    # Who believes a root has it already.
    return tuple(dict.fromkeys(each for each in certificates if each.issuer != each.subject))


# Many servers


class CertificateDirectory(NamedTuple):
    """
    The content of a directory.

    Attributes:
        certificates: The certificates of servers, in the order of their files. At least one.
        unused_keys: Files with a private key that is no certificate's.
    """

    certificates: tuple[ServerCertificate, ...]
    unused_keys: tuple[Path, ...]


def read_directory(directory: Path) -> CertificateDirectory:
    """
    Read all PEM files below a directory.

    Raises:
        CertificateError: The directory cannot be read, one of its files cannot be read, or no certificate has its
            private key.
    """
    contents = [_read_file(path) for path in sorted(_pem_files(directory))]
    keys = {_public_bytes(key): (content.path, key) for content in contents for key in content.keys}
    servers: dict[Certificate, ServerCertificate] = {}
    used: set[bytes] = set()
    for content in contents:
        for leaf in content.certificates:
            public = _public_bytes(leaf)
            if public not in keys or leaf in servers:
                continue
            used.add(public)
            key_path, key = keys[public]
            chain = (leaf, *_issuers_of(leaf, contents, keys))
            servers[leaf] = ServerCertificate(content.path, key_path, chain, _dns_names(leaf), key)
    if not servers:
        raise CertificateError(f"{directory}: contains no certificate with its private key in a .pem file")
    unused = sorted({path for public, (path, _) in keys.items() if public not in used})
    return CertificateDirectory(tuple(servers.values()), tuple(unused))


def _pem_files(directory: Path) -> Iterator[Path]:
    """
    Yield the files below a directory, also behind links. No directory is read twice.
    """

    def failed(error: OSError) -> None:
        raise CertificateError(f"{error.filename}: {os.strerror(error.errno or 0)}")

    seen = {os.path.realpath(directory)}
    for place, names, files in os.walk(directory, onerror=failed, followlinks=True):
        names[:] = [name for name in names if os.path.realpath(os.path.join(place, name)) not in seen]
        seen.update(os.path.realpath(os.path.join(place, name)) for name in names)
        for name in files:
            path = Path(place, name)
            if name.endswith(".pem") and path.is_file():
                yield path


def _issuers_of(leaf: Certificate, contents: Sequence[_Content], keys: Collection[bytes]) -> tuple[Certificate, ...]:
    """
    Return the chain of a certificate: as a file has it after the certificate, otherwise by the names of the issuers.
    """
    following: list[tuple[Certificate, ...]] = []
    for content in contents:
        if leaf in content.certificates:
            rest = content.certificates[content.certificates.index(leaf) + 1 :]
            following.append(_without_roots(takewhile(lambda each: _public_bytes(each) not in keys, rest)))
    longest = max(following, key=len)
    if longest:
        return longest
    known = {each.subject: each for content in contents for each in content.certificates}
    issuers: list[Certificate] = []
    last = leaf
    while len(issuers) < MAX_ISSUERS and last.issuer != last.subject and last.issuer in known:
        last = known[last.issuer]
        issuers.append(last)
    return _without_roots(issuers)
