"""How sure a ratio of medians is: its interval by the bootstrap (Efron 1979, percentile method)."""

import random
import statistics

RESAMPLES = 2000
CONFIDENCE = 0.95


def of_medians(own, other):
    """The ratio of the medians of two lists, and its interval, as (ratio, low, high)."""
    ratio = statistics.median(own) / statistics.median(other)
    # The same parts have the same interval each time.
    choose = random.Random(1).choices
    ratios = sorted(
        statistics.median(choose(own, k=len(own))) / statistics.median(choose(other, k=len(other)))
        for _ in range(RESAMPLES))
    outside = int(RESAMPLES * (1 - CONFIDENCE) / 2)
    return ratio, ratios[outside], ratios[-1 - outside]


def middle_half(values):
    """Between which two values half of them lie."""
    if len(values) < 2:
        return values[0], values[0]
    first, _, third = statistics.quantiles(values, n=4, method="inclusive")
    return first, third
