"""Carries out a job: starts the proxies, checks each, and measures them in interleaved parts."""

import collections
import random
import statistics

from check import check
from load import say

OTHERS_MAX = 0.3  # cores that may be busy with something else
# All have their turn in each part of a round. Parts are short, because a machine is not as fast in
# every minute, and because what stops a core for some ms, as kernel threads do, decides the p99 of
# the part that it falls into, but not that of most parts.
FULL_SECONDS, H2LOAD_SECONDS = 0.5, 1  # of a part at full speed; h2load knows whole seconds
# For what part of the time something else may have the core of a proxy that is ready to run: more
# than that is what a p99 tells of, and not of the proxy.
STOPPED_MAX = 0.01
PARTS_MIN = 5  # of each proxy, so that something is decided


class Row:
    """What was measured of one contestant."""

    def __init__(self, contestant):
        self.name, self.kind = contestant.name, contestant.kind.name
        self.full, self.fixed = [], []  # the parts of each kind
        self.counted = []  # those at the fixed rate whose latencies count
        self.rate = 0
        self.memory = 0  # KiB, after all parts
        self.spoken = ""
        self.notes = collections.Counter()

    def parts(self, figure):
        """The figure of each part."""
        if figure in ("p50", "p99", "p999"):
            return [one["latency_us"][figure] for one in self.counted if one["latency_us"]]
        if figure == "late":
            return [one["late_us"]["p99"] for one in self.fixed if one["late_us"]]
        if figure == "cpu_us_fixed":
            return [one["cpu_us"] for one in self.fixed]
        return [one[figure] for one in self.full]

    def quiet(self):
        """The parts at the fixed rate in which nothing else had the core for long."""
        return [one for one in self.fixed if one["stopped"] <= STOPPED_MAX]

    def median(self, figure):
        return statistics.median(self.parts(figure) or [0])

    def failed(self):
        kinds = collections.Counter()
        for one in self.full + self.fixed:
            kinds.update(one["failed"])
        return kinds

    def canary(self):
        """The part of the requests that went to the canary, as far as the clients could see it."""
        stable = sum(one.get("stable", 0) for one in self.full + self.fixed)
        canary = sum(one.get("canary", 0) for one in self.full + self.fixed)
        return canary / (stable + canary) if canary else None

    def busy(self):
        """How many cores others kept busy."""
        return max(map(cores_of_others, (self.full, self.fixed)))

    def told(self):
        return {"name": self.name, "rate": self.rate, "memory_kib": self.memory,
                "spoken": self.spoken, "notes": self.notes, "full": self.full, "fixed": self.fixed}


def cores_of_others(parts):
    """How many cores others kept busy in all parts but the worst tenth, which decide nothing."""
    cores = sorted(one["others"] for one in parts) or [0]
    return cores[int(0.9 * (len(cores) - 1))]


def turns(items, number):
    """The order of a part: another one each time, the same in each run."""
    return random.Random(number).sample(items, len(items))


class Contest:
    """One job with all contestants, which are there at the same time but loaded in turn."""

    def __init__(self, job, kinds, place, load):
        self.job, self.load, self.place = job, load, place
        job.prepare(place)
        self.pairs = []
        for contestant in job.contestants(kinds):
            binary = kinds[contestant.kind]
            proxy = contestant.kind(binary, contestant.setup, place)
            self.pairs.append((contestant, proxy, Row(contestant)))

    def run(self, rounds):
        """The rows of the job, by name."""
        try:
            self.measure(rounds)
        finally:
            for _, proxy, _ in self.pairs:
                proxy.stop()
        return {row.name: row for _, _, row in self.pairs}

    def measure(self, rounds):
        for _, proxy, row in self.pairs:
            proxy.start()
            row.spoken = check(proxy, self.job.path, self.job.host)
        seconds = rounds * self.load.seconds
        part = H2LOAD_SECONDS if self.job.h2load else FULL_SECONDS
        for number in range(round(seconds / part)):
            for contestant, proxy, row in turns(self.pairs, number):
                if contestant.full_speed:
                    row.full.append(self.at_full_speed(proxy))
                    self.tell(number, row, row.full[-1])
        rows = {row.name: row for _, _, row in self.pairs}
        for name, rate in self.job.rates(rows).items() if self.job.fixed else ():
            rows[name].rate = rate
        if self.job.fixed:
            with self.load.endpoints_first():
                self.measure_at_fixed_rate(seconds * self.job.seconds_factor)
        for _, proxy, row in self.pairs:
            row.memory = proxy.memory()

    def measure_at_fixed_rate(self, seconds):
        for number in range(round(seconds / self.job.part_seconds)):
            for contestant, proxy, row in turns(self.pairs, number):
                with self.job.around(proxy, contestant, row):
                    row.fixed.append(self.at_fixed_rate(proxy, row.rate))
                self.tell(number, row, row.fixed[-1])
        rows = [row for _, _, row in self.pairs]
        # All alike: what is left of one is not compared with all of another.
        quiet_only = self.job.quiet_only and min(len(row.quiet()) for row in rows) >= PARTS_MIN
        for row in rows:
            row.counted = row.quiet() if quiet_only else row.fixed

    def at_full_speed(self, proxy):
        if self.job.h2load:
            return self.load.h2load(proxy, self.job.path, self.job.settings.get("body"),
                                    self.job.h2load, H2LOAD_SECONDS)
        settings = self.job.load(self.load.connections)
        return self.load.run(proxy, seconds=FULL_SECONDS, **settings)

    def at_fixed_rate(self, proxy, rate):
        settings = self.job.load(self.load.connections)
        seconds, before = self.job.part_seconds, proxy.threads()
        result = self.load.run(proxy, seconds=seconds, rate=rate, **settings)
        return {**result, "stopped": proxy.stopped(before) / seconds}

    def tell(self, number, row, result):
        speed = f"{result['rps']:,.0f}/s, {result['cpu_us']:.1f} µs of CPU each"
        if result["latency_us"]:
            speed += f", p99 {result['latency_us']['p99'] / 1000:.2f} ms"
        failed = f", FAILED: {result['failed']}" if result["failed"] else ""
        say(f"{self.job.name}, part {number + 1}, {row.name}: {speed}{failed}")
