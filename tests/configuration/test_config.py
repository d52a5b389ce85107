from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.testing import MemoryReactorClock
from twisted.python.usage import UsageError

from s3proxy.configuration.loading import load_settings, make_settings
from s3proxy.configuration.options import DEFAULT_LISTEN, TABLES, Settings
from s3proxy.configuration.tables import Faults, options_of
from s3proxy.daemon.backends import make_backend
from s3proxy.daemon.tap import Options

SECRET = "geheimnis-of-the-backend"

WHOLE_FILE = f"""
[server]
listen = ["tcp:9000:interface=127.0.0.1", "tcp:9002:interface=127.0.0.1"]
region = "eu-north-1"
domains = ["s3.example.com"]
host_id = "proxy-1"
accepted_regions = ["us-east-1"]
refuse = ["v2-query", "unsigned-payload"]
replay_window = 900
spool_directory = "."

[[listener]]
endpoint = "tcp:9003:interface=127.0.0.1"
region = "us-west-2"
accepted_regions = []
domains = []
refuse = []
post = "stream"

[[backend]]
name = "old-ceph"
url = "http://127.0.0.1:7480"
profile = "ceph-rgw"
signature = "v2"
access_key_id = "ours"
secret_access_key = "{SECRET}"
commit = "tail"
forwarded = "x-forwarded"
connections = 9

[[backend]]
name = "open"
url = "https://[::1]/services/Walrus/"
signature = "none"
unix_socket = "run/socket"

[[backend_key]]
name = "tenant"
backend = "old-ceph"
access_key_id = "theirs"
secret_access_key = "{SECRET}-too"

[[route]]
bucket = "logs-*"
backend = "open"

[[route]]
bucket = ["a", "b[0-9]"]
backend = "old-ceph"

[credentials]
source = "file:clients.toml"

[limits]
small_body = "16 KiB"
socket_buffer = 65536

unknown_length = "spool"
spool_size = "2 GiB"

[anonymous]
allow = true
signed_buckets = ["public-*"]

[times]
idle = 7
first_byte = 0.5

[log]
access = "access.log"
"""


def backend(**changes: Any) -> dict[str, Any]:
    """
    Return the table of a backend, correct except for the changes; None removes an option.
    """
    table = {"name": "b", "url": "http://h", "access_key_id": "a", "secret_access_key": SECRET} | changes
    return {name: value for name, value in table.items() if value is not None}


def replicas(*urls: str, **changes: Any) -> dict[str, Any]:
    """
    Return the table of a backend with several URLs.
    """
    return backend(url=None, urls=list(urls), **changes)


def backend_key(**changes: Any) -> dict[str, Any]:
    """
    Return the table of a further key for the backend, correct except for the changes; None removes an option.
    """
    return backend(url=None, **{"name": "k", "backend": "b"} | changes)


def routed(*routes: tuple[Any, str]) -> dict[str, Any]:
    """
    Return a file with two backends and these routes.
    """
    tables = [{"bucket": bucket, "backend": name} for bucket, name in routes]
    return {"backend": [backend(), backend(name="c")], "route": tables}


def made(content: dict[str, Any], directory: Path = Path("/etc/s3proxy"), **environment: str) -> Settings:
    return make_settings({"backend": [backend()]} | content, directory, environment)


def faults_of(content: dict[str, Any], directory: Path = Path("/etc/s3proxy"), **environment: str) -> dict[str, str]:
    with pytest.raises(Faults) as raised:
        made(content, directory, **environment)
    assert SECRET not in str(raised.value)
    return {fault.place: fault.message for fault in raised.value.faults}


