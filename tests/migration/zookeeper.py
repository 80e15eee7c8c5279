#!/usr/bin/env python3
"""The store in ZooKeeper against three real servers: the suite; a leader killed amid commits; all servers gone and back; a session
that ends behind its holder's back. usage: tests/migration/zookeeper.py TEST_STORE CLIENT; ends with "N passed, N failed".

Without Debian's ZooKeeper or java it says so and exits with 77, which ctest calls skipped.
"""
import os
import re
import signal
import subprocess
import sys
import tempfile

from ensemble import PATIENCE_S, Ensemble, Speaker, missing

results = []


def verdict(good, what, detail=""):
    results.append(good)
    print(("ok      " if good else "FAILED  ") + what, flush=True)
    if not good and detail:
        print("    " + detail.strip().replace("\n", "\n    "), flush=True)


def suite(ensemble, program):
    ran = subprocess.run([program, "zookeeper"], env=dict(os.environ, PST_TEST_ZOOKEEPER=ensemble.hosts("suite")),
                         capture_output=True, text=True, timeout=10 * PATIENCE_S, check=False)
    passed = sum(int(n) for n in re.findall(r"^\[  PASSED  \] (\d+) test", ran.stdout + ran.stderr, re.M))
    verdict(ran.returncode == 0 and passed > 10, f"the suite: {passed} tests", ran.stdout + ran.stderr)


def leaders_die(ensemble, program):
    client = Speaker([program, "history", ensemble.hosts("leaders"), "4000"])
    client.hears("100 commits")
    deaths = 0
    while client.open and deaths < 3:
        leader = ensemble.leader()
        ensemble.kill(leader)
        deaths += 1
        ensemble.leader(2)
        ensemble.start(leader)
    code = client.ends()
    unknown = len(re.findall(r"PST_ETIMEOUT", client.said))
    verdict(code == 0 and "whole" in client.said,
            f"{deaths} leaders killed amid commits, {unknown} outcomes unknown: each commit whole or not at all, none lost",
            client.said[-2000:])
    verdict(unknown > 0 or "PST_EIO" in client.said, "the deaths were noticed", client.said[-2000:])


def all_stop(ensemble, program):
    client = Speaker([program, "history", ensemble.hosts("all"), "6000"])
    client.hears("100 commits")
    for i in range(3):
        ensemble.kill(i)
    client.hears(r"PST_EIO|PST_ETIMEOUT")
    verdict(client.process.poll() is None, "without servers, requests are answered PST_EIO or PST_ETIMEOUT", client.said)
    for i in range(3):
        ensemble.start(i)
    code = client.ends()
    verdict(code == 0 and "whole" in client.said, "it goes on when they are back", client.said[-2000:])


def session_ends(ensemble, program):
    holder = Speaker([program, "hold", ensemble.hosts("session")])
    holder.hears("held")
    os.kill(holder.process.pid, signal.SIGSTOP)
    looker = Speaker([program, "gone", ensemble.hosts("session"), "held"])
    looker.hears("gone")
    verdict(looker.ends() == 0, "a bound record goes with the session of a client that has stopped")
    os.kill(holder.process.pid, signal.SIGCONT)
    holder.says("")
    code = holder.ends()
    verdict(code == 0 and "PST_ESTOPPED ended" in holder.said, "its holder is told when it goes on", holder.said)


def main():
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stderr)
        return 2
    if missing():
        print(f"skipped: {missing()}")
        print("0 passed, 0 failed")
        return 77
    with tempfile.TemporaryDirectory(prefix="penstock-zookeeper-") as folder:
        ensemble = Ensemble(folder)
        try:
            for i in range(3):
                ensemble.start(i)
            ensemble.leader()
            suite(ensemble, sys.argv[1])
            session_ends(ensemble, sys.argv[2])
            leaders_die(ensemble, sys.argv[2])
            all_stop(ensemble, sys.argv[2])
        finally:
            for i in range(3):
                ensemble.kill(i)
    print(f"{results.count(True)} passed, {results.count(False)} failed")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
