#!/usr/bin/env python3
"""A cluster of three nodes over three real ZooKeeper servers: one coordinates, another takes over, and streams go on whatever happens to the
servers and to the coordinator. Results are the bytes of `penstock run`.

usage: tests/cluster/zookeeper.py PENSTOCK; ends with "N passed, N failed". Without Debian's ZooKeeper or java it says so and exits
with 77, which ctest calls skipped.
"""
import filecmp
import json
import pathlib
import re
import signal
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests" / "migration"))

import relay  # noqa: E402
from ensemble import Ensemble, Speaker, missing, until  # noqa: E402

SETS = {"load": ["--set", "slices=60,300"], "outliers": ["--set", "windows=100,3600"]}
ROWS = 4000000
SLOW, LESS_SLOW = 500000, 3000000  # bytes a second on each way between nodes: a stream lasts as long as what happens to it
relay.PIECE = 256 * 1024  # with less than a segment of loopback in a buffer a way would not be slow but stand still
results = []


def verdict(good, what, detail=""):
    results.append(bool(good))
    print(("ok      " if good else "FAILED  ") + what, flush=True)
    if not good and detail:
        print("    " + detail.strip().replace("\n", "\n    "), flush=True)


class Node:
    """Others reach it by a way that is slow until hurry(), and it reaches ZooKeeper by ways that are cut on demand."""

    def __init__(self, cluster, number):
        self.cluster, self.name, self.address = cluster, f"n{number}", "127.0.0.1:0"
        self.speaker = None
        self.before = ""  # what its processes before this one have said
        self.way = relay.Relay(self.target, LESS_SLOW if cluster.flags else SLOW)
        self.away = False  # from ZooKeeper
        self.ways = [relay.Relay(lambda port=port: None if self.away else ("127.0.0.1", port)) for port in cluster.ensemble.ports]

    def target(self):
        host, port = self.address.rsplit(":", 1)
        return (host, int(port)) if port != "0" else None

    def up(self):
        hosts = ",".join(way.address for way in self.ways) + f"/{self.cluster.name}"
        if self.speaker is not None:
            self.before += self.speaker.said
        self.speaker = Speaker([self.cluster.penstock, "node", "--name", self.name, "--dir", self.name, "--listen", self.address,
                                "--advertise", self.way.address, "--tls", f"authority/{self.name}", "--workers", "1", "--zookeeper",
                                hosts, "--key", "cluster.key", *self.cluster.flags], cwd=self.cluster.folder)
        self.address = self.speaker.hears(r"^listens on (\S+)$").group(1)

    def kill(self):
        self.speaker.kill()

    def cut_off(self):
        self.away = True
        for way in self.ways:
            way.cut()

    def all_said(self):
        return self.before + self.speaker.said


