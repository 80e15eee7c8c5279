#!/usr/bin/env python3
"""Attacks on the memory of a worker while it runs; usage: memory.py PENSTOCK BARE LEFT

A graph runs an operator in an enclave. Keys and rows bear a mark that is in no program, and the input stays open, so that the state stays
where it is. Then everybody who can look at memory looks for the mark: root, root without two capabilities, the worker's own user, another
user. Each attack has a control: the same look at memory that is no secret finds it, or at a worker that protects nothing (BARE, bare.c),
or at one that leaves its descriptors open (LEFT, left.c). What cannot run says why. Ends with "N passed, N failed, N not run".

  R1 /proc/PID/mem     R2 process_vm_readv     R3 ptrace     R4 core dump     R5 swap     R6 stealing the descriptor
  R7 a fork            R8 another user         R9 root without two capabilities      R11 freed memory      R12 /proc/kcore
  O3 what lies in shared memory     R10, K1 root with all capabilities injects and changes code: it gets at everything, as the
  manual says

Who is not root tries what he can: R1 to R4 and R6 on a worker of his own.
"""
import ctypes
import errno
import glob
import json
import mmap
import os
import re
import resource
import shutil
import signal
import struct
import subprocess
import sys
import tempfile

import eyes
from eyes import COLUMNS, HOUSE, KEYS, NOBODY, SOMEBODY, Run, as_user, error_of, look, maps, not_run, pool_of, verdict

LOAD = os.path.join(os.path.dirname(os.path.realpath(__file__)), "../../debs14/load.yaml")
PAGE = 4096



def mem_file(run, control):
    pool, secret = pool_of(run.worker)
    marks, read, refused = look(run.worker, pool)
    if control:
        verdict(not secret and marks > 0, "R1 control: the mark lies in the pool, where that is no secret memory", f"{marks} times")
        return
    verdict(secret and read == 0 and refused > 0, "R1 nothing of the pool is read by /proc/PID/mem", f"{refused} MiB refused")
    others = [m for m in maps(run.worker) if "w" in m["rights"] and "secretmem" not in m["name"]]
    found = {m["name"] or "unnamed": look(run.worker, m) for m in others}
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


def core_dump(run, control):
    name = "R4 a dump of the worker by gdb"
    if shutil.which("gcore") is None:
        not_run(name, "gcore is not installed")
        return
    if control:
        marks, seen = eyes.gcore(run.engine, run.folder)
        verdict(marks is not None and marks > 0, "R4 control: a dump of the engine holds the mark", seen)
        return
    marks, seen = eyes.gcore(run.worker, run.folder)
    if marks is None:
        not_run(name, "gdb wrote no file: " + seen)
    else:
        verdict(marks == 0, name + " is written and holds no mark", seen)
    limits = open(f"/proc/{run.worker}/limits").read()
    verdict(re.search(r"Max core file size +0 +0 ", limits) is not None, "R4 the worker may leave no core file")


def fault(pid):
    """Lets a process go on where no code is. False: it cannot be done."""
    registers = (ctypes.c_ulonglong * 27)()
    if error_of(101, eyes.PTRACE_SEIZE, pid, 0, 0)[0] != 0:
        return False
    error_of(101, eyes.PTRACE_INTERRUPT, pid, 0, 0)
    os.waitpid(pid, eyes.WALL)
    error_of(101, eyes.PTRACE_GETREGS, pid, 0, ctypes.byref(registers))
    registers[15], registers[16] = 2**64 - 1, 0  # no system call to go on with; rip
    good = error_of(101, eyes.PTRACE_SETREGS, pid, 0, ctypes.byref(registers))[0] == 0
    error_of(101, eyes.PTRACE_DETACH, pid, 0, 0)
    return good


