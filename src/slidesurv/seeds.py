"""Seeds from names: the same words give the same random choices, on every machine, in any order of work."""

from hashlib import sha256

__all__ = ["seed_for"]


def seed_for(*parts: object) -> int:
    """Turn words and numbers into a seed in [0, 2⁶³).

    Different parts give unrelated seeds, so that a fold, an epoch or a patient never depends on the one before it.
    """
    digest = sha256("\x1f".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
