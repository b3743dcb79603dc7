"""Claims that headers make, held against the size of the file before anything is allocated."""

from __future__ import annotations

from concerto.errors import InputError

# Real scans shrink 3 to 20 times; a small file of equal points may shrink more.
MAX_EXPANSION = 100
ALWAYS_ALLOWED = 16 * 2**20
# What phones take has 50 million pixels; more is a mistake, or an attack on memory.
MOST_PIXELS = 2**26


def check_claim(claimed: int, present: int) -> None:
    """Raises InputError where a header claims more bytes than the file has."""
    if not 0 <= claimed <= present:
        raise InputError(
            f"Its header claims {claimed:,} bytes of data, and {present:,} are there. "
            "The file is damaged or cut short."
        )


def check_expansion(claimed: int, compressed: int) -> None:
    """Raises InputError where compressed bytes claim to become more than any scan does."""
    if not 0 <= claimed <= MAX_EXPANSION * compressed + ALWAYS_ALLOWED:
        raise InputError(
            f"It claims to hold {claimed:,} bytes in {compressed:,} compressed ones. "
            "The file is damaged, or made to fill memory."
        )
