"""The masks in a file of Cellpose's window (``_seg.npy``), without running what is in it.

Such a file is a pickle: opened as one, it may run any program.  Here its opcodes are followed by
hand.  Only containers, texts and numbers are built; what it asks to be called or imported is noted
(`_Made`), never done.
"""

from __future__ import annotations

import io
import pickletools
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_sam3.errors import ImageError, reason_of
from napari_sam3.workflows.files import all_bytes

MAX_BYTES = 1 << 30
"""A longer file is not read: it takes several times as much memory."""

MAX_STEPS = 1 << 22
"""More opcodes are not followed; a file of ten thousand objects has some 300,000."""

_MASKS = "masks"
_NUMBERS = re.compile("[biuf][1248]")
_RECONSTRUCT = ("numpy.core.multiarray _reconstruct", "numpy._core.multiarray _reconstruct")
_MARK = object()

_VALUES = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "EMPTY_DICT": dict,
    "MARK": lambda: _MARK,
}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_PUT, _GET = {"PUT", "BINPUT", "LONG_BINPUT"}, {"GET", "BINGET", "LONG_BINGET"}
_NOTHING_TO_DO = {"PROTO", "FRAME"}


@dataclass(slots=True, eq=False)
class _Named:
    """What a file names by module and name."""

    name: str


@dataclass(slots=True, eq=False)
class _Made:
    """What is to be called, with what, and what is to be set on the outcome."""

    name: str
    arguments: Any
    state: Any = None


def is_pickled(path: Path) -> bool:
    """Return whether an NPY file holds one Python object, as Cellpose saves it."""
    try:
        with path.open("rb") as file:
            return _is_one_object(file)
    except Exception:  # noqa: BLE001 - whoever reads it otherwise says what is wrong
        return False


def read_masks(path: Path) -> npt.NDArray[Any]:
    """Return the masks in a ``_seg.npy`` for which `is_pickled` is true, whatever type they have.

    Raises
    ------
    ImageError
        If there are none, the file is damaged, or it is too large.
    """
    try:
        file = io.BytesIO(all_bytes(path, MAX_BYTES))
        _is_one_object(file)
        return _array_of(_masks_of(_follow(file)))
    except ImageError:
        raise
    except _ForeignError as error:
        raise ImageError(
            f"{path} holds Python objects, not labels, and no masks of Cellpose: {error}."
        ) from error
    except Exception as error:  # a damaged file makes each step raise anything
        raise ImageError(f"{path} is damaged: {reason_of(error)}.") from error


class _ForeignError(Exception):
    """What is in the file is none of Cellpose's."""


def _is_one_object(file: Any) -> bool:
    if np.lib.format.read_magic(file) != (1, 0):
        return False
    shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    return shape == () and dtype == np.dtype(object)


def _follow(file: io.BytesIO) -> Any:
    machine = _Machine()
    for number, (opcode, argument, _) in enumerate(pickletools.genops(file)):
        if number > MAX_STEPS:
            raise _ForeignError("it holds too many objects")
        if opcode.name == "STOP":
            return machine.stack.pop()
        machine.step(opcode.name, argument)
    raise ValueError("it has no end")


