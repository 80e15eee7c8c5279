#!/usr/bin/env python3
"""sealed_host.py - looks for the user's key in the memory of a host that carries sealed rows. Root's eyes.

usage: sealed_host.py PENSTOCK GRAPH   (in a folder with user.key, node.key, policy.yaml, load.sealed)
The control: the same eyes find the key in the memory of the keeper, which has it. The host stands still meanwhile: its input is a pipe
that has given the first half of the stream.
"""
import os
import subprocess
import sys

penstock, graph = sys.argv[1], sys.argv[2]
key = bytes.fromhex(open("user.key").read().split()[2])
flags = ["--set", "every=60", "--enclave", "all", "--epc", "8MiB"]


def found_in(pid, needle):
    count = 0
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as memory:
        for line in maps:
            places, rights = line.split()[:2]
            if "r" not in rights or "[v" in line:
                continue
            begin, end = (int(word, 16) for word in places.split("-"))
            try:
                memory.seek(begin)
                data = memory.read(end - begin)
            except (OSError, OverflowError, ValueError):
                continue
            count += data.count(needle)
    return count


keeper = subprocess.Popen([penstock, "key", "serve", "user.key", "--policy", "policy.yaml", "--allow-software", "--listen",
                           "unix:host.sock"], stderr=subprocess.PIPE, text=True)
assert "listens" in keeper.stderr.readline()
stream = open("load.sealed", "rb").read()
host = subprocess.Popen([penstock, "run", graph, "-i", "-", "-o", "host", *flags, "--sealed", "--keys", "unix:host.sock",
                         "--node-key", "node.key"], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
host.stdin.write(stream[: len(stream) // 2])  # returns when the host has read all but a pipe's fill of it
host.stdin.flush()
for _ in range(4):  # each worker has its key
    assert "released" in keeper.stderr.readline()
here, there = found_in(keeper.pid, key), found_in(host.pid, key)
marks = found_in(host.pid, b"PSTF")
host.stdin.write(stream[len(stream) // 2:])
host.stdin.close()
code = host.wait()
keeper.terminate()
keeper.wait()
print(f"the keeper's memory has the key {here} times, the host's {there} times; capsules in the host's: {marks}")
sys.exit(0 if code == 0 and here > 0 and there == 0 and marks > 0 else 1)
