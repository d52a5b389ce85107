"""
The certificates of listeners: the files that the configuration names, and when they expire.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from s3proxy.configuration.endpoints import TLSEndpoint, parse_tls
from s3proxy.configuration.options import ListenerSettings, Settings
from s3proxy.configuration.tables import Fault
from s3proxy.transport.certificates import (
    CertificateDirectory,
    read_authorities,
    read_directory,
    read_server_files,
    why_expiring,
)
from s3proxy.transport.client_names import comparable_name, is_accepted
from s3proxy.transport.handshakes import ClientTrust, Handshakes, TLSOptions


def read_certificates(endpoint: TLSEndpoint, directory: Path) -> CertificateDirectory:
    """
    Read the certificates of an endpoint.

    Args:
        directory: Where relative paths start.

    Raises:
        CertificateError: A file cannot be read, or has not what it should have.
    """
    if endpoint.directory:
        return read_directory(directory / endpoint.directory)
    chain = directory / endpoint.chain if endpoint.chain else None
    one = read_server_files(directory / endpoint.certificate, directory / endpoint.private_key, chain)
    return CertificateDirectory((one,), ())


def make_handshakes(listener: ListenerSettings, directory: Path, now: datetime) -> Handshakes | None:
    """
    Read the certificates of a listener, and make what its handshakes need; None if it has no TLS.

    Args:
        directory: Where relative paths of the endpoint start.

    Raises:
        CertificateError: A file cannot be read, or has not what it should have.
    """
    endpoint = parse_tls(listener.endpoint)
    if endpoint is None:
        return None
    clients = None
    if listener.client_ca_file is not None:
        names = tuple(map(comparable_name, listener.client_names))
        clients = ClientTrust(read_authorities(directory / listener.client_ca_file), names)
    options = TLSOptions(
        clients=clients,
        method=endpoint.method,
        dh_parameters=str(directory / endpoint.dh_parameters) if endpoint.dh_parameters else "",
    )
    return Handshakes(read_certificates(endpoint, directory).certificates, options, now)


def client_faults(listener: ListenerSettings, place: str) -> Iterator[Fault]:
    """
    Yield the errors of options about client certificates that contradict each other.

    Args:
        listener: With all options; inherited ones are set.
        place: The table that the errors are about.
    """
    if listener.client_ca_file is None:
        for name in ("client_names", "client_keys"):
            if getattr(listener, name):
                yield Fault(f"{place}.{name}", "has no effect unless client_ca_file is set")
        return
    if parse_tls(listener.endpoint) is None:
        # Otherwise an operator could believe that nobody else can connect.
        yield Fault(f"{place}.client_ca_file", f'requires an endpoint with TLS; "{listener.endpoint}" has none')
    patterns = [comparable_name(name) for name in listener.client_names]
    seen: set[str] = set()
    for name, _ in listener.client_keys:
        if patterns and not is_accepted([comparable_name(name)], patterns):
            yield Fault(f"{place}.client_keys", f'"{name}" has no effect: client_names does not accept it')
        if comparable_name(name) in seen:
            yield Fault(f"{place}.client_keys", f'"{name}" differs from another name only in its case')
        seen.add(comparable_name(name))


@dataclass(frozen=True, slots=True)
class Expiry:
    """
    When the certificates of a file are no longer valid.

    Attributes:
        path: The file.
        shown: What the file has, as text for the operator.
    """

    path: Path
    shown: str
    begins_at: datetime
    ends_at: datetime

    def warning(self, now: datetime) -> str:
        """
        Return a warning; empty if the end is far.
        """
        why = why_expiring(self.begins_at, self.ends_at, now)
        return f"{self.path}: {self.shown} {why}" if why else ""


def expiries(handshakes: Handshakes, listener: ListenerSettings) -> Iterator[Expiry]:
    """
    Yield the expiry of each certificate that a listener shows, and of each authority of its clients.
    """
    for each in handshakes.shown:
        yield Expiry(
            each.path, f"the certificate of {each.names[0] if each.names else 'no name'}", each.begins_at, each.ends_at
        )
    if handshakes.clients is not None and listener.client_ca_file is not None:
        for authority in handshakes.clients.authorities:
            yield Expiry(
                Path(listener.client_ca_file),
                f"the authority {authority.subject.rfc4514_string()}",
                authority.not_valid_before_utc,
                authority.not_valid_after_utc,
            )


def certificate_warnings(settings: Settings, now: datetime) -> Iterator[str]:
    """
    Yield a warning for each certificate that has expired or soon will, and for each private key that is not used.

    Raises:
        CertificateError: A file cannot be read, or has not what it should have.
    """
    found: list[str] = []
    for listener in settings.listeners:
        handshakes = make_handshakes(listener, settings.directory, now)
        endpoint = parse_tls(listener.endpoint)
        if handshakes is None or endpoint is None:
            continue
        found += [warning for each in expiries(handshakes, listener) if (warning := each.warning(now))]
        unused = read_certificates(endpoint, settings.directory).unused_keys
        found += [f"{path}: no certificate has the private key in this file" for path in unused]
    yield from dict.fromkeys(found)
