#!/usr/bin/env python3
"""check_metrics.py HOST:PORT [PATH] [NAME{LABEL=VALUE,...}OPERATOR NUMBER...]: asks for the metrics of a node, and checks every line.

The text format of Prometheus (exposition format 0.0.4): HELP and TYPE once for each name, before its samples, which stand together; names,
labels and escapes as the format has them; no sample twice; counters end in _total, and are not negative. Further arguments are samples
that have to be there: penstock_rows_total{operator=meters}>=1000, the labels being some of the sample's. Prints what is wrong."""
import re
import socket
import sys

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\"n])*)"'
SAMPLE = re.compile(rf"({NAME})(?:\{{((?:{LABEL})(?:,{LABEL})*)?\}})? (-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|NaN|[+-]Inf)$")
WANTED = re.compile(rf"({NAME})(?:\{{(.*)\}})?(>=|<=|==)(-?[0-9.]+)$")
errors = []


def fetch(address, path):
    host, port = address.rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(f"GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n".encode())
        answer = b""
        while True:
            head, found, body = answer.partition(b"\r\n\r\n")
            length = re.search(rb"\r\nContent-Length: ([0-9]+)(?:\r\n|$)", head) if found else None
            if length and len(body) >= int(length[1]):
                break
            piece = connection.recv(65536)
            if not piece:
                errors.append("the answer is cut short")
                break
            answer += piece
    if not head.startswith(b"HTTP/1.0 200 OK\r\n"):
        errors.append(f"answered: {head.splitlines()[:1]}")
    if b"\r\nContent-Type: text/plain; version=0.0.4" not in head:
        errors.append("no content type of the text format")
    return body.decode()


def check(text):
    """By name and labels: the value."""
    samples, types, helped, current, done = {}, {}, set(), None, set()
    if not text.endswith("\n"):
        errors.append("the last line has no end")
    for line in text.splitlines():
        words = line.split(" ", 3)
        if line.startswith("# HELP "):
            if words[2] in helped or len(words) < 4 or not re.fullmatch(NAME, words[2]):
                errors.append(f"HELP again, or of nothing: {line}")
            helped.add(words[2])
        elif line.startswith("# TYPE "):
            if words[2] in types or words[2] not in helped or words[3] not in ("counter", "gauge"):
                errors.append(f"TYPE again, before HELP, or of no kind: {line}")
            if words[3] == "counter" and not words[2].endswith("_total"):
                errors.append(f"a counter without _total: {words[2]}")
            if words[3] == "gauge" and words[2].endswith("_total"):
                errors.append(f"a gauge with _total: {words[2]}")
            types[words[2]] = words[3]
        else:
            sample = SAMPLE.match(line)
            if not sample:
                errors.append(f"not a sample: {line}")
                continue
            name, labels, value = sample[1], re.findall(LABEL, sample[2] or ""), float(sample[sample.lastindex])
            if name not in types:
                errors.append(f"a sample before its TYPE: {line}")
            if name != current and name in done:
                errors.append(f"samples of {name} do not stand together")
            current = name
            done.add(name)
            key = (name, tuple(sorted(labels)))
            if key in samples or len({label for label, _ in labels}) != len(labels):
                errors.append(f"a sample or a label twice: {line}")
            if types.get(name) == "counter" and value < 0:
                errors.append(f"a counter below zero: {line}")
            samples[key] = value
    for name in types:
        if not name.startswith(("penstock_", "process_")):
            errors.append(f"another one's name: {name}")
    return samples


def expect(samples, wanted):
    match = WANTED.match(wanted)
    if not match:
        errors.append(f"not understood: {wanted}")
        return
    labels = [tuple(pair.split("=", 1)) for pair in match[2].split(",")] if match[2] else []
    found = [value for (name, have), value in samples.items() if name == match[1] and set(labels) <= set(have)]
    limit, seen = float(match[4]), sum(found)
    good = seen >= limit if match[3] == ">=" else seen <= limit if match[3] == "<=" else seen == limit
    if not found or not good:
        errors.append(f"{wanted}: there is {found}")


arguments = sys.argv[2:]
page = arguments.pop(0) if arguments and arguments[0].startswith("/") else "/metrics"
read = check(fetch(sys.argv[1], page))
for argument in arguments:
    expect(read, argument)
print("\n".join(errors) if errors else f"{len(read)} samples")
sys.exit(1 if errors else 0)
