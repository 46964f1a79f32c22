"""Tells in Markdown what was measured, and which goals are met."""

import statistics

import idle
import ratio
from contest import OTHERS_MAX, PARTS_MIN, cores_of_others
from jobs import AT_FIXED_RATE

FULL = ("proxy", "CPU per request", "middle half", "requests/s", "its core",
        "endpoints' part of the other", "clients' part", "memory", "to the canary", "failed",
        "CPU of others")
FIXED = ("proxy", "requests/s", "p50", "p99", "middle half", "p99.9", "parts left out",
         "CPU per request", "clients late (p99)", "failed", "CPU of others")
IDLE = ("proxy", "at rest", "with all connections", "for each connection", "spread",
        "CPU while idle", "failed", "CPU of others")
GOALS = ("job", "figure", "Serin against", "ratio", f"{ratio.CONFIDENCE:.0%} interval", "goal",
         "met")


def table(heads, rows):
    print("| " + " | ".join(heads) + " |")
    print("|" + "---|" * len(heads))
    for row in rows:
        print("| " + " | ".join(map(str, row)) + " |")
    print()


def milliseconds(microseconds):
    return f"{microseconds / 1000:.2f} ms"


def spread(values, tell, borders=lambda values: (min(values), max(values))):
    return " to ".join(map(tell, borders(values))) if values else "–"


def others(cores):
    return f"**{cores:.1f} cores**" if cores > OTHERS_MAX else f"{cores:.1f} cores"


def failed(rounds):
    kinds = {}
    for one in rounds:
        for kind, number in one["failed"].items():
            kinds[kind] = kinds.get(kind, 0) + number
    return ", ".join(f"**{number:,} {kind}**" for kind, number in kinds.items()) or "0"


def percent(part):
    return f"{part:.0%}"


def job(job, rows):
    """The tables of one job."""
    print(f"### {job.name}: {job.what}\n")
    full = [row for row in rows.values() if row.full]
    fixed = [row for row in rows.values() if row.fixed]
    if full:
        print("At full speed:\n")
        table(FULL, map(full_row, full))
    if fixed:
        print("At a fixed rate, latencies from the time at which requests were due:\n")
        table(FIXED, map(fixed_row, fixed))
    spoken = {row.spoken for row in rows.values()} - {"TCP", "HTTP/1.1"}
    if spoken:
        print(f"Spoken by clients: {'; '.join(sorted(spoken))}.\n")
    for row in rows.values():
        if row.notes:
            notes = "; ".join(f"{name} {value}" for name, value in row.notes.items())
            print(f"- {row.name}: {notes}")
    if any(row.notes for row in rows.values()):
        print()


def microseconds(value):
    return f"{value:.1f} µs"


def full_row(row):
    cpu = row.parts("cpu_us")
    canary = row.canary()
    return [row.name, microseconds(row.median("cpu_us")),
            spread(cpu, "{:.1f}".format, ratio.middle_half), f"{row.median('rps'):,.0f}",
            percent(row.median("proxy_core")),
            percent(row.median("upstream_core")), percent(row.median("load_core")),
            f"{row.memory / 1024:.1f} MiB", "–" if canary is None else f"{canary:.1%}",
            failed(row.full), others(cores_of_others(row.full))]


def left_out(row):
    """How many parts do not count; where all do although they are not quiet, how many are."""
    text = f"{len(row.fixed) - len(row.counted)} of {len(row.fixed)}"
    quiet = len(row.quiet())
    return text if quiet == len(row.counted) else f"{text}, but {quiet} quiet"


def fixed_row(row):
    late = row.parts("late")
    p99 = [one / 1000 for one in row.parts("p99")]
    return [row.name, f"{row.rate:,.0f}", milliseconds(row.median("p50")),
            milliseconds(row.median("p99")), spread(p99, "{:.2f}".format, ratio.middle_half),
            milliseconds(row.median("p999")),
            left_out(row),
            microseconds(row.median("cpu_us_fixed")),
            milliseconds(statistics.median(late)) if late else "–", failed(row.fixed),
            others(cores_of_others(row.fixed))]


def idle_table(what, rows):
    print(f"### idle: {what}\n")
    mib = lambda kib: f"{kib / 1024:.1f} MiB"
    table(IDLE, ([
        name, mib(idle.median(rounds, "rest_kib")), mib(idle.median(rounds, "full_kib")),
        f"{idle.median(rounds, 'connection_kib'):.2f} KiB",
        spread([one["connection_kib"] for one in rounds], "{:.2f}".format),
        f"{idle.median(rounds, 'idle_ms'):.1f} ms a second", failed(rounds),
        others(max(one["others"] for one in rounds)),
    ] for name, rounds in rows.items()))


def generator_table(what, claims):
    print(f"### generator: {what}\n")
    verdict = {True: "yes", False: "**NO**", None: "–"}
    table(("claim", "seen", "holds"), ((claim, seen, verdict[holds])
                                       for claim, seen, holds in claims))


def goals(told):
    """The goals of each job, with what they are compared to; `told` is jobs with their rows."""
    print("## Goals\n")
    lines = []
    for one, rows in told:
        if one.name == "idle":
            lines += idle_goal(rows)
        else:
            lines += [line for goal in one.goals() for line in goal_lines(one, goal, rows)]
    table(GOALS, lines)
    print("Ratios of medians of the parts of this run. Where the goal lies inside the interval, "
          f"there were fewer than {PARTS_MIN} parts, or the machine was busy, nothing is decided.")


def goal_lines(one, goal, rows):
    value = goal.value(rows)
    if value is None:
        if goal.row in rows:
            yield [one.name, goal.what, " or ".join(goal.against), "–", "–",
                   f"≤ {goal.limit:.2f}", "not measured"]
        return
    median, low, high = value
    best = goal.best(rows)
    fewest = min(len(rows[name].parts(goal.figure)) for name in (goal.row, best))
    measured = (rows[goal.row], rows[best])
    verdict = "yes" if goal.met(median) else "**no**"
    if goal.met(low) != goal.met(high) or fewest < PARTS_MIN:
        verdict += ", undecided"
    if any(row.busy() > OTHERS_MAX for row in measured):
        verdict += ", **busy machine**"
    if measured[0].failed():
        verdict += ", **with failures**"
    missing = [name for name in goal.against if name not in rows]
    slower = [name for name in goal.against if goal.figure in AT_FIXED_RATE and name not in missing
              and rows[name].rate != rows[goal.row].rate]
    against = best + (f" (without {', '.join(missing)})" if missing else "")
    against += f" ({', '.join(slower)} had a lower rate)" if slower else ""
    yield [one.name, goal.what, against, f"{median:.2f}",
           f"{low:.2f} to {high:.2f}", f"≤ {goal.limit:.2f}", verdict]


def idle_goal(rows):
    if "serin" not in rows:
        return
    single = [one["connection_kib"] for one in rows["serin"]]
    value = statistics.median(single)
    verdict = "yes" if round(value, 2) <= idle.GOAL_KIB else "**no**"
    if any(one["failed"] for one in rows["serin"]):
        verdict += ", **with failures**"
    yield ["idle", "memory for an idle connection", "–", f"{value:.2f} KiB",
           spread(single, "{:.2f}".format), f"≤ {idle.GOAL_KIB} KiB", verdict]
