#!/usr/bin/env python3
"""The store in ZooKeeper against three real servers: the suite; a leader killed amid commits; all servers gone and back; a session
that ends behind its holder's back. usage: tests/migration/zookeeper.py TEST_STORE CLIENT; ends with "N passed, N failed".

Servers are Debian's, on loopback, on ports that were free, with folders of their own. Without them, or without java, it says so
and exits with 77, which ctest calls skipped.
"""
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

JAR = pathlib.Path("/usr/share/java/zookeeper.jar")
PATIENCE_S = 90  # of every wait: none is as long unless something is broken
results = []


def verdict(good, what, detail=""):
    results.append(good)
    print(("ok      " if good else "FAILED  ") + what, flush=True)
    if not good and detail:
        print("    " + detail.strip().replace("\n", "\n    "), flush=True)


def until(what, found):
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        value = found()
        if value:
            return value
        time.sleep(0.05)
    raise TimeoutError(what)


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


class Ensemble:
    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        ports = free_ports(9)
        self.ports = ports[:3]
        self.servers = [None] * 3
        peers = "".join(f"server.{i + 1}=127.0.0.1:{ports[3 + i]}:{ports[6 + i]}\n" for i in range(3))
        for i in range(3):
            data = self.folder / f"server{i}"
            data.mkdir()
            (data / "myid").write_text(f"{i + 1}\n")
            (self.folder / f"server{i}.cfg").write_text(
                f"tickTime=500\ninitLimit=20\nsyncLimit=10\ndataDir={data}\nclientPort={self.ports[i]}\n"
                "clientPortAddress=127.0.0.1\nadmin.enableServer=false\n4lw.commands.whitelist=*\n" + peers)

    def hosts(self, name):
        return ",".join(f"127.0.0.1:{port}" for port in self.ports) + "/" + name

    def start(self, i):
        with open(self.folder / f"server{i}.out", "ab") as out:
            self.servers[i] = subprocess.Popen(
                ["java", "-Xmx96m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", str(JAR),
                 "org.apache.zookeeper.server.quorum.QuorumPeerMain", str(self.folder / f"server{i}.cfg")],
                stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=self.folder)

    def kill(self, i):
        if self.servers[i] is not None:
            self.servers[i].kill()
            self.servers[i].wait()
            self.servers[i] = None

    def mode(self, i):
        try:
            with socket.create_connection(("127.0.0.1", self.ports[i]), 2) as one:
                one.sendall(b"srvr")
                one.settimeout(2)
                said = b""
                while chunk := one.recv(4096):
                    said += chunk
        except OSError:
            return ""
        found = re.search(rb"Mode: (\w+)", said)
        return found.group(1).decode() if found else ""

    def leader(self, count=3):
        """When so many servers serve: which one leads."""
        def found():
            modes = [self.mode(i) for i in range(3)]
            served = sum(mode in ("leader", "follower") for mode in modes)
            return [i for i in range(3) if modes[i] == "leader"] if served >= count else None
        return until("a leader", found)[0]


class Client:
    def __init__(self, program, *arguments):
        self.process = subprocess.Popen([program, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT, text=True, bufsize=1)
        os.set_blocking(self.process.stdout.fileno(), False)
        self.said = ""

    def heard(self):
        try:
            self.said += self.process.stdout.read() or ""
        except (BlockingIOError, TypeError):
            pass
        return self.said

    def hears(self, pattern):
        return until(pattern, lambda: re.search(pattern, self.heard()) or
                     (self.process.poll() is not None and not re.search(pattern, self.heard()) and
                      sys.exit(f"the client ended without \"{pattern}\":\n{self.said}")))

    def ends(self):
        until("the client's end", lambda: self.process.poll() is not None)
        self.heard()
        return self.process.returncode


def suite(ensemble, program):
    ran = subprocess.run([program, "zookeeper"], env=dict(os.environ, PST_TEST_ZOOKEEPER=ensemble.hosts("suite")),
                         capture_output=True, text=True, timeout=10 * PATIENCE_S, check=False)
    passed = sum(int(n) for n in re.findall(r"^\[  PASSED  \] (\d+) test", ran.stdout + ran.stderr, re.M))
    verdict(ran.returncode == 0 and passed > 10, f"the suite: {passed} tests", ran.stdout + ran.stderr)


def leaders_die(ensemble, program):
    client = Client(program, "history", ensemble.hosts("leaders"), "4000")
    client.hears("100 commits")
    deaths = 0
    while client.process.poll() is None and deaths < 3:
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
    client = Client(program, "history", ensemble.hosts("all"), "6000")
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
    holder = Client(program, "hold", ensemble.hosts("session"))
    holder.hears("held")
    os.kill(holder.process.pid, signal.SIGSTOP)
    looker = Client(program, "gone", ensemble.hosts("session"), "held")
    looker.hears("gone")
    verdict(looker.ends() == 0, "a bound record goes with the session of a client that has stopped")
    os.kill(holder.process.pid, signal.SIGCONT)
    holder.process.stdin.write("\n")
    code = holder.ends()
    verdict(code == 0 and "PST_ESTOPPED ended" in holder.said, "its holder is told when it goes on", holder.said)


def main():
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stderr)
        return 2
    missing = [name for name, there in (("java", shutil.which("java")), (str(JAR), JAR.exists())) if not there]
    if missing:
        print(f"skipped: {' and '.join(missing)} missing: scripts/setup.sh installs what scripts/packages.txt names")
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
