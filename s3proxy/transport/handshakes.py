"""
The server's side of TLS handshakes: which certificate a client sees, and which certificate it must show itself.

The strategy: a `Handshakes` has one OpenSSL context for each certificate, all alike but for the certificate. A
connection begins with the first of them, and OpenSSL changes it when the client has said which name it calls. A
`TLSServer` is what Twisted asks for connections, for as long as a port is open. A reload gives it another `Handshakes`.
A handshake that has begun ends with the former one.

The keys of session tickets belong to the first context. So a reload makes new ones, and a session never outlives the
authorities that verified its client. The session id context says the same once more.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import Certificate
from OpenSSL import SSL, crypto
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.internet.ssl import CertificateOptions
from zope.interface import implementer

from s3proxy.transport.certificates import CertificateError, ServerCertificate
from s3proxy.transport.client_names import certificate_names, is_accepted

PROTOCOL = b"http/1.1"
"""
The protocol that is chosen with ALPN. A client that offers only others is served without ALPN.
"""

_SSL: Any = SSL
_OPTIONS = _SSL.OP_NO_COMPRESSION | _SSL.OP_CIPHER_SERVER_PREFERENCE | _SSL.OP_NO_RENEGOTIATION


@dataclass(frozen=True, slots=True)
class ClientTrust:
    """
    Which clients may connect.

    Attributes:
        authorities: The authorities that may have issued a client's certificate. One that is no root is trusted alone.
        names: The patterns of accepted names, as `s3proxy.transport.client_names` compares them; empty for every name.
    """

    authorities: tuple[Certificate, ...]
    names: tuple[str, ...] = ()

    @property
    def fingerprint(self) -> bytes:
        """
        32 bytes that are the same only for the same authorities and names.
        """
        parts = [*(each.public_bytes(Encoding.DER) for each in self.authorities), *map(str.encode, self.names)]
        return hashlib.sha256(b"".join(b"%d:%b" % (len(part), part) for part in parts)).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class TLSOptions:
    """
    What a listener may set besides its certificates.

    Attributes:
        clients: Which clients may connect; None for all, with or without a certificate.
        method: The name of an OpenSSL method, such as ``TLSv1_2_METHOD``; empty for TLS 1.2 and 1.3.
        dh_parameters: A file with parameters for Diffie-Hellman without curves; empty for none.
    """

    clients: ClientTrust | None = None
    method: str = ""
    dh_parameters: str = ""


class Handshakes:
    """
    Makes connections that show one of some certificates.

    Args:
        certificates: At least one. The first is shown to a client that names no server, or one that has no certificate.
        now: Of several certificates for one name, the one that is valid now and ends last is shown.

    Attributes:
        clients: Which clients may connect; None for all.
        shown: The certificates that a client may see.

    Raises:
        CertificateError: OpenSSL does not accept a certificate, a key or an option.
    """

    def __init__(self, certificates: Sequence[ServerCertificate], options: TLSOptions, now: datetime) -> None:
        self.clients = options.clients
        by_name: dict[str, ServerCertificate] = {}
        for each in certificates:
            for name in each.names:
                if name not in by_name or _rank(each, now) > _rank(by_name[name], now):
                    by_name[name] = each
        first = certificates[0]
        fallback = by_name[first.names[0]] if first.names else first
        self.shown = tuple(dict.fromkeys((fallback, *by_name.values())))
        contexts = {each: self._make_context(each, options) for each in self.shown}
        self._by_name = {name: contexts[each] for name, each in by_name.items()}
        self._first = contexts[fallback]
        self._first.set_tlsext_servername_callback(self._name_called)

    def connect(self) -> SSL.Connection:
        """
        Return a new connection.
        """
        return SSL.Connection(self._first, None)

    def _make_context(self, certificate: ServerCertificate, options: TLSOptions) -> SSL.Context:
        try:
            context = SSL.Context(getattr(SSL, options.method or "TLS_METHOD"))
            if not options.method:
                context.set_min_proto_version(SSL.TLS1_2_VERSION)
            context.set_options(_OPTIONS)
            context.set_mode(SSL.MODE_RELEASE_BUFFERS)
            context.set_cipher_list(_ciphers())
            leaf, *issuers = map(crypto.X509.from_cryptography, certificate.chain)
            context.use_certificate(leaf)
            for issuer in issuers:
                context.add_extra_chain_cert(issuer)
            key: Any = certificate.private_key
            context.use_privatekey(crypto.PKey.from_cryptography_key(key))
            context.check_privatekey()
            if options.dh_parameters:
                context.load_tmp_dh(options.dh_parameters)
        except (SSL.Error, crypto.Error, ValueError, TypeError):
            raise CertificateError(
                f"{certificate.path}: OpenSSL does not accept the certificate, its key or the options of the endpoint"
            ) from None
        context.set_alpn_select_callback(_choose_protocol)
        context.set_session_cache_mode(SSL.SESS_CACHE_SERVER)
        context.set_session_id(b"s3proxy" if self.clients is None else self.clients.fingerprint)
        if self.clients is not None:
            self._require_certificate(context, self.clients)
        return context

    def _require_certificate(self, context: SSL.Context, clients: ClientTrust) -> None:
        store: Any = context.get_cert_store()
        # Otherwise a listed authority that is no root would count only with its root, whose other clients would too.
        store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)
        for authority in map(crypto.X509.from_cryptography, clients.authorities):
            store.add_cert(authority)
            context.add_client_ca(authority)
        context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT | SSL.VERIFY_CLIENT_ONCE, self._verified)

    def _verified(self, connection: Any, certificate: Any, error: int, depth: int, is_good: int) -> bool:
        """
        Called for each certificate of a client's chain, its own last, with OpenSSL's judgement.
        """
        if not is_good or depth or self.clients is None or not self.clients.names:
            return bool(is_good)
        return is_accepted(certificate_names(certificate.to_cryptography()), self.clients.names)

    def _name_called(self, connection: SSL.Connection) -> None:
        context = self._find((connection.get_servername() or b"").decode("ascii", "replace").lower())
        if context is not None and context is not self._first:
            connection.set_context(context)

    def _find(self, name: str) -> SSL.Context | None:
        found = self._by_name.get(name)
        if found is None:
            _, dot, parent = name.partition(".")
            found = self._by_name.get(f"*.{parent}") if dot else None
        return found


def _rank(certificate: ServerCertificate, now: datetime) -> tuple[bool, datetime]:
    return certificate.is_valid(now), certificate.ends_at


@cache
def _ciphers() -> bytes:
    """
    Return the ciphers that Twisted's own TLS servers accept.
    """
    twisted: Any = CertificateOptions()
    return ":".join(SSL.Connection(twisted.getContext(), None).get_cipher_list()).encode()


def _choose_protocol(connection: SSL.Connection, offered: list[bytes]) -> Any:
    return PROTOCOL if PROTOCOL in offered else SSL.NO_OVERLAPPING_PROTOCOLS


@implementer(IOpenSSLServerConnectionCreator)
class TLSServer:
    """
    Makes the TLS connections of a port.

    Attributes:
        handshakes: Makes the next connections. May be replaced at any time.
    """

    def __init__(self, handshakes: Handshakes) -> None:
        self.handshakes = handshakes

    def serverConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:
        """
        Return a new connection.
        """
        return self.handshakes.connect()
