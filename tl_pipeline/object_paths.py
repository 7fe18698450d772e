"""Addresses in object storage: `s3://bucket/key`, with the part of `Path` that we use.

A write puts complete bytes under a name, in one step that others see whole or not at
all; there are no folders, only names with slashes. `swap_bytes` replaces an object only
if it still holds what the caller read, which the server decides: that is what keeps two
writers from losing each other's work.

Endpoint and credentials are those of the driver's own environment and files; none of
them is ever part of an address or of a message.
"""

import dataclasses
import posixpath
from collections.abc import Iterator
from typing import Any, NamedTuple

from tl_pipeline.digest import bytes_digest
from tl_pipeline.errors import RequestError, ServerError, StoreConflictError
from tl_pipeline.object_driver import (
    SCHEME,
    ConditionError,
    RangeError,
    broke_off,
    explain,
    open_driver,
)

_TRIES = 5  # of what only a race can refuse; a connection's trouble s3fs tries again


class Listed(NamedTuple):
    """An object as a listing tells of it.

    Attributes:
      path: Its address.
      size: Bytes.
      modified_ns: When it was put, by the server's clock, in whole seconds.
      etag: Differs where the bytes do.
    """

    path: "ObjectPath"
    size: int
    modified_ns: int
    etag: str


class ObjectStat(NamedTuple):
    """What `Path.stat` tells of a file, as far as an object has it."""

    st_size: int
    st_mtime: float


