"""Freed memory goes back to the system, in a process of its own: this one has long had its holes."""

import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
import psutil
from wpn.memory import give_back
rss = lambda: psutil.Process().memory_info().rss >> 20
kept = [bytearray(60_000) for _ in range(6000)]  # too small to be given back one by one
small = kept[::100]
del kept
before = rss()
give_back()
print(before - rss())
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="glibc's malloc_trim is Linux's")
def test_holes_between_what_is_kept_are_given_back() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 150, "most of 340 MB"
