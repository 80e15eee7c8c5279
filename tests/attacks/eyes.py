"""eyes.py - what the attacks of this folder share: who looks at the memory of a worker, what they look for, how it is counted.

Rows and keys bear marks that are in no program. A run of penstock with its operator in an enclave is brought to a halt in the middle of its
input, so that the state stays where it is; then everybody looks.
"""
import ctypes
import errno
import fcntl
import os
import resource
import shutil
import signal
import stat
import struct
import subprocess
import tempfile
import termios

HOUSE, HOUSEHOLD = 0xDEC0AD0B, 0xCAFED00D
KEYS = [struct.pack("<II", HOUSE, HOUSEHOLD), struct.pack("<II", HOUSEHOLD, HOUSE)]
COLUMNS = [struct.pack("<IIII", *[v] * 4) for v in (HOUSE, HOUSEHOLD)]
LINES = [b"%d,%d,1.000" % (HOUSEHOLD, HOUSE)]
MARKS = KEYS + COLUMNS + LINES
MARK_BYTES_MAX = 256  # of all that is looked for
LOOK_BYTES = 1 << 20
MEMFD_SECRET, LANDLOCK_CREATE = 447, 444  # the same on every machine
PTRACE_PEEKDATA, PTRACE_GETREGS, PTRACE_SETREGS, PTRACE_DETACH = 2, 12, 13, 17
PTRACE_SEIZE, PTRACE_INTERRUPT, WALL = 0x4206, 0x4207, 0x40000000
NOBODY, SOMEBODY = 65534, 65533
GRAPH = """penstock: 1
name: marked
operators:
  - {{id: meters, type: csv_source, params: {{file: "-"}}}}
  - id: sums
    type: aggregate
    inputs: [meters]
    key: [house_id, household_id]
    buckets: 4
    enclave: true
    epc: {epc}
    params: {{window: 3600, group: [house_id, household_id], aggregates: [count as n, sum(value) as watts]}}
  - {{id: out, type: csv_sink, inputs: [sums], params: {{file: out.csv}}}}
"""
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
counts = {"passed": 0, "failed": 0, "not run": 0}


# ---- what is told ----

def verdict(good, sentence, seen=""):
    counts["passed" if good else "failed"] += 1
    print(("ok      " if good else "FAILED  ") + sentence + (f" ({seen})" if seen != "" else ""), flush=True)


def not_run(sentence, why):
    counts["not run"] += 1
    print(f"not run {sentence}: {why}", flush=True)


def told():
    """The last line, and the exit code."""
    print(f"{counts['passed']} passed, {counts['failed']} failed, {counts['not run']} not run")
    return 0 if counts["failed"] == 0 else 1


# ---- the system ----

def error_of(call, *arguments):
    """What a system call gives: 0, or the name of its error."""
    ctypes.set_errno(0)
    rc = libc.syscall(ctypes.c_long(call), *[ctypes.c_long(a) if isinstance(a, int) else a for a in arguments])
    return rc, errno.errorcode.get(ctypes.get_errno(), "0") if rc < 0 else "0"


def deny(calls):
    """From now on these system calls are missing, as on a kernel without them."""
    steps = [(0x20, 0, 0, 0), *[(0x15, len(calls) - i, 0, call) for i, call in enumerate(calls)],
             (0x06, 0, 0, 0x7FFF0000), (0x06, 0, 0, 0x00050000 | errno.ENOSYS)]
    buffer = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    fprog = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(steps), ctypes.addressof(buffer)))
    libc.prctl(38, 1, 0, 0, 0)
    if libc.prctl(22, 2, ctypes.byref(fprog), 0, 0) != 0:
        os._exit(99)


def why_no_root():
    """Why this process is not the root that reads others' memory, or nothing."""
    if os.geteuid() != 0:
        return "only root can try"
    with open("/proc/self/status") as file:
        effective = next(int(line.split()[1], 16) for line in file if line.startswith("CapEff:"))
    missing = [name for bit, name in ((19, "CAP_SYS_PTRACE"), (21, "CAP_SYS_ADMIN")) if not effective >> bit & 1]
    return "this root has no " + " and no ".join(missing) if missing else ""


def as_user(user, group=None):
    """Words before a command that make it another user's, without any capability."""
    return ["setpriv", "--reuid", str(user), "--regid", str(group or user), "--clear-groups"]


DIES_WITH_TEST = ["setpriv", "--pdeathsig", "KILL"]  # whatever that ends with
WITHOUT_TWO = ["setpriv", "--bounding-set", "-sys_ptrace,-sys_admin", "--inh-caps", "-sys_ptrace,-sys_admin"]


