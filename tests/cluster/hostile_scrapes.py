#!/usr/bin/env python3
"""hostile_scrapes.py HOST:PORT: clients of the metrics' port that no node should mind. Prints what was not answered as it should be.

Requests that are none, other methods, other pages, a head over its bound, byte by byte, connections that say nothing or do not read, more of
them than there is room for; then a proper one, which has to be answered."""
import socket
import sys

host, port = sys.argv[1].rsplit(":", 1)
failures = 0


def connect():
    return socket.create_connection((host, int(port)), timeout=30)


def ask(what, sent, wanted, byte_by_byte=False):
    """wanted: how the answer begins; b"": there is none, the connection is closed."""
    global failures
    answer = b""
    with connect() as connection:
        try:
            if byte_by_byte:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for byte in sent:
                    connection.sendall(bytes([byte]))
            else:
                connection.sendall(sent)
            while piece := connection.recv(65536):
                answer += piece
        except (ConnectionResetError, BrokenPipeError):
            pass  # it was closed while it was still sending: that is an answer
    if not (answer.startswith(wanted) if wanted else answer == b""):
        failures += 1
        print(f"{what}: {answer[:60]!r}")


ask("another page", b"GET / HTTP/1.0\r\n\r\n", b"HTTP/1.0 404 ")
ask("another method", b"POST /metrics HTTP/1.0\r\n\r\n", b"HTTP/1.0 405 ")
ask("words", b"hello\r\n\r\n", b"HTTP/1.0 400 ")
ask("TLS", bytes.fromhex("160301000a01000006030300000000") + b"\n\n", b"HTTP/1.0 400 ")
ask("a head over its bound", b"GET /metrics HTTP/1.0\r\n" + b"a: b\r\n" * 3000 + b"\r\n", b"")
ask("a head without an end", b"a" * 20000, b"")
ask("byte by byte", b"GET /metrics HTTP/1.0\r\n\r\n", b"HTTP/1.0 200 ", byte_by_byte=True)
ask("two at once", b"GET /metrics HTTP/1.0\r\n\r\n" * 2, b"HTTP/1.0 200 ")
idle = [connect() for _ in range(40)]
for i, connection in enumerate(idle):
    if i % 2:
        connection.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")  # and the answer is not read
ask("behind forty that say nothing or do not read", b"GET /metrics HTTP/1.0\r\n\r\n", b"HTTP/1.0 200 ")
for connection in idle:
    connection.close()
sys.exit(1 if failures else 0)