def test_a_whole_file_is_understood(tmp_path: Path) -> None:
    """
    The settings contain every table of the file. The file uses no defaults.
    """
    path = tmp_path / "s3proxy.toml"
    path.write_text(WHOLE_FILE)

    settings = load_settings(path)

    assert [(one.endpoint, one.region, one.domains) for one in settings.listeners] == [
        ("tcp:9000:interface=127.0.0.1", "eu-north-1", ("s3.example.com",)),
        ("tcp:9002:interface=127.0.0.1", "eu-north-1", ("s3.example.com",)),
        ("tcp:9003:interface=127.0.0.1", "us-west-2", ()),
    ]
    ceph, walrus = settings.backends
    assert (ceph.name, ceph.profile, ceph.signature, ceph.region) == ("old-ceph", "ceph-rgw", "v2", "eu-north-1")
    (place,) = ceph.places
    assert (place.host, place.port, place.authority, place.service_path) == ("127.0.0.1", 7480, "127.0.0.1:7480", "")
    assert (ceph.access_key_id, ceph.secret_access_key, ceph.connections) == ("ours", SECRET, 9)
    (place,) = walrus.places
    assert (place.is_tls, place.host, place.port, place.authority) == (True, "::1", 443, "[::1]")
    assert (place.service_path, walrus.unix_socket) == ("/services/Walrus", str(tmp_path / "run/socket"))
    (key,) = settings.backend_keys
    assert (key.name, key.backend, key.access_key_id) == ("tenant", "old-ceph", "theirs")
    assert key.secret_access_key == f"{SECRET}-too"
    assert [(route.bucket, route.backend) for route in settings.routes] == [
        (("logs-*",), "open"),
        (("a", "b[0-9]"), "old-ceph"),
    ]
    assert (settings.credentials.source, settings.directory) == ("file:clients.toml", tmp_path)
    assert (settings.limits.small_body, settings.limits.socket_buffer) == (16384, 65536)
    assert (settings.times.idle, settings.times.first_byte, settings.times.head) == (7.0, 0.5, 30.0)
    assert settings.log.access == str(tmp_path / "access.log")
    assert settings.server.host_id == "proxy-1"
    switches = (("us-east-1",), ("v2-query", "unsigned-payload"), "spool")
    assert [(one.accepted_regions, one.refuse, one.post) for one in settings.listeners] == [
        switches,
        switches,
        ((), (), "stream"),
    ]
    assert (settings.server.replay_window, settings.server.spool_directory) == (900, str(tmp_path))
    assert (settings.limits.unknown_length, settings.limits.spool_size) == ("spool", 2 << 30)
    assert (settings.anonymous.allow, settings.anonymous.signed_buckets) == (True, ("public-*",))


def test_what_is_not_said_has_its_documented_default() -> None:
    """
    One backend is all that a file must contain.
    """
    settings = made({})

    assert [one.endpoint for one in settings.listeners] == [DEFAULT_LISTEN]
    assert settings.listeners[0].region == settings.backends[0].region == "us-east-1"
    assert (settings.credentials.source, settings.directory) == ("file:keys.toml", Path("/etc/s3proxy"))
    times = settings.times
    assert (times.connect, times.head, times.idle, times.keep_alive) == (5, 30, 60, 75)
    assert (times.first_byte, times.slow_first_byte, times.pooled_idle, times.drain) == (60, 1800, 25, 30)
    assert (settings.limits.small_body, settings.limits.xml_body) == (64 * 1024, 4 * 1024**2)
    assert settings.limits.socket_buffer == 512 * 1024
    assert settings.log.access == "-"
    assert (settings.listeners[0].refuse, settings.listeners[0].post) == ((), "spool")
    assert (settings.server.replay_window, settings.server.spool_directory) == (0, "/var/tmp")
    assert (settings.limits.unknown_length, settings.limits.spool_size) == ("refuse", 8 << 30)
    assert (settings.anonymous.allow, settings.anonymous.signed_buckets) == (False, ())


def test_replicas_are_told_the_host_of_the_first() -> None:
    """
    All sign for one name, and each certificate is for its own name; the health check is below the service path.
    """
    (settings,) = made(
        {"backend": [replicas("http://127.0.0.1:1/s/", "http://127.0.0.2/s", profile="walrus-3.4")]}
    ).backends
    whole = made({"backend": [replicas("http://127.0.0.1:1/s/", "http://127.0.0.2/s", profile="walrus-3.4")]})

    made_backend = make_backend(settings, whole, MemoryReactorClock())

    assert [place.authority for place in settings.places] == ["127.0.0.1:1", "127.0.0.2"]
    assert [pool.address for pool in made_backend.agent.pools] == ["127.0.0.1:1", "127.0.0.2"]
    assert made_backend.account.host == b"127.0.0.1:1"
    assert made_backend.account.profile.service_path == b"/s"


