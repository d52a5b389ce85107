"""
What sources that ask an HTTP service have in common: the address, the secret for the service, and the failures.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from s3proxy.backend.endpoints import BadTLSFiles, TLSFiles
from s3proxy.backend.json_service import MAX_DOCUMENT_SIZE, JSONService, ServiceAddress
from s3proxy.configuration.options import URL, Place
from s3proxy.configuration.secrets import read_secret_file, read_secret_variable
from s3proxy.configuration.tables import Fault, Faults, NotAccepted


def open_service(
    url: str, ca_file: str | None, time: float, place: str, max_size: int = MAX_DOCUMENT_SIZE
) -> tuple[JSONService, str]:
    """
    Return a service, not started, and the path of its URL.

    Args:
        time: Maximum seconds for one request.
        place: The table of its options.

    Raises:
        Faults: The URL or the file is not accepted. The text does not repeat the URL, which may have a secret.
    """
    try:
        if "@" in url:
            # The message of the option is about other options.
            raise NotAccepted
        URL.parse(url)
    except NotAccepted:
        told = "the URL is not accepted; accepted: http or https, host, port and path, without credentials or a query"
        raise Faults([Fault("credentials.source", told)]) from None
    at = Place(url)
    if ca_file is not None and not at.is_tls:
        raise Faults([Fault(f"{place}.ca_file", "requires a URL that begins with https")])
    address = ServiceAddress(
        host=at.host, port=at.port, authority=at.authority, tls=TLSFiles(ca_file=ca_file) if at.is_tls else None
    )
    try:
        return JSONService(address, time, max_size), urlsplit(url).path or "/"
    except BadTLSFiles as error:
        raise Faults([Fault(f"{place}.ca_file", str(error))]) from None


def read_service_secret(
    options: tuple[str | None, str | None], names: tuple[str, str], environment: Mapping[str, str] = os.environ
) -> str | None:
    """
    Return the secret that s3proxy sends to a service; None if neither option is set.

    Args:
        options: The file, and the environment variable.
        names: The names of these options, for messages.

    Raises:
        Faults: Both are set, or the one that is set has no secret.
    """
    file, variable = options
    if file is not None and variable is not None:
        raise Faults([Fault(names[1], f"at most one of {names[0].rpartition('.')[2]} and this option is accepted")])
    if file is not None:
        return read_secret_file(Path(file), names[0])
    return None if variable is None else read_secret_variable(variable, names[1], environment)
