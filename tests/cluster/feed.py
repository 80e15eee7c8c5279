#!/usr/bin/env python3
"""feed.py FILE FIFO DONE: writes FILE into FIFO a little at a time, as meters would, until a file DONE is there; then the rest at once."""
import os
import sys
import time

CHUNK_BYTES = 8 * 1024
PACE_SECONDS = 0.01

with open(sys.argv[1], "rb") as rows, open(sys.argv[2], "wb", buffering=0) as fifo:
    while chunk := rows.read(CHUNK_BYTES):
        fifo.write(chunk)
        if not os.path.exists(sys.argv[3]):
            time.sleep(PACE_SECONDS)  # the pace of the stream: nothing is waited for here