def test_a_listener_table_alone_is_the_only_listener() -> None:
    """
    The default endpoint is for a file without a listener.
    """
    settings = made({"listener": [{"endpoint": "tcp:9001"}]})

    assert [one.endpoint for one in settings.listeners] == ["tcp:9001"]


def test_the_secret_is_in_no_repr(tmp_path: Path) -> None:
    """
    Settings may be logged without the secret.
    """
    path = tmp_path / "s3proxy.toml"
    path.write_text(WHOLE_FILE)

    settings = load_settings(path)

    assert "old-ceph" in repr(settings)
    assert SECRET not in repr(settings)


@pytest.mark.parametrize(
    ("content", "place", "message"),
    [
        (
            {"server": {"worker": 2}},
            "server.worker",
            'unknown name (did you mean "workers"?); accepted: listen, admin, workers, region, accepted_regions, ',
        ),
        (
            {"servers": {}},
            "servers",
            'unknown name (did you mean "server"?); accepted: server, listener, backend, backend_key, route, cred',
        ),
        ({"server": {"listen": []}}, "server.listen", "a list of at least 1"),
        ({"server": {"listen": ["9000"]}}, "server.listen[0]", "a Twisted endpoint string"),
        ({"server": {"listen": ["haproxy:tcp:9000"]}}, "server.listen[0]", "a Twisted endpoint string"),
        ({"server": {"listen": ["tcp:http"]}}, "server.listen[0]", '("http" is not a number)'),
        ({"server": {"listen": ["tcp:"]}}, "server.listen[0]", '("" is not a number)'),
        ({"server": {"listen": ["tcp:65536"]}}, "server.listen[0]", "(65536 is not a port from 0 to 65535)"),
        ({"server": {"listen": ["tcp6:-1"]}}, "server.listen[0]", "(-1 is not a port from 0 to 65535)"),
        (
            {"server": {"admin": "tcp:70000:interface=127.0.0.1"}},
            "server.admin",
            "(70000 is not a port from 0 to 65535)",
        ),
        (
            {"listener": [{"endpoint": "tcp:70000:interface=127.0.0.1"}]},
            "listener[0].endpoint",
            "(70000 is not a port from 0 to 65535)",
        ),
        ({"server": {"listen": ["tcp:1:interface=300.1.1.1"]}}, "server.listen[0]", "(interface=300.1.1.1: "),
        ({"server": {"listen": ["unix:/nowhere/s.sock"]}}, "server.listen[0]", "(/nowhere: not a directory)"),
        ({"server": {"listen": ["tcp:1:2:3:4:5"]}}, "server.listen[0]", "(too many or too few arguments)"),
        ({"server": {"listen": ["unix:"]}}, "server.listen[0]", "a Twisted endpoint string"),
        ({"server": {"listen": ["systemd:domain=INET:index=7"]}}, "server.listen[0]", "systemd passed no such"),
        (
            {"server": {"listen": ["tcp:9000:interfaces=::1"]}},
            "server.listen[0]",
            '(unknown argument "interfaces=")',
        ),
        ({"server": {"listen": ["ssl:9000:privateKey=/nowhere"]}}, "server.listen[0]", "/nowhere"),
        ({"server": {"region": "us east"}}, "server.region", "a region name"),
        ({"server": {"domains": ["S3.example.com"]}}, "server.domains[0]", "a lowercase host name"),
        ({"server": {"domains": ["s3.example.com:80"]}}, "server.domains[0]", "without a port"),
        ({"server": {"domains": ["s3..example.com"]}}, "server.domains[0]", "a lowercase host name"),
        ({"server": {"refuse": ["v3"]}}, "server.refuse[0]", '"v4-header" | "v4-query" | "v4-form"'),
        ({"server": {"post": "memory"}}, "server.post", '"spool" | "stream"'),
        ({"server": {"spool_directory": "/nowhere"}}, "server.spool_directory", "/nowhere: not a writable directory"),
        ({"anonymous": {"allow": "yes"}}, "anonymous.allow", "true | false"),
        ({"listener": [{}]}, "listener[0].endpoint", "required"),
        ({"backend": []}, "backend", "at least one"),
        ({"backend": [backend(name=None)]}, "backend[0].name", "required"),
        ({"backend": [backend(name="a b")]}, "backend[0].name", "letters, digits"),
        ({"backend": [backend(), backend()]}, "backend[1].name", "is already the name of [[backend]] 1"),
        ({"backend": [backend(url="127.0.0.1:7480")]}, "backend[0].url", '"http://HOST[:PORT]"'),
        ({"backend": [backend(url="http://h:99999")]}, "backend[0].url", "Port out of range"),
        ({"backend": [backend(url="http://h:0")]}, "backend[0].url", '"http://HOST[:PORT]"'),
        ({"backend": [backend(url="http://")]}, "backend[0].url", '"http://HOST[:PORT]"'),
        ({"backend": [backend(url="http://h/?a")]}, "backend[0].url", '"http://HOST[:PORT]"'),
        ({"backend": [backend(url="http://a:b@h/")]}, "backend[0].url", "must not contain credentials"),
        ({"backend": [backend(url=None)]}, "backend[0]", "exactly one of url and urls"),
        ({"backend": [backend(urls=["http://i"])]}, "backend[0]", "exactly one of url and urls"),
        ({"backend": [replicas("http://a", "http://a:80")]}, "backend[0].urls[1]", "duplicate address a"),
        (
            {"backend": [replicas("http://a", "https://b")]},
            "backend[0].urls[1]",
            "must have the scheme and the path of the first",
        ),
        (
            {"backend": [replicas("http://a", "http://b/c")]},
            "backend[0].urls[1]",
            "must have the scheme and the path of the first",
        ),
        ({"backend": [replicas("http://a", "b")]}, "backend[0].urls[1]", '"http://HOST[:PORT]"'),
        (
            {"backend": [replicas("http://a", "http://b", unix_socket="s")]},
            "backend[0].unix_socket",
            "requires exactly one url",
        ),
        ({"backend": [backend(health="up")]}, "backend[0].health", "a URL path"),
        (
            {"backend": [backend(profile="ceph")]},
            "backend[0].profile",
            '"generic" | "ceph-rgw" | "swift" | "walrus-3.4"',
        ),
        ({"backend": [backend(signature="V4")]}, "backend[0].signature", '"v4" | "v2" | "none"'),
        ({"backend": [backend(commit="none")]}, "backend[0].commit", 'accepted: "tail" | "spool"'),
        (
            {"backend": [backend(commit="tail", spool_up_to="1 MiB")]},
            "backend[0].spool_up_to",
            'has no effect with `commit = "tail"`',
        ),
        (
            {"backend": [backend(url="http://s3.Walrus.example:8773", profile="walrus-3.4", signature="v2")]},
            "backend[0].url",
            'what is before ".walrus" in its host',
        ),
        (
            {"backend": [replicas("http://a.walrus", "http://b", profile="walrus-3.4", signature="v2")]},
            "backend[0].urls",
            "use the IP address",
        ),
        ({"backend": [backend(payload="hash")]}, "backend[0].payload", '"auto" | "unsigned" | "chunks"'),
        (
            {"backend": [backend(signature="v2", payload="chunks")]},
            "backend[0].payload",
            '"chunks" requires signature "v4", not "v2"',
        ),
        (
            {"backend": [{"name": "b", "url": "http://h", "signature": "none", "payload": "chunks"}]},
            "backend[0].payload",
            'not "none"',
        ),
        ({"backend": [backend(access_key_id="a/b")]}, "backend[0].access_key_id", "an access key id"),
        ({"backend": [backend(access_key_id=None)]}, "backend[0].access_key_id", "required"),
        ({"backend": [backend(secret_access_key=None)]}, "backend[0]", "exactly one of"),
        ({"backend": [backend(secret_access_key_env="X")]}, "backend[0]", "2 are given"),
        ({"backend": [backend(secret_access_key=5)]}, "backend[0].secret_access_key", "this value is not accepted"),
        ({"backend": [backend(ca_file="/nowhere")]}, "backend[0].ca_file", "begins with https"),
        ({"backend": [backend(url="https://h", ca_file="/nowhere")]}, "backend[0].ca_file", "/nowhere: No such file"),
        (
            {"backend": [backend(url="https://h", client_certificate_file="/dev/null")]},
            "backend[0]",
            "must be set together",
        ),
        ({"backend_key": [backend_key(name=None)]}, "backend_key[0].name", "required"),
        (
            {"backend_key": [backend_key(), backend_key()]},
            "backend_key[1].name",
            "already the name of [[backend_key]] 1",
        ),
        ({"backend_key": [backend_key(backend="c")]}, "backend_key[0].backend", '"c" is not accepted; accepted: "b"'),
        ({"backend_key": [backend_key(access_key_id=None)]}, "backend_key[0].access_key_id", "missing required option"),
        ({"backend_key": [backend_key(access_key_id="a/b")]}, "backend_key[0].access_key_id", "an access key id"),
        ({"backend_key": [backend_key(secret_access_key=None)]}, "backend_key[0]", "exactly one of"),
        ({"backend_key": [backend_key(secret_access_key_env="X")]}, "backend_key[0]", "2 are given"),
        ({"backend_key": [backend_key(signature="none")]}, "backend_key[0].signature", "unknown name; accepted: name,"),
        (
            {"backend": [{"name": "b", "url": "http://h", "signature": "none"}], "backend_key": [backend_key()]},
            "backend_key[0].backend",
            'requests to "b" are not signed',
        ),
        (routed(("a", "d")), "route[0].backend", '"d" is not accepted; accepted: "b" | "c"'),
        (routed(("", "c")), "route[0].bucket", "a bucket name, or a pattern"),
        (routed(([], "c")), "route[0].bucket", "or a list of at least 1"),
        (routed((["a", 5], "c")), "route[0].bucket[1]", "a bucket name, or a pattern"),
        (routed(("logs/*", "c")), "route[0].bucket", "bucket names contain no slashes"),
        (routed(("a[9-0]", "c")), "route[0].bucket", "a range in it is empty"),
        (routed(("a", "b"), ("a", "c")), "route[1].bucket", '"a" is already in [[route]] 1'),
        (routed((["a", "a"], "c")), "route[0].bucket", '"a" is already in [[route]] 1'),
        (routed(("a*", "b"), (["x", "a?b*"], "c")), "route[1].bucket", 'is unreachable: [[route]] 1 has "a*"'),
        (routed(("*", "b"), ("a", "c")), "route[1].bucket", '[[route]] 1 has "*"'),
        ({"anonymous": {"signed_buckets": ["a/*"]}}, "anonymous.signed_buckets[0]", "bucket names contain no slashes"),
        ({"server": {"proxy_protocol": True}}, "server.proxy_protocol", "no effect unless trusted_peers is set"),
        (
            {"server": {"trusted_forwarded": "forwarded"}},
            "server.trusted_forwarded",
            "no effect unless trusted_peers is set",
        ),
        ({"server": {"trusted_peers": ["10.0.0.1/8"]}}, "server.trusted_peers[0]", "has host bits set"),
        ({"server": {"trusted_peers": ["lb.example.com"]}}, "server.trusted_peers[0]", 'or "unix" for unix sockets'),
        (
            {
                "server": {"trusted_peers": ["::1", "unix"], "proxy_protocol": True},
                "listener": [{"endpoint": "tcp:1"}, {"endpoint": "tcp:2", "trusted_peers": []}],
            },
            "listener[1].proxy_protocol",
            "no effect unless trusted_peers is set",
        ),
        ({"credentials": {"source": "keys.toml"}}, "credentials.source", '"file:PATH"'),
        ({"credentials": {"source": "gopher:x"}}, "credentials.source", '"file:PATH"'),
        ({"credentials": {"ldap": {"bind_dn": "cn=a"}}}, "credentials.ldap", "has no effect unless credentials.source"),
        ({"credentials": {"ldap": {"bind_db": "cn=a"}}}, "credentials.ldap.bind_db", 'did you mean "bind_dn"'),
        ({"limits": {"small_body": "1 GiB"}}, "limits.small_body", "bytes from 0 to 4 MiB"),
        (
            {"limits": {"smal_body": 1}},
            "limits.smal_body",
            'unknown name (did you mean "small_body"?); accepted: small_body',
        ),
        ({"times": {"idle": "60s"}}, "times.idle", "a number of seconds from 0.1 to 86400"),
        ({"times": {"idle": 0}}, "times.idle", "a number of seconds"),
        ({"log": {"access": ""}}, "log.access", '"-" for standard output'),
        ({"log": "access.log"}, "log", "must be a table"),
        ({"backend": {}}, "backend", "must be a list of tables"),
    ],
)
def test_a_fault_is_told_with_its_place_and_what_is_accepted(content: dict[str, Any], place: str, message: str) -> None:
    """
    An operator can correct the file from the message alone.
    """
    faults = faults_of(content)

    assert list(faults) == [place]
    assert message in faults[place]


