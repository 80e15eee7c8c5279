#!/usr/bin/env python3
"""Hands of tpm.sh. usage: tpm.py extend SOCKET PCR | flip FILE PART OFFSET

extend: TPM2_PCR_Extend of a SHA-256 PCR, by the bytes of part 3 of the TPM's specification, for no other tool is needed for it.
flip: changes one byte of public, attest, signature or pcrs in a node's quote."""
import pathlib
import socket
import struct
import sys

HEAD = 128


def extend(path, pcr):
    session = struct.pack(">IHBH", 0x40000009, 0, 0, 0)  # no password
    body = struct.pack(">II", int(pcr), len(session)) + session + struct.pack(">IH", 1, 0x000B) + b"\x5a" * 32
    command = struct.pack(">HII", 0x8002, 10 + len(body), 0x182) + body
    with socket.socket(socket.AF_UNIX) as tpm:
        tpm.connect(path)
        tpm.sendall(command)
        code = struct.unpack(">HII", tpm.recv(4096)[:10])[2]
    sys.exit(code != 0)


def flip(path, part, offset):
    data = bytearray(pathlib.Path(path).read_bytes())
    counts = struct.unpack_from("<III", data, 112)
    data[HEAD + sum(counts[: ("public", "attest", "signature", "pcrs").index(part)]) + int(offset)] ^= 1
    pathlib.Path(path).write_bytes(data)


if __name__ == "__main__":
    {"extend": extend, "flip": flip}[sys.argv[1]](*sys.argv[2:])
