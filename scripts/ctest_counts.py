#!/usr/bin/env python3
"""Counts the tests in a JUnit file written by ctest: prints "N passed, N failed", after the ends of what those said that failed.

A cmocka program counts as many as it has tests, another program once, or by its own last line "N passed, N failed".
"""
import re
import sys
import xml.etree.ElementTree as tree

LINES_TOLD = 40


def count(case):
    output = case.findtext("system-out") or ""
    if (case.findtext("skipped") or "").startswith("SKIP_RETURN_CODE") or "SKIP_RETURN_CODE" in str(
            (case.find("skipped").get("message") if case.find("skipped") is not None else "")):
        return 0, 0  # it has said why
    bad = case.find("failure") is not None or case.find("error") is not None or case.get("status") not in ("run", None)
    passed = sum(int(n) for n in re.findall(r"^\[  PASSED  \] (\d+) test", output, re.M))
    failed = sum(int(n) for n in re.findall(r"^\[  FAILED  \] (?:.*: )?(\d+) test\(s\), listed", output, re.M))
    if not passed and not failed:
        last = re.findall(r"^(\d+) passed, (\d+) failed", output, re.M)
        if last:
            passed, failed = (int(n) for n in last[-1])
        else:
            passed = 0 if bad else 1
    if bad and not failed:
        failed = 1
    return passed, failed


def tell(case, failed):
    """What the gate shows of a log is its end, and ctest's own is a list of names."""
    if failed:
        said = (case.findtext("system-out") or "").strip().splitlines()
        print(f"---- {case.get('name')} failed; the end of what it said:")
        print("\n".join(said[-LINES_TOLD:]))


def main():
    cases = list(tree.parse(sys.argv[1]).getroot().iter("testcase"))
    counts = [count(case) for case in cases]
    if not counts:
        return 1
    for case, (_, failed) in zip(cases, counts):
        tell(case, failed)
    print(f"{sum(p for p, _ in counts)} passed, {sum(f for _, f in counts)} failed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
