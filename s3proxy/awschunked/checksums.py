"""
What the decoded bytes of a body must match: x-amz-checksum-* in headers and trailers, Content-MD5, the signed hash.

Source:
    "Checking object integrity in Amazon S3".
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from awscrt import checksums as crt
from zlib_ng import zlib_ng

from s3proxy.s3.errors import (
    BadDigest,
    InvalidDigest,
    InvalidRequest,
    MalformedTrailerError,
    XAmzContentSHA256Mismatch,
)
from s3proxy.s3.head import Fields, HeaderList

Bytes = bytes | memoryview

_PREFIX = b"x-amz-checksum-"
_NO_CHECKSUMS = frozenset({b"x-amz-checksum-algorithm", b"x-amz-checksum-mode", b"x-amz-checksum-type"})

_MULTIPLE_TYPES = "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed."
_HEADER_AND_TRAILER = "Expecting a single x-amz-checksum- header"
_TRAILER_NOT_SUPPORTED = "The value specified in the x-amz-trailer header is not supported"
_ALGORITHM_INVALID = "The algorithm type you specified in x-amz-checksum- header is invalid."
_NO_CHECKSUM_FOUND = (
    "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or x-amz-trailer headers were found."
)


class Digest(Protocol):
    """
    A digest that is being computed.
    """

    def update(self, data: Bytes, /) -> None:
        """
        Take more bytes.
        """

    def digest(self) -> bytes:
        """
        Return the digest of all bytes so far, most significant byte first.
        """


class _Crc:
    """
    A cyclic redundancy check with the interface of hashlib.
    """

    __slots__ = ("_compute", "_length", "_value")

    def __init__(self, compute: Callable[[Bytes, int], int], length: int) -> None:
        self._compute = compute
        self._length = length
        self._value = 0

    def update(self, data: Bytes) -> None:
        self._value = self._compute(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(self._length, "big")


class _XXHash:
    """
    An xxHash with the interface of hashlib.
    """

    __slots__ = ("_hash",)

    def __init__(self, hash_: crt.XXHash) -> None:
        self._hash = hash_

    def update(self, data: Bytes) -> None:
        # The library takes no memoryview here, unlike its CRCs.
        self._hash.update(bytes(data))

    def digest(self) -> bytes:
        return bytes(self._hash.finalize())


@dataclass(frozen=True, slots=True)
class Algorithm:
    """
    One checksum algorithm.

    Attributes:
        name: As in the name of the header, lower case.
        length: Bytes of the digest.
    """

    name: bytes
    length: int
    begin: Callable[[], Digest]


ALGORITHMS: dict[bytes, Algorithm] = {
    algorithm.name: algorithm
    for algorithm in (
        Algorithm(b"crc32", 4, lambda: _Crc(zlib_ng.crc32, 4)),
        Algorithm(b"crc32c", 4, lambda: _Crc(crt.crc32c, 4)),
        Algorithm(b"crc64nvme", 8, lambda: _Crc(crt.crc64nvme, 8)),
        Algorithm(b"sha1", 20, hashlib.sha1),
        Algorithm(b"sha256", 32, hashlib.sha256),
        Algorithm(b"sha512", 64, hashlib.sha512),
        Algorithm(b"md5", 16, hashlib.md5),
        Algorithm(b"xxhash64", 8, lambda: _XXHash(crt.XXHash.new_xxhash64())),
        Algorithm(b"xxhash3", 8, lambda: _XXHash(crt.XXHash.new_xxhash3_64())),
        Algorithm(b"xxhash128", 16, lambda: _XXHash(crt.XXHash.new_xxhash3_128())),
    )
}


def decode_digest(text: bytes, length: int) -> bytes | None:
    """
    Return a digest decoded from base64; None if it is not base64, or does not have this many bytes.
    """
    try:
        digest = base64.b64decode(text, validate=True)
    except binascii.Error:
        return None
    return digest if len(digest) == length else None


def checksum_size(name: bytes) -> int:
    """
    Return the number of characters of a checksum in base64.

    Args:
        name: Name of its header or trailer, lower case.
    """
    return (ALGORITHMS[name.removeprefix(_PREFIX)].length + 2) // 3 * 4


class BodyDigests:
    """
    Runs over the decoded bytes of one body, and says in the end whether they are what was claimed.

    Attributes:
        trailer_name: Of the one trailer which was declared, or None.
        updates: What takes decoded bytes, one for each digest which is run.
        verified: ``x-amz-checksum-*`` headers which hold of the body, once `check` has returned.
    """

    __slots__ = (
        "_algorithm",
        "_checksum",
        "_claimed_checksum",
        "_claimed_md5",
        "_claimed_sha256",
        "_md5",
        "_md5_expected_as_hex",
        "_sha256",
        "trailer_name",
        "updates",
        "verified",
    )

    def __init__(
        self,
        claimed_sha256: bytes | None,
        claimed_md5: bytes | None = None,
        algorithm: Algorithm | None = None,
        claimed_checksum: bytes | None = None,
        trailer_name: bytes | None = None,
        *,
        md5_expected_as_hex: bool = True,
        computes_md5: bool = False,
    ) -> None:
        self._claimed_sha256 = claimed_sha256
        self._claimed_md5 = claimed_md5
        self._md5_expected_as_hex = md5_expected_as_hex
        self._algorithm = algorithm
        self._claimed_checksum = claimed_checksum
        self.trailer_name = trailer_name
        self.verified: HeaderList = []
        self._sha256 = hashlib.sha256() if claimed_sha256 is not None else None
        self._md5 = hashlib.md5() if claimed_md5 is not None or computes_md5 else None
        self._checksum: Digest | None = None
        if algorithm is not None:
            # The bytes are hashed once, whoever asks.
            is_shared = algorithm.name == b"sha256" and self._sha256 is not None
            self._checksum = self._sha256 if is_shared else algorithm.begin()
        self.updates: list[Callable[[Bytes], None]] = []
        if self._sha256 is not None:
            self.updates.append(self._sha256.update)
        if self._md5 is not None:
            self.updates.append(self._md5.update)
        if self._checksum is not None and self._checksum is not self._sha256:
            self.updates.append(self._checksum.update)

    def update(self, data: Bytes) -> None:
        """
        Take decoded bytes, in order.
        """
        for update in self.updates:
            update(data)

    @property
    def md5(self) -> bytes | None:
        """
        The MD5 of the bytes so far, in lower-case hex; None if it is not computed.
        """
        return self._md5.hexdigest().encode() if self._md5 is not None else None

    def check(self, trailers: HeaderList) -> None:
        """
        Compare all digests with the claims, in S3's order.

        Args:
            trailers: The trailers after the body, names as sent, without the trailer signature.

        Raises:
            XAmzContentSHA256Mismatch: The signed hash does not match the body.
            MalformedTrailerError: The trailers are not the declared one.
            InvalidRequest: The value of the trailer is not a digest.
            BadDigest: Content-MD5 or the checksum does not match the body.
        """
        if self._sha256 is not None and self._claimed_sha256 is not None:
            computed = self._sha256.hexdigest().encode()
            if not hmac.compare_digest(computed, self._claimed_sha256):
                raise XAmzContentSHA256Mismatch(self._claimed_sha256, computed)
        if trailers or self.trailer_name is not None:
            self._read_trailers(trailers)
        if self._md5 is not None and self._claimed_md5 is not None:
            computed = self._md5.digest()
            if computed != self._claimed_md5:
                expected = (
                    self._claimed_md5.hex().encode()
                    if self._md5_expected_as_hex
                    else base64.b64encode(self._claimed_md5)
                )
                raise BadDigest(CalculatedDigest=base64.b64encode(computed), ExpectedDigest=expected)
        if self._checksum is not None and self._algorithm is not None:
            computed = self._checksum.digest()
            name = self._algorithm.name
            if computed != self._claimed_checksum:
                raise BadDigest(f"The {name.decode().upper()} you specified did not match the calculated checksum.")
            self.verified.append((_PREFIX + name, base64.b64encode(computed)))

    def _read_trailers(self, trailers: HeaderList) -> None:
        if self.trailer_name is None:
            if trailers:
                raise MalformedTrailerError
            return
        value: bytes | None = None
        for name, value_ in trailers:
            if name.lower() != self.trailer_name:
                raise MalformedTrailerError
            # If a name is repeated, the last value counts.
            value = value_
        if value is None:
            raise MalformedTrailerError
        self._claimed_checksum = decode_digest(value, ALGORITHMS[self.trailer_name.removeprefix(_PREFIX)].length)
        if self._claimed_checksum is None:
            raise InvalidRequest(f"Value for {self.trailer_name.decode()} trailing header is invalid.")


def parse_body_digests(
    fields: Fields,
    *,
    claimed_sha256: bytes | None = None,
    has_trailer: bool = False,
    describes_object: bool = False,
    is_part: bool = False,
    computes_md5: bool = False,
) -> BodyDigests:
    """
    Return the digests that the headers of a request claim for its body.

    Args:
        claimed_sha256: From x-amz-content-sha256, lower-case hex; None if it was a word.
        has_trailer: Whether trailers may follow the body.
        describes_object: Whether the checksum headers describe an object that exists already. They are ignored then.
        is_part: Whether the body is a part of a multipart upload.
        computes_md5: Whether to compute the MD5 even if the client did not send it.

    Raises:
        InvalidDigest: Content-MD5 is not an MD5.
        MalformedTrailerError: x-amz-trailer was sent with a body that has no trailer.
        InvalidRequest: A header about a checksum is not valid.
    """
    if not fields:
        # The way of most small bodies, and the cheapest.
        return BodyDigests(claimed_sha256, computes_md5=computes_md5)
    raw_md5 = fields.value(b"content-md5")
    claimed_md5 = None
    if raw_md5 is not None:
        claimed_md5 = decode_digest(raw_md5, 16)
        if claimed_md5 is None:
            raise InvalidDigest(raw_md5)
    algorithm: Algorithm | None = None
    claimed_checksum: bytes | None = None
    trailer_name: bytes | None = None
    if not describes_object:
        raw_trailer = fields.value(b"x-amz-trailer")
        if raw_trailer is not None:
            if not has_trailer:
                raise MalformedTrailerError
            trailer_name = _parse_trailer_name(raw_trailer)
        name, claimed_checksum = _parse_checksum_header(fields)
        if name is not None and trailer_name is not None:
            raise InvalidRequest(_HEADER_AND_TRAILER)
        name = name or trailer_name
        if name is not None:
            algorithm = ALGORITHMS[name.removeprefix(_PREFIX)]
        _check_sdk_algorithm(fields, algorithm)
    return BodyDigests(
        claimed_sha256,
        claimed_md5,
        algorithm,
        claimed_checksum,
        trailer_name,
        md5_expected_as_hex=not is_part,
        computes_md5=computes_md5,
    )


def has_integrity(fields: Fields) -> bool:
    """
    Return True if a request has Content-MD5 or a checksum, in a header or in a trailer.
    """
    return (
        b"content-md5" in fields
        or b"x-amz-trailer" in fields
        or any(name.startswith(_PREFIX) and name not in _NO_CHECKSUMS for name in fields)
    )


def _parse_trailer_name(raw_trailer: bytes) -> bytes | None:
    names: list[bytes] = []
    items = raw_trailer.split(b",")
    for index, item in enumerate(items):
        name = item.strip(b" \t").lower()
        if name:
            if not name.startswith(_PREFIX) or name.removeprefix(_PREFIX) not in ALGORITHMS:
                raise InvalidRequest(_TRAILER_NOT_SUPPORTED)
            names.append(name)
        elif index == 0 or (item and index != len(items) - 1):
            raise InvalidRequest(_TRAILER_NOT_SUPPORTED)
    if len(names) > 1:
        raise InvalidRequest(_MULTIPLE_TYPES)
    return names[0]


def _parse_checksum_header(fields: Fields) -> tuple[bytes | None, bytes | None]:
    names = [name for name in fields if name.startswith(_PREFIX) and name not in _NO_CHECKSUMS]
    if not names:
        return None, None
    if len(names) > 1:
        raise InvalidRequest(_MULTIPLE_TYPES)
    name = names[0]
    algorithm = ALGORITHMS.get(name.removeprefix(_PREFIX))
    if algorithm is None:
        raise InvalidRequest(_ALGORITHM_INVALID)
    claimed_checksum = decode_digest(fields.value(name) or b"", algorithm.length)
    if claimed_checksum is None:
        raise InvalidRequest(f"Value for {name.decode()} header is invalid.")
    return name, claimed_checksum


def _check_sdk_algorithm(fields: Fields, algorithm: Algorithm | None) -> None:
    named = fields.value(b"x-amz-sdk-checksum-algorithm")
    if named is None:
        return
    if algorithm is None:
        raise InvalidRequest(_NO_CHECKSUM_FOUND)
    if named.lower() != algorithm.name:
        raise InvalidRequest("Value for x-amz-sdk-checksum-algorithm header is invalid.")
