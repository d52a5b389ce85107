"""
Report that something may have changed in some directories, by inotify.

Import this module only to use it: Twisted looks for the C library by starting programs, and a platform without inotify
raises ImportError.

Source:
    inotify(7).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from twisted.internet.inotify import (
    IN_ATTRIB,
    IN_CLOSE_WRITE,
    IN_CREATE,
    IN_DELETE,
    IN_MOVE_SELF,
    IN_MOVED,
    INotify,
    INotifyError,
)
from twisted.python.filepath import FilePath

_EVENTS = IN_ATTRIB | IN_CLOSE_WRITE | IN_CREATE | IN_DELETE | IN_MOVE_SELF | IN_MOVED
"""
What a finished change causes. Each write to an open file would be reported, too, and an access log may be beside the
configuration.
"""


class CannotNotify(Exception):
    """
    The system refuses inotify.
    """


class DirectoryNotifier(INotify):
    """
    Calls a function when something in one of the directories has changed.

    Args:
        directories: Those that do not exist are left out.

    Raises:
        CannotNotify: This user has no further instance.
    """

    def __init__(self, reactor: Any, directories: Iterable[Path], report: Callable[[], None]) -> None:
        try:
            super().__init__(reactor)
        except INotifyError:
            raise CannotNotify from None
        for directory in directories:
            try:
                self.watch(FilePath(os.fsencode(directory)), _EVENTS, callbacks=[lambda *ignored: report()])
            except INotifyError:
                # It does not exist, or this user has no further watch.
                continue
        self.startReading()

    @property
    def is_lost(self) -> bool:
        """
        Whether it reports nothing more: it was ended, or one of the directories was removed.
        """
        return not self.connected
