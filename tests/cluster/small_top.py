#!/usr/bin/env python3
"""small_top.py PENSTOCK ARGUMENTS... - `penstock top` on a terminal of five rows and thirty columns: nothing scrolls, no line is longer
than the terminal, and what has no row is counted. Ends with 0, or with a sentence."""
import fcntl
import os
import pty
import re
import signal
import struct
import sys
import termios

ROWS, COLUMNS = 5, 30


def main():
    pid, fd = pty.fork()
    if pid == 0:
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("4H", ROWS, COLUMNS, 0, 0))
        os.execv(sys.argv[1], sys.argv[1:])
    said = b""
    while said.count(b"\033[J") < 2:
        said += os.read(fd, 4096)
    os.kill(pid, signal.SIGINT)
    try:
        while piece := os.read(fd, 4096):
            said += piece
    except OSError:  # the other side is closed
        pass
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    screens = re.findall(r"\033\[H(.*?)\033\[J", said.decode(), re.DOTALL)
    for screen in screens:
        lines = [line.replace("\033[K", "").replace("\r", "") for line in screen.split("\n")]
        if len(lines) != ROWS or max(map(len, lines)) >= COLUMNS:
            sys.exit(f"a screen of {len(lines)} lines of up to {max(map(len, lines))} characters: {lines}")
        if not re.fullmatch(r"\.\.\. and [0-9]+ more lines: -.*", lines[-1]):
            sys.exit(f"what has no row is not counted: {lines}")
    if code != 0:
        sys.exit(f"exit code {code}")


main()
