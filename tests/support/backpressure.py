"""
Sizes of what the kernel and s3proxy keep of a body.
"""

from __future__ import annotations

MIB = 1 << 20
BUFFER = 65536
"Bytes of each socket's kernel buffers; the kernel doubles the requested size, and four of them are on the path."


KERNEL = 4 * 2 * BUFFER
BLOCKS = 2 * 2 * BUFFER
STOP_AFTER = 1 * MIB
