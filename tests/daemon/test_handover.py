"""
What a supervisor leaves to the program that takes its place.
"""

from __future__ import annotations

import os

import pytest

from s3proxy.daemon.handover import HANDOVER, Handover
from s3proxy.daemon.orders import RETIRE, STOP


def test_the_form_stays_from_one_version_to_the_next() -> None:
    """
    The text is written by one version of the program, and read by another.
    """
    text = '[{"tcp:9000": 7, "admin": 8}, {"1234": 9}]'
    handover = Handover.from_text(text)

    assert handover.sockets == {"tcp:9000": 7, "admin": 8}
    assert handover.descriptors == [7, 8, 9]
    assert handover.text() == text


def test_it_is_taken_out_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    No worker, and no later restart, takes it for its own.
    """
    monkeypatch.setenv(HANDOVER, '[{"tcp:9000": 7}, {}]')
    first, second = Handover.from_environment(), Handover.from_environment()

    assert first is not None
    assert first.sockets == {"tcp:9000": 7}
    assert second is None
    assert HANDOVER not in os.environ


def test_the_workers_of_the_former_supervisor_are_told() -> None:
    """
    First to retire, then to stop; one that has ended does not matter.
    """
    read_fd, commands_fd = os.pipe()
    gone_fd, gone_commands_fd = os.pipe()
    os.close(gone_fd)
    handover = Handover({}, {1234: gone_commands_fd, 1235: commands_fd})
    handover.retire()
    handover.stop()
    told = os.read(read_fd, 100)
    for fd in (read_fd, commands_fd, gone_commands_fd):
        os.close(fd)

    assert told == RETIRE + b"\n" + STOP + b"\n"


def test_former_workers_are_reaped() -> None:
    """
    Twisted does not know them; a running one is kept, and one that has ended is forgotten with its descriptor.
    """
    read_fd, commands_fd = os.pipe()
    running = os.posix_spawn("/bin/cat", ["cat"], os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, read_fd, 0)])
    os.close(read_fd)
    handover = Handover({}, {running: commands_fd})
    handover.reap()
    assert handover.descriptors == [commands_fd]
    # Somebody else's child, or one that is waited for already, is gone, too.
    os.kill(running, 9)
    os.waitpid(running, 0)
    handover.reap()

    assert handover.descriptors == []
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(commands_fd)