def test_all_faults_of_a_file_are_told_at_once() -> None:
    """
    An error in one table hides neither an error in another nor a missing secret.
    """
    faults = faults_of(
        {
            "times": {"idle": -1},
            "backend": [
                backend(url="ftp://h", secret_access_key=None),
                backend(name="c", secret_access_key_env="NOPE"),
            ],
            "typo": 1,
        }
    )

    assert set(faults) == {"times.idle", "backend[0].url", "backend[0]", "backend[1]", "typo"}


def test_a_backend_which_is_not_signed_for_needs_no_key() -> None:
    """
    A key without use is an error: the operator believes that it is used.
    """
    bare = {"name": "b", "url": "http://h", "signature": "none"}

    assert made({"backend": [bare]}).backends[0].secret_access_key is None
    assert set(faults_of({"backend": [backend(signature="none")]})) == {
        "backend[0].access_key_id",
        "backend[0].secret_access_key",
    }


def test_a_key_of_swift_is_accepted() -> None:
    """
    A Swift key is its account and its user, with a colon between them.
    """
    (only,) = made({"backend": [backend(access_key_id="account:user")]}).backends

    assert only.access_key_id == "account:user"


def test_a_secret_comes_from_a_file(tmp_path: Path) -> None:
    """
    The file's only line is the secret. Its path is relative to the configuration file unless it is absolute.
    """
    (tmp_path / "secret").write_text(f"{SECRET}\n")
    table = backend(secret_access_key=None, secret_access_key_file="secret")

    settings = made({"backend": [table]}, tmp_path)

    assert settings.backends[0].secret_access_key == SECRET


