#!/usr/bin/env python3
"""Chaos on a real cluster: processes on loopback over TLS, both queries at once, and from a seed kill -9 with a restart (of any node but
the first), SIGSTOP for up to five seconds, cuts of connections, and what an operator may order: scale, move, drain (the node is killed
afterwards, and comes back), rebalance, migration cancel, and with checkpoints stop with a savepoint, from which the graph is submitted
anew. Until the time is over; then the nodes are left alone. Both queries have to end with the bytes of `penstock run`, every order with an
answer, every move with DONE or ABORTED.

usage: chaos.py PENSTOCK SECONDS [SEED...]

The seed's lowest two bits say how: with 1 the streams come by `penstock replay`, which is killed and begun again, too; with 2 there are
checkpoints. The ways between the nodes are slow at first, so that the streams last as long as the chaos. Ends with "N passed, M failed";
what happened stands before, and the logs of the nodes are kept where something failed, with `orders`: what was ordered, and the answers.
"""
import collections
import filecmp
import json
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
ROWS, STREAM_SECONDS = 1000000, 10
# Calm: connections are cut now and then, nothing worse, so that moves and graphs end and others begin.
CALM_SECONDS, STORM_SECONDS = 25, 35
CALM_SHARE = 0.4  # of a run that is shorter than both
END_SECONDS_MAX = 240
ANSWER_SECONDS_MAX = 240  # a move ends after 60 at the latest, or goes on to its end; an order may be several
ORDERS_MAX = 3  # at a time
KEYED = {"load": {"plug_load": 64, "house_load": 64}, "outliers": {"plug_above": 64, "house_share": 64}}  # buckets
ENDED = ("DONE", "ABORTED")
LIVING = ("running", "starting", "waiting")
BYTES_A_ROW = 60  # on the way to another node, more or less


class Node:
    def __init__(self, chaos, number):
        self.chaos, self.name, self.address, self.process = chaos, f"n{number}", "127.0.0.1:0", None
        self.stops = 0  # that are not over
        self.wanted = True  # not being drained
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

    def is_there(self):
        """A submission waits for the node that reads its input, and nobody brings a node back meanwhile."""
        return self.wanted and self.stops == 0 and self.process.poll() is None

    def signal(self, number):
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)

    def go_on(self):
        self.stops -= 1
        self.signal(signal.SIGCONT)


class Order:
    """A command that may take long: it is not waited for here."""

    def __init__(self, chaos, words, then=None):
        self.words, self.then, self.since = words, then, time.monotonic()
        self.process = subprocess.Popen([chaos.penstock, *words], cwd=chaos.folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True)

    def answered(self):
        if self.process.poll() is not None:
            return True
        if time.monotonic() > self.since + ANSWER_SECONDS_MAX:
            raise RuntimeError(f"no answer to `{' '.join(self.words)}`")
        return False


