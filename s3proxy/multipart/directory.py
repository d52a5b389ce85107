"""
The directory of multipart uploads: its default place, its permissions, and the lock that gives it to one daemon.

It is chosen and made when the daemon already runs as its final user: twistd may have started as root.

Source:
    "XDG Base Directory Specification", XDG_STATE_HOME; "systemd.exec", StateDirectory=; Filesystem Hierarchy Standard,
    ``/var/lib``.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pwd
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

NAME = "multipart"

SYSTEM_DIRECTORY = Path("/var/lib/s3proxy")
"""
Where a daemon that the system starts keeps its state.
"""

DAEMON = "daemon.lock"
"""
The file that the daemon locks and writes its process id to.
"""

_OF_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_ROOT = 0


class CannotKeepUploads(Exception):
    """
    The directory cannot be used; the text says why.
    """


class NoDirectory(CannotKeepUploads):
    """
    No option names a directory, and none of the default ones can be used; the text says why.
    """


def default_directories(environment: Mapping[str, str] = os.environ) -> list[Path]:
    """
    Return the default directories for uploads, best first.
    """
    found: list[Path] = []
    # systemd may have made several; the first one belongs to the unit.
    state_directory = environment.get("STATE_DIRECTORY", "").partition(":")[0]
    if state_directory:
        found.append(Path(state_directory) / NAME)
    found.append(SYSTEM_DIRECTORY / NAME)
    homes = [environment.get("XDG_STATE_HOME", ""), environment.get("HOME", "")]
    # After `twistd --uid` the environment is still that of the user who started the daemon.
    with contextlib.suppress(KeyError):
        homes.append(pwd.getpwuid(os.geteuid()).pw_dir)
    for number, home in enumerate(homes):
        # The specification says to ignore relative paths.
        if home.startswith("/"):
            state = Path(home) if number == 0 else Path(home) / ".local" / "state"
            found.append(state / "s3proxy" / NAME)
    return list(dict.fromkeys(found))


def find_directory(named: str | None, environment: Mapping[str, str] = os.environ) -> Path:
    """
    Return the directory in which this user keeps uploads. Nothing is made.

    Args:
        named: The path that an option names; None to find the first default that can be used.

    Raises:
        NoDirectory: No default can be used.
    """
    if named is not None:
        return Path(named)
    reasons = []
    for directory in default_directories(environment):
        try:
            _check_parents(directory)
            _check(directory)
        except CannotKeepUploads as error:
            reasons.append(str(error))
        else:
            return directory
    raise NoDirectory("; ".join(reasons))


def make_directory(directory: Path, *, makes_parents: bool = False) -> None:
    """
    Make a directory that only this user can access, unless it exists.

    Raises:
        CannotKeepUploads: The directory belongs to another user, or others can access it.
        OSError: The directory cannot be made.
    """
    if makes_parents:
        for parent in reversed(directory.parents):
            if not parent.exists():
                _make(parent)
    _make(directory)
    _check(directory)


def _make(directory: Path) -> None:
    with contextlib.suppress(FileExistsError):
        os.mkdir(directory, 0o700)


def _check(directory: Path) -> None:
    """
    Raises:
        CannotKeepUploads: The directory exists, and other users own it or can access it.
    """
    try:
        link, found = os.lstat(directory), os.stat(directory)
    except FileNotFoundError:
        return
    except OSError as error:
        raise CannotKeepUploads(f"{directory}: {error.strerror}") from None
    if stat.S_ISLNK(link.st_mode) and link.st_uid not in {_ROOT, os.geteuid()}:
        # The owner of the link may change its target at any time.
        raise CannotKeepUploads(f"{directory}: is a symbolic link of another user")
    if not stat.S_ISDIR(found.st_mode):
        raise CannotKeepUploads(f"{directory}: is not a directory")
    if found.st_uid != os.geteuid():
        raise CannotKeepUploads(f"{directory}: must belong to the user that the daemon runs as")
    mode = stat.S_IMODE(found.st_mode)
    if mode & _OF_OTHERS:
        raise CannotKeepUploads(f"{directory}: others can reach it (its mode is {mode:04o}); use chmod 700")
    above = os.stat(directory.parent)
    if above.st_mode & stat.S_IWOTH and not above.st_mode & stat.S_ISVTX:
        raise CannotKeepUploads(f"{directory.parent}: every user of this machine can replace what is in it")


def _check_parents(directory: Path) -> None:
    """
    Raises:
        CannotKeepUploads: The directory does not exist, and cannot be made in a directory of root or of this user.
    """
    place = directory
    while not os.path.lexists(place):
        place = place.parent
    if place == directory:
        return
    try:
        found = os.stat(place)
    except OSError as error:
        raise CannotKeepUploads(f"{place}: {error.strerror}") from None
    if found.st_uid not in {_ROOT, os.geteuid()} or not os.access(place, os.W_OK | os.X_OK, effective_ids=True):
        raise CannotKeepUploads(f"{directory}: cannot be made in {place}")
    if found.st_mode & stat.S_IWOTH:
        raise CannotKeepUploads(f"{place}: every user of this machine can write to it")


class DirectoryClaim:
    """
    The claim of one daemon on a directory: no other daemon on this machine gets it until the claim is given up. The
    daemon's workers share it.

    Args:
        named: The path that an option names; None to find a default directory, which is made with its parents.

    Attributes:
        named: The path that was given.
        directory: The path of the directory. It exists, and only this user can access it.

    Raises:
        NoDirectory: No option names a directory, and no default can be used.
        CannotKeepUploads: The directory cannot be used, or another daemon has claimed it.
    """

    def __init__(self, named: str | None, environment: Mapping[str, str] = os.environ) -> None:
        self.named = named
        self.directory = directory = find_directory(named, environment)
        try:
            make_directory(directory, makes_parents=named is None)
            flags = os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
            self._fd = os.open(directory / DAEMON, flags, 0o600)
        except OSError as error:
            raise CannotKeepUploads(f"{error.filename or directory}: {error.strerror}") from None
        if not lock(self._fd):
            process = os.pread(self._fd, 20, 0).strip().decode("latin-1")
            self.give_up()
            raise CannotKeepUploads(
                f"{directory}: another daemon, process {process}, keeps its uploads there; give each its own"
            )
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, b"%d\n" % os.getpid(), 0)

    def give_up(self) -> None:
        """
        Let another daemon claim the directory: this one ends, and begins no new upload. It may be called twice.
        """
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def lock(fd: int) -> bool:
    """
    Lock a file; return False if another process has locked it.
    """
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextlib.contextmanager
def alone(directory: Path) -> Iterator[None]:
    """
    Exclude all other processes that use this context manager for the same directory.
    """
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def sync_directory(directory: Path) -> None:
    """
    Write the names in a directory to the disk.
    """
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
