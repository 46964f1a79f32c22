"""Carries out a job: starts the proxies, checks each, and measures them in interleaved rounds."""

import collections
import statistics
import sys

from check import check

OTHERS_MAX = 0.3  # cores that may be busy with something else
# A fixed-rate round is taken in so many parts, in each of which all have their turn: what stops a
# core for some ms, as kernel threads do, decides the p99 of a part, but not that of most parts.
PARTS = 3


class Row:
    """What was measured of one contestant."""

    def __init__(self, contestant):
        self.name, self.kind = contestant.name, contestant.kind.name
        self.full, self.fixed = [], []  # the rounds of each kind
        self.rate = 0
        self.memory = 0  # KiB, after its rounds
        self.spoken = ""
        self.notes = collections.Counter()

    def rounds(self, figure):
        """The figure of each round."""
        if figure in ("p50", "p99", "p999"):
            return [one["latency_us"][figure] for one in self.fixed if one["latency_us"]]
        if figure == "late":
            return [one["late_us"]["p99"] for one in self.fixed if one["late_us"]]
        if figure == "cpu_us_fixed":
            return [one["cpu_us"] for one in self.fixed]
        return [one[figure] for one in self.full]

    def median(self, figure):
        return statistics.median(self.rounds(figure) or [0])

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
        """How many cores others kept busy in the worst of the rounds."""
        return max((one["others"] for one in self.full + self.fixed), default=0)

    def told(self):
        return {"name": self.name, "rate": self.rate, "memory_kib": self.memory,
                "spoken": self.spoken, "notes": self.notes, "full": self.full, "fixed": self.fixed}


def say(text):
    print(text, file=sys.stderr, flush=True)


def turns(items, number):
    """The order of a round: each begins with another."""
    first = number % len(items)
    return items[first:] + items[:first]


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
        for number in range(rounds):
            for contestant, proxy, row in turns(self.pairs, number):
                if contestant.full_speed:
                    row.full.append(self.at_full_speed(proxy))
                    self.tell(number, row, row.full[-1])
        rows = {row.name: row for _, _, row in self.pairs}
        for name, rate in self.job.rates(rows).items() if self.job.fixed else ():
            rows[name].rate = rate
        for number in range(rounds * PARTS if self.job.fixed else 0):
            for contestant, proxy, row in turns(self.pairs, number):
                with self.job.around(proxy, contestant, row):
                    row.fixed.append(self.at_fixed_rate(proxy, row.rate))
                self.tell(number, row, row.fixed[-1])
        for _, proxy, row in self.pairs:
            row.memory = proxy.memory()

    def at_full_speed(self, proxy):
        if self.job.h2load:
            return self.load.h2load(proxy, self.job.path, self.job.settings.get("body"),
                                    self.job.h2load)
        return self.load.run(proxy, **self.job.load(self.load.connections))

    def at_fixed_rate(self, proxy, rate):
        settings = self.job.load(self.load.connections)
        settings["seconds"] = self.load.seconds * self.job.seconds_factor / PARTS
        return self.load.run(proxy, rate=rate, **settings)

    def tell(self, number, row, result):
        speed = f"{result['rps']:,.0f}/s, {result['cpu_us']:.1f} µs of CPU each"
        if result["latency_us"]:
            speed += f", p99 {result['latency_us']['p99'] / 1000:.2f} ms"
        failed = f", FAILED: {result['failed']}" if result["failed"] else ""
        say(f"{self.job.name}, round {number + 1}, {row.name}: {speed}{failed}")
