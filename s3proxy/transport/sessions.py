"""
TLS sessions of a client: a further connection to the same server resumes one, and needs no whole handshake.

A resumed session does not show the server's certificate again. So a session is kept only after a handshake whose
certificate was accepted, only for the same name and trust, and only for a time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from zope.interface import implementer

MAX_SESSION_TIME = 3600.0
"""
Seconds after which the certificate is judged again.
"""


@implementer(IOpenSSLClientConnectionCreator)
class SessionKeeper:
    """
    Makes the TLS connections to one server, and keeps the session of the last one.

    Args:
        creator: Makes connections that verify the server, all for the same name, trust and own certificate, with one
            context.
        seconds: Returns the reactor's time.
    """

    def __init__(self, creator: Any, seconds: Callable[[], float]) -> None:
        self._creator = creator
        self._seconds = seconds
        self._last: SSL.Connection | None = None
        self._judged: WeakKeyDictionary[SSL.Connection, float] = WeakKeyDictionary()
        "For each connection, when the certificate was judged that it relies on."

    def clientConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:
        """
        Return a new connection, which offers the session to the server.
        """
        connection: SSL.Connection = self._creator.clientConnectionForTLS(tlsProtocol)
        tlsProtocol.session_keeper = self
        now = judged = self._seconds()
        last = self._last
        # The server sends its tickets after the handshake, so the session is asked for as late as possible.
        session = None if last is None else last.get_session()
        if last is not None and session is not None and now - self._judged[last] < MAX_SESSION_TIME:
            connection.set_session(session)
            judged = self._judged[last]
        self._judged[connection] = judged
        return connection

    def keep(self, connection: SSL.Connection) -> None:
        """
        Keep the session of a connection whose handshake has succeeded.
        """
        self._last = connection


def keep_session(transport: Any) -> None:
    """
    Keep the session of a transport whose server was verified, if it is TLS and a `SessionKeeper` made its connection.
    """
    keeper = getattr(transport, "session_keeper", None)
    if keeper is not None:
        keeper.keep(transport.getHandle())
