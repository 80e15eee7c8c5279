#!/usr/bin/env python3
"""Who carries sealed rows looks for them: in the memory of the nodes of a cluster, and on the links between them. usage: carried.py
PENSTOCK

One node reads, both have a partition of the operator, and the second is reached through a relay that keeps all that passes. The input
stands still before its end; then the memory of both nodes is looked through. The control is the same without --sealed: there the marks
are in the memory of both, and on the link, which has no TLS here. Ends with "N passed, N failed, N not run".

  O7 rows of a sealed run, in the memory of nodes and on links between them
"""
import errno
import os
import queue
import socket
import struct
import subprocess
import sys
import tempfile
import threading

import eyes
from eyes import HOUSE, HOUSEHOLD, not_run, verdict

ROWS, ROWS_AT_ONCE = 200_000, 10_000
PLUGS = 200
GRAPH = """penstock: 1
name: marked
operators:
  - {id: meters, type: csv_source, params: {file: "-"}}
  - id: sums
    type: aggregate
    inputs: [meters]
    key: [plug_id]
    buckets: 16
    partitions: 2
    enclave: true
    epc: 7MiB
    params: {window: 3600, group: [plug_id, house_id, household_id], aggregates: [count as n, sum(value) as watts]}
  - {id: out, type: csv_sink, inputs: [sums], params: {file: out.csv}}
"""
WIDE = [struct.pack("<q", v) for v in (HOUSE, HOUSEHOLD)]  # as a column of numbers that are all alike is told on links
MARKS = eyes.MARKS + WIDE


