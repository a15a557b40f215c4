"""Do figures that need no truth say what the truth says?

On runs whose truth is known, each figure without truth is ranked beside the true figure that it stands for: Spearman's
correlation over all methods and runs together, and over the methods within each run, which is what comparing methods or λ on
one's own runs rests on. A figure that says nothing has 0, a perfect one 1, or -1 where the better is the larger.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from scipy import stats

from angiomorph.evaluation.score import Score
from angiomorph.evaluation.tables import cell
from angiomorph.metrics.interval import interval

# Figure without truth, and the true one.
PAIRS = (
    ("edge_left", "artefact_left"),
    ("deviation_left", "artefact_left"),
    ("edge_left", "rmse_over_floor"),
    ("deviation_left", "rmse_over_floor"),
    ("cnr_estimated", "cnr"),
    ("folding", "warp_error"),
)
LEAST = 3  # methods of which a ranking says anything


def correlation(one: Sequence[float], other: Sequence[float]) -> float:
    """Return Spearman's rank correlation of the places where both are known; nan of fewer than three or of equal values.

    Args:
        one: a figure, nan where it is not defined.
        other: another, of the same length.
    """
    pairs = [(a, b) for a, b in zip(one, other, strict=True) if not (math.isnan(a) or math.isnan(b))]
    if len(pairs) < LEAST or any(len(set(column)) == 1 for column in zip(*pairs, strict=True)):
        return math.nan
    return float(stats.spearmanr(*zip(*pairs, strict=True)).statistic)


def validation(compared: Mapping[str, Sequence[Score]]) -> str:
    """Return the table of the correlations in Markdown.

    Args:
        compared: by method, a score a run, all methods on the same runs; those in which something moves count.
    """
    runs = [run for run in zip(*compared.values(), strict=True) if run[0].runs == "moving"]
    rows = ["| without truth | true | all together | within a run, mean | within a run, least |", "|---|---|---|---|---|"]
    for figure, true in PAIRS:
        ranks = [[[getattr(score, name) for score in run] for name in (figure, true)] for run in runs]
        whole = correlation(*([value for run in ranks for value in run[which]] for which in (0, 1)))
        within = [value for one, other in ranks if not math.isnan(value := correlation(one, other))]
        least = f"{min(within):.2f}" if within else "-"
        rows.append(f"| {figure} | {true} | {whole:.2f} | {cell(interval(within), '.2f')} | {least} |")
    return "\n".join(rows)
