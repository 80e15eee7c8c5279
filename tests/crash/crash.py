#!/usr/bin/env python3
"""Kills runs at random instants and has them go on: the outputs must be those of a run that was never killed.

usage: crash.py PENSTOCK KILLS [SEED]

Both queries in turn, on a stream with late rows, malformed lines and dead letters; each start with other numbers of workers and
partitions and another distance between checkpoints. Half the rounds read the stream from gzip. Ends with "N passed, M failed",
where one that passed is one kill -9 that was survived.
"""
import filecmp
import gzip
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
QUERIES = ["load", "outliers"]
STREAM = ["gen", "--rows", "600000", "--late", "500", "--malformed", "200", "--seed", "11", "--quiet"]
SECONDS_MAX = 120
ATTEMPTS_MAX = 6  # that may be killed, of one round; the next is left alone


class Crash:
    def __init__(self, penstock, kills, seed, folder):
        self.penstock, self.kills_wanted, self.folder = penstock, kills, folder
        self.random = random.Random(seed)
        self.kills = self.resumed = self.failed = 0
        self.inputs = [folder / "meters.csv", folder / "meters.csv.gz"]
        self.key = folder / "key"
        subprocess.run([penstock, *STREAM, "--output", self.inputs[0]], check=True)
        with open(self.inputs[0], "rb") as plain, gzip.open(self.inputs[1], "wb", 1) as packed:
            shutil.copyfileobj(plain, packed)
        subprocess.run([penstock, "key", "init", self.key, "--quiet"], check=True)
        self.seconds = {query: self.undisturbed(query) for query in QUERIES}

    def command(self, query, source, output, *more):
        return [self.penstock, "run", ROOT / "debs14" / f"{query}.yaml", "--input", source, "--output", output,
                "--dead-letter", output / "dead.csv", "--quiet", *more]

    def undisturbed(self, query):
        begun = time.monotonic()
        subprocess.run(self.command(query, self.inputs[0], self.folder / query), check=True, timeout=SECONDS_MAX)
        return time.monotonic() - begun

    def start(self, query, source):
        draw = self.random.choice
        return subprocess.Popen(
            self.command(query, source, self.folder / "seen", "--checkpoint", self.folder / "points", "--key", self.key,
                         "--resume", "--every-rows", str(draw([5000, 20000, 100000])), "--workers", str(draw([1, 2, 3])),
                         "--set", f"partitions={draw([1, 2, 5, 16])}"), stderr=subprocess.PIPE)

    def round(self, query):
        for name in ("seen", "points"):
            shutil.rmtree(self.folder / name, ignore_errors=True)
        kills, source = 0, self.random.choice(self.inputs)
        for attempt in range(ATTEMPTS_MAX + 1):
            left = min(ATTEMPTS_MAX, self.kills_wanted - self.kills)
            patience = self.random.uniform(0.001, 1.3 * self.seconds[query]) if attempt < left else SECONDS_MAX
            run = self.start(query, source)
            try:
                error = run.communicate(timeout=patience)[1]
            except subprocess.TimeoutExpired:
                run.kill()
                run.communicate()
                if patience == SECONDS_MAX:
                    return kills, "it does not end"
                kills += 1
                self.resumed += any((self.folder / "points").glob("*.manifest"))
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
            query = QUERIES[rounds % len(QUERIES)]
            rounds += 1
            kills, why = self.round(query)
            self.kills += kills
            if why is not None:
                self.failed += 1
                print(f"FAILED: round {rounds}, {query}, after {kills} kills: {why}")
                if self.failed > 5:
                    break
        print(f"{self.kills} kills in {rounds} rounds, {self.resumed} of them with a checkpoint to go on from")
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
