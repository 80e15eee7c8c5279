#!/usr/bin/env python3
"""Waits until a file has lines that match, told by the kernel (inotify): await_line.py FILE REGEX [COUNT]. COUNT lines, one where
nothing is said. Prints the last of them. Exit code 1 after a minute without them."""
import ctypes
import os
import re
import select
import sys
import time

IN_MODIFY, IN_CREATE = 0x2, 0x100
SECONDS_MAX = 60


def matching(path, pattern):
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return [line for line in file.read().split("\n")[:-1] if pattern.search(line)]
    except FileNotFoundError:
        return []


def main() -> int:
    path, pattern = sys.argv[1], re.compile(sys.argv[2])
    count = int(sys.argv[3]) if len(sys.argv) > 3 else 1
    libc = ctypes.CDLL(None, use_errno=True)
    watch = libc.inotify_init()
    folder = os.path.dirname(os.path.abspath(path))
    if watch < 0 or libc.inotify_add_watch(watch, os.fsencode(folder), IN_CREATE | IN_MODIFY) < 0:
        raise OSError(ctypes.get_errno(), "inotify")
    news = select.poll()
    news.register(watch, select.POLLIN)
    deadline = time.monotonic() + SECONDS_MAX
    while len(lines := matching(path, pattern)) < count:
        if not news.poll(max(0, deadline - time.monotonic()) * 1000):
            return 1
        os.read(watch, 65536)
    print(lines[-1])
    return 0


if __name__ == "__main__":
    sys.exit(main())
