"""Metrics of predicted numbers, over the targets that are known."""

import numpy as np

from tl_pipeline.evaluation.scored import Scored

NAMES = ("mean_absolute_error", "root_mean_squared_error", "r2", "spearman")


def score_numbers(scored: Scored) -> dict[str, float]:
    """Computes every metric, averaged over the targets for which it is defined."""
    rows = score_numbers_alone(scored)
    found = {}
    for name in NAMES:
        values = [row[name] for row in rows if row[name] is not None]
        if values:
            found[name] = float(np.mean(np.array(values, np.float64)))
    return found


def score_numbers_alone(scored: Scored) -> list[dict[str, float | int | str | None]]:
    """Computes the metrics of each target column over the examples where it is known.

    R² is undefined for constant targets, Spearman's correlation where targets or
    predictions are constant.
    """
    # Imported here: they load in a second, which a caller of the other modules need
    # not wait for.
    from scipy import stats
    from sklearn import metrics

    rows = []
    for k, name in enumerate(scored.task.names):
        known = ~np.isnan(scored.targets[:, k])
        truth, guess = scored.targets[known, k], scored.predictions[known, k]
        row: dict[str, float | int | str | None] = {"name": name, "support": len(truth)}
        row |= dict.fromkeys(NAMES)
        if len(truth):
            row["mean_absolute_error"] = float(
                metrics.mean_absolute_error(truth, guess)
            )
            row["root_mean_squared_error"] = float(
                metrics.root_mean_squared_error(truth, guess)
            )
            if (truth != truth[0]).any():
                row["r2"] = float(metrics.r2_score(truth, guess))
                if (guess != guess[0]).any():
                    ranks = stats.rankdata(truth), stats.rankdata(guess)
                    row["spearman"] = float(np.corrcoef(*ranks)[0, 1])
        rows.append(row)
    return rows
