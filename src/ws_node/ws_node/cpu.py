"""Settings that make torch fast on few cores; they matter more than the algorithm."""

from __future__ import annotations

import ctypes
import os

_M_MMAP_MAX, _M_TRIM_THRESHOLD, _M_TOP_PAD = -4, -1, -2  # malloc.h


def tune_for_torch() -> None:
    """One torch thread, and a C allocator that keeps large blocks. Call before torch allocates.

    glibc gives every large tensor back to the kernel at once; faulting its pages in again costs more
    than computing it. A second OpenMP thread on a busy machine waits at barriers instead of working.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    try:
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
        libc.mallopt(_M_TOP_PAD, 256 << 20)
    except (OSError, AttributeError):  # not glibc: slower, not wrong
        pass
    import torch

    torch.set_num_threads(1)


def bf16_pays() -> bool:
    """Whether this CPU multiplies bfloat16 in hardware."""
    import torch

    return torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
