#!/usr/bin/env python3
"""What a service manager hears: starts a command with a notify socket and a watchdog of 0.4 s, waits for READY=1 and five signs of
life, sends SIGTERM, and prints what was heard, a line each, and the exit code.

usage: notified.py file|abstract|strange COMMAND...   (strange: the watchdog is meant for another process)"""
import os
import signal
import socket
import subprocess
import sys
import tempfile

SECONDS_MAX = 30


def main():
    kind, command = sys.argv[1], sys.argv[2:]
    heard = []
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as news:
        path = f"@penstock-{os.getpid()}" if kind == "abstract" else f"{folder}/notify"
        news.bind(path.replace("@", "\0", 1))
        news.settimeout(SECONDS_MAX)
        environment = dict(os.environ, NOTIFY_SOCKET=path, WATCHDOG_USEC="400000")
        if kind == "strange":
            environment["WATCHDOG_PID"] = "1"
        with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as node:
            wanted = 0 if kind == "strange" else 5
            while "READY=1" not in heard or heard.count("WATCHDOG=1") < wanted:
                heard.append(news.recv(4096).decode())
            node.send_signal(signal.SIGTERM)
            while "STOPPING=1" not in heard:
                heard.append(news.recv(4096).decode())
        print(*heard, f"exit code {node.returncode}", sep="\n")


if __name__ == "__main__":
    main()
