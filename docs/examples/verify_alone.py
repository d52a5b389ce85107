"""
Verify a captured upload without a reactor, and write its decoded body: ``python verify_alone.py KEY SECRET < upload``.
"""

import sys
from datetime import UTC, datetime

from s3proxy import (
    AwsChunkedDecoder,
    Credential,
    Realm,
    S3Error,
    parse_address,
    parse_body_digests,
    parse_request_head,
    read_claim,
    verify_claim,
)

name, secret = sys.argv[1:]
realm, now = Realm(), datetime.now(UTC)
raw_head, _, body = sys.stdin.buffer.read().partition(b"\r\n\r\n")
try:
    head = parse_request_head(raw_head)
    claim = read_claim(head, parse_address(head.raw_path, head.host, realm.domains), realm, now)
    signed = verify_claim(claim, Credential(name, (secret,)), realm, now)
    decoder = AwsChunkedDecoder(
        int(head.fields.value(b"x-amz-decoded-content-length")),
        parse_body_digests(head.fields, has_trailer=signed.payload.has_trailer),
        verifier=signed.chain,
        has_trailer=signed.payload.has_trailer,
    )
    pieces = decoder.feed(body)  # It may be called with any pieces of the body, as they arrive.
    decoder.finish()
except S3Error as error:
    sys.exit(f"{error.code}: {error.message}")
sys.stdout.buffer.write(b"".join(pieces))
