"""The benches of enclaves: tee, border, epc. Part of tools/bench/bench, which says what each is."""
import json
import os
import statistics
import subprocess
import sys
import time

sys.dont_write_bytecode = True
from cluster import Failed  # noqa: E402

MIB = 1 << 20
SEALED = "process, sealed"
LONGER = 4  # times as many rows
INSIDE = ["--enclave", "all"]
BACKENDS = {"native": [], "process": INSIDE}
# With all of its memory found before the first row, as SGX1 adds an enclave's pages before it starts; the time for it is in "loading".
PREHEATED = {"process, preheated": [*INSIDE, "--preheat"]}
# Workers, and whether all that runs is kept to one core: with one worker a run without enclaves has one core and a run with them
# has two, for each enclave is a process of its own. With as many busy cores for both a figure says what enclaves cost.
SETTINGS = {"1 worker": (1, False), "1 worker, all on one core": (1, True), "2 workers": (2, False)}


class SealedQuery:
    """A query on sealed rows: keys, a policy, who keeps the user's key; what the user's side does before the run and behind it."""

    def __init__(self, bench, query):
        self.bench, (file, _, self.outputs) = bench, bench.queries[query]
        self.graph, self.folder = bench.graphs() / file, bench.folder
        self.user, self.node = self.folder / "user.key", self.folder / "node.key"
        self.stream, self.socket = self.folder / "meters.sealed", self.folder / "keys.sock"

    def __enter__(self):
        for key in (self.user, self.node):
            if not key.exists():
                self.done([self.bench.penstock, "key", "init", key])
        policy = self.folder / "policy.yaml"
        policy.write_bytes(self.done([self.bench.penstock, "measure", self.graph, *INSIDE, "--node-key", self.node]))
        self.keeper = subprocess.Popen([self.bench.penstock, "key", "serve", self.user, "--policy", policy, "--allow-software",
                                        "--listen", f"unix:{self.socket}"], stderr=subprocess.PIPE)
        self.keeper.stderr.readline()  # that it listens
        return self

    def __exit__(self, *_):
        self.keeper.terminate()
        self.keeper.communicate()
        for path in (self.socket, self.stream):
            path.unlink(missing_ok=True)

    def done(self, command):
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
        if done.returncode != 0:
            raise Failed(f"{' '.join(map(str, command))}: {done.stderr.decode()[-500:]}")
        return done.stdout

    def timed(self, count, commands):
        """What it takes of whole processes."""
        before, begun = os.times(), time.perf_counter()
        for command in commands:
            self.done(command)
        wall, after = time.perf_counter() - begun, os.times()
        cpu = after.children_user + after.children_system - before.children_user - before.children_system
        return {"rows_per_second": count / wall, "wall_seconds": wall, "cpu_seconds": cpu}

    def seal_command(self, source, output, workers):
        return [self.bench.penstock, "seal", self.graph, *INSIDE, "--key", self.user, "-i", source, "-o", output,
                "--workers", str(workers), "--quiet"]

    def seal(self, count, source, workers):
        return self.timed(count, [self.seal_command(source, self.stream, workers)])

    def open(self, count, folder):
        return self.timed(count, [[self.bench.penstock, "open", self.graph, folder / f"{output}.sealed", *INSIDE, "--key", self.user,
                                   "--sink", output, "-o", folder / output] for output in self.outputs])

    def flags(self):
        """Of the run that carries what it cannot open."""
        return [*INSIDE, "--sealed", "--keys", f"unix:{self.socket}", "--node-key", str(self.node)]


