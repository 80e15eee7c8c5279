#!/usr/bin/env python3
"""Runs what README.md shows. usage: scripts/test_readme.py BUILD [DOCUMENT...]

The commands of every ```sh block run in order, block by block, in a fresh copy of the tree, with BUILD/penstock on PATH.
A ```text block behind `<!-- output -->` is what the block before it prints; in it `...` stands for anything, and a line of
`...` for any lines. A ```yaml block behind `<!-- from FILE -->` stands in that file. Three lines are not run as they stand:
`git clone` and `cd` (the copy is the clone), and `./check`, which would run this script again, becomes `./check --list`.
The table under "Packages" is compared with scripts/packages.txt, and links to files are followed. Ends with "N passed, N failed".
"""
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
FENCE = re.compile(r"(?:<!--\s*(?P<mark>.*?)\s*-->\s*\n)?```(?P<kind>[a-z]+)\n(?P<text>.*?)^```", re.S | re.M)
results = []


def verdict(good, what, detail=""):
    results.append(good)
    print(("ok      " if good else "FAILED  ") + what)
    if not good and detail:
        print("    " + detail.strip().replace("\n", "\n    "))


def copy_tree(target):
    """The files that a clone would have, and those about to be added."""
    listed = subprocess.run(["git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
                            capture_output=True, check=False)
    if listed.returncode == 0:
        names = [os.fsdecode(n) for n in listed.stdout.split(b"\0") if n]
    else:
        names = [str(p.relative_to(ROOT)) for p in ROOT.rglob("*") if p.is_file() and p.relative_to(ROOT).parts[0] != "build"]
    for name in names:
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)


def runnable(line):
    if re.match(r"\s*(git clone|cd)\b", line):
        return ""
    return re.sub(r"^(\s*)\./check\b[^#]*", r"\1./check --list ", line)


def like(expected, seen):
    """Is `seen` the text `expected`, with `...` for anything?"""
    pattern = "".join(
        r"(?:.*\n)*?" if line.strip() == "..." else ".*?".join(re.escape(part) for part in line.split("...")) + r"\n"
        for line in expected.strip("\n").split("\n"))
    return re.fullmatch(pattern, seen.strip("\n") + "\n") is not None


def check_document(path, folder, environment):
    text = (ROOT / path).read_text()
    output, number = None, 0
    for block in FENCE.finditer(text):
        line = text.count("\n", 0, block.start()) + 1
        mark, kind, body = block["mark"] or "", block["kind"], block["text"]
        if kind == "sh":
            number += 1
            script = "\n".join(runnable(command) for command in body.split("\n"))
            done = subprocess.run(["bash", "-euo", "pipefail", "-c", script], cwd=folder, env=environment, timeout=600,
                                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                  check=False)
            output = done.stdout
            verdict(done.returncode == 0, f"{path}:{line}: the commands run",
                    f"exit status {done.returncode}\n{script}\n{output[-2000:]}")
        elif kind == "text" and mark == "output":
            verdict(output is not None and like(body, output), f"{path}:{line}: the output is as shown",
                    f"shown:\n{body}\nseen:\n{(output or '')[-2000:]}")
        elif mark.startswith("from "):
            source = folder / mark[5:]
            verdict(source.is_file() and body.strip("\n") in source.read_text(), f"{path}:{line}: stands in {mark[5:]}")
    return text


def check_packages(text):
    wanted = dict((line.split("#")[0].strip(), line.split("#", 1)[1].strip())
                  for line in (ROOT / "scripts/packages.txt").read_text().splitlines()
                  if line and not line.startswith("#"))
    section = text.partition("\n## Packages\n")[2].partition("\n## ")[0]
    shown = dict(re.findall(r"^\| `([^`]+)` \| (.*?) \|$", section, re.M))
    for name in sorted(set(wanted) | set(shown)):
        verdict(wanted.get(name) == shown.get(name), f"README.md, Packages: {name}",
                f"packages.txt: {wanted.get(name)}\nREADME.md:    {shown.get(name)}")


def check_links(path, text):
    for link in sorted(set(re.findall(r"\]\((?!https?:)([^)#]+)", text))):
        verdict((ROOT / path).parent.joinpath(link).exists(), f"{path}: the link to {link}")


def main():
    if len(sys.argv) < 2:
        print(__doc__.splitlines()[0], file=sys.stderr)
        return 2
    build = pathlib.Path(sys.argv[1]).resolve()
    documents = sys.argv[2:] or ["README.md"]
    environment = dict(os.environ, PATH=f"{build}:{os.environ['PATH']}", NO_COLOR="1", LC_ALL="C.UTF-8")
    for document in documents:
        with tempfile.TemporaryDirectory(prefix="penstock-readme-") as name:
            folder = pathlib.Path(name) / "penstock"
            folder.mkdir()
            copy_tree(folder)
            text = check_document(document, folder, environment)
            check_links(document, text)
            if document == "README.md":
                check_packages(text)
    print(f"{results.count(True)} passed, {results.count(False)} failed")
    return 0 if results and all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
