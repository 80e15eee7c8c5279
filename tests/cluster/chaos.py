#!/usr/bin/env python3
"""Chaos on a real cluster: processes on loopback over TLS, both queries at once, and from a seed kill -9 with a restart (of any node but
the first), SIGSTOP for up to five seconds, and cuts of connections, until the time is over. Then the nodes are left alone, and both queries
have to end with the bytes of `penstock run`.

usage: chaos.py PENSTOCK SECONDS [SEED]

The ways between the nodes are slow at first, so that the streams last as long as the chaos. Ends with "N passed, M failed"; what
happened stands before, and the logs of the nodes are kept where something failed.
"""
import collections
import filecmp
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

import relay

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
QUERIES = {"load": ["--set", "slices=60,300"], "outliers": ["--set", "windows=100,3600"]}
ROWS, STREAM_SECONDS = 400000, 20
STORM_SECONDS, CALM_SECONDS = 40, 30  # calm: connections are cut, nothing worse, so that graphs end and others begin
END_SECONDS_MAX = 240
BYTES_A_ROW = 60  # on the way to another node, more or less


class Node:
    def __init__(self, chaos, number):
        self.chaos, self.name, self.address, self.process = chaos, f"n{number}", "127.0.0.1:0", None
        self.stops = 0  # that are not over
        self.way = relay.Relay(self.target, chaos.rate)

    def target(self):
        host, port = self.address.rsplit(":", 1)
        return (host, int(port)) if port != "0" else None

    def up(self):
        first = self.chaos.nodes[0] if self.chaos.nodes else self
        command = [self.chaos.penstock, "node", "--name", self.name, "--dir", self.name, "--listen", self.address, "--advertise",
                   self.way.address, "--tls", f"authority/{self.name}", "--workers", "1"]
        if self.chaos.points:
            command += ["--checkpoints", "points", "--key", "points.key", "--every-seconds", "1"]
        if first is not self:
            command += ["--join", first.way.address]
        with open(f"{self.chaos.folder}/{self.name}.err", "ab") as log:
            self.process = subprocess.Popen(command, cwd=self.chaos.folder, stdout=subprocess.PIPE, stderr=log)
        line = self.process.stdout.readline().decode()
        if not line.startswith("listens on "):
            raise RuntimeError(f"{self.name} does not come up")
        self.address = line.split()[-1]

    def signal(self, number):
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)

    def go_on(self):
        self.stops -= 1
        self.signal(signal.SIGCONT)


