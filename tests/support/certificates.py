"""
Certificates of every kind for the tests of TLS, and clients that make handshakes in threads of their own.
"""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from trustme import CA

VERSIONS = ["TLSv1.2", "TLSv1.3"]


@dataclass(frozen=True, slots=True)
class Issued:
    """
    A certificate that a test has issued.

    Attributes:
        chain: PEM of the certificate and of its issuers.
        private_key: PEM of its key.
    """

    certificate: x509.Certificate
    chain: bytes
    private_key: bytes

    def write(self, path: Path) -> Path:
        """
        Write key and chain to one file.
        """
        path.write_bytes(self.private_key + self.chain)
        return path


def issue(
    authority: CA,
    *names: x509.GeneralName,
    common_name: str = "",
    begins_at: datetime | None = None,
    ends_at: datetime | None = None,
    private_key: bytes = b"",
) -> Issued:
    """
    Issue a certificate.

    Args:
        names: The subject alternative names; without any, the certificate has no such extension.
        private_key: PEM of a key to use again; a new one by default.
    """
    issuer = x509.load_pem_x509_certificate(authority.cert_pem.bytes())
    issuer_key = load_pem_private_key(authority.private_key_pem.bytes(), None)
    assert isinstance(issuer_key, ec.EllipticCurvePrivateKey)
    key = load_pem_private_key(private_key, None) if private_key else ec.generate_private_key(ec.SECP256R1())
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    attributes = [x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)] if common_name else []
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name(attributes))
        .issuer_name(issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins_at or now - timedelta(days=1))
        .not_valid_after(ends_at or now + timedelta(days=365))
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=not attributes)
    certificate = builder.sign(issuer_key, SHA256())
    chain = certificate.public_bytes(Encoding.PEM)
    if issuer.issuer != issuer.subject:
        chain += authority.cert_pem.bytes()
    return Issued(certificate, chain, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def host(name: str) -> x509.DNSName:
    """
    Return a DNS name for a certificate.
    """
    return x509.DNSName(name)


def client_context(authority: CA, version: str = "", certificate: Path | None = None) -> ssl.SSLContext:
    """
    Return the context of a client.

    Args:
        authority: Whom the client trusts.
        certificate: A file with the client's own certificate and its key.
    """
    # The default context would read the certificates of all public authorities, too.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(context)
    if version:
        context.minimum_version = context.maximum_version = ssl.TLSVersion[version.replace(".", "_")]
    if certificate is not None:
        context.load_cert_chain(certificate)
    return context


@dataclass(frozen=True, slots=True)
class Shaken:
    """
    A handshake, and what followed.

    Attributes:
        names: The names of the server's certificate.
        serial: The serial number of that certificate, as hex digits.
        protocol: The protocol of ALPN.
        is_resumed: Whether a session was resumed.
        session: The session to resume.
        response: What the server sent.
    """

    names: tuple[str, ...]
    serial: str
    version: str | None
    protocol: str | None
    is_resumed: bool
    session: ssl.SSLSession | None
    response: bytes


def shake(
    port: int,
    context: ssl.SSLContext,
    name: str | None = "localhost",
    *,
    request: bytes = b"",
    session: ssl.SSLSession | None = None,
) -> Shaken:
    """
    Connect, send a request and read until the server closes, or until an echo is complete. It blocks: call it in a
    thread.

    Raises:
        OSError: The handshake failed, or the server refused the client after its side of the handshake, which TLS 1.3
            shows only at the first read.
    """
    with (
        socket.create_connection(("127.0.0.1", port), timeout=30) as plain,
        context.wrap_socket(plain, server_hostname=name, session=session) as client,
    ):
        response = b""
        if request:
            client.sendall(request)
            while not is_complete(response) and (data := client.recv(65536)):
                response += data
            if not response:
                raise ConnectionResetError("the server closed without a response")
        found = client.getpeercert() or {}
        names = tuple(str(each[1]) for each in found.get("subjectAltName", ()))
        return Shaken(
            names,
            str(found.get("serialNumber", "")),
            client.version(),
            client.selected_alpn_protocol(),
            bool(client.session_reused),
            client.session,
            response,
        )


def is_complete(response: bytes) -> bool:
    """
    Return True if a response with a length is complete.
    """
    head, end, body = response.partition(b"\r\n\r\n")
    lengths = [int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
    return bool(end) and len(body) >= sum(lengths)
