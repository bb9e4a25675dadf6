"""Branches of a graph, drawn: the nearest way down the middle, the others as arcs beside it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from nas.genome.layout import (
    DOT,
    JOIN,
    LETTER,
    ROUND,
    STEM,
    Branch,
    Piece,
    arrow,
    head,
    line,
    text,
)

APART = 18
"""Between what is beside one another."""

SIGNS = {
    "sum": ("M-5 0H5M0 -5V5", "the sum"),
    "product": ("M-4 -4L4 4M-4 4L4 -4", "the product with a number for each channel"),
    "stack": ("M-2.5 -4.5V4.5M2.5 -4.5V4.5", "both, as channels of one result"),
}
"""What is drawn into the circle in which branches join, and what it means."""

OFFSET = 4
"""An arc leaves a circle so much below its middle and comes in above it."""


@dataclass(frozen=True)
class Branches:
    """Branches between places 0 to ``places`` − 1, as one piece.

    Attributes:
        places: how many, from top to bottom; the last one comes out.
        branches: in any order; every place but the first has one that ends there.
        sign: of SIGNS.
    """

    places: int
    branches: Sequence[Branch]
    sign: str

    def piece(self) -> Piece:
        """All of it."""
        sides = [self._sides(direction) for direction in (-1, 1)]
        return Piece(
            sides[0], sides[1], self._tops[-1] + self._radius(self.places - 1), self._paint
        )

    @cached_property
    def _middle(self) -> dict[int, Branch]:
        """By the place that they start from: one branch to the next place, if there is one."""
        found: dict[int, Branch] = {}
        for branch in self.branches:
            if branch.target == branch.source + 1:
                found.setdefault(branch.source, branch)
        return found

    @cached_property
    def _arcs(self) -> list[tuple[Branch, int]]:
        """The others, short ones first, each with its side: -1 is left, so that few cross."""
        middle = set(map(id, self._middle.values()))
        rest = [branch for branch in self.branches if id(branch) not in middle]
        placed: list[tuple[Branch, int]] = []
        for branch in sorted(rest, key=lambda b: b.target - b.source):
            right = [other for other, side in placed if side == 1]
            left = [other for other, side in placed if side == -1]
            better = any(_cross(branch, o) for o in right) and not any(
                _cross(branch, other) for other in left
            )
            placed.append((branch, -1 if better else 1))
        return placed

    @cached_property
    def _tops(self) -> list[float]:
        """Middles of the places, from the top of the piece."""
        gaps = []
        for place in range(self.places - 1):
            branch = self._middle.get(place)
            inner = branch.piece.height if branch and branch.piece else 0
            gaps.append(inner + 2 * STEM if inner else 2 * STEM)
        for branch, _ in self._arcs:
            spanned = range(branch.source, branch.target)
            needed = (branch.piece.height if branch.piece else 0) + 2 * STEM
            missing = needed - sum(gaps[place] for place in spanned)
            for place in spanned:
                gaps[place] += max(missing, 0) / len(spanned)
        tops = [self._radius(0)]
        for place, gap in enumerate(gaps):
            tops.append(tops[-1] + self._radius(place) + gap + self._radius(place + 1))
        return tops

    def _radius(self, place: int) -> float:
        return JOIN if sum(branch.target == place for branch in self.branches) > 1 else DOT

    def _lanes(self, direction: int) -> list[tuple[Branch, float]]:
        """Arcs of a side with their distance from the middle, from the inside out."""
        reach, lanes = self._reach(direction), []
        for branch, side in self._arcs:
            if side == direction:
                lanes.append((branch, reach + APART + _reach(branch, -direction)))
                reach += APART + _reach(branch, -direction) + _reach(branch, direction)
        return lanes

    def _reach(self, direction: int) -> float:
        """Of what is in the middle, to a side."""
        return max([_reach(branch, direction) for branch in self._middle.values()] + [JOIN])

    def _sides(self, direction: int) -> float:
        lanes = self._lanes(direction)
        if not lanes:
            return self._reach(direction)
        branch, distance = lanes[-1]
        return distance + _reach(branch, direction)

    def _paint(self, x: float, y: float) -> str:
        tops = [y + top for top in self._tops]
        painted = [self._down(place, branch, x, tops) for place, branch in self._middle.items()]
        for direction in (-1, 1):
            for branch, distance in self._lanes(direction):
                painted.append(self._arc(branch, x, distance * direction, tops))
        painted += [self._place(place, x, top) for place, top in enumerate(tops)]
        return "".join(painted)

    def _down(self, place: int, branch: Branch, x: float, tops: Sequence[float]) -> str:
        top, bottom = tops[place] + self._radius(place), tops[place + 1] - self._radius(place + 1)
        ending = head(x, bottom) if self._radius(place + 1) == JOIN else ""
        if branch.piece is None:
            return line(x, top, bottom) + ending
        begin = (top + bottom - branch.piece.height) / 2
        end = begin + branch.piece.height
        return (
            f"{arrow(x, top, branch.piece, begin)}{branch.piece.paint(x, begin)}"
            f"{line(x, end, bottom)}{_shape(x, end, branch)}{ending}"
        )

    def _arc(self, branch: Branch, x: float, distance: float, tops: Sequence[float]) -> str:
        side = 1 if distance > 0 else -1
        lane, bend = x + distance, ROUND * side
        begin, end = self._radius(branch.source), self._radius(branch.target)
        top = tops[branch.source] + (OFFSET if begin == JOIN else 0)
        bottom = tops[branch.target] - (OFFSET if end == JOIN else 0)
        tip = x + side * (end - (1 if end == JOIN else 0))
        down = (
            f"M{x + side * begin:.1f} {top:.1f}H{lane - bend:.1f}"
            f"Q{lane:.1f} {top:.1f} {lane:.1f} {top + ROUND:.1f}"
        )
        back = (
            f"V{bottom - ROUND:.1f}Q{lane:.1f} {bottom:.1f} {lane - bend:.1f} {bottom:.1f}"
            f"H{tip:.1f}"
        )
        ending = head(tip, bottom, -side, 0) if end == JOIN else ""
        if branch.piece is None:
            return f'<path class="line arc" d="{down}{back}"/>{ending}'
        height = branch.piece.height
        start = (top + bottom - height) / 2
        shape = _shape(lane, start + height, branch)
        begins = head(lane, start) if branch.piece.tipped else ""
        return (
            f'<path class="line" d="{down}V{start:.1f}"/>{begins}{branch.piece.paint(lane, start)}'
            f'<path class="line" d="M{lane:.1f} {start + height:.1f}{back}"/>{shape}{ending}'
        )

    def _place(self, place: int, x: float, y: float) -> str:
        if self._radius(place) == DOT:
            return f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="{DOT}"/>'
        return joint(self.sign, x, y)


def joint(sign: str, x: float, y: float) -> str:
    """The circle in which branches join."""
    path, said = SIGNS[sign]
    return (
        f'<g class="{sign}" transform="translate({x:.1f} {y:.1f})"><title>{said}</title>'
        f'<circle class="join" r="{JOIN}"/><path class="sign" d="{path}"/></g>'
    )


def _shape(x: float, y: float, branch: Branch) -> str:
    return text(x + 7, y + 16, branch.shape, "shape", "start")


def _reach(branch: Branch, direction: int) -> float:
    """Of what a branch leads through, with the shape on the right of the arrow behind it."""
    if branch.piece is None:
        return 4
    shape = 7 + len(branch.shape) * LETTER
    return max(branch.piece.right, shape) if direction > 0 else branch.piece.left


def _cross(one: Branch, other: Branch) -> bool:
    first, second = sorted((one, other), key=lambda branch: branch.source)
    return first.source < second.source < first.target < second.target
