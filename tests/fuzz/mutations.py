"""Ways to damage a file: bytes, the numbers in its headers, the tokens of a text."""

import random
import re
import struct
from collections.abc import Callable, Sequence

ODD_NUMBERS = (0, 1, 2, 3, 127, 128, 255, 256, 32767, 65535, 2**31 - 1, 2**31, 2**63)
ODD_BYTES = (b"\x00", b"\xff", b"\x7f", b"\x80", b"\n", b" ", b'"')
HEADER = 256  # most formats say there what follows

Mutation = Callable[[random.Random, bytearray], bytearray]


def mutate_bytes(
    rng: random.Random, data: bytes, others: Sequence[bytes], max_steps: int = 3
) -> bytes:
    """Returns some bytes after one to `max_steps` random injuries.

    Args:
      rng: Where chance comes from.
      data: The whole file.
      others: Other whole files, to splice with.
      max_steps: How many injuries at most.
    """
    damaged = bytearray(data)
    for _ in range(rng.randint(1, max_steps)):
        if rng.random() < 0.1 and others:
            damaged = splice(rng, damaged, rng.choice(others))
        else:
            damaged = rng.choice(BYTE_MUTATIONS)(rng, damaged)
    return bytes(damaged)


def position(rng: random.Random, data: bytearray, margin: int = 0) -> int:
    """Returns a position, in half of the cases one near the beginning."""
    end = max(len(data) - margin, 0)
    return rng.randint(0, min(end, HEADER) if rng.random() < 0.5 else end)


def flip_bits(rng: random.Random, data: bytearray) -> bytearray:
    for _ in range(rng.choice((1, 1, 1, 2, 8))):
        if data:
            data[position(rng, data, 1)] ^= 1 << rng.randrange(8)
    return data


def overwrite(rng: random.Random, data: bytearray) -> bytearray:
    n = rng.choice((1, 1, 2, 4, 16))
    at = position(rng, data, n)
    data[at : at + n] = (
        rng.randbytes(n) if rng.random() < 0.5 else rng.choice(ODD_BYTES) * n
    )
    return data


def truncate(rng: random.Random, data: bytearray) -> bytearray:
    return data[: position(rng, data)]


def insert(rng: random.Random, data: bytearray) -> bytearray:
    at = position(rng, data)
    data[at:at] = rng.randbytes(rng.choice((1, 2, 4, 100)))
    return data


def delete(rng: random.Random, data: bytearray) -> bytearray:
    at = position(rng, data)
    del data[at : at + rng.choice((1, 2, 4, 100))]
    return data


def duplicate(rng: random.Random, data: bytearray) -> bytearray:
    at, n = position(rng, data), rng.choice((1, 8, 64, 1000))
    data[at:at] = data[at : at + n] * rng.choice((1, 1, 2, 30))
    return data


def swap(rng: random.Random, data: bytearray) -> bytearray:
    n = rng.choice((1, 4, 8, 64))
    a, b = position(rng, data, n), position(rng, data, n)
    data[a : a + n], data[b : b + n] = data[b : b + n], data[a : a + n]
    return data


def lie(rng: random.Random, data: bytearray) -> bytearray:
    """Puts another number where a length, a count or an offset may stand."""
    code = rng.choice("HIIQ")
    order = rng.choice("<>")
    n = struct.calcsize(code)
    if len(data) < n:
        return data
    at = position(rng, data, n)
    (old,) = struct.unpack_from(order + code, data, at)
    number = rng.choice((*ODD_NUMBERS, -1, old - 1, old + 1, old * 2, len(data)))
    struct.pack_into(order + code, data, at, number % 2 ** (8 * n))
    return data


def splice(rng: random.Random, data: bytearray, other: bytes) -> bytearray:
    """Joins the beginning of one file to the end of another."""
    share = rng.random()
    return data[: int(share * len(data))] + other[int(share * len(other)) :]


BYTE_MUTATIONS: tuple[Mutation, ...] = (
    flip_bits,
    flip_bits,
    overwrite,
    truncate,
    insert,
    delete,
    duplicate,
    swap,
    lie,
    lie,
)

_TOKENS = re.compile(r'"[^"\n]*"|\w+|\s|.', re.DOTALL)
_ODD_TOKENS = (
    *("true", "false", "nan", "inf", "-inf", "-1", "0", "1e400", "0x10", "9" * 5000),
    *("1979-05-27T07:32:00Z", "null", '""', '"\\u0000"', '"3"', "'''", '"""', "\\"),
    *("[" * 3000, "{" * 3000, "[" * 50 + "]" * 50, "a." * 3000, "[[x]]", "{}", "[]"),
    *("\x00", "\r", "\r\n", "\n", "\ufeff", "\u202e", "\u0301", "\U0001f41c", "\x7f"),
    *(",", ",,", ";", "\t", '"', "=", "#", "\u00a0", "x" * 200_000, "\u0660"),
)


def mutate_text(
    rng: random.Random, data: bytes, others: Sequence[bytes], max_steps: int = 3
) -> bytes:
    """Returns a text in UTF-8 after random injuries of tokens, lines or bytes."""
    if rng.random() < 0.25:
        return mutate_bytes(rng, data, others, max_steps)
    text = data.decode()
    for _ in range(rng.randint(1, max_steps)):
        parts = text.splitlines(True) if rng.random() < 0.3 else _TOKENS.findall(text)
        if not parts:
            return text.encode()
        at, other = rng.randrange(len(parts)), rng.randrange(len(parts))
        change = rng.randrange(5)
        if change == 0:
            del parts[at]
        elif change == 1:
            parts.insert(at, parts[other])
        elif change == 2:
            parts[at], parts[other] = parts[other], parts[at]
        elif change == 3:
            parts[at] = rng.choice(_ODD_TOKENS)
        else:
            parts.insert(at, rng.choice(_ODD_TOKENS))
        text = "".join(parts)
    return text.encode()