def for_everybody(folder):
    os.chmod(folder, stat.S_IRWXU | stat.S_IRGRP | stat.S_IXGRP | stat.S_IROTH | stat.S_IXOTH)
    return folder


# ---- runs ----

class Run:
    """penstock with an operator in an enclave, its input open. program: of the worker; denied: system calls that neither has; owner:
    words that make it somebody's; words: further ones of `penstock run`."""

    def __init__(self, penstock, folder, program=None, denied=(), owner=(), words=(), rows=60000, epc="16MiB"):
        self.folder = tempfile.mkdtemp(dir=folder)
        os.chmod(self.folder, 0o777)
        graph = os.path.join(self.folder, "graph.yaml")
        with open(graph, "w") as file:
            file.write(GRAPH.format(epc=epc))
        os.chmod(graph, 0o644)

        def before():
            for limit in (resource.RLIMIT_CORE, resource.RLIMIT_MEMLOCK):
                resource.setrlimit(limit, (resource.getrlimit(limit)[1],) * 2)
            if denied:
                deny(denied)

        read, self.write = os.pipe()
        self.process = subprocess.Popen(
            [*owner, penstock, "run", graph, "--input", "-", "--output",
             os.path.join(self.folder, "out"), "--workers", "1", *(["--enclave-program", program] if program else []), *words],
            stdin=read, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, preexec_fn=before, cwd=self.folder)
        os.close(read)
        self.engine = self.process.pid
        try:
            for first in range(0, rows, 1000):
                os.write(self.write, b"".join(b"%d,%d,1.000,1,%d,%d,%d\n" % (i, 1377986401 + i // 1000, i % 50, HOUSEHOLD, HOUSE)
                                              for i in range(first, first + 1000)))
        except BrokenPipeError:
            self.alive()
            raise
        self.worker = halt(self.process, self.write)

    def alive(self):
        if self.process.poll() is not None:
            print(self.process.stdout.read().decode())
            raise SystemExit("penstock has ended")

    def end(self):
        os.close(self.write)
        self.write = None
        out = self.process.communicate()[0].decode()
        path = os.path.join(self.folder, "out", "out.csv")
        rows = open(path).read() if self.process.returncode == 0 else ""
        return self.process.returncode, out, rows

    def drop(self):
        """However it stands; the worker dies with it."""
        if self.write is not None:
            os.close(self.write)
            self.write = None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        if not self.process.stdout.closed:
            self.process.communicate()


def threads_sleep(pid):
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/stat") as file:
            if file.read().rsplit(")", 1)[1].split()[0] != "S":
                return False
    return True


def pipe_is_empty(write):
    return struct.unpack("i", fcntl.ioctl(write, termios.FIONREAD, b"\0\0\0\0"))[0] == 0


def borders(pid):
    """Control pages of the memory that it shares with its workers: messages put in, messages taken out, whether the worker sleeps."""
    found = []
    with open(f"/proc/{pid}/mem", "rb") as memory:
        for mapping in maps(pid):
            if "penstock-border" in mapping["name"]:
                memory.seek(mapping["begin"])
                page = memory.read(4096)
                found.append(tuple(struct.unpack_from(form, page, at)[0] for form, at in (("<Q", 0), ("<Q", 64), ("<I", 512))))
    return found


def is_idle(border):
    head, tail, sleeps = border
    return head == tail and head > 3 and sleeps == 1


def halt(process, write, looks=50):
    """Waits until all that was written has gone as far as it goes: nothing in the pipe, nothing in the ring, and all sleep, at so many
    looks one after the other, for who has work to do does not sleep. Returns the worker."""
    quiet = 0
    while quiet < looks:
        if process.poll() is not None:
            said = process.stdout.read()
            raise SystemExit("penstock has ended: " + (said if isinstance(said, str) else said.decode()))
        try:
            children = open(f"/proc/{process.pid}/task/{process.pid}/children").read().split()
            seen = borders(process.pid)
            good = bool(children and seen) and pipe_is_empty(write) and is_idle(seen[0]) and threads_sleep(process.pid)
        except (FileNotFoundError, ProcessLookupError):
            good = False  # one of them has ended meanwhile: it is looked again
        quiet = quiet + 1 if good else 0
    return int(children[0])


# ---- memory ----

def maps(pid):
    found = []
    for line in open(f"/proc/{pid}/maps"):
        words = line.split(None, 5)
        begin, end = (int(x, 16) for x in words[0].split("-"))
        found.append({"begin": begin, "end": end, "rights": words[1], "name": words[5].strip() if len(words) > 5 else ""})
    return found


def is_secret(mapping):
    return "secretmem" in mapping["name"]


def pool_of(pid):
    """The worker's pool: secret memory, or in the control its largest mapping of its own."""
    secret = [m for m in maps(pid) if is_secret(m) and "r" in m["rights"]]
    if secret:
        return secret[0], True
    own = [m for m in maps(pid) if m["name"] == "" and "rw" in m["rights"]]
    return max(own, key=lambda m: m["end"] - m["begin"]), False


def anonymous_extents(pid, mapping):
    """The same of memory behind which there is no file: pages that it has, or that are swapped."""
    found = []
    with open(f"/proc/{pid}/pagemap", "rb", buffering=0) as file:
        file.seek(mapping["begin"] // 4096 * 8)
        for at in range(mapping["begin"], mapping["end"], LOOK_BYTES * 64):
            entries = file.read(min(LOOK_BYTES * 64, mapping["end"] - at) // 4096 * 8)
            found += [(at + i * 4096, at + (i + 1) * 4096) for i, (entry,) in enumerate(struct.iter_unpack("<Q", entries)) if entry >> 62]
    return found


def extents(pid, mapping):
    """Where a mapping has bytes: one of many gigabytes has holes."""
    if mapping["end"] - mapping["begin"] < 1 << 30:
        return [(mapping["begin"], mapping["end"])]
    path = f"/proc/{pid}/map_files/{mapping['begin']:x}-{mapping['end']:x}"
    found, at, size = [], 0, mapping["end"] - mapping["begin"]
    if mapping["name"] == "" or mapping["name"].startswith("["):
        return anonymous_extents(pid, mapping)
    fd = os.open(path, os.O_RDONLY)
    try:
        while at < size:
            begin = os.lseek(fd, at, os.SEEK_DATA)
            at = os.lseek(fd, begin, os.SEEK_HOLE)
            found.append((mapping["begin"] + begin, mapping["begin"] + min(at, size)))
    except OSError as e:
        if e.errno != errno.ENXIO:
            raise
    finally:
        os.close(fd)
    return found


def pieces(pid, mapping):
    """(address, bytes or None) of a mapping, by /proc/PID/mem: None where it is refused. Pieces overlap, so that no mark is cut."""
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for begin, end in extents(pid, mapping):
            for at in range(begin, end, LOOK_BYTES):
                try:
                    memory.seek(at)
                    yield at, memory.read(min(LOOK_BYTES + MARK_BYTES_MAX, end - at))
                except (OSError, OverflowError, ValueError):
                    yield at, None


def marks_in(data, marks=None):
    return sum(data.count(mark) for mark in marks or MARKS)


def look(pid, mapping, marks=None):
    """(marks found, bytes read, pieces that cannot be read) of a mapping."""
    found = read = refused = 0
    for _, data in pieces(pid, mapping):
        if data is None:
            refused += 1
            continue
        found += marks_in(data, marks)
        read += len(data)
    return found, read, refused


def marks_in_file(path, marks=None):
    """(marks, bytes)"""
    found = size = 0
    kept = b""
    with open(path, "rb") as file:
        while data := file.read(16 << 20):
            found += marks_in(kept + data, marks) - marks_in(kept, marks)
            size += len(data)
            kept = data[-MARK_BYTES_MAX:]
    return found, size


def gcore(pid, folder):
    """(marks or None: no file was written, what is said of it) of a dump by gdb."""
    done = subprocess.run(["gcore", "-o", os.path.join(folder, "dump"), str(pid)], capture_output=True)
    path = os.path.join(folder, f"dump.{pid}")
    if not os.path.exists(path):
        said = done.stderr.decode(errors="replace").splitlines()
        lines = [line for line in said if "ptrace" in line] or [line for line in said if line.strip()]
        return None, lines[0] if lines else f"exit code {done.returncode}"
    marks, size = marks_in_file(path)
    os.unlink(path)
    return marks, f"{size >> 10} KiB"


def programs(penstock, folder, names=("penstock", "penstock-enclave")):
    """Copies that each user may run, wherever the build lies. Returns that of penstock."""
    to = for_everybody(tempfile.mkdtemp(dir=folder))
    for name in names:
        shutil.copy(os.path.join(os.path.dirname(penstock), name), to)
        os.chmod(os.path.join(to, name), 0o755)
    return os.path.join(to, "penstock")