class Chaos:
    def __init__(self, penstock, seconds, seed, folder):
        self.penstock, self.seconds, self.folder = penstock, seconds, folder
        self.random = random.Random(seed)
        self.rate = ROWS * BYTES_A_ROW // STREAM_SECONDS // 2
        self.done = collections.Counter()
        self.replays, self.points = seed & 1 != 0, seed & 2 != 0
        self.nodes, self.pending, self.orders, self.streams = [], [], [], {}
        self.savepoints = 0  # that were asked for
        self.refused = set()  # queries whose results were compared and removed, and that were not taken when they were submitted anew
        calm = min(CALM_SECONDS, seconds * CALM_SHARE)
        self.calm_seconds, self.turn_seconds = calm, calm + min(STORM_SECONDS, seconds - calm)

    def run_penstock(self, *words, **more):
        return subprocess.run([self.penstock, *words], cwd=self.folder, check=True, capture_output=True, text=True, **more)

    def prepare(self):
        self.run_penstock("gen", "--houses", "6", "--plugs", "80", "--rows", str(ROWS), "--late", "100", "--malformed", "50", "--seed",
                          str(self.random.randrange(1000)), "--output", "meters.csv", "--quiet")
        for query, sets in QUERIES.items():
            self.run_penstock("run", ROOT / "debs14" / f"{query}.yaml", "--input", "meters.csv", "--output", f"wanted/{query}", "--quiet",
                              *sets)
        self.run_penstock("key", "init", "points.key", "--quiet")
        count = self.random.choice([3, 4, 5])
        self.run_penstock("tls", "init", "authority", "--quiet")
        self.run_penstock("tls", "issue", "authority", "me", "--quiet")
        for number in range(1, count + 1):
            self.run_penstock("tls", "issue", "authority", f"n{number}", "--quiet")
            node = Node(self, number)
            node.up()
            self.nodes.append(node)
        while self.run_penstock("ls", "--node", "unix:n1/admin.sock").stdout.count(" alive") != count:
            pass  # each asks a process, that is pause enough
        for query in QUERIES:
            self.submit(query)

    def submit(self, query, *savepoint):
        source = self.random.choice([node for node in self.nodes if node.is_there()]).name  # n1 is
        stream = ["--listen"] if self.replays else ["--input", "meters.csv"]
        self.run_penstock("submit", ROOT / "debs14" / f"{query}.yaml", *stream, "--source", source, "--node", "unix:n1/admin.sock",
                          "--set", f"partitions={self.random.choice([2, 3, 5])}", *QUERIES[query], *savepoint, timeout=60)
        self.done["graphs submitted"] += 1
        if self.replays:
            self.replay(query)

    def replay(self, query):
        at = self.random.choice(self.nodes)
        with open(f"{self.folder}/replay.{query}.err", "ab") as log:
            self.streams[query] = subprocess.Popen(
                [self.penstock, "replay", "meters.csv", "--to", query, "--node", at.way.address, "--tls", "authority/me", "--patience",
                 str(END_SECONDS_MAX), "--progress"], cwd=self.folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log)
        self.done["replays begun"] += 1

    def replays_look(self):
        for query, process in list(self.streams.items()):
            if process.poll() == 69 and "error: cannot reach" in pathlib.Path(self.folder, f"replay.{query}.err").read_text().splitlines()[-1]:
                self.replay(query)  # its first node was down, or cut off, when it began: another one may be up
            elif process.poll() == 77 and " is stopped: " in pathlib.Path(self.folder, f"replay.{query}.err").read_text().splitlines()[-1]:
                del self.streams[query]
            elif process.returncode not in (None, 0):
                raise RuntimeError(f"the replay into {query} has ended with {process.returncode}")

    def states(self):
        text = self.run_penstock("status", "--node", "unix:n1/admin.sock", timeout=60).stdout
        return {graph: state for graph, state in re.findall(r"^(\w+): (\w+), incarnation", text, re.M)}

    def places(self):
        """(graph, operator, partition, node) of all graphs that run."""
        status = json.loads(self.run_penstock("status", "--node", "unix:n1/admin.sock", "--json", timeout=60).stdout)
        return [(graph["graph"], place["operator"], place["partition"], place["node"]) for graph in status["graphs"]
                if graph["state"] == "running" for place in graph["places"]]

    def moves(self):
        return json.loads(self.run_penstock("migration", "ls", "--node", "unix:n1/admin.sock", "--json", timeout=60).stdout)["moves"]

    # ---- what is ordered ----

    def order(self, *words, then=None):
        at = self.nodes[0] if self.random.random() < 0.7 else self.random.choice(self.nodes)
        self.orders.append(Order(self, [*words, "--node", f"unix:{at.name}/admin.sock", "--json"], then))
        self.done[f"{words[0]} ordered"] += 1
        if words[0] != "migration" and self.random.random() < 0.1:
            self.later(self.random.uniform(0.05, 1), self.cancel)

    def answers(self):
        for order in [order for order in self.orders if order.answered()]:
            self.orders.remove(order)
            out, err = order.process.communicate()
            code = order.process.returncode
            with open(f"{self.folder}/orders", "a", encoding="utf-8") as log:
                log.write(f"{time.monotonic() - self.begin:.1f} s: {' '.join(order.words)}: {code} after "
                          f"{time.monotonic() - order.since:.1f} s: {out}{err}\n".replace("\n", " ").strip() + "\n")
            if code not in (0, 69, 74, 75, 77):
                raise RuntimeError(f"`{' '.join(order.words)}` ends with {code}: {out}{err}")
            if code == 0:
                self.done[f"{order.words[0]} done"] += 1
            if order.then is not None:
                order.then(code)

    def operator(self):
        operators = KEYED[self.random.choice(list(KEYED))]
        name = self.random.choice(list(operators))
        return name, operators[name]

    def scale(self):
        operator, buckets = self.operator()
        self.order("scale", operator, str(min(buckets, self.random.choice([1, 2, 3, 4, 6]))))

    def move(self):
        keyed = {operator for operators in KEYED.values() for operator in operators}
        places = [place for place in self.places() if place[1] in keyed]
        if places:
            _, operator, partition, _ = self.random.choice(places)
            self.order("move", f"{operator}/{partition}", self.random.choice(self.nodes).name)

    def rebalance(self):
        self.order("rebalance")

    def stop_graph(self):
        if self.points:
            self.savepoints += 1
            self.order("stop", self.random.choice(list(QUERIES)), "--savepoint", f"saved-{self.savepoints}")

    def go_on(self, query):
        """It was stopped: from its savepoint, as soon as a node is there that can read."""
        status = json.loads(self.run_penstock("status", query, "--node", "unix:n1/admin.sock", "--json", timeout=60).stdout)
        graph = status["graphs"][0]
        if graph["state"] != "stopped":
            return
        stream = self.streams.pop(query, None)
        if stream is not None:
            stream.kill()
            stream.wait()
        try:
            self.submit(query, "--from", graph["savepoint"])
        except subprocess.CalledProcessError as error:
            if "there is no node" not in error.stderr:
                raise
            return
        self.done["graphs submitted from a savepoint"] += 1

    def drain(self):
        """Of a node that has nothing but what can move, or of any. What is empty then is switched off, and comes back; it is drained no more."""
        keyed = {operator for operators in KEYED.values() for operator in operators}
        fixed = {place[3] for place in self.places() if place[1] not in keyed}
        free = [node for node in self.nodes[1:] if node.name not in fixed]
        node = self.random.choice(free if free and self.random.random() < 0.9 else self.nodes[1:])
        if not all(node.wanted for node in self.nodes):
            return
        node.wanted = False
        self.order("drain", node.name, then=lambda code: self.drained(node, code))

    def drained(self, node, code):
        if code == 0:
            self.switch_off(node, 0, lambda: self.take_back(node))
        else:
            self.take_back(node)

    def take_back(self, node):
        def answered(code):
            if code in (0, 77):  # 77: it was never begun
                node.wanted = True
            else:
                self.take_back(node)
        self.order("drain", node.name, "--undo", then=answered)

    def switch_off(self, node, wait, then=None):
        node.wanted = False  # nor is it drained, and brought back behind that, before it is up again
        node.signal(signal.SIGKILL)
        node.process.wait()

        def up():
            node.up()
            if then is None:
                node.wanted = True
            else:
                then()
        self.later(wait, up)

    def cancel(self):
        if self.nodes[0].stops != 0:
            return
        moves = self.moves()
        open_ones = [move for move in moves if move["step"] not in ENDED]
        if open_ones:
            self.order("migration", "cancel", self.random.choice(open_ones)["id"])

    def command(self):
        """n1 answers at this moment, or else later; here nobody waits for it but for what is asked by status."""
        if len(self.orders) >= ORDERS_MAX or self.nodes[0].stops != 0:
            return
        self.random.choices([self.scale, self.move, self.rebalance, self.drain, self.cancel, self.stop_graph], [6, 6, 2, 2, 1, 1])[0]()

    # ---- what breaks ----

    def kill(self):
        node = self.random.choice(self.nodes[1:])
        if not node.wanted:
            return
        self.switch_off(node, self.random.choice([0, 0, self.random.uniform(0, 1), self.random.uniform(2, 4)]))
        self.done["kill -9"] += 1

    def first_point(self):
        """Runs with checkpoints are to begin from one: however slow this machine is at the moment, nothing breaks before there is one."""
        log, end = pathlib.Path(f"{self.folder}/n1.err"), time.monotonic() + END_SECONDS_MAX
        while not re.search("checkpoint [0-9a-f]+ is complete", log.read_text(errors="replace")):
            if time.monotonic() > end:
                raise RuntimeError("no checkpoint becomes complete")
            self.look()
            threading.Event().wait(0.2)

    def kill_replay(self):
        query = self.random.choice(list(self.streams)) if self.streams else None
        if query is None or self.streams[query].poll() is not None:
            return
        self.streams[query].kill()
        self.streams[query].wait()
        self.done["replays killed"] += 1
        self.replay(query)

    def stop(self):
        node = self.random.choice(self.nodes)
        wait = self.random.uniform(0.1, 5)
        node.signal(signal.SIGSTOP)
        node.stops += 1
        self.later(wait, node.go_on)
        self.done["SIGSTOP"] += 1

    def cut(self):
        node = self.random.choice(self.nodes)
        cut = node.way.cut((lambda pairs: pairs) if self.random.random() < 0.3 else (lambda pairs: [self.random.choice(pairs)] if pairs else []))
        self.done["connections cut"] += cut

    def later(self, seconds, action):
        self.pending.append((time.monotonic() + seconds, action))

    def due(self):
        now = time.monotonic()
        for entry in [entry for entry in self.pending if entry[0] <= now]:
            self.pending.remove(entry)
            entry[1]()

    def look(self):
        for query, state in self.states().items():
            if state == "stopped":
                self.go_on(query)
                continue
            if state == "done" and query in self.streams and self.streams[query].poll() is None:
                continue  # it ends when it has learned that all was taken
            if state == "done":  # the next one, while there is time
                if query not in self.refused:
                    self.compare(query)
                self.submit_anew(query)
            elif state not in LIVING:
                raise RuntimeError(f"{query} is {state}")

    def chaos(self):
        if self.points:
            self.first_point()
        self.begin = time.monotonic()
        clock = threading.Event()
        looked, ordered = 0, self.random.uniform(1, 4)
        while (now := time.monotonic() - self.begin) < self.seconds:
            self.due()
            self.answers()
            self.replays_look()
            busy = any(entry[1].__name__ == "up" for entry in self.pending)  # one node is down at a time
            calm = now % self.turn_seconds < self.calm_seconds
            if not calm:
                self.random.choices([self.cut, self.stop, self.cut if busy else self.kill, self.kill_replay], [8, 2, 2, 1])[0]()
            elif self.random.random() < 0.15:  # a cut in the middle of a move may well end it
                self.cut()
            if now > ordered:
                ordered = now + self.random.uniform(0.3, 2)
                self.command()
            clock.wait(self.random.uniform(0.3, 1.5))
            if self.nodes[0].stops == 0 and now > looked + 5:
                looked = now
                self.look()
        while self.pending:
            clock.wait(max(0, min(entry[0] for entry in self.pending) - time.monotonic()))
            self.due()

    def results(self, query):
        """The folders where they may be."""
        if self.points:
            return [pathlib.Path(f"{self.folder}/points/{query}/results")]
        return [pathlib.Path(f"{self.folder}/{node.name}/results/{query}") for node in self.nodes]

    def submit_anew(self, query):
        if query not in self.refused:
            self.moves_ended(query)
        for folder in self.results(query):
            shutil.rmtree(folder, ignore_errors=True)
        self.refused.discard(query)
        try:
            self.submit(query)
        except subprocess.CalledProcessError as error:  # its source was not there
            if "there is no node" not in error.stderr:
                raise
            self.refused.add(query)
            self.done["graphs refused, their source was down"] += 1

    def compare(self, query):
        for wanted in sorted(pathlib.Path(f"{self.folder}/wanted/{query}").iterdir()):
            seen = [path for folder in self.results(query) if (path := folder / wanted.name).exists()]
            if not seen or not all(filecmp.cmp(wanted, path, shallow=False) for path in seen):
                raise RuntimeError(f"{wanted.name} is not what it should be: {seen or 'it is on no node'}")
        self.done["graphs with the right bytes"] += 1

    def moves_ended(self, query):
        """All moves that this graph had. When a graph is done nothing of it is under way any more; one commit may be."""
        end = time.monotonic() + END_SECONDS_MAX
        while True:
            moves = [move for move in self.moves() if move["id"].startswith(f"{query}/")]
            if all(move["step"] in ENDED for move in moves):
                break
            if time.monotonic() > end:
                raise RuntimeError(f"moves of {query} do not end: {moves}")
            threading.Event().wait(0.2)
        for move in moves:
            self.done[f"moves {move['step']}"] += 1

    def finish(self):
        for node in self.nodes:
            node.way.hurry()
        end = time.monotonic() + END_SECONDS_MAX
        while self.orders or any(state in (*LIVING, "stopped") for state in self.states().values()) or any(
                stream.poll() is None for stream in self.streams.values()):
            if time.monotonic() > end:
                raise RuntimeError(f"it does not end: {self.states()}, {len(self.orders)} orders, replays "
                                   f"{[stream.poll() for stream in self.streams.values()]}")
            self.answers()
            self.due()
            self.replays_look()
            for query, state in self.states().items():
                if state == "stopped":
                    self.go_on(query)
            threading.Event().wait(0.2)
        for query, state in self.states().items():
            if state != "done":
                raise RuntimeError(f"{query} is {state}")
            if query not in self.refused:
                self.compare(query)
                self.moves_ended(query)
        log = pathlib.Path(f"{self.folder}/n1.err").read_text(errors="replace")
        self.done["incarnations"] = len(set(re.findall(r"graph (\w+, incarnation \d+): starting", log)))
        self.done["begun from a checkpoint"] = sum(
            len(re.findall("has begun here, from checkpoint", pathlib.Path(f"{self.folder}/{node.name}.err").read_text(errors="replace")))
            for node in self.nodes)

    def end(self):
        for process in [order.process for order in self.orders] + list(self.streams.values()):
            process.kill()
            process.wait()
        for node in self.nodes:
            node.signal(signal.SIGCONT)
            node.signal(signal.SIGKILL)
            if node.process is not None:
                node.process.wait()


