#!/usr/bin/env python3
"""All that one process may try to read another's memory with; run as whoever tries. usage: looks.py PID FOLDER BEGIN END

BEGIN and END: where its pool lies. Prints an object: for each row of the table of attacks how many marks were found, or the names of the
errors instead: R1 /proc/PID/mem, R2 process_vm_readv, R3 ptrace, R4 a dump by gdb, into FOLDER, R6 descriptors. """
import ctypes
import json
import os
import shutil
import struct
import sys

import eyes
from eyes import error_of

PEEKS = 512


def readable(pid):
    return [m for m in eyes.maps(pid) if "r" in m["rights"] and not m["name"].startswith("[v") and m["end"] - m["begin"] < 1 << 30]


def mem_file(pid, places):
    """Marks, or why there is nothing to look at."""
    try:
        mappings = readable(pid)
        with open(f"/proc/{pid}/mem", "rb"):
            pass
    except OSError as e:
        return eyes.errno.errorcode[e.errno]
    found = refused = 0
    for mapping in mappings:
        for at, data in eyes.pieces(pid, mapping):
            refused += data is None
            for mark in eyes.KEYS if data else ():
                begin = data.find(mark)
                while begin >= 0 and len(places) < PEEKS:
                    places.append(at + begin)
                    begin = data.find(mark, begin + 1)
            found += eyes.marks_in(data) if data else 0
    return f"{found} marks, {refused} pieces refused" if found == 0 and refused else found


def mappings_or_pool(pid, pool):
    try:
        return readable(pid)
    except OSError:
        return [pool]  # it knows where to look, and is to get nothing all the same


def vm_readv(pid, pool):
    found, errors = 0, set()
    room = ctypes.create_string_buffer(eyes.LOOK_BYTES)
    for mapping in mappings_or_pool(pid, pool):
        for at in range(mapping["begin"], mapping["end"], eyes.LOOK_BYTES):
            count = min(eyes.LOOK_BYTES, mapping["end"] - at)
            rc, error = error_of(310, pid, struct.pack("QQ", ctypes.addressof(room), count), 1, struct.pack("QQ", at, count), 1, 0)
            if rc > 0:
                found += eyes.marks_in(room.raw[:rc])
            else:
                errors.add(error)
    return found if found or not errors else " ".join(sorted(errors))


def peek(pid, pool, places):
    """At each place where there is a mark; where none is known, all over the pool."""
    rc, error = error_of(101, eyes.PTRACE_SEIZE, pid, 0, 0)
    if rc != 0:
        return error
    error_of(101, eyes.PTRACE_INTERRUPT, pid, 0, 0)
    os.waitpid(pid, eyes.WALL)
    found, errors, word = 0, set(), ctypes.c_long()
    step = (pool["end"] - pool["begin"]) // PEEKS // 8 * 8
    for at in places or range(pool["begin"] + 4096, pool["end"], step):
        rc, error = error_of(101, eyes.PTRACE_PEEKDATA, pid, at, ctypes.byref(word))
        if rc != 0:
            errors.add(error)
        found += rc == 0 and struct.pack("q", word.value) in eyes.KEYS
    error_of(101, eyes.PTRACE_DETACH, pid, 0, 0)
    return found if found or not errors else " ".join(sorted(errors))


def dump(pid, folder):
    if shutil.which("gcore") is None:
        return "not run: gcore is not installed"
    marks, said = eyes.gcore(pid, folder)
    return f"no file: {said}" if marks is None else f"{marks} marks in {said}"


def descriptors(pid):
    """Of those that can be taken, marks in what can be mapped of them."""
    taken, errors = 0, set()
    try:
        listed = os.listdir(f"/proc/{pid}/fd")
    except OSError as e:
        listed = []
        errors.add(eyes.errno.errorcode[e.errno])
    pidfd, error = error_of(434, pid, 0)  # pidfd_open
    if pidfd < 0:
        return error
    for fd in range(64):
        rc, error = error_of(438, pidfd, fd, 0)  # pidfd_getfd
        taken += rc >= 0
        errors |= {error} if rc < 0 else set()
    return f"{taken} taken" if taken else f"none of {len(listed)}: " + " ".join(sorted(errors))


def main():
    pid, folder, pool = int(sys.argv[1]), sys.argv[2], {"begin": int(sys.argv[3]), "end": int(sys.argv[4])}
    places = []
    seen = {"R1": mem_file(pid, places), "R2": vm_readv(pid, pool), "R3": peek(pid, pool, places), "R6": descriptors(pid)}
    seen["R4"] = dump(pid, folder)
    print(json.dumps(seen))


main()
