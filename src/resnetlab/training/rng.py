"""Named streams of random numbers: what is drawn depends on a name, never on what was drawn before."""

from __future__ import annotations

import hashlib

import torch


def stream_seed(seed: int, *names: str | int) -> int:
    """63 bits for the stream of that name: the SHA-256 of `seed` and `names`, each with its length before it."""
    text = "".join(f"{len(str(part))}:{part};" for part in (seed, *names))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def stream(seed: int, *names: str | int) -> torch.Generator:
    """A generator on the processor: `stream(seed, "epoch", 12)`."""
    return torch.Generator().manual_seed(stream_seed(seed, *names))
