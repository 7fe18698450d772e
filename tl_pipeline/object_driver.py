"""The driver of object storage: s3fs, through fsspec, and what its errors mean.

It is imported when the first object is asked for.
"""

import errno
import functools
import os
from typing import Any

from tl_pipeline.errors import BucketError, RequestError, ServerError

SCHEME = "s3://"
_NO_OBJECT = {"404", "NoSuchKey", "NotFound"}
_BEYOND = {"416", "InvalidRange"}
_CHANGED = {"412", "PreconditionFailed"}
_RACING = {"409", "ConditionalRequestConflict", "OperationAborted"}
_REFUSED = {
    "403": "access is denied",
    "AccessDenied": "access is denied",
    "AllAccessDisabled": "access is disabled",
    "ExpiredToken": "the credentials have expired",
    "InvalidAccessKeyId": "the credentials are not known there",
    "InvalidBucketName": "no bucket can have this name",
    "NoSuchBucket": "there is no such bucket",
    "RequestTimeTooSkewed": "this machine's clock is wrong",
    "SignatureDoesNotMatch": "the credentials do not fit",
}


class ConditionError(OSError):
    """The server left an object alone, as it was told to."""


class RangeError(OSError):
    """An object ends before the bytes that were asked for."""


@functools.lru_cache(maxsize=1)
def open_driver() -> Any:
    """Returns s3fs's file system, as its environment and fsspec's settings say.

    Raises:
      RequestError: It is not installed.
    """
    try:
        import fsspec
        import s3fs  # noqa: F401
    except ImportError as error:
        raise RequestError(
            f"Asked for an object in {SCHEME}: its driver is not installed. "
            "`pip install 'tl-pipeline[s3]'` installs it."
        ) from error
    return fsspec.filesystem("s3", use_listings_cache=False)


def explain(error: BaseException, address: str) -> BaseException:
    """Returns what an error of the driver means to whoever asked for an address."""
    code = _code(error)
    if code in _CHANGED | _RACING:
        return ConditionError(errno.EBUSY, "it was changed", address)
    if code in _BEYOND:
        return RangeError(errno.EINVAL, "it ends before", address)
    if code in _NO_OBJECT:
        return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), address)
    if code in _REFUSED:
        return BucketError(
            f"Asked for {address}: {_REFUSED[code]}. Mend the address, or what "
            "AWS_PROFILE, AWS_ENDPOINT_URL and the like say."
        )
    kind = type(error).__name__
    if kind in ("NoCredentialsError", "PartialCredentialsError", "ProfileNotFound"):
        return BucketError(
            f"Asked for {address}: no credentials were found. Set AWS_PROFILE, or "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run where a role "
            "gives them."
        )
    if kind == "ParamValidationError":
        return BucketError(f"Asked for {address}: it is no address of an object.")
    if isinstance(error, OSError) or _is_driver(error):
        return ServerError(
            f"Asked for {address}: its server cannot be reached, or fails "
            f"({kind if code is None else code}). Look whether it is up, and at "
            "AWS_ENDPOINT_URL; then run the same command again."
        )
    return error


def _code(error: BaseException) -> str | None:
    """Returns what the server called an error, which s3fs keeps as its cause."""
    for found in (error, error.__cause__):
        response = getattr(found, "response", None)
        if isinstance(response, dict):
            return str(response.get("Error", {}).get("Code"))
    return None


def broke_off(error: BaseException) -> bool:
    """Tells whether a connection broke off within an object's bytes."""
    return isinstance(error, TimeoutError) or (
        _is_driver(error) and _code(error) is None and "Payload" in type(error).__name__
    )


def _is_driver(error: BaseException) -> bool:
    return type(error).__module__.partition(".")[0] in (
        "aiobotocore",
        "aiohttp",
        "botocore",
        "fsspec",
    )
