"""Keeps idle cores awake, as who measures latencies on metal does (tuned's `latency-performance`).

A core that has nothing to do halts, and in a virtual machine to wake it costs tens of microseconds.
Each request wakes the proxy, the endpoint and the client. Whoever computes longest sleeps least and
so wakes fastest: a proxy that takes four times the CPU time of a relay was faster than it.
"""

import contextlib
import os
import pathlib
import struct

DRIVER = "/sys/devices/system/cpu/cpuidle/current_driver"
LATENCY = "/dev/cpu_dma_latency"  # Linux: Documentation/power/pm_qos_interface.rst


def keep():
    """From now on, until this process ends, if it may (root)."""
    with contextlib.suppress(OSError):
        wish = os.open(LATENCY, os.O_WRONLY)  # holds as long as this is open
        os.write(wish, struct.pack("i", 0))
    return are_kept()


def are_kept():
    """Whether somebody sees to it; without a driver for idle cores nobody can."""
    try:
        with open(LATENCY, "rb", buffering=0) as file:
            wished = struct.unpack("i", file.read(4)) == (0,)
        return wished and pathlib.Path(DRIVER).read_text().strip() != "none"
    except OSError:
        return False
