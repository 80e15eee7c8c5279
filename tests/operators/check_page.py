#!/usr/bin/env python3
"""check_page.py ROOT - the C code that docs/operators.md shows stands, line by line, in the files that it says it is from."""
import pathlib
import re
import sys

root = pathlib.Path(sys.argv[1])
sources = [(root / name).read_text() for name in ("examples/spike/spike.c", "tests/operators/test_spike_unit.c")]
page = (root / "docs/operators.md").read_text()
blocks = re.findall(r"^```c\n(.*?)^```", page, re.S | re.M)
missing = [block for block in blocks if not any(block in source for source in sources)]
for block in missing:
    print("docs/operators.md shows code that is in no file:\n" + block, file=sys.stderr)
sys.exit(1 if missing or not blocks else 0)
