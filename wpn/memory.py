"""Memory that the C library keeps after it was freed."""

import ctypes
from functools import cache
from typing import Any


def give_back() -> None:
    """Return freed memory to the system, where the C library can (glibc); elsewhere nothing happens.

    Batches of ever other lengths leave holes of ever other sizes, so that a training run on a CPU grows from step to
    step without this.
    """
    if trim := _malloc_trim():
        trim(0)


@cache
def _malloc_trim() -> Any:
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # another C library, another system
        return None
