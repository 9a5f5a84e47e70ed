"""The two forms of a test of faults."""

from typing import Protocol, TypeVar

Figure = TypeVar("Figure", int, float)


class SoakOr(Protocol):
    """``soak_or(short, long)``: a figure by the form; what is promised is held in the long one."""

    def __call__(self, short: Figure, long: Figure) -> Figure: ...