@pytest.mark.parametrize("content", [None, b"", b"\n", b"a\nb", b"\xff", b"a" * 5000])
def test_a_secret_file_which_holds_no_secret_is_a_fault(tmp_path: Path, content: bytes | None) -> None:
    """
    The error names its path, not its content.
    """
    if content is not None:
        (tmp_path / "secret").write_bytes(content)
    table = backend(secret_access_key=None, secret_access_key_file="secret")

    faults = faults_of({"backend": [table]}, tmp_path)

    assert list(faults) == ["backend[0].secret_access_key_file"]
    assert faults["backend[0].secret_access_key_file"].startswith(str(tmp_path / "secret"))


def test_an_exception_goes_before_its_rule() -> None:
    """
    A name before a pattern that also matches it is not an error: that is what the order is for.
    """
    settings = made(routed(("logs-old", "b"), (["logs-*", "x-?"], "c"), ("x-*", "b")))

    assert [route.bucket for route in settings.routes] == [("logs-old",), ("logs-*", "x-?"), ("x-*",)]


def test_secrets_of_further_keys_come_from_everywhere(tmp_path: Path) -> None:
    """
    Like those of backends, each from its own source.
    """
    (tmp_path / "secret").write_text(f"{SECRET}-of-the-file\n")
    tables = [
        backend_key(name="k1"),
        backend_key(name="k2", secret_access_key=None, secret_access_key_file="secret"),
        backend_key(name="k3", secret_access_key=None, secret_access_key_env="KEY_SECRET"),
    ]

    settings = made({"backend_key": tables}, tmp_path, KEY_SECRET=f"{SECRET}-of-the-environment")

    assert [key.secret_access_key for key in settings.backend_keys] == [
        SECRET,
        f"{SECRET}-of-the-file",
        f"{SECRET}-of-the-environment",
    ]
    assert SECRET not in repr(settings)


