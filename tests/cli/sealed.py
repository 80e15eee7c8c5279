#!/usr/bin/env python3
"""sealed.py - a host's hands on a sealed stream or on sealed results: takes it apart by its headers and puts it together otherwise.

usage: sealed.py drop|repeat|swap|change|shift|cut FILE OUT   (of the n-th capsule with rows: --nth N)
       sealed.py mix FILE OTHER OUT                          puts a capsule of OTHER, of another time, into FILE
       sealed.py weave FILE OTHER OUT EDGE                   edge EDGE as in OTHER, the others as in FILE
       sealed.py unique FILE...                              no two capsules share edge, salt and sequence; prints how many sessions
       sealed.py marks FILE                                  how many rows all edges have at most between two marks of any of them
       sealed.py clear FILE WORD...                          none of these numbers lies in it as text or as 4 bytes in a row
"""
import struct
import sys

HEADER = struct.Struct("<IHHIIQQqIIII32sQ")


def capsules(path):
    data, at = open(path, "rb").read(), 0
    while at < len(data):
        fields = HEADER.unpack_from(data, at)
        size = HEADER.size + fields[9] + 16
        yield {"kind": fields[2], "edge": fields[3], "bucket": fields[4], "sequence": fields[5], "salt": fields[12], "rows": fields[8],
               "bytes": data[at:at + size]}
        at += size


def with_rows(all_of, nth):
    places = [i for i, c in enumerate(all_of) if c["kind"] == 1]
    return places[min(nth, len(places) - 1)]


def attack(what, all_of, nth):
    i = with_rows(all_of, nth)
    pieces = [c["bytes"] for c in all_of]
    if what == "drop":
        del pieces[i]
    elif what == "repeat":
        pieces.insert(i, pieces[i])
    elif what == "swap":  # with the next one of the same edge and session: between two sessions there is no order
        k = next(k for k in range(i + 1, len(all_of)) if (all_of[k]["edge"], all_of[k]["salt"]) == (all_of[i]["edge"], all_of[i]["salt"]))
        pieces[i], pieces[k] = pieces[k], pieces[i]
    elif what == "change":
        changed = bytearray(pieces[i])
        changed[HEADER.size + 5] ^= 1
        pieces[i] = bytes(changed)
    elif what == "shift":  # to another bucket
        changed = bytearray(pieces[i])
        changed[12] ^= 1
        pieces[i] = bytes(changed)
    elif what == "cut":  # from there on, in the middle of a capsule
        pieces = pieces[:i] + [pieces[i][:50]]
    elif what == "end":  # all but the last marks
        pieces = pieces[:-1]
    return b"".join(pieces)


def main():
    what, files = sys.argv[1], sys.argv[2:]
    if what == "unique":
        seen, sessions = set(), set()
        for path in files:
            for c in capsules(path):
                place = (c["edge"], c["salt"], c["sequence"])
                if place in seen:
                    sys.exit(f"twice under one key and sequence: edge {place[0]}, sequence {place[2]}")
                seen.add(place)
                sessions.add((c["edge"], c["salt"]))
        print(len(sessions))
    elif what == "marks":
        all_of, rows, most = list(capsules(files[0])), 0, 0
        since = {c["edge"]: 0 for c in all_of}
        for c in all_of:
            rows += c["rows"]
            if c["kind"] == 2:
                most, since[c["edge"]] = max(most, rows - since[c["edge"]]), rows
        print(most)
    elif what == "clear":
        data = open(files[0], "rb").read()
        for word in files[1:]:
            if word.encode() in data or struct.pack("<I", int(word)) in data:
                sys.exit(f"{word} lies in {files[0]}")
    elif what == "mix":
        all_of, others = list(capsules(files[0])), list(capsules(files[1]))
        pieces = [c["bytes"] for c in all_of]
        pieces.insert(with_rows(all_of, 3), others[with_rows(others, 3)]["bytes"])
        open(files[2], "wb").write(b"".join(pieces))
    elif what == "weave":
        edge, others = int(files[3]), [c for c in capsules(files[1])]
        pieces = [c["bytes"] for c in capsules(files[0]) if c["edge"] != edge]
        pieces += [c["bytes"] for c in others if c["edge"] == edge]
        open(files[2], "wb").write(b"".join(pieces))
    else:
        nth = int(files[2]) if len(files) > 2 else 5
        open(files[1], "wb").write(attack(what, list(capsules(files[0])), nth))


main()
