"""
Headers of the PROXY protocol, written from its specification and independent of s3proxy's reader.
"""

from __future__ import annotations

import struct

SIGNATURE = bytes.fromhex("0D0A0D0A000D0A515549540A")


def header_v2(version_command: int, family_protocol: int, block: bytes) -> bytes:
    """
    Return a header of version 2.
    """
    return SIGNATURE + bytes((version_command, family_protocol)) + struct.pack("!H", len(block)) + block


def extension(kind: int, value: bytes) -> bytes:
    """
    Return a type, a length and a value.
    """
    return bytes((kind,)) + struct.pack("!H", len(value)) + value


def with_checksum(version_command: int, family_protocol: int, addresses: bytes, more: bytes) -> bytes:
    """
    Return a header with its CRC32C, which stands between its addresses and the other extensions.
    """
    blank = header_v2(version_command, family_protocol, addresses + extension(3, bytes(4)) + more)
    return header_v2(
        version_command, family_protocol, addresses + extension(3, struct.pack("!I", _crc32c(blank))) + more
    )


def _crc32c(data: bytes) -> int:
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    return value ^ 0xFFFFFFFF
