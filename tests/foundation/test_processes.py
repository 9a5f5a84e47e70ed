"""What a process of ours does to itself."""

import platform
import subprocess
import sys

import pytest

HEAPS = """
import ctypes, threading
from benchwire.foundation.processes import share_heaps
share_heaps()
together = threading.Barrier(12)
def take():
    together.wait()
    bytearray(100_000)
    together.wait()
threads = [threading.Thread(target=take) for _ in range(12)]
for thread in threads: thread.start()
for thread in threads: thread.join()
ctypes.CDLL(None).malloc_info(0, ctypes.c_void_p.in_dll(ctypes.CDLL(None), "stdout"))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have one heap")
def test_threads_share_two_heaps() -> None:
    told = subprocess.run(
        [sys.executable, "-c", HEAPS], check=True, capture_output=True, text=True
    ).stdout
    assert told.count("<heap nr=") == 2
