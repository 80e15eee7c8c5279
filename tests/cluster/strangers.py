#!/usr/bin/env python3
"""Somebody who knocks at a node's port and is no node: strangers.py HOST:PORT KIND [FOLDER]. Ends when the node has hung up, and
prints what it has said. KIND: silence, garbage, http, empty (connects and closes), tls (no certificate), and with the certificates of
FOLDER: certified (says nothing), long (a message over the limit), newer (of a version far away), nonsense, twohellos."""
import socket
import ssl
import struct
import sys

SECONDS_MAX = 30


def framed(message):
    return struct.pack("<I", len(message)) + message


def protected(raw, folder):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if folder:
        context.load_cert_chain(f"{folder}/node.pem", f"{folder}/node.key")
    return context.wrap_socket(raw)


def say(connection, kind):
    if kind == "garbage":
        connection.sendall(bytes(range(256)) * 64)
    elif kind == "http":
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    elif kind == "long":
        connection.sendall(struct.pack("<I", 100 * 1024 * 1024) + b"x" * 1000)
    elif kind == "nonsense":
        connection.sendall(framed(b"\xff" * 100))
    elif kind == "newer":
        connection.sendall(framed(b"\x08\x63\x82\x01\x00"))  # version 99, an empty hello
    elif kind == "twohellos":
        connection.sendall(framed(b"\x08\x01\x82\x01\x02\x20\x02") * 2)  # of a command


def main():
    host, port = sys.argv[1].rsplit(":", 1)
    kind, folder = sys.argv[2], sys.argv[3] if len(sys.argv) > 3 else None
    heard = b""
    try:
        connection = socket.create_connection((host, int(port)), SECONDS_MAX)
        if kind == "empty":
            return
        if kind == "tls" or folder:
            connection = protected(connection, folder)
        say(connection, kind)
        while piece := connection.recv(65536):
            heard += piece
    except TimeoutError:
        sys.exit(f"{kind}: the node does not hang up")
    except (ConnectionError, ssl.SSLError) as error:
        print(f"refused: {error}")
    print(heard)


if __name__ == "__main__":
    main()
