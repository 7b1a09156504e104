"""The state of objects that several tests share, restored before each of them."""

from __future__ import annotations

from collections.abc import Iterable
from copy import copy
from enum import Enum
from functools import partial
from types import FunctionType, MethodType
from typing import Any


class KeptState:
    """A snapshot of our objects reachable from ``roots``: attributes, dictionaries, lists and sets.

    Objects of libraries, such as connections, stay as they are.
    """

    def __init__(self, *roots: Any) -> None:
        self._attributes: list[tuple[dict[str, Any], dict[str, Any]]] = []
        self._slots: list[tuple[Any, str, Any]] = []
        self._containers: list[tuple[Any, Any]] = []
        seen, found = dict[int, Any](), list(roots)  # Seen objects are kept alive, so that no id is reused.
        while found:
            one = found.pop()
            if id(one) not in seen:
                seen[id(one)] = one
                found += self._record(one)

    def _record(self, one: Any) -> Iterable[Any]:
        """Record the mutable state of an object, and return the objects in it."""
        if isinstance(one, dict | list | set):
            self._containers.append((one, copy(one)))
            return one.values() if isinstance(one, dict) else one
        if isinstance(one, partial):
            return (one.func, *one.args, *one.keywords.values())
        if isinstance(one, MethodType):
            return (one.__self__,)
        if isinstance(one, FunctionType):
            return [cell.cell_contents for cell in one.__closure__ or ()]
        if isinstance(one, tuple | frozenset):
            return one
        if isinstance(one, Enum) or not type(one).__module__.startswith("worker."):
            return ()
        attributes = getattr(one, "__dict__", {})
        self._attributes.append((attributes, dict(attributes)))
        names = {name for cls in type(one).__mro__ for name in getattr(cls, "__slots__", ()) if hasattr(one, name)}
        slots = [(one, name, getattr(one, name)) for name in names - {"__dict__", "__weakref__"}]
        self._slots += slots
        return [*attributes.values(), *(value for _, _, value in slots)]

    def restore(self) -> None:
        for attributes, before in self._attributes:
            attributes.clear()
            attributes.update(before)
        for one, name, before in self._slots:
            object.__setattr__(one, name, before)
        for container, before in self._containers:
            if isinstance(container, list):
                container[:] = before
            else:
                container.clear()
                container.update(before)
