#!/usr/bin/env python3
"""Waits until a file exists, told by the kernel (inotify): await_file.py FOLDER NAME [BYTES], with so many bytes at least. Exit code 1
after a minute in which nothing happened."""
import ctypes
import os
import select
import sys

IN_MODIFY, IN_CREATE, IN_MOVED_TO = 0x2, 0x100, 0x80
SECONDS_MAX = 60


def main() -> int:
    folder, name, size = sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 0
    path = os.path.join(folder, name)
    libc = ctypes.CDLL(None, use_errno=True)
    watch = libc.inotify_init()
    if watch < 0 or libc.inotify_add_watch(watch, os.fsencode(folder), IN_CREATE | IN_MOVED_TO | (IN_MODIFY if size else 0)) < 0:
        raise OSError(ctypes.get_errno(), "inotify")
    news = select.poll()
    news.register(watch, select.POLLIN)
    while not os.path.exists(path) or os.path.getsize(path) < size:
        if not news.poll(SECONDS_MAX * 1000):
            return 1
        os.read(watch, 65536)
    return 0


if __name__ == "__main__":
    sys.exit(main())
