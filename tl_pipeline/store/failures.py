"""Examples that gave no row: which ones, why, and which are settled.

The manifest alone says what is settled. `failures.jsonl` gives the reasons; it is
written before the manifest, so a line that the manifest does not name is the leftover
of a killed writer, and its example keeps its place in its range.

A failure has a scope: "" when the example itself failed, the feature's name when one
of its values cannot be stored. Failures of the kind `io` are never settled: the
manifest lists them as `retry`, and every plan attempts them again, after the rest.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from tl_pipeline.errors import StoreDamagedError
from tl_pipeline.places import Place
from tl_pipeline.spec import PLAIN_RECIPE
from tl_pipeline.store.lines import read_lines, write_lines
from tl_pipeline.store.manifest import Manifest
from tl_pipeline.store.schema import FAILURES

KINDS = ("decode", "io", "value")


class Failure(NamedTuple):
    """An example that gave no row.

    Attributes:
      content: Its content digest in hexadecimal; "" if its bytes were never read.
      id: Its id; the first one if several share the bytes.
      reason: One sentence or less.
      kind: `"decode"` and `"io"` concern the example, `"value"` one feature of it.
      feature: The feature for the kind `value`, else ""; in a file, the scope.
      dataset: Its dataset, where `content` is "".
    """

    content: str
    id: str
    reason: str
    kind: str
    feature: str = ""
    dataset: str = ""


def scope_of(feature: str, recipe: str, view: int) -> str:
    """Returns what a failure of a feature concerns: views fail one by one.

    Example:
      >>> scope_of("pool", "plain", 0), scope_of("pool", "flip", 2)
      ('pool', 'pool@flip#2')
    """
    plain = not feature or recipe == PLAIN_RECIPE
    return feature if plain else f"{feature}@{recipe}#{view}"


def settle(
    manifest: Manifest,
    *,
    attempted: Iterable[str],
    features: Iterable[str],
    recipe: str,
    view: int,
    failed: Iterable[Failure],
) -> tuple[dict[str, tuple[str, ...]], tuple[str, ...]]:
    """Returns the manifest's `failed` and `retry` after a range was attempted.

    Args:
      manifest: The one before.
      attempted: All content digests of the range, in hexadecimal.
      features: The features that were computed.
      recipe: Recipe of the view.
      view: Number of the view.
      failed: The range's failures, scopes in place of feature names.
    """
    settled = {content: set(scopes) for content, scopes in manifest.failed.items()}
    retry = set(manifest.retry)
    answered = {"", *(scope_of(feature, recipe, view) for feature in features)}
    for content in attempted:
        retry.discard(content)
        if content in settled:
            settled[content] -= answered
    for failure in failed:
        if failure.kind == "io":
            retry.add(failure.content)
        else:
            settled.setdefault(failure.content, set()).add(failure.feature)
    return (
        {
            content: tuple(sorted(settled[content]))
            for content in settled
            if settled[content]
        },
        tuple(sorted(retry)),
    )


def is_named(failure: Failure, manifest: Manifest) -> bool:
    """Tells whether a failure stands, or is a leftover that the manifest passed by."""
    if not failure.content:
        return True
    if failure.kind == "io":
        return failure.content in manifest.retry
    return failure.feature in manifest.failed.get(failure.content, ())


def merge_failures(old: Iterable[Failure], new: Iterable[Failure]) -> list[Failure]:
    """Returns both, sorted; a new failure replaces an old one of the same scope."""
    merged = {_key(failure): failure for failure in (*old, *new)}
    return [merged[key] for key in sorted(merged)]


def read_failures(path: Place) -> list[Failure]:
    """Reads the failures of the store in a folder.

    Raises:
      StoreDamagedError: A line is not the one that was written.
    """
    try:
        return [_parse(row) for row in read_lines(path / FAILURES)]
    except (TypeError, ValueError) as error:
        raise StoreDamagedError(
            f"{path / FAILURES} holds a line that is no failure ({error}). Delete the "
            "file and extract again: it is written anew."
        ) from None


def standing_failures(path: Place, manifest: Manifest) -> list[Failure]:
    """Reads the failures that stand, without the leftovers of a killed writer."""
    return [failure for failure in read_failures(path) if is_named(failure, manifest)]


def write_failures(path: Place, failures: Iterable[Failure]) -> None:
    """Replaces the failures of the store in a folder.

    Raises:
      OSError: They cannot be written; the old ones stand.
    """
    write_lines(path / FAILURES, (failure._asdict() for failure in failures))


def replace_unreadable(
    path: Place, dataset: str, unreadable: Iterable[tuple[str, str]]
) -> None:
    """Replaces the examples (id, reason) of a dataset whose bytes were never read.

    Raises:
      OSError: The failures cannot be written; the old ones stand.
    """
    old = read_failures(path)
    others = [f for f in old if f.content or f.dataset != dataset]
    new = [Failure("", id_, reason, "io", "", dataset) for id_, reason in unreadable]
    write_failures(path, merge_failures(others, new))


def missing_reasons(failures: Iterable[Failure], manifest: Manifest) -> list[str]:
    """Lists the content digests that the manifest calls failed without any reason."""
    known = {(failure.content, failure.feature) for failure in failures}
    return sorted(
        {
            content
            for content, scopes in manifest.failed.items()
            for scope in scopes
            if (content, scope) not in known
        }
        | {content for content in manifest.retry if (content, "") not in known}
    )


def _key(failure: Failure) -> tuple[str, str, str, str]:
    if failure.content:
        return failure.content, failure.feature, "", ""
    return "", "", failure.dataset, failure.id


def _parse(row: Mapping[str, object]) -> Failure:
    failure = Failure(**row)  # type: ignore[arg-type]
    for field in failure:
        if not isinstance(field, str):
            raise TypeError(f"{field!r:.40} is not text")
    return failure
