#!/usr/bin/env python3
"""Kills runs at random instants and has them go on: the outputs must be those of a run that was never killed.

usage: crash.py PENSTOCK KILLS [SEED]

Both queries in turn, on a stream with late rows, malformed lines and dead letters; each start with other numbers of workers and
partitions and another distance between checkpoints. Half the starts are within a budget of state that is too small for it, so
that a run killed within one goes on within another, or none, and the other way about; nothing may be left in the spill folder.
Each third round runs all operators in enclaves: what goes on there is sealed by workers that are dead and opened by others.
Half the rounds read the stream from gzip. Ends with "N passed, M failed", where one that passed is one kill -9 that was survived.
"""
import filecmp
import gzip
import json
import os
import pathlib
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
QUERIES = {"load": [], "outliers": ["--set", "windows=100,3600"]}  # readings leave a window, too
PARTITIONS = [1, 2, 5, 16]
STREAM = ["gen", "--rows", "600000", "--late", "500", "--malformed", "200", "--seed", "11", "--quiet"]
SECONDS_MAX = 120
KINDS = ["plain", "within", "inside"]  # without a budget of state, within one, in enclaves
INSIDE = ["--enclave", "all", "--epc", "8MiB"]
ATTEMPTS_MAX = 6  # that may be killed, of one round; the next is left alone


