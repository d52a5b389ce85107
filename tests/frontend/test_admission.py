"""
How many connections clients may have: idle ones are closed first, then the ports wait.
"""

from __future__ import annotations

from s3proxy.frontend.admission import ConnectionLimit


class Port:
    """
    A port that records whether it was paused.
    """

    numberAccepts = 100

    def __init__(self) -> None:
        self.is_paused = False

    def pauseProducing(self) -> None:
        """
        Wait.
        """
        self.is_paused = True

    def resumeProducing(self) -> None:
        """
        Accept.
        """
        self.is_paused = False


class Connection:
    """
    A connection that is idle, or busy.
    """

    def __init__(self, idle_since: float | None = None) -> None:
        self.idle_since = idle_since
        self.is_closed = False
        self.is_aborted = False

    def close_idle(self) -> None:
        """
        Close.
        """
        self.is_closed = True

    def abort(self) -> None:
        """
        Reset.
        """
        self.is_aborted = True


def test_ports_wait_while_there_are_too_many() -> None:
    """
    The kernel keeps connections that arrive meanwhile.
    """
    port = Port()
    limit = ConnectionLimit(lambda: [port], 2)
    first, second = Connection(), Connection()
    assert limit.admits(first, "a")
    assert not port.is_paused
    assert limit.admits(second, "a")
    assert port.is_paused
    assert limit.full_count == 1

    limit.lost(first)

    assert not port.is_paused


def test_the_longest_idle_makes_room() -> None:
    """
    Before the ports wait.
    """
    port = Port()
    limit = ConnectionLimit(lambda: [port], 3)
    connections = [Connection(9.0), Connection(5.0), Connection()]
    for connection in connections:
        limit.admits(connection, "a")

    assert [connection.is_closed for connection in connections] == [False, True, False]
    assert not port.is_paused
    assert limit.evicted_count == 1


def test_one_address_has_its_share() -> None:
    """
    Until one of its connections ends; an exempt address has no limit.
    """
    limit = ConnectionLimit(list, 100, 2)
    connections = [Connection() for _ in range(4)]

    assert [limit.admits(connection, "a") for connection in connections[:3]] == [True, True, False]
    assert limit.admits(connections[3], "b")
    limit.lost(connections[0])
    limit.lost(connections[1])
    assert limit.admits(Connection(), "a")
    assert all(limit.admits(Connection(), None) for _ in range(5))
