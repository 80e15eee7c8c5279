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
INSIDE = ["--enclave", "all"]
BACKENDS = {"native": [], "process": INSIDE}
# With all of its memory found before the first row, as SGX1 adds an enclave's pages before it starts; the time for it is in "loading".
PREHEATED = {"process, preheated": [*INSIDE, "--preheat"]}
# Workers, and whether all that runs is kept to one core: with one worker a run without enclaves has one core and a run with them
# has two, for each enclave is a process of its own. With as many busy cores for both a figure says what enclaves cost.
SETTINGS = {"1 worker": (1, False), "1 worker, all on one core": (1, True), "2 workers": (2, False)}


class TeeBenches:
    def tee(self):
        """Both queries, native against each backend: rows/s, latency, memory, loading, whether the bytes are the same."""
        quick = self.options.quick
        count = self.options.rows or (200_000 if quick else 20_000_000)
        source = self.stream("meters.csv", "--rows", str(count), "--seed", "1")
        for query in self.queries:
            for setting, (workers, one_core) in list(SETTINGS.items())[: 1 if quick else None]:
                self.tee_setting(query, setting, workers, one_core, source)
            latency = self.tee_latency(query)
            for backend, seen in latency.items():
                for name in ("p50", "p99"):
                    self.add(f"{query}, {backend}, {name}", seen[f"{name}_us"], "us", "",
                             f"at {seen['rows_per_second']:.0f} rows/s, 1 worker, {seen['ticks']} ticks")
            self.details.append({"query": query, "latency": latency})
        source.unlink()

    def tee_setting(self, query, setting, workers, one_core, source):
        backends = {**BACKENDS, **PREHEATED}
        runs = {backend: [] for backend in backends}
        quick = self.options.quick
        turns = 0 if quick else self.options.runs
        same = True
        for turn in range(turns + 1):  # the first one is not counted, but where there is no other
            self.say(f"{query}, {setting}, turn {turn} of {turns}")
            for backend, more in backends.items():
                folder = self.fresh(backend)
                runs[backend].append(self.tee_run(query, source, folder, workers, more, one_core))
                for output in self.queries[query][2]:
                    same &= subprocess.run(["cmp", "-s", self.folder / "native" / output, folder / output], check=False).returncode == 0
        medians = {}
        runs = runs if quick else {backend: seen[1:] for backend, seen in runs.items()}
        for backend, seen in runs.items():
            medians[backend] = {name: statistics.median(run[name] for run in seen) for name in seen[0]}
            medians[backend]["identical"] = same
            one = medians[backend]
            self.add(f"{query}, {setting}, {backend}", one["rows_per_second"] / 1e6, "million rows/s", "",
                     f"{one['cpu_seconds']:.2f} s of processors; loading {1000 * one['loading_seconds']:.0f} ms; "
                     f"{one['peak_memory_bytes'] / MIB:.0f} MiB")
        for backend in list(backends)[1:]:
            for name, figure in (("rows/s", "rows_per_second"), ("rows a second of processors", "rows_per_cpu_second")):
                self.add(f"{query}, {setting}, {backend} / native, {name}",
                         statistics.median(a[figure] / b[figure] for a, b in zip(runs[backend], runs["native"])), "times",
                         ">= 0.85" if name == "rows/s" else "", "median of the turns' ratios")
        self.add(f"{query}, {setting}, results", "identical" if same else "DIFFERENT", "", "identical")
        if not same:
            raise Failed(f"{query}, {setting}: results in enclaves are not those without: no figure counts")
        self.details.append({"query": query, "setting": setting, "workers": workers, "one_core": one_core, "backends": medians})

    def tee_run(self, query, source, folder, workers, more, one_core=False):
        """One run: figures that programs measured themselves, and what the system has counted of all its processes."""
        command = [*self.run_command(query, source, folder, workers), *more, "--json"]
        core = sorted(os.sched_getaffinity(0))[-1:]
        before, begun = os.times(), time.perf_counter()
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False,
                              preexec_fn=(lambda: os.sched_setaffinity(0, core)) if one_core else None)
        wall, after = time.perf_counter() - begun, os.times()
        if done.returncode != 0:
            raise Failed(f"{' '.join(map(str, command))}: {done.stderr.decode()[-500:]}")
        report = json.loads(done.stdout)
        cpu = after.children_user + after.children_system - before.children_user - before.children_system
        enclaves = report["enclaves"]
        return {"rows_per_second": report["rows"] / report["seconds"], "rows_per_cpu_second": report["rows"] / cpu,
                "cpu_seconds": cpu, "wall_seconds": wall, "loading_seconds": wall - report["seconds"],
                "peak_memory_bytes": report["peak_memory_bytes"] + sum(e["workers"] * e["epc_used_max"] for e in enclaves),
                "misses": sum(e["misses"] for e in enclaves), "messages": sum(e["messages"] for e in enclaves),
                "leaves": sum(e["leaves"] for e in enclaves)}

    def tee_latency(self, query):
        seen = {}
        rate, seconds = (200_000, 1) if self.options.quick else (self.options.rate, self.options.seconds)
        word = {"Query 1": "load", "Query 2": "outliers"}[query]
        cores = sorted(os.sched_getaffinity(0))
        for backend, more in BACKENDS.items():
            self.say(f"{query}, {backend}, at {rate} rows/s for {seconds} s")
            output, report = self.fresh("seen"), self.folder / "latency.json"
            generator = subprocess.Popen([self.penstock, "gen", "--rows", str(rate * seconds), "--rate", str(rate), "--seed", "1",
                                          "--quiet"], stdout=subprocess.PIPE)
            skip_ms = 50 if self.options.quick else self.options.skip_ms
            between = subprocess.Popen([self.program("latency"), word, output, report, str(skip_ms)],
                                       stdin=generator.stdout, stdout=subprocess.PIPE)
            generator.stdout.close()
            run = subprocess.run([*self.run_command(query, "-", output, 1), *more], stdin=between.stdout, capture_output=True,
                                 check=False, preexec_fn=lambda: os.sched_setaffinity(0, cores))
            between.stdout.close()
            if between.wait() != 0 or generator.wait() != 0 or run.returncode != 0:
                raise Failed(f"the paced stream broke off: {run.stderr.decode()[-300:]}")
            seen[backend] = json.loads(report.read_text())
            if not seen[backend]["complete"] or not seen[backend]["ticks"]:
                raise Failed(f"{query} left no results to time")
        return seen

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
