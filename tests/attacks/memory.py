#!/usr/bin/env python3
"""Attacks on the memory of a worker while it runs, by root on the same machine; usage: memory.py PENSTOCK

A graph runs an operator in an enclave. Keys and rows bear a mark that is in no program, and the input stays open, so that the state
stays where it is. Then everybody who can look at memory looks for the mark. Each attack has a control: the same look at memory that is
no secret finds it. What cannot run says why. Ends with "N passed, N failed, N not run".

  R1 /proc/PID/mem     R2 process_vm_readv     R3 ptrace     R4 core dump     R5 swap     R6 stealing the descriptor
  R7 a fork            R8 another user         R9 root without two capabilities      R11 freed memory
  O3 what lies in shared memory     R10, K1 root with all capabilities injects and changes code: it gets at everything, as the
  manual says
"""
import ctypes
import errno
import fcntl
import mmap
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios

HOUSE, HOUSEHOLD = 0xDEC0AD0B, 0xCAFED00D
KEYS = [struct.pack("<II", HOUSE, HOUSEHOLD), struct.pack("<II", HOUSEHOLD, HOUSE)]
COLUMNS = [struct.pack("<IIII", *[v] * 4) for v in (HOUSE, HOUSEHOLD)]
LINES = [b"%d,%d,1.000" % (HOUSEHOLD, HOUSE)]
ROWS = 60000
LOAD = os.path.join(os.path.dirname(os.path.realpath(__file__)), "../../debs14/load.yaml")
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
counts = {"passed": 0, "failed": 0, "not run": 0}


def verdict(good, sentence, seen=""):
    counts["passed" if good else "failed"] += 1
    print(("ok      " if good else "FAILED  ") + sentence + (f" ({seen})" if seen != "" else ""), flush=True)


def not_run(sentence, why):
    counts["not run"] += 1
    print(f"not run {sentence}: {why}", flush=True)


def error_of(call, *arguments):
    """What a system call gives: 0, or the name of its error."""
    ctypes.set_errno(0)
    rc = libc.syscall(ctypes.c_long(call), *[ctypes.c_long(a) if isinstance(a, int) else a for a in arguments])
    return rc, errno.errorcode.get(ctypes.get_errno(), "0") if rc < 0 else "0"


# ---- processes ----

def deny_secret_memory():
    """From now on memfd_secret is missing, as on a kernel without it: a worker then has locked memory. The control."""
    program = struct.pack("HBBI" * 4, 0x20, 0, 0, 0, 0x15, 0, 1, 447, 0x06, 0, 0, 0x00050000 | errno.ENOSYS, 0x06, 0, 0, 0x7FFF0000)
    buffer = ctypes.create_string_buffer(program)
    fprog = struct.pack("HxxxxxxQ", 4, ctypes.addressof(buffer))
    holder = ctypes.create_string_buffer(fprog)
    libc.prctl(38, 1, 0, 0, 0)
    if libc.prctl(22, 2, ctypes.byref(holder), 0, 0) != 0:
        os._exit(99)