class Cluster:
    """Of three nodes, begun together; or the first of them before the others, so that it coordinates."""

    def __init__(self, ensemble, penstock, folder, name, flags=(), one_first=False):
        self.ensemble, self.penstock, self.folder, self.name, self.flags = ensemble, penstock, pathlib.Path(folder), name, flags
        self.nodes, self.one_first = [Node(self, number) for number in (1, 2, 3)], one_first

    def __enter__(self):
        for node in self.nodes:
            node.up()
            if self.one_first and node is self.nodes[0]:
                node.speaker.hears("term 1: this node coordinates")
        self.coordinator = self.takes_over(1)
        for node in self.nodes:
            if node is not self.coordinator:
                self.coordinator.speaker.hears(rf"node {node.name} (has joined|is back)")
        return self

    def __exit__(self, failed, *_):
        if failed is not None:
            self.tell()
        for node in self.nodes:
            node.kill()
        subprocess.run(["rm", "-rf", *(node.name for node in self.nodes)], cwd=self.folder, check=True)

    def tell(self):
        """What was the matter, where a wait had no end."""
        for node in self.nodes:
            print(f"---- the end of what {node.name} said:\n{node.all_said()[-3000:]}", flush=True)
        for words in ("status", "top"):
            try:
                ran = subprocess.run([self.penstock, words, "load", "--json", "--node", f"unix:{self.coordinator.name}/admin.sock"],
                                     cwd=self.folder, capture_output=True, text=True, timeout=20, check=False)
                print(f"---- {words}: {ran.stdout}{ran.stderr}", flush=True)
            except (AttributeError, subprocess.TimeoutExpired) as why:
                print(f"---- {words}: {why}", flush=True)

    def takes_over(self, term):
        """Who coordinates since this term."""
        def found():
            return [node for node in self.nodes if f"term {term}: this node coordinates" in node.all_said()]
        return until(f"term {term}", found)[0]

    def ask(self, node, *words, code=0):
        ran = subprocess.run([self.penstock, *words, "--node", f"unix:{node.name}/admin.sock"], cwd=self.folder, capture_output=True,
                             text=True, timeout=60, check=False)
        if ran.returncode != code:
            verdict(False, " ".join(map(str, words)), f"exit code {ran.returncode}, wanted {code}: {ran.stdout}{ran.stderr}")
        return ran.stdout + ran.stderr

    def submit(self, query, source):
        said = self.ask(self.coordinator, "submit", str(ROOT / "debs14" / f"{query}.yaml"), "--input", "meters.csv", "--source",
                        source.name, *SETS[query])
        verdict(f"{query}: running, incarnation 1" in said, f"{query} runs", said)

    def hurry(self):
        for node in self.nodes:
            node.way.hurry()

    def done(self, query, incarnation):
        """By the log of whoever coordinates then."""
        def found():
            return any(re.search(rf"graph {query}, incarnation {incarnation}: done", node.all_said()) for node in self.nodes)
        until(f"{query} is done", found)

    def same(self, query, what):
        wanted = sorted((self.folder / "wanted" / query).iterdir())
        kept = [self.folder / node.name / "results" / query for node in self.nodes] + [self.folder / "shared" / query / "results"]
        found = {file.name: [filecmp.cmp(file, folder / file.name, False) for folder in kept if (folder / file.name).exists()]
                 for file in wanted}
        verdict(found and all(same and all(same) for same in found.values()), what, str(found))


def incarnation_of(cluster, query):
    status = json.loads(cluster.ask(cluster.coordinator, "status", query, "--json"))
    return status["graphs"][0]["state"], status["graphs"][0]["incarnation"]


def servers_come_and_go(ensemble, penstock, folder):
    with Cluster(ensemble, penstock, folder, "servers") as cluster:
        first = cluster.coordinator
        other = [node for node in cluster.nodes if node is not first][0]
        said = cluster.ask(other, "status")
        verdict(re.search(rf"^{first.name} coordinates, term 1; what is decided is in ZooKeeper at 127", said, re.M), "status says who "
                "coordinates, and where what it decides is", said)
        cluster.submit("load", other)
        leader = ensemble.leader()
        ensemble.kill(leader)
        ensemble.leader(2)
        cluster.submit("outliers", first)
        verdict(incarnation_of(cluster, "load") == ("running", 1), "the servers' leader dies: streams go on, graphs are submitted")
        ensemble.start(leader)
        ensemble.leader()
        for i in range(3):
            ensemble.kill(i)
        for node in cluster.nodes:
            node.speaker.hears("the coordination store does not answer; what runs goes on")
        said = cluster.ask(other, "cancel", "outliers", code=75)
        verdict("the coordination store has not answered for" in said, "all servers are away: who asks for what needs them is told so", said)
        said = cluster.ask(other, "scale", "plug_load", "3", code=75)
        verdict("what moves goes on when that does" in said, "and who has partitions moved", said)
        said = cluster.ask(other, "status")
        verdict(re.search(r"^the coordination store has not answered for \d+ s", said, re.M), "and so does status", said)
        verdict(re.search(r"^load: running, incarnation 1$", said, re.M), "the stream goes on", said)
        answered = [len(re.findall("answers again", node.speaker.said)) for node in cluster.nodes]
        for i in range(3):
            ensemble.start(i)
        for node, count in zip(cluster.nodes, answered):
            node.speaker.hears("the coordination store answers again, after", count + 1)
        until("outliers are cancelled", lambda: any("graph outliers, incarnation 1: cancelled" in node.speaker.said
                                                    for node in cluster.nodes))
        cluster.hurry()
        cluster.done("load", 1)
        cluster.same("load", "they are back: the stream was never started again, its bytes are those of one process")