class _Machine:
    """A stack, and what was set aside; see `pickletools` for what the opcodes mean."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self._aside: dict[int, Any] = {}

    def step(self, name: str, argument: Any) -> None:
        """Follow one opcode."""
        if name in _VALUES:
            self.stack.append(argument)
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name]())
        elif name in _TUPLES:
            self.stack.append(self._pop(_TUPLES[name]))
        elif name in _PUT:
            self._aside[argument] = self.stack[-1]
        elif name in _GET:
            self.stack.append(self._aside[argument])
        elif (follow := _FOLLOWED.get(name)) is not None:
            follow(self, argument)
        elif name not in _NOTHING_TO_DO:
            raise _ForeignError(f"it holds something of another kind ({name})")

    def _pop(self, count: int) -> tuple[Any, ...]:
        if len(self.stack) < count:
            raise ValueError("its parts are not in order")
        return tuple(self.stack.pop() for _ in range(count))[::-1]

    def _since_mark(self) -> list[Any]:
        found: list[Any] = []
        while (value := self.stack.pop()) is not _MARK:
            found.append(value)
        return found[::-1]

    def _memoize(self, _: Any) -> None:
        self._aside[len(self._aside)] = self.stack[-1]

    def _name(self, argument: Any) -> None:
        self.stack.append(_Named(str(argument)))

    def _stack_name(self, _: Any) -> None:
        module, name = self._pop(2)
        if not (isinstance(module, str) and isinstance(name, str)):
            raise _ForeignError("what it names is no text")
        self.stack.append(_Named(f"{module} {name}"))

    def _call(self, _: Any) -> None:
        """Note a call; nothing is called."""
        called, arguments = self._pop(2)
        self.stack.append(_Made(called.name if isinstance(called, _Named) else "", arguments))

    def _set_state(self, _: Any) -> None:
        """Note what is to be set; nothing is set."""
        (state,) = self._pop(1)
        made = self.stack[-1]
        if isinstance(made, _Made):
            made.state = state

    def _make_tuple(self, _: Any) -> None:
        self.stack.append(tuple(self._since_mark()))

    def _make_list(self, _: Any) -> None:
        self.stack.append(self._since_mark())

    def _make_dict(self, _: Any) -> None:
        found = self._since_mark()
        self.stack.append({})
        self._put_into(found)

    def _append(self, _: Any) -> None:
        self._add_to(list(self._pop(1)))

    def _extend(self, _: Any) -> None:
        self._add_to(self._since_mark())

    def _put(self, _: Any) -> None:
        self._put_into(list(self._pop(2)))

    def _update(self, _: Any) -> None:
        self._put_into(self._since_mark())

    def _drop(self, _: Any) -> None:
        self._pop(1)

    def _drop_to_mark(self, _: Any) -> None:
        self._since_mark()

    def _add_to(self, values: list[Any]) -> None:
        if isinstance(self.stack[-1], list):
            self.stack[-1].extend(values)

    def _put_into(self, found: list[Any]) -> None:
        if isinstance(self.stack[-1], dict):
            # only what has a name can be asked for
            pairs = zip(found[::2], found[1::2], strict=True)
            self.stack[-1].update({key: value for key, value in pairs if isinstance(key, str)})


_FOLLOWED: dict[str, Callable[[_Machine, Any], None]] = {
    "MEMOIZE": _Machine._memoize,
    "GLOBAL": _Machine._name,
    "STACK_GLOBAL": _Machine._stack_name,
    "REDUCE": _Machine._call,
    "NEWOBJ": _Machine._call,
    "BUILD": _Machine._set_state,
    "TUPLE": _Machine._make_tuple,
    "LIST": _Machine._make_list,
    "DICT": _Machine._make_dict,
    "APPEND": _Machine._append,
    "APPENDS": _Machine._extend,
    "SETITEM": _Machine._put,
    "SETITEMS": _Machine._update,
    "POP": _Machine._drop,
    "POP_MARK": _Machine._drop_to_mark,
}


def _masks_of(root: Any) -> Any:
    match root:
        case _Made(name=name, state=(_, (), _, _, [dict() as content])) if name in _RECONSTRUCT:
            if _MASKS in content:
                return content[_MASKS]
            raise _ForeignError(f"it has no “{_MASKS}”")
    raise _ForeignError("it is no mapping")


def _array_of(value: Any) -> npt.NDArray[Any]:
    match value:
        case _Made(
            name=name,
            state=(
                _,
                tuple() as shape,
                _Made("numpy dtype", (str() as code, *_), (_, str() as order, *_)),
                is_by_column,
                bytes() as data,
            ),
        ) if name in _RECONSTRUCT and _NUMBERS.fullmatch(code) and order in ("<", ">", "|"):
            values = np.frombuffer(data, np.dtype(order + code))
            return values.reshape(shape, order="F" if is_by_column else "C")
    raise _ForeignError(f"its “{_MASKS}” are no array of numbers")
