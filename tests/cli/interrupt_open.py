#!/usr/bin/env python3
"""Runs a command that opens a named pipe which nobody writes to, and interrupts it there.

usage: interrupt_open.py COMMAND...

No event tells that another process waits in open(), so it is looked at: it takes SIGINT itself, and it sleeps. Should it have slept
elsewhere, on the way there, then a second signal follows. Exit code: the command's, or 124 where it does not end.
"""
import signal
import subprocess
import sys

SECONDS_MAX = 60
LOOK_SECONDS = 0.01


def ended(run: subprocess.Popen, seconds: float) -> bool:
    try:
        run.wait(seconds)
        return True
    except subprocess.TimeoutExpired:
        return False


def waits(run: subprocess.Popen) -> bool:
    with open(f"/proc/{run.pid}/status", encoding="ascii", errors="replace") as file:
        status = dict(line.split(":\t", 1) for line in file if ":\t" in line)
    taken = int(status["SigCgt"], 16) >> (signal.SIGINT - 1) & 1
    return bool(taken) and status["State"].startswith("S")


def main() -> int:
    with subprocess.Popen(sys.argv[1:]) as run:
        looks = int(SECONDS_MAX / LOOK_SECONDS)
        while not ended(run, LOOK_SECONDS) and not waits(run) and looks > 0:
            looks -= 1
        for _ in range(2):
            run.send_signal(signal.SIGINT)
            if ended(run, SECONDS_MAX / 4):
                return run.returncode
        run.kill()
        return 124


if __name__ == "__main__":
    sys.exit(main())
