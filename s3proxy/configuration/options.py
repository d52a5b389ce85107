"""
Every option of the configuration file: its accepted values, its unit, its default and its effect.

Each option is declared once. The checks and the reference in the docs are made from these declarations.
"""

from __future__ import annotations

import fnmatch
import re
import socket
from dataclasses import dataclass, field, replace
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from OpenSSL import SSL, crypto
from twisted.internet.endpoints import AdoptedStreamServerEndpoint, serverFromString

from s3proxy.authentication.realm import SWITCHES
from s3proxy.backend.request import DEFAULT_FIRST_BYTE_TIME, DEFAULT_SLOW_FIRST_BYTE_TIME, BackendLimits
from s3proxy.configuration.modes import Commit, FormMode, LossyHeaders, MultipartMode, Sent, UnknownLength
from s3proxy.configuration.sources import accepted_sources, check_source
from s3proxy.configuration.tables import (
    NotAccepted,
    boolean,
    choice,
    choice_of,
    count,
    list_of,
    one_or_list_of,
    option,
    options_of,
    seconds,
    size,
    text,
)
from s3proxy.frontend.peers import UNIX
from s3proxy.frontend.times import ClientTimes
from s3proxy.profiles.allowed import EXTENSIONS
from s3proxy.profiles.ignored import ConditionPolicy
from s3proxy.profiles.known import PROFILES
from s3proxy.profiles.operations import ALL_OPERATIONS
from s3proxy.resign.account import PayloadPolicy, SignatureVersion
from s3proxy.s3.forwarded import ForwardedHeaders
from s3proxy.s3.limits import GIB, KIB, MAX_OBJECT_SIZE, MAX_XML_BODY_SIZE, MIB, SMALL_BODY_SIZE
from s3proxy.transport.writer import DEFAULT_SOCKET_BUFFER

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")

DAY = 86400.0

_CLIENT, _BACKEND = ClientTimes(), BackendLimits()
"The defaults of the rooms, which an embedding application gets as well."

DEFAULT_LISTEN = "tcp:9000:interface=127.0.0.1"

MAX_PORT = 65535
"""
The highest port. The socket module takes larger numbers modulo 65536.
"""

ENDPOINT_KINDS = ("tcp", "tcp6", "ssl", "unix", "systemd")
"""
The types of Twisted endpoint strings that a listener accepts. ``haproxy:`` is not among them: Twisted's wrapper drops a
valid connection whose PROXY header arrives in pieces. ``proxy_protocol`` is the replacement.
"""


# Kinds of values in this file


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
        raise NotAccepted("no path is given")
    elif address is not None and address.startswith("/") and not Path(address).parent.is_dir():
        # A relative path starts from the working directory, which may be another one when the daemon starts.
        raise NotAccepted(f"{Path(address).parent}: not a directory")


def _why_no_endpoint(error: Exception) -> str:
    """
    Return a message for an error of Twisted's endpoint parsers, which may be ValueError, TypeError, IndexError or
    OpenSSL's own.
    """
    text = str(error)
    if isinstance(error, SSL.Error | crypto.Error):
        return "the certificate or the private key cannot be read"
    if found := re.search(r"unexpected keyword argument '(\w+)'", text):
        return f'unknown argument "{found[1]}="'
    if found := re.search(r"missing \d+ required positional argument: '(\w+)'", text):
        return f'missing argument "{found[1]}="'
    if found := re.search(r"invalid literal for int\(\) with base \d+: '(.*)'", text):
        return f'"{found[1]}" is not a number'
    if isinstance(error, LookupError):
        return "systemd passed no such socket to this process"
    if isinstance(error, TypeError):
        return "too many or too few arguments"
    return text or type(error).__name__


@dataclass(frozen=True, slots=True)
class TCPAddress:
    """
    The TCP address where an endpoint would listen.

    Attributes:
        interface: The interface's address; empty for all of IPv4.
    """

    port: int
    interface: str


def excludes(one: TCPAddress | str, other: TCPAddress | str) -> bool:
    """
    Return True if two sockets cannot both listen.
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
    Return the address where an endpoint would listen: a path for a unix socket, None for a systemd socket.
    """
    found = _Asked()
    made: Any = serverFromString(found, endpoint)
    if not isinstance(made, AdoptedStreamServerEndpoint):
        made.listen(None)
    return found.address


