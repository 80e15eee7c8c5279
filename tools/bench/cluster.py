"""The measurements of tools/bench/bench that need nodes: moves, two nodes against one, and a node that is killed.

Clusters are real processes on loopback. Results are timed where they are seen, by a sink that reads the clock (measuring.c), from when their
event was due, not from when it could be written (pacer.c): what waits because the cluster does not take it counts. Both are in shared
memory; nothing is polled on the way. Latencies are histograms by 100 ms of due time; a window is ten of them, and there is one from each.
"""
import array
import contextlib
import json
import os
import pathlib
import re
import shutil
import statistics
import struct
import subprocess
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BUCKETS = 256
# Both queries, where nodes read other houses each: a house's plugs stay together.
BY_HOUSE = ["--set", "bucket_by=house_id", "--set", "buckets=256"]
# As stamps.h has them.
CLASSES, SLOTS, SLOT_MS, STEPS, CELLS = 4, 3000, 100, 16, 480
HEAD_BYTES = 64
WINDOW_SLOTS = 10
MIB = 1 << 20
PAGE = os.sysconf("SC_PAGE_SIZE")


class Failed(Exception):
    pass


def cell_us(cell):
    """The upper bound of a cell."""
    if cell < STEPS:
        return cell + 1
    power = cell // STEPS + 3
    return (STEPS + cell % STEPS + 1) << (power - 4)


def percentile_ms(cells, share):
    total = sum(cells)
    seen = 0
    for cell, count in enumerate(cells):
        seen += count
        if count and seen >= share * total:
            return cell_us(cell) / 1000
    return 0.0