@dataclasses.dataclass(frozen=True, order=True)
class ObjectPath:
    """An address: of an object, or of all whose keys begin with its key and a slash.

    Example:
      >>> root = parse_address("s3://photos/2024/")
      >>> str(root / "cats" / "a.jpg"), (root / "a.jpg").parent == root
      ('s3://photos/2024/cats/a.jpg', True)
    """

    bucket: str
    key: str

    def __str__(self) -> str:
        return f"{SCHEME}{self.bucket}/{self.key}".rstrip("/")

    def __truediv__(self, name: str) -> "ObjectPath":
        return ObjectPath(self.bucket, f"{self.key}/{name}".lstrip("/"))

    @property
    def name(self) -> str:
        """What follows the last slash; of a bucket, its name."""
        return self.key.rpartition("/")[2] or self.bucket

    @property
    def stem(self) -> str:
        """The name without its suffix."""
        return posixpath.splitext(self.name)[0]

    @property
    def suffix(self) -> str:
        """The name's last dot and what follows it."""
        return posixpath.splitext(self.name)[1]

    @property
    def parent(self) -> "ObjectPath":
        """The address without its name."""
        return ObjectPath(self.bucket, self.key.rpartition("/")[0])

    def relative_to(self, other: "ObjectPath") -> str:
        """Returns the rest of a key that begins with another one's."""
        return self.key[len(other._prefix) :]

    def read_bytes(self) -> bytes:
        """Returns an object's bytes.

        Raises:
          FileNotFoundError: There is no such object.
          ServerError: The server cannot be reached, and so on.
          BucketError: There is no such bucket, or it may not be read.
        """
        return self._get()[0]

    def read_range(self, start: int, size: int) -> bytes:
        """Returns those bytes of a range that there are; raises as `read_bytes`."""
        try:
            return self._get(Range=f"bytes={start}-{start + size - 1}")[0]
        except RangeError:
            return b""

    def write_bytes(self, data: bytes | memoryview) -> None:
        """Puts an object; raises as `read_bytes`."""
        self._call("put_object", Body=bytes(data))

    def swap_bytes(self, expected: bytes | None, data: bytes) -> None:
        """Puts an object if it still is what it is expected to be.

        Args:
          expected: What it holds; None where there is to be no such object.
          data: What it is to hold.

        Raises:
          StoreConflictError: It holds something else; it was left alone.
          ServerError: As `read_bytes`.
        """
        condition = {"IfNoneMatch": "*"}
        if expected is not None:
            condition = self._condition_of(expected)
        for _ in range(_TRIES):
            try:
                answer = self._call("put_object", Body=data, **condition)
            except ConditionError:
                # Also what we put ourselves, where the answer to it was lost.
                found = self._find()
                if found is not None and found[0] == data:
                    return
                if expected is None or found is None or found[0] != expected:
                    raise StoreConflictError(
                        f"{self} was changed by someone else meanwhile."
                    ) from None
                condition = {"IfMatch": found[1]}
            else:
                _remember(self, data, answer["ETag"])
                return
        raise ServerError(
            f"Asked to replace {self}: its server refused {_TRIES} times, though "
            "nobody changed it. Run the same command again."
        )

    def read_version(self) -> bytes:
        """Returns an object's bytes, to be expected by `swap_bytes`."""
        data, etag = self._get()
        _remember(self, data, etag)
        return data

    def refuses_conditions(self) -> bool:
        """Tells whether the server ignores what `swap_bytes` lives by.

        The object is there, and is left alone by a server that knows conditions.
        """
        data = self.read_bytes()
        for condition in ({"IfNoneMatch": "*"}, {"IfMatch": f'"{"0" * 32}"'}):
            try:
                self._call("put_object", Body=data, **condition)
            except ConditionError:
                continue
            return True
        return False

    def exists(self) -> bool:
        """Tells whether there is such an object, or one below it."""
        return self.is_file() or self.is_dir()

    def is_file(self) -> bool:
        """Tells whether there is such an object."""
        try:
            self.stat()
        except FileNotFoundError:
            return False
        return True

    def is_dir(self) -> bool:
        """Tells whether objects lie below it; a bucket may be empty."""
        answer = self._call("list_objects_v2", Prefix=self._prefix, MaxKeys=1)
        return not self.key or bool(answer.get("KeyCount"))

    def stat(self) -> ObjectStat:
        """Returns size and time; raises as `read_bytes`."""
        found = self.look()
        return ObjectStat(found.size, found.modified_ns / 1e9)

    def look(self) -> Listed:
        """Returns what a listing would tell of an object; raises as `read_bytes`."""
        answer = self._call("head_object")
        return _listed(self, answer["ContentLength"], answer)

    def iterdir(self) -> Iterator["ObjectPath"]:
        """Yields what lies directly below it."""
        for page in self._pages(Delimiter="/"):
            for found in page.get("CommonPrefixes", ()):
                yield ObjectPath(self.bucket, found["Prefix"].rstrip("/"))
            for found in page.get("Contents", ()):
                if found["Key"] != self._prefix:
                    yield ObjectPath(self.bucket, found["Key"])

    def list_objects(self) -> Iterator[Listed]:
        """Yields the objects directly below it; raises as `read_bytes`."""
        for page in self._pages(Delimiter="/"):
            yield from self._contents(page)

    def walk(self) -> Iterator[Listed]:
        """Yields the objects at any depth below it; raises as `read_bytes`."""
        for page in self._pages():
            yield from self._contents(page)

    def unlink(self, missing_ok: bool = False) -> None:
        """Removes an object; one that is not there is no error."""
        self._call("delete_object")

    def replace(self, target: "ObjectPath") -> None:
        """Gives an object another address: a copy by the server, then a removal."""
        source = {"Bucket": self.bucket, "Key": self.key}
        target._call("copy_object", CopySource=source)
        self.unlink()

    @property
    def _prefix(self) -> str:
        return f"{self.key}/" if self.key else ""

    def _pages(self, **asked: str) -> Iterator[dict[str, Any]]:
        token: dict[str, str] = {}
        while True:
            page = self._call("list_objects_v2", Prefix=self._prefix, **asked, **token)
            yield page
            if not page.get("IsTruncated"):
                return
            token = {"ContinuationToken": page["NextContinuationToken"]}

    def _contents(self, page: dict[str, Any]) -> Iterator[Listed]:
        for found in page.get("Contents", ()):
            path = ObjectPath(self.bucket, found["Key"])
            yield _listed(path, found["Size"], found)

    def _find(self) -> tuple[bytes, str] | None:
        try:
            return self._get()
        except FileNotFoundError:
            return None

    def _condition_of(self, expected: bytes) -> dict[str, str]:
        digest, etag = _versions.get(self, ("", ""))
        if digest == bytes_digest(expected):
            return {"IfMatch": etag}
        found = self._find()
        if found is None or found[0] != expected:
            raise StoreConflictError(f"{self} was changed by someone else meanwhile.")
        return {"IfMatch": found[1]}

    def _get(self, **asked: str) -> tuple[bytes, str]:
        from fsspec.asyn import sync

        system = open_driver()

        async def get() -> tuple[bytes, str]:
            answer = await system._call_s3(
                "get_object", Bucket=self.bucket, Key=self.key, **asked
            )
            async with answer["Body"] as body:
                return await body.read(), answer["ETag"]

        for tries_left in range(_TRIES, 0, -1):
            try:
                answer: Any = sync(system.loop, get)
                return answer
            except Exception as error:
                # Of a connection that broke off within the body nobody else knows.
                if tries_left == 1 or not broke_off(error):
                    raise explain(error, str(self)) from error
        raise AssertionError("the last try returns or raises")

    def _call(self, method: str, **asked: object) -> dict[str, Any]:
        if method.endswith("_object"):
            asked["Key"] = self.key
        system = open_driver()
        try:
            return system.call_s3(method, Bucket=self.bucket, **asked)
        except Exception as error:
            raise explain(error, str(self)) from error


def parse_address(text: str) -> ObjectPath:
    """Returns the address that a text names.

    Raises:
      RequestError: It names no bucket, or another kind of storage.
    """
    bucket, _, key = text.removeprefix(SCHEME).partition("/")
    if not text.startswith(SCHEME) or not bucket:
        raise RequestError(
            f"Asked for {text}: known are folders on this machine and "
            f"{SCHEME}BUCKET/KEY. Name one of them."
        )
    return ObjectPath(bucket, key.strip("/"))


# The version of each that this process last read or put: digest of its bytes, ETag.
_versions: dict[ObjectPath, tuple[str, str]] = {}


def _remember(path: ObjectPath, data: bytes, etag: str) -> None:
    _versions[path] = bytes_digest(data), etag


def _listed(path: ObjectPath, size: int, found: dict[str, Any]) -> Listed:
    seconds = int(found["LastModified"].timestamp())
    return Listed(path, size, seconds * 10**9, found["ETag"])
