"""The descriptor of a part that is built when it is first asked for."""

from __future__ import annotations

from functools import cached_property
from typing import Any, Self, TypeVar, overload

T = TypeVar("T")


class Part(cached_property[T]):
    """A cached property that is built once even when several threads ask for it first.

    Its owner has a reentrant lock named ``lock``: one part may need another.  Python 3.12 took the lock out of
    ``cached_property`` itself.
    """

    @overload
    def __get__(self, instance: None, owner: type[Any] | None = None) -> Self: ...

    @overload
    def __get__(self, instance: object, owner: type[Any] | None = None) -> T: ...

    def __get__(self, instance: Any, owner: type[Any] | None = None) -> Self | T:
        if instance is None:
            return self
        with instance.lock:
            part: T = super().__get__(instance, owner)
            return part
