"""Seeds derived from seeds, so that every random draw depends on its place and not on history."""

import hashlib


def derive(*parts: int | str) -> int:
    """A seed in [0, 2**63) for the given place, such as (run's seed, "trial", 12).

    The same parts give the same seed on every machine; any other parts give an unrelated one.
    """
    # Doubled within a part, a zero byte cannot be taken for the one that separates parts.
    text = "\0".join(f"{type(part).__name__}:{part}".replace("\0", "\0\0") for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
