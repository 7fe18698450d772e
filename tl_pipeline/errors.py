"""The exception tree: what can go wrong, and whose move is next.

    TlPipelineError
    ├── RequestError              the request or its input is wrong (exit code 2)
    │   ├── ConfigError           pipeline.toml or an option
    │   ├── DatasetError          a dataset that is missing, empty or cannot serve
    │   ├── BackboneError         an unknown backbone, feature name or pooling
    │   ├── WeightsError          weights that cannot be read or do not fit
    │   ├── SpecMismatchError     a store or head of another feature spec
    │   ├── FeatureShapeError     features of a shape that a head cannot take
    │   ├── BucketError           a bucket that is not there, or that refuses
    │   └── NotFoundError         a store, snapshot or run that is not there
    └── FailedError               the work itself failed (exit code 1)
        ├── StoreError            a feature store that cannot be written or read
        │   ├── StoreDamagedError bytes that are not the ones committed
        │   ├── StoreLockedError  another process holds the store
    │   └── StoreConflictError another process committed to it at the same time
        ├── ServerError           an object storage that cannot be reached
        ├── RunDamagedError       a run whose files are not the ones written
        ├── RoomError             work that does not fit on the disk or in memory
        ├── WorkersError          other processes that cannot be had, or that die
        ├── ParityError           stored rows differ from rows computed now
        ├── TooManyFailuresError  more examples failed than the config allows
        ├── DriftError            new examples that look unlike the older ones
        └── TrainingError         a training that ended in non-finite numbers

Every message has three parts: what was asked, what was found, what to do.
"""


class TlPipelineError(Exception):
    """The root of the errors raised on purpose; `exit_code` is the CLI's."""

    exit_code = 1


class RequestError(TlPipelineError, ValueError):
    """The request or its input is wrong: nothing was changed."""

    exit_code = 2


class ConfigError(RequestError):
    """A configuration file or an option that cannot be used."""


class DatasetError(RequestError):
    """A dataset that is missing, empty or unfit for what was asked."""


class BackboneError(RequestError):
    """An unknown backbone, feature name or pooling."""


class WeightsError(RequestError):
    """Weights that cannot be read, or that do not fit the network."""


class MisfitError(WeightsError):
    """Weights that were read, and do not fit the network."""


class SpecMismatchError(RequestError):
    """A store or a head that was made with another feature spec."""


class FeatureShapeError(RequestError):
    """Features of a shape that the head cannot take."""


class BucketError(RequestError, OSError):
    """A bucket that is not there, or that refuses; or credentials that are missing."""

    __str__ = Exception.__str__


class NotFoundError(RequestError, FileNotFoundError):
    """A store, snapshot or run that does not exist."""

    # OSError's own formatting would drop the message of a single argument.
    __str__ = Exception.__str__


class FailedError(TlPipelineError):
    """The work was well asked for, and failed."""


class StoreError(FailedError, OSError):
    """A feature store that cannot be written or read."""

    __str__ = Exception.__str__


class StoreDamagedError(StoreError):
    """Bytes in a store that are not the ones that were committed."""


class StoreLockedError(StoreError):
    """Another process holds the store's lock."""


class StoreConflictError(StoreError):
    """Another process committed to a store at the same time."""


class ServerError(FailedError, OSError):
    """An object storage that cannot be reached, or that fails."""

    __str__ = Exception.__str__


class RunDamagedError(FailedError):
    """A run whose files are not the ones that were written."""


class RoomError(FailedError):
    """Work that does not fit on the disk or in memory: nothing was begun."""


class WorkersError(FailedError, OSError):
    """Processes that were to compute cannot be had, or die of it."""

    __str__ = Exception.__str__


class ParityError(FailedError):
    """Stored rows differ, beyond tolerance, from the same rows computed now."""


class UnsoundWeightsError(FailedError):
    """Weights that did not pass their self-test."""


class TooManyFailuresError(FailedError):
    """More examples failed than the configuration allows."""


class DriftError(FailedError):
    """New examples look unlike the older ones, where a run is to fail then."""


class TrainingError(FailedError):
    """A training that ended in non-finite numbers."""


MAX_FOUND = 200  # characters


def shorten(found: object) -> str:
    r"""Returns what was found as one line, short enough to stand in a message.

    Args:
      found: A text, or an error: its text, or its class where it has none.

    Example:
      >>> shorten("two\nlines"), shorten(MemoryError()), len(shorten("x" * 9_999))
      ('two lines', 'MemoryError', 204)
    """
    text = " ".join(str(found)[: 10 * MAX_FOUND].split())
    if not text and isinstance(found, BaseException):
        return type(found).__name__
    return text if len(text) <= MAX_FOUND else f"{text[:MAX_FOUND]} ..."