def the_coordinator_loses_the_servers(ensemble, penstock, folder):
    with Cluster(ensemble, penstock, folder, "cut") as cluster:
        first = cluster.coordinator
        cluster.submit("load", first)
        first.cut_off()
        cluster.coordinator = cluster.takes_over(2)
        verdict(cluster.coordinator is not first, "a coordinator that is cut off from the servers: another one takes over")
        first.speaker.hears("this node coordinates no longer")
        first.speaker.hears(rf"joined: {cluster.coordinator.name} at")
        cluster.coordinator.speaker.hears("graph load, incarnation 1: running")
        said = cluster.ask(first, "ls")
        verdict(re.search(rf"^{first.name} at .*, alive$", said, re.M) and re.search(
            rf"^{cluster.coordinator.name} at .*, alive, coordinator$", said, re.M), "it follows, and hands on what it is asked", said)
        cluster.hurry()
        cluster.done("load", 1)
        cluster.same("load", "the stream was never started again, its bytes are those of one process")


def the_coordinator_dies(ensemble, penstock, folder, flags=()):
    with Cluster(ensemble, penstock, folder, "dies" + str(len(flags)), flags) as cluster:
        first = cluster.coordinator
        source = [node for node in cluster.nodes if node is not first][0]
        cluster.submit("load", source)
        if flags:
            first.speaker.hears("checkpoint [0-9a-f]+ is complete")
        first.kill()
        cluster.coordinator = cluster.takes_over(2)
        cluster.coordinator.speaker.hears(f"node {first.name} is taken for dead")
        cluster.coordinator.speaker.hears("graph load, incarnation 2: running")
        first.up()
        cluster.coordinator.speaker.hears(f"node {first.name} has joined")
        second = cluster.coordinator
        second.speaker.process.send_signal(signal.SIGTERM)
        second.speaker.ends()
        cluster.coordinator = cluster.takes_over(3)
        second.up()
        cluster.hurry()
        until("load is done", lambda: any(re.search(r"graph load, incarnation \d+: done", node.all_said()) for node in cluster.nodes))
        cluster.same("load", "two coordinators go, one killed: others take over by themselves, the bytes are those of one process" +
                     (", from checkpoints" if flags else ""))
        if flags:
            verdict(any("from checkpoint" in node.all_said() for node in cluster.nodes), "the stream went on from a checkpoint")


