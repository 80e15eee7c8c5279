"""without.py - runs a command on a machine that lacks a system call: usage: without.py NUMBER command...

The call gives ENOSYS to it and to all that it starts, as on a kernel without it. No right is needed for that: it can gain none from then on."""
import ctypes
import errno
import os
import struct
import sys

LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06  # BPF_LD|BPF_W|BPF_ABS, BPF_JMP|BPF_JEQ|BPF_K, BPF_RET|BPF_K
SECCOMP_RET_ERRNO, SECCOMP_RET_ALLOW = 0x00050000, 0x7FFF0000
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2

libc = ctypes.CDLL(None, use_errno=True)
number = int(sys.argv[1])
program = ctypes.create_string_buffer(struct.pack("HBBI" * 4, LOAD, 0, 0, 0, EQUAL, 0, 1, number,
                                                  RETURN, 0, 0, SECCOMP_RET_ERRNO | errno.ENOSYS, RETURN, 0, 0, SECCOMP_RET_ALLOW))
head = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", 4, ctypes.addressof(program)))
if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 or libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, head, 0, 0) != 0:
    sys.exit("without.py: no filter: " + os.strerror(ctypes.get_errno()))
os.execvp(sys.argv[2], sys.argv[2:])
