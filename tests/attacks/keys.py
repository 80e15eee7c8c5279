#!/usr/bin/env python3
"""Does a key or a row lie anywhere in a worker but in its pool? usage: keys.py PENSTOCK BARE

A million rows that the user has sealed go through an operator in an enclave; then the input stands still, and all that the worker can
read and that is no secret memory is read by root. What is looked for: the graph's root, which the test knows, for it has the user's key;
all that is derived from it; of the key of each session the 15 round keys and the key of GHASH, which are the copies that OpenSSL and
Intel's library for IPsec make and keep; and the rows.

The control is the program BARE, a worker whose heap lies beside the pool (bare.c): there the same search finds each of them. Ends with "N
passed, N failed, N not run".

  R1 /proc/PID/mem: keys, their copies and rows, in all of the worker's memory but the pool      O7 in the memory of its host
"""
import collections
import hashlib
import hmac
import os
import struct
import subprocess
import sys
import tempfile

import eyes
from eyes import HOUSE, HOUSEHOLD, is_secret, maps, not_run, verdict

ROWS = 1_000_000
ROWS_AT_ONCE = 10_000
FORMS_FEW = 6  # of what is looked for where it is to be found, or where much is looked at
# What a graph's root is bound to (engine/sealed.c): its edges, and the fields that each carries as name:type:decimals. Were it another, the
# control would find nothing.
EDGES = [b"meters.0>sums.0", b"sums.0>out.0"]
GRAPH_TEXT = b"penstock sealed graph 1\nmarked\n" + b"".join((
    EDGES[0], b" 1 4 key house_id key household_id house_id:1:0 household_id:1:0 value:3:3\n",
    EDGES[1], b" 4 1 window_start:3:0 window_end:3:0 house_id:1:0 household_id:1:0 n:2:0 watts:3:3\n"))


# ---- what is derived from a key ----

def hkdf(key, salt, info, count=32):
    """(the bytes, what they were made with): HKDF-SHA256 of at most 32 bytes."""
    first = hmac.digest(salt, key, "sha256")
    return hmac.digest(first, info + b"\x01", "sha256")[:count], first


def times_two(a):
    return (a << 1) ^ 0x11B if a & 0x80 else a << 1


def sbox():
    box, p, q = [0] * 256, 1, 1
    while True:
        p = p ^ times_two(p)
        for shift in (1, 2, 4):
            q ^= q << shift & 0xFF
        q ^= 0x09 if q & 0x80 else 0
        box[p] = q ^ 0x63
        for turn in range(1, 5):
            box[p] ^= (q << turn | q >> (8 - turn)) & 0xFF
        if p == 1:
            box[0] = 0x63
            return bytes(box)


SBOX = sbox()


def round_keys(key):
    """AES-256: 15 of 16 bytes each, the first two of which are the key."""
    words, constant = [key[i:i + 4] for i in range(0, 32, 4)], 1
    for i in range(8, 60):
        word = words[i - 1]
        if i % 8 == 0:
            word = bytes(SBOX[b] for b in word[1:] + word[:1])
            word = bytes([word[0] ^ constant]) + word[1:]
            constant = times_two(constant)
        elif i % 8 == 4:
            word = bytes(SBOX[b] for b in word)
        words.append(bytes(a ^ b for a, b in zip(words[i - 8], word)))
    return [b"".join(words[i:i + 4]) for i in range(0, 60, 4)]


def encrypt(rounds, block):
    """One block, for the key of GHASH is the cipher text of zeros."""
    state = bytes(a ^ b for a, b in zip(block, rounds[0]))
    for number, key in enumerate(rounds[1:], 1):
        state = bytes(SBOX[state[(i + 4 * (i % 4)) % 16]] for i in range(16))
        if number < 14:
            mixed = []
            for c in range(0, 16, 4):
                column = state[c:c + 4]
                for i in range(4):
                    a, b = column[i], column[(i + 1) % 4]
                    mixed.append(times_two(a) ^ times_two(b) ^ b ^ column[(i + 2) % 4] ^ column[(i + 3) % 4])
            state = bytes(mixed)
        state = bytes(a ^ b for a, b in zip(state, key))
    return state


def turned(block, width):
    """As it lies in memory where it is kept in words of so many bytes."""
    return b"".join(block[i:i + width][::-1] for i in range(0, len(block), width))


def times_x(block):
    """As Intel's library keeps the key of GHASH: times x, the lowest byte first."""
    number = int.from_bytes(block, "big")
    shifted = number << 1 & (1 << 128) - 1
    return (shifted ^ (0xC2000000000000000000000000000001 if number >> 127 else 0)).to_bytes(16, "little")


