"""The authors' weights: arrays by name in joblib's file, read without running it.

Such a file is a program for pickle's stack machine, with the bytes of the arrays between its words. It is read here one
word at a time, and only words that make dictionaries, tuples, text and numbers are obeyed. A name in it is never looked
up: a few stand for an array, its type and its wrapper; any other ends the reading.
"""

from __future__ import annotations

import pickletools
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slidesurv.errors import DataError

__all__ = ["Parameters", "read_haiku"]

Parameters = dict[str, dict[str, NDArray[np.generic]]]

CONSTANTS = ("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8")
FIXED = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
NAMES = {
    "numpy ndarray": "array",
    "numpy dtype": "type",
    "joblib.numpy_pickle NumpyArrayWrapper": "wrapper",
    "collections OrderedDict": "mapping",
    "haiku._src.data_structures FlatMapping": "mapping",  # what older programs of the authors' library write
}
NUMBERS = re.compile(r"[fiu][1248]|b1")
ORDERS = ("<", ">", "=", "|")
MALFORMED = (ValueError, LookupError, TypeError, AttributeError, OverflowError, struct.error)


@dataclass(frozen=True, slots=True)
class Name:
    """What a name in the file stands for."""

    part: str


@dataclass(slots=True)
class NumberType:
    """A kind of number, before and after its byte order is told."""

    code: str
    order: str = "="


class Wrapper:
    """An array whose shape is still to be told, and whose bytes follow."""


def read_haiku(content: bytes, *, where: str) -> Parameters:
    """Read the parameters of a network made with Haiku.

    Args:
        content: of an uncompressed joblib file.
        where: the file, for messages.

    Returns:
        Arrays by module path and name; they cannot be written to.

    Raises:
        DataError: the file wants more than arrays, text and numbers, is broken, or holds something else.
    """
    stream = BytesIO(content)
    machine = Machine(stream)
    try:
        for word, argument, _ in pickletools.genops(stream):
            machine.obey(word.name, argument)
        result = machine.stack.pop()
    except DataError as error:
        raise DataError(f"'{where}' is refused: {error}") from None
    except MALFORMED as error:
        raise DataError(
            f"'{where}' is not an uncompressed joblib file of arrays: {str(error)[:100]}. Download it again, or give "
            "the model.safetensors of the same weights."
        ) from None
    return _two_levels(result, where)


def _two_levels(result: Any, where: str) -> Parameters:
    if not isinstance(result, dict) or not result or not all(map(_is_module, result.values())):
        raise DataError(
            f"'{where}' holds no arrays by module and name. Give the params.joblib that the authors released."
        )
    return result


def _is_module(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(array, np.ndarray) for array in value.values())


class Machine:
    """Pickle's machine, less every word that could run, import or change anything.

    Args:
        stream: stands behind the word that is being obeyed; the bytes of an array are taken from there.
    """

    def __init__(self, stream: BytesIO) -> None:
        self.stream = stream
        self.stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}
        self._words: dict[str, Callable[[Any], None]] = {
            **dict.fromkeys(("PROTO", "FRAME", "STOP"), lambda _: None),
            **dict.fromkeys(CONSTANTS, self.stack.append),
            **{word: self._maker(partial(FIXED.__getitem__, word)) for word in FIXED},
            **{word: self._maker(partial(self._take, count)) for word, count in TUPLES.items()},
            "EMPTY_DICT": self._maker(dict),
            "MARK": lambda _: self._marks.append(len(self.stack)),
            "TUPLE": self._maker(self._take_marked),
            "SETITEM": lambda _: self._set(self._take(2)),
            "SETITEMS": lambda _: self._set(self._take_marked()),
            "MEMOIZE": lambda _: self._remember(len(self._memo)),
            **dict.fromkeys(("BINPUT", "LONG_BINPUT"), self._remember),
            **dict.fromkeys(("BINGET", "LONG_BINGET"), lambda place: self.stack.append(self._memo[place])),
            "GLOBAL": self._name,
            "STACK_GLOBAL": lambda _: self._name(" ".join(self._take(2))),
            **dict.fromkeys(("NEWOBJ", "REDUCE"), self._maker(lambda: self._made(*self._take(2)))),
            "BUILD": self._maker(lambda: self._built(*self._take(2))),
        }

    def obey(self, word: str, argument: Any) -> None:
        """Do what one word says.

        Raises:
            DataError: it is none of those that arrays, text and numbers need.
        """
        if word not in self._words:
            raise DataError(_wants(f"the word '{word}'"))
        self._words[word](argument)

    def _maker(self, make: Callable[[], Any]) -> Callable[[Any], None]:
        return lambda _: self.stack.append(make())

    def _take(self, count: int) -> tuple[Any, ...]:
        return tuple(self.stack.pop() for _ in range(count))[::-1]

    def _take_marked(self) -> tuple[Any, ...]:
        return self._take(len(self.stack) - self._marks.pop())

    def _set(self, items: tuple[Any, ...]) -> None:
        """Put keys and values, in turn, into the dictionary on top."""
        keys, target = items[::2], self.stack[-1]
        if not isinstance(target, dict) or not all(isinstance(key, str) for key in keys):
            raise DataError(_wants("a mapping from anything but text"))
        target.update(zip(keys, items[1::2], strict=True))

    def _remember(self, place: int) -> None:
        self._memo[place] = self.stack[-1]

    def _name(self, name: str) -> None:
        if name not in NAMES:
            raise DataError(_wants(f"'{name.replace(' ', '.')[:80]}'"))
        self.stack.append(Name(NAMES[name]))

    def _made(self, name: Any, arguments: tuple[Any, ...]) -> Any:
        """What a name makes of its arguments."""
        match (name.part, len(arguments)):
            case ("wrapper", 0):
                return Wrapper()
            case ("mapping", 0):
                return {}
            case ("mapping", 1) if isinstance(arguments[0], dict):
                return arguments[0]
            case ("type", _) if NUMBERS.fullmatch(arguments[0]):
                return NumberType(arguments[0])
        raise DataError(_wants(f"an unknown kind of {name.part}"))

    def _built(self, target: Any, state: Any) -> Any:
        """What becomes of a thing that is told its state."""
        if isinstance(target, NumberType) and state[1] in ORDERS:
            target.order = state[1]
            return target
        if isinstance(target, Wrapper):
            return self._array(**state)
        raise DataError(_wants("a change of something that is no array"))

    def _array(
        self, *, subclass: Name, shape: tuple[int, ...], order: str, dtype: NumberType, **settings: Any
    ) -> NDArray[np.generic]:
        """Read an array as its wrapper describes it."""
        if subclass.part != "array" or not all(type(side) is int and side >= 0 for side in shape):
            raise DataError(_wants("an array of an unknown shape"))
        kind = np.dtype(dtype.order + dtype.code)
        if settings.get("numpy_array_alignment_bytes"):
            self.stream.read(self.stream.read(1)[0])
        data = self.stream.read(prod(shape) * kind.itemsize)
        return np.frombuffer(data, kind).reshape(shape, order="F" if order == "F" else "C")


def _wants(what: str) -> str:
    return f"it asks for {what}, which no weights need. Do not open it with joblib; give the file the authors released."