def the_coordinator_dies_amid_a_move(ensemble, penstock, folder):
    with Cluster(ensemble, penstock, folder, "amid", one_first=True) as cluster:
        first, second, third = cluster.nodes
        cluster.ask(first, "drain", first.name)
        cluster.submit("load", second)
        places = json.loads(cluster.ask(first, "status", "load", "--json"))["graphs"][0]["places"]
        giver = [place["node"] for place in places if place["operator"] == "plug_load" and place["partition"] == 0][0]
        taker = third if giver == second.name else second
        words = ["move", "plug_load/0", taker.name, "--node", f"unix:{second.name}/admin.sock"]
        told = subprocess.Popen([penstock, *words], cwd=cluster.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        first.speaker.hears("graph load, move 1: copy")
        first.kill()
        told.wait(60)
        cluster.coordinator = cluster.takes_over(2)
        cluster.coordinator.speaker.hears("graph load, incarnation 1: running")
        found = cluster.coordinator.speaker.hears("graph load, move 1: it is ([A-Z]+), and another node coordinated then").group(1)

        def ended():
            moves = json.loads(cluster.ask(cluster.coordinator, "migration", "ls", "--json"))["moves"]
            return [move for move in moves if move["step"] in ("DONE", "ABORTED")]
        move = until("the move has ended", ended)[0]
        wanted = "DONE" if found == "COMMITTED" else "ABORTED"
        verdict(move["step"] == wanted and (wanted == "DONE" or "the coordinator changed" in move["why"]),
                f"the coordinator dies amid a move that is {found}: it is {wanted} under the next one", str(move))

        if wanted == "ABORTED":
            cluster.coordinator.speaker.hears("graph load, move 1: nothing of it is left")
            cluster.coordinator.speaker.hears("graph load, plug_load, move: 1 move, ")
            moves = json.loads(cluster.ask(second, "migration", "ls", "--json"))
            verdict([move["step"] for move in moves["moves"] if move["to_node"] == taker.name][-1] == "DONE" and moves["orders"] == [],
                    "and then it goes on by itself", str(moves))
        verdict(incarnation_of(cluster, "load") == ("running", 1), "the graph runs on")
        cluster.hurry()
        cluster.done("load", 1)
        cluster.same("load", "the stream was never started again, its bytes are those of one process")


def strangers(ensemble, penstock, folder):
    with Cluster(ensemble, penstock, folder, "strangers") as cluster:
        subprocess.run([penstock, "key", "init", "other.key", "--quiet"], cwd=folder, check=True)
        hosts = ensemble.hosts("strangers")
        common = [penstock, "node", "--name", "n4", "--dir", "n4", "--listen", "127.0.0.1:0", "--tls", "authority/n1"]

        def node(*words, code):
            ran = subprocess.run(common + list(words), cwd=folder, capture_output=True, text=True, timeout=60, check=False)
            verdict(ran.returncode == code, f"exit code {code}: " + " ".join(words[0::2]), f"{ran.returncode}: {ran.stderr}")
            return ran.stderr
        said = node("--zookeeper", hosts, "--key", "other.key", code=77)
        verdict("under another key" in said, "another cluster's key is refused", said)
        node("--zookeeper", hosts, code=2)
        node("--zookeeper", hosts, "--key", "cluster.key", "--join", "127.0.0.1:1", code=2)
        node("--zookeeper", "/nowhere", "--key", "cluster.key", code=78)
        for none in ("nowhere", "127.0.0.1:", ":2181", "127.0.0.1:2181,", "127.0.0.1:70000/mine", "127.0.0.1:2181,127.0.0.1:port"):
            said = node("--zookeeper", none, "--key", "cluster.key", "--patience", "1", code=78)
            verdict("is not HOST:PORT,HOST:PORT" in said, f"no servers: {none}", said)
        said = node("--zookeeper", "127.0.0.1:1", "--key", "cluster.key", "--patience", "1", code=69)
        verdict("the coordination store does not answer: ZooKeeper at 127.0.0.1:1" in said, "no servers: it gives up when its patience is over", said)
        said = node("--zookeeper", hosts, "--key", "cluster.key", code=77)
        verdict("the certificate is of `n1`" in said, "a name that is not the certificate's", said)
        verdict(cluster.ask(cluster.coordinator, "ls").count(", alive") == 3, "the cluster did not notice")


def main():
    if len(sys.argv) < 2:
        print(__doc__, file=sys.stderr)
        return 2
    if missing():
        print(f"skipped: {missing()}")
        print("0 passed, 0 failed")
        return 77
    penstock = str(pathlib.Path(sys.argv[1]).resolve())
    only = sys.argv[2:]
    with tempfile.TemporaryDirectory(prefix="penstock-zookeeper-") as folder:
        ensemble = Ensemble(folder)
        try:
            for i in range(3):
                ensemble.start(i)

            def penstock_run(*words):
                subprocess.run([penstock, *words, "--quiet"], cwd=folder, check=True)
            penstock_run("gen", "--houses", "4", "--plugs", "60", "--rows", str(ROWS), "--late", "50", "--malformed", "20", "--seed", "5",
                         "--output", "meters.csv")
            for query, sets in SETS.items():
                penstock_run("run", str(ROOT / "debs14" / f"{query}.yaml"), "--input", "meters.csv", "--output", f"wanted/{query}", *sets)
            penstock_run("tls", "init", "authority")
            for number in (1, 2, 3):
                penstock_run("tls", "issue", "authority", f"n{number}")
            penstock_run("key", "init", "cluster.key")
            ensemble.leader()
            trials = {"servers": servers_come_and_go, "cut": the_coordinator_loses_the_servers, "dies": the_coordinator_dies,
                      "points": lambda *most: the_coordinator_dies(*most, ["--checkpoints", "shared", "--every-seconds", "1"]),
                      "amid": the_coordinator_dies_amid_a_move, "strangers": strangers}
            for name, trial in trials.items():
                if not only or name in only:
                    trial(ensemble, penstock, folder)
        finally:
            for i in range(3):
                ensemble.kill(i)
    print(f"{results.count(True)} passed, {results.count(False)} failed")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