class Relay:
    """Hands on what comes to its port, both ways, and keeps it."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        self.kept, self.lock, self.target = [], threading.Lock(), queue.Queue()
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        host, port = self.target.get()
        while True:
            near = self.listener.accept()[0]
            far = socket.create_connection((host, port))
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self.pump, args=(one, other), daemon=True).start()

    def pump(self, one, other):
        way = []
        with self.lock:
            self.kept.append(way)
        try:
            while data := one.recv(1 << 16):
                way.append(data)
                other.sendall(data)
            other.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # one of the two has gone

    def bytes(self):
        with self.lock:
            return [b"".join(way) for way in self.kept]


def line_like(file, words):
    said = []
    for line in file:
        said.append(line)
        if words in line:
            return line
    raise SystemExit("".join(said) + f"and nothing like {words!r}")


class Cluster:
    def __init__(self, penstock, common, sealed):
        self.penstock, self.common, self.sealed, self.relay = penstock, common, sealed, Relay()
        self.folder = tempfile.mkdtemp(dir=common)
        self.nodes = [self.node("n1"), None]
        self.nodes[1] = self.node("n2", "--join", self.first, "--advertise", self.relay.address)
        self.keeper = None
        submit = []
        if sealed:
            self.keeper = subprocess.Popen(
                [*eyes.DIES_WITH_TEST, penstock, "key", "serve", "user.key", "--policy", "policy.yaml", "--allow-software", "--listen",
                 f"unix:{self.folder}/keys.sock", "--count", "2"], cwd=common, stderr=subprocess.PIPE, text=True)
            line_like(self.keeper.stderr, "listens")
            submit = ["--sealed", "--keys", f"unix:{self.folder}/keys.sock"]
        pipe = os.path.join(self.folder, "rows")
        os.mkfifo(pipe)
        with open(os.path.join(common, "rows.sealed" if sealed else "rows.csv"), "rb") as file:
            self.data = file.read()
        self.submit = subprocess.Popen(
            [*eyes.DIES_WITH_TEST, penstock, "submit", "graph.yaml", "--node", f"unix:{self.folder}/n1/admin.sock", "--source", "n1",
             "--input", pipe, *submit, "--wait"], cwd=common, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.write = self.opened(pipe)
        self.rest = self.data[-1000:] if not sealed else self.data[self.last_capsule():]
        before = len(self.data) - len(self.rest)
        try:
            for at in range(0, before, 1 << 20):
                os.write(self.write, self.data[at:min(at + (1 << 20), before)])
        except BrokenPipeError:
            raise SystemExit("submit has ended: " + self.submit.communicate()[0]) from None

    def opened(self, pipe):
        """As soon as the node that reads has opened it."""
        while True:
            try:
                write = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
                os.set_blocking(write, True)
                return write
            except OSError as e:
                if e.errno != errno.ENXIO or self.submit.poll() is not None:
                    raise SystemExit("submit has ended: " + self.submit.communicate()[0]) from None

    def last_capsule(self):
        at = last = 0
        while at < len(self.data):
            last = at
            at += 96 + struct.unpack_from("<I", self.data, at + 44)[0] + 16
        return last

    def node(self, name, *words):
        process = subprocess.Popen([*eyes.DIES_WITH_TEST, self.penstock, "node", "--name", name, "--dir", f"{self.folder}/{name}",
                                    "--listen", "127.0.0.1:0", "--insecure-loopback", "--workers", "1", "--node-key", "node.key", *words],
                                   cwd=self.common, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        address = line_like(process.stdout, "listens on").split()[-1]
        if name == "n1":
            self.first = address
        else:
            host, port = address.rsplit(":", 1)
            self.relay.target.put((host, int(port)))
        return process

    def stand_still(self):
        """Until both nodes have given their workers all that has come: nothing in the pipe and in the rings, nothing new on the link, and
        all sleep, at many looks one after the other."""
        quiet, carried = 0, -1
        while quiet < 100:
            if self.submit.poll() is not None:
                raise SystemExit("submit has ended: " + self.submit.stdout.read())
            now = sum(map(len, self.relay.bytes()))
            quiet = quiet + 1 if now == carried and eyes.pipe_is_empty(self.write) and all(map(self.is_still, self.nodes)) else 0
            carried = now

    @staticmethod
    def is_still(node):
        borders = eyes.borders(node.pid)
        return bool(borders) and all(eyes.is_idle(border) for border in borders) and eyes.threads_sleep(node.pid)

    def memory(self, node, marks):
        found = read = 0
        for mapping in eyes.maps(node.pid):
            if "w" in mapping["rights"]:
                marks_here, size, _ = eyes.look(node.pid, mapping, marks)
                found += marks_here
                read += size
        return found, read

    def end(self):
        os.write(self.write, self.rest)
        os.close(self.write)
        out = self.submit.communicate()[0]
        for node in self.nodes:
            node.kill()
            node.wait()
        if self.keeper is not None:
            self.keeper.wait()
        return self.submit.returncode, out


def looked(penstock, folder, sealed):
    cluster = Cluster(penstock, folder, sealed)
    cluster.stand_still()
    nodes = [cluster.memory(node, eyes.MARKS) for node in cluster.nodes]
    way = cluster.relay.bytes()
    link = sum(eyes.marks_in(data, MARKS) for data in way), sum(map(len, way))
    code, out = cluster.end()
    verdict(code == 0, f"O7 the run {'on sealed rows' if sealed else 'in the clear'} ends well", out.strip() if code else "")
    return nodes, link


def main():
    penstock = os.path.realpath(sys.argv[1])
    if eyes.error_of(eyes.MEMFD_SECRET, 0)[0] < 0:
        not_run("O7 rows of a sealed run, on a cluster", "this kernel has no memfd_secret, so workers claim nothing")
        return eyes.told()
    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, "graph.yaml"), "w") as file:
            file.write(GRAPH)
        for key in ("user.key", "node.key"):
            subprocess.run([penstock, "key", "init", key, "--quiet"], cwd=folder, check=True)
        with open(os.path.join(folder, "rows.csv"), "wb") as file:
            for first in range(0, ROWS, ROWS_AT_ONCE):
                file.write(b"".join(b"%d,%d,1.000,1,%d,%d,%d\n" % (i, 1377986401 + i // 1000, i % PLUGS, HOUSEHOLD, HOUSE)
                                    for i in range(first, first + ROWS_AT_ONCE)))
        subprocess.run([penstock, "seal", "graph.yaml", "--key", "user.key", "--input", "rows.csv", "--output", "rows.sealed", "--quiet"],
                       cwd=folder, check=True)
        with open(os.path.join(folder, "policy.yaml"), "w") as file:
            subprocess.run([penstock, "measure", "graph.yaml", "--node-key", "node.key"], cwd=folder, stdout=file, check=True)
        in_clear, link_in_clear = looked(penstock, folder, False)
        sealed, link_sealed = looked(penstock, folder, True)
    for name, (marks, size) in zip(("that reads", "that has a partition alone"), in_clear):
        verdict(marks > 0, f"O7 control: in the clear rows are in the memory of the node {name}", f"{marks} times in {size >> 10} KiB")
    verdict(link_in_clear[0] > 0, "O7 control: and on the link between the two",
            f"{link_in_clear[0]} times in {link_in_clear[1] >> 10} KiB")
    for name, (marks, size) in zip(("that reads", "that has a partition alone"), sealed):
        verdict(marks == 0 and size > 1 << 20, f"O7 sealed rows are not in the memory of the node {name}", f"{size >> 10} KiB")
    verdict(link_sealed[0] == 0 and link_sealed[1] > link_in_clear[1] // 10, "O7 nor on the link", f"{link_sealed[1] >> 10} KiB")
    return eyes.told()


sys.exit(main())