class _Asked:
    """
    A stand-in for the reactor that records where an endpoint would listen.
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
        raise NotAccepted("must listen on loopback or be a unix socket")


def _check_url(value: str) -> None:
    try:
        url = urlsplit(value)
        port = url.port
    except ValueError as error:
        raise NotAccepted(str(error)) from None
    if not value.isascii() or url.scheme not in {"http", "https"} or not url.hostname or port == 0:
        raise NotAccepted
    if "@" in url.netloc:
        raise NotAccepted("must not contain credentials; use access_key_id and secret_access_key")
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
    # Every key of Swift has a colon, between account and user. Servers split Signature V2 at the last colon.
    if not value.isascii() or re.search(r"[\s/,=]", value) or len(value) > 128:
        raise NotAccepted


def _check_path(value: str) -> None:
    if not value.startswith("/") or not value.isascii() or not value.isprintable() or " " in value or "#" in value:
        raise NotAccepted


def _check_pattern(value: str) -> None:
    if "/" in value:
        raise NotAccepted("bucket names contain no slashes")
    if "(?!)" in fnmatch.translate(value):
        raise NotAccepted("a range in it is empty")


ENDPOINT = text(
    'a Twisted endpoint string, like "tcp:9000:interface=127.0.0.1" or "ssl:443:privateKey=…:certKey=…"',
    _check_endpoint,
)
ADMIN = text('a Twisted endpoint string on loopback, like "tcp:9001:interface=127.0.0.1"', _check_admin)
URL = text('"http://HOST[:PORT]" or "https://HOST[:PORT]"', _check_url)
REQUEST_PATH = text('a URL path, like "/healthcheck"', _check_path)
DOMAIN = text('a lowercase host name without a port, like "s3.example.com"', _check_domain)
PEER = text('a network like "10.0.0.0/8", an address, or "unix" for unix sockets', _check_peer)
REGION = text('a region name, like "us-east-1"', _check_word)
NAME = text("at most 64 letters, digits, dots, hyphens and underscores", _check_word)
ACCESS_KEY_ID = text("an access key id of at most 128 characters", _check_access_key_id)
SECRET = text("printable text", is_secret=True)
FILE = text("a path; a relative path starts from the directory of the configuration file")
ENVIRONMENT = text("the name of an environment variable")
PATTERN = text('a bucket name, or a pattern like "public-*"', _check_pattern)
SOURCE = text(accepted_sources(), check_source, is_secret=True)
"""
The URL of a source may contain a password.
"""


@dataclass(frozen=True, slots=True)
class Place:
    """
    The URL of a backend, parsed.
    """

    url: str

    @property
    def is_tls(self) -> bool:
        """
        Whether connections use TLS.
        """
        return self.url.startswith("https:")

    @property
    def host(self) -> str:
        """
        The host name or address, without the brackets of an IPv6 address.
        """
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        """
        The port; the default port of the scheme if the URL has none.
        """
        return urlsplit(self.url).port or (443 if self.is_tls else 80)

    @property
    def authority(self) -> str:
        """
        Host and port as in the Host header: the port only if it is not the default port of the scheme.
        """
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.is_tls else 80) else f"{host}:{self.port}"

    @property
    def service_path(self) -> str:
        """
        The path of the URL without a final slash; empty to use the profile's own.
        """
        return urlsplit(self.url).path.rstrip("/")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """
    Options of the daemon, and the defaults of every listener.
    """

    listen: tuple[str, ...] = option(
        list_of(ENDPOINT, at_least=1),
        "The endpoints where clients connect. Listeners with different regions or domains need `[[listener]]` tables "
        "instead.",
        None,
        told=DEFAULT_LISTEN + ", if there is no `[[listener]]`",
    )
    admin: str | None = option(
        ADMIN, "The endpoint that serves `/health`, `/ready` and `/metrics`.", None, told="not served"
    )
    workers: int = option(
        count(1, 256),
        "The number of worker processes. If there are two or more, a supervisor replaces a worker that dies. The "
        "workers share the sockets and the limits.",
        1,
    )
    region: str = option(REGION, "The region that clients must sign for.", "us-east-1")
    accepted_regions: tuple[str, ...] = option(list_of(REGION), "Additional regions that clients may sign for.", ())
    domains: tuple[str, ...] = option(
        list_of(DOMAIN),
        "Domains for virtual-hosted-style requests: a host name below one of them begins with the bucket. With any "
        "other host, the path begins with the bucket.",
        (),
    )
    refuse: tuple[str, ...] = option(
        list_of(choice(*SWITCHES)), "Types of signatures and payloads that are refused.", ()
    )
    post: FormMode = option(
        choice_of(FormMode),
        "How the file of a POST form is verified before the backend can commit it. `spool` verifies it on disk "
        "first. `stream` predicts its length, and refuses a form with fields after the file.",
        FormMode.SPOOL,
    )
    replay_window: float = option(
        seconds(0, DAY),
        "A signed request that changes something is accepted only once within this time. 0 turns the check off. Each "
        "process remembers only its own requests.",
        0.0,
    )
    spool_directory: str = option(
        FILE,
        "The directory for bodies that must be verified as a whole and are too large for memory.",
        "/var/tmp",  # noqa: S108
    )
    multipart_directory: str | None = option(
        FILE,
        "The directory that keeps the parts of an upload until it is complete, for a backend without multipart "
        "uploads. It is created with mode 0700, must belong to the daemon's user, and must survive a restart of the "
        "machine, so it must not be on a tmpfs. Two daemons cannot share a directory.",
        None,
        told="the first of these that the daemon's user can use: `multipart` in systemd's `STATE_DIRECTORY`; "
        "`/var/lib/s3proxy/multipart`; `s3proxy/multipart` in `$XDG_STATE_HOME` or `~/.local/state`",
    )
    host_id: str = option(
        text("printable text"),
        "The value of `HostId` in errors and of `x-amz-id-2`. It identifies this process.",
        "s3proxy",
    )
    trusted_peers: tuple[str, ...] = option(
        list_of(PEER),
        "Proxies in front of s3proxy. They may report who their clients are, as the next two options allow. Loopback "
        "is trusted only if it is listed.",
        (),
    )
    proxy_protocol: bool = option(
        boolean(),
        "Whether each connection from `trusted_peers` begins with a PROXY header, version 1 or 2, before TLS. A "
        "connection without one is closed. Other peers send none; a PROXY header from them is an invalid request.",
        default=False,
    )
    trusted_forwarded: ForwardedHeaders = option(
        choice_of(ForwardedHeaders),
        "Which headers of `trusted_peers` are used: `X-Forwarded-For`, `-Host` and `-Proto`, or `Forwarded`. Their "
        "host replaces the Host header, also for signatures. The same headers of other peers are dropped.",
        ForwardedHeaders.NONE,
    )


def _inherited(name: str, about: str) -> Any:
    """
    Return the field of a listener's option that `[server]` has, too, and that is as there by default.
    """
    (same,) = [each for each in options_of(ServerSettings) if each.name == name]
    return option(same.kind, about, None, told="as in `[server]`")


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerSettings:
    """
    One endpoint where clients connect, with options of its own.
    """

    endpoint: str = option(ENDPOINT, "The endpoint where clients connect.")
    region: str = _inherited("region", "The region that its clients must sign for.")
    accepted_regions: tuple[str, ...] = _inherited(
        "accepted_regions", "Additional regions that its clients may sign for."
    )
    domains: tuple[str, ...] = _inherited("domains", "Its domains for virtual-hosted-style requests.")
    refuse: tuple[str, ...] = _inherited("refuse", "Types of signatures and payloads that it refuses.")
    post: FormMode = _inherited("post", "How the file of a POST form is verified.")
    trusted_peers: tuple[str, ...] = _inherited("trusted_peers", "The proxies in front of it.")
    proxy_protocol: bool = _inherited(
        "proxy_protocol", "Whether connections from its `trusted_peers` begin with a PROXY header."
    )
    trusted_forwarded: ForwardedHeaders = _inherited(
        "trusted_forwarded", "Which headers of its `trusted_peers` are used."
    )

    def inheriting(self, server: ServerSettings) -> ListenerSettings:
        """
        Return these settings, with the server's in the place of those that are not set.
        """
        names = [each.name for each in options_of(ListenerSettings) if each.name != "endpoint"]
        missing: dict[str, Any] = {name: getattr(server, name) for name in names if getattr(self, name) is None}
        return replace(self, **missing)


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendSettings:
    """
    One storage system, and the account that s3proxy uses on it.
    """

    name: str = option(NAME, "The name of the backend in the log and in a key's `backend`. It must be unique.")
    url: str | None = option(
        URL,
        "The URL of the backend. If it has a path, the buckets are below that path. Exactly one of `url` and `urls` "
        "is required.",
        None,
    )
    urls: tuple[str, ...] = option(
        list_of(URL, at_least=1),
        "All URLs of the backend. Each must be able to serve each request, and receives the host of the first one. A "
        "request goes to the URL with the fewest connections in use, and to another one if that cannot be reached.",
        (),
    )
    health: str | None = option(
        REQUEST_PATH,
        "The path of the unsigned request that checks the health of each of `urls`. Any status below 500 means that "
        "it works. The profile's own health check defines its own statuses.",
        None,
        told="the profile's",
    )
    profile: str = option(choice(*PROFILES), "The type of storage system.", "generic")
    signature: SignatureVersion = option(
        choice_of(SignatureVersion), "How requests to the backend are signed.", SignatureVersion.V4
    )
    payload: PayloadPolicy = option(
        choice_of(PayloadPolicy),
        "What Signature V4 covers of a body. `auto`: its hash if it is known, otherwise nothing. `unsigned`: "
        "nothing, for a backend that accepts no hashes. `chunks`: its hash if it is known; otherwise the body is "
        "sent in signed chunks of 64 KiB, and a trailer is signed, too. If the profile accepts trailers, a body with "
        "a trailing checksum is always sent in chunks; these are signed only with `chunks`.",
        PayloadPolicy.AUTO,
    )
    region: str = option(
        REGION, "The region that requests to the backend are signed for.", None, told="as in `[server]`"
    )
    access_key_id: str | None = option(
        ACCESS_KEY_ID, "The access key id that s3proxy uses. Required unless `signature` is `none`.", None
    )
    secret_access_key: str | None = option(
        SECRET, "The secret of that key. Exactly one of this option and the next two is required.", None
    )
    secret_access_key_file: str | None = option(FILE, "A file that contains the secret as its only line.", None)
    secret_access_key_env: str | None = option(ENVIRONMENT, "An environment variable that contains the secret.", None)
    commit: Commit | None = option(
        choice_of(Commit),
        "How a body is verified before the backend can commit it. `tail` withholds its last bytes until it is "
        "verified. `spool` verifies it on disk first, for a backend that would commit a truncated body.",
        None,
        told="`tail`; for Walrus and the OSG `spool` up to 64 MiB, because each truncated body may cost them a thread",
    )
    spool_up_to: int | None = option(
        size(1, 5 * 1024 * GIB),
        "The largest body that is spooled. Of a larger body the last bytes are withheld, as with `tail`.",
        None,
        told="no limit, if `commit` is `spool`",
    )
    lossy_headers: LossyHeaders = option(
        choice_of(LossyHeaders),
        "What happens to an object with a header that S3 stores and the profile's backend does not, such as "
        "`Cache-Control` with `walrus-3.4`. `drop`: the object is stored without the header, and "
        "`s3proxy_lost_headers_total` counts it. `refuse`: 501 NotImplemented, and nothing is stored.",
        LossyHeaders.DROP,
    )
    multipart: MultipartMode | None = option(
        choice_of(MultipartMode),
        "How multipart uploads are handled for a backend that does not support them. `spool` keeps the parts in "
        "`multipart_directory`, and sends the whole object when the upload is completed. `refuse` returns 501 "
        "NotImplemented. Only for a profile without multipart uploads: walrus-3.4. walrusbackend-4.x supports them, "
        "and accepts `spool` as well, because it cannot replace an object that was uploaded in parts.",
        None,
        told="`spool`, if a directory can be used",
    )
    extensions: tuple[str, ...] | None = option(
        list_of(
            choice(
                *sorted(EXTENSIONS),
                *sorted(ALL_OPERATIONS),
                accepted="the name of an extension or of an S3 operation",
            )
        ),
        "What clients may request beyond the profile: functions that S3 does not have, or S3 operations that the "
        "profile does not list, by their API name. [Operations](operations.md) lists all names.",
        None,
        told="as in the profile",
    )
    conditions: ConditionPolicy = option(
        choice_of(ConditionPolicy),
        "How a condition is handled that the backend ignores according to its profile: the condition of a write, or "
        "the expected bucket owner (`x-amz-expected-bucket-owner`). `refuse` returns 501, because clients rely on it "
        "as a lock or a check. `check` evaluates the condition of a write with a HEAD request before it, which is "
        "not a lock between two clients, and refuses an expected bucket owner. `pass` forwards the condition, for a "
        "backend that supports it in spite of its profile.",
        ConditionPolicy.REFUSE,
    )
    forwarded: ForwardedHeaders = option(
        choice_of(ForwardedHeaders), "The headers that tell the backend who the client is.", ForwardedHeaders.NONE
    )
    connections: int = option(
        count(1, 65536),
        "The maximum number of concurrent connections to each of `urls`.",
        _BACKEND.max_connections,
    )
    unix_socket: str | None = option(FILE, "A unix socket to connect to, instead of the URL's host and port.", None)
    ca_file: str | None = option(
        FILE, "PEM certificates of the authorities that may issue the backend's certificate.", None, told="the system's"
    )
    client_certificate_file: str | None = option(
        FILE, "The PEM client certificate to present to the backend, with its chain.", None
    )
    client_private_key_file: str | None = option(FILE, "The PEM private key of that certificate.", None)

    @property
    def keeps_multipart(self) -> bool:
        """
        Whether s3proxy keeps the multipart uploads in the place of the storage system.
        """
        profile = PROFILES[self.profile]
        if profile.lacks_multipart:
            return self.multipart != MultipartMode.REFUSE
        return profile.keeps_former_parts and self.multipart == MultipartMode.SPOOL

    @property
    def places(self) -> tuple[Place, ...]:
        """
        The places of the backend: at least one. Requests name the host of the first one.
        """
        return tuple(map(Place, self.urls if self.url is None else (self.url,)))


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendKeySettings:
    """
    An additional key of s3proxy on a backend, for the client keys that name it.
    """

    name: str = option(NAME, "The name of the backend key in a key's `backend_key`. It must be unique.")
    backend: str = option(NAME, "The name of its `[[backend]]`, whose region and signature version it uses.")
    access_key_id: str = option(ACCESS_KEY_ID, "The access key id on the backend.")
    secret_access_key: str | None = option(
        SECRET, "The secret of that key. Exactly one of this option and the next two is required.", None
    )
    secret_access_key_file: str | None = option(FILE, "A file that contains the secret as its only line.", None)
    secret_access_key_env: str | None = option(ENVIRONMENT, "An environment variable that contains the secret.", None)


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteSettings:
    """
    Buckets that are not on the first backend. The first route that matches a bucket applies.
    """

    bucket: tuple[str, ...] = option(
        one_or_list_of(PATTERN),
        "Bucket names or patterns. `*` matches any characters, `?` matches one character, `[ab]` matches one of the "
        "listed characters. Matching is case-sensitive.",
    )
    backend: str = option(NAME, "The name of the `[[backend]]` that has these buckets.")


_TRUSTED = "PEM certificates of the authorities that may issue the certificate of the service."


@dataclass(frozen=True, slots=True, kw_only=True)
class CalloutSettings:
    """
    How a service is asked for keys, if `credentials.source` is an `http` or `https` URL.
    """

    sends: tuple[Sent, ...] = option(
        list_of(choice_of(Sent)),
        "What the service is told of a request, besides its access key id. Its responses may depend only on that, and "
        "requests that differ in it are asked for separately.",
        (Sent.CARRIER, Sent.SCOPE),
    )
    token_file: str | None = option(
        FILE, "A file that contains the bearer token for the service as its only line.", None
    )
    token_env: str | None = option(ENVIRONMENT, "An environment variable that contains this token.", None)
    ca_file: str | None = option(FILE, _TRUSTED, None, told="the system's")


@dataclass(frozen=True, slots=True, kw_only=True)
class KeystoneSettings:
    """
    How s3proxy authenticates to Keystone, and whose keys it accepts, if `credentials.source` begins with `keystone:`.
    """

    user: str | None = option(
        text("the name of a user"),
        "The user that reads EC2 credentials. It needs the role `admin`, or `reader` and `service` on the system. "
        "Exactly one of this option and `application_credential` is required.",
        None,
    )
    user_domain: str = option(text("the name of a domain"), "The domain of that user.", "Default")
    project: str | None = option(
        text("the name of a project"),
        "The project that the user has its role on. Exactly one of this option and `system` is required with `user`.",
        None,
    )
    project_domain: str = option(text("the name of a domain"), "The domain of that project.", "Default")
    system: bool = option(boolean(), "Whether the user has its roles on the whole system.", default=False)
    application_credential: str | None = option(
        text("the id of an application credential"),
        "An application credential. Recent versions of Keystone allow it to read only the keys of its own project.",
        None,
    )
    secret_file: str | None = option(
        FILE,
        "A file that contains the password of the user, or the secret of the application credential, as its only "
        "line. Exactly one of this option and the next one is required.",
        None,
    )
    secret_env: str | None = option(ENVIRONMENT, "An environment variable that contains the same.", None)
    roles: tuple[str, ...] = option(
        list_of(text("the name of a role")),
        "The owner of a key must have one of these roles on the project of the key. At least one is required: every "
        "user of Keystone can create keys.",
        (),
    )
    projects: tuple[str, ...] = option(
        list_of(text("the id of a project")), "The projects whose keys are accepted.", (), told="all"
    )
    ca_file: str | None = option(FILE, _TRUSTED, None, told="the system's")


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialsSettings:
    """
    The source of client keys.
    """

    source: str = option(SOURCE, "The source of the clients' keys. They are read again on SIGHUP.", "file:keys.toml")
    ttl: float = option(
        seconds(0, DAY),
        "Time that a key is used before a database, a directory or a service is asked for it again. A key that was "
        "changed there is used as it was for at most this time. This option and the next three have no effect on a "
        "`file:` source.",
        60.0,
    )
    negative_ttl: float = option(
        seconds(0, DAY), "The same for a key that the source does not know, or does not describe correctly.", 10.0
    )
    stale: float = option(
        seconds(0, 365 * DAY),
        "While the source fails, a key is used as the source described it last, for at most this time after that.",
        3600.0,
    )
    entries: int = option(count(1, 10_000_000), "The maximum number of keys that each process remembers.", 100_000)
    callout: CalloutSettings = field(default_factory=CalloutSettings)
    keystone: KeystoneSettings = field(default_factory=KeystoneSettings)

    def with_paths(self, directory: Path) -> CredentialsSettings:
        """
        Return these settings with absolute paths.

        Args:
            directory: Where relative paths start.
        """
        return replace(self, callout=with_paths(self.callout, directory), keystone=with_paths(self.keystone, directory))


@dataclass(frozen=True, slots=True, kw_only=True)
class AnonymousSettings:
    """
    What requests without a signature are allowed to do.
    """

    allow: bool = option(
        boolean(),
        "Whether they are forwarded to the backend without a signature, so that its own policy decides.",
        default=False,
    )
    signed_buckets: tuple[str, ...] = option(
        list_of(PATTERN), "Buckets that anyone may read: GET and HEAD requests are signed with the backend's key.", ()
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """
    Limits on sizes, connections and rates.
    """

    small_body: int = option(
        size(0, 4 * MIB),
        "A body of up to this decoded size is verified as a whole before anything is sent to the backend.",
        SMALL_BODY_SIZE,
    )
    xml_body: int = option(
        size(64 * KIB, 64 * MIB),
        "The size of an operation's XML body. It is always verified as a whole.",
        MAX_XML_BODY_SIZE,
    )
    object_size: int = option(
        size(1, 5 * 1024 * GIB), "The size of one object, or of one part of an upload.", MAX_OBJECT_SIZE
    )
    breaker_failures: int = option(
        count(0, 1_000_000),
        "After this many consecutive failures to connect to a backend or to receive a response in time, the backend "
        "gets no requests for a while. 0 turns this off.",
        _BACKEND.breaker_failures,
    )
    connections: int = option(
        count(1, 1_000_000),
        "Client connections. At this number the connections that have been idle longest are closed; then new ones "
        "wait in the kernel's queue. File descriptors can lower the number: twice each backend's `connections` are "
        "reserved, or half of all descriptors.",
        16_384,
        is_shared=True,
    )
    connections_per_address: int = option(
        count(0, 1_000_000),
        "Client connections from one address. Further ones receive 503 SlowDown. 0 for no limit.",
        0,
    )
    memory: int = option(
        size(16 * MIB, 1024 * GIB),
        "The total size of bodies and backend documents in memory. They count as they arrive. New requests wait "
        "before their body is read; a body above 64 KiB is paused until other requests have ended.",
        256 * MIB,
        is_shared=True,
    )
    requests: int = option(
        count(0, 1_000_000), "Concurrent requests. Further ones wait. 0 for no limit.", 0, is_shared=True
    )
    bodies: int = option(count(0, 1_000_000), "Concurrent requests with a body. 0 for no limit.", 0, is_shared=True)
    requests_per_second: int = option(
        count(0, 1_000_000_000), "Requests per second. 0 for no limit.", 0, is_shared=True
    )
    bytes_per_second: int = option(
        size(0, 1024 * GIB), "Body bytes per second, in both directions together. 0 for no limit.", 0, is_shared=True
    )
    key_requests: int = option(
        count(0, 1_000_000), "Like `requests`, for each key that does not set its own limit.", 0, is_shared=True
    )
    key_bodies: int = option(count(0, 1_000_000), "Like `bodies`, for each such key.", 0, is_shared=True)
    key_requests_per_second: int = option(
        count(0, 1_000_000_000), "Like `requests_per_second`, for each such key.", 0, is_shared=True
    )
    key_bytes_per_second: int = option(
        size(0, 1024 * GIB), "Like `bytes_per_second`, for each such key.", 0, is_shared=True
    )
    key_memory: int | None = option(
        size(0, 1024 * GIB),
        "Like `memory`, for each key, for all anonymous requests together, and for all POST forms together whose key "
        "is not known yet. 0 for no limit.",
        None,
        told="a quarter of `memory`",
        is_shared=True,
    )
    minimum_rate: int = option(
        size(0, GIB),
        "A client whose body arrives at a lower average rate, in bytes per second, counts as idle. 0 for no minimum. "
        "Time in which the proxy pauses the client does not count.",
        _CLIENT.minimum_rate,
    )
    unknown_length: UnknownLength = option(
        choice_of(UnknownLength),
        "How a PutObject request in chunked transfer coding is handled if it does not declare its length. `refuse` "
        "returns 501 NotImplemented, as S3 does; `spool` verifies the body on disk first. A request with neither a "
        "length nor that coding always receives 411 MissingContentLength.",
        UnknownLength.REFUSE,
    )
    spool_size: int = option(
        size(0, 1024 * 1024 * GIB),
        "The total size of bodies on disk. Above it clients receive 503 SlowDown.",
        8 * GIB,
        is_shared=True,
    )
    multipart_size: int = option(
        size(16 * MIB, 1024 * 1024 * GIB),
        "The total size of the upload parts that s3proxy keeps, including those that are arriving. Above it clients "
        "receive 503 SlowDown. The limit applies to all workers together. A part counts as at least 64 KiB.",
        32 * GIB,
    )
    key_multipart_size: int | None = option(
        size(0, 1024 * 1024 * GIB),
        "Like `multipart_size`, for each key. A part counts as soon as it is announced; without this limit one key "
        "could reserve all the space and send nothing. 0 for no limit.",
        None,
        told="half of `multipart_size`",
    )
    multipart_uploads: int = option(
        count(1, 10_000_000),
        "Concurrent multipart uploads that s3proxy keeps. Above it clients receive 503 SlowDown.",
        10_000,
    )
    key_multipart_uploads: int = option(
        count(0, 10_000_000), "Like `multipart_uploads`, for each key. 0 for no limit.", 1_000
    )
    replay_entries: int = option(
        count(1, 100_000_000),
        "Signatures that are remembered for `replay_window`. Above it a key with more than its share loses its "
        "oldest ones.",
        1_000_000,
    )
    socket_buffer: int = option(
        size(16 * KIB, 16 * MIB),
        "The size of the kernel's receive buffer and send buffer of each connection.",
        DEFAULT_SOCKET_BUFFER,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """
    Timeouts. A timeout does not run while the proxy itself pauses the party.
    """

    head: float = option(
        seconds(0.1, DAY), "Time to receive the whole head of a request, or the fields of a form.", _CLIENT.head
    )
    idle: float = option(
        seconds(0.1, DAY),
        "Time between two bytes of a body or of a response, from either side.",
        _CLIENT.idle,
    )
    keep_alive: float = option(
        seconds(0.1, DAY),
        "Time between two requests on a client connection.",
        _CLIENT.keep_alive,
    )
    linger: float = option(
        seconds(0, DAY),
        "Time for a client to read an error response that was sent before the end of its body.",
        _CLIENT.linger,
    )
    connect: float = option(seconds(0.1, DAY), "Time to connect to a backend, including TLS.", _BACKEND.connect_time)
    first_byte: float = option(
        seconds(0.1, DAY),
        "Time from the end of a request to the first byte of the backend's response.",
        DEFAULT_FIRST_BYTE_TIME,
    )
    slow_first_byte: float = option(
        seconds(0.1, DAY),
        "The same for CompleteMultipartUpload, copies and RestoreObject.",
        DEFAULT_SLOW_FIRST_BYTE_TIME,
    )
    pooled_idle: float = option(
        seconds(0, DAY),
        "Time that an unused connection to a backend is kept.",
        _BACKEND.pooled_time,
    )
    breaker: float = option(
        seconds(0.1, DAY),
        "Time that a backend gets no requests after too many consecutive failures.",
        _BACKEND.breaker_time,
    )
    lookup: float = option(
        seconds(0.1, DAY),
        "Time for a credential source or an authorizer to respond. After it the request is refused with "
        "ServiceUnavailable.",
        10.0,
    )
    health: float = option(
        seconds(0, DAY), "Interval between two health checks of one of a backend's `urls`. 0 for no checks.", 5.0
    )
    budget: float = option(
        seconds(0, DAY), "Time that a request waits for a limit. After it the request is refused with SlowDown.", 5.0
    )
    total: float = option(
        seconds(0, 30 * DAY),
        "Time for a whole request, from its head to the end of its response. 0 for no limit.",
        _CLIENT.total,
    )
    multipart_expires: float = option(
        seconds(60, 3650 * DAY),
        "Time after which an incomplete multipart upload that s3proxy keeps is removed.",
        7 * DAY,
    )
    drain: float = option(seconds(0, DAY), "Time for running requests to end when the daemon stops.", 30.0)
    handover: float = option(
        seconds(0, 30 * DAY),
        "Time for running requests to end in a process that was replaced. 0 for no limit.",
        0.0,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    """
    What is logged about requests.
    """

    access: str = option(
        text('the path of a file, "-" for standard output, or "none"'),
        "The access log: one line for each request, in the format of S3's server access logs. A daemon (twistd "
        "without `-n`) has no standard output; there `-` is twistd's log.",
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
    "[credentials.callout]": CalloutSettings,
    "[credentials.keystone]": KeystoneSettings,
    "[anonymous]": AnonymousSettings,
    "[limits]": Limits,
    "[times]": Times,
    "[log]": LogSettings,
}
"""
Each table of the file, by the header that it has there, with the class of its options.
"""


def with_paths(table: T, directory: Path) -> T:
    """
    Return a table of options with absolute paths.

    Args:
        directory: Where relative paths start.
    """
    named = {each.name: getattr(table, each.name) for each in options_of(type(table)) if each.kind is FILE}
    return replace(table, **{name: str(directory / path) for name, path in named.items() if path is not None})


@dataclass(frozen=True, slots=True)
class Settings:
    """
    The complete settings of the daemon: nothing is left to inherit, read or look up.

    Attributes:
        server: The daemon's own options. Options that a listener may override are set in each listener.
        listeners: At least one listener; all options are set in each.
        backends: At least one backend, the default first. Each has a region and, if its requests are signed,
            ``secret_access_key``.
        backend_keys: The backend keys; ``secret_access_key`` is set in each.
        credentials: The source of client keys, as in the file.
        directory: The directory where relative paths of that source start.
    """

    server: ServerSettings
    listeners: tuple[ListenerSettings, ...]
    backends: tuple[BackendSettings, ...]
    backend_keys: tuple[BackendKeySettings, ...]
    routes: tuple[RouteSettings, ...]
    credentials: CredentialsSettings
    directory: Path
    anonymous: AnonymousSettings
    limits: Limits
    times: Times
    log: LogSettings
