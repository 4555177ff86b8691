"""Reading the loop's histograms of powers of two, whoever shows them."""

from __future__ import annotations

TYPE_CHECKING = False  # typing is not imported for nothing
if TYPE_CHECKING:
    from collections.abc import Sequence


def quantile(counts: Sequence[int], part: float) -> float | None:
    """The duration in ns that this part of those in a histogram did not exceed; None of none.

    Bucket b counts what is from 2^(b-1) to below 2^b ns. As Prometheus estimates it: linear within
    the bucket, so right to a factor of two.
    """
    rank = part * sum(counts)
    for bucket, count in enumerate(counts):
        if count and rank <= count:
            lower, upper = (2 ** (bucket - 1), 2**bucket) if bucket else (0, 0)
            return lower + (upper - lower) * rank / count
        rank -= count
    return None
