"""The elements of a DICOM file (PS3.5, 7), walked without trusting a length or copying a value."""

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nas.errors import ImageError

MAX_ELEMENTS = 50_000
"""Far more than a header has (hundreds); walked in a tenth of a second."""

UNDEFINED, PIXELS = 0xFFFFFFFF, 0x7FE00010
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
SHORT = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
LONG = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
"""Value representations whose lengths have 16 and 32 bits: DICOM PS3.5, 7.1.2."""

Array = npt.NDArray[Any]


def must(holds: bool, rule: str, found: str, remedy: str = "export it again") -> None:
    """Raise unless the rule holds; ``found`` may quote numbers and known words, never a text."""
    if not holds:
        raise ImageError(f"a DICOM image must {rule}, but this one {found}; {remedy}")


@dataclass(frozen=True, slots=True)
class Fields:
    """Values as they are in the file: tag -> value representation and bytes (not copied)."""

    raw: dict[int, tuple[bytes, memoryview]]
    order: str

    def text(self, tag: int) -> str:
        """The first of the texts; "" if there is none."""
        value = bytes(self.raw[tag][1][:1024]) if tag in self.raw else b""
        return value.decode("latin-1").split("\\")[0].strip(" \0")

    def whole(self, name: str, tag: int, default: int | None = None) -> int:
        """One number of 16 bits without sign; raises ImageError."""
        if default is not None and tag not in self.raw:
            return default
        value = self.raw[tag][1] if tag in self.raw else memoryview(b"")
        must(len(value) == 2, f"have one {name}", f"has {len(value) // 2}")
        return int(np.frombuffer(value, self.order + "u2")[0])

    def real(self, tag: int) -> float | None:
        """The first of the numbers that are written as text."""
        if not (text := self.text(tag)):
            return None
        value = float(text)
        must(bool(np.isfinite(value)), "have finite windows and slopes", "has others")
        return value

    def first_item(self, tag: int) -> "Fields | None":
        """What the first item of a sequence holds."""
        if tag not in self.raw:
            return None
        vr, value = self.raw[tag]
        walker = Walker(value, self.order, explicit=vr == b"SQ")
        kind, _, length, start = walker.header(0)
        must(kind in (ITEM, SEQUENCE_END), "have items in its sequences", "has other elements")
        if length != UNDEFINED:
            walker.data = value[: start + length]
        return walker.elements(start)[0]

    def table(self, descriptor: int, data: int, signed: bool) -> "Lookup | None":
        """The lookup table of these two tags (DICOM PS3.3, C.11.1.1.1); None without one."""
        if descriptor not in self.raw or data not in self.raw:
            return None
        words = np.frombuffer(self.raw[descriptor][1], self.order + "u2").astype(int).tolist()
        count, first, bits = words[0] or 65536, words[1], words[2]
        value = self.raw[data][1]
        # Entries of 8 bits come one or two in a word.
        form = self.order + "u2" if len(value) >= 2 * count else "u1"
        ok = 8 <= bits <= 16 and count <= len(value)
        must(ok, "have whole lookup tables of 8 to 16 bits", f"has one of {bits} bits")
        entries = np.frombuffer(value, form, count)
        return Lookup(entries, first - 65536 if signed and first > 32767 else first, bits)


@dataclass(frozen=True, slots=True)
class Lookup:
    """Entries of ``bits`` bits for the values from ``first`` on."""

    entries: Array
    first: int
    bits: int

    def __call__(self, values: Array) -> Array:
        """Values outside take the nearest entry.

        (pydicom 3.0's own functions keep the index in the entries' type: with 8-bit entries,
        value 256 gets the entry of value 0.)
        """
        index = np.clip(np.rint(values).astype(int) - self.first, 0, len(self.entries) - 1)
        found: Array = np.minimum(self.entries[index], 2**self.bits - 1).astype(int)
        return found


@dataclass(slots=True)
class Walker:
    """Steps over elements by their lengths; counts them, never recurses, copies nothing."""

    data: memoryview
    order: str
    explicit: bool = True
    left: int = MAX_ELEMENTS

    def header(self, at: int) -> tuple[int, bytes, int, int]:
        """Tag, value representation (if written), length and start of the value."""
        self.left -= 1
        must(self.left >= 0, f"have at most {MAX_ELEMENTS:,} elements", "has more")
        self.need(at + 8)
        group, element, vr = struct.unpack_from(self.order + "HH2s", self.data, at)
        tag, written = group << 16 | element, self.explicit and group != 0xFFFE
        if written and vr in SHORT:
            return tag, vr, struct.unpack_from(self.order + "H", self.data, at + 6)[0], at + 8
        # What is of no known representation is implicit: some writers change inside sequences.
        vr, start = (vr, at + 12) if written and vr in LONG else (b"", at + 8)
        self.need(start)
        return tag, vr, struct.unpack_from(self.order + "L", self.data, start - 4)[0], start

    def need(self, end: int) -> None:
        """Raise ImageError if the bytes end before."""
        must(end <= len(self.data), "be whole", "ends inside an element")

    def skip(self, at: int) -> int:
        """The end of a value of undefined length that starts here."""
        depth = 1
        while depth:
            tag, _, length, at = self.header(at)
            if tag in (ITEM_END, SEQUENCE_END):
                depth -= 1
            elif length == UNDEFINED:
                depth += 1
            else:
                at += length
        return at

    def elements(self, at: int, last: int = PIXELS) -> tuple[Fields, int]:
        """The elements of groups 0002 and 0028 and the pixels, up to ``last``; where that ends."""
        found: dict[int, tuple[bytes, memoryview]] = {}
        while at < len(self.data):
            tag, vr, length, start = self.header(at)
            if tag > last:
                break
            if length != UNDEFINED:
                at = start + length
            else:
                at = len(self.data) if tag == PIXELS else self.skip(start)
            self.need(at)
            if (tag >> 16 in (0x0002, 0x0028) or tag == PIXELS) and at > start:
                found[tag] = (vr, self.data[start:at])
        return Fields(found, self.order), at

    def frame(self) -> bytes:
        """Compressed pixels: all items but the first, which is a table of offsets (PS3.5, A.4)."""
        parts: list[memoryview] = []
        at = 0
        while (head := self.header(at))[0] == ITEM:
            at = head[3] + head[2]
            self.need(at)
            parts.append(self.data[head[3] : at])
        return b"".join(parts[1:])
