"""
A browser's upload form: bytes of multipart/form-data in, its fields and then the bytes of its file out.

Source:
    "POST Object"; RFC 7578, RFC 2046 section 5.1.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import auto

from s3proxy.s3.errors import InvalidArgument, MalformedPOSTRequest, MaxPostPreDataLengthExceeded
from s3proxy.s3.identity_enum import IdentityEnum
from s3proxy.s3.limits import MAX_POST_FIELDS_SIZE, MAX_POST_PART_HEAD_SIZE

# The header lines of a part, as strict as those of a request: readers disagree on a fold and on a bare CR, LF or NUL.
_LINE = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++:[^\x00-\x08\x0a-\x1f\x7f]*+"
_PART_HEAD = re.compile(rb"%b(?:\r\n%b)*" % (_LINE, _LINE))
# A quoted pair must not hide a control character. A comma outside quotation marks separates two values.
_PARAMETER = re.compile(
    rb";[ \t]*+([!#$%&'*+\-.^_`|~0-9A-Za-z]++)[ \t]*+=[ \t]*+"
    rb'(?:"([^"\\\x00-\x1f\x7f]*+(?:\\[^\x00-\x1f\x7f][^"\\\x00-\x1f\x7f]*+)*)"|([^\x00-\x20\x7f;,"]++))[ \t]*+'
)
_DISPOSITION = re.compile(rb"form-data[ \t]*(?=;|\Z)", re.IGNORECASE)
_BOUNDARY = re.compile(rb"[0-9A-Za-z'()+_,\-./:=? ]{0,69}[0-9A-Za-z'()+_,\-./:=?]")
_IGNORED = b"x-ignore-"
# Apache HttpClient and Ruby's multipart-post send these. A reader that decodes base64 would see another value.
_IDENTITY_ENCODINGS = frozenset({b"7bit", b"8bit", b"binary"})


@dataclass(slots=True)
class Form:
    """
    The fields of a form that precede its file, and the name of the file.

    Attributes:
        fields: Values by lower-case name, both UTF-8.
        filename: Name in the part of the file, as sent, without control characters; empty if it has none.
    """

    fields: dict[bytes, bytes] = field(default_factory=dict)
    filename: bytes = b""


def parse_boundary(content_type: bytes) -> bytes:
    """
    Return the boundary between the parts of a form.

    Raises:
        MalformedPOSTRequest: There is no boundary, or not one that RFC 2046 allows.
    """
    boundary = _parameters(content_type).get(b"boundary", b"")
    if _BOUNDARY.fullmatch(boundary) is None:
        raise MalformedPOSTRequest
    return boundary


class _State(IdentityEnum):
    PREAMBLE = auto()
    DELIMITER = auto()
    PART_HEAD = auto()
    VALUE = auto()
    FILE = auto()


class FieldsDecoder:
    """
    Reads a form up to the first byte of its file, however the network cuts it.

    Args:
        boundary: From `parse_boundary`.

    Attributes:
        form: Complete once `feed` returns bytes.
        size: Bytes of the body before the file's first byte, once that was reached.
    """

    __slots__ = ("_buffer", "_delimiter", "_name", "_position", "_searched", "_state", "form", "size")

    def __init__(self, boundary: bytes) -> None:
        self.form = Form()
        self.size = 0
        self._delimiter = b"\r\n--" + boundary
        # The delimiter begins with CRLF, but the first one may be the first line of the body.
        self._buffer = bytearray(b"\r\n")
        self._state = _State.PREAMBLE
        self._position = 0
        self._searched = 0
        self._name = b""

    def feed(self, data: bytes) -> bytes | None:
        """
        Take bytes as they arrived.

        Returns:
            None until the file begins; then the rest of the received bytes.

        Raises:
            MalformedPOSTRequest: It is not a form.
            MaxPostPreDataLengthExceeded: The fields before the file are too long.
            InvalidArgument: There is no file, a field is repeated, or a field is not UTF-8.
        """
        self._buffer += data
        steps: dict[_State, Callable[[], bool]] = {
            _State.PREAMBLE: self._skip_preamble,
            _State.DELIMITER: self._read_delimiter,
            _State.PART_HEAD: self._read_part_head,
            _State.VALUE: self._read_value,
        }
        while self._state is not _State.FILE:
            if not steps[self._state]():
                if len(self._buffer) - 2 > MAX_POST_FIELDS_SIZE + MAX_POST_PART_HEAD_SIZE:
                    raise MaxPostPreDataLengthExceeded(MAX_POST_FIELDS_SIZE)
                return None
        self.size = self._position - 2
        rest = bytes(self._buffer[self._position :])
        self._buffer.clear()
        return rest

    def finish(self) -> None:
        """
        Know that no more bytes will come: the file has not begun.

        Raises:
            MalformedPOSTRequest: Always.
        """
        raise MalformedPOSTRequest

    def _find(self, text: bytes) -> int:
        """
        Return the position of a text after the present one, or -1. Bytes that were searched are not searched again.
        """
        start = max(self._position, self._searched - len(text))
        found = self._buffer.find(text, start)
        self._searched = len(self._buffer)
        return found

    def _skip_preamble(self) -> bool:
        found = self._find(self._delimiter)
        if found < 0:
            return False
        self._position = self._searched = found + len(self._delimiter)
        self._state = _State.DELIMITER
        return True

    def _read_delimiter(self) -> bool:
        rest = self._buffer[self._position : self._position + 2]
        if len(rest) < 2:
            return False
        if rest == b"--":
            raise InvalidArgument("POST requires exactly one file upload per request.", "file", b"0")
        end = self._find(b"\r\n")
        if end < 0:
            return False
        if self._buffer[self._position : end].strip(b" \t"):
            # A longer word that begins with the boundary.
            raise MalformedPOSTRequest
        self._position = self._searched = end
        self._state = _State.PART_HEAD
        return True

    def _read_part_head(self) -> bool:
        # A part may have no headers. The first CRLF is then the end of the delimiter's line.
        end = self._find(b"\r\n\r\n")
        if end < 0:
            return False
        if self._position - 2 > MAX_POST_FIELDS_SIZE:
            raise MaxPostPreDataLengthExceeded(MAX_POST_FIELDS_SIZE)
        head = bytes(self._buffer[self._position : end])
        if self._delimiter in head:
            # A boundary may contain a colon, and look like a header line.
            raise MalformedPOSTRequest
        parameters = _part_parameters(head[2:])
        self._position = self._searched = end + 4
        self._name = parameters.get(b"name", b"").lower()
        # Readers disagree on a quoted pair: some remove its backslash, some keep it.
        if not self._name or b"\\" in self._name or b'"' in self._name:
            raise MalformedPOSTRequest
        check_text(self._name)
        if self._name == b"file":
            self.form.filename = parameters.get(b"filename", b"")
            self._state = _State.FILE
        else:
            # If the value is empty, its delimiter begins with the last CRLF of the head.
            self._position -= 2
            self._searched = self._position
            self._state = _State.VALUE
        return True

    def _read_value(self) -> bool:
        found = self._find(self._delimiter)
        if found < 0:
            return False
        value = bytes(self._buffer[self._position + 2 : found])
        check_text(value)
        if self._name in self.form.fields and not self._name.startswith(_IGNORED):
            # The policy could mean either of the two.
            raise InvalidArgument("Bucket POST must contain each field only once.", self._name.decode(), value)
        self.form.fields[self._name] = value
        self._position = self._searched = found + len(self._delimiter)
        self._state = _State.DELIMITER
        return True


class FileDecoder:
    """
    Reads the file of a form up to its delimiter, and ignores the bytes after it.

    Args:
        boundary: From `parse_boundary`.
    """

    __slots__ = ("_delimiter", "_has_ended", "_is_closed", "_kept")

    def __init__(self, boundary: bytes) -> None:
        self._delimiter = b"\r\n--" + boundary
        self._kept = b""
        self._has_ended = False
        self._is_closed = False

    @property
    def is_closed(self) -> bool:
        """
        Whether the end of the form was reached. Without it, the file may be cut.
        """
        return self._is_closed

    @property
    def closing_size(self) -> int:
        """
        Bytes of the end of the form, if it follows directly after the file.
        """
        return len(self._delimiter) + len(b"--\r\n")

    def feed(self, data: bytes) -> list[memoryview]:
        """
        Take bytes as they arrived.

        Returns:
            The bytes in order, as views of ``data``.
        """
        if self._is_closed:
            return []
        if self._kept:
            data = self._kept + data
            self._kept = b""
        if self._has_ended:
            self._skip(data)
            return []
        end = self._find_end(data)
        return [memoryview(data)[:end]] if end else []

    def _find_end(self, data: bytes) -> int:
        """
        Return how many bytes are certainly the file's; keep those which may be its delimiter.
        """
        delimiter = self._delimiter
        found = data.find(delimiter)
        while found >= 0:
            behind = found + len(delimiter)
            mark = data[behind : behind + 2]
            if len(mark) < 2:
                self._kept = data[found:]
                return found
            if mark == b"--":
                self._has_ended = self._is_closed = True
                return found
            if mark == b"\r\n" or mark[:1] in {b" ", b"\t"}:
                self._has_ended = True
                self._skip(data[behind:])
                return found
            # A longer word that begins with the boundary: it belongs to the file.
            found = data.find(delimiter, found + 1)
        # A boundary contains no CR, so only the last CR may begin a delimiter.
        begin = data.rfind(b"\r", max(0, len(data) - len(delimiter) + 1))
        if begin >= 0 and delimiter.startswith(data[begin:]):
            self._kept = data[begin:]
            return begin
        return len(data)

    def _skip(self, data: bytes) -> None:
        closing = self._delimiter + b"--"
        self._is_closed = closing in data
        self._kept = b"" if self._is_closed else data[-len(closing) + 1 :]


def check_text(value: bytes) -> None:
    """
    Refuse a field that is not UTF-8.

    Raises:
        InvalidArgument: As S3 does ("HTML Form Declaration": the form and the policy are UTF-8).
    """
    try:
        value.decode()
    except UnicodeDecodeError:
        raise InvalidArgument("Malformed Unicode code sequence in the field.", "formField", None) from None


def _part_parameters(head: bytes) -> dict[bytes, bytes]:
    """
    Return the parameters of the one Content-Disposition of a part.

    Args:
        head: The header lines of the part, without the empty line after them.

    Raises:
        MalformedPOSTRequest: The lines are not valid, or two readers could read different fields or values.
    """
    if _PART_HEAD.fullmatch(head) is None:
        raise MalformedPOSTRequest
    parameters: dict[bytes, bytes] | None = None
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        lower = name.lower()
        value = value.strip(b" \t")
        if lower == b"content-disposition":
            if parameters is not None or _DISPOSITION.match(value) is None:
                raise MalformedPOSTRequest
            parameters = _parameters(value)
        elif lower == b"content-transfer-encoding" and value.lower() not in _IDENTITY_ENCODINGS:
            raise MalformedPOSTRequest
    return parameters or {}


def _parameters(value: bytes) -> dict[bytes, bytes]:
    """
    Return the parameters of a header by lower-case name.

    Raises:
        MalformedPOSTRequest: They are not valid, one is repeated, or one is in the extended notation of RFC 2231.
    """
    end = value.find(b";")
    found: dict[bytes, bytes] = {}
    if end < 0:
        return found
    while (parameter := _PARAMETER.match(value, end)) is not None:
        name = parameter[1].lower()
        base, star, _ = name.partition(b"*")
        # .NET sends filename* and filename; S3 and browsers read only filename. Any other parameter would have a second
        # value, such as name*=utf-8''acl.
        if name in found or (star and base != b"filename"):
            raise MalformedPOSTRequest
        end = parameter.end()
        quoted = parameter[2]
        # Browsers write a quotation mark as %22 and a backslash as it is. Others escape only the quotation mark.
        found[name] = parameter[3] if quoted is None else quoted.replace(b'\\"', b'"')
    if value[end:].strip(b" \t;"):
        raise MalformedPOSTRequest
    return found
