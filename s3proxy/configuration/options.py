"""
Every option of the configuration file: what it accepts, its unit, its default, and what it does.

Each is declared once; the checks and the reference in the docs are made of these declarations.
"""

from __future__ import annotations

import fnmatch
import re
import socket
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from OpenSSL import SSL, crypto
from twisted.internet.endpoints import AdoptedStreamServerEndpoint, serverFromString

from s3proxy.authentication.realm import SWITCHES
from s3proxy.configuration.tables import (
    NotAccepted,
    boolean,
    choice,
    count,
    list_of,
    one_or_list_of,
    option,
    seconds,
    size,
    text,
)
from s3proxy.frontend.peers import UNIX
from s3proxy.profiles.allowed import EXTENSIONS
from s3proxy.profiles.known import PROFILES
from s3proxy.profiles.operations import ALL_OPERATIONS
from s3proxy.s3.limits import GIB, KIB, MAX_OBJECT_SIZE, MAX_XML_BODY_SIZE, MIB, SMALL_BODY_SIZE

DAY = 86400.0

DEFAULT_LISTEN = "tcp:9000:interface=127.0.0.1"

MAX_PORT = 65535
"""
The highest port. The socket module takes others modulo 65536.
"""

ENDPOINT_KINDS = ("tcp", "tcp6", "ssl", "unix", "systemd")
"""
Twisted's endpoint strings which a listener may be. ``haproxy:`` is not among them: Twisted's wrapper drops a valid
connection whose PROXY header comes in pieces; ``proxy_protocol`` does what it would.
"""

FORWARDED = ("none", "x-forwarded", "forwarded")
"""
Headers in which a proxy tells who its client is.
"""


# Kinds of this file


def _check_endpoint(value: str) -> None:
    if value.partition(":")[0] not in ENDPOINT_KINDS:
        raise NotAccepted
    try:
        address = listening_address(value)
    except OSError as error:
        raise NotAccepted(f"{error.filename}: {error.strerror}") from None
    except Exception as error:
        raise NotAccepted(_why_no_endpoint(error)) from None
    if isinstance(address, TCPAddress):
        if not 0 <= address.port <= MAX_PORT:
            raise NotAccepted(f"{address.port} is not a port from 0 to {MAX_PORT}")
        try:
            socket.getaddrinfo(address.interface or None, address.port, 0, socket.SOCK_STREAM, 0, socket.AI_PASSIVE)
        except OSError as error:
            raise NotAccepted(f"interface={address.interface}: {error.strerror}") from None
    elif address == "":
        raise NotAccepted("it has no path")
    elif address is not None and address.startswith("/") and not Path(address).parent.is_dir():
        # A relative path is meant from the working directory, which may be another one when the daemon starts.
        raise NotAccepted(f"{Path(address).parent}: is no directory")


def _why_no_endpoint(error: Exception) -> str:
    """
    Say in words what a parser of Twisted's makes of bad arguments: ValueError, TypeError, IndexError, OpenSSL's own.
    """
    text = str(error)
    if isinstance(error, SSL.Error | crypto.Error):
        return "its certificate or its private key cannot be read"
    if found := re.search(r"unexpected keyword argument '(\w+)'", text):
        return f'"{found[1]}=" is no argument of it'
    if found := re.search(r"missing \d+ required positional argument: '(\w+)'", text):
        return f'"{found[1]}=" is missing'
    if found := re.search(r"invalid literal for int\(\) with base \d+: '(.*)'", text):
        return f'"{found[1]}" is no number'
    if isinstance(error, LookupError):
        return "systemd has given no such socket to this process"
    if isinstance(error, TypeError):
        return "it has too many or too few arguments"
    return text or type(error).__name__


@dataclass(frozen=True, slots=True)
class TCPAddress:
    """
    Where an endpoint would listen.

    Attributes:
        interface: Empty for all of IPv4.
    """

    port: int
    interface: str


def excludes(one: TCPAddress | str, other: TCPAddress | str) -> bool:
    """
    Say whether only one of two sockets may listen.
    """
    if not isinstance(one, TCPAddress) or not isinstance(other, TCPAddress):
        return one == other
    wide = {"", "0.0.0.0", "::"}  # noqa: S104
    overlaps = (":" in one.interface) == (":" in other.interface) and not wide.isdisjoint(
        {one.interface, other.interface}
    )
    return one.port == other.port != 0 and (one.interface == other.interface or overlaps)


