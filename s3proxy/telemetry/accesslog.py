"""
The access log: one line for each request, in the format of S3's server access logs, with three fields of s3proxy at its
end.

Source:
    "Amazon S3 server access log format".
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from twisted.logger import Logger

from s3proxy.s3.address import Address
from s3proxy.s3.classification import level_of
from s3proxy.s3.head import RequestHead
from s3proxy.s3.masking import mask_credentials
from s3proxy.s3.operation import Operation

_MONTHS = (b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec")

_UNSAFE_DECODED = re.compile(rb"[^\x21\x23\x24\x26-\x5b\x5d-\x7e]")
_UNSAFE = re.compile(rb"[^\x21\x23-\x5b\x5d-\x7e]")
_UNSAFE_QUOTED = re.compile(rb"[^\x20\x21\x23-\x5b\x5d-\x7e]")
_VERSION_ID = re.compile(rb"(?:^|&)versionId=([^&]+)")


@dataclass(slots=True, kw_only=True)
class AccessRecord:
    """
    The fields of one request in the access log.

    Attributes:
        received_at: When the head of the request was complete, in UTC.
        client_host: The client's address.
        request_id: The id that s3proxy gave the request.
        head: The head of the request; None if the bytes were not a request.
        address: The bucket and key of the request; None if they could not be parsed.
        operation: The operation of the request; None if the request was refused before that was known, or S3 has no
            such operation.
        access_key_id: The authenticated key; None if the request was anonymous, or refused before authentication.
        status: The status of the response; 0 if the client left before one.
        error_code: The error code of the response; None if there is no error. A backend may have written it.
        sent_size: Bytes of the response's body that were passed to the client's socket.
        received_size: Bytes of the request's body, without transfer coding.
        object_size: Bytes of the object, decoded; None if there is no object, or its size is not known.
        total_seconds: From the end of the head to the end of the response.
        turn_around_seconds: From the end of the request to the backend's first byte; None if no byte arrived.
        signature_version: ``SigV4`` or ``SigV2``.
        authentication_type: ``AuthHeader`` or ``QueryString``.
        cipher_suite: The cipher suite of the client's TLS connection.
        tls_version: The TLS version, such as ``TLSv1.3``.
        backend: The name of the backend; None if no request was sent to one.
        backend_request_id: The backend's ``x-amz-request-id``, as received.
    """

    received_at: datetime
    client_host: str
    request_id: str
    head: RequestHead | None = None
    address: Address | None = None
    operation: Operation | None = None
    access_key_id: bytes | None = None
    status: int = 0
    error_code: str | None = None
    sent_size: int = 0
    received_size: int = 0
    object_size: int | None = None
    total_seconds: float = 0.0
    turn_around_seconds: float | None = None
    host_id: str | None = None
    signature_version: str | None = None
    authentication_type: str | None = None
    cipher_suite: str | None = None
    tls_version: str | None = None
    backend: str | None = None
    backend_request_id: bytes | None = None


def format_line(record: AccessRecord) -> bytes:
    """
    Return a record as one line, including the line end.

    In all text, characters that could be mistaken for the syntax of the line are percent-encoded, and credentials are
    masked.
    """
    head = record.head
    address = record.address
    operation = request_uri = referer = user_agent = host = version_id = b"-"
    if head is not None:
        request_uri = mask_credentials(b"%s %s %s" % (head.method, head.raw_target, head.version))
        fields = head.fields
        if b"referer" in fields:
            referer = _quoted(fields.value(b"referer"))
        if b"user-agent" in fields:
            user_agent = _quoted(fields.value(b"user-agent"))
        if b"host" in fields:
            host = _text(fields.value(b"host"))
        if record.operation is not None:
            operation = record.operation.log_name.encode()
            if head.method == b"HEAD":
                operation = operation.replace(b".GET.", b".HEAD.")
        elif address is not None:
            operation = _text(b"REST.%s.%s" % (head.method, level_of(address).value.encode()))
        if head.raw_query and (found := _VERSION_ID.search(head.raw_query)) is not None:
            version_id = _text(found[1])
    size = record.object_size
    turn_around = record.turn_around_seconds
    # Only the backend knows the bucket owner, the remote identity's ARN, the access point and the use of ACLs.
    return b'- %s [%s] %s %s %s %s %s "%s" %s %s %d %s %d %s "%s" "%s" %s %s %s %s %s %s %s - - %s %s %d\n' % (
        _decoded(address.bucket) if address is not None else b"-",
        _format_time(record.received_at),
        _text(record.client_host.encode("utf-8", "replace")),
        _text(record.access_key_id),
        _text(record.request_id.encode("utf-8", "replace")),
        operation,
        _decoded(address.key) if address is not None else b"-",
        _UNSAFE_QUOTED.sub(_escape, request_uri),
        b"%d" % record.status if record.status else b"-",
        _text(record.error_code.encode("utf-8", "replace") if record.error_code else None),
        record.sent_size,
        b"-" if size is None else b"%d" % size,
        record.total_seconds * 1000,
        b"-" if turn_around is None else b"%d" % (turn_around * 1000),
        referer,
        user_agent,
        version_id,
        _word(record.host_id),
        _word(record.signature_version),
        _word(record.cipher_suite),
        _word(record.authentication_type),
        host,
        _word(record.tls_version),
        _word(record.backend),
        _text(record.backend_request_id),
        record.received_size,
    )


def _escape(unsafe: re.Match[bytes]) -> bytes:
    return b"%%%02X" % unsafe[0][0]


def _text(value: bytes | None) -> bytes:
    """
    Return text of any kind, escaped.
    """
    return _UNSAFE.sub(_escape, mask_credentials(value)) if value else b"-"


def _decoded(value: bytes) -> bytes:
    """
    Return text that was percent-decoded, encoded so that it can be decoded again.
    """
    return _UNSAFE_DECODED.sub(_escape, mask_credentials(value)) if value else b"-"


def _quoted(value: bytes | None) -> bytes:
    return _UNSAFE_QUOTED.sub(_escape, mask_credentials(value)) if value else b"-"


@lru_cache(512)
def _word(value: str | None) -> bytes:
    """
    Return a name that occurs often, escaped.
    """
    return _text(value.encode("utf-8", "replace")) if value else b"-"


def _format_time(moment: datetime) -> bytes:
    return b"%02d/%s/%04d:%02d:%02d:%02d +0000" % (
        moment.day,
        _MONTHS[moment.month - 1],
        moment.year,
        moment.hour,
        moment.minute,
        moment.second,
    )


class AccessLog:
    """
    Writes the lines. Each is written at once, so that none is lost when the process ends.

    Args:
        path: A file to append to; ``-`` for standard output, or for the process's own log if standard output is
            ``/dev/null``, as in a daemon; ``none`` for no access log.

    Attributes:
        lost_count: Number of lines that could not be written.
    """

    _log = Logger()

    def __init__(self, path: str) -> None:
        self._path = path
        self._fd: int | None = None
        self._is_in_log = False
        self.lost_count = 0
        self.reopen()

    @property
    def is_kept(self) -> bool:
        """
        Whether an access log is written.
        """
        return self._path != "none"

    def start(self) -> None:
        """
        Check if there is standard output. That is known only after twistd has daemonized the process.
        """
        if self._path == "-" and not self._is_in_log and not _has_standard_output():
            self._is_in_log, self._fd = True, None
            self._log.warn(
                'log.access is "-" (standard output), but this process has no standard output: the access log is '
                'written to this log; set log.access to a file or to "none"'
            )

    def write(self, record: AccessRecord) -> None:
        """
        Write a record's line.
        """
        if self._fd is None:
            if self._is_in_log:
                self._log.info("{line}", line=format_line(record).decode("ascii").rstrip("\n"))
            return
        try:
            os.write(self._fd, format_line(record))
        except OSError as error:
            # A full disk must not make requests fail, nor fill another log.
            if not self.lost_count:
                self._log.error("the access log cannot be written: {reason}", reason=error.strerror)
            self.lost_count += 1

    def reopen(self) -> None:
        """
        Close the file and open it again, for log rotation: there may be another file at its path.

        Raises:
            OSError: The file cannot be opened; the previous file stays in use.
        """
        if not self.is_kept:
            return
        if self._path == "-":
            self._fd = None if self._is_in_log else 1
            return
        fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        self.close()
        self._fd = fd
        self.lost_count = 0

    def close(self) -> None:
        """
        Close the file, and drop all further lines.
        """
        fd, self._fd = self._fd, None
        self._is_in_log = False
        if fd is not None and fd > 2:
            os.close(fd)


def _has_standard_output() -> bool:
    try:
        return os.fstat(1).st_rdev != os.stat(os.devnull).st_rdev
    except OSError:
        return False