class Run:
    """penstock with an enclave, its input open."""

    def __init__(self, penstock, folder, secret):
        self.folder = tempfile.mkdtemp(dir=folder)
        graph = os.path.join(self.folder, "graph.yaml")
        with open(graph, "w") as file:
            file.write("""penstock: 1
name: marked
operators:
  - {id: meters, type: csv_source, params: {file: "-"}}
  - id: sums
    type: aggregate
    inputs: [meters]
    key: [house_id, household_id]
    buckets: 4
    enclave: true
    epc: 16MiB
    params: {window: 3600, group: [house_id, household_id], aggregates: [count as n, sum(value) as watts]}
  - {id: out, type: csv_sink, inputs: [sums], params: {file: out.csv}}
""")
        read, self.write = os.pipe()
        self.process = subprocess.Popen(
            [penstock, "run", graph, "--input", "-", "--output", os.path.join(self.folder, "out"), "--workers", "1"],
            stdin=read, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, preexec_fn=None if secret else deny_secret_memory)
        os.close(read)
        for first in range(0, ROWS, 1000):
            os.write(self.write, b"".join(b"%d,%d,1.000,1,%d,%d,%d\n" % (i, 1377986401 + i // 100, i % 50, HOUSEHOLD, HOUSE)
                                          for i in range(first, first + 1000)))
        self.engine = self.process.pid
        self.worker = self.wait_for_worker()

    def alive(self):
        if self.process.poll() is not None:
            print(self.process.stdout.read().decode())
            raise SystemExit("penstock has ended")

    def wait_for_worker(self):
        """Until all rows are in the worker: nothing in the pipe, nothing in the ring, and it sleeps."""
        while True:
            self.alive()
            children = open(f"/proc/{self.engine}/task/{self.engine}/children").read().split()
            waiting = struct.unpack("i", fcntl.ioctl(self.write, termios.FIONREAD, b"\0\0\0\0"))[0]
            border = [m for m in maps(self.engine) if "penstock-border" in m["name"]]
            if not children or waiting != 0 or not border:
                continue
            with open(f"/proc/{self.engine}/mem", "rb") as memory:
                memory.seek(border[0]["begin"])
                page = memory.read(4096)
            head, tail, sleeps = (struct.unpack_from("<Q", page, 0)[0], struct.unpack_from("<Q", page, 64)[0],
                                  struct.unpack_from("<I", page, 512)[0])
            if head == tail and head > 10 and sleeps == 1:
                return int(children[0])

    def end(self):
        os.close(self.write)
        out = self.process.communicate()[0].decode()
        rows = open(os.path.join(self.folder, "out", "out.csv")).read() if self.process.returncode == 0 else ""
        return self.process.returncode, out, rows


def maps(pid):
    found = []
    for line in open(f"/proc/{pid}/maps"):
        words = line.split(None, 5)
        begin, end = (int(x, 16) for x in words[0].split("-"))
        found.append({"begin": begin, "end": end, "rights": words[1], "name": words[5].strip() if len(words) > 5 else ""})
    return found


def pool_of(pid):
    """The worker's pool: secret memory, or in the control its largest mapping of its own."""
    secret = [m for m in maps(pid) if "secretmem" in m["name"] and "r" in m["rights"]]
    if secret:
        return secret[0], True
    own = [m for m in maps(pid) if m["name"] == "" and "rw" in m["rights"]]
    return max(own, key=lambda m: m["end"] - m["begin"]), False


def extents(pid, mapping):
    """Where a mapping has bytes: one of many gigabytes has holes."""
    if mapping["end"] - mapping["begin"] < 1 << 30:
        return [(mapping["begin"], mapping["end"])]
    path = f"/proc/{pid}/map_files/{mapping['begin']:x}-{mapping['end']:x}"
    found, at, size = [], 0, mapping["end"] - mapping["begin"]
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


def marks_in(data):
    return sum(data.count(mark) for mark in KEYS + COLUMNS + LINES)


def look(pid, mapping):
    """(marks found, bytes read, bytes that cannot be read) of a mapping, by /proc/PID/mem."""
    marks = read = refused = 0
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for begin, end in extents(pid, mapping):
            for at in range(begin, end, 1 << 20):
                count = min(1 << 20, end - at)
                try:
                    memory.seek(at)
                    data = memory.read(count)
                    marks += marks_in(data)
                    read += len(data)
                except OSError:
                    refused += count
    return marks, read, refused


# ---- attacks ----

def mem_file(run, control):
    pool, secret = pool_of(run.worker)
    marks, read, refused = look(run.worker, pool)
    if control:
        verdict(not secret and marks > 0, "R1 control: the mark lies in the pool, where that is no secret memory", f"{marks} times")
        return
    verdict(secret and read == 0 and refused > 0, "R1 nothing of the pool is read by /proc/PID/mem", f"{refused >> 20} MiB refused")
    others = [m for m in maps(run.worker) if "w" in m["rights"] and "secretmem" not in m["name"]]
    found = {m["name"] or "of its own": look(run.worker, m) for m in others}
    verdict(all(f[0] == 0 for f in found.values()) and sum(f[1] for f in found.values()) > 0,
            "R1 the mark is in no other memory that the worker writes",
            ", ".join(f"{name.split()[0]}: {f[1] >> 10} KiB" for name, f in found.items()))
    shared = {name: f for name, f in found.items() if "penstock-border" in name or "penstock-outside" in name}
    verdict(len(shared) == 2 and all(f[0] == 0 for f in shared.values()) and sum(f[1] for f in shared.values()) > 1 << 20,
            "O3 the mark is not in the memory that it shares with its host, through which all of it has come")
    engine = sum(look(run.engine, m)[0] for m in maps(run.engine) if "w" in m["rights"] and m["end"] - m["begin"] < 1 << 30)
    verdict(engine > 0, "R1 control: the same look at the engine finds it: its rows are in the clear, as the manual says",
            f"{engine} times")


def vm_readv(run, control):
    pool, _ = pool_of(run.worker)
    room = ctypes.create_string_buffer(4096)
    local = struct.pack("QQ", ctypes.addressof(room), 4096)
    at = pool["begin"] + (512 << 10)
    rc, error = error_of(310, run.worker, local, 1, struct.pack("QQ", at, 4096), 1, 0)
    if control:
        verdict(rc == 4096, "R2 control: process_vm_readv reads a pool that is no secret memory", error)
    else:
        verdict(rc < 0 and error == "EFAULT", "R2 process_vm_readv of the pool is refused", error)


def peek(run, control):
    pool, _ = pool_of(run.worker)
    word = ctypes.c_long()
    rc, error = error_of(101, 0x4206, run.worker, 0, 0)  # PTRACE_SEIZE
    if rc != 0:
        verdict(not control, "R3 ptrace is refused", error)
        return
    error_of(101, 0x4207, run.worker, 0, 0)  # PTRACE_INTERRUPT
    os.waitpid(run.worker, 0x40000000)  # __WALL
    rc, error = error_of(101, 2, run.worker, pool["begin"] + (512 << 10), ctypes.byref(word))  # PTRACE_PEEKDATA
    error_of(101, 17, run.worker, 0, 0)  # PTRACE_DETACH
    if control:
        verdict(rc == 0, "R3 control: ptrace reads a pool that is no secret memory", error)
    else:
        verdict(rc < 0 and error == "EIO", "R3 ptrace reads nothing of the pool", error)


def core_marks(pid, folder):
    done = subprocess.run(["gcore", "-o", os.path.join(folder, "core"), str(pid)], capture_output=True)
    path = os.path.join(folder, f"core.{pid}")
    if not os.path.exists(path):
        return None, done.stderr.decode()[-200:]
    marks, size = 0, 0
    with open(path, "rb") as file:
        while True:
            data = file.read(16 << 20)
            if not data:
                break
            marks += marks_in(data)
            size += len(data)
    os.unlink(path)
    return marks, f"{size >> 10} KiB"


def core_dump(run, control):
    name = "R4 a dump of the worker by gdb"
    if shutil.which("gcore") is None:
        not_run(name, "gcore is not installed")
        return
    if control:
        marks, seen = core_marks(run.engine, run.folder)
        verdict(marks is not None and marks > 0, "R4 control: a dump of the engine holds the mark", seen)
        return
    marks, seen = core_marks(run.worker, run.folder)
    verdict(marks in (0, None), name + " holds no mark", seen)
    limits = open(f"/proc/{run.worker}/limits").read()
    verdict(re.search(r"Max core file size +0 +0 ", limits) is not None, "R4 the worker leaves no core file")


def steal(run, control):
    if control:
        return
    fds = os.listdir(f"/proc/{run.worker}/fd")
    verdict(fds == [], "R6 the worker has no descriptor that could be taken", str(fds))
    pidfd, error = error_of(434, run.worker, 0)  # pidfd_open
    taken = [fd for fd in range(64) if error_of(438, pidfd, fd, 0)[0] >= 0]  # pidfd_getfd
    verdict(pidfd >= 0 and taken == [], "R6 pidfd_getfd takes none", str(taken))
    mine, _ = error_of(434, os.getpid(), 0)
    verdict(error_of(438, mine, 1, 0)[0] >= 0, "R6 control: it takes one of a process that has some")
    pool, _ = pool_of(run.worker)
    try:
        os.open(f"/proc/{run.worker}/map_files/{pool['begin']:x}-{pool['end']:x}", os.O_RDWR)
        verdict(False, "R6 the pool is opened by map_files")
    except OSError as e:
        verdict(True, "R6 the pool is not opened by map_files", errno.errorcode[e.errno])


def other_user(run, control):
    """The worker's own user would do as well, but here that is root."""
    if control:
        return
    code = ("import ctypes,subprocess\n"
            "libc=ctypes.CDLL(None,use_errno=True)\n"
            "own=subprocess.Popen(['sleep','600'])\n"
            "for pid in (%d, own.pid):\n"
            " try:\n  open('/proc/%%d/mem'%%pid,'rb'); print('opened')\n except OSError as e: print(e.errno)\n"
            " print(libc.ptrace(0x4206,pid,0,0), ctypes.get_errno())\n"
            "own.kill()\n" % run.worker)
    for row, who, words in (("R8 ", "another user", ["--reuid", "65534", "--regid", "65534", "--clear-groups"]),
                            ("R9 ", "root without CAP_SYS_PTRACE and CAP_SYS_ADMIN",
                             ["--bounding-set", "-sys_ptrace,-sys_admin", "--inh-caps", "-sys_ptrace,-sys_admin"])):
        done = subprocess.run(["setpriv", *words, "python3", "-c", code], capture_output=True, text=True)
        seen = done.stdout.split()
        verdict(len(seen) == 6 and seen[0] == str(errno.EACCES) and seen[1] == "-1", f"{row}{who} opens and traces nothing",
                " ".join(seen) + done.stderr[-200:])
        verdict(len(seen) == 6 and seen[3:5] == ["opened", "0"], f"{row}control: it does a process of its own", " ".join(seen[3:]))


def started_by(engine):
    """A child that executes the program already; None: there is none yet."""
    try:
        for task in os.listdir(f"/proc/{engine}/task"):
            for child in open(f"/proc/{engine}/task/{task}/children").read().split():
                if "memfd:penstock-enclave" in os.readlink(f"/proc/{child}/exe"):
                    return child
    except OSError:
        pass  # one of them has ended meanwhile: it is looked again
    return None


def early(penstock):
    """Before its first instruction: of a worker that only waits, and would be given its keys later. All have the same user and capabilities."""
    slow = os.path.join(os.path.dirname(penstock), "tests/cluster/slow")
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([penstock, "gen", "--rows", "100", "--output", f"{folder}/m.csv", "--quiet"], check=True)
        bare = ["setpriv", "--bounding-set", "-sys_ptrace,-sys_admin", "--inh-caps", "-sys_ptrace,-sys_admin"]  # as in a container
        run = subprocess.Popen([*bare, penstock, "run", LOAD, "--input", f"{folder}/m.csv", "--output", f"{folder}/out",
                                "--enclave", "plug_load", "--set", "partitions=1", "--enclave-program", slow, "--workers", "1", "--quiet"],
                               stderr=subprocess.DEVNULL)
        worker = None
        while worker is None and run.poll() is None:
            worker = started_by(run.pid)
        code = ("import sys\ntry:\n open('/proc/%s/mem'%sys.argv[1],'rb'); print('opened')\nexcept OSError as e: print(e.errno)\n")
        seen = [subprocess.run([*bare, "python3", "-c", code, str(pid)], capture_output=True, text=True).stdout.strip()
                for pid in (worker, run.pid)]
        run.kill()
        run.wait()
    verdict(seen[0] == str(errno.EACCES), "R9 who may open the engine opens no worker, from its start on", seen[0])
    verdict(seen[1] == "opened", "R9 control: it opens the engine", seen[1])


def inject(run, control):
    """Root writes code over the worker's own and has it look for the mark: this is what the backend does not protect from."""
    if control:
        return
    name = "R10 not protected from, as the manual says: root injects code, which finds the mark in the pool"
    if os.uname().machine != "x86_64":
        not_run(name, "the code is for x86_64")
        return
    registers, before = (ctypes.c_ulonglong * 27)(), ctypes.c_long()
    if error_of(101, 0x4206, run.worker, 0, 0)[0] != 0:  # PTRACE_SEIZE
        not_run(name, "ptrace is refused")
        return
    error_of(101, 0x4207, run.worker, 0, 0)  # PTRACE_INTERRUPT
    os.waitpid(run.worker, 0x40000000)
    error_of(101, 12, run.worker, 0, ctypes.byref(registers))  # PTRACE_GETREGS
    saved = list(registers)
    at = registers[16]  # rip
    error_of(101, 2, run.worker, at, ctypes.byref(before))  # PTRACE_PEEKDATA
    code = int.from_bytes(b"\xf2\xaf\xcc".ljust(8, b"\x90"), "little")  # repne scasd; int3
    written = error_of(101, 5, run.worker, at, code)[0] == 0  # PTRACE_POKEDATA
    pool, _ = pool_of(run.worker)
    registers[10], registers[11], registers[14], registers[15] = HOUSE, (pool["end"] - pool["begin"]) // 4, pool["begin"], 2**64 - 1
    error_of(101, 13, run.worker, 0, ctypes.byref(registers))  # PTRACE_SETREGS
    error_of(101, 7, run.worker, 0, 0)  # PTRACE_CONT
    _, status = os.waitpid(run.worker, 0x40000000)
    error_of(101, 12, run.worker, 0, ctypes.byref(registers))
    found = os.WIFSTOPPED(status) and os.WSTOPSIG(status) == signal.SIGTRAP and registers[11] != 0
    error_of(101, 5, run.worker, at, before.value)
    error_of(101, 13, run.worker, 0, ctypes.byref((ctypes.c_ulonglong * 27)(*saved)))
    error_of(101, 17, run.worker, 0, 0)  # PTRACE_DETACH
    if written:
        verdict(found, name, f"at byte {registers[14] - pool['begin']} of it")
    else:
        not_run(name, "this kernel lets nobody write to code that way")


def page_out(pid, begin, size):
    """Asks the kernel to write memory of a process to swap: bytes, and the name of an error."""
    pidfd, _ = error_of(434, pid, 0)  # pidfd_open
    asked = error_of(440, pidfd, struct.pack("QQ", begin, size), 1, 21, 0)  # process_madvise, MADV_PAGEOUT
    os.close(pidfd)
    return asked


def direct_marks(path, marks):
    """How often they are in a file, read past the page cache."""
    found, room = 0, mmap.mmap(-1, 1 << 20)
    fd = os.open(path, os.O_RDONLY | os.O_DIRECT)
    try:
        while (count := os.readv(fd, [room])) > 0:
            found += sum(room[:count].count(mark) for mark in marks)
    finally:
        os.close(fd)
    return found


def swap(run, control):
    if control:
        return
    name, own = "R5 nothing of the pool is written to swap", struct.pack("<II", 0x5EEDFACE, 0x0DDBA11)
    path = os.path.join(run.folder, "swap")
    with open(path, "wb") as file:
        for _ in range(64):
            file.write(bytes(1 << 20))
    os.chmod(path, 0o600)
    if shutil.which("mkswap") is None or subprocess.run(["mkswap", path], capture_output=True).returncode != 0:
        not_run(name, "mkswap does not make a swap file")
        return
    holder = ctypes.create_string_buffer(path.encode())
    if error_of(167, ctypes.addressof(holder), 0)[0] != 0:  # swapon
        not_run(name, "this system takes no swap file: " + errno.errorcode.get(ctypes.get_errno(), "?"))
        return
    try:
        pool, _ = pool_of(run.worker)
        rc, error = page_out(run.worker, pool["begin"], pool["end"] - pool["begin"])
        verdict(rc < 0 and error == "EINVAL" and direct_marks(path, KEYS + COLUMNS) == 0, name, error)
        plain = mmap.mmap(-1, 16 << 20)
        plain.write(own * ((16 << 20) // len(own)))
        address = ctypes.addressof(ctypes.c_char.from_buffer(plain))
        rc, error = page_out(os.getpid(), address, 16 << 20)
        verdict(rc > 0 and direct_marks(path, [own]) > 0, "R5 control: memory that is not locked is written there, and seen", error)
    finally:
        error_of(168, ctypes.addressof(holder))  # swapoff


def flags_of(pid, begin):
    """The kernel's flags of a mapping."""
    here = False
    for line in open(f"/proc/{pid}/smaps"):
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            here = int(line.split("-")[0], 16) == begin
        elif here and line.startswith("VmFlags:"):
            return line.split()[1:]
    return []


def fork(run, control):
    if control:
        return
    pool, _ = pool_of(run.worker)
    verdict("dc" in flags_of(run.worker, pool["begin"]), "R7 a child would not get the pool (that it gets no child is test_operator.c)")
    heap = next(m for m in maps(run.engine) if "rw" in m["rights"] and m["name"] == "[heap]")
    verdict("dc" not in flags_of(run.engine, heap["begin"]), "R7 control: a child of the engine would get its memory")


def freed(run, control):
    if not control:
        return
    name = "R11 pages that a worker has had hold nothing of it"
    if not os.path.exists("/proc/kcore"):
        not_run(name, "whoever gets them gets zeros; to see them before, there is no /proc/kcore")
    else:
        not_run(name, "which of the pages in /proc/kcore were a worker's is not told once it has ended")


def change_code(run, control):
    """K1: the last bytes of the worker's code, which nothing runs, are written over and put back."""
    if control:
        return
    name = "K1 not protected from, as the manual says: root writes over the worker's code by /proc/PID/mem"
    code = next(m for m in maps(run.worker) if "x" in m["rights"] and "penstock-enclave" in m["name"])
    at = code["end"] - 16
    try:
        with open(f"/proc/{run.worker}/mem", "r+b", buffering=0) as memory:
            memory.seek(at)
            before = memory.read(16)
            memory.seek(at)
            memory.write(bytes(255 - b for b in before))
            memory.seek(at)
            after = memory.read(16)
            memory.seek(at)
            memory.write(before)
    except OSError as e:
        not_run(name, "this kernel lets nobody do it: " + errno.errorcode[e.errno])
        return
    verdict(after == bytes(255 - b for b in before), name)


ATTACKS = [mem_file, vm_readv, peek, core_dump, swap, steal, fork, other_user, freed, change_code, inject]


def main():
    penstock = os.path.realpath(sys.argv[1])
    if os.geteuid() != 0:
        for attack in ATTACKS:
            not_run(attack.__name__, "only root can try")
    else:
        with tempfile.TemporaryDirectory() as folder:
            rows = {}
            for secret in (True, False):
                if secret and error_of(447, 0)[0] < 0:
                    not_run("all but the control", "this kernel has no memfd_secret")
                    continue
                run = Run(penstock, folder, secret)
                try:
                    for attack in ATTACKS:
                        attack(run, not secret)
                    code, out, rows[secret] = run.end()
                finally:
                    if run.process.poll() is None:
                        run.process.send_signal(signal.SIGKILL)
                if secret:
                    early(penstock)
                verdict(code == 0 and len(rows[secret].splitlines()) >= 2, "the run ends well after all of this", f"code {code}")
                said = "without secret-memory" in out
                warned = "warning: operator sums runs in an enclave that protects from nobody for certain: without secret-memory" in out
                verdict(said != secret and warned != secret and ("protects from nobody for certain" in out) != secret,
                        "P8 secret memory is claimed where it is there, and only there")
            if len(rows) == 2:
                verdict(rows[True] == rows[False] != "", "the results are the same bytes in both")
    print(f"{counts['passed']} passed, {counts['failed']} failed, {counts['not run']} not run")
    return 0 if counts["failed"] == 0 else 1


sys.exit(main())
