"""A network namespace for a server that listens on all addresses: `python portal.py ADDRESS PORT program …`.

The program gets loopback and ports of its own; what comes to ADDRESS:PORT outside is handed to its PORT inside.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import signal
import socket
import struct
import subprocess
import sys
import threading

_NEW_NETWORK = 0x40000000  # CLONE_NEWNET of linux/sched.h
_SET_FLAGS, _UP = 0x8914, 0x1  # SIOCSIFFLAGS and IFF_UP of linux/sockios.h and linux/if.h


def main(address: str, port: int, command: list[str]) -> int:
    """Serve until the program ends; return its exit code."""
    outside = socket.create_server((address, port))  # it stays in the network that it was made in
    _enter_new_network()
    program = subprocess.Popen(command)
    signal.signal(signal.SIGTERM, lambda *_: program.terminate())
    threading.Thread(target=_serve, args=(outside, port), daemon=True).start()
    code = program.wait()
    return code if code >= 0 else 128 - code


def _enter_new_network() -> None:
    if ctypes.CDLL(None, use_errno=True).unshare(_NEW_NETWORK):
        raise OSError(ctypes.get_errno(), "no network namespace for the server")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SET_FLAGS, struct.pack("16sH22x", b"lo", _UP))


def _serve(outside: socket.socket, port: int) -> None:
    while True:
        client, _ = outside.accept()
        try:
            server = socket.create_connection(("127.0.0.1", port))
        except OSError:
            client.close()
        else:
            threading.Thread(target=join, args=(client, server), daemon=True).start()


def join(one: socket.socket, other: socket.socket) -> None:
    """Hand on what each says to the other, until both have ended."""
    back = threading.Thread(target=_copy, args=(other, one), daemon=True)
    back.start()
    _copy(one, other)
    back.join()
    one.close()
    other.close()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), sys.argv[3:]))