def needles(user_key, sessions):
    """{what it is: [bytes]}; sessions: (edge, salt)."""
    found = collections.defaultdict(list)
    root, root_prk = hkdf(user_key, hashlib.sha256(GRAPH_TEXT).digest(), b"penstock sealed root 1")
    buckets, buckets_prk = hkdf(root, bytes(32), b"penstock sealed buckets 1", 16)
    found["the user's key"] = [user_key]
    found["the root"] = [root]
    found["the hash of buckets"] = [buckets]
    made_with = [root_prk, buckets_prk]
    for edge, salt in sessions:
        key, prk = hkdf(root, salt, b"penstock sealed session 1 " + EDGES[edge])
        rounds = round_keys(key)
        ghash = encrypt(rounds, bytes(16))
        name = "read" if edge == 0 else "written"
        for number, block in enumerate(rounds):
            found[f"the key of the session that is {name}" + (", expanded" if number > 1 else "")] += [block, turned(block, 4)]
        found[f"its key of GHASH, {name}"] += [ghash, turned(ghash, 8), turned(ghash, 16), times_x(ghash)]
        made_with.append(prk)
    for prk in made_with:  # as they are, and as HMAC begins with them
        found["what these were derived with"] += [prk, bytes(b ^ 0x36 for b in prk), bytes(b ^ 0x5C for b in prk)]
    found["rows"] = eyes.KEYS + eyes.COLUMNS
    return found


def good_arithmetic():
    """FIPS 197, C.3; RFC 5869, A.1."""
    key, plain = bytes(range(32)), bytes.fromhex("00112233445566778899aabbccddeeff")
    okm, _ = hkdf(b"\x0b" * 22, bytes(range(13)), bytes(range(0xF0, 0xFA)))
    return (encrypt(round_keys(key), plain).hex() == "8ea2b7ca516745bfeafc49904b496089"
            and okm.hex() == "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf")


# ---- a sealed run ----

def capsules(data):
    """(edge, salt, where it begins) of each."""
    at = 0
    while at < len(data):
        edge, = struct.unpack_from("<I", data, at + 8)
        body, = struct.unpack_from("<I", data, at + 44)
        yield edge, data[at + 56:at + 88], at
        at += 96 + body + 16