def listening_address(endpoint: str) -> TCPAddress | str | None:
    """
    Return where an endpoint would listen: a path for a unix socket, None for one of systemd's.
    """
    found = _Asked()
    made: Any = serverFromString(found, endpoint)
    if not isinstance(made, AdoptedStreamServerEndpoint):
        made.listen(None)
    return found.address


class _Asked:
    """
    What an endpoint takes for its reactor, to tell where it would listen.
    """

    address: TCPAddress | str | None = None

    def listenTCP(self, port: int, factory: Any, backlog: int = 50, interface: str = "") -> None:
        self.address = TCPAddress(port, interface)

    def listenSSL(
        self, port: int, factory: Any, context: Any = None, backlog: int = 50, interface: str = "", **more: Any
    ) -> None:
        self.address = TCPAddress(port, interface)

    def listenUNIX(self, address: str, factory: Any, **more: Any) -> None:
        self.address = address


def _check_admin(value: str) -> None:
    _check_endpoint(value)
    if not re.search(r"^unix:|^tcp6?:.*\binterface=(127\.|\\:\\:1\b)", value):
        raise NotAccepted("it must listen on loopback, or be a unix socket")


def _check_url(value: str) -> None:
    try:
        url = urlsplit(value)
        port = url.port
    except ValueError as error:
        raise NotAccepted(str(error)) from None
    if not value.isascii() or url.scheme not in {"http", "https"} or not url.hostname or port == 0:
        raise NotAccepted
    if "@" in url.netloc:
        raise NotAccepted("keys have options of their own")
    if "?" in value or "#" in value or " " in value:
        raise NotAccepted


