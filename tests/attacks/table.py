#!/usr/bin/env python3
"""Is the table of attacks in docs/enclaves.md what the tests do? usage: table.py

The rows of the table stand for those of the threat model. Each names the tests that try it; each test whose name begins with a row's
number is named in that row; a test that is named is there and is run. Rows that say "not run" say why. Ends with the count."""
import collections
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
COUNTS = {"R": 12, "P": 5, "M": 2, "B": 6, "A": 7, "S": 5, "O": 7, "K": 1, "V": 4, "T": 4}
ROWS = [f"{letter}{number}" for letter, count in COUNTS.items() for number in range(1, count + 1)]
RESULTS = ("refused", "noticed", "bounded", "works", "not run")
faults = []


def fault(sentence):
    faults.append(sentence)


def table():
    """{row: (result, what is said, {file: [tests]})}"""
    text = (ROOT / "docs/enclaves.md").read_text(encoding="utf-8")
    part = text.split("\n## Attacks\n", 1)[1].split("\n## ", 1)[0]
    found = {}
    for line in part.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if not re.fullmatch(r"[A-Z]\d+", cells[0]):
            continue
        if len(cells) != 4 or cells[0] in found:
            fault(f"row {cells[0]} is there twice, or has not four cells")
            continue
        tests = collections.defaultdict(list)
        for file, names in re.findall(r"`([\w/.]+): ([^`]+)`", cells[3]):
            tests[file] += [name.strip() for name in names.split(",")]
        found[cells[0]] = (cells[2].split(":")[0], cells[2], tests)
    return found


def names_in(path):
    """What a file of tests runs: names of functions, or the first words of verdicts."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".c":
        defined = set(re.findall(r"^static void (\w+)\(void \*\*state\)", text, re.M))
        return defined & set(re.findall(r"^\s+\w+\(\s*(\w+)\s*[,)]", text, re.M))  # in a list, by some macro
    if path.suffix == ".py":
        return set(re.findall(r"""["']([A-Z]\d+) """, text))
    return set(re.findall(r'^spec "([^"]+)"', text, re.M))


def check_row(row, result, said, tests):
    if result not in RESULTS:
        fault(f"row {row} says `{result}`, which is none of {', '.join(RESULTS)}")
    if result == "not run" and len(said) < len("not run: x"):
        fault(f"row {row} is not run and does not say why")
    if result != "not run" and not tests:
        fault(f"row {row} says `{result}` and names no test")
    for file, names in tests.items():
        path = ROOT / file
        if not path.is_file():
            fault(f"row {row}: there is no {file}")
            continue
        for name in names:
            if name not in names_in(path):
                fault(f"row {row}: {file} has no test {name} that is run")


def claimed():
    """(row, file, test) of all tests in this folder that say in their name which row they are."""
    for path in sorted((ROOT / "tests/attacks").glob("test_*.c")):
        for name in sorted(names_in(path)):
            for row in re.match(r"(?:[a-z]\d+_)*", name)[0].upper().split("_"):
                if row:
                    yield row, f"tests/attacks/{path.name}", name
    for path in sorted((ROOT / "tests/attacks").glob("*.py")):
        for name in sorted(names_in(path)):
            if name in ROWS:
                yield name, f"tests/attacks/{path.name}", name


def main():
    rows = table()
    for row in ROWS:
        if row not in rows:
            fault(f"row {row} of the threat model is not in the table")
    for row, (result, said, tests) in rows.items():
        if row not in ROWS:
            fault(f"row {row} is not one of the threat model's")
        check_row(row, result, said, tests)
    for row, file, name in claimed():
        if row not in rows or name not in rows[row][2].get(file, []):
            fault(f"{file}: {name} is not named in row {row} of the table")
    for sentence in faults:
        print(f"FAILED  {sentence}")
    counts = collections.Counter(result for result, _, _ in rows.values())
    print(f"{len(rows)} rows: " + ", ".join(f"{counts[result]} {result}" for result in RESULTS))
    return 1 if faults else 0


sys.exit(main())