def test_a_secret_comes_from_the_environment() -> None:
    """
    An unset variable is an error.
    """
    content = {"backend": [backend(secret_access_key=None, secret_access_key_env="BACKEND_SECRET")]}

    assert made(content, BACKEND_SECRET=SECRET).backends[0].secret_access_key == SECRET
    assert "BACKEND_SECRET is unset" in faults_of(content)["backend[0].secret_access_key_env"]


def test_every_option_has_a_sentence_and_what_it_accepts() -> None:
    """
    Each option has its lines in the reference, and each number has its unit.
    """
    for table in TABLES.values():
        for told in options_of(table):
            assert told.about.endswith(".")
            assert told.kind.accepted
            assert told.default_text
            assert not isinstance(told.default, float) or told.kind.unit == "seconds"


# The command line


def parsed(*arguments: str) -> Settings:
    options = Options()
    options.parseOptions(list(arguments))
    return options.settings


def test_the_command_line_alone_is_enough(tmp_path: Path) -> None:
    """
    The flags say the same as the smallest file.
    """
    secret = tmp_path / "secret"
    secret.write_text(SECRET)

    settings = parsed(
        *("--listen", "tcp:9000:interface=127.0.0.1", "--listen", "tcp:9001:interface=127.0.0.1"),
        *("--backend", "http://127.0.0.1:7480", "--backend-signature", "v2", "--backend-access-key-id", "ours"),
        *("--backend-secret-file", str(secret), "--credentials", "some/keys.toml"),
        *("--region", "eu-north-1", "--domain", "s3.example.com"),
    )

    assert [one.endpoint for one in settings.listeners] == [
        "tcp:9000:interface=127.0.0.1",
        "tcp:9001:interface=127.0.0.1",
    ]
    assert settings.listeners[0].domains == ("s3.example.com",)
    assert settings.listeners[0].region == "eu-north-1"
    (only,) = settings.backends
    assert (only.url, only.signature, only.access_key_id, only.secret_access_key) == (
        "http://127.0.0.1:7480",
        "v2",
        "ours",
        SECRET,
    )
    assert (settings.credentials.source, settings.directory) == ("file:some/keys.toml", Path().absolute())


