"""
Make certificates for tests and the demo. Do not trust them anywhere else.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID


@dataclass(frozen=True, repr=False)
class MadeCertificate:
    """
    A certificate and its private key.
    """

    certificate: x509.Certificate
    private_key: ec.EllipticCurvePrivateKey

    @property
    def certificate_pem(self) -> bytes:
        """
        The certificate in PEM.
        """
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def private_key_pem(self) -> bytes:
        """
        The private key in PEM, not encrypted.
        """
        return self.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def write(self, directory: Path, name: str) -> tuple[Path, Path]:
        """
        Write both to a directory, as PEM. Return the paths of the certificate and of the key.

        Args:
            directory: An existing directory.
            name: The name of both files, without the suffix. The file of the key can be read by its owner only.
        """
        certificate_path, key_path = directory / f"{name}.crt", directory / f"{name}.key"
        certificate_path.write_bytes(self.certificate_pem)
        key_path.touch(mode=0o600)
        key_path.write_bytes(self.private_key_pem)
        return certificate_path, key_path


def make_authority(name: str = "s3proxy test authority") -> MadeCertificate:
    """
    Make a self-signed certificate that issues others. It is valid from yesterday, until 30 days from now.

    Args:
        name: The common name.
    """
    return _make(name, [], None, is_authority=True, begins=-timedelta(days=1), ends=timedelta(days=30))


def make_certificate(
    issuer: MadeCertificate,
    names: list[str],
    *,
    begins: timedelta = -timedelta(days=1),
    ends: timedelta = timedelta(days=30),
) -> MadeCertificate:
    """
    Make the certificate of a server.

    Args:
        names: Host names and IP addresses. The first is also the common name.
        begins: When the certificate becomes valid, relative to now.
        ends: When the certificate expires, relative to now. May be in the past.
    """
    return _make(names[0], names, issuer, is_authority=False, begins=begins, ends=ends)


def _make(
    common_name: str,
    names: list[str],
    issuer: MadeCertificate | None,
    *,
    is_authority: bool,
    begins: timedelta,
    ends: timedelta,
) -> MadeCertificate:
    private_key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer is not None else subject)
        .public_key(private_key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + begins)
        .not_valid_after(now + ends)
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(private_key.public_key()), critical=False)
    )
    if issuer is not None:
        builder = builder.add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.private_key.public_key()), critical=False
        )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), False)
    signer = issuer.private_key if issuer is not None else private_key
    return MadeCertificate(builder.sign(signer, hashes.SHA256()), private_key)


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)
