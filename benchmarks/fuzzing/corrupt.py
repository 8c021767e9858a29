"""Mutations of a serialized file: bits, cuts, repeats and splices, as a broken disk or download makes them."""

from __future__ import annotations

from random import Random


def corrupt(rng: Random, data: bytes, other: bytes) -> bytes:
    """Returns the bytes with a few places damaged; `other` is a file to splice with."""
    damaged = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 4, 16])):
        action = rng.randrange(7)
        if not damaged:
            break
        at = rng.randrange(len(damaged))
        length = rng.choice([1, 2, 8, 64, len(damaged) // 4 + 1])
        if action <= 1:
            damaged[at] ^= 1 << rng.randrange(8)
        elif action == 2:
            damaged[at] = rng.choice([0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)])
        elif action == 3:
            del damaged[at : at + length]
        elif action == 4:
            damaged[at:at] = damaged[at : at + length]
        elif action == 5:
            start = rng.randrange(len(other))
            damaged[at : at + length] = other[start : start + length]
        else:
            del damaged[at:]
    return bytes(damaged)
