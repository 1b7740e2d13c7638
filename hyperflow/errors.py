"""Everything Hyperflow raises on purpose.

    HyperflowError
    ├── InvalidParameter    a value that cannot work, refused before anything is created
    ├── DataError           a data set that is missing, damaged or of another format
    ├── JobFailed           a tuning, training or service that ended badly, with its cause
    │   └── JobTimeout      one that had not ended in the time given
    ├── Conflict            something of another owner stands where ours should go
    ├── Unavailable         a folder, port, API or program that this needs cannot be used
    └── Cancelled           the user, or the cluster, asked to stop

Each says what happened, why, and what to do. The command line and the steps print just that, and exit by its class:
2 for a parameter, 130 for what was told to stop, 1 for all else.
A traceback means a defect of Hyperflow itself.

Each also says where it is explained: the page of errors has an entry for every function that makes one, which
`reference.py` writes from the source.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable
from types import FrameType

DOCUMENTATION = "HYPERFLOW_DOCS"
"""Environment variable with the address of the documentation, where it is published; by default its folder here."""


class HyperflowError(Exception):
    """Base of all: a message in three parts.

    Args:
        what: What happened, naming the object.
        why: The cause, as exactly as it is known; may be several lines.
        remedy: What the reader can do about it.
    """

    exit_code = 1

    def __init__(self, what: str, why: str = "", remedy: str = "") -> None:
        self.what, self.why, self.remedy = what, why, remedy
        self.origin = _origin(self)
        super().__init__(what, why, remedy)

    def __str__(self) -> str:
        parts = [self.what]
        if self.why:
            parts.append(f"  cause: {_indent(self.why)}")
        if self.remedy:
            parts.append(f"  remedy: {_indent(self.remedy)}")
        return "\n".join(parts)

    @property
    def address(self) -> str:
        """Where it is explained; nothing for an error that was not made by this package."""
        if not self.origin:
            return ""
        published = os.environ.get(DOCUMENTATION, "").rstrip("/")
        page = f"{published}/reference/errors/" if published else "docs/reference/errors.md"
        return f"{page}#{anchor(self.origin)}"

    @property
    def told(self) -> str:
        """The message, and where it is explained: what a user is shown."""
        return f"{self}\n  see: {self.address}" if self.address else str(self)


class InvalidParameter(HyperflowError, ValueError):
    """A parameter has a value that cannot work.

    Args:
        name: The parameter, as the user typed it.
        value: The value given.
        allowed: What would do.
    """

    exit_code = 2

    def __init__(self, name: str, value: object, allowed: str) -> None:
        self.name, self.value, self.allowed = name, value, allowed
        super().__init__(f"parameter {name!r} cannot be {value!r}", remedy=f"give {allowed}")

    def __reduce__(self) -> tuple[type[InvalidParameter], tuple[str, object, str], dict[str, object]]:
        return type(self), (self.name, self.value, self.allowed), self.__dict__

    def called(self, name: str) -> InvalidParameter:
        """Return it under another name for the parameter, as the user knows it."""
        renamed = InvalidParameter(name, self.value, self.allowed)
        renamed.origin = self.origin
        return renamed


class DataError(HyperflowError):
    """A data set is missing, damaged or of another format."""


class JobFailed(HyperflowError):
    """A tuning, training or service ended badly; `why` has its conditions, events and last log lines."""


class JobTimeout(JobFailed):
    """A job had not ended in the time given; `why` says what was being waited for."""


class Conflict(HyperflowError):
    """An object or folder of another owner, or of another specification, has the name that ours needs."""


class Unavailable(HyperflowError):
    """Something outside that the work needs cannot be used: a folder, a port, an API, a program."""


class Cancelled(HyperflowError):
    """The work was told to stop (SIGINT, SIGTERM or its runner's end)."""

    exit_code = 130


def one_of(names: Iterable[str]) -> str:
    """Word a set of allowed names for a message: `a, b or c`."""
    *rest, last = sorted(names)
    return f"{', '.join(rest)} or {last}" if rest else last


def anchor(origin: str) -> str:
    """Return an entry's anchor on the page of errors: as Markdown's readers make it of a heading."""
    return re.sub(r"[^\w]", "", origin).lower()


def _origin(error: HyperflowError) -> str:
    """Return the function that makes an error, as `datasets.idx.read_idx`; nothing for one outside this package."""
    frame: FrameType | None = sys._getframe(1)
    while frame and frame.f_locals.get("self") is error:
        frame = frame.f_back
    if frame is None:
        return ""
    spec = frame.f_globals.get("__spec__")
    module = str(spec.name if spec else frame.f_globals.get("__name__", ""))  # `__main__` has its own name in its spec
    if module.partition(".")[0] != "hyperflow":
        return ""
    function = frame.f_code.co_qualname.partition(".<locals>")[0]
    return f"{module.removeprefix('hyperflow.')}.{function}"


def _indent(text: str) -> str:
    return text.strip().replace("\n", "\n    ")