def _check_domain(value: str) -> None:
    if not re.fullmatch(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?", value) or ".." in value or len(value) > 253:
        raise NotAccepted


def _check_peer(value: str) -> None:
    if value == UNIX:
        return
    try:
        ip_network(value)
    except ValueError as error:
        raise NotAccepted(str(error)) from None


def _check_word(value: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", value):
        raise NotAccepted


def _check_access_key_id(value: str) -> None:
    # A colon is in every key of Swift: account and user. Servers split Signature V2 at the last one.
    if not value.isascii() or re.search(r"[\s/,=]", value) or len(value) > 128:
        raise NotAccepted


def _check_source(value: str) -> None:
    if not value.startswith("file:") or len(value) == len("file:"):
        raise NotAccepted


def _check_path(value: str) -> None:
    if not value.startswith("/") or not value.isascii() or not value.isprintable() or " " in value or "#" in value:
        raise NotAccepted


def _check_pattern(value: str) -> None:
    if "/" in value:
        raise NotAccepted("no bucket has a slash in its name")
    if "(?!)" in fnmatch.translate(value):
        raise NotAccepted("nothing is between the ends of its range")


ENDPOINT = text(
    'a Twisted endpoint string, like "tcp:9000:interface=127.0.0.1" or "ssl:443:privateKey=…:certKey=…"',
    _check_endpoint,
)
ADMIN = text('a Twisted endpoint string on loopback, like "tcp:9001:interface=127.0.0.1"', _check_admin)
URL = text('"http://HOST[:PORT]" or "https://HOST[:PORT]"', _check_url)
REQUEST_PATH = text('a path of URLs, like "/healthcheck"', _check_path)
DOMAIN = text('a host name in lower case without a port, like "s3.example.com"', _check_domain)
PEER = text('a network like "10.0.0.0/8", an address, or "unix" for unix sockets', _check_peer)
REGION = text('a region\'s name, like "us-east-1"', _check_word)
NAME = text("letters, digits, dots, hyphens and underscores, at most 64", _check_word)
ACCESS_KEY_ID = text("an access key id of at most 128 characters", _check_access_key_id)
SECRET = text("printable text", is_secret=True)
FILE = text("the path of a file; a relative one is meant from where the configuration file is")
ENVIRONMENT = text("the name of an environment variable")
PATTERN = text('a bucket\'s name, or a pattern like "public-*"', _check_pattern)
SOURCE = text('"file:PATH"', _check_source)


@dataclass(frozen=True, slots=True)
class Place:
    """
    What a backend's URL says.
    """

    url: str

    @property
    def is_tls(self) -> bool:
        """
        Whether it is spoken to over TLS.
        """
        return self.url.startswith("https:")

    @property
    def host(self) -> str:
        """
        The host name or address alone, without the brackets of an IPv6 address.
        """
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        """
        The port, the scheme's own where the URL has none.
        """
        return urlsplit(self.url).port or (443 if self.is_tls else 80)

    @property
    def authority(self) -> str:
        """
        Host and port as the Host header has them: the port only where it is not the scheme's own.
        """
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.is_tls else 80) else f"{host}:{self.port}"

    @property
    def service_path(self) -> str:
        """
        The URL's path without a final slash; empty where the profile's own holds.
        """
        return urlsplit(self.url).path.rstrip("/")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """
    What holds for every listener which does not say otherwise.
    """

    listen: tuple[str, ...] = option(
        list_of(ENDPOINT, at_least=1),
        "Where clients connect. Listeners which differ in region or domains are `[[listener]]` tables instead.",
        None,
        told=DEFAULT_LISTEN + ", unless there is a `[[listener]]`",
    )
    admin: str | None = option(
        ADMIN, "Where `/health`, `/ready` and `/metrics` are served.", None, told="they are not served"
    )
    workers: int = option(
        count(1, 256),
        "Processes which serve. Two or more have a supervisor, which starts one anew when it dies; all share the "
        "sockets, and the limits hold for them together.",
        1,
    )
    region: str = option(REGION, "The region which clients must have signed for.", "us-east-1")
    accepted_regions: tuple[str, ...] = option(
        list_of(REGION), "Further regions which clients may have signed for.", ()
    )
    domains: tuple[str, ...] = option(
        list_of(DOMAIN),
        "Domains below which a host name begins with a bucket. Any other host means that the path begins with it.",
        (),
    )
    refuse: tuple[str, ...] = option(
        list_of(choice(*SWITCHES)), "Kinds of signatures and of payloads which are switched off.", ()
    )
    post: str = option(
        choice("spool", "stream"),
        "How the file of a browser's form is kept from being committed before it is verified. `spool` verifies it on "
        "disk first. `stream` predicts its length, and refuses a form with fields after its file.",
        "spool",
    )
    replay_window: float = option(
        seconds(0, DAY),
        "A signed request which changes something is let pass once within this time; 0 lets it pass again. Each "
        "process remembers its own requests.",
        0.0,
    )
    spool_directory: str = option(
        FILE,
        "Where bodies are kept which must be verified whole and are too large for memory.",
        "/var/tmp",  # noqa: S108
    )
    multipart_directory: str | None = option(
        FILE,
        "Where parts of uploads are kept for a storage that has no multipart uploads, until they are complete. It is "
        "made with mode 0700, must be the daemon's own, and must outlive a restart of the machine: on no tmpfs. No two "
        "daemons can have the same.",
        None,
        told="the first of these that the daemon's user can have: `multipart` in systemd's `STATE_DIRECTORY`; "
        "`/var/lib/s3proxy/multipart`; `s3proxy/multipart` in `$XDG_STATE_HOME` or `~/.local/state`",
    )
    host_id: str = option(
        text("printable text"), "The text of `HostId` in errors and of `x-amz-id-2`: names this process.", "s3proxy"
    )
    trusted_peers: tuple[str, ...] = option(
        list_of(PEER),
        "Proxies in front of this one: they may say who their clients are, as the next two options let them. Loopback "
        "is not among them unless it is listed.",
        (),
    )
    proxy_protocol: bool = option(
        boolean(),
        "Whether each connection of `trusted_peers` begins with a PROXY header, version 1 or 2, before TLS. One which "
        "does not is closed. Others need none, and theirs is no request.",
        default=False,
    )
    trusted_forwarded: str = option(
        choice(*FORWARDED),
        "Headers of `trusted_peers` which count: `X-Forwarded-For`, `-Host` and `-Proto`, or `Forwarded`. The host in "
        "them is the only one then, for signatures as for everything else. Those of others are dropped.",
        "none",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerSettings:
    """
    One place where clients connect.
    """

    endpoint: str = option(ENDPOINT, "Where clients connect.")
    region: str = option(REGION, "The region which its clients must have signed for.", None, told="the server's")
    accepted_regions: tuple[str, ...] = option(list_of(REGION), "Further ones.", None, told="the server's")
    domains: tuple[str, ...] = option(list_of(DOMAIN), "Its domains.", None, told="the server's")
    refuse: tuple[str, ...] = option(list_of(choice(*SWITCHES)), "What is switched off.", None, told="the server's")
    post: str = option(choice("spool", "stream"), "How it takes forms.", None, told="the server's")
    trusted_peers: tuple[str, ...] = option(list_of(PEER), "Proxies in front of it.", None, told="the server's")
    proxy_protocol: bool = option(
        boolean(), "Whether their connections begin with a PROXY header.", None, told="the server's"
    )
    trusted_forwarded: str = option(choice(*FORWARDED), "Which of their headers count.", None, told="the server's")


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendSettings:
    """
    One storage system, and our account on it.
    """

    name: str = option(NAME, "What the log, and a key's `backend`, call it. No two are alike.")
    url: str | None = option(
        URL,
        "Where it is. A path is the one below which its buckets are. Exactly one of this option and the next says it.",
        None,
    )
    urls: tuple[str, ...] = option(
        list_of(URL, at_least=1),
        "All places where it is: each can answer each request, and is told the first one's host. A request goes to "
        "the one with the fewest connections in use, and to another when nobody is there.",
        (),
    )
    health: str | None = option(
        REQUEST_PATH,
        "What each of `urls` is asked for, unsigned, to see whether it works: any answer below 500 says so. The "
        "profile's own question has answers of its own.",
        None,
        told="the profile's",
    )
    profile: str = option(choice(*PROFILES), "What kind of storage it is.", "generic")
    signature: str = option(choice("v4", "v2", "none"), "How requests to it are signed.", "v4")
    payload: str = option(
        choice("auto", "unsigned", "chunks"),
        "What Signature V4 covers of a body. `auto`: its hash where that is known, else nothing. `unsigned`: nothing, "
        "for a backend which takes no hashes. `chunks`: its hash where that is known, else what streams is sent in "
        "chunks of 64 KiB, each of them signed, and so is a trailer. Where the profile takes trailers, a body whose "
        "checksum follows it is sent in chunks whatever this says, without signatures unless it says `chunks`.",
        "auto",
    )
    region: str = option(REGION, "The region which requests to it are signed for.", None, told="the server's")
    access_key_id: str | None = option(ACCESS_KEY_ID, "Our key there. Required unless `signature` is `none`.", None)
    secret_access_key: str | None = option(
        SECRET, "Its secret. Exactly one of this option and the next two says it.", None
    )
    secret_access_key_file: str | None = option(FILE, "A file whose one line is the secret.", None)
    secret_access_key_env: str | None = option(ENVIRONMENT, "A variable whose value is the secret.", None)
    commit: str | None = option(
        choice("tail", "spool"),
        "How a body is kept from being committed before it is verified. `tail` withholds its last bytes until then. "
        "`spool` verifies it on disk first, for a backend which would commit a short body.",
        None,
        told="`tail`; for Walrus and the OSG `spool` up to 64 MiB, because each cut body may cost them a thread",
    )
    spool_up_to: int | None = option(
        size(1, 5 * 1024 * GIB),
        "Bytes of a body up to which `spool` holds. The last bytes of a larger one are withheld, as by `tail`.",
        None,
        told="all bodies, if `commit` is `spool`",
    )
    lossy_headers: str = option(
        choice("drop", "refuse"),
        "What happens to an object with a header that S3 stores and the profile's storage does not, such as "
        "`Cache-Control` at `walrus-3.4`. `drop`: it is stored without, and `s3proxy_lost_headers` counts it. "
        "`refuse`: 501 NotImplemented, and nothing is stored.",
        "drop",
    )
    multipart: str | None = option(
        choice("spool", "refuse"),
        "What becomes of multipart uploads at a storage that has none. `spool` keeps the parts in "
        "`multipart_directory`, and sends the whole object when the upload is completed. `refuse` answers 501 "
        "NotImplemented. Only for a profile whose storage has none: walrus-3.4. walrusbackend-4.x has its own, and "
        "takes `spool` as well: an object that it got in parts cannot be replaced there.",
        None,
        told="`spool`, if any directory can be used",
    )
    extensions: tuple[str, ...] | None = option(
        list_of(
            choice(
                *sorted(EXTENSIONS),
                *sorted(ALL_OPERATIONS),
                accepted="the name of an extension or of an operation of S3",
            )
        ),
        "What clients may ask for beyond the profile: functions that are not S3's, or S3 operations that the profile "
        "does not list, by their API name. [Operations](operations.md) has all names.",
        None,
        told="the profile's own choice",
    )
    conditions: str = option(
        choice("refuse", "check", "pass"),
        "What becomes of a condition that its profile says it ignores: of a write, or who is to have the bucket "
        "(`x-amz-expected-bucket-owner`). `refuse` answers 501: a client takes it for a lock, or for a check. `check` "
        "judges that of a write by a HEAD before it, which is no lock between two clients, and refuses the other. "
        "`pass` sends it, to a backend that has come to know it.",
        "refuse",
    )
    forwarded: str = option(choice(*FORWARDED), "The headers which tell it who the client is.", "none")
    connections: int = option(count(1, 65536), "The most connections to it at a time, to each of `urls`.", 4096)
    unix_socket: str | None = option(FILE, "A unix socket to connect to, in place of the URL's host and port.", None)
    ca_file: str | None = option(FILE, "PEM certificates which its own must descend from.", None, told="the system's")
    client_certificate_file: str | None = option(FILE, "A PEM certificate to show to it, with its chain.", None)
    client_private_key_file: str | None = option(FILE, "The PEM private key of that certificate.", None)

    @property
    def keeps_multipart(self) -> bool:
        """
        Whether its storage has no multipart uploads, and they are to be kept here.
        """
        profile = PROFILES[self.profile]
        if profile.lacks_multipart:
            return self.multipart != "refuse"
        return profile.keeps_former_parts and self.multipart == "spool"

    @property
    def places(self) -> tuple[Place, ...]:
        """
        Where it is: at least one place, the one whose host requests name first.
        """
        return tuple(map(Place, self.urls if self.url is None else (self.url,)))


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendKeySettings:
    """
    A further key of ours on a backend, for the clients' keys which name it.
    """

    name: str = option(NAME, "What a key's `backend_key` calls it. No two are alike.")
    backend: str = option(NAME, "The name of its `[[backend]]`, whose region and kind of signature are its own.")
    access_key_id: str = option(ACCESS_KEY_ID, "What the backend calls it.")
    secret_access_key: str | None = option(
        SECRET, "Its secret. Exactly one of this option and the next two says it.", None
    )
    secret_access_key_file: str | None = option(FILE, "A file whose one line is the secret.", None)
    secret_access_key_env: str | None = option(ENVIRONMENT, "A variable whose value is the secret.", None)


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteSettings:
    """
    Buckets which are not at the first backend. The first route which matches a bucket holds for it.
    """

    bucket: tuple[str, ...] = option(
        one_or_list_of(PATTERN),
        "The buckets. `*` stands for any letters, `?` for one, `[ab]` for one of some; case counts.",
    )
    backend: str = option(NAME, "The name of the `[[backend]]` where they are.")


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialsSettings:
    """
    Where clients' keys are looked up.
    """

    source: str = option(SOURCE, "A keys file; it is read again on SIGHUP.", "file:keys.toml")


@dataclass(frozen=True, slots=True, kw_only=True)
class AnonymousSettings:
    """
    What requests without a signature may do.
    """

    allow: bool = option(
        boolean(), "Whether they go on to the backend, unsigned, so that its own policy decides.", default=False
    )
    signed_buckets: tuple[str, ...] = option(
        list_of(PATTERN), "Buckets which anybody may read: GET and HEAD are signed with the backend's key.", ()
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """
    How large things may be.
    """

    small_body: int = option(
        size(0, 4 * MIB),
        "Up to this size, decoded, a body is verified whole before a backend hears of it.",
        SMALL_BODY_SIZE,
    )
    xml_body: int = option(
        size(64 * KIB, 64 * MIB), "The XML of an operation; it is always verified whole.", MAX_XML_BODY_SIZE
    )
    object_size: int = option(size(1, 5 * 1024 * GIB), "One object or part of an upload.", MAX_OBJECT_SIZE)
    breaker_failures: int = option(
        count(0, 1_000_000),
        "Failures in a row, of reaching a backend or of getting an answer in time, after which it is not asked for a "
        "while; 0 for never.",
        5,
    )
    connections: int = option(
        count(1, 1_000_000),
        "Connections of clients. At this many the idle ones are closed which have waited longest, then new ones wait "
        "in the kernel's queue. No more than the process's file descriptors leave: each backend's `connections` are "
        "kept twice, or half of all.",
        16_384,
    )
    connections_per_address: int = option(
        count(0, 1_000_000), "The same from one address; more are answered 503 SlowDown. 0 for no bound.", 0
    )
    memory: int = option(
        size(16 * MIB, 1024 * GIB),
        "Bodies, and documents of backends, that are held in memory, all together. They count as they arrive. New "
        "requests wait before their body is read; one above 64 KiB is not read on until others have ended.",
        256 * MIB,
    )
    requests: int = option(count(0, 1_000_000), "Requests at a time; further ones wait. 0 for no bound.", 0)
    bodies: int = option(count(0, 1_000_000), "Requests with a body at a time; 0 for no bound.", 0)
    requests_per_second: int = option(count(0, 1_000_000_000), "Requests a second; 0 for no bound.", 0)
    bytes_per_second: int = option(
        size(0, 1024 * GIB), "Bytes of bodies a second, both ways together; 0 for no bound.", 0
    )
    key_requests: int = option(count(0, 1_000_000), "As `requests`, for each key which says nothing itself.", 0)
    key_bodies: int = option(count(0, 1_000_000), "As `bodies`, for each such key.", 0)
    key_requests_per_second: int = option(count(0, 1_000_000_000), "As `requests_per_second`, for each such key.", 0)
    key_bytes_per_second: int = option(size(0, 1024 * GIB), "As `bytes_per_second`, for each such key.", 0)
    key_memory: int | None = option(
        size(0, 1024 * GIB),
        "As `memory`, for each key, for all anonymous requests together, and for all forms together that nobody has "
        "signed yet. 0 for no bound.",
        None,
        told="a quarter of `memory`",
    )
    minimum_rate: int = option(
        size(0, GIB),
        "Bytes a second of a body, on average, below which a client counts as idle; 0 for none. Time in which the "
        "proxy holds it does not count.",
        0,
    )
    unknown_length: str = option(
        choice("refuse", "spool"),
        "What becomes of the PUT of an object in chunked transfer coding that does not say its length: `refuse` "
        "answers 501 NotImplemented, as S3 does; `spool` verifies it on disk first. One with neither a length nor that "
        "coding is answered 411 MissingContentLength in any case.",
        "refuse",
    )
    spool_size: int = option(
        size(0, 1024 * 1024 * GIB), "All bodies on disk together; above it clients get 503 SlowDown.", 8 * GIB
    )
    multipart_size: int = option(
        size(16 * MIB, 1024 * 1024 * GIB),
        "All parts of uploads that are kept here, those on their way included; above it clients get 503 SlowDown. It "
        "holds for all workers together. A part counts as 64 KiB at least.",
        32 * GIB,
    )
    key_multipart_size: int | None = option(
        size(0, 1024 * 1024 * GIB),
        "The same of each key. A part counts from its announcement on, so without it one key could take all the room "
        "and send nothing. 0 for no bound.",
        None,
        told="half of `multipart_size`",
    )
    multipart_uploads: int = option(
        count(1, 10_000_000), "Multipart uploads that are kept here at a time; above it 503 SlowDown.", 10_000
    )
    key_multipart_uploads: int = option(count(0, 10_000_000), "The same of each key; 0 for no bound.", 1_000)
    replay_entries: int = option(
        count(1, 100_000_000),
        "Signatures which are remembered for `replay_window`; above it a key with more than its share loses its oldest"
        " ones.",
        1_000_000,
    )
    socket_buffer: int = option(
        size(16 * KIB, 16 * MIB), "The kernel's receive and send buffer of each connection.", 512 * KIB
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """
    How long each party may take. None of them runs against a party while it is the proxy that holds it.
    """

    head: float = option(seconds(0.1, DAY), "For the whole head of a request, and for the fields of a form.", 30.0)
    idle: float = option(seconds(0.1, DAY), "Between two octets of a body or of an answer, from either side.", 60.0)
    keep_alive: float = option(seconds(0.1, DAY), "Between two requests of a client.", 75.0)
    linger: float = option(seconds(0, DAY), "For a client to read a refusal which came before its body's end.", 10.0)
    connect: float = option(seconds(0.1, DAY), "For connecting to a backend, its TLS included.", 5.0)
    first_byte: float = option(seconds(0.1, DAY), "From the end of a request to the first byte of its answer.", 60.0)
    slow_first_byte: float = option(
        seconds(0.1, DAY), "The same for CompleteMultipartUpload, copies and RestoreObject.", 1800.0
    )
    pooled_idle: float = option(seconds(0, DAY), "An unused connection to a backend is kept for this long.", 25.0)
    breaker: float = option(
        seconds(0.1, DAY), "A backend which failed too often in a row is not asked for so long.", 5.0
    )
    lookup: float = option(
        seconds(0.1, DAY),
        "For a credential source or an authorizer to answer; then the request is refused with ServiceUnavailable.",
        10.0,
    )
    health: float = option(
        seconds(0, DAY), "Between two looks whether one of a storage's `urls` works; 0 for none.", 5.0
    )
    budget: float = option(
        seconds(0, DAY), "A request waits so long for what a limit has left; then it is refused with SlowDown.", 5.0
    )
    total: float = option(
        seconds(0, 30 * DAY), "For a whole request, from its head to its answer's end; 0 for none.", 0.0
    )
    multipart_expires: float = option(
        seconds(60, 3650 * DAY),
        "After its beginning a multipart upload that is kept here is removed, if it was not completed.",
        7 * DAY,
    )
    drain: float = option(seconds(0, DAY), "For running requests to end when the daemon stops.", 30.0)
    handover: float = option(
        seconds(0, 30 * DAY),
        "For running requests to end in a process which was replaced; 0 for as long as they take.",
        0.0,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    """
    What is written about requests.
    """

    access: str = option(
        text('the path of a file, "-" for standard output, or "none"'),
        "One line for each request, in the format of S3's server access logs. A daemon, twistd without `-n`, has no "
        "standard output: `-` is twistd's log there.",
        "-",
        told="`-` (standard output)",
    )


TABLES: dict[str, type] = {
    "[server]": ServerSettings,
    "[[listener]]": ListenerSettings,
    "[[backend]]": BackendSettings,
    "[[backend_key]]": BackendKeySettings,
    "[[route]]": RouteSettings,
    "[credentials]": CredentialsSettings,
    "[anonymous]": AnonymousSettings,
    "[limits]": Limits,
    "[times]": Times,
    "[log]": LogSettings,
}
"""
Each table of the file as it is written there, and its options.
"""


@dataclass(frozen=True, slots=True)
class Settings:
    """
    All that the daemon must know, with nothing left to inherit, read or look up.

    Attributes:
        server: Its own options; what a listener may say otherwise is set in each.
        listeners: At least one; all is set in each.
        backends: At least one, the default first; region and, where it signs, ``secret_access_key`` are set in each.
        backend_keys: ``secret_access_key`` is set in each.
        keys_file: The file of clients' keys.
    """

    server: ServerSettings
    listeners: tuple[ListenerSettings, ...]
    backends: tuple[BackendSettings, ...]
    backend_keys: tuple[BackendKeySettings, ...]
    routes: tuple[RouteSettings, ...]
    keys_file: Path
    anonymous: AnonymousSettings
    limits: Limits
    times: Times
    log: LogSettings
