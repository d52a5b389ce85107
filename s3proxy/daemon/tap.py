"""
The command line of ``twistd s3proxy``. This module imports no reactor: twistd chooses it after it has read the command
line.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

from twisted.application.service import IService
from twisted.python.usage import Options as UsageOptions
from twisted.python.usage import UsageError

from s3proxy.configuration.loading import Configuration, read_configuration
from s3proxy.configuration.options import Settings
from s3proxy.configuration.tables import Fault, Faults

_PLACES = {
    "server.listen": "--listen",
    "server.region": "--region",
    "server.domains": "--domain",
    "backend[0].url": "--backend",
    "backend[0].signature": "--backend-signature",
    "backend[0].access_key_id": "--backend-access-key-id",
    "backend[0].secret_access_key_file": "--backend-secret-file",
    "backend[0]": "--backend-secret-file",
    "credentials.source": "--credentials",
}
"""
The command line option for each option of the file.
"""


class Options(UsageOptions):
    """
    The command line of ``twistd s3proxy``.

    Attributes:
        settings: The settings of the file, or of the command line itself.
        load: Reads the file again.
    """

    synopsis = "[options]"
    longdesc = (
        "A reverse proxy that lets current S3 clients use older S3-compatible storage systems. Use either --config or "
        "the other options."
    )

    optParameters = [
        ["config", "c", None, "Configuration file (TOML). It excludes all other options."],
        ["backend", None, None, "URL of the backend, like http://127.0.0.1:7480. Required without --config."],
        ["backend-signature", None, None, "How requests to the backend are signed: v4, v2 or none. Default: v4."],
        ["backend-access-key-id", None, None, "Access key id on the backend."],
        ["backend-secret-file", None, None, "File that contains the secret of that key as its only line."],
        ["credentials", None, None, "Keys file (TOML). Default: keys.toml."],
        ["region", None, None, "Region that clients must sign for. Default: us-east-1."],
    ]

    settings: Settings
    load: Callable[[], Configuration]

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self["listen"] = []
        self["domain"] = []

    def opt_listen(self, endpoint: str) -> None:
        """
        Twisted endpoint string where clients connect; may be repeated. Default: tcp:9000:interface=127.0.0.1.
        """
        self["listen"].append(endpoint)

    def opt_domain(self, domain: str) -> None:
        """
        Domain for virtual-hosted-style requests; may be repeated. Default: none.
        """
        self["domain"].append(domain)

    def postOptions(self) -> None:
        others = [name for name, value in self.items() if value and name != "config"]
        try:
            if self["config"] is not None:
                if others:
                    raise UsageError(
                        f"--config cannot be combined with {', '.join(f'--{name}' for name in sorted(others))}"
                    )
                self.load = partial(read_configuration, Path(self["config"]).absolute())
            elif self["backend"] is None:
                raise UsageError("either --config FILE or --backend URL with its options is required")
            else:
                configuration = Configuration(self._content(), Path().absolute())
                self.load = lambda: configuration
            self.settings = self.load().settings()
        except Faults as error:
            told = error.told if self["config"] is not None else map(str, _renamed(error.faults))
            raise UsageError("\n".join(told)) from None

    def _content(self) -> dict[str, Any]:
        """
        Return the content of a configuration file that says the same as the command line.
        """
        backend: dict[str, Any] = {
            "name": "default",
            "url": self["backend"],
            "signature": self["backend-signature"],
            "access_key_id": self["backend-access-key-id"],
            "secret_access_key_file": self["backend-secret-file"],
        }
        server = {"listen": self["listen"], "region": self["region"], "domains": self["domain"]}
        keys = self["credentials"]
        return {
            "server": _given(server),
            "backend": [_given(backend)],
            "credentials": {} if keys is None else {"source": f"file:{keys}"},
        }


def _renamed(faults: tuple[Fault, ...]) -> list[Fault]:
    return [
        Fault(_PLACES.get(re.sub(r"\[\d+\]$", "", fault.place), _PLACES.get(fault.place, fault.place)), fault.message)
        for fault in faults
    ]


def _given(table: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in table.items() if value}


def _without_traceback(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    from s3proxy.daemon.backends import CannotStart

    if isinstance(error, CannotStart):
        sys.stderr.write(f"{error}\n")
    else:
        sys.__excepthook__(kind, error, traceback)


def makeService(options: Options) -> IService:
    """
    Return the daemon for twistd to start: one process, or the supervisor of several.
    """
    # The message has all that an operator can use; twistd does not catch the exception.
    sys.excepthook = _without_traceback
    from s3proxy.daemon.service import make_service
    from s3proxy.daemon.supervisor import make_supervisor

    if options.settings.server.workers == 1:
        return make_service(options.settings, lambda: options.load().settings())
    return make_supervisor(options.load)
