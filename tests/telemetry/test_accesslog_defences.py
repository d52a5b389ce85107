"""
The access log: each entry stays one line with its own fields, and contains no credential.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from s3proxy.s3.address import Address
from s3proxy.s3.head import RequestHead, index_headers
from s3proxy.s3.masking import MASK
from s3proxy.telemetry import accesslog
from s3proxy.telemetry.accesslog import AccessLog, AccessRecord, format_line
from tests.conftest import ErrorLog
from tests.support.harness import NOW

# The fields of S3's own format: a bracketed time, quoted text, or a word.
FIELD = re.compile(rb'\[[^\]]*\]|"[^"]*"|[^ "]+')
FIELD_COUNT = 29
SIGNATURE = b"5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"


def line_of(
    target: bytes = b"/b/k", *, key: bytes = b"k", headers: tuple[tuple[bytes, bytes], ...] = (), **values: object
) -> bytes:
    """
    Return the line of a GET.
    """
    head = RequestHead(b"GET", target, b"HTTP/1.1", list(headers), index_headers(headers))
    address = Address(b"b", key, b"b", key)
    record = AccessRecord(
        received_at=NOW, client_host="192.0.2.1", request_id="0" * 16, head=head, address=address, status=200
    )
    for name, value in values.items():
        setattr(record, name, value)
    return format_line(record)


def fields_of(line: bytes) -> list[bytes]:
    """
    Return the fields of a line, and check that it is exactly one line.
    """
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert b"\r" not in line
    assert all(0x20 <= byte < 0x7F for byte in line[:-1])
    text = line[:-1]
    fields = FIELD.findall(text)
    assert b" ".join(fields) == text
    return fields


def test_an_ordinary_line() -> None:
    """
    The expression above matches an ordinary line.
    """
    fields = fields_of(line_of(headers=((b"User-Agent", b"aws-cli/2.0"), (b"Referer", b"http://here/"))))

    assert len(fields) == FIELD_COUNT
    assert b'"aws-cli/2.0"' in fields
    assert b'"http://here/"' in fields


@pytest.mark.parametrize(
    "text", [b'x" 200 - "y', b"x\r\n- forged [line", b"x y", b"\xff\x00\x7f\x1b[31m", b"back\\slash"]
)
@pytest.mark.parametrize("place", ["key", "target", "referer", "agent", "host", "version", "access key", "backend id"])
def test_no_text_of_a_client_or_a_backend_ends_a_field(place: str, text: bytes) -> None:
    """
    Whatever is in a key, a header, a version, a claimed key or a backend's id, the line keeps its fields.
    """
    lines = {
        "key": lambda: line_of(key=text),
        "target": lambda: line_of(b"/b/" + text),
        "referer": lambda: line_of(headers=((b"Referer", text),)),
        "agent": lambda: line_of(headers=((b"User-Agent", text),)),
        "host": lambda: line_of(headers=((b"Host", text),)),
        "version": lambda: line_of(b"/b/k?versionId=" + text),
        "access key": lambda: line_of(access_key_id=text),
        "backend id": lambda: line_of(backend_request_id=text),
    }

    assert len(fields_of(lines[place]())) == FIELD_COUNT


def test_an_escaped_key_is_read_back() -> None:
    """
    A key with a percent sign can be distinguished from its escape.
    """
    fields = fields_of(line_of(key=b"a%20b"))

    assert b"a%2520b" in fields


@pytest.mark.parametrize(
    "target",
    [
        b"/b/k?X-Amz-Signature=" + SIGNATURE,
        b"/b/k?x=1&X-Amz-Security-Token=" + SIGNATURE + b"&y=2",
        b"/b/k?AWSAccessKeyId=A&Signature=" + SIGNATURE + b"&Expires=1",
        b"/b/k?X%2DAmz%2DSignature=" + SIGNATURE,
    ],
)
def test_a_target_holds_no_credential(target: bytes) -> None:
    """
    A reader of the log cannot send the request again.
    """
    line = line_of(target)

    fields_of(line)
    assert SIGNATURE not in line
    assert MASK in line


@pytest.mark.parametrize("header", [b"Referer", b"User-Agent"])
def test_a_header_holds_no_credential(header: bytes) -> None:
    """
    A browser sends the presigned URL of the page in Referer.
    """
    line = line_of(headers=((header, b"https://s3.test/b/k?X-Amz-Signature=" + SIGNATURE),))

    fields_of(line)
    assert SIGNATURE not in line
    assert MASK in line


def test_a_log_is_not_everybody_s_to_read(tmp_path: Path) -> None:
    """
    Its owner writes it, its group reads it, whatever the umask allows.
    """
    path = tmp_path / "access.log"
    former = os.umask(0)
    try:
        AccessLog(str(path)).close()
    finally:
        os.umask(former)

    assert path.stat().st_mode & 0o777 == 0o640


def test_a_full_disk_fails_no_request(monkeypatch: pytest.MonkeyPatch, error_log: ErrorLog, tmp_path: Path) -> None:
    """
    Lines are lost and counted, and that is reported once.
    """

    def full(fd: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    log = AccessLog(str(tmp_path / "access.log"))
    record = AccessRecord(received_at=NOW, client_host="192.0.2.1", request_id="0" * 16)
    with monkeypatch.context() as patched:
        patched.setattr(accesslog.os, "write", full)
        log.write(record)
        log.write(record)
    log.close()

    assert log.lost_count == 2
    assert error_log.flush() == []
