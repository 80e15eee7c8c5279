#!/usr/bin/env python3
"""Looks at every file of a build folder as its compiler does, without making code: clang's warnings cost a quarter
of a build so.

usage: scripts/check_warnings.py BUILD    # configured, and with what is generated; see check
"""
import concurrent.futures
import json
import os
import shlex
import subprocess
import sys

if len(sys.argv) != 2:
    sys.exit(__doc__)
with open(os.path.join(sys.argv[1], "compile_commands.json"), encoding="utf-8") as file:
    entries = json.load(file)


def look(entry):
    words = shlex.split(entry["command"])
    at = words.index("-o")
    del words[at : at + 2]
    done = subprocess.run(words + ["-fsyntax-only"], cwd=entry["directory"], capture_output=True, text=True, check=False)
    if done.returncode != 0 or done.stderr:
        print(entry["file"], done.stderr, sep="\n")
    return done.returncode == 0 and not done.stderr


# A file of several targets with the same flags is looked at once.
once = {}
for entry in entries:
    words = shlex.split(entry["command"])
    at = words.index("-o")
    once.setdefault((entry["file"], tuple(words[:at] + words[at + 2 :])), entry)
with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
    results = list(pool.map(look, once.values()))
print(f"{results.count(True)} passed, {results.count(False)} failed")
sys.exit(results.count(False) != 0 or not results)
