"""
Limits of the protocol rooms, each with its unit, its reason and its source. A limit that one module alone needs is in
that module.
"""

from __future__ import annotations

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

MAX_REQUEST_LINE_SIZE = 32 * KIB
"""
Bytes of method, target and version: twice what a presigned URL needs with a session token of 12 KiB and a key of 1,024
escaped bytes.
"""

MAX_HEAD_SIZE = 64 * KIB
"""
Bytes of a whole head, request line included. S3 accepts 8 KiB of headers; session tokens and the metadata of other
storage systems are longer.
"""

MAX_HEADER_COUNT = 256
"""
Header lines of one head: bounds the work that a head of one-byte headers can cause.
"""

MAX_PROXY_LINE_SIZE = 107
"""
Bytes of a PROXY header of version 1, CRLF included ("The PROXY protocol", section 2.1).
"""

MAX_PROXY_HEADER_SIZE = 16 * KIB
"""
Bytes of a PROXY header of version 2, which could declare 65,551: its addresses need 232, the extension with a client's
whole certificate 4 KiB.
"""

MAX_FORWARDED_HOPS = 32
"""
Proxies that one request may have passed, according to its headers.
"""

MAX_CONTENT_LENGTH_DIGITS = 19
"""
Digits of Content-Length: 19 hold every signed 64-bit number. For 5,000, Python would raise an exception of its own.
"""

MAX_CHUNK_SIZE_DIGITS = 16
"""
Hex digits of a size in chunked transfer coding or aws-chunked: 64 bits, leading zeros included.
"""

MAX_CHUNK_HEADER_SIZE = 256
"""
Bytes of one aws-chunked header, CRLF included: 16 digits, 17 for ``;chunk-signature=``, 144 for an ECDSA signature and
2 make 179; the rest is for white space, which S3 accepts.
"""

MAX_TRAILER_SIZE = 8 * KIB
"""
Bytes of all trailer lines of a body: two checksums and a signature need 400.
"""

MIN_CHUNK_SIZE = 8 * KIB
"""
Bytes that every data chunk except the last must have ("Transferring Payload in Multiple Chunks").
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
Keys, versions, uploads or parts in one page of a list. S3 reads a larger number as this one ("ListObjectsV2").
"""

MAX_PAGE_NUMBER = (1 << 31) - 1
"""
The largest number that S3 accepts as the length of a page.
"""

MAX_CLOCK_SKEW_SECONDS = 900
"""
Seconds allowed between a request's date and our clock ("Authenticating Requests").
"""

MAX_PRESIGNED_SECONDS = 604800
"""
Seconds that a presigned URL may be valid: seven days ("Authenticating Requests: Using Query Parameters").
"""

SMALL_BODY_SIZE = 64 * KIB
"""
Bytes of the largest decoded body that is always verified whole before anything is sent to a backend.
"""

MAX_XML_BODY_SIZE = 4 * MIB
"""
Bytes of the XML document of an operation: CompleteMultipartUpload with 10,000 parts and their checksums needs 2.5 MiB.
"""

MAX_DELETED_OBJECTS = 1000
"""
Objects of one DeleteObjects ("DeleteObjects"), if s3proxy carries it out for a storage system that lacks it.
"""

MIN_PART_SIZE = 5 * MIB
"""
Bytes that each part of a multipart upload except the last must have ("Amazon S3 multipart upload limits").
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
Elements of a document that s3proxy itself reads. The thousand objects of a DeleteObjects have six each. The bytes of a
document could hold half a million, and no other request is served while they are read.
"""

MAX_READ_DEPTH = 32
"""
Levels of elements in a document that s3proxy itself reads: S3's documents have at most ten.
"""

MAX_READ_ATTRIBUTES = 16
"""
Attributes of one element in a document that s3proxy itself reads: S3's documents have at most three.
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
The highest number of a part, and so the most parts of an upload.

Source:
    "Amazon S3 multipart upload limits".
"""

MAX_POST_PART_HEAD_SIZE = 4 * KIB
"""
Bytes of the head of a form's file, in addition to the fields: a file name of 1,024 escaped characters fits.
"""

MAX_POST_REST_SIZE = 1 * MIB
"""
Bytes of a form that are neither fields nor its file: browsers send less than 1 KiB after the file.
"""
