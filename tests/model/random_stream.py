#!/usr/bin/env python3
"""A small, dirty stream of meter readings and parameters for the queries, both out of one seed.

usage: random_stream.py FIRST_SEED COUNT FOLDER
       writes FOLDER/SEED.csv, the stream, and FOLDER/SEED.parameters, the parameters as NAME=VALUE words

Few plugs, so that values, medians and percentages tie; event time that stands still, creeps, jumps days so that slices
meet their history, or jumps ten years; late rows, malformed lines of every kind, line ends of both kinds.
"""
import os
import random
import sys

U32 = 2**32 - 1
SLICES = [1, 2, 5, 10, 30, 60, 300, 900, 3600, 7200, 14400, 21600, 28800]
WINDOWS = [1, 2, 3, 10, 59, 60, 600, 3600, 7201, 86400, 1000000, 4000000000]
UPDATES_MAX = 2000  # of one stream, about: what the slow checks can bear


def plug_ids(r):
    pool = r.choice([[0, 1, 2], [7, 70, 700], [0, 2**31 - 1, 2**31, U32], [r.randrange(U32 + 1) for _ in range(5)]])
    houses = r.choice([1, 2, 4])
    ids = {(r.choice(pool[:houses]), r.choice(pool), r.choice(pool)) for _ in range(r.randint(1, 12))}
    return sorted(ids)


def value(r, style):
    kind = r.random()
    if style == "tiny":  # averages of thirds of a milliwatt, whose sums meet the borders of rounding
        return r.choice(["0", "0.001", "0.001", "-0.001", "0.0005", "0.002"])
    if style == "ties" or kind < 0.25:
        return r.choice(["0", "0.000", "1", "1.0", "2", "2.5", "3", "-1", "-0", "007.50"])
    if kind < 0.35:
        return r.choice(["9999999.999", "-9999999.999", "9999999", "0.001", "-0.001", "0000000000000000001.5", "9999999.9999"])
    if kind < 0.55:  # more than three decimals, halves among them
        tail = r.choice(["5", "50", "500000", "49999", "50001", "4", "6", "5" + "0" * 40 + "1", "999999"])
        return f"{r.choice(['', '-'])}{r.randrange(50)}.{r.randrange(1000):03d}{tail}"
    if kind < 0.6:
        return f"{r.randrange(20)}.{r.randrange(10)}"
    sign = "-" if style == "negative" and r.random() < 0.6 else ""
    return f"{sign}{r.randrange(400)}.{r.randrange(1000):03d}"


def malformed(r, fields):
    f = list(fields)
    kind = r.randrange(16)
    if kind == 0:
        return b""
    if kind == 1:
        return ",".join(f[:-1]).encode()
    if kind == 2:
        return ",".join(f + [r.choice(["", "1"])]).encode()
    if kind == 3:
        f[r.randrange(7)] = r.choice(["", " 1", "1 ", "+1", "-1", "x", "0x1", "1e3", "1,", '"1"'])
        f[2] = r.choice(["", ".5", "5.", "-", "--1", "+1", "1.2.3", "1e3", "10000000", "-10000000.000", "1,5", "nan", " 1", "- 1"])
    if kind == 4:
        f[0] = r.choice([str(2**64), "9" * 30, "-1"])
    if kind == 5:
        f[r.choice([1, 4, 5, 6])] = r.choice([str(2**32), str(2**64), "99999999999999999999999", "1.0"])
    if kind == 6:
        f[3] = r.choice(["2", "-1", "10", ""])
    if kind in (7, 8):
        text = ",".join(f).encode()
        at = r.randrange(len(text) + 1)
        return text[:at] + r.choice([b"\0", b"\r", b"\xff", b"\xef\xbb\xbf", b" ", b"\t"]) + text[at:]
    if kind == 9:
        return b"id," + ",".join(f[1:]).encode()
    if kind == 10:  # one byte beyond what a line may have, though a number in itself
        text = ",".join(f).encode()
        return b"0" * (4097 - len(text)) + text
    if kind == 11:
        return b"z" * r.choice([4096, 4097, 5000, 20000])
    if kind == 12:
        return r.choice([b",", b",,,,,,", b"\r", b"\0", b"#", b"id"])
    if kind == 13:
        f[2] = r.choice(["10000000", "10000000.0001", "123456789012345678901234567890", "-99999999"])
    if kind == 14:
        f[1] = f[1] + r.choice(["5" * 8, " ", ".0"])
    if kind == 15:
        return ",".join(f).encode() + b"\r"
    return ",".join(f).encode()