def test_the_command_line_names_a_file(tmp_path: Path) -> None:
    """
    --config replaces all flags, and paths in the file are relative to it.
    """
    path = tmp_path / "s3proxy.toml"
    path.write_text(WHOLE_FILE)

    assert parsed("--config", str(path)) == load_settings(path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "either --config FILE or --backend"),
        (
            ("--config", "x", "--region", "r", "--listen", "tcp:1"),
            "--config cannot be combined with --listen, --region",
        ),
        (("--config", "/nowhere"), "/nowhere: No such file"),
        (("--backend", "h", "--backend-signature", "none"), '--backend: "h" is not accepted'),
        (("--backend", "http://h"), "--backend-access-key-id: is required"),
        (("--backend", "http://h", "--backend-access-key-id", "a"), "--backend-secret-file: exactly one of"),
        (("--backend", "http://h", "--backend-signature", "v5"), "--backend-signature: "),
        (("--backend", "http://h", "--backend-signature", "none", "--listen", "9"), "--listen: "),
        (("--backend", "http://h", "--backend-signature", "none", "--domain", "A"), "--domain: "),
        (("--backend", "http://h", "--backend-secret-file", "/nowhere"), "--backend-access-key-id: is required"),
    ],
)
def test_a_fault_of_the_command_line_is_told_by_the_flag(arguments: tuple[str, ...], message: str) -> None:
    """
    An operator who wrote no file reads about flags, not about options of a file.
    """
    with pytest.raises(UsageError) as raised:
        parsed(*arguments)

    assert message in str(raised.value)


def test_names_are_told_once_and_tables_by_number() -> None:
    """
    A duplicate name is one name to choose, and other tables are counted from 1, as the place of the error is.
    """
    content = {
        "listener": [{"endpoint": "tcp:9000"}, {"endpoint": "tcp:9000:interface=127.0.0.1"}],
        "backend": [backend(), backend()],
        "route": [{"bucket": "a", "backend": "d"}],
    }

    faults = faults_of(content, Path())

    assert faults["route[0].backend"] == '"d" is not accepted; accepted: "b"'
    assert faults["listener[1].endpoint"] == "the address is already used by [[listener]] 1"