class Node:
    def __init__(self, nodes, name, flags):
        self.nodes, self.name = nodes, name
        self.lines = []  # of its log: when it came, the line
        self.news = threading.Condition()
        command = [nodes.penstock, "node", "--name", name, "--dir", name, "--listen", "127.0.0.1:0", *flags]
        self.process = subprocess.Popen(command, cwd=nodes.folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True)
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()
        first = self.process.stdout.readline()
        if not first.startswith("listens on "):
            self.process.wait()
            self.reader.join()
            raise Failed(f"node {name} does not start: {self.lines[-1:]}")
        self.address = first.split()[-1]

    def read(self):
        for line in self.process.stderr:
            with self.news:
                self.lines.append((time.monotonic_ns(), line.rstrip()))
                self.news.notify_all()
        with self.news:
            self.lines.append((time.monotonic_ns(), "(its log has ended)"))
            self.news.notify_all()

    def await_line(self, pattern, since=0, seconds=300):
        """When the first line like this came, of those since."""
        wanted = re.compile(pattern)
        deadline = time.monotonic() + seconds
        with self.news:
            at = 0
            while True:
                for when, line in self.lines[at:]:
                    at += 1
                    if when >= since and wanted.search(line):
                        return when
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise Failed(f"node {self.name} has not said `{pattern}`; last: {self.lines[-1:]}")
                self.news.wait(1)

    def rss_bytes(self):
        try:
            with open(f"/proc/{self.process.pid}/statm", encoding="ascii") as file:
                return int(file.read().split()[1]) * PAGE
        except (OSError, IndexError):
            return 0

    def processor_s(self):
        with open(f"/proc/{self.process.pid}/stat", encoding="ascii") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Nodes:
    """A cluster; the first node coordinates."""

    def __init__(self, bench, folder, count, tls=True, more=()):
        self.penstock, self.folder, self.tls, self.more = bench.penstock, folder, tls, [str(word) for word in more]
        self.nodes = {}
        if tls:
            self.call("tls", "init", "authority")
        for i in range(count):
            self.up(f"n{i + 1}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for node in self.nodes.values():
            node.process.kill()
        for node in self.nodes.values():
            node.process.wait()
            node.process.stdout.close()
            node.reader.join()

    def call(self, *words, fine=True):
        done = subprocess.run([self.penstock, *map(str, words)], cwd=self.folder, stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, check=False)
        if fine and done.returncode != 0:
            raise Failed(f"penstock {' '.join(map(str, words))}: exit status {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    def ask(self, *words, fine=True):
        return self.call(*words, "--node", f"unix:{self.folder}/n1/admin.sock", fine=fine)

    def up(self, name):
        flags = ["--workers", "1", *self.more]
        if self.tls and not (self.folder / "authority" / name).exists():
            self.call("tls", "issue", "authority", name)
        flags += ["--tls", f"authority/{name}"] if self.tls else ["--insecure-loopback"]
        if name != "n1":
            flags += ["--join", self.nodes["n1"].address]
        begun = time.monotonic_ns()
        self.nodes[name] = Node(self, name, flags)
        if name != "n1":
            self.nodes["n1"].await_line(f"node {name} (has joined|is back)", begun)
        return self.nodes[name]

    def processor_s(self):
        return sum(node.processor_s() for node in self.nodes.values())

    def places(self, graph, operator):
        for place in json.loads(self.ask("status", graph, "--json"))["graphs"][0]["places"]:
            if place["operator"] == operator:
                yield place["partition"], place["node"]

    def state(self, graph):
        return json.loads(self.ask("status", graph, "--json"))["graphs"][0]["state"]


class Stamps:
    """What the sink has written down."""

    def __init__(self, path):
        self.path = path

    def head(self):
        with open(self.path, "rb") as file:
            names = ("magic", "base_ns", "base_ms", "rows", "newest", "opened")
            return dict(zip(names, struct.unpack("6Q", file.read(48))))

    def read(self, slots):
        """By slot of due time and class of buckets: its cells; of the first so many slots."""
        with open(self.path, "rb") as file:
            file.seek(HEAD_BYTES)
            cells = array.array("I")
            cells.fromfile(file, min(slots, SLOTS) * CLASSES * CELLS)
        return [[cells[(slot * CLASSES + of) * CELLS:(slot * CLASSES + of + 1) * CELLS] for of in range(CLASSES)]
                for slot in range(min(slots, SLOTS))]


class Series:
    """Histograms of some classes of buckets, by slot."""

    def __init__(self, slots, classes):
        self.slots = []
        for slot in slots:
            cells = [0] * CELLS
            for of in classes:
                cells = [a + b for a, b in zip(cells, slot[of])]
            self.slots.append(cells)

    def sum(self, begin, end):
        cells = [0] * CELLS
        for slot in self.slots[max(begin, 0):end]:
            cells = [a + b for a, b in zip(cells, slot)]
        return cells

    def windows(self, begin, end):
        """p50, p99 and the most of each window of a second that touches begin..end, and lies before the last slot."""
        found = []
        for first in range(max(begin - WINDOW_SLOTS + 1, 0), end):
            cells = self.sum(first, first + WINDOW_SLOTS)
            if sum(cells):
                found.append({"from_ms": first * SLOT_MS, "rows": sum(cells), "p50_ms": percentile_ms(cells, 0.5),
                              "p99_ms": percentile_ms(cells, 0.99), "max_ms": percentile_ms(cells, 1)})
        return found


class Pacer:
    def __init__(self, bench, stamps, output, keys):
        self.process = subprocess.Popen([bench.program("pacer"), stamps, output, str(keys)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True, bufsize=1)
        self.answer()

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise Failed("the pacer has ended")
        return line.split()

    def tell(self, words):
        self.process.stdin.write(f"{words}\n")
        return self.answer()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


class Watch:
    """Resident memory of nodes, every 50 ms."""

    def __init__(self, nodes):
        self.samples, self.over = [], threading.Event()
        self.nodes = nodes
        self.thread = threading.Thread(target=self.run)

    def run(self):
        while not self.over.wait(0.05):
            self.samples.append((time.monotonic_ns(), {name: node.rss_bytes() for name, node in self.nodes.items()}))

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()

    def most(self, begin, end):
        sums = [sum(rss.values()) for when, rss in self.samples if begin <= when <= end]
        return max(sums, default=0)


def stolen():
    """Of all processor time since the start: waiting for the host, and all of it; in ticks."""
    with open("/proc/stat", encoding="ascii") as file:
        ticks = [int(word) for word in file.readline().split()[1:9]]
    return ticks[7], sum(ticks)


class ClusterBenches:
    """Mixed into Bench, which has options, folder, penstock, add(), say(), fresh(), stream()."""

    def program(self, name):
        program = self.penstock.parent / name
        if not program.is_file():
            raise Failed(f"there is no {program}: cmake --build {self.penstock.parent}")
        return program

    # ---- moves ----
    def graph_of_moves(self, folder, stamps, source):
        text = f"""penstock: 1
name: moves
libraries: ["{self.program('measuring.so')}"]
operators:
  - {{id: events, type: csv_source, params: {{file: "{source}", schema: ["at:u32", "key:u32"], time: at}}}}
  - {{id: held, type: held, inputs: [events], key: [key], partitions: 2, buckets: {BUCKETS}, params: {{record: 1024, epoch: 10}}}}
  - {{id: seen, type: seen, inputs: [held], params: {{file: seen.out, stamps: "{stamps}", buckets: {BUCKETS}}}}}
  - {{id: beside, type: held, inputs: [events], key: [key], partitions: 2, buckets: {BUCKETS}, params: {{record: 8, epoch: 10}}}}
  - {{id: seen_beside, type: seen, inputs: [beside], params: {{file: beside.out, stamps: "{stamps}", buckets: {BUCKETS}, class: 2}}}}
"""
        path = folder / "moves.yaml"
        path.write_text(text, encoding="ascii")
        return path

    def sealed_rate(self, cluster):
        """Bytes a second over a connection of two idle processes."""
        folders = [cluster.folder / "authority" / name for name in ("n1", "n2")]
        seconds = "0.5" if self.options.quick else "2"
        return statistics.median(float(subprocess.run([self.program("sealed"), seconds, *folders], check=True, capture_output=True,
                                                      text=True).stdout) for _ in range(3))

    def migration(self):
        """Two operators read one source; a partition of the first, of --state-bytes, moves from the node that reads to the other one, and back, under --load."""
        modes = ["live", "stop-and-copy"] if self.options.mode == "both" else [self.options.mode]
        loads = [self.options.load] if self.options.load is not None else [0, 50, 120]
        for load in loads:
            for mode in modes:
                self.moves(mode, load)

    def moves(self, mode, load):
        folder = self.fresh("moves")
        stamps, events = folder / "stamps", folder / "events"
        keys = max(2 * self.options.state_bytes // 1024, 64)
        os.mkfifo(events)
        more = ["--stop-and-copy"] if mode == "stop-and-copy" else []
        with Nodes(self, folder, 2, True, more) as cluster, Pacer(self, stamps, events, keys) as pacer:
            sealed = self.sealed_rate(cluster)
            cluster.ask("submit", self.graph_of_moves(folder, stamps, events))
            self.say(f"{mode}, load {load} %: {keys} keys of 1 KiB")
            filled = float(pacer.tell(f"fill {keys}")[0])
            seconds = 0.5 if self.options.quick else 4
            full = float(pacer.tell(f"flood {seconds}")[0])
            if load:  # what it takes in either placement: one node has all records in the other
                self.quiet_move(cluster, pacer, "n2")
                full = min(full, float(pacer.tell(f"flood {seconds}")[0]))
                self.quiet_move(cluster, pacer, "n1")
            # Time goes on by events: an idle stream is one of a thousand a second.
            rate = max(int(full * load / 100), 1000)
            self.say(f"{filled:.0f} rows/s into new keys, {full:.0f} into old ones; {rate} rows/s are due")
            what = f"{mode}, load {load} %"
            with Watch(cluster.nodes) as watch:
                base_ns = int(pacer.tell(f"pace {rate}")[0])
                steal = stolen()
                time.sleep(3.5 if self.options.quick else 10)
                spans = []
                for way, to in (("out", "n2"), ("in", "n1")):
                    try:
                        spans.append((way, to, *self.one_move(cluster, to)))
                    except Failed as failure:
                        self.add(f"{what}, {way}: the move", "given up", "", "", str(failure).rsplit("error: ", 1)[-1])
                        break
                    time.sleep(1.2 if self.options.quick else 5)
                steal = [b - a for a, b in zip(steal, stolen())]
                if load > 100:
                    behind = pacer.process.poll()  # what is due is not written for long yet: not waited for
                else:
                    behind = pacer.tell("stop")[1]
            if not spans:
                return
            self.report_moves(what, cluster, watch, stamps, base_ns, spans, sealed, load)
            self.add(f"{what}, rows due", rate, "rows/s", "",
                     f"of {full:.0f} that it can take in either placement; written {behind or '?'} ms late at most; {100 * steal[0] / steal[1]:.1f} % of the processors stolen")

    def quiet_move(self, cluster, pacer, to):
        pacer.tell("pace 1000")
        self.one_move(cluster, to)
        pacer.tell("stop")

    def one_move(self, cluster, to):
        partition = next(number for number, node in cluster.places("moves", "held") if node != to)
        coordinator = cluster.nodes["n1"]
        took, begun = cluster.processor_s(), time.monotonic_ns()
        said = json.loads(cluster.ask("move", f"held/{partition}", to, "--json"))
        ended = time.monotonic_ns()
        took = cluster.processor_s() - took
        copied_ns, at = 0, begun  # a large state goes in several moves
        for _ in range(said["moves"]):
            copy = coordinator.await_line("move [0-9]+: copy", at + 1)
            at = coordinator.await_line("move [0-9]+: listen", copy + 1)
            copied_ns += at - copy
        return begun, ended, copied_ns, said["buckets"], took

    def report_moves(self, what, cluster, watch, stamps, base_ns, spans, sealed, load):
        def slot_of(ns):
            return max(int((ns - base_ns) / 1e6 / SLOT_MS), 0)

        slots = Stamps(stamps).read(slot_of(spans[-1][3]) + 30)
        everything, beside = Series(slots, (0, 1)), Series(slots, (2, 3))
        steady_end = slot_of(spans[0][2])
        begins = 5 if self.options.quick else 20  # processor caches and pools fill
        steady = everything.sum(begins, steady_end)
        steady_p99 = percentile_ms(steady, 0.99)
        worst = max(everything.windows(begins + WINDOW_SLOTS, steady_end - WINDOW_SLOTS), key=lambda w: w["p99_ms"])
        self.add(f"{what}, steady, p99", steady_p99, "ms", "",
                 f"p50 {percentile_ms(steady, 0.5):.2f}, most {percentile_ms(steady, 1):.1f}; worst second {worst['p99_ms']:.2f}")
        detail = {"what": what, "load_percent": load, "sealed_bytes_per_s": sealed, "steady_p99_ms": steady_p99, "moves": [],
                  "windows": everything.windows(0, slot_of(spans[-1][3]) + 30)}
        for way, _, begun, ended, copy_ns, buckets, took in spans:
            moved = buckets * self.options.state_bytes // (BUCKETS // 2)  # of records; keys and pages' heads come on top
            during = everything.windows(slot_of(begun), slot_of(ended) + 1)
            longest = max(during, key=lambda w: w["p99_ms"])
            extra = watch.most(begun, ended) - watch.most(begun - 10**9, begun)
            rate = moved / (copy_ns / 1e9)
            limit = max(2 * steady_p99, 50)
            aim = f"<= {limit:.1f}" if load == 50 else ""
            self.add(f"{what}, {way}: p99 of the worst second", longest["p99_ms"], "ms", aim,
                     f"{longest['p99_ms'] / steady_p99:.1f} times steady; most {max(w['max_ms'] for w in during):.0f} ms")
            self.add(f"{what}, {way}: the copy", rate / MIB, "MiB/s", ">= 70 % of sealed" if load == 0 else "",
                     f"{100 * rate / sealed:.0f} % of {sealed / MIB:.0f} MiB/s sealed; {moved / MIB:.0f} MiB in {copy_ns / 1e9:.2f} s")
            self.add(f"{what}, {way}: the move", (ended - begun) / 1e9, "s", "", f"{buckets} buckets; {took:.2f} s of processors and {extra / MIB:.0f} MiB more resident, both nodes")
            stay, before = percentile_ms(beside.sum(slot_of(begun), slot_of(ended) + 1), 0.99), percentile_ms(beside.sum(begins, steady_end), 0.99)
            self.add(f"{what}, {way}: the operator that stays, p99", stay, "ms", f"<= {max(before * 1.1, before + 5):.1f}" if load == 50 else "",
                     f"{before:.2f} before; worst second {max(w['p99_ms'] for w in beside.windows(slot_of(begun), slot_of(ended) + 1)):.1f}")
            detail["moves"].append({"way": way, "seconds": (ended - begun) / 1e9, "copy_seconds": copy_ns / 1e9, "bytes": moved,
                                    "buckets": buckets, "worst": longest, "more_resident_bytes": extra,
                                    "from_ms": (begun - base_ns) / 1e6, "to_ms": (ended - base_ns) / 1e6,
                                    "steps": [[(when - base_ns) / 1e6, line] for when, line in cluster.nodes["n1"].lines
                                              if begun <= when <= ended]})
        self.details.append(detail)

    # ---- two nodes against one ----
    def nodes(self):
        """Both queries on one node and on two, one worker and one input each; with TLS and without it."""
        count = self.options.rows or (200_000 if self.options.quick else 10_000_000)
        turns = 1 if self.options.quick else self.options.runs
        whole = self.stream("meters.csv", "--rows", str(count), "--seed", "1")
        halves = self.halves(whole)
        kinds = {"1 node": (1, True, [whole]), "2 nodes": (2, True, halves), "2 nodes without TLS": (2, False, halves)}
        folders = {kind: self.fresh(f"cluster{i}") for i, kind in enumerate(kinds)}
        with contextlib.ExitStack() as stack:
            clusters = {kind: stack.enter_context(Nodes(self, folders[kind], size, tls)) for kind, (size, tls, _) in kinds.items()}
            for query, (graph, _, outputs) in self.queries.items():
                wall_s, busy_s = {kind: [] for kind in kinds}, {kind: [] for kind in kinds}
                expected = self.fresh("expected")
                subprocess.run(self.run_command(query, whole, expected, 2), stdin=subprocess.DEVNULL, check=True)
                for turn in range(turns + 1):  # the first one is not counted
                    self.say(f"{query}, turn {turn} of {turns}")
                    for kind, (size, _, inputs) in kinds.items():
                        seconds, busy = self.submitted(clusters[kind], graph, size, inputs)
                        wall_s[kind].append(seconds)
                        busy_s[kind].append(busy)
                        for output in outputs:
                            self.same(expected / output, next(folders[kind].glob(f"n?/results/*/{output}")))
                medians = {kind: statistics.median(values[1:]) for kind, values in wall_s.items()}
                busy = {kind: statistics.median(values[1:]) for kind, values in busy_s.items()}
                for kind, seconds in medians.items():
                    self.add(f"{query}, {kind}", count / seconds / 1e6, "million rows/s", "",
                             f"{seconds:.2f} s; from {min(wall_s[kind][1:]):.2f} to {max(wall_s[kind][1:]):.2f} s; the busiest node had "
                             f"a processor for {busy[kind]:.2f} s")
                apart = self.apart(query, whole, halves, turns)
                self.add(f"{query}, two runs of one half each / one of all", apart, "times", "",
                         "beside each other, no link between: what these two cores allow")
                self.add(f"{query}, 2 nodes / 1 node", medians["1 node"] / medians["2 nodes"], "times", ">= 1.6",
                         f"one worker each, TLS; by the processor time of the busiest node {busy['1 node'] / busy['2 nodes']:.2f}")
                self.add(f"{query}, with TLS / without", medians["2 nodes without TLS"] / medians["2 nodes"], "times", ">= 0.75",
                         f"rows/s; by the processor time of the busiest node {busy['2 nodes without TLS'] / busy['2 nodes']:.2f}")
        for path in (whole, *halves):
            path.unlink()
        if not self.options.quick:  # where rows come from is known after tenths of a second
            self.nodes_long(12 * count)

    def nodes_long(self, count):
        """The same on a stream so long that the start counts for little: as buckets are dealt, and with `submit --by-source`."""
        turns = min(self.options.runs, 3)
        whole = self.stream("long.csv", "--rows", str(count), "--seed", "1")
        halves = self.halves(whole)
        kinds = {"1 node": ([whole], []), "2 nodes": (halves, []), "2 nodes, by source": (halves, ["--by-source"])}
        folders = {kind: self.fresh(f"long{i}") for i, kind in enumerate(kinds)}
        with contextlib.ExitStack() as stack:
            clusters = {kind: stack.enter_context(Nodes(self, folders[kind], len(inputs), True)) for kind, (inputs, _) in kinds.items()}
            for query, (graph, _, outputs) in self.queries.items():
                wall_s, busy_s = {kind: [] for kind in kinds}, {kind: [] for kind in kinds}
                for turn in range(turns):
                    self.say(f"{query}, {count} rows, turn {turn + 1} of {turns}")
                    for kind, (inputs, more) in kinds.items():
                        for path in inputs:  # a machine that gives back what lies idle has forgotten some of it meanwhile
                            self.warm(path)
                        seconds, busy = self.submitted(clusters[kind], graph, len(inputs), inputs, more)
                        wall_s[kind].append(seconds)
                        busy_s[kind].append(busy)
                    for output in outputs:
                        paths = [next(folders[kind].glob(f"n?/results/*/{output}")) for kind in kinds]
                        for path in paths[1:]:
                            self.same(paths[0], path)
                for kind in kinds:
                    self.add(f"{query}, {kind}, long", count / statistics.median(wall_s[kind]) / 1e6, "million rows/s", "",
                             f"{statistics.median(wall_s[kind]):.2f} s; from {min(wall_s[kind]):.2f} to {max(wall_s[kind]):.2f} s; the busiest "
                             f"node had a processor for {statistics.median(busy_s[kind]):.2f} s")
                for kind in list(kinds)[1:]:
                    self.add(f"{query}, {kind} / 1 node, long", statistics.median(wall_s["1 node"]) / statistics.median(wall_s[kind]),
                             "times", ">= 1.6" if kinds[kind][1] else "", "one worker each, TLS")
        for path in (whole, *halves):
            path.unlink()

    def apart(self, query, whole, halves, turns):
        """How much sooner two processes that have nothing to do with each other are through with a half each than one with all of it."""
        alone_s, beside_s = [], []
        for _ in range(turns):
            for inputs, seconds in (([whole], alone_s), (halves, beside_s)):
                outputs = [self.fresh(f"apart{i}") for i in range(len(inputs))]
                os.sync()
                begun = time.perf_counter()
                runs = [subprocess.Popen(self.run_command(query, path, output, 1), stdin=subprocess.DEVNULL)
                        for path, output in zip(inputs, outputs)]
                if any([run.wait() != 0 for run in runs]):
                    raise Failed(f"{query}: a run of its own has failed")
                seconds.append(time.perf_counter() - begun)
        return statistics.median(alone_s) / statistics.median(beside_s)

    def halves(self, whole):
        """The stream, divided by houses into two of as many rows: a house goes where there are fewer yet, the largest first."""
        counts = subprocess.run(["awk", "-F,", "NR > 1 { rows[$NF]++ } END { for (house in rows) print rows[house], house }", whole],
                                stdout=subprocess.PIPE, text=True, check=True).stdout
        rows, houses = [0, 0], [[], []]
        for count, house in sorted((tuple(map(int, line.split())) for line in counts.splitlines()), reverse=True):
            half = rows.index(min(rows))
            rows[half] += count
            houses[half].append(house)
        paths = [self.folder / "half1.csv", self.folder / "half2.csv"]
        for path, mine in zip(paths, houses):
            with open(path, "wb") as file:
                subprocess.run(["awk", "-F,", "-v", f"mine={' '.join(map(str, mine))}",
                                "BEGIN { split(mine, list, \" \"); for (i in list) has[list[i]] } NR == 1 || ($NF in has)", whole],
                               stdout=file, check=True)
            self.warm(path)
        return paths

    def submitted(self, cluster, graph, partitions, inputs, more=()):
        """Seconds from the command to its end, when all results have their names; processor time of the node that took the most of it."""
        for results in cluster.folder.glob("n?/results"):
            shutil.rmtree(results)
        os.sync()
        sources = [word for i, path in enumerate(inputs) for word in ("--source", f"n{i + 1}={path}")]
        before = {name: node.processor_s() for name, node in cluster.nodes.items()}
        begun = time.perf_counter()
        cluster.ask("submit", ROOT / "debs14" / graph, *sources, "--set", f"partitions={partitions}", *BY_HOUSE, *more, "--wait")
        seconds = time.perf_counter() - begun
        return seconds, max(max(node.processor_s() - before[name] for name, node in cluster.nodes.items()), 0.01)

    # ---- a node is killed ----
    def recovery(self):
        """kill -9 of the node that has an operator's state: until results go beyond those that were seen before."""
        for turn in range(1 if self.options.quick else 3):
            self.killed(turn)
            self.replaced(turn)

    def replaced(self, turn):
        """The same of an operator with replicas: how long results stand still at most, in the seconds behind the kill."""
        folder = self.fresh("replaced")
        stamps, events = folder / "stamps", folder / "events.csv"
        quick, state_bytes = self.options.quick, self.options.state_bytes
        keys = max(state_bytes // 1024, 64)
        with Pacer(self, stamps, events, keys) as pacer, Nodes(self, folder, 4, True) as cluster:
            pacer.tell(f"lay {keys}")
            pacer.tell(f"strew {20_000_000 if quick else 300_000_000}")
            cluster.ask("submit", self.graph_of_a_kill(folder, stamps, events, ", replicas: 2"))
            owner = dict(cluster.places("moves", "held"))[0]
            fixed = [node for operator in ("events", "seen", "seen_beside") for _, node in cluster.places("moves", operator)]
            if owner in fixed:
                raise Failed(f"node {owner} has more than replicas have")
            head = Stamps(stamps).head
            self.wait(lambda: head()["newest"] > keys // 1000, "the state to be there")
            time.sleep(0.5 if quick else 2.5)
            if cluster.state("moves") != "running":
                raise Failed("the input has ended before the node was killed")
            cluster.nodes[owner].process.kill()
            killed = changed = time.monotonic_ns()
            newest, longest, now = head()["newest"], 0, killed
            while now < killed + (2 if quick else 5) * 10**9:
                time.sleep(0.002)  # what is looked at is a number in shared memory
                now = time.monotonic_ns()
                if head()["newest"] == newest:
                    continue
                newest, longest, changed = head()["newest"], max(longest, now - changed), now
            longest = max(longest, now - changed)
            took_over = cluster.nodes["n1"].await_line(f"goes on without node {owner}: replicas have what it had", killed)
        self.add(f"kill -9, {state_bytes / MIB:.0f} MiB of state, replicas: 2, results stand still", longest / 1e9, "s", "<= 1",
                 f"turn {turn + 1}: replaced after {(took_over - killed) / 1e9:.2f}")

    def killed(self, turn):
        folder = self.fresh("killed")
        stamps, events = folder / "stamps", folder / "events.csv"
        quick, state_bytes = self.options.quick, self.options.state_bytes
        keys = max(state_bytes // 1024, 64)
        self.call_plain("key", "init", folder / "key")
        more = ["--checkpoints", folder / "shared", "--key", folder / "key", "--every-seconds", "1" if quick else "5"]
        with Pacer(self, stamps, events, keys) as pacer, Nodes(self, folder, 2, True, more) as cluster:
            pacer.tell(f"lay {keys}")
            pacer.tell(f"strew {20_000_000 if quick else 300_000_000}")
            path = self.graph_of_a_kill(folder, stamps, events)
            coordinator = cluster.nodes["n1"]
            begun = time.monotonic_ns()
            cluster.ask("submit", path)
            if ("n2" not in [node for _, node in cluster.places("moves", "held")]):
                raise Failed("the state is not on the node that is to be killed")
            filled_ms = keys // 1000
            head = Stamps(stamps).head
            self.wait(lambda: head()["newest"] > filled_ms, "the state to be there")
            full = time.monotonic_ns()
            complete = coordinator.await_line("checkpoint [0-9a-f]+ is complete", full)
            if not quick:
                complete = coordinator.await_line("checkpoint [0-9a-f]+ is complete", complete + 1)
                time.sleep(2.5)  # half of the way to the next one
            if cluster.state("moves") != "running":
                raise Failed("the input has ended before the node was killed")
            before, killed = head(), time.monotonic_ns()
            cluster.nodes["n2"].process.kill()
            self.wait(lambda: head()["opened"] > before["opened"], "the graph to begin again")
            seen = head()["newest"]
            begins = time.monotonic_ns()
            self.wait(lambda: head()["newest"] > seen, "results")
            flows = time.monotonic_ns()
            dead = coordinator.await_line("node n2 is taken for dead", killed)
        self.add(f"kill -9, {state_bytes / MIB:.0f} MiB of state, results again after", (flows - killed) / 1e9, "s", "<= 10",
                 f"turn {turn + 1}: dead after {(dead - killed) / 1e9:.2f}, open again after {(begins - killed) / 1e9:.2f}; last checkpoint "
                 f"{(killed - complete) / 1e9:.2f} s before; stream began {(killed - begun) / 1e9:.0f} s before")

    def wait(self, condition, what, seconds=300):
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise Failed(f"waited in vain for {what}")
            time.sleep(0.002)  # what is waited for is a number in shared memory

    def call_plain(self, *words):
        subprocess.run([self.penstock, *map(str, words), "--quiet"], check=True, capture_output=True)

    def graph_of_a_kill(self, folder, stamps, events, more=""):
        """Partitions are dealt one by one: the first operator's to n1, the one with the state to n2."""
        path = folder / "moves.yaml"
        path.write_text(f"""penstock: 1
name: moves
libraries: ["{self.program('measuring.so')}"]
operators:
  - {{id: events, type: csv_source, params: {{file: "{events}", schema: ["at:u32", "key:u32"], time: at}}}}
  - {{id: beside, type: held, inputs: [events], key: [key], buckets: {BUCKETS}{more}, params: {{record: 8, epoch: 10}}}}
  - {{id: held, type: held, inputs: [events], key: [key], buckets: {BUCKETS}{more}, params: {{record: 1024, epoch: 10}}}}
  - {{id: seen_beside, type: seen, inputs: [beside], params: {{file: beside.out, stamps: "{stamps}", buckets: {BUCKETS}, class: 2}}}}
  - {{id: seen, type: seen, inputs: [held], params: {{file: seen.out, stamps: "{stamps}", buckets: {BUCKETS}}}}}
""", encoding="ascii")
        return path