class TeeBenches:
    def tee(self):
        """Both queries, native against each backend, with rows in the clear and sealed from end to end."""
        quick = self.options.quick
        count = self.options.rows or (200_000 if quick else 20_000_000)
        source = self.stream("meters.csv", "--rows", str(count), "--seed", "1")
        longer = self.stream("longer.csv", "--rows", str(LONGER * count), "--seed", "1")
        for query in self.queries:
            with SealedQuery(self, query) as kept:
                backends = {**BACKENDS, **PREHEATED, SEALED: kept.flags()}
                for setting, (workers, one_core) in list(SETTINGS.items())[: 1 if quick else None]:
                    self.tee_setting(query, setting, workers, one_core, source, count, backends, kept)
                self.tee_longer(query, source, longer, count, {**BACKENDS, SEALED: kept.flags()}, kept)
                latency = self.tee_latency(query, kept)
            for backend, seen in latency.items():
                for name in ("p50", "p99"):
                    self.add(f"{query}, {backend}, {name}", seen[f"{name}_us"], "us", "",
                             f"at {seen['rows_per_second']:.0f} rows/s, 1 worker, {seen['ticks']} ticks"
                             + (", sealing them included" if backend == SEALED else ""))
            self.details.append({"query": query, "latency": latency})
        source.unlink()
        longer.unlink()

    def sealed(self):
        """The same of rows that are sealed alone, with what the user's side takes of the whole."""
        count = self.options.rows or (200_000 if self.options.quick else 20_000_000)
        source = self.stream("meters.csv", "--rows", str(count), "--seed", "1")
        for query in self.queries:
            with SealedQuery(self, query) as kept:
                medians = self.tee_setting(query, "2 workers", 2, False, source, count, {"native": [], SEALED: kept.flags()}, kept)
            chain = sum(medians[name]["wall_seconds"] for name in ("seal", SEALED, "open"))
            self.add(f"{query}, 2 workers, all three here, one after the other / native", medians["native"]["wall_seconds"] / chain,
                     "times", "", "whole processes")
        source.unlink()

    def tee_setting(self, query, setting, workers, one_core, source, count, backends, kept):
        """Turns of all backends; medians of each one's figures, of sealing and of opening, too."""
        runs = {name: [] for name in ([*backends, "seal", "open"] if SEALED in backends else backends)}
        same = {backend: True for backend in backends}
        quick = self.options.quick
        turns = 0 if quick else self.options.runs
        for turn in range(turns + 1):  # the first one is not counted, but where there is no other
            self.say(f"{query}, {setting}, turn {turn} of {turns}")
            for backend, more in backends.items():
                if backend == SEALED:
                    runs["seal"].append(kept.seal(count, source, workers))
                folder = self.fresh(backend)
                runs[backend].append(self.tee_run(query, kept.stream if backend == SEALED else source, folder, workers, more, one_core,
                                                  count))
                if backend == SEALED:
                    runs["open"].append(kept.open(count, folder))
                for output in self.queries[query][2]:
                    same[backend] &= subprocess.run(["cmp", "-s", self.folder / "native" / output, folder / output],
                                                    check=False).returncode == 0
        runs = runs if quick else {name: seen[1:] for name, seen in runs.items()}
        medians = {name: {figure: statistics.median(run[figure] for run in seen) for figure in seen[0]} for name, seen in runs.items()}
        for backend in backends:
            medians[backend]["identical"] = same[backend]
        self.tee_table(query, setting, backends, runs, medians)
        self.details.append({"query": query, "setting": setting, "workers": workers, "one_core": one_core, "rows": count,
                             "backends": {name: medians[name] for name in backends},
                             "users_side": {name: medians[name] for name in medians if name not in backends}})
        if not all(same.values()):
            raise Failed(f"{query}, {setting}: results in enclaves are not those without: no figure counts")
        return medians

    def tee_table(self, query, setting, backends, runs, medians):
        for name, one in medians.items():
            where = f"loading {1000 * one['loading_seconds']:.0f} ms; {one['peak_memory_bytes'] / MIB:.0f} MiB" if name in backends \
                else "whole processes, on the user's side"
            self.add(f"{query}, {setting}, {name}", one["rows_per_second"] / 1e6, "million rows/s", "",
                     f"{one['cpu_seconds']:.2f} s of processors; {where}")
        for backend in list(backends)[1:]:
            for name, figure in (("rows/s", "rows_per_second"), ("rows a second of processors", "rows_per_cpu_second")):
                aim = ">= 0.7" if backend == SEALED else ">= 0.85"
                self.add(f"{query}, {setting}, {backend} / native, {name}",
                         statistics.median(a[figure] / b[figure] for a, b in zip(runs[backend], runs["native"])), "times",
                         aim if name == "rows/s" else "", "median of the turns' ratios")
        for backend in list(backends)[1:]:
            self.add(f"{query}, {setting}, {backend}, results", "identical" if medians[backend]["identical"] else "DIFFERENT", "",
                     "identical", "once they are opened" if backend == SEALED else "")

    def tee_longer(self, query, source, longer, count, backends, kept):
        """What a stream costs that goes on: a longer one's rows behind the first `count`, so that nothing of a start is in it."""
        turns, workers, seen = 1 if self.options.quick else (self.options.runs + 1) // 2, 2, {backend: [] for backend in backends}
        for turn in range(turns):
            self.say(f"{query}, a longer stream, turn {turn + 1} of {turns}")
            for backend, more in backends.items():
                both = []
                for rows, stream in ((count, source), (LONGER * count, longer)):
                    if backend == SEALED:
                        kept.seal(rows, stream, workers)
                    both.append(self.tee_run(query, kept.stream if backend == SEALED else stream, self.fresh("seen"), workers, more, False,
                                             rows))
                # Of streams as short as a test nothing is to be learned, but that there are figures.
                seen[backend].append({name: (LONGER - 1) * count / max(both[1][spent] - both[0][spent], 1e-6) for name, spent in
                                      (("rows_per_second", "seconds"), ("rows_per_cpu_second", "cpu_seconds"))})
        setting = f"{query}, {workers} workers, behind the first {count / 1e6:g} million rows"
        for backend in list(backends)[1:]:
            for name, figure in (("rows/s", "rows_per_second"), ("rows a second of processors", "rows_per_cpu_second")):
                self.add(f"{setting}, {backend} / native, {name}",
                         statistics.median(a[figure] / b[figure] for a, b in zip(seen[backend], seen["native"])), "times", "",
                         f"of {LONGER * count / 1e6:g} million")
        self.details.append({"query": query, "rows_first": count, "rows": LONGER * count, "behind": {
            backend: {figure: statistics.median(run[figure] for run in runs) for figure in runs[0]} for backend, runs in seen.items()}})

    def tee_command(self, query, source, folder, workers, more):
        command = [*self.run_command(query, source, folder, workers), *more]
        if "--sealed" in more:  # its host has one thread, whatever is asked for
            at = command.index("--workers")
            del command[at:at + 2]
        return command

    def tee_run(self, query, source, folder, workers, more, one_core=False, count=None):
        """One run: figures that programs measured themselves, and what the system has counted of all its processes.

        count: rows of the source; of a sealed stream the run knows those alone that were sealed."""
        command = [*self.tee_command(query, source, folder, workers, more), "--json"]
        core = sorted(os.sched_getaffinity(0))[-1:]
        before, begun = os.times(), time.perf_counter()
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False,
                              preexec_fn=(lambda: os.sched_setaffinity(0, core)) if one_core else None)
        wall, after = time.perf_counter() - begun, os.times()
        if done.returncode != 0:
            raise Failed(f"{' '.join(map(str, command))}: {done.stderr.decode()[-500:]}")
        report = json.loads(done.stdout)
        cpu = after.children_user + after.children_system - before.children_user - before.children_system
        enclaves, rows = report["enclaves"], count or report["rows"]
        return {"rows_per_second": rows / report["seconds"], "rows_per_cpu_second": rows / cpu,
                "cpu_seconds": cpu, "seconds": report["seconds"], "wall_seconds": wall, "loading_seconds": wall - report["seconds"],
                "peak_memory_bytes": report["peak_memory_bytes"] + sum(e["workers"] * e["epc_touched_max"] for e in enclaves),
                "misses": sum(e["misses"] for e in enclaves), "messages": sum(e["messages"] for e in enclaves),
                "leaves": sum(e["leaves"] for e in enclaves)}

    def tee_latency(self, query, kept):
        """Of rows that are sealed while they come, too: from the row to what a host has of its result, which nobody there can open."""
        seen = {}
        for backend, more in {**BACKENDS, SEALED: kept.flags()}.items():
            seen[backend] = self.tee_paced(query, backend, more, kept if backend == SEALED else None)
            if not seen[backend]["complete"] or not seen[backend]["ticks"]:
                raise Failed(f"{query}, {backend}, left no results to time")
        return seen

    def tee_paced(self, query, backend, more, kept):
        rate, seconds = (200_000, 1) if self.options.quick else (self.options.rate, self.options.seconds)
        skip_ms = 50 if self.options.quick else self.options.skip_ms
        word = {"Query 1": "load", "Query 2": "outliers"}[query]
        cores = sorted(os.sched_getaffinity(0))
        self.say(f"{query}, {backend}, at {rate} rows/s for {seconds} s")
        output, report = self.fresh("seen"), self.folder / "latency.json"
        pipe = [subprocess.Popen([self.penstock, "gen", "--rows", str(rate * seconds), "--rate", str(rate), "--seed", "1", "--quiet"],
                                 stdout=subprocess.PIPE)]

        def behind(command):
            pipe.append(subprocess.Popen(command, stdin=pipe[-1].stdout, stdout=subprocess.PIPE))
            pipe[-2].stdout.close()

        behind([self.program("latency"), word, output, report, str(skip_ms), *(["sealed"] if kept else [])])
        if kept:
            behind(kept.seal_command("-", "-", 1))
        run = subprocess.run(self.tee_command(query, "-", output, 1, more), stdin=pipe[-1].stdout, capture_output=True,
                             check=False, preexec_fn=lambda: os.sched_setaffinity(0, cores))
        pipe[-1].stdout.close()
        if kept and run.returncode == 0:
            kept.open(rate * seconds, output)  # which ticks there are
        if any(process.wait() != 0 for process in pipe) or run.returncode != 0:
            raise Failed(f"the paced stream broke off: {run.stderr.decode()[-300:]}")
        return json.loads(report.read_text())

    def border(self):
        """An empty operator, through the border and back."""
        turns, rates, trips, tails, awake, starts = 1 if self.options.quick else self.options.runs, [], [], [], [], []
        for turn in range(turns):
            self.say(f"border, turn {turn + 1} of {turns}")
            done = subprocess.run([self.program("border"), "0.2" if self.options.quick else "3"], capture_output=True, check=False)
            if done.returncode != 0:
                raise Failed(done.stderr.decode()[-300:])
            seen = json.loads(done.stdout)
            rates.append(seen["rows_per_second"] / 1e6)
            trips.append(seen["round_trip_ns_p50"] / 1e3)
            tails.append(seen["round_trip_ns_p99"] / 1e3)
            awake.append(100 * seen["round_trips_awake"] / seen["round_trips"])
            starts.append(seen["start_ms"])
        self.add("through and back", statistics.median(rates), "million rows/s", ">= 10", f"from {min(rates):.1f} to {max(rates):.1f}")
        self.add("round trip of a frame, p50", statistics.median(trips), "us", "< 5",
                 f"from {min(trips):.1f} to {max(trips):.1f}; those in which neither side slept, {min(awake):.0f} to {max(awake):.0f} %")
        self.add("round trip of a frame, p99", statistics.median(tails), "us", "", f"from {min(tails):.1f} to {max(tails):.1f}")
        self.add("start of a worker", statistics.median(starts), "ms", "", "an EPC of 16 MiB")

    def epc(self):
        """Query 2's whole window, several times the EPC, by each policy of the pager."""
        quick = self.options.quick
        hours, epc = ("20m", "8MiB") if quick else ("26h", "93.5MiB")
        source = self.stream("day.csv", "--duration", hours, "--seed", "1")
        policies = ("event-time", "clock", "lru", "random")
        runs = {name: [] for name in ("native", *policies)}
        turns = 1 if quick else self.options.runs
        for turn in range(turns):
            for name, seen in runs.items():
                self.say(f"an EPC of {epc}, {name}, turn {turn + 1} of {turns}")
                more = [] if name == "native" else [*INSIDE, "--epc", epc, "--evict", name]
                folder = self.fresh("expected" if name == "native" else "seen")
                seen.append(self.tee_run("Query 2", source, folder, 1, more))
                if name != "native":
                    self.same(self.folder / "expected" / "outliers.csv", folder / "outliers.csv")
        for name, seen in runs.items():
            rate = statistics.median(run["rows_per_second"] for run in seen)
            ratio = statistics.median(a["rows_per_second"] / b["rows_per_second"] for a, b in zip(seen, runs["native"]))
            cpu = statistics.median(a["rows_per_cpu_second"] / b["rows_per_cpu_second"] for a, b in zip(seen, runs["native"]))
            self.add(f"{hours}, {name}", rate / 1e6, "million rows/s", ">= 0.5 of native" if name == "event-time" else "",
                     "" if name == "native" else f"{ratio:.2f} of native, {cpu:.2f} a second of processors; "
                     f"{statistics.median(run['misses'] for run in seen):.0f} page-ins")
        source.unlink()