def rows_write(path):
    with open(path, "wb") as file:
        for first in range(0, ROWS, ROWS_AT_ONCE):
            file.write(b"".join(b"%d,%d,1.000,1,%d,%d,%d\n" % (i, 1377986401 + i // 1000, i % 50, HOUSEHOLD, HOUSE)
                                for i in range(first, first + ROWS_AT_ONCE)))


class Sealed:
    """A million rows, sealed, and all but the last capsule of them, which is the end, in a worker of this program."""

    def __init__(self, penstock, folder, program):
        self.penstock, self.folder = penstock, tempfile.mkdtemp(dir=folder)
        self.common, self.program = folder, ["--enclave-program", program] if program else []
        policy = os.path.join(self.folder, "policy.yaml")
        with open(policy, "w") as file:
            subprocess.run([penstock, "measure", "graph.yaml", *self.program, "--node-key", "node.key"], cwd=folder, stdout=file,
                           check=True)
        self.keeper = subprocess.Popen(
            [*eyes.DIES_WITH_TEST, penstock, "key", "serve", "user.key", "--policy", policy, "--allow-software", "--listen",
             f"unix:{self.folder}/keys.sock", "--count", "1"], cwd=folder, stderr=subprocess.PIPE, text=True)
        said = self.keeper.stderr.readline()
        if "listens" not in said:
            raise SystemExit("key serve: " + said + self.keeper.stderr.read())
        read, self.write = os.pipe()
        self.process = subprocess.Popen(
            [*eyes.DIES_WITH_TEST, penstock, "run", "graph.yaml", "--input", "-", "--output", f"{self.folder}/out", "--sealed", "--keys",
             f"unix:{self.folder}/keys.sock", "--node-key", "node.key", *self.program],
            cwd=folder, stdin=read, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        os.close(read)
        with open(os.path.join(folder, "rows.sealed"), "rb") as file:
            data = file.read()
        self.sessions = sorted({(edge, salt) for edge, salt, _ in capsules(data)})
        *_, (_, _, self.last) = capsules(data)
        self.rest = data[self.last:]
        try:
            for at in range(0, self.last, 1 << 20):
                os.write(self.write, data[at:min(at + (1 << 20), self.last)])
        except BrokenPipeError:
            raise SystemExit("penstock has ended: " + self.process.stdout.read()) from None
        self.worker = eyes.halt(self.process, self.write)

    def memory(self):
        """(mapping, bytes) of each piece that is no secret memory; None for bytes that cannot be read."""
        return [(mapping, data) for mapping in maps(self.worker)
                if "r" in mapping["rights"] and not is_secret(mapping) and not mapping["name"].startswith("[v")
                for _, data in eyes.pieces(self.worker, mapping)]

    def end(self):
        """Rows that the results count, and all sessions."""
        os.write(self.write, self.rest)
        os.close(self.write)
        out = self.process.communicate()[0]
        self.keeper.wait()
        self.keeper.stderr.close()
        if self.process.returncode != 0:
            return out, self.sessions
        results = os.path.join(self.folder, "out", "out.csv.sealed")
        with open(results, "rb") as file:
            self.sessions += sorted({(edge, salt) for edge, salt, _ in capsules(file.read())})
        clear = os.path.join(self.folder, "out.csv")
        subprocess.run([self.penstock, "open", "graph.yaml", results, "--key", "user.key", "--sink", "out", "--output", clear, "--quiet"],
                       cwd=self.common, check=True)
        with open(clear) as file:
            lines = [line.split(",") for line in file.read().splitlines()]
        return sum(int(line[lines[0].index("n")]) for line in lines[1:]), self.sessions


def search(run, user_key, forms_max=None):
    """{what: (times, in which memory, times in the host's)}, and of the run: bytes that were looked at, those that the worker can write,
    pieces that cannot be read, whether there is a pool, rows of the results, edges whose sessions were looked for. forms_max: so many
    forms of each are enough to find."""
    pool = any(is_secret(m) for m in maps(run.worker))
    memory = run.memory()
    host = [data for mapping in maps(run.process.pid) if "r" in mapping["rights"] and not mapping["name"].startswith("[v")
            for _, data in eyes.pieces(run.process.pid, mapping) if data is not None]
    unread = sum(data is None for _, data in memory)
    memory = [(mapping, data) for mapping, data in memory if data is not None]
    rows, sessions = run.end()
    found = {}
    for what, all_forms in needles(user_key, sessions).items():
        hits = [(mapping["name"] or "unnamed", eyes.marks_in(data, all_forms[:forms_max])) for mapping, data in memory]
        found[what] = (sum(times for _, times in hits), sorted({name.split()[0] for name, times in hits if times}),
                       sum(eyes.marks_in(data, all_forms[:FORMS_FEW]) for data in host))
    size = sum(len(data) for _, data in memory)
    writable = sum(len(data) for mapping, data in memory if "w" in mapping["rights"])
    return found, {"size": size, "writable": writable, "unread": unread, "pool": pool, "rows": rows,
                   "edges": sorted({edge for edge, _ in sessions})}


def main():
    penstock, bare = (os.path.realpath(path) for path in sys.argv[1:3])
    name = "R1 keys and rows in a worker's memory but for the pool"
    verdict(good_arithmetic(), "R1 the test derives and expands keys as they are derived and expanded")
    if eyes.why_no_root():
        not_run(name, eyes.why_no_root())
        return eyes.told()
    if eyes.error_of(eyes.MEMFD_SECRET, 0)[0] < 0:
        not_run(name, "this kernel has no memfd_secret, so there is no pool that is not read")
        return eyes.told()
    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, "graph.yaml"), "w") as file:
            file.write(eyes.GRAPH.format(epc="16MiB"))
        for key in ("user.key", "node.key"):
            subprocess.run([penstock, "key", "init", key, "--quiet"], cwd=folder, check=True)
        with open(os.path.join(folder, "user.key")) as file:
            user_key = bytes.fromhex(file.read().split()[2])
        rows_write(os.path.join(folder, "rows.csv"))
        subprocess.run([penstock, "seal", "graph.yaml", "--key", "user.key", "--input", "rows.csv", "--output", "rows.sealed", "--quiet"],
                       cwd=folder, check=True)
        control, of_control = search(Sealed(penstock, folder, bare), user_key, FORMS_FEW)
        found, of_run = search(Sealed(penstock, folder, None), user_key)
        run = eyes.Run(penstock, folder)
        clear = sum(eyes.look(run.engine, m, eyes.KEYS + eyes.COLUMNS)[0] for m in maps(run.engine) if "w" in m["rights"])
        run.drop()
    # The user's key is never in a worker, and what keys are derived with is wiped at once: not even the control has to have them.
    kept = [what for what in control if what not in ("the user's key", "what these were derived with")]
    for what in kept:
        verdict(control[what][0] > 0, f"R1 control: a worker whose heap lies beside the pool has {what} there", f"{control[what][0]} times")
    verdict(of_control["edges"] == of_run["edges"] == [0, 1], "R1 control: sessions that are read and that are written are looked for")
    verdict(of_run["rows"] == of_control["rows"] == ROWS, "R1 all rows have gone through both", f"{of_run['rows']}, {of_control['rows']}")
    verdict(of_run["pool"] and of_run["unread"] == 0 and of_run["writable"] > 4 << 20, "R1 there is a pool, and all else is looked at",
            f"{of_run['size'] >> 10} KiB, of which the worker writes {of_run['writable'] >> 10} KiB")
    for what, (times, where, _) in found.items():
        verdict(times == 0, f"R1 after a million rows {what}: nowhere but in the pool", " ".join(where))
    verdict(all(found[what][2] == 0 for what in found), "O7 nor is any of that in the memory of its host",
            " ".join(what for what in found if found[what][2] != 0))
    verdict(clear > 0, "O7 control: in that of a host of a run in the clear rows are", f"{clear} times")
    return eyes.told()


if __name__ == "__main__":
    sys.exit(main())