def daily(r, s):
    """Timestamps that fall into the same few slices of length s on many days, so that slices meet their history."""
    first = r.choice([0, 15948 * 86400, (U32 // 86400 - 20) * 86400]) + r.randrange(86400 - 7 * s if 7 * s < 86400 else 1)
    days = sorted(r.sample(range(12), r.randint(2, 9)))
    return sorted(first + day * 86400 + r.randrange(6) * s + r.randrange(s) for day in days for _ in range(r.randint(5, 30)))


def steps(r):
    """How time goes on: (weight, seconds)."""
    plain = [(60, lambda: 0), (25, lambda: r.randint(1, 3)), (5, lambda: r.randint(4, 90))]
    return plain + r.choice([
        [],
        [(4, lambda: r.choice([30, 60, 61, 300]))],
        [(4, lambda: r.choice([3600, 7200, 3599]))],
        [(10, lambda: r.choice([86400, 86400, 172800, 86390, 86430, 7 * 86400]))],
        [(3, lambda: 315360000 + r.randrange(100)), (3, lambda: 86400)],
    ])


def stepping(r):
    step = steps(r)
    ts = r.choice([0, r.randrange(100), 86400 - 5, 1377986401, 1377986401, r.randrange(U32), U32 - 100, U32 - 400000])
    result = []
    for _ in range(r.choice([0, 1, 2, 20, 100, 300, 300])):
        ts = min(U32, ts + r.choices([s for _, s in step], [w for w, _ in step])[0]())
        result.append(ts)
    return result


def make(seed):
    """(bytes of the stream, parameters by name)"""
    r = random.Random(seed)
    plugs = plug_ids(r)
    style = r.choice(["plain", "ties", "tiny", "negative"])
    dirt = r.choice([0, 0, 0.03, 0.2, 0.6])
    late = r.choice([0, 0, 0.05, 0.3])
    work = r.choice([0, 0.3, 0.5])
    newline = r.choice([[b"\n"], [b"\n"], [b"\r\n"], [b"\n", b"\r\n"]])
    slice_met = r.choice(SLICES) if r.random() < 0.35 else None
    out, load_ts = [], []
    if r.random() < 0.3:
        out.append(b"\xef\xbb\xbf")
    if r.random() < 0.4:
        out.append(r.choice([b"id,timestamp,value,property,plug_id,household_id,house_id", b"id,", b"id,\0" + b"x" * 3000]))
        out.append(r.choice(newline))
    for number, ts in enumerate(daily(r, slice_met) if slice_met else stepping(r)):
        house, household, plug = r.choice(plugs)
        prop = 0 if r.random() < work else 1
        at = ts
        if r.random() < late:
            at = r.choice([0, max(0, ts - 1), max(0, ts - 90000), r.randrange(ts + 1)])
        fields = [str(number + 1), str(at), value(r, style), str(prop), str(plug), str(household), str(house)]
        if r.random() < dirt:
            out.append(malformed(r, fields))
        elif r.random() < 0.02:  # odd, but a row: zeros in front, as long as a line may be
            text = ",".join(fields).encode()
            out.append(r.choice([b"0" * (4096 - len(text)), b"0", b"000"]) + text)
        else:
            out.append(",".join(fields).encode())
        load_ts.append(at)
        out.append(r.choice(newline))
    ending = r.random()
    if ending < 0.25 and out and out[-1] in (b"\n", b"\r\n"):
        out.pop()
    elif ending < 0.4:
        out.append(r.choice([b"\n", b"\r\n", b"\n\n", b"\r\n\n", b"\r", b"1,2", b"\0"]))
    return b"".join(out), parameters(r, load_ts, slice_met)


def parameters(r, load_ts, slice_met):
    slices = sorted(set(r.sample(SLICES, r.randint(1, 4))) | ({slice_met} if slice_met else set()))
    windows = sorted(r.sample(WINDOWS, r.randint(1, 4)))
    every = r.choice([1, 2, 7, 30, 30, 60, 100, 3600, 86400, 100000, 10**9])
    while len({t // slices[-1] for t in load_ts}) * (slices[-1] // every) > UPDATES_MAX:
        every *= 2
    return {
        "slices": ",".join(map(str, slices)),
        "every": every,
        "windows": ",".join(map(str, windows)),
        "workers": r.choice([1, 1, 2, 3, 4]),
        "partitions": r.randint(1, 16),
        "frame_rows": r.choice([1, 2, 7, 64, 1000, 4096]),
        "channel_frames": r.choice([1, 1, 2, 8]),
        "block_bytes": r.choice([4096, 4096, 5000, 8192, 65536]),
    }


if __name__ == "__main__":
    first_seed, count, folder = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    for seed in range(first_seed, first_seed + count):
        stream, chosen = make(seed)
        with open(os.path.join(folder, f"{seed}.csv"), "wb") as f:
            f.write(stream)
        with open(os.path.join(folder, f"{seed}.parameters"), "w") as f:
            f.write(" ".join(f"{name}={v}" for name, v in chosen.items()) + "\n")
