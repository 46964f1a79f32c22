"""A loopback of our own, with a congestion control that is made for it.

BBR, the default of some machines, measures a rate and paces itself by it, and on loopback that goes
wrong: one in thirty answers of 1 MiB stood still for 100 ms, through most proxies and without one.
"""

import contextlib
import ctypes
import fcntl
import pathlib
import socket
import struct

CLONE_NEWNET = 0x40000000
SIOCSIFFLAGS, UP = 0x8914, 0x49
CONTROL = pathlib.Path("/proc/sys/net/ipv4/tcp_congestion_control")
SOUND = ("cubic", "reno")  # the first that may be chosen


def enter():
    """Moves this process and all that it starts to a network of its own, if it may (root)."""
    if ctypes.CDLL(None).unshare(CLONE_NEWNET):
        return False
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", UP))
    for name in SOUND:
        with contextlib.suppress(OSError):
            CONTROL.write_text(name)
            break
    return True


def congestion_control():
    return CONTROL.read_text().strip()
