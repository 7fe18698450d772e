"""Reading a pickle as data: a small machine that knows names and calls nothing.

A pickle is a program for a stack machine, and Python's own machine imports and calls
whatever the program names. This one has no way to: it builds dicts, lists, tuples,
numbers and texts; a name stays a name, and what a call of it would give is asked of the
caller, who answers for the names that it knows. Everything else is refused.

What a program may cost is bounded by its length: nothing is copied that another
instruction did not push, and no declared size is believed.
"""

import io
import pickletools
from collections.abc import Callable
from typing import Any, NamedTuple

MAX_BYTES = 2**24  # of a program; those of models with 1,000 tensors have 0.2 MB
MAX_STEPS = 2_000_000
MAX_PROTOCOL = 5
MAX_KEY = 16  # parts of a dict's key

_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_LITERALS = {
    *("BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT"),
    *("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINSTRING", "SHORT_BINSTRING"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_SCALARS = (str, bytes, int, float, type(None))


class RefusedError(Exception):
    """A program that does more than to hold weights, or that is damaged."""


class Name(NamedTuple):
    """Something that a pickle names, as in `torch._utils._rebuild_tensor_v2`."""

    dotted: str


class Inert:
    """What carries no weights: its content is passed over."""


class Machine:
    """Runs one program after the other over a stream of bytes."""

    def __init__(
        self,
        stream: io.BytesIO,
        *,
        call: Callable[[str, tuple[Any, ...]], Any],
        persist: Callable[[Any], Any],
    ):
        """Takes the bytes, and what answers for names and for references.

        Args:
          stream: The programs' bytes, in memory: what a program declares is never
            more than is there.
          call: Returns what a name's call gives, or raises `RefusedError`.
          persist: Likewise for a reference to something outside of the pickle.
        """
        self._stream, self._call, self._persist = stream, call, persist
        self._steps = 0
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}

    def run(self) -> Any:
        """Returns the object of the next program; the stream then stands behind it.

        Raises:
          RefusedError: The program is damaged, or has an instruction or a name that
            holding weights does not need.
        """
        self._stack, self._marks, self._memo = [], [], {}
        try:
            for op, arg, _ in pickletools.genops(self._stream):
                self._steps += 1
                if self._steps > MAX_STEPS:
                    raise RefusedError(f"its pickle has more than {MAX_STEPS:,} steps")
                self._step(op.name, arg)
        # `pickletools` meets bad bytes with all of these, the stack with IndexError.
        except (ValueError, IndexError, KeyError, OverflowError, TypeError) as error:
            raise RefusedError(f"its pickle is damaged: {error}") from None
        if len(self._stack) != 1 or self._marks:
            raise RefusedError("its pickle is damaged: it leaves more than one object")
        return self._stack.pop()

    def _step(self, op: str, arg: Any) -> None:
        stack = self._stack
        if op in _CONSTANTS:
            stack.append(_CONSTANTS[op])
        elif op in _LITERALS:
            stack.append(arg)
        elif op in ("BINPUT", "LONG_BINPUT"):
            self._memo[arg] = self._top()
        elif op == "MEMOIZE":
            self._memo[len(self._memo)] = self._top()
        elif op in ("BINGET", "LONG_BINGET"):
            stack.append(self._memo[arg])
        elif op == "MARK":
            self._marks.append(len(stack))
        elif op in _TUPLES:
            items = [self._pop() for _ in range(_TUPLES[op])]
            stack.append(tuple(reversed(items)))
        elif op == "TUPLE":
            stack.append(tuple(self._pop_to_mark()))
        elif op in ("EMPTY_LIST", "EMPTY_SET"):
            stack.append([])
        elif op == "EMPTY_DICT":
            stack.append({})
        elif op in ("APPENDS", "ADDITEMS", "APPEND"):
            items = [self._pop()] if op == "APPEND" else self._pop_to_mark()
            self._extend(items)
        elif op in ("SETITEMS", "SETITEM"):
            if op == "SETITEM":
                value, key = self._pop(), self._pop()
                self._update([key, value])
            else:
                self._update(self._pop_to_mark())
        elif op == "GLOBAL":
            stack.append(Name(arg.replace(" ", ".", 1)))
        elif op == "STACK_GLOBAL":
            name, module = self._pop(), self._pop()
            if not isinstance(name, str) or not isinstance(module, str):
                raise RefusedError("its pickle is damaged: a name is no text")
            stack.append(Name(f"{module}.{name}"))
        elif op in ("REDUCE", "NEWOBJ"):
            args, name = self._pop(), self._pop()
            if not isinstance(name, Name) or type(args) is not tuple:
                raise RefusedError("its pickle calls something that has no name")
            stack.append(self._call(name.dotted, args))
        elif op == "BUILD":
            self._pop()
            # Attributes: a state dict's are versions of modules, which no weights need.
            if isinstance(self._top(), Name):
                raise RefusedError(f"it changes {self._top().dotted}")
        elif op == "BINPERSID":
            stack.append(self._persist(self._pop()))
        elif op == "POP":
            self._pop()
        elif op == "POP_MARK":
            self._pop_to_mark()
        elif op == "PROTO" and arg > MAX_PROTOCOL:
            raise RefusedError(f"its pickle is of protocol {arg}")
        elif op not in ("PROTO", "FRAME", "STOP"):
            raise RefusedError(f"its pickle has the instruction {op}")

    def _top(self) -> Any:
        self._check_above_mark()
        return self._stack[-1]

    def _pop(self) -> Any:
        self._check_above_mark()
        return self._stack.pop()

    def _check_above_mark(self) -> None:
        if len(self._stack) <= (self._marks[-1] if self._marks else 0):
            raise RefusedError("its pickle is damaged: it takes what is not there")

    def _pop_to_mark(self) -> list[Any]:
        start = self._marks.pop()
        items = self._stack[start:]
        del self._stack[start:]
        return items

    def _extend(self, items: list[Any]) -> None:
        target = self._top()
        if isinstance(target, list):
            target.extend(items)
        elif not isinstance(target, Inert):
            raise RefusedError("its pickle appends to what is no list")

    def _update(self, items: list[Any]) -> None:
        target = self._top()
        if isinstance(target, dict) and len(items) % 2 == 0:
            for key, value in zip(items[::2], items[1::2], strict=True):
                target[check_key(key)] = value
        elif not isinstance(target, Inert):
            raise RefusedError("its pickle sets items of what is no dict")


def check_key(key: Any) -> Any:
    """Returns a dict's key, if hashing it is cheap: tuples of tuples need not be.

    Raises:
      RefusedError: The key is no text, number or short, flat tuple of them.
    """
    flat = key if type(key) is tuple and len(key) <= MAX_KEY else (key,)
    for part in flat:
        is_long = isinstance(part, int) and part.bit_length() > 64
        if is_long or not isinstance(part, _SCALARS):
            raise RefusedError("a dict in its pickle has a key of another kind")
    return key
