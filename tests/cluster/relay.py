#!/usr/bin/env python3
"""A way between nodes that can be slow, and be cut: hands on what comes to its port to the address that a file names.

usage: relay.py TARGET_FILE [BYTES_PER_SECOND]

Prints "listens on HOST:PORT". The file is read for each connection; while it is not there a connection is closed at once.
SIGUSR1 cuts all connections, without a goodbye; SIGUSR2 ends the slowness, and cuts them, too. Each direction of a connection is slow by itself.
"""
import pathlib
import signal
import socket
import struct
import sys
import threading
import time

PIECE = 16 * 1024
SLICE_SECONDS = 0.02


class Relay:
    def __init__(self, target, rate=0):
        self.target, self.rate = target, rate  # target: a callable that gives (host, port), or None
        self.lock = threading.Lock()
        self.pairs = set()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            near = self.listener.accept()[0]
            threading.Thread(target=self.serve, args=(near,), daemon=True).start()

    def serve(self, near):
        target = self.target()
        try:
            far = socket.create_connection(target, 5) if target else None
        except OSError:
            far = None
        if far is None:
            near.close()
            return
        far.settimeout(None)
        for end in (near, far):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.rate:  # else what is on the way would be megabytes
                end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, PIECE)
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, PIECE)
        pair = (near, far)
        with self.lock:
            self.pairs.add(pair)
        back = threading.Thread(target=self.pump, args=(far, near), daemon=True)
        back.start()
        self.pump(near, far)
        back.join()
        with self.lock:
            self.pairs.discard(pair)
        near.close()
        far.close()

    def pump(self, source, sink):
        try:
            while piece := source.recv(max(1, int(min(PIECE, self.rate * SLICE_SECONDS))) if self.rate else 4 * PIECE):
                sink.sendall(piece)
                if self.rate:
                    time.sleep(len(piece) / self.rate)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            self.reset((source, sink))

    @staticmethod
    def reset(pair):
        for end in pair:
            try:
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def cut(self, choose=lambda pairs: pairs):
        with self.lock:
            pairs = choose(list(self.pairs))
        for pair in pairs:
            self.reset(pair)
        return len(pairs)

    def hurry(self):
        """From now on as fast as it goes. A connection's small buffers stay small, so each is made anew."""
        self.rate = 0
        self.cut()


def address_of(path):
    try:
        host, port = pathlib.Path(path).read_text(encoding="ascii").strip().rsplit(":", 1)
        return host, int(port)
    except (OSError, ValueError):
        return None


def main():
    relay = Relay(lambda: address_of(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0)
    signal.signal(signal.SIGUSR1, lambda *_: relay.cut())

    signal.signal(signal.SIGUSR2, lambda *_: relay.hurry())
    print(f"listens on {relay.address}", flush=True)
    while True:
        signal.pause()


if __name__ == "__main__":
    main()
