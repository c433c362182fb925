"""Named random streams. A draw depends on the name of its stream, never on earlier draws."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def derive_seed(seed: int, *names: str | int) -> int:
    """Return a 63-bit seed for a stream: SHA-256 of `seed` and `names`, each with its length."""
    text = "".join(f"{len(str(part))}:{part};" for part in (seed, *names))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def make_generator(seed: int, *names: str | int) -> torch.Generator:
    """Return a CPU generator for a named stream, as in `make_generator(seed, "epoch", 12)`."""
    return torch.Generator().manual_seed(derive_seed(seed, *names))


@contextmanager
def preserve_random_state(device: torch.device) -> Iterator[None]:
    """Restore the states of the CPU's and of `device`'s default generators on exit."""
    mps_state = torch.mps.get_rng_state() if device.type == "mps" else None
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        try:
            yield
        finally:
            if mps_state is not None:
                torch.mps.set_rng_state(mps_state)
