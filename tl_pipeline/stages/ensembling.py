"""The ensemble of a training: an average of candidates that competes with each."""

from collections.abc import Sequence

import numpy as np

from tl_pipeline.evaluation.ensembles import select_members
from tl_pipeline.evaluation.metrics import score
from tl_pipeline.heads.ensemble import make_ensemble
from tl_pipeline.stages.choosing import fold_rows
from tl_pipeline.stages.entering import Entrant
from tl_pipeline.stages.sweep import Candidate, choose_candidate
from tl_pipeline.store.store import FeatureStore

_FOLDS = 5  # in which members are chosen anew, where heads are chosen on val


def enter_ensemble(
    store: FeatureStore, entrants: Sequence[Entrant], *, most: int
) -> Entrant | None:
    """Makes an ensemble of candidates by what they said where heads are chosen.

    Its own scores there are honest: what it says of a fold is said by an ensemble that
    was chosen on the other folds, so that it has to beat the best single head without
    having seen the answers.

    Args:
      store: Where the rows are.
      entrants: All candidates; those on other examples than the best one stay out.
      most: Heads taken at most, one taken twice counting twice.

    Returns:
      The ensemble; None where the best is one head alone.
    """
    best = entrants[choose_candidate([one.candidate for one in entrants])]
    data, choosing = best.data, best.choosing
    able = [one for one in entrants if one.data.ids == data.ids]
    outputs = np.stack([one.candidate.outputs for one in able])
    targets = data.targets[choosing.rows]
    counts = select_members(data.task, targets, outputs, most=most)
    if np.count_nonzero(counts) < 2:
        return None
    folds = choosing.folds
    if choosing.method == "val":
        folds = fold_rows(data, choosing.rows, n_folds=_FOLDS)
    if len(np.unique(folds)) < 2:  # one group: there are no others to choose on
        return None
    honest = np.empty(outputs.shape[1:])
    for fold in np.unique(folds):
        held = folds == fold
        weights = select_members(
            data.task, targets[~held], outputs[:, ~held], most=most
        )
        honest[held] = _average(outputs[:, held], weights)
    taken = sorted(np.flatnonzero(counts).tolist(), key=lambda i: -int(counts[i]))
    members = tuple((able[i], int(counts[i])) for i in taken)
    head = make_ensemble(
        [(one.located(one.candidate.head), count) for one, count in members],
        shapes={name: f.shape for name, f in store.manifest.features.items()},
    )
    candidate = Candidate(
        head,
        score(targets, honest, task=data.task),
        honest,
        all(one.candidate.converged for one, _ in members),
    )
    return Entrant(candidate, members[0][0].data, choosing, members=members)


def _average(outputs: np.ndarray, counts: np.ndarray) -> np.ndarray:
    return np.tensordot(counts / counts.sum(), outputs, axes=1)
