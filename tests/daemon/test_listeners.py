"""
How listeners are named, and which of them a resource belongs to.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import Clock

from s3proxy.configuration.loading import make_settings
from s3proxy.configuration.options import Settings
from s3proxy.daemon.listeners import Listeners, endpoints
from s3proxy.daemon.sockets import Sockets

BACKEND = {"name": "default", "url": "http://127.0.0.1:1", "signature": "none"}
ANY_PORT = "tcp:0:interface=127.0.0.1"


def settings(directory: Path, **server: object) -> Settings:
    """
    Settings of a configuration that has two listeners.
    """
    listeners = [{"endpoint": ANY_PORT, "region": "eu-1"}, {"endpoint": ANY_PORT, "region": "eu-2"}]
    return make_settings({"server": server, "backend": [BACKEND], "listener": listeners}, directory)


class Generation:
    """
    One that makes no proxies: it says for which region one would be.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.handshakes: dict[str, Any] = {}

    def make_proxy(self, listener: Any) -> Any:
        """
        Return the region.
        """
        return listener.region


def test_each_listener_has_a_name_of_its_own(tmp_path: Path) -> None:
    """
    Two that may have any port are two.
    """
    named = endpoints(settings(tmp_path, admin="tcp:1:interface=127.0.0.1"))

    assert named == {ANY_PORT: ANY_PORT, f"{ANY_PORT} #2": ANY_PORT, "admin": "tcp:1:interface=127.0.0.1"}


@pytest.mark.parametrize(
    ("name", "region"), [(None, "eu-1"), (ANY_PORT, "eu-1"), (f"{ANY_PORT} #2", "eu-2"), ("gone", "eu-1")]
)
def test_a_resource_goes_by_its_listener(tmp_path: Path, name: str | None, region: str) -> None:
    """
    One that names none, or one that is gone, goes by the first; after a reload, too.
    """
    first: Any = Generation(settings(tmp_path))
    second: Any = Generation(settings(tmp_path, region="us-2"))
    clock: Any = Clock()
    listeners = Listeners(
        clock,
        Sockets(clock),
        first.settings,
        balance=None,
        connection_refused=lambda *arguments: None,
        make_admin_site=lambda: pytest.fail("there is no admin endpoint"),
    )
    resource: Any = listeners.make_resource(first, name)
    assert resource.proxy == region
    second.make_proxy = lambda listener: f"{listener.region} anew"
    listeners.follow(second)

    assert resource.proxy == f"{region} anew"
    assert not listeners.is_listening
