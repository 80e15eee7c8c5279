#!/usr/bin/env python3
"""Counts the tests in a JUnit file written by ctest: prints "N passed, N failed".

A cmocka program counts as many as it has tests, another program once, or by its own last line "N passed, N failed".
"""
import re
import sys
import xml.etree.ElementTree as tree


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


def main():
    counts = [count(case) for case in tree.parse(sys.argv[1]).getroot().iter("testcase")]
    if not counts:
        return 1
    print(f"{sum(p for p, _ in counts)} passed, {sum(f for _, f in counts)} failed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