def cores_of(penstock, folder, program, denied):
    """What the kernel writes of a worker that faults, whose limit root has raised where root may. None: it cannot be made to fault."""
    run = Run(penstock, folder, program, denied)
    try:
        limit = "its limit raised"
        try:
            resource.prlimit(run.worker, resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        except PermissionError:  # a root without CAP_SYS_RESOURCE, and the worker's limit is zero for good
            limit = "its limit not to be raised by this root"
        if not fault(run.worker):
            return None
        while open(f"/proc/{run.worker}/stat").read().rsplit(")", 1)[1].split()[0] != "Z":
            pass  # its engine waits for input, and looks for it only then
        out = run.end()[1]
        found = [eyes.marks_in_file(path) for path in glob.glob(os.path.join(run.folder, "core*"))]
        return {"files": len(found), "marks": sum(f[0] for f in found), "bytes": sum(f[1] for f in found), "out": out, "limit": limit}
    finally:
        run.drop()


def kernel_core(penstock, folder, bare):
    """Into the folder of the run, where that is how this system has it: how it is is for all processes, so it is not changed here."""
    name = "R4 a worker that faults leaves no core file"
    with open("/proc/sys/kernel/core_pattern") as file:
        pattern = file.read().strip()
    if os.uname().machine != "x86_64":
        not_run(name, "how it is made to fault is for x86_64")
    elif pattern == "" or pattern[0] in "|/@":
        not_run(name, f"this system's core files go elsewhere: {pattern!r}")
    elif (control := cores_of(penstock, folder, bare, (eyes.LANDLOCK_CREATE,))) is None or control["files"] == 0:
        not_run(name, "this system writes no core file of a worker that protects nothing, either")
    else:
        verdict(control["marks"] > 0 and "signal 11" in control["out"],
                "R4 control: of a worker that protects nothing the core file has the mark",
                f"{control['marks']} times in {control['bytes'] >> 10} KiB")
        found = cores_of(penstock, folder, None, ())
        verdict(found is not None and found["files"] == 0 and "signal 11" in found["out"], name, found and found["limit"])


# ---- physical memory ----

def frames_of(pid, mapping):
    """Addresses of its pages in the machine's memory; 0 of those that it has not, or that are not told."""
    with open(f"/proc/{pid}/pagemap", "rb", buffering=0) as file:
        file.seek(mapping["begin"] // PAGE * 8)
        entries = file.read((mapping["end"] - mapping["begin"]) // PAGE * 8)
    return [(entry & (1 << 55) - 1) * PAGE if entry >> 63 else 0 for entry, in struct.iter_unpack("<Q", entries)]


def kcore_segments(file):
    """(physical address, bytes, place in the file) of what it has of the machine's memory: an ELF core file of 64 bits."""
    head = file.read(64)
    if head[:5] != b"\x7fELF\x02":
        return []
    at, = struct.unpack_from("<Q", head, 32)
    size, count = struct.unpack_from("<HH", head, 54)
    file.seek(at)
    table = file.read(size * count)
    entries = [struct.unpack_from("<IIQQQQQQ", table, i * size) for i in range(count)]
    return [(e[4], e[5], e[2]) for e in entries if e[0] == 1 and e[4] != 2**64 - 1 and e[5] != 0]


def kcore_marks(path, frames):
    """(marks in these pages, pages that the file has)"""
    found = had = 0
    with open(path, "rb", buffering=0) as file:
        segments = kcore_segments(file)
        for frame in frames:
            for address, size, place in segments:
                if frame != 0 and address <= frame and frame + PAGE <= address + size:
                    file.seek(place + frame - address)
                    found += eyes.marks_in(file.read(PAGE))
                    had += 1
                    break
    return found, had


def kcore_missing():
    """Why it cannot be read, or nothing."""
    try:
        with open("/proc/kcore", "rb", buffering=0) as file:
            return "" if kcore_segments(file) else "/proc/kcore has no addresses of the machine's memory"
    except FileNotFoundError:
        return "this kernel has no /proc/kcore"
    except OSError as e:
        return "/proc/kcore is not to be read here: " + errno.errorcode[e.errno]


def kcore_made_up(folder):
    """Of a file that is made here: that what is looked for is found where it is, and nowhere else."""
    path = os.path.join(folder, "kcore")
    pages = [bytes(PAGE), KEYS[0] * (PAGE // 8), bytes(PAGE)]
    segments = [(2**64 - 1, PAGE, 4096), (0x100000, 3 * PAGE, 8192)]
    with open(path, "wb") as file:
        file.write(b"\x7fELF\x02".ljust(32, b"\0") + struct.pack("<QQIHHHHHH", 64, 0, 0, 64, 56, len(segments), 0, 0, 0))
        for address, size, place in segments:
            file.write(struct.pack("<IIQQQQQQ", 1, 4, place, 0xFFFF888000000000, address, size, size, PAGE))
        file.seek(4096)
        file.write(KEYS[0] * (PAGE // 8) + b"".join(pages))
    here, there = kcore_marks(path, [0x101000]), kcore_marks(path, [0, 0x100000, 0x102000, 0x103000])
    verdict(here[0] > 0 and here[1] == 1 and there == (0, 2), "R12 pages are found in a file of the machine's memory", f"{here}, {there}")


def kcore(run, control):
    name = "R12 nothing of the pool is read by /proc/kcore"
    missing = kcore_missing()
    frames = frames_of(run.worker, pool_of(run.worker)[0])
    if not missing and not any(frames):
        missing = "where pages lie is not told"
    if missing and not control:
        not_run(name, missing)
    if missing:
        return
    marks, had = kcore_marks("/proc/kcore", frames)
    if control:
        verdict(marks > 0, "R12 control: of memory that is no secret /proc/kcore has the mark", f"{marks} times in {had} pages")
    else:
        verdict(marks == 0, name, f"{had} pages of {sum(f != 0 for f in frames)}")
    run.frames = frames


def freed(run, secret):
    """Of a worker that has ended: what its pages hold now, whosever they are."""
    name = "R11 pages that a worker has had hold nothing of it"
    if not secret:
        return
    if not getattr(run, "frames", None):
        not_run(name, "whoever gets them gets zeros, and to see them before takes /proc/kcore: " + (kcore_missing() or "it was not read"))
        return
    marks, had = kcore_marks("/proc/kcore", run.frames)
    verdict(marks == 0, name, f"{had} pages; R12 has its control")


def descriptors_taken(pid):
    """Marks in what can be mapped of those of its descriptors that can be taken, and how many these are."""
    pidfd, _ = error_of(434, pid, 0)  # pidfd_open
    marks = taken = 0
    for number in range(64):
        fd, _ = error_of(438, pidfd, number, 0)  # pidfd_getfd
        if fd < 0:
            continue
        taken += 1
        if "secretmem" in os.readlink(f"/proc/self/fd/{fd}"):
            with mmap.mmap(fd, os.fstat(fd).st_size, mmap.MAP_SHARED, mmap.PROT_READ) as memory:
                marks += eyes.marks_in(memory[:])
        os.close(fd)
    os.close(pidfd)
    return marks, taken


def steal(run, control):
    if control:
        return
    fds = os.listdir(f"/proc/{run.worker}/fd")
    verdict(fds == [], "R6 the worker has no descriptor that could be taken", str(fds))
    verdict(descriptors_taken(run.worker) == (0, 0), "R6 pidfd_getfd takes none")
    pool, _ = pool_of(run.worker)
    try:
        os.open(f"/proc/{run.worker}/map_files/{pool['begin']:x}-{pool['end']:x}", os.O_RDWR)
        verdict(False, "R6 the pool is opened by map_files")
    except OSError as e:
        verdict(True, "R6 the pool is not opened by map_files", errno.errorcode[e.errno])


def steal_control(penstock, folder, left):
    run = Run(penstock, folder, left)
    try:
        marks, taken = descriptors_taken(run.worker)
        verdict(marks > 0, "R6 control: of a worker that leaves its descriptors open the pool is taken, and read",
                f"{taken} taken, {marks} marks")
    finally:
        run.drop()


# ---- who looks ----

def looked(run, who):
    """What looks.py gets of the worker when it is run so."""
    try:
        pool, _ = pool_of(run.worker)
    except PermissionError:  # where it lies is not told either, and it is tried somewhere
        pool = {"begin": 1 << 22, "end": 1 << 23}
    here = os.path.join(os.path.dirname(os.path.dirname(run.folder)), "hands")
    with tempfile.TemporaryDirectory(dir=here) as folder:
        os.chmod(folder, 0o777)
        done = subprocess.run([*who, "python3", os.path.join(here, "looks.py"), str(run.worker), folder, str(pool["begin"]),
                               str(pool["end"])], capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit("looks.py: " + done.stderr)
    return json.loads(done.stdout)


def got_something(seen):
    return isinstance(seen, int) and seen > 0 or isinstance(seen, str) and re.match(r"[1-9]\d* (marks|taken)", seen) is not None


def judge(row, name, seen, control):
    """control: what the same user gets of a worker that protects nothing; None: he gets nothing of that either (other_user() shows that
    he could look), or the row has a control of its own."""
    sentence = f"{row} {name} gets nothing"
    if str(seen).startswith("not run"):
        not_run(sentence, seen.removeprefix("not run: "))
    elif control is not None and not got_something(control):
        not_run(sentence, f"nor of a worker that protects nothing: {control}")
    elif str(seen).startswith("no file") and not re.search("not permitted|denied", seen):
        not_run(sentence, seen)
    else:
        verdict(not got_something(seen), sentence, f"{seen}; of a worker that protects nothing: {control}" if control is not None else seen)


def users(penstock, folder, bare):
    """Rows R1 to R4 and R6, by everybody who may be there."""
    root, why_not_all = os.geteuid() == 0, eyes.why_no_root()
    base = eyes.for_everybody(tempfile.mkdtemp(dir=folder))
    here = eyes.for_everybody(tempfile.mkdtemp(dir=base))
    hands = os.path.join(base, "hands")
    os.mkdir(hands)
    os.chmod(hands, 0o777)
    for script in ("eyes.py", "looks.py"):
        shutil.copy(os.path.join(os.path.dirname(os.path.realpath(__file__)), script), hands)
        os.chmod(os.path.join(hands, script), 0o644)
    copies = eyes.programs(penstock, here)
    bare = shutil.copy(bare, os.path.dirname(copies))
    os.chmod(bare, 0o755)
    # who; the words that make him; those that make the owner of the worker; whether he gets at one that protects nothing
    everybody = [("root", [], (), True), ("root without CAP_SYS_PTRACE and CAP_SYS_ADMIN", eyes.WITHOUT_TWO, eyes.WITHOUT_TWO, True),
                 ("the worker's own user", as_user(NOBODY), as_user(NOBODY), True),
                 ("another user", as_user(SOMEBODY), as_user(NOBODY), False)]
    if not root:
        for name, *_ in everybody[:2] + everybody[3:]:
            not_run(f"R1 R2 R3 R4 R6 {name}", "only root becomes somebody else")
        everybody = [("the worker's own user", [], (), True)]
    elif why_not_all:  # nor can it see when another user's run has come to a halt
        for name, *_ in everybody[:1] + everybody[2:]:
            not_run(f"R1 R2 R3 R4 R6 {name}", why_not_all)
        everybody = [(everybody[1][0], [], (), True)]
    table = {name: {} for name, *_ in everybody}
    for owner in sorted({tuple(who[2]) for who in everybody}):
        mine = [who for who in everybody if tuple(who[2]) == owner]
        for program, denied, which in ((bare, (eyes.LANDLOCK_CREATE,), "control"), (None, (), "seen")):
            run = Run(copies, here, program, denied, owner, epc="4MiB")
            try:
                for name, words, *_ in mine:
                    table[name][which] = looked(run, words)
            finally:
                run.drop()
    for name, _, _, gets in everybody:
        for row, seen in sorted(table[name]["seen"].items()):
            judge(row, name, seen, table[name]["control"][row] if gets and row != "R6" else None)
    for row in ("R1", "R2", "R3", "R4", "R6"):
        for name, seen in table.items():
            print(f"table   {row} | {name} | {seen['seen'][row]} | of a worker that protects nothing: {seen['control'][row]}")


def other_user(run, control):
    """That these may look at all: at a process of their own."""
    if control:
        return
    code = ("import ctypes,subprocess\n"
            "libc=ctypes.CDLL(None,use_errno=True)\n"
            "own=subprocess.Popen(['sleep','600'])\n"
            "for pid in (%d, own.pid):\n"
            " try:\n  open('/proc/%%d/mem'%%pid,'rb'); print('opened')\n except OSError as e: print(e.errno)\n"
            " print(libc.ptrace(0x4206,pid,0,0), ctypes.get_errno())\n"
            "own.kill()\n" % run.worker)
    for row, who, words in (("R8 ", "another user", as_user(NOBODY)),
                            ("R9 ", "root without CAP_SYS_PTRACE and CAP_SYS_ADMIN", eyes.WITHOUT_TWO)):
        done = subprocess.run([*words, "python3", "-c", code], capture_output=True, text=True)
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
    """Before its first instruction: of a worker that only waits, and would be given its keys later. All have the same user and
    capabilities."""
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


ATTACKS = [mem_file, vm_readv, peek, core_dump, kcore, swap, steal, fork, other_user, change_code, inject]


def by_root(penstock, folder, bare, left):
    rows = {}
    for secret in (True, False):
        run = Run(penstock, folder, None, () if secret else (eyes.MEMFD_SECRET,))
        try:
            for attack in ATTACKS:
                attack(run, not secret)
            code, out, rows[secret] = run.end()
            freed(run, secret)
        finally:
            run.drop()
        verdict(code == 0 and len(rows[secret].splitlines()) >= 2, "the run ends well after all of this", f"code {code}")
        said = "without secret-memory" in out
        warned = "warning: operator sums runs in an enclave that protects from nobody for certain: without secret-memory" in out
        verdict(said != secret and warned != secret and ("protects from nobody for certain" in out) != secret,
                "P8 secret memory is claimed where it is there, and only there")
    verdict(rows[True] == rows[False] != "", "the results are the same bytes in both")
    early(penstock)
    kernel_core(penstock, folder, bare)
    steal_control(penstock, folder, left)
    kcore_made_up(folder)


def main():
    penstock, bare, left = (os.path.realpath(path) for path in sys.argv[1:4])
    with tempfile.TemporaryDirectory() as folder:
        eyes.for_everybody(folder)
        if error_of(eyes.MEMFD_SECRET, 0)[0] < 0:
            not_run("all", "this kernel has no memfd_secret, so nothing is claimed of a worker's memory")
            return eyes.told()
        if eyes.why_no_root():
            not_run("R5 R7 R10 R11 R12 O3 K1", eyes.why_no_root())
        else:
            by_root(penstock, folder, bare, left)
        users(penstock, folder, bare)
    return eyes.told()


sys.exit(main())
