#!/usr/bin/env python3
"""sealed_slow.py - what becomes of a sealed run when something becomes of a worker.

usage: sealed_slow.py PENSTOCK GRAPH stop|kill|hang   (in a folder with user.key, node.key, policy.yaml)

stop  one partition stands still while another is given all of the stream: what that one puts out waits in the host, and not in the enclave
      of who reads both, which has no room for it
kill  one dies: the run ends, and says which
hang  one stands still for longer than the host is patient: so it does
"""
import os
import signal
import subprocess
import sys

penstock, graph, what = sys.argv[1:4]
flags = ["--set", "every=60", "--enclave", "all"]
subprocess.run([penstock, "gen", "--houses", "8", "--plugs", "800", "--duration", "20m", "--seed", "5", "--quiet", "--output",
                "slow.csv"], check=True)
subprocess.run([penstock, "seal", graph, *flags, "--key", "user.key", "-i", "slow.csv", "-o", "slow.sealed", "--quiet"], check=True)
keeper = subprocess.Popen([penstock, "key", "serve", "user.key", "--policy", "policy.yaml", "--allow-software", "--listen",
                           "unix:slow.sock"], stderr=subprocess.PIPE, text=True)
assert "listens" in keeper.stderr.readline()
host = subprocess.Popen([penstock, "run", graph, "-i", "-", "-o", "slow", *flags, "--epc", "8MiB", "--sealed", "--keys",
                         "unix:slow.sock", "--node-key", "node.key", "--quiet",
                         *(["--enclave-patience", "2"] if what == "hang" else [])], stdin=subprocess.PIPE)
for _ in range(4):
    assert "released" in keeper.stderr.readline()
workers = [int(pid) for pid in open(f"/proc/{host.pid}/task/{host.pid}/children").read().split()]
assert len(workers) == 4
os.kill(workers[1], signal.SIGKILL if what == "kill" else signal.SIGSTOP)  # of plug_load, the second
try:
    with open("slow.sealed", "rb") as stream:
        host.stdin.write(stream.read())
    host.stdin.close()  # the host has read all but a pipe's fill
except BrokenPipeError:
    assert what != "stop"
if what == "stop":
    os.kill(workers[1], signal.SIGCONT)
code = host.wait()
keeper.terminate()
keeper.wait()
sys.exit(code)
