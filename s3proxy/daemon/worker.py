"""
One of several processes that serve requests: the supervisor starts it, never a person.

Its orders are on descriptor 0, which it reads once and then replaces, because they include secrets. The supervisor's
commands arrive on descriptor 3, one on each line. On descriptor 4 the worker reports its metrics every second; the
first report shows that it is ready. Its log goes to descriptor 2.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from s3proxy.daemon.process import listening_environment, prepare_process, read_once

if TYPE_CHECKING:
    from s3proxy.daemon.orders import Orders
    from s3proxy.daemon.service import ProxyService


def main() -> int:
    """
    Serve until told to end; return the exit status.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C also reaches the supervisor, which then stops the workers.
    # These are for the supervisor; a terminal, or `pkill`, sends them to every process.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    # The supervisor passes systemd's sockets to the worker, but Twisted must still find them by their names.
    os.environ.update(listening_environment())
    from twisted.internet import reactor as the_reactor
    from twisted.internet.stdio import StandardIO
    from twisted.logger import globalLogBeginner

    from s3proxy.daemon.link import SupervisorLink
    from s3proxy.daemon.orders import COMMANDS_FD, REPORTS_FD, Orders

    globalLogBeginner.beginLoggingTo([cast(Any, _write_log)], redirectStandardIO=False, discardBuffer=True)
    orders = Orders.from_json(read_once(0))
    reactor: Any = the_reactor
    reactor.seconds = time.monotonic
    service = _make_service(orders, reactor)
    if service is None:
        return 1
    link = SupervisorLink(service, reactor)
    connect: Any = StandardIO
    connect(link, stdin=COMMANDS_FD, stdout=REPORTS_FD, reactor=reactor)
    signal.signal(signal.SIGTERM, lambda number, frame: reactor.callFromThread(link.stop))
    reactor.run(installSignalHandlers=False)
    return 0


def _make_service(orders: Orders, reactor: Any) -> ProxyService | None:
    from s3proxy.configuration.loading import make_settings, share_of
    from s3proxy.configuration.tables import Faults
    from s3proxy.daemon.backends import CannotStart
    from s3proxy.daemon.service import ProxyService
    from s3proxy.daemon.sockets import Sockets
    from s3proxy.frontend.balance import Balance

    prepare_process()
    sockets = Sockets(reactor, orders.sockets)
    try:
        settings = share_of(make_settings(orders.content, Path(orders.directory)), orders.workers)
        balance = Balance(orders.counts_fd, orders.number)
        directory = orders.multipart_directory
        service = ProxyService(
            settings,
            reactor,
            sockets=sockets,
            handles_signals=False,
            balance=balance,
            multipart_directory=Path(directory) if directory is not None else None,
        )
        service.startService()
    except (Faults, CannotStart) as error:
        _log("critical", str(error))
        return None
    return service


def _write_log(event: dict[str, Any]) -> None:
    """
    Write an event with its level, which the supervisor reads.
    """
    from twisted.logger import formatEvent

    level = event.get("log_level")
    text = formatEvent(event)
    failure = event.get("log_failure")
    if failure is not None:
        text += "\n" + failure.getTraceback()
    _log(level.name if level is not None else "info", text)


def _log(level: str, text: str) -> None:
    # If the supervisor is gone, the log has no reader.
    with contextlib.suppress(OSError):
        os.write(2, f"{level} {text}\n".encode("utf-8", "backslashreplace"))


if __name__ == "__main__":
    sys.exit(main())
