#!/usr/bin/env python3
"""Runs a command on a pipe, and sends it signals when it has taken all of a file from the pipe and waits for more.

usage: interrupt.py FILE SIGNAL[,SIGNAL...] COMMAND...

The file must fit a pipe of one page: the pipe takes more bytes only when its reader has emptied it, which is what is waited
for here. The pipe stays open until the command has ended. Exit code: the command's, or 124 where it does not end.
"""
import fcntl
import os
import select
import signal
import subprocess
import sys

ONE_PAGE = 4096
SECONDS_MAX = 60


def main() -> int:
    path, signals, command = sys.argv[1], sys.argv[2].split(","), sys.argv[3:]
    with open(path, "rb") as file:
        rows = file.read()
    reader, writer = os.pipe()
    assert len(rows) <= fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, ONE_PAGE) == ONE_PAGE
    with subprocess.Popen(command, stdin=reader) as run:
        os.close(reader)
        os.write(writer, rows)
        # A reader that has gone ends the wait, too.
        emptied = select.poll()
        emptied.register(writer, select.POLLOUT)
        if not emptied.poll(SECONDS_MAX * 1000):
            print("interrupt.py: the command does not read", file=sys.stderr)
        for name in signals:
            run.send_signal(signal.Signals["SIG" + name])
        try:
            code = run.wait(SECONDS_MAX)
        except subprocess.TimeoutExpired:
            run.kill()
            code = 124
        os.close(writer)
        return code


if __name__ == "__main__":
    sys.exit(main())
