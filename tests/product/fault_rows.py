"""
The table of faults: what goes wrong on either side, and the outcome for each kind of request.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from twisted.internet.interfaces import IReactorTime

from s3proxy.testing import faults
from s3proxy.testing.faults import Misbehaviour, Misdeed
from s3proxy.testing.faulty_backend import OK, FaultyBackend

BODY = bytes(range(256)) * 6000
SMALL = b"hello" * 100
DOWNLOAD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
REFUSAL = b"HTTP/1.1 404 Not Found\r\nContent-Length: 32\r\n\r\n<Error><Code>Gone</Code></Error>"

KINDS = ("small upload", "streamed upload", "part", "form", "download")
STREAMED = ("streamed upload", "part", "form")
WHOLE = ("small upload", "download")
"Kinds that a backend gets in one piece: a fault after the head is a fault after the whole request."

CUT = "cut"
NONE = "none"
INTERNAL = "500 InternalError"
UNAVAILABLE = "503 ServiceUnavailable"
TIMEOUT = "400 RequestTimeout"
INCOMPLETE = "400 IncompleteBody"
STORED = {"form": "204"}
"The status that a form reads instead of 200."


@dataclass(frozen=True)
class Row:
    """
    One fault.

    Attributes:
        others: What clients read, for all kinds that `by_kind` does not name: status and code, ``cut`` if the
            connection ends without a whole response, ``none`` if the client itself has left.
        by_tls: The same over TLS, if it differs from plain connections.
        stores: Kinds of which the backend gets the whole request.
        tls_stores: The same over TLS, if it differs.
        waits: Seconds until a party gives up.
        misbehave: What the backend does.
        misdeed: What the client does.
        place: Where the fault occurs: in the middle of its ``body`` (at the end of its head, if it has none), of its
            ``head``, or at the ``end`` of all.
        channels: The kinds of connections that can have this fault.
        expects: Whether requests ask for ``100 Continue``.
        is_there: Whether the backend accepts connections.
        speaks_tls: Whether the backend uses TLS if it should.
        certificate: What is wrong with the backend's certificate: its ``name``, ``issuer`` or ``date``.
        minimum_rate: Bytes a second that a client must send.
        spools: Whether bodies are verified on disk first: ``commit = "spool"``.
    """

    others: str
    by_kind: dict[str, str] = field(default_factory=dict)
    by_tls: dict[str, str] = field(default_factory=dict)
    stores: tuple[str, ...] = ()
    tls_stores: tuple[str, ...] | None = None
    waits: float = 0
    misbehave: Misbehaviour = FaultyBackend.behave
    misdeed: Misdeed = faults.sends_all
    place: str = "body"
    channels: tuple[str, ...] = ("plain", "TLS")
    expects: bool = False
    is_there: bool = True
    speaks_tls: bool = True
    certificate: str | None = None
    minimum_rate: int = 0
    spools: bool = False

    def outcome(self, kind: str, channel: str) -> str:
        """
        Return what the client of such a request reads.
        """
        found = self.by_kind.get(kind, self.others)
        return self.by_tls.get(kind, self.by_tls.get("others", found)) if channel == "TLS" else found

    @property
    def is_reached(self) -> bool:
        """
        Whether requests can reach the backend at all.
        """
        return self.is_there and self.speaks_tls and self.certificate is None

    def is_stored(self, kind: str, channel: str) -> bool:
        """
        Return True if the backend gets the whole request.
        """
        if channel == "TLS" and self.tls_stores is not None:
            return kind in self.tls_stores
        return kind in self.stores


def backend_rows(clock: IReactorTime) -> dict[str, Row]:
    """
    Return the faults of a backend.
    """
    ambiguous = faults.responds(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nContent-Length: 5\r\n\r\nhello")
    two_framings = faults.responds(
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    )
    short = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nshort"
    endless = b"HTTP/1.1 200 OK\r\n\r\nno length, and then"
    on_tls: Any = {"channels": ("TLS",)}
    return {
        "refuses connections": Row(UNAVAILABLE, is_there=False),
        "resets each connection": Row(INTERNAL, by_tls={"others": UNAVAILABLE}, misbehave=faults.resets_at_once),
        "resets after the head": Row(INTERNAL, stores=WHOLE, misbehave=faults.resets_at_the_head),
        "ends after the head": Row(INTERNAL, stores=WHOLE, misbehave=faults.ends_at_the_head),
        "resets within the body": Row(INTERNAL, STORED_WHOLE, stores=WHOLE, misbehave=faults.resets_after(500_000)),
        "ends within the body": Row(INTERNAL, STORED_WHOLE, stores=WHOLE, misbehave=faults.ends_after(500_000)),
        "resets after the whole request": Row(INTERNAL, stores=KINDS, misbehave=faults.resets_when_it_has_all),
        "reads nothing": Row(UNAVAILABLE, stores=WHOLE, waits=61, misbehave=faults.reads_no_more_after(1)),
        "reads slowly": Row("200", STORED, stores=KINDS, waits=30, misbehave=faults.reads_slowly(131072, clock)),
        "never responds": Row(UNAVAILABLE, stores=KINDS, waits=61, misbehave=faults.never_responds),
        'stores bodies that were cut short, with commit = "spool"; the client sends FIN within its body': Row(
            INCOMPLETE,
            {"download": "200"},
            by_tls={"others": NONE},
            stores=("download",),
            tls_stores=(),
            spools=True,
            misdeed=faults.half_closes_after,
            misbehave=faults.commits_short_bodies,
        ),
        'stores bodies that were cut short, with commit = "spool"; the client changes a byte of its body': Row(
            "403 SignatureDoesNotMatch",
            {"small upload": "400 XAmzContentSHA256Mismatch", "form": "204", "download": "200"},
            stores=("form", "download"),
            spools=True,
            misdeed=faults.changes_an_byte,
            misbehave=faults.commits_short_bodies,
        ),
        "responds with an error": Row("404 Gone", stores=KINDS, misbehave=faults.responds(REFUSAL)),
        "responds with an error early": Row("404 Gone", stores=WHOLE, misbehave=faults.responds_early(REFUSAL)),
        "responds with success early": Row(
            INTERNAL, {"small upload": "200", "download": "200"}, stores=WHOLE, misbehave=faults.responds_early(OK)
        ),
        "never sends 100 Continue": Row("200", STORED, stores=KINDS, waits=2, expects=True),
        "sends 100 Continue without Expect": Row("200", STORED, stores=KINDS, misbehave=faults.asks_for_the_body),
        "sends 100 Continue late": Row(
            "200", STORED, stores=KINDS, waits=2, expects=True, misbehave=faults.responds(faults.CONTINUE, OK)
        ),
        "responds and half-closes": Row("200", STORED, stores=KINDS, misbehave=faults.half_closes(OK)),
        "ends within its response": Row(CUT, STORED, stores=KINDS, misbehave=faults.ends_within(short)),
        "ends within its response, without close_notify": Row(
            CUT, STORED, stores=KINDS, misbehave=faults.ends_without_notice(short), **on_tls
        ),
        "ends a response without length, without close_notify": Row(
            CUT, STORED, stores=KINDS, misbehave=faults.ends_without_notice(endless), **on_tls
        ),
        "responds with garbage": Row(INTERNAL, stores=KINDS, misbehave=faults.responds(b"garbage\r\n\r\n")),
        "responds with an endless head": Row(
            INTERNAL, stores=KINDS, misbehave=faults.responds(b"HTTP/1.1 200 OK\r\nA: ", b"b" * 200_000)
        ),
        "responds with two lengths": Row(INTERNAL, stores=KINDS, misbehave=ambiguous),
        "responds with a length and chunks": Row(INTERNAL, stores=KINDS, misbehave=two_framings),
        "switches protocols": Row(
            INTERNAL, stores=KINDS, misbehave=faults.responds(b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n")
        ),
        "sends interim responses only": Row(
            INTERNAL, stores=KINDS, misbehave=faults.responds(b"HTTP/1.1 103 Early\r\n\r\n" * 20)
        ),
        "sends more than its response": Row(
            INTERNAL, stores=KINDS, misbehave=faults.responds(OK, b"HTTP/1.1 200 OK\r\n")
        ),
        "stalls in the handshake": Row(
            UNAVAILABLE, waits=6, speaks_tls=False, misbehave=faults.never_responds, **on_tls
        ),
        "does not use TLS": Row(
            UNAVAILABLE, speaks_tls=False, misbehave=lambda backend: greet(backend, REFUSAL), **on_tls
        ),
        "has a certificate for another name": Row(UNAVAILABLE, certificate="name", **on_tls),
        "has a certificate of another issuer": Row(UNAVAILABLE, certificate="issuer", **on_tls),
        "has an expired certificate": Row(UNAVAILABLE, certificate="date", **on_tls),
    }


STORED_WHOLE = {"small upload": "200", "download": "200"}
"Outcomes of kinds that are complete before the place of the fault."


def greet(backend: FaultyBackend, data: bytes) -> None:
    """
    Send bytes at once on each connection.
    """
    backend.on_connection = lambda connection: connection.send(data)


def client_rows(clock: IReactorTime) -> dict[str, Row]:
    """
    Return the faults of a client.
    """
    no_body: Any = {"by_kind": {"download": "200"}, "stores": ("download",)}
    slow_response = faults.responds(DOWNLOAD)
    return {
        "stalls within its head": Row(CUT, place="head", waits=31, misdeed=faults.stalls),
        "stalls within its body": Row(TIMEOUT, waits=61, misdeed=faults.stalls, **no_body),
        "sends too slowly": Row(
            TIMEOUT,
            STORED_WHOLE,
            stores=WHOLE,
            waits=61,
            minimum_rate=5000,
            misdeed=faults.sends_slowly(1024, clock),
        ),
        "sends slowly": Row("200", STORED, stores=KINDS, waits=61, misdeed=faults.sends_slowly(131072, clock)),
        "sends FIN within its body": Row(
            INCOMPLETE, misdeed=faults.half_closes_after, by_tls={"others": NONE}, tls_stores=(), **no_body
        ),
        "sends FIN after its request": Row(
            "200",
            STORED,
            by_tls={"others": NONE},
            stores=KINDS,
            tls_stores=("streamed upload", "part"),
            place="end",
            misdeed=faults.half_closes_after,
        ),
        "leaves within its body, without close_notify": Row(
            NONE, misdeed=faults.leaves_without_notice, channels=("TLS",)
        ),
        "resets within its head": Row(NONE, place="head", misdeed=faults.resets),
        "resets within its body": Row(NONE, misdeed=faults.resets),
        "resets after its request": Row(
            NONE,
            stores=KINDS,
            place="end",
            misdeed=faults.resets_later(1, clock),
            misbehave=faults.never_responds,
            waits=2,
        ),
        "resets while the backend reads nothing": Row(
            NONE,
            stores=WHOLE,
            place="end",
            waits=61,
            misdeed=faults.resets_later(1, clock),
            misbehave=faults.reads_no_more_after(1),
        ),
        "changes a byte of its body": Row(
            "403 SignatureDoesNotMatch",
            {"small upload": "400 XAmzContentSHA256Mismatch", "form": "204", "download": "200"},
            stores=("form", "download"),
            misdeed=faults.changes_an_byte,
        ),
        "reads nothing of a long response": Row(
            CUT, STORED, stores=KINDS, waits=61, misdeed=faults.reads_nothing, misbehave=slow_response
        ),
    }


POISON = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nstolen"
"Bytes that would be another tenant's response, if they were read as one."


def _head(*lines: bytes, status: bytes = b"HTTP/1.1 200 OK", rest: bytes = b"") -> bytes:
    return b"\r\n".join((status, *lines)) + b"\r\n\r\n" + rest


_CHUNKED = b"Transfer-Encoding: chunked"

AMBIGUOUS_HEADS = {
    "two lengths": _head(b"Content-Length: 0", b"Content-Length: 5", rest=b"hello"),
    "two lengths in one line": _head(b"Content-Length: 0, 5", rest=b"hello"),
    "a length with a sign": _head(b"Content-Length: +0"),
    "a negative length": _head(b"Content-Length: -5"),
    "a length in hex": _head(b"Content-Length: 0x0"),
    "a length with a space": _head(b"Content-Length: 0 0"),
    "a length of 5,000 digits": _head(b"Content-Length: " + b"0" * 5000),
    "an empty length": _head(b"Content-Length:"),
    "a length and chunks": _head(b"Content-Length: 0", _CHUNKED, rest=b"0\r\n\r\n"),
    "chunks twice": _head(_CHUNKED, _CHUNKED, rest=b"0\r\n\r\n"),
    "a coding before chunks": _head(b"Transfer-Encoding: gzip, chunked", rest=b"0\r\n\r\n"),
    "a coding after chunks": _head(b"Transfer-Encoding: chunked, identity", rest=b"0\r\n\r\n"),
    "an unknown coding": _head(b"Transfer-Encoding: xchunked", rest=b"0\r\n\r\n"),
    "chunks in HTTP/1.0": _head(_CHUNKED, status=b"HTTP/1.0 200 OK", rest=b"0\r\n\r\n"),
    "a line without a colon": _head(b"Content-Length: 0", b"nothing"),
    "a space before the colon": _head(b"Content-Length : 0"),
    "a folded line": _head(b"X: a", b" b", b"Content-Length: 0"),
    "a line that begins with a space": _head(b" X: a", b"Content-Length: 0"),
    "a bare CR": _head(b"X: a\rContent-Length: 5", b"Content-Length: 0"),
    "a bare LF": _head(b"X: a\nContent-Length: 5", b"Content-Length: 0"),
    "lines that end with LF": b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    "a control byte": _head(b"X: a\x00b", b"Content-Length: 0"),
    "a status of two digits": _head(b"Content-Length: 0", status=b"HTTP/1.1 20 OK"),
    "a status of four digits": _head(b"Content-Length: 0", status=b"HTTP/1.1 2000 OK"),
    "a status that is not a number": _head(b"Content-Length: 0", status=b"HTTP/1.1 OK"),
    "a status of 600": _head(b"Content-Length: 0", status=b"HTTP/1.1 600 OK"),
    "another version of HTTP": _head(b"Content-Length: 0", status=b"HTTP/2 200 OK"),
    "another protocol": _head(b"Content-Length: 0", status=b"ICY 200 OK"),
    "a byte before the response": b"x" + OK,
    "bytes that are not HTTP": b"garbage\r\n\r\n",
    "a status of 101": _head(b"Upgrade: x", status=b"HTTP/1.1 101 Switching Protocols"),
    "17 interim responses": _head(status=b"HTTP/1.1 103 Early Hints") * 17 + OK,
    "a head of 70 KiB": _head(b"X: " + b"a" * 70 * 1024, b"Content-Length: 0"),
}
"Heads that two readers could understand differently, or that are too long: none is believed."

AMBIGUOUS_BODIES = {
    "a chunk size in words": _head(_CHUNKED, rest=b"zero\r\n\r\n"),
    "a chunk size with 0x": _head(_CHUNKED, rest=b"0x0\r\n\r\n"),
    "a negative chunk size": _head(_CHUNKED, rest=b"-1\r\n\r\n"),
    "a chunk size of 20 digits": _head(_CHUNKED, rest=b"1" + b"0" * 20 + b"\r\n\r\n"),
    "a chunk that is longer than its size": _head(_CHUNKED, rest=b"5\r\nhello!\r\n0\r\n\r\n"),
    "a chunk line that ends with LF": _head(_CHUNKED, rest=b"0\n\n"),
    "a trailer without a colon": _head(_CHUNKED, rest=b"0\r\nnothing\r\n\r\n"),
}
"Bodies whose end is ambiguous."

EXCESS = {
    "a byte beyond the length": (OK, b"x"),
    "a whole response beyond the length": (OK, b""),
    "a body in a 204 response": (_head(status=b"HTTP/1.1 204 No Content"), b"hello"),
    "a body in a 304 response": (_head(status=b"HTTP/1.1 304 Not Modified"), b"hello"),
    "bytes after the last chunk": (_head(_CHUNKED, rest=b"0\r\n\r\n"), b"x"),
}
"Responses, and bytes that arrive after their end."
