"""Three real ZooKeeper servers on loopback, and processes whose words are waited for, for the tests that need them.

Servers are Debian's, on ports that were free, with folders of their own. Nobody looks again and again: what servers and processes say
comes through pipes, and whoever waits, waits for those (`until()`), with a deadline.
"""
import os
import pathlib
import random
import re
import selectors
import shutil
import socket
import subprocess
import time

JARS = [pathlib.Path("/usr/share/java") / name for name in ("zookeeper.jar", "slf4j-api.jar", "slf4j-simple.jar")]
PATIENCE_S = 90  # of every wait: none is as long unless something is broken

speakers = selectors.DefaultSelector()


def missing():
    """What is not installed, "" where all of it is."""
    names = [name for name, there in [("java", shutil.which("java"))] + [(str(jar), jar.exists()) for jar in JARS] if not there]
    return f"{' and '.join(names)} missing: scripts/setup.sh installs what scripts/packages.txt names" if names else ""


def until(what, found):
    """The first true value of found(), which is asked again whenever a process has said something, or has ended."""
    end = time.monotonic() + PATIENCE_S
    while not (value := found()):
        left = end - time.monotonic()
        ready = speakers.select(left) if left > 0 and speakers.get_map() else []
        if not ready:
            raise TimeoutError(what)
        for key, _ in ready:
            key.data.listen()
    return value


class Speaker:
    """A process, with all that it has said on both of its outputs."""

    def __init__(self, command, **more):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **more)
        self.said, self.open = "", True
        os.set_blocking(self.process.stdout.fileno(), False)
        speakers.register(self.process.stdout, selectors.EVENT_READ, self)

    def listen(self):
        piece = self.process.stdout.read(65536) if self.open else None
        if piece:
            self.said += piece.decode(errors="replace")
        elif piece is not None and self.open:  # its end
            self.open = False
            speakers.unregister(self.process.stdout)

    def hears(self, pattern, count=1):
        """The last of so many matches."""
        def found():
            matches = list(re.finditer(pattern, self.said, re.M))
            if len(matches) < count and not self.open:
                raise EOFError(f'it ended without "{pattern}":\n{self.said[-3000:]}')
            return len(matches) >= count and matches[count - 1]
        return until(pattern, found)

    def says(self, line):
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def ends(self):
        until("its end", lambda: not self.open)
        return self.process.wait()

    def kill(self):
        self.process.kill()
        self.process.wait()
        if self.open:
            self.open = False
            speakers.unregister(self.process.stdout)
        self.process.stdout.close()
        self.process.stdin.close()


def free_ports(count):
    """Below those that the kernel hands out: a server that is down, or not yet up, holds none, and others ask for ports meanwhile."""
    first_handed_out = int(pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    ports = []
    for port in random.sample(range(1024, first_handed_out), first_handed_out - 1024):
        with socket.socket() as one:
            try:
                one.bind(("127.0.0.1", port))
            except OSError:
                continue
        ports.append(port)
        if len(ports) == count:
            return ports
    raise OSError(f"fewer than {count} ports are free below {first_handed_out}")


class Ensemble:
    """Servers are killed and not the machine: what they have written is there without a sync (a busy disk's can take seconds, and a
    leader that waits for it loses its followers). Their limits are as long as their tests' patience allows."""

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
                f"tickTime=500\ninitLimit=40\nsyncLimit=40\nforceSync=no\ndataDir={data}\nclientPort={self.ports[i]}\n"
                "clientPortAddress=127.0.0.1\nadmin.enableServer=false\n" + peers)

    def hosts(self, name):
        return ",".join(f"127.0.0.1:{port}" for port in self.ports) + "/" + name

    def start(self, i):
        self.servers[i] = Speaker(
            ["java", "-Xmx96m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", ":".join(map(str, JARS)),
             "org.apache.zookeeper.server.quorum.QuorumPeerMain", str(self.folder / f"server{i}.cfg")], cwd=self.folder)

    def kill(self, i):
        if self.servers[i] is not None:
            self.servers[i].kill()
            self.servers[i] = None

    def mode(self, i):
        """What it serves as, by the last it has said of it: "leading", "following", or "" where it does not."""
        said = self.servers[i].said if self.servers[i] is not None else ""
        states = re.findall(r"Peer state changed: (\w+)( - broadcast)?", said)
        return states[-1][0] if states and states[-1][1] else ""

    def leader(self, count=3):
        """When so many servers serve: which one leads."""
        def found():
            modes = [self.mode(i) for i in range(3)]
            return [i for i in range(3) if modes[i] == "leading"] if sum(mode != "" for mode in modes) >= count else None
        return until("a leader", found)[0]
