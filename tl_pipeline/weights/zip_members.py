"""Where the members of a zip file are, each within the file and apart from the others.

Read from the directory at the end, whose every number is checked: against the file's
length, against the header in front of each member, and against one another. Nothing is
extracted, so a member's name is a name and no path.
"""

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

MAX_DIRECTORY = 2**25  # bytes; of a file with 100,000 members it is about 10 MB
MAX_VERSION = 63  # of the format, after which none has come
_STORED, _DEFLATED = 0, 8
_END, _END64, _LOCATOR64 = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"
_ENTRY, _HEADER = b"PK\x01\x02", b"PK\x03\x04"
_BIG16, _BIG32 = 2**16 - 1, 2**32 - 1


class ZipError(Exception):
    """A zip file that is damaged, or made otherwise than weights are."""


class Member(NamedTuple):
    """A file in the zip: where its bytes are, and how many; `length` once unpacked."""

    name: str
    offset: int
    size: int
    length: int
    crc: int
    is_packed: bool


def list_members(path: Path) -> dict[str, Member]:
    """Returns a zip file's members by name.

    Raises:
      ZipError: The directory is missing or damaged, a member is encrypted or packed
        by another method than deflate, is there twice, lies outside of the file or
        shares its bytes with another.
    """
    with path.open("rb") as file:
        start, n_bytes, n_entries = _find_directory(file)
        if n_bytes > MAX_DIRECTORY:
            raise ZipError(f"its directory has {n_bytes:,} bytes")
        file.seek(start)
        directory = file.read(n_bytes)
        members: dict[str, Member] = {}
        try:
            for member in _read_entries(directory):
                if member.name in members:
                    raise ZipError(f"{member.name} is there twice")
                members[member.name] = _locate(file, member, start)
        except (struct.error, UnicodeDecodeError, IndexError):
            raise ZipError("its directory is damaged") from None
    if len(members) != n_entries:
        raise ZipError(f"its directory lists {len(members)} of {n_entries} members")
    end = 0
    for member in sorted(members.values(), key=lambda member: member.offset):
        if member.offset < end:
            raise ZipError(f"{member.name} shares its bytes with another member")
        end = member.offset + member.size
    return members


def read_member(path: Path, member: Member) -> bytes:
    """Returns a member's content, unpacked to the length that it declares, no further.

    Raises:
      ZipError: It is shorter or longer, or its checksum is another.
    """
    with path.open("rb") as file:
        file.seek(member.offset)
        data = file.read(member.size)
    if member.is_packed:
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            data = inflater.decompress(data, member.length + 1)
        except zlib.error:
            raise ZipError(f"{member.name} cannot be unpacked") from None
    if len(data) != member.length:
        raise ZipError(f"{member.name} has not the {member.length:,} bytes it declares")
    if zlib.crc32(data) != member.crc:
        raise ZipError(f"{member.name} has another checksum than it declares")
    return data


def _find_directory(file: BinaryIO) -> tuple[int, int, int]:
    """Returns where the directory begins, its bytes, and its number of entries."""
    length = file.seek(0, 2)
    n = min(length, 22 + _BIG16)  # the end record, and a comment
    file.seek(length - n)
    tail = file.read(n)
    at = tail.rfind(_END)
    if at < 0 or len(tail) - at < 22:
        raise ZipError("its directory, at the end, is missing")
    *disks, here, entries, n_bytes, start, comment = struct.unpack_from(
        "<HHHHIIH", tail, at + 4
    )
    end = length - n + at
    if end + 22 + comment != length or any(disks) or here != entries:
        raise ZipError("its end is damaged")
    if at >= 20 and tail[at - 20 : at - 16] == _LOCATOR64:
        disk, place, n_disks = struct.unpack_from("<IQI", tail, at - 16)
        if place + 56 + 20 != end or disk or n_disks > 1:
            raise ZipError("its end is damaged")
        file.seek(place)
        record = file.read(56)
        if record[:4] != _END64:
            raise ZipError("its end is damaged")
        entries, n_bytes, start = struct.unpack_from("<QQQ", record, 32)
        end = place
    if start + n_bytes != end:
        raise ZipError("its directory is not where it should be")
    return start, n_bytes, entries


def _read_entries(directory: bytes) -> Iterator[Member]:
    """Yields what the directory says, with the header's place for an offset."""
    at = 0
    while at < len(directory):
        if directory[at : at + 4] != _ENTRY:
            raise ZipError("its directory is damaged")
        _, version, flags, method, _, crc, size, length, n_name, n_extra, n_comment = (
            struct.unpack_from("<HHHHIIIIHHH", directory, at + 4)
        )
        (place,) = struct.unpack_from("<I", directory, at + 42)
        at += 46
        name = directory[at : at + n_name].decode()
        extra = directory[at + n_name : at + n_name + n_extra]
        at += n_name + n_extra + n_comment
        if at > len(directory):
            raise ZipError("its directory is damaged")
        is_known = version & 255 <= MAX_VERSION and method in (_STORED, _DEFLATED)
        if flags & 0x2061 or not is_known:
            raise ZipError(f"{name} is encrypted or packed by an unknown method")
        large = _read_extra(extra)
        # In this order, those that do not fit into 32 bits.
        length = next(large) if length == _BIG32 else length
        size = next(large) if size == _BIG32 else size
        place = next(large) if place == _BIG32 else place
        if method == _STORED and size != length:
            raise ZipError(f"{name} is stored, and of two sizes")
        yield Member(name, place, size, length, crc, method == _DEFLATED)


def _read_extra(extra: bytes) -> Iterator[int]:
    """Yields the 64-bit numbers of an entry."""
    at = 0
    while at + 4 <= len(extra):
        kind, n = struct.unpack_from("<HH", extra, at)
        if kind == 1:
            for i in range(at + 4, at + 4 + n - 7, 8):
                yield struct.unpack_from("<Q", extra, i)[0]
        at += 4 + n
    raise ZipError("its directory lacks a large size")


def _locate(file: BinaryIO, member: Member, end: int) -> Member:
    """Returns a member with the place of its bytes, behind its own header."""
    file.seek(member.offset)
    header = file.read(30)
    if len(header) < 30 or header[:4] != _HEADER:
        raise ZipError(f"{member.name} is not where its directory says")
    (method,) = struct.unpack_from("<H", header, 8)
    n_name, n_extra = struct.unpack_from("<HH", header, 26)
    if method != (_DEFLATED if member.is_packed else _STORED) or (
        file.read(n_name) != member.name.encode()
    ):
        raise ZipError(f"{member.name} is called otherwise in front of its bytes")
    offset = member.offset + 30 + n_name + n_extra
    if offset + member.size > end:
        raise ZipError(f"{member.name} reaches beyond the members")
    return member._replace(offset=offset)
