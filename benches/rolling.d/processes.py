"""Starts processes, waits for them, and ends all that is left of them."""

import contextlib
import itertools
import os
import pathlib
import resource
import signal
import socket
import subprocess
import time

TICKS = os.sysconf("SC_CLK_TCK")
SECONDS_MAX = 20  # how long a process may take to start or to end

started = []


def candidates():
    """Ports that no outgoing connection gets by chance while their endpoint is away."""
    ephemeral = pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range")
    low, high = map(int, ephemeral.read_text().split())
    return itertools.chain(range(low - 1, 10000, -1), range(high + 1, 65536))


ports = candidates()


def free_port():
    """A port that nobody listens on, another one each time."""
    for port in ports:
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise OSError("there is no free port")


class Process:
    """A process with all of its children, which are a group of their own, and its log."""

    def __init__(self, name, command, log, **more):
        self.name, self.log = name, log
        with log.open("ab") as file:
            more = {"stdout": file, **more}
            self.popen = subprocess.Popen(command, stderr=file, start_new_session=True, **more)
        started.append(self)

    def signal_all(self, number):
        """A signal to the process and its children."""
        if self.popen.poll() is None:
            os.killpg(self.popen.pid, number)

    def ended(self, number):
        """Asks it alone to end by this signal; says whether it did."""
        self.popen.send_signal(number)
        try:
            self.popen.wait(SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.kill()
            return False
        started.remove(self)
        return True

    def kill(self):
        """Ends it and its children at once."""
        self.signal_all(signal.SIGKILL)
        self.popen.wait()
        started.remove(self)

    def wait_for(self, ready):
        """Waits until `ready` returns without an error of the network."""
        until = time.monotonic() + SECONDS_MAX
        while time.monotonic() < until and self.popen.poll() is None:
            with contextlib.suppress(OSError):
                return ready()
            time.sleep(0.005)
        raise self.failure("does not come up")

    def output(self):
        """Waits for its end, and returns what it wrote."""
        output = self.popen.communicate()[0]
        started.remove(self)
        if self.popen.returncode:
            raise self.failure("failed")
        return output

    def must_run(self):
        """Fails if it has ended by itself."""
        if (code := self.popen.poll()) is not None:
            raise self.failure(f"ended by itself with {code}")

    def failure(self, what):
        """The error that says what it does, with the end of its log."""
        return RuntimeError(f"{self.name} {what}:\n{self.log.read_text()[-2000:]}")


def accepts(port):
    """Fails as long as nobody accepts connections there."""
    socket.create_connection(("127.0.0.1", port), timeout=1).close()


def end_all():
    """Ends whatever is still there, stopped processes too."""
    for process in reversed(started.copy()):
        process.kill()


def cpu_of_others():
    """The CPU time, in seconds, that all but this script and its processes took so far."""
    numbers = pathlib.Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:8]
    user, nice, system, _, _, irq, softirq = map(int, numbers)
    machine = (user + nice + system + irq + softirq) / TICKS
    groups = {process.popen.pid for process in started}
    ours = 0
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has just ended
            fields = stat.read_text().rsplit(")", 1)[1].split()
            if int(fields[2]) in groups:
                ours += sum(map(int, fields[11:15])) / TICKS
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        usage = resource.getrusage(who)
        ours += usage.ru_utime + usage.ru_stime
    return machine - ours
