"""Checkpoints of a fine-tuning, by Orbax: each appears whole or not at all."""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from tl_pipeline.errors import ConfigError, TrainingError, shorten

_KEPT = 2  # the newest may be the one before a failure
_STATE, _ABOUT = "state", "about"


class Saved(NamedTuple):
    """A checkpoint.

    Attributes:
      step: Steps that were done.
      tree: The arrays, in a tree like the one asked for.
      about: What else is known, plain data.
    """

    step: int
    tree: Any
    about: dict[str, Any]


class Checkpoints:
    """The checkpoints of one fine-tuning, in a folder of their own."""

    def __init__(self, folder: Path, *, identity: str):
        """Takes the folder, and the digest of everything that decides the outcome."""
        self.folder = folder.absolute()
        self._identity = identity
        self._manager: Any = None

    def __enter__(self) -> "Checkpoints":
        # Loaded only here: it takes seconds.
        import orbax.checkpoint as ocp

        with self._telling("open"):
            self.folder.mkdir(parents=True, exist_ok=True)
            self._manager = ocp.CheckpointManager(
                self.folder,
                options=ocp.CheckpointManagerOptions(
                    max_to_keep=_KEPT, enable_async_checkpointing=False
                ),
            )
        return self

    def __exit__(self, *problem: object) -> None:
        with contextlib.suppress(Exception):
            self._manager.close()

    @property
    def latest(self) -> int | None:
        """The last step that was saved; None where there is none."""
        return self._manager.latest_step()

    def load(self, like: Any) -> Saved | None:
        """Loads the latest checkpoint; None where there is none.

        Args:
          like: A tree of arrays of the same shapes and dtypes.

        Raises:
          ConfigError: It is of another fine-tuning.
          TrainingError: It cannot be read.
        """
        import orbax.checkpoint as ocp

        step = self.latest
        if step is None:
            return None
        leaves, structure = jax.tree.flatten(like)
        with self._telling("read"):
            found = self._manager.restore(
                step, args=ocp.args.Composite(**{_ABOUT: ocp.args.JsonRestore()})
            )
        about = dict(found[_ABOUT])
        if about.pop("identity", None) != self._identity:
            raise ConfigError(
                f"Asked to continue from {self.folder}: its checkpoint of step {step} "
                "is of another run, other data or other settings. Name another folder, "
                "or delete that one to begin anew."
            )
        with self._telling("read"):
            arrays = self._manager.restore(
                step,
                args=ocp.args.Composite(
                    **{_STATE: ocp.args.StandardRestore(_number(leaves))}
                ),
            )[_STATE]
        names = _number(leaves)
        tree = jax.tree.unflatten(structure, [np.asarray(arrays[n]) for n in names])
        return Saved(step, tree, about)

    def save(self, step: int, tree: Any, about: Mapping[str, Any]) -> None:
        """Saves a checkpoint; older ones than the last two go.

        Raises:
          TrainingError: It cannot be written; the one before it is kept.
        """
        import orbax.checkpoint as ocp

        leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]
        with self._telling("write"):
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    **{
                        _STATE: ocp.args.StandardSave(_number(leaves)),
                        _ABOUT: ocp.args.JsonSave(
                            {**about, "identity": self._identity}
                        ),
                    }
                ),
            )

    def describe_latest(self) -> str:
        """Says which checkpoint there is, a clause."""
        if self._manager is None or self.latest is None:
            return "no checkpoint was made yet"
        return f"the checkpoint of step {self.latest} is kept in {self.folder}"

    @contextlib.contextmanager
    def _telling(self, what: str) -> Iterator[None]:
        """Turns whatever Orbax raises, of which there is no list, into one sentence."""
        try:
            yield
        except Exception as error:
            kept = ""
            with contextlib.suppress(Exception):
                kept = f"; {self.describe_latest()}"
            raise TrainingError(
                f"Asked to {what} a checkpoint in {self.folder}: {shorten(error)}"
                f"{kept}. Make room there, or mend it, and run the same command again."
            ) from error


def _number(leaves: list[Any]) -> dict[str, Any]:
    return {f"{i:05d}": leaf for i, leaf in enumerate(leaves)}
