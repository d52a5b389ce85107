"""
Read the bytes on both sides of a proxy under test, and have each request to a backend judged.

s3proxy has no code for it: classes are wrapped from outside when their module is loaded. If a class or method is
renamed, `patch` fails at once; change its name here then.

The code of an exchange runs in a context that names its client. A request that leaves in such a context is judged by
all rules. One that leaves in none (health checks, doctor, treq, tests of the agent) is judged by rule (a) alone.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
import struct
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from cryptography import x509

from .judge import EUCALYPTUS, Client, Facts, expected_sha256, has_comparable_body, judge, kept_size
from .wire import ClientStream, Head, NotARequest, RequestStream, backend_faults

ENVIRONMENT = "S3PROXY_ORACLE"
"""
Names the directory where child processes write breaches and counts; unset if they report none.
"""

_PROBE = b"/s3proxy-doctor-"
"""
Begins every bucket or key of the doctor, which uses no others.
"""

_COUNTS = struct.Struct("=QQ")
_SECRETS = re.compile(rb"(?i)(signature(?:=|%3D)|x-amz-security-token(?:=|: *)|authorization: *AWS [^:\s]*:)[^&,;\s]+")


@dataclass(eq=False)
class Owner:
    """
    The client for which an exchange sends a request.

    Attributes:
        client: None if no bytes of a client were seen.
        fault: Why no client is known.
    """

    client: Client | None
    fault: str = ""


class Oracle:
    """
    Gathers the breaches and counts of one process.

    Attributes:
        judged_count: Requests to backends.
        client_count: How many of these were sent for a client and judged by all rules.
    """

    def __init__(self) -> None:
        self.judged_count = 0
        self.client_count = 0
        self.breaches: list[str] = []
        self._directory: Path | None = None
        self._fd = -1
        self._pid = 0

    def report_to(self, directory: Path) -> None:
        """
        Write breaches and counts into a directory from now on.
        """
        self._directory = directory

    def count(self, *, is_client: bool) -> None:
        """
        Count a request.
        """
        self.judged_count += 1
        self.client_count += is_client
        if self._directory is not None:
            if self._pid != os.getpid():
                self._begin_process(self._directory)
            os.pwrite(self._fd, _COUNTS.pack(self.judged_count, self.client_count), 0)

    def _begin_process(self, directory: Path) -> None:
        if self._pid:
            # This process is a fork: its parent keeps what the parent counted.
            self.judged_count, self.client_count = 1, 1
        self._pid = os.getpid()
        self._fd = os.open(
            directory / f"{self._pid}-{os.urandom(4).hex()}.count", os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC
        )

    def breach(self, text: str, client: Client | None, raw: bytes) -> None:
        """
        Record a breach.
        """
        lines = [f"breach {text}"[:400]]
        if client is not None:
            lines += _shown("client ", client.head.raw)
        lines += _shown("backend", raw)
        report = "\n".join(lines)
        if self._directory is None:
            self.breaches.append(report)
            return
        with (self._directory / f"{os.getpid()}.breaches").open("a") as file:
            file.write(json.dumps(report) + "\n")


def read_counts(path: Path) -> tuple[int, int]:
    """
    Return the counts of a child process: all requests, and those sent for clients.
    """
    data = path.read_bytes()
    return _COUNTS.unpack(data) if len(data) == _COUNTS.size else (0, 0)


def _shown(side: str, raw: bytes) -> list[str]:
    masked = _SECRETS.sub(rb"\1(masked)", raw[:16384])
    return [f"  {side}| {line!r}"[:600] for line in masked.split(b"\r\n") if line]


ORACLE = Oracle()

_owner: ContextVar[Owner | None] = ContextVar("owner", default=None)
_owners: dict[int, tuple[Any, Owner]] = {}


class BackendStream:
    """
    One connection to a backend.

    Args:
        oracle: Receives each breach.
    """

    def __init__(self, oracle: Oracle = ORACLE) -> None:
        self._oracle = oracle
        self._reader = RequestStream(self._head_received, self._is_no_request)
        self._next: tuple[Owner | None] | None = None
        self._client: Client | None = None
        self._head: Head | None = None

    def begin(self, owner: Owner | None, raw_head: bytes) -> None:
        """
        Expect the bytes of a request.
        """
        if self._reader.is_dead:
            # The breach was reported. The next request is read as if nothing had happened.
            self._reader = RequestStream(self._head_received, self._is_no_request)
        if not self._reader.is_between:
            self._oracle.breach("(a) a request begins inside another", None, raw_head)
        self._next = (owner,)

    def feed(self, pieces: Sequence[Any]) -> None:
        """
        Read what is written to the connection.
        """
        client = self._client
        if client is not None and client.refused_status and self._head is not None and self._next is None:
            raw, self._head = self._head.raw, None
            self._oracle.breach(f"(e) the body goes on after a refusal with {client.refused_status}", client, raw)
        for piece in pieces:
            self._reader.feed(piece)
        if self._head is not None and not self._reader.body_left:
            self._completed()

    def skip(self, size: int) -> None:
        """
        Count bytes that were spliced.
        """
        self._reader.skip(size)
        if self._head is not None and not self._reader.body_left:
            self._completed()

    def _head_received(self, head: Head) -> None:
        expected, self._next = self._next, None
        if expected is None:
            self._oracle.breach("(a) a request which nobody asked for", self._client, head.raw)
            return
        (owner,) = expected
        client = self._client = owner.client if owner is not None else None
        self._head = head
        self._oracle.count(is_client=client is not None)
        is_probe = owner is None and _PROBE in head.target
        faults = [f"(a) {fault}" for fault in backend_faults(head, is_probe=is_probe)]
        if owner is not None:
            if client is None:
                faults.append(f"(a) the client's bytes are no request: {owner.fault}")
            else:
                try:
                    faults += judge(client, head)
                    if has_comparable_body(client, head):
                        self._reader.digest = hashlib.sha256()
                except Exception as error:  # What the oracle does not understand must be looked at.
                    faults.append(f"(b) the oracle cannot read it: {error!r}")
        for fault in faults:
            self._oracle.breach(fault, client, head.raw)

    def _is_no_request(self, text: str, raw: bytes) -> None:
        owner = self._next[0] if self._next is not None else None
        self._oracle.count(is_client=owner is not None)
        self._oracle.breach(f"(a) {text}", owner.client if owner is not None else self._client, raw)

    def _completed(self) -> None:
        head, self._head = self._head, None
        client = self._client
        if client is None or head is None:
            return
        if not client.is_complete:
            self._oracle.breach("(e) the request is complete at the backend before the client's is", client, head.raw)
        digest = self._reader.digest
        if digest is not None and expected_sha256(client) not in {None, digest.hexdigest().encode()}:
            self._oracle.breach("(a) the body is not the client's", client, head.raw)
        if head.method not in {b"GET", b"HEAD"}:
            client.changes.append(head)


def begin_stream(raw_head: bytes) -> BackendStream:
    """
    Return the stream of a request that an exchange is sending now, for test backends that have no connection.
    """
    stream = BackendStream()
    stream.begin(_owner.get(), raw_head)
    stream.feed((raw_head,))
    return stream


# What is wrapped, module by module


def _patch_connection(module: ModuleType) -> None:
    plain_writer: Any = module.DirectWriter

    class TappedWriter(plain_writer):  # type: ignore[misc]
        """
        A writer to a backend, whose bytes are read.
        """

        def __init__(self, transport: Any, source: Any) -> None:
            self.stream = source.oracle = BackendStream()
            self._is_inside = False
            super().__init__(transport, source)

        def write(self, data: Any) -> None:
            if not self._is_inside:
                self.stream.feed((data,))
            super().write(data)

        def writeSequence(self, pieces: Any) -> None:
            self.stream.feed(pieces)
            self._is_inside = True
            try:
                super().writeSequence(pieces)
            finally:
                self._is_inside = False

        def splice(self, pipe: int, size: int) -> int:
            moved: int = super().splice(pipe, size)
            self.stream.skip(moved)
            return moved

    module.DirectWriter = TappedWriter  # type: ignore[attr-defined]
    ask = module.BackendConnection.ask

    @functools.wraps(ask)
    def tapped_ask(self: Any, request: Any, receiver: Any, body: Any = None) -> None:
        known = _owners.get(id(request))
        self.oracle.begin(known[1] if known is not None else None, request.head)
        ask(self, request, receiver, body)

    # `send` asks, too.
    module.BackendConnection.ask = tapped_ask


def _patch_agent(module: ModuleType) -> None:
    send, ask = module.BackendAgent.send, module.BackendAgent.ask

    def is_owned(self: Any, request: Any) -> bool:
        owner = _owner.get()
        if owner is None:
            if getattr(self, "oracle_proxied", False):
                ORACLE.breach("(e) a request of no exchange goes where a proxy's go", None, request.head)
            return False
        _owners[id(request)] = request, owner
        return True

    def forget(request: Any, result: Any) -> Any:
        _owners.pop(id(request), None)
        return result

    @functools.wraps(send)
    def tapped_send(self: Any, request: Any, body: Any = None) -> Any:
        if not is_owned(self, request):
            return send(self, request, body)
        return send(self, request, body).addBoth(functools.partial(forget, request))

    @functools.wraps(ask)
    def tapped_ask(self: Any, request: Any, receiver: Any) -> Any:
        return ask(self, request, _Forgetting(request, receiver) if is_owned(self, request) else receiver)

    class _Forgetting:
        """
        Forgets the owner of a request with its response, and passes that on.
        """

        def __init__(self, request: Any, receiver: Any) -> None:
            self._request, self._receiver = request, receiver

        def answered(self, response: Any) -> None:
            forget(self._request, None)
            self._receiver.answered(response)

        def not_answered(self, failure: Any) -> None:
            forget(self._request, None)
            self._receiver.not_answered(failure)

    module.BackendAgent.send, module.BackendAgent.ask = tapped_send, tapped_ask


def _patch_channel(module: ModuleType) -> None:
    received = module.S3Channel.dataReceived

    @functools.wraps(received)
    def tapped_received(self: Any, data: bytes) -> None:
        stream = self.__dict__.get("oracle")
        if stream is None:
            stream = self.oracle = ClientStream()
        stream.feed(data)
        received(self, data)

    module.S3Channel.dataReceived = tapped_received


def _patch_request(module: ModuleType) -> None:
    request_class = module.StreamedRequest
    begin, respond, moved = request_class.__init__, request_class.respond, request_class.bodyMoved
    make_head = request_class.make_head

    @functools.wraps(begin)
    def tapped_begin(self: Any, channel: Any, head: Any, resource: Any) -> None:
        begin(self, channel, head, resource)
        self.oracle = _begun(channel, head)

    @functools.wraps(respond)
    def tapped_respond(self: Any, status: int, *arguments: Any, **named: Any) -> None:
        client = self.oracle.client
        if client is not None and status >= 400:
            client.refused_status = status
            if status < 500 and client.changes:
                ORACLE.breach(f"(e) refused with {status} after it was complete", client, client.changes[-1].raw)
        respond(self, status, *arguments, **named)

    @functools.wraps(make_head)
    def tapped_head(self: Any, status: int, *arguments: Any, **named: Any) -> bytes:
        client = self.oracle.client
        if client is not None and status >= 500 and client.has_passed and client.facts.taken:
            # A request that failed may be sent again.
            client.facts.taken.discard(client.signature)
        response: bytes = make_head(self, status, *arguments, **named)
        return response

    @functools.wraps(moved)
    def tapped_moved(self: Any, size: int) -> None:
        if self.oracle.client is not None:
            self.oracle.client.stream.skip(size)
        moved(self, size)

    request_class.__init__ = tapped_begin
    request_class.respond = tapped_respond
    request_class.make_head = tapped_head
    request_class.bodyMoved = tapped_moved


def _begun(channel: Any, claimed: Any) -> Owner:
    stream = getattr(channel, "oracle", None)
    if stream is None:
        return Owner(None, "no bytes were seen")
    former = getattr(channel, "oracle_client", None)
    if former is not None:
        former.is_current = False
    try:
        head = stream.next_head(kept_size)
    except NotARequest as error:
        return Owner(None, str(error))
    host = head.fields[b"host"][0]
    if channel.site.trust.forwarded != "none":
        named = [*head.fields.get(b"x-forwarded-host", ()), *head.fields.get(b"forwarded", ())]
        if any(claimed.host in value for value in named):
            host = claimed.host
    channel.oracle_client = client = Client(head, stream, host)
    client.certificate_names = _certificate_names(channel)
    return Owner(client)


def _certificate_names(channel: Any) -> frozenset[str]:
    """
    Return the names in the certificate that a client has shown; none for a proxy that speaks for other clients.
    """
    is_proxy = channel.site.trust.forwarded != "none" and channel.site.trust.peers.lists(channel.peer)
    show = getattr(channel.transport, "getPeerCertificate", None)
    shown = show() if show is not None and not is_proxy else None
    if shown is None:
        return frozenset()
    certificate = shown.to_cryptography()
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return frozenset(str(each.value).lower() for each in certificate.subject)
    return frozenset(str(each.value).lower() for each in found if not isinstance(each, x509.DirectoryName))


def _patch_application(module: ModuleType) -> None:
    begin = module.ApplicationRequest.begin

    @functools.wraps(begin)
    def tapped_begin(self: Any) -> None:
        self.oracle = _begun(self.channel, self.head)
        begin(self)

    module.ApplicationRequest.begin = tapped_begin


def _patch_context(module: ModuleType) -> None:
    begin = module.ProxyContext.__init__

    @functools.wraps(begin)
    def tapped_begin(self: Any, *arguments: Any, **named: Any) -> None:
        begin(self, *arguments, **named)
        choose = self.choose_backend

        @functools.wraps(choose)
        def tapped_choose(head: Any, address: Any, authenticated: Any) -> Any:
            backend = choose(head, address, authenticated)
            backend.agent.oracle_proxied = True
            owner = _owner.get()
            if owner is not None and owner.client is not None:
                owner.client.facts = _facts(backend, self)
                owner.client.claimed_place = address.bucket, address.key
            return backend

        self.choose_backend = tapped_choose

    module.ProxyContext.__init__ = tapped_begin


def _patch_exchange(module: ModuleType) -> None:
    exchange = module.Exchange
    start = exchange.__init__

    @functools.wraps(start)
    def tapped_start(self: Any, context: Any, request: Any, ended: Any) -> None:
        self.oracle = getattr(request, "oracle", None) or Owner(None, "no request was seen")
        start(self, context, request, ended)

    for name, function in list(vars(exchange).items()):
        if isinstance(function, FunctionType) and name != "__init__":
            setattr(exchange, name, _in_context(function))
    exchange.__init__ = tapped_start


def _in_context(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def run(self: Any, *arguments: Any, **named: Any) -> Any:
        if _owner.get() is self.oracle:
            return function(self, *arguments, **named)
        token = _owner.set(self.oracle)
        try:
            return function(self, *arguments, **named)
        finally:
            _owner.reset(token)

    return run


def _facts(backend: Any, context: Any) -> Facts:
    account, settings = backend.account, context.settings
    profile = account.profile
    window = settings.replay_window
    if window is not None and not hasattr(window, "oracle_taken"):
        window.oracle_taken = set()
    return Facts(
        tuple(settings.realm.domains),
        account.host,
        account.key is not None and account.signature != "none",
        profile.service_path,
        profile.escapes_plus,
        profile.mends_reads,
        profile.overrides_responses,
        profile.lists_v1,
        profile.deletes_one_by_one or context.authorizer is not None,
        backend.forwarded,
        window.oracle_taken if window is not None else None,
        profile.reserved_segments,
        profile.private_headers,
        tuple(extension.name for extension in backend.allowed.extensions),
        profile.name if profile.name in EUCALYPTUS else "",
        profile.bare_write_tags,
        backend.conditions == "check",
        backend.keeps_multipart,
        profile.misreads_ranges,
        profile.preflight_header,
        profile.misreads_sources,
        profile.ignores_owners and backend.conditions != "pass",
        profile.unencoded_lists,
        profile.lacks_part_reads,
        certified=frozenset(settings.realm.client_keys),
    )


PATCHES: dict[str, Callable[[ModuleType], None]] = {
    "s3proxy.backend.connection": _patch_connection,
    "s3proxy.backend.agent": _patch_agent,
    "s3proxy.frontend.application": _patch_application,
    "s3proxy.frontend.channel": _patch_channel,
    "s3proxy.frontend.request": _patch_request,
    "s3proxy.exchange.context": _patch_context,
    "s3proxy.exchange.exchange": _patch_exchange,
}


def patch(module: ModuleType) -> None:
    """
    Wrap, once, everything in a module that the oracle must see.
    """
    if not hasattr(module, "oracle"):
        module.oracle = ORACLE  # type: ignore[attr-defined]
        PATCHES[module.__name__](module)