def test_a_fault_of_the_file_is_told_with_its_path(tmp_path: Path) -> None:
    """
    An operator who starts the daemon with a file reads which file is wrong.
    """
    path = tmp_path / "s3proxy.toml"
    path.write_text("[limits]\nconnections = 0\n")

    with pytest.raises(UsageError) as raised:
        parsed("--config", str(path))

    lines = str(raised.value).splitlines()
    assert len(lines) == 2
    assert all(line.startswith(f"{path}: ") for line in lines)


def test_a_fault_is_told_as_the_file_is_written() -> None:
    """
    An error in one of several tables gives its name, or its number from 1 if the name is missing or a duplicate.
    """
    content = {
        "backend": [backend(name="a", urls=[]), backend(signature="v3"), {**backend(), "name": 5}],
        "listener": [{"endpoint": "tcp:9000", "post": "memory"}],
        "server": {"region": True, "host_id": [date(2026, 1, 1)]},
        "a[b": 1,
        "backend[7]": 1,
    }

    with pytest.raises(Faults) as told:
        make_settings(content, Path("/etc/s3proxy"))

    lines = [str(fault).partition(" is not")[0] for fault in told.value.faults]
    assert '[[backend]] "a": urls: []' in lines
    assert '[[backend]] "b": signature: "v3"' in lines
    assert "[[backend]] 3: name: 5" in lines
    assert '[[listener]] "tcp:9000": post: "memory"' in lines
    assert "server.region: true" in lines
    assert "server.host_id: [2026-01-01]" in lines
    assert [line for line in lines if line.startswith("a[b: unknown name")]


def test_faults_between_tables_are_told_beside_others(tmp_path: Path) -> None:
    """
    All in one run: a wrong option hides no error that does not depend on it.
    """
    (tmp_path / "ca.pem").write_text("no certificate")
    content = {
        "server": {
            "listen": ["tcp:9000", "tcp:9000:interface=127.0.0.1", "unix:s.sock", "unix:s.sock", "tcp:0", "tcp:0"],
            "admin": "tcp:9000:interface=127.0.0.1",
            "region": 5,
        },
        "listener": [{"endpoint": "tcp6:9000"}, {"endpoint": "ssl:9001:privateKey=x"}],
        "backend": [backend(url="https://b", ca_file="ca.pem"), backend(name="c", signature="v3")],
        "route": [{"bucket": "a", "backend": "d"}],
        "backend_key": [backend_key(backend="e")],
        "log": {"access": "nowhere/access.log"},
        "limits": {"memory": "64KB"},
    }

    faults = faults_of(content, tmp_path)

    assert {place: message for place, message in faults.items() if "already used" in message} == {
        "server.listen[1]": "the address is already used by server.listen[0]",
        "server.listen[3]": "the address is already used by server.listen[2]",
        "server.admin": "the address is already used by server.listen[0]",
    }
    assert faults["backend[0].ca_file"] == f"{tmp_path}/ca.pem: contains no PEM certificate"
    assert faults["route[0].backend"] == '"d" is not accepted; accepted: "b" | "c"'
    assert faults["backend_key[0].backend"] == '"e" is not accepted; accepted: "b" | "c"'
    assert faults["log.access"] == f"{tmp_path}/nowhere: not a directory"
    assert "KiB, MiB, GiB" in faults["limits.memory"]
    assert len(faults) == 11, faults


def test_an_option_which_is_wrong_is_not_missed() -> None:
    """
    What follows from the wrong option is not reported: url and trusted_peers exist, and only the first name is known.
    """
    content = {
        "server": {"trusted_peers": ["x"], "proxy_protocol": True},
        "backend": [backend(url="ftp://b"), {**backend(), "name": ""}],
        "route": [{"bucket": "a", "backend": "d"}],
    }

    assert list(faults_of(content)) == ["backend[0].url", "backend[1].name", "server.trusted_peers[0]"]
    assert list(faults_of({"server": {"listen": ["x"], "admin": DEFAULT_LISTEN}})) == ["server.listen[0]"]
