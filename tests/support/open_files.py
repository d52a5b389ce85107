"""
The open files of this process.
"""

from __future__ import annotations

import contextlib
import os


def open_files() -> dict[str, str]:
    """
    Return the descriptors of this process, and the file of each. Twisted keeps one of /dev/null in reserve.
    """
    found = {}
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):
            # The descriptor that reads the directory is closed again.
            found[number] = os.readlink(f"/proc/self/fd/{number}")
    return {number: file for number, file in found.items() if file != os.devnull}
