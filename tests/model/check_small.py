#!/usr/bin/env python3
"""The definitions of the two queries once more, word for word and slow, to check the model with.

usage: check_small.py MODEL [COUNT] [FIRST_SEED]    compares MODEL with them on COUNT random streams

Fractions instead of scaled integers, sorted lists instead of counters, and (where the stream is short enough) every
second of event time instead of those at which something changes.
"""
import json
import os
import re
import subprocess
import sys
import tempfile
from fractions import Fraction
from math import floor

import random_stream

SECONDS_LITERAL_MAX = 2500


def rounded(x):
    return floor(x + Fraction(1, 2))


def three_decimals(x):
    thousandths = rounded(x * 1000)
    return ("-" if thousandths < 0 else "") + "%d.%03d" % divmod(abs(thousandths), 1000)


def median(values):
    v = sorted(values)
    return Fraction(v[(len(v) - 1) // 2] + v[len(v) // 2], 2)


# ---- the input ----


def parse(line):
    """(timestamp, milliwatts, property, (house, household, plug)), or None where the line is malformed"""
    if b"\0" in line or len(line) > 4096:
        return None
    f = line.split(b",")
    if len(f) != 7 or not re.fullmatch(rb"-?[0-9]+(\.[0-9]+)?", f[2]):
        return None
    if not all(re.fullmatch(rb"[0-9]+", x) for x in f[:2] + f[3:]):
        return None
    number, ts, prop, plug, household, house = (int(x) for x in f[:2] + f[3:])
    value = Fraction(f[2].decode())
    if number >= 2**64 or max(ts, plug, household, house) >= 2**32 or prop > 1 or abs(value) >= 10**7:
        return None
    return ts, rounded(value * 1000), prop, (house, household, plug)


def read(data):
    """(load readings [(ts, mW, plug)], first and last timestamp or None, report, dead letters)"""
    if data.startswith(b"\xef\xbb\xbf"):
        data = data[3:]
    lines = re.findall(rb"[^\n]*\n|[^\n]+", data)
    loads, first, highest, dead = [], None, None, b""
    report = {"rows": 0, "late": 0, "malformed": 0, "malformed_lines": []}
    for number, whole in enumerate(lines, 1):
        line = re.sub(rb"\r?\n$", b"", whole) if whole.endswith(b"\n") else whole
        if number == 1 and line.startswith(b"id,"):
            continue
        if line == b"" and number == len(lines):
            continue
        row = parse(line)
        if row is None:
            report["malformed"] += 1
            report["malformed_lines"] = (report["malformed_lines"] + [number])[:10]
            dead += whole
            continue
        report["rows"] += 1
        ts, milliwatts, prop, plug = row
        if highest is not None and ts < highest:
            report["late"] += 1
            dead += whole
            continue
        first = ts if first is None else first
        highest = ts
        if prop == 1:
            loads.append((ts, milliwatts, plug))
    return loads, (first, highest), report, dead


# ---- query 1 ----


class Slices:
    """avgL of plugs and houses for one slice length, over the readings with timestamp < t"""

    def __init__(self, loads, s):
        self.s, self.of = s, {}
        for ts, milliwatts, plug in loads:
            self.of.setdefault(ts // s, {}).setdefault(plug, []).append((ts, milliwatts))
        self.whole = {i: self.averages(i, None) for i in self.of}

    def averages(self, i, t):
        """{plug or (house,): avgL in microwatts}"""
        result = {}
        for plug, readings in self.of.get(i, {}).items():
            milliwatts = [mw for ts, mw in readings if t is None or ts < t]
            if milliwatts:
                result[plug] = rounded(Fraction(sum(milliwatts) * 1000, len(milliwatts)))
        for plug in list(result):
            house = (plug[0],)
            result[house] = result.get(house, 0) + result[plug]
        return result

    def predictions(self, t):
        """{plug or (house,): L in microwatts}, and the slice they are made in"""
        i, k, result = (t - 1) // self.s, 86400 // self.s, {}
        for who, average in self.averages(i, t).items():
            past = [self.whole[j][who] for j in self.whole if j < i + 2 and (i + 2 - j) % k == 0 and who in self.whole[j]]
            result[who] = rounded((average + median(past)) / 2) if past else average
        return result, i


def query_1(loads, highest, slices, every):
    plug_rows, house_rows = [], []
    all_slices = [Slices(loads, s) for s in sorted(slices)]
    last = (highest // every + 1) * every if highest is not None else -1
    times = set()
    for ts, _, _ in loads:  # the multiples of `every` above it, until every slice that holds the reading has ended
        until = max((ts // s + 1) * s for s in slices)
        times |= set(range((ts // every + 1) * every, min(last, until) + 1, every))
    for t in sorted(times):
        for of in all_slices:
            predictions, i = of.predictions(t)
            for who in sorted(predictions):
                row = [t, of.s, (i + 2) * of.s, *who, three_decimals(Fraction(predictions[who], 10**6))]
                (plug_rows if len(who) == 3 else house_rows).append(",".join(map(str, row)))
    return plug_rows, house_rows


# ---- query 2 ----


def seconds(loads, first, last, windows):
    if last - first <= SECONDS_LITERAL_MAX:
        return range(first, last + 1)
    near = {ts + d for ts, _, _ in loads for d in (0, 1)} | {ts + w + d for ts, _, _ in loads for w in windows for d in (-1, 0)}
    return sorted(t for t in near | {first, last} if first <= t <= last)


def percentages(loads, t, w):
    """{house: percentage} at t"""
    by_plug = {}
    for ts, milliwatts, plug in loads:
        if t - w < ts <= t:
            by_plug.setdefault(plug, []).append(milliwatts)
    if not by_plug:
        return {}
    global_median = median([mw for v in by_plug.values() for mw in v])
    result = {}
    for house in {plug[0] for plug in by_plug}:
        medians = [median(v) for plug, v in by_plug.items() if plug[0] == house]
        result[house] = Fraction(100 * sum(m > global_median for m in medians), len(medians))
    return result


def query_2(loads, first, last, windows):
    rows, written = [], {}
    for t in seconds(loads, first, last, windows) if first is not None else []:
        for w in sorted(windows):
            for house, percentage in sorted(percentages(loads, t, w).items()):
                text = three_decimals(percentage)
                if written.get((house, w)) != text:
                    written[house, w] = text
                    rows.append(f"{w},{t - w},{t},{house},{text}")
    return rows


# ---- comparing ----


def expected(data, chosen):
    loads, (first, last), report, dead = read(data)
    slices, windows = ([int(x) for x in chosen[name].split(",")] for name in ("slices", "windows"))
    plug_rows, house_rows = query_1(loads, last, slices, chosen["every"])
    outlier_rows = query_2(loads, first, last, windows)
    files = {
        "load_plug.csv": ["at,slice,ts,house_id,household_id,plug_id,predicted_load"] + plug_rows,
        "load_house.csv": ["at,slice,ts,house_id,predicted_load"] + house_rows,
        "outliers.csv": ["window,ts_start,ts_stop,house_id,percentage"] + outlier_rows,
    }
    files = {name: "".join(row + "\n" for row in rows).encode() for name, rows in files.items()}
    return {**files, "dead": dead}, report


def computed(model, data, chosen, folder):
    path = os.path.join(folder, "stream.csv")
    with open(path, "wb") as f:
        f.write(data)
    command = [model, "both", path, folder, "--dead-letter", os.path.join(folder, "dead")]
    for name in ("slices", "every", "windows"):
        command += ["--" + name, str(chosen[name])]
    report = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    names = ("load_plug.csv", "load_house.csv", "outliers.csv", "dead")
    return {name: open(os.path.join(folder, name), "rb").read() for name in names}, report


def differences(model, seed):
    data, chosen = random_stream.make(seed)
    with tempfile.TemporaryDirectory() as folder:
        files, report = computed(model, data, chosen, folder)
    right, right_report = expected(data, chosen)
    wrong = [name for name in right if right[name] != files[name]] + ["report"] * (report != right_report)
    return wrong, {name: text.count(b"\n") for name, text in right.items()}, right_report


def main():
    model, count, first = sys.argv[1], *(int(x) for x in (sys.argv[2:] + ["100", "1"][len(sys.argv) - 2 :])[:2])
    bad, lines, totals = 0, {}, {}
    for seed in range(first, first + count):
        wrong, rows, report = differences(model, seed)
        for name in rows:
            lines[name] = lines.get(name, 0) + rows[name]
        for name in ("rows", "late", "malformed"):
            totals[name] = totals.get(name, 0) + report[name]
        if wrong:
            bad += 1
            print(f"FAILED seed {seed}: {', '.join(wrong)}")
    print(f"{count - bad} of {count} streams agree; {totals}; lines {lines}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
