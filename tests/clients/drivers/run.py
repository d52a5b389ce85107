"""
Run one client at one place: ``run.py NAME``, with the cell as JSON on standard input.
"""

from __future__ import annotations

import json
import sys

import browser
import commands
import sdks
from scenario import Cell, perform

CLIENTS = {**sdks.CLIENTS, **commands.CLIENTS, **browser.CLIENTS}

if __name__ == "__main__":
    cell = Cell(**json.load(sys.stdin))
    perform(CLIENTS[sys.argv[1]](cell))