class Crash:
    def __init__(self, penstock, kills, seed, folder):
        self.penstock, self.kills_wanted, self.folder = penstock, kills, folder
        self.random = random.Random(seed)
        self.kills = self.resumed = self.failed = 0
        self.killed = dict.fromkeys(KINDS, 0)
        self.may_inside = (penstock.parent / "penstock-enclave").exists()  # sanitizers' builds have none
        self.inputs = [folder / "meters.csv", folder / "meters.csv.gz"]
        self.key = folder / "key"
        subprocess.run([penstock, *STREAM, "--output", self.inputs[0]], check=True)
        with open(self.inputs[0], "rb") as plain, gzip.open(self.inputs[1], "wb", 1) as packed:
            shutil.copyfileobj(plain, packed)
        subprocess.run([penstock, "key", "init", self.key, "--quiet"], check=True)
        self.spill = folder / "spill"
        self.spill.mkdir()
        self.begins = {(query, partitions): self.begin(query, partitions) for query in QUERIES for partitions in PARTITIONS}
        self.seconds = {(query, kind): self.undisturbed(query, kind) for query in QUERIES for kind in KINDS
                        if kind != "inside" or self.may_inside}

    def command(self, query, source, output, *more):
        return [self.penstock, "run", ROOT / "debs14" / f"{query}.yaml", "--input", source, "--output", output,
                "--dead-letter", output / "dead.csv", "--quiet", *QUERIES[query], *more]

    def begin(self, query, partitions):
        """The least budget, in KiB, that a run can begin with."""
        done = subprocess.run(self.command(query, self.inputs[0], self.folder / "none", "--set", f"partitions={partitions}",
                                           "--state-budget", "1KiB"), capture_output=True, check=False, timeout=SECONDS_MAX)
        return int(re.search(rb"--state-budget (\d+)KiB", done.stderr)[1])

    def budget(self, query, partitions, times=1.0):
        return ["--spill", self.spill, "--state-budget", f"{int(times * self.begins[query, partitions])}KiB"]

    def undisturbed(self, query, kind):
        """Its seconds. The plain one says what the others are to write; within a budget its own must be that, and pages fetched."""
        shutil.rmtree(self.folder / "seen", ignore_errors=True)
        begun = time.monotonic()
        within = kind == "within"
        name = query if kind == "plain" else "seen"
        more = ["--set", "partitions=2", *self.budget(query, 2)] if within else INSIDE if kind == "inside" else []
        done = subprocess.run(self.command(query, self.inputs[0], self.folder / name, *more, "--json"), check=True,
                              stdout=subprocess.PIPE, timeout=SECONDS_MAX)
        seconds = time.monotonic() - begun
        if within and (self.difference(query) or sum(paging["misses"] for paging in json.loads(done.stdout)["paging"]) < 1000):
            sys.exit(f"{query} within a budget: {self.difference(query) or 'few pages are fetched: nothing would be shown'}")
        return seconds

    def start(self, query, source, kind):
        draw = self.random.choice
        partitions = draw(PARTITIONS)
        more = ["--set", f"partitions={partitions}", "--workers", str(draw([1, 2, 3]))]
        if kind == "within":
            more += [*self.budget(query, partitions, draw([1.0, 1.0, 1.3])), "--evict", draw(["event-time", "clock", "random"])]
        if kind == "inside":
            more += INSIDE
        return subprocess.Popen(
            self.command(query, source, self.folder / "seen", "--checkpoint", self.folder / "points", "--key", self.key,
                         "--resume", "--every-rows", str(draw([5000, 20000, 100000])), *more), stderr=subprocess.PIPE)

    def kind(self):
        """So that half of the kills outside of enclaves are within a budget, two in a row sometimes."""
        plain, within = self.killed["plain"], self.killed["within"]
        return "within" if (self.random.random() < 0.5 if within == plain else within < plain) else "plain"

    def round(self, query, inside):
        for name in ("seen", "points"):
            shutil.rmtree(self.folder / name, ignore_errors=True)
        kills, source = 0, self.random.choice(self.inputs)
        for attempt in range(ATTEMPTS_MAX + 1):
            left = min(ATTEMPTS_MAX, self.kills_wanted - self.kills)
            kind = "inside" if inside else self.kind()
            patience = self.seconds[query, kind] * self.random.uniform(0.05, 1.6) if attempt < left else SECONDS_MAX
            run = self.start(query, source, kind)
            try:
                error = run.communicate(timeout=patience)[1]
            except subprocess.TimeoutExpired:
                run.kill()
                run.communicate()
                if patience == SECONDS_MAX:
                    return kills, "it does not end"
                kills += 1
                self.killed[kind] += 1
                self.resumed += any((self.folder / "points").glob("*.manifest"))
                if any(self.spill.iterdir()):
                    return kills, f"something is left in {self.spill}: {sorted(os.listdir(self.spill))}"
                continue
            if run.returncode != 0:
                return kills, f"exit status {run.returncode}: {error.decode()}"
            return kills, self.difference(query)
        return kills, "unreachable"

    def difference(self, query):
        wanted, seen = self.folder / query, self.folder / "seen"
        names = sorted(os.listdir(wanted))
        if sorted(os.listdir(seen)) != names:
            return f"there are {sorted(os.listdir(seen))}, there should be {names}"
        unequal = [name for name in names if not filecmp.cmp(wanted / name, seen / name, shallow=False)]
        return f"{unequal} differ" if unequal else None

    def run(self):
        rounds = 0
        while self.kills < self.kills_wanted:
            query = list(QUERIES)[rounds % len(QUERIES)]
            rounds += 1
            kills, why = self.round(query, self.may_inside and rounds % 3 == 2)
            self.kills += kills
            if why is not None:
                self.failed += 1
                print(f"FAILED: round {rounds}, {query}, after {kills} kills: {why}")
                if self.failed > 5:
                    break
        print(f"{self.kills} kills in {rounds} rounds, {self.resumed} of them with a checkpoint to go on from, {self.killed['within']} "
              f"within a budget, {self.killed['inside']} in enclaves")
        if self.resumed * 4 < self.kills:
            print("FAILED: most were killed before their first checkpoint: nothing is shown")
            self.failed += 1
        print(f"{self.kills - self.failed} passed, {self.failed} failed")
        return 1 if self.failed else 0


def main():
    penstock, kills = pathlib.Path(sys.argv[1]).resolve(), int(sys.argv[2])
    with tempfile.TemporaryDirectory(prefix="penstock-crash-") as folder:
        return Crash(penstock, kills, int(sys.argv[3]) if len(sys.argv) > 3 else 1, pathlib.Path(folder)).run()


if __name__ == "__main__":
    sys.exit(main())
