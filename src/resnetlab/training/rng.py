"""Named random streams. A draw depends on the name of its stream, never on earlier draws."""

from __future__ import annotations

import hashlib

import torch


def derive_seed(seed: int, *names: str | int) -> int:
    """Return a 63-bit seed for a stream: SHA-256 of `seed` and `names`, each with its length."""
    text = "".join(f"{len(str(part))}:{part};" for part in (seed, *names))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def make_generator(seed: int, *names: str | int) -> torch.Generator:
    """Return a CPU generator for a named stream, as in `make_generator(seed, "epoch", 12)`."""
    return torch.Generator().manual_seed(derive_seed(seed, *names))