class Chaos:
    def __init__(self, penstock, seconds, seed, folder):
        self.penstock, self.seconds, self.folder = penstock, seconds, folder
        self.random = random.Random(seed)
        self.rate = ROWS * BYTES_A_ROW // STREAM_SECONDS // 2
        self.done = collections.Counter()
        self.points = self.random.random() < 0.5  # whether there are checkpoints
        self.nodes = []

    def run_penstock(self, *words, **more):
        return subprocess.run([self.penstock, *words], cwd=self.folder, check=True, capture_output=True, text=True, **more)

    def prepare(self):
        self.run_penstock("gen", "--houses", "6", "--plugs", "80", "--rows", str(ROWS), "--late", "100", "--malformed", "50", "--seed",
                          str(self.random.randrange(1000)), "--output", "meters.csv", "--quiet")
        for query, sets in QUERIES.items():
            self.run_penstock("run", ROOT / "debs14" / f"{query}.yaml", "--input", "meters.csv", "--output", f"wanted/{query}", "--quiet",
                              *sets)
        self.run_penstock("key", "init", "points.key", "--quiet")
        count = self.random.choice([3, 4])
        self.run_penstock("tls", "init", "authority", "--quiet")
        for number in range(1, count + 1):
            self.run_penstock("tls", "issue", "authority", f"n{number}", "--quiet")
            node = Node(self, number)
            node.up()
            self.nodes.append(node)
        while self.run_penstock("ls", "--node", "unix:n1/admin.sock").stdout.count(" alive") != count:
            pass  # each asks a process, that is pause enough
        for query in QUERIES:
            self.submit(query)

    def submit(self, query):
        source = self.random.choice(self.nodes).name
        self.run_penstock("submit", ROOT / "debs14" / f"{query}.yaml", "--input", "meters.csv", "--source", source, "--node",
                          "unix:n1/admin.sock", "--set", f"partitions={self.random.choice([2, 3, 5])}", *QUERIES[query], timeout=60)
        self.done["graphs submitted"] += 1

    def states(self):
        text = self.run_penstock("status", "--node", "unix:n1/admin.sock", timeout=60).stdout
        return {graph: state for graph, state in re.findall(r"^(\w+): (\w+), incarnation", text, re.M)}

    def kill(self):
        node = self.random.choice(self.nodes[1:])
        node.signal(signal.SIGKILL)
        node.process.wait()
        wait = self.random.choice([0, 0, self.random.uniform(0, 1), self.random.uniform(2, 4)])
        self.later(wait, node.up)
        self.done["kill -9"] += 1
        return wait

    def stop(self):
        node = self.random.choice(self.nodes)
        wait = self.random.uniform(0.1, 5)
        node.signal(signal.SIGSTOP)
        node.stops += 1
        self.later(wait, node.go_on)
        self.done["SIGSTOP"] += 1
        return wait if self.random.random() < 0.7 else 0

    def cut(self):
        node = self.random.choice(self.nodes)
        cut = node.way.cut((lambda pairs: pairs) if self.random.random() < 0.3 else (lambda pairs: [self.random.choice(pairs)] if pairs else []))
        self.done["connections cut"] += cut
        return 0

    def later(self, seconds, action):
        self.pending.append((time.monotonic() + seconds, action))

    def due(self):
        now = time.monotonic()
        for entry in [entry for entry in self.pending if entry[0] <= now]:
            self.pending.remove(entry)
            entry[1]()

    def chaos(self):
        self.pending = []
        begin = time.monotonic()
        end = begin + self.seconds
        clock = threading.Event()
        looked = 0
        while time.monotonic() < end:
            self.due()
            busy = any(entry[1].__name__ == "up" for entry in self.pending)  # one node is down at a time
            calm = (time.monotonic() - begin) % (STORM_SECONDS + CALM_SECONDS) > STORM_SECONDS
            self.random.choices([self.cut, self.stop, self.cut if busy else self.kill], [1, 0, 0] if calm else [10, 2, 2])[0]()
            clock.wait(self.random.uniform(0.3, 1.5))
            if self.nodes[0].stops == 0 and time.monotonic() > looked + 5:
                looked = time.monotonic()
                for query, state in self.states().items():
                    if state == "done":  # the next one, while there is time
                        self.compare(query)
                        self.submit_anew(query)
                    elif state not in ("running", "starting", "waiting"):
                        raise RuntimeError(f"{query} is {state}")
        while self.pending:
            clock.wait(max(0, min(entry[0] for entry in self.pending) - time.monotonic()))
            self.due()

    def results(self, query):
        """The folders where they may be."""
        if self.points:
            return [pathlib.Path(f"{self.folder}/points/{query}/results")]
        return [pathlib.Path(f"{self.folder}/{node.name}/results/{query}") for node in self.nodes]

    def submit_anew(self, query):
        for folder in self.results(query):
            shutil.rmtree(folder, ignore_errors=True)
        try:
            self.submit(query)
        except subprocess.CalledProcessError as error:  # its source was not there
            if "there is no node" not in error.stderr:
                raise

    def compare(self, query):
        for wanted in sorted(pathlib.Path(f"{self.folder}/wanted/{query}").iterdir()):
            seen = [path for folder in self.results(query) if (path := folder / wanted.name).exists()]
            if not seen or not all(filecmp.cmp(wanted, path, shallow=False) for path in seen):
                raise RuntimeError(f"{wanted.name} is not what it should be: {seen or 'it is on no node'}")
        self.done["graphs with the right bytes"] += 1

    def finish(self):
        for node in self.nodes:
            node.way.hurry()
        end = time.monotonic() + END_SECONDS_MAX
        while any(state in ("running", "starting", "waiting") for state in self.states().values()):
            if time.monotonic() > end:
                raise RuntimeError(f"it does not end: {self.states()}")
            threading.Event().wait(0.2)
        for query, state in self.states().items():
            if state != "done":
                raise RuntimeError(f"{query} is {state}")
            self.compare(query)
        log = pathlib.Path(f"{self.folder}/n1.err").read_text(errors="replace")
        self.done["incarnations"] = len(set(re.findall(r"graph (\w+, incarnation \d+): starting", log)))
        self.done["begun from a checkpoint"] = len(re.findall("has begun here, from checkpoint", log))

    def end(self):
        for node in self.nodes:
            node.signal(signal.SIGCONT)
            node.signal(signal.SIGKILL)
            if node.process is not None:
                node.process.wait()


def main():
    penstock, seconds = pathlib.Path(sys.argv[1]).resolve(), float(sys.argv[2])
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else 1
    folder = tempfile.mkdtemp(prefix="penstock-chaos-")
    chaos = Chaos(penstock, seconds, seed, folder)
    failed = 0
    try:
        chaos.prepare()
        chaos.chaos()
        chaos.finish()
    except (RuntimeError, subprocess.SubprocessError, OSError) as error:
        failed = 1
        print(f"FAILED: seed {seed}: {error} {getattr(error, 'stderr', '') or ''}; the logs are in {folder}")
    finally:
        chaos.end()
    print(f"seed {seed}, {len(chaos.nodes)} nodes, {'checkpoints' if chaos.points else 'no checkpoints'}:", ", ".join(f"{count} {what}" for what, count in chaos.done.items()))
    print(f"{chaos.done['graphs with the right bytes']} passed, {failed} failed")
    if not failed:
        shutil.rmtree(folder)
    return failed


if __name__ == "__main__":
    sys.exit(main())
