"""
What a client claims with Signature V4 or V4A: well-formed, not yet believed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from s3proxy.s3.address import PLAIN_PATH
from s3proxy.s3.claim import Carrier, Claim
from s3proxy.s3.date import parse_basic_iso
from s3proxy.s3.head import Fields
from s3proxy.s3.query import query_items
from s3proxy.sigv4.canonical import canonical_headers, canonical_query, canonical_request, canonical_uri
from s3proxy.sigv4.coverage import Coverage
from s3proxy.sigv4.scope import CredentialScope

_DEFAULT_PORTS = (b":443", b":80")
_PRESIGNED = frozenset({Carrier.V4_QUERY, Carrier.V4A_QUERY})

ASYMMETRIC = frozenset({Carrier.V4A_HEADER, Carrier.V4A_QUERY})
"""
The carriers of SigV4A, whose signatures are ECDSA.
"""


class Beginning(NamedTuple):
    """
    What an Authorization header says before the signature.

    Attributes:
        algorithm: As sent.
        raw_signed_headers: The list as sent.
    """

    algorithm: bytes
    access_key_id: bytes
    scope: CredentialScope
    raw_signed_headers: bytes


@dataclass(slots=True, eq=False, repr=False)
class SignatureClaim(Claim):
    """
    A claim over a whole request.

    Attributes:
        algorithm: The first line of the string to sign, as sent.
        date: The request's date, in the form ``20260301T120000Z``.
        raw_signed_headers: The list as sent; `signed_headers` has each name once.
        coverage: What the list means for the names of the head; None if that is not known.
        beginning: The Authorization header up to the signature, if that says all the rest; None if it does not, or if
            it is known already.
    """

    algorithm: bytes
    scope: CredentialScope
    date: bytes
    raw_signed_headers: bytes
    coverage: Coverage | None = None
    beginning: bytes | None = None

    @property
    def is_asymmetric(self) -> bool:
        """
        Whether the signature is ECDSA.
        """
        return self.carrier in ASYMMETRIC

    @property
    def is_presigned(self) -> bool:
        """
        Whether the signature is in the query.
        """
        return self.carrier in _PRESIGNED

    def signed_at(self) -> datetime | None:
        return parse_basic_iso(self.date)

    def canonical_request(self) -> bytes:
        """
        Return the canonical request, built from the request as received.

        Raises:
            InvalidURI: The path or the query cannot be decoded.
        """
        coverage, head = self.coverage, self.head
        if coverage is not None:
            path, query = head.raw_path, head.raw_query
            text = coverage.canonical_request(
                head.method,
                canonical_uri(path) if path.translate(None, PLAIN_PATH) else path,
                canonical_query(query) if query else b"",
                head.values,
                self.payload.raw,
            )
            if text is not None:
                return text
        return self._canonical_request(head.fields)

    def canonical_request_without_port(self) -> bytes | None:
        """
        Return the canonical request without the port in Host; None if that is not the default port of http or https.

        S3 removes such a port before it verifies. Signers leave it out, but a client that opens a presigned URL with
        such a port may send it: browsers do not, Go and other clients do.
        """
        fields = self.head.fields
        hosts = fields.get(b"host", ())
        if len(hosts) != 1 or not hosts[0].endswith(_DEFAULT_PORTS):
            return None
        fields = Fields(fields)
        fields[b"host"] = (hosts[0].rpartition(b":")[0],)
        return self._canonical_request(fields)

    def _canonical_request(self, fields: Fields) -> bytes:
        head = self.head
        is_presigned = self.is_presigned
        query = canonical_query(head.raw_query, b"X-Amz-Signature" if is_presigned else None)
        if is_presigned:
            fields = self._fields_with_query(fields)
        return canonical_request(
            head.method,
            canonical_uri(head.raw_path),
            query,
            canonical_headers(self.signed_headers, fields),
            self.raw_signed_headers,
            self.payload.raw,
        )

    def _fields_with_query(self, fields: Fields) -> Fields:
        # If a signed header is not sent, a query parameter of the same name may take its place.
        # A set, because each of thousands of parameters is looked up in it.
        missing = {name for name in self.signed_headers if name not in fields}
        if not missing or not self.head.raw_query:
            return fields
        found: dict[bytes, list[bytes]] = {}
        for name, value in query_items(self.head.raw_query):
            lower = name.lower()
            if lower in missing:
                found.setdefault(lower, []).append(value)
        return Fields({**fields, **{name: tuple(values) for name, values in found.items()}})


@dataclass(slots=True, eq=False, repr=False)
class FormClaim(Claim):
    """
    A claim over the policy of a form.

    Attributes:
        policy: As sent, in base64. It is the string to sign.
    """

    policy: bytes
    scope: CredentialScope
