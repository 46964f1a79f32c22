"""What became of a proxy's requests in a scenario, and how that is told."""

import collections
import sys

OTHERS_MAX = 0.3  # cores that may be busy with something else
# The columns of failures; each kind of failure that is none of the others is `other`.
COLUMNS = ("5xx", "unanswered", "broken off", "timeout", "refused", "other")
HEADS = ("scenario", "proxy", "requests", "faults", "changes", "failed", *COLUMNS,
         "POST twice", "p50", "p99", "max", "clients late", "CPU of others")


class Tally:
    """The sums of one proxy in one scenario, all rounds together."""

    def __init__(self, scenario, proxy):
        self.scenario, self.proxy = scenario, proxy
        self.latencies = []  # µs
        self.failures = collections.Counter()  # by method and kind
        self.codes = collections.Counter()  # as clients got them
        self.counts = collections.Counter()  # faults, changes, POSTs done twice, seconds
        self.counted, self.causes = collections.Counter(), collections.Counter()  # by Serin
        self.late_p99 = 0  # µs
        self.shown = []

    def add(self, result, counts):
        self.latencies += result["latencies"]
        self.failures.update(result["failures"])
        self.codes.update(result["codes"])
        self.counts.update(counts)
        self.late_p99 = max(self.late_p99, result["late_p99"])

    def of_kind(self, column):
        return sum(n for what, n in self.failures.items() if kind_of(what) == column)

    def failed(self):
        return self.failures.total()

    def row(self):
        latencies = sorted(self.latencies)
        at = lambda part: f"{latencies[int(part * (len(latencies) - 1))] / 1000:.1f} ms"
        return [
            self.scenario, self.proxy, f"{len(latencies):,}",
            self.counts["faults"] or "all the time", self.counts["changes"],
            self.failed(), *map(self.of_kind, COLUMNS), self.counts["twice"],
            at(0.5), at(0.99), at(1),
            f"{self.late_p99 / 1000:.1f} ms",
            f"{self.cores_of_others():.1f} cores",
        ]

    def cores_of_others(self):
        return self.counts["others"] / self.counts["seconds"]

    def kinds(self):
        return ", ".join(f"{what} {n}" for what, n in self.failures.most_common()) or "none"

    def differences(self):
        """Where Serin's own account is not what its clients saw: what, theirs, its."""
        pairs = [("requests", len(self.latencies), self.counted.total())]
        codes = (self.codes.keys() | self.counted.keys()) - {"200", "499"}
        pairs += [(code, self.codes[code], self.counted[code]) for code in sorted(codes)]
        # Whom a client did not wait for, and what broke off under it, has no other code to go by.
        seen = self.of_kind("unanswered") + self.of_kind("broken off") + self.of_kind("timeout")
        pairs.append(("without a whole answer", seen,
                      self.causes["response_broken"] + self.causes["client_left"]))
        return [pair for pair in pairs if pair[1] != pair[2]], pairs


def kind_of(what):
    """The column of a failure that is called by its method and kind."""
    kind = what.split(" ", 1)[1]
    if kind.startswith("5"):
        return "5xx"
    return kind if kind in COLUMNS else "other"


def table(tallies):
    print("| " + " | ".join(HEADS) + " |")
    print("|" + "---|" * len(HEADS))
    for tally in tallies:
        print("| " + " | ".join(map(str, tally.row())) + " |")


def warn(tallies):
    """Says loudly which rows are not to be compared."""
    busy = [f"{one.scenario} {one.proxy}" for one in tallies if one.cores_of_others() > OTHERS_MAX]
    if busy:
        print(f"!! THE MACHINE WAS BUSY WITH OTHER THINGS, DO NOT COMPARE: {', '.join(busy)}",
              file=sys.stderr)


def failures(tallies):
    print("\nFailures by method and kind:\n")
    for tally in tallies:
        print(f"- {tally.scenario}, {tally.proxy}: {tally.kinds()}")


def account(tallies):
    """Prints whether Serin counted each failure that clients saw; says whether it did."""
    if not tallies:
        return True
    right = True
    print("\nSerin's own account (clients saw / it counted):\n")
    for tally in tallies:
        different, pairs = tally.differences()
        causes = ", ".join(f"{cause} {n}" for cause, n in sorted(tally.causes.items()) if n)
        says = ", ".join(f"{what} {saw}/{counted}" for what, saw, counted in pairs)
        gap = sum(saw - counted for _, saw, counted in different)
        print(f"- {tally.scenario}: {says}; causes: {causes or 'none'}; "
              f"{f'DIFFERENCE {gap:+}' if different else 'difference 0'}")
        right = right and not different
    return right
