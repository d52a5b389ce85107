"""
Every limit of the protocol rooms, with its unit, its reason and its source.
"""

from __future__ import annotations

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

MAX_REQUEST_LINE_SIZE = 32 * KIB
"""
Bytes of method, target and version. A presigned URL with a session token of 12 KiB and a key of 1,024 escaped
bytes fits twice.
"""

MAX_HEAD_SIZE = 64 * KIB
"""
Bytes of a whole head, request line included. S3 stops at 8 KiB of headers; session tokens and the metadata of
other stores are longer.
"""

MAX_HEADER_COUNT = 256
"""
Header lines of one head: bounds the work which a head of one-byte headers can cause.
"""

MAX_PROXY_LINE_SIZE = 107
"""
Bytes of a PROXY header of version 1, CRLF included ("The PROXY protocol", section 2.1).
"""

MAX_PROXY_HEADER_SIZE = 16 * KIB
"""
Bytes of a PROXY header of version 2, of 65,551 which it could declare: its addresses need 232, the extension with a
client's whole certificate 4 KiB.
"""

MAX_FORWARDED_HOPS = 32
"""
Listed proxies which one request may have passed, as its headers tell.
"""

MAX_CONTENT_LENGTH_DIGITS = 19
"""
Digits of Content-Length: 19 hold every signed 64-bit number; Python would refuse 5,000 with an exception of its own.
"""

MAX_CHUNK_SIZE_DIGITS = 16
"""
Hex digits of a size in chunked transfer coding or aws-chunked: 64 bits, leading zeros included.
"""

MAX_CHUNK_HEADER_SIZE = 256
"""
Bytes of one aws-chunked header, CRLF included: 16 digits, 17 for ``;chunk-signature=``, 144 for an ECDSA
signature and 2 make 179; the rest is white space which S3 lets pass.
"""

MAX_TRAILER_SIZE = 8 * KIB
"""
Bytes of all trailer lines of a body: two checksums and a signature need 400.
"""

MIN_CHUNK_SIZE = 8 * KIB
"""
Bytes which every data chunk but the last must have ("Transferring Payload in Multiple Chunks").
"""

MAX_OBJECT_SIZE = 5 * GIB
"""
Bytes of one PUT or part ("Uploading objects").
"""

MAX_KEY_SIZE = 1024
"""
Bytes of a key, decoded ("Naming Amazon S3 objects").
"""

MAX_METADATA_SIZE = 2 * KIB
"""
Bytes of all ``x-amz-meta-*`` names (without the prefix) and values ("Working with object metadata").
"""

MAX_PAGE_LENGTH = 1000
"""
Keys, versions, uploads or parts of one page of a list; S3 takes a larger number for this one ("ListObjectsV2").
"""

MAX_PAGE_NUMBER = (1 << 31) - 1
"""
The largest number that S3 reads as the length of a page.
"""

MAX_CLOCK_SKEW_SECONDS = 900
"""
Seconds between a request's date and our clock ("Authenticating Requests").
"""

MAX_PRESIGNED_SECONDS = 604800
"""
Seconds a presigned URL may live: seven days ("Authenticating Requests: Using Query Parameters").
"""

SMALL_BODY_SIZE = 64 * KIB
"""
Bytes up to which a decoded body is verified whole before a backend hears of it.
"""

MAX_XML_BODY_SIZE = 4 * MIB
"""
Bytes of the XML document of an operation: CompleteMultipartUpload with 10,000 parts and their checksums needs 2.5 MiB.
"""

MAX_DELETED_OBJECTS = 1000
"""
Objects of one DeleteObjects ("DeleteObjects"), where s3proxy carries it out for a storage which lacks it.
"""

MIN_PART_SIZE = 5 * MIB
"""
Bytes that each part of a multipart upload but the last must have ("Amazon S3 multipart upload limits").
"""

MAX_PART_COUNT = 10_000
"""
Parts of one multipart upload, and the highest part number ("Amazon S3 multipart upload limits").
"""

MAX_LISTED = 1000
"""
Entries of one page of ListParts and ListMultipartUploads ("Amazon S3 multipart upload limits").
"""

MAX_READ_ELEMENTS = 8_000
"""
Elements of a document which s3proxy itself reads: DeleteObjects' thousand objects have six each, while the bytes of a
document would hold half a million, and nobody else is served while they are read.
"""

MAX_READ_DEPTH = 32
"""
Levels of elements of a document which s3proxy itself reads: those of S3 have at most ten.
"""

MAX_READ_ATTRIBUTES = 16
"""
Attributes of one element of a document which s3proxy itself reads: those of S3 have at most three.
"""

MAX_OBJECT_TAGS = 10
"""
Tags of one object ("Categorizing your storage using tags").
"""

MAX_TAG_KEY_LENGTH = 128
"""
Unicode characters of a tag's key ("Categorizing your storage using tags").
"""

MAX_TAG_VALUE_LENGTH = 256
"""
Unicode characters of a tag's value ("Categorizing your storage using tags").
"""

MAX_POST_FIELDS_SIZE = 20 * KIB
"""
Bytes of a form before its file ("POST Object": form fields).
"""

MAX_PART_NUMBER = 10_000
"""
Parts of an upload, and the number of its last one.

Source:
    "Amazon S3 multipart upload limits".
"""

MAX_POST_PART_HEAD_SIZE = 4 * KIB
"""
Bytes of the head of a form's file, on top of the fields: a file's name of 1,024 escaped characters fits.
"""

MAX_POST_REST_SIZE = 1 * MIB
"""
Bytes of a form which are neither fields nor its file: what browsers send after the file is below 1 KiB.
"""
