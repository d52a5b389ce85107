"""
Reload when a file has changed that a reload reads.

The strategy: the status of each file decides if it has changed, and is compared every few seconds. A file that was
replaced has another inode, and so has the target of a symbolic link that was moved, as Kubernetes does. inotify decides
nothing: it only makes the next comparison come at once. So a file system that reports no changes is watched, too.

A change counts once it has come to rest: two comparisons in a row find the same. Then one reload follows, whether it
succeeds or not. A file with an error is reported once, and tried again when it changes again.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from s3proxy.configuration.files import read_files
from s3proxy.configuration.modes import Reload
from s3proxy.configuration.options import Settings

INTERVAL = 5.0
"""
Seconds between two comparisons if nothing is reported.
"""

SETTLE = 0.5
"""
Seconds in which nothing more must change before a reload: a program that writes several files takes less.
"""

MAX_UNSETTLED = 20
"""
Comparisons after which a reload no longer waits for files that change all the time.
"""

MAX_LINKS = 40
"""
Symbolic links that are followed from one file, as many as Linux follows.
"""

_Version = tuple[Any, ...] | None


class Notifier(Protocol):
    """
    Reports that something may have changed in some directories.
    """

    @property
    def is_lost(self) -> bool:
        """
        Whether it reports nothing more.
        """

    def loseConnection(self) -> None:
        """
        Report nothing more.
        """


NotifierMaker = Callable[[Any, Iterable[Path], Callable[[], None]], Notifier | None]
"""
Returns a notifier with a reactor, for directories, which calls a function; None if the platform has none.
"""


def make_notifier(reactor: Any, directories: Iterable[Path], report: Callable[[], None]) -> Notifier | None:
    """
    Return a notifier that uses inotify; None if the platform does not have it, or has no more of it.
    """
    try:
        from s3proxy.daemon.notifier import CannotNotify, DirectoryNotifier
    except ImportError:
        return None
    try:
        return DirectoryNotifier(reactor, directories, report)
    except CannotNotify:
        return None


class ReloadWatch:
    """
    Calls back when a file has changed, while the configuration says `reload = "watch"`.

    Args:
        reactor: Its clock must never go back.
        reload: Reads all files again; it calls `loading` first, and `loaded` at its end.
        make_notifier: Makes what reports changes early.
    """

    _log = Logger()

    def __init__(
        self, reactor: Any, reload: Callable[[], object], make_notifier: NotifierMaker = make_notifier
    ) -> None:
        self._reactor = reactor
        self._reload = reload
        self._make_notifier = make_notifier
        self._notifier: Notifier | None = None
        self._directories: set[Path] = set()
        self._known: dict[Path, _Version] = {}
        self._pending: Mapping[Path, _Version] | None = None
        self._unsettled_count = 0
        self._next: IDelayedCall | None = None

    def loading(self) -> None:
        """
        Called before the files are read, for whatever reason: a change from now on is a new one.
        """
        self._known = {path: _version(path) for path in self._known}
        self._pending = None

    def loaded(self, settings: Settings, *refused: Settings) -> None:
        """
        Called after the files were read: watch those of the settings that are used now.

        Args:
            refused: Settings that could not be used. A change of one of their files may be the correction.
        """
        if settings.server.reload != Reload.WATCH:
            self.stop()
            return
        files = set[Path]().union(*map(read_files, (settings, *refused)))
        self._known = {path: self._known[path] if path in self._known else _version(path) for path in files}
        self._listen()
        if self._next is None:
            self._look_in(INTERVAL)

    def stop(self) -> None:
        """
        Watch nothing.
        """
        self._known = {}
        if self._next is not None:
            self._next.cancel()
            self._next = None
        self._hear_nothing()

    def _look_in(self, seconds: float) -> None:
        self._next = self._reactor.callLater(seconds, self._look)

    def _look(self) -> None:
        self._next = None
        now = {path: _version(path) for path in self._known}
        if now == self._known:
            self._pending, self._unsettled_count = None, 0
        elif now != self._pending and self._unsettled_count < MAX_UNSETTLED:
            self._pending = now
            self._unsettled_count += 1
            self._look_in(SETTLE)
            return
        else:
            changed = sorted(str(path) for path in now if now[path] != self._known[path])
            self._log.info("reloading: {files} changed", files=", ".join(changed))
            self._known, self._pending, self._unsettled_count = now, None, 0
            self._reload()
        self._listen()
        if self._next is None and self._known:
            self._look_in(INTERVAL)

    def _listen(self) -> None:
        directories = _directories(self._known)
        is_lost = self._notifier is not None and self._notifier.is_lost
        if is_lost or directories != self._directories:
            self._hear_nothing()
            self._directories = directories
            self._notifier = self._make_notifier(self._reactor, directories, self._reported)

    def _hear_nothing(self) -> None:
        if self._notifier is not None:
            self._notifier.loseConnection()
        self._notifier = None
        self._directories = set()

    def _reported(self) -> None:
        if self._next is not None and self._next.getTime() - self._reactor.seconds() > SETTLE:
            self._next.reset(SETTLE)


def _version(path: Path) -> _Version:
    """
    Return what differs once a file, or a file in a directory, was changed or replaced; None if it cannot be found.
    """
    try:
        found = os.stat(path)
        own = _identity(found)
        if not stat.S_ISDIR(found.st_mode):
            return own
        with os.scandir(path) as entries:
            return own, *sorted((entry.name, _entry_version(entry)) for entry in entries)
    except OSError:
        return None


def _entry_version(entry: os.DirEntry[str]) -> tuple[int, ...]:
    try:
        return _identity(entry.stat())
    except OSError:
        return ()


def _identity(found: os.stat_result) -> tuple[int, ...]:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _directories(paths: Iterable[Path]) -> set[Path]:
    """
    Return the directories in which a change of files is reported: those of the files, and of each target of a symbolic
    link on the way.
    """
    found: set[Path] = set()
    for path in paths:
        place = path
        for _ in range(MAX_LINKS):
            found.add(Path(os.path.realpath(place.parent)))
            try:
                place = place.parent / os.readlink(place)
            except OSError:
                break
        if place.is_dir():
            found.add(Path(os.path.realpath(place)))
    return found