def run(penstock, seconds, seed):
    """(graphs with the right bytes, whether it failed)"""
    folder = tempfile.mkdtemp(prefix="penstock-chaos-")
    chaos = Chaos(penstock, seconds, seed, folder)
    failed = False
    try:
        chaos.prepare()
        chaos.chaos()
        chaos.finish()
    except (RuntimeError, subprocess.SubprocessError, OSError) as error:
        failed = True
        print(f"FAILED: seed {seed}: {error} {getattr(error, 'stderr', '') or ''}; the logs are in {folder}")
    finally:
        chaos.end()
    print(f"seed {seed}, {len(chaos.nodes)} nodes, {'replays' if chaos.replays else 'files'}, "
          f"{'checkpoints' if chaos.points else 'no checkpoints'}:", ", ".join(f"{count} {what}" for what, count in sorted(chaos.done.items())),
          flush=True)
    if not failed:
        shutil.rmtree(folder)
    return chaos.done["graphs with the right bytes"], failed


def main():
    penstock, seconds = pathlib.Path(sys.argv[1]).resolve(), float(sys.argv[2])
    runs = [run(penstock, seconds, int(seed)) for seed in sys.argv[3:] or ["1"]]
    failed = sum(failed for _, failed in runs)
    print(f"{sum(count for count, _ in runs)} passed, {failed} failed")
    return failed


if __name__ == "__main__":
    sys.exit(main())
