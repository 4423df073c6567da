"""A stream of random numbers for each purpose and place, so that none depends on how many numbers another one drew."""

import hashlib

import torch


def derive_seed(purpose: str, *numbers: int) -> int:
    """Return a seed that depends on what it is for and on all the numbers."""
    text = ":".join([purpose, *map(str, numbers)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def stream(purpose: str, *numbers: int) -> torch.Generator:
    """Return a generator of random numbers seeded with `derive_seed`."""
    return torch.Generator().manual_seed(derive_seed(purpose, *numbers))
