"""What an audit's figures mean: sentences, graded."""

import math
from collections.abc import Iterator
from itertools import combinations

from nas.data.audit_values import Audit, Copies, Finding, Level, Precision, SplitCount, counted
from nas.data.shortcuts import Difference
from nas.data.table import SMALLEST_VALIDATION

ASSUMED_AUROC = 0.95

SMALLEST_CLASS = 20
"""Images: with fewer one image moves a class's recall by more than 5 points."""

WIDEST = 0.05
"""Half width of a 95 % interval above which a split ranks nothing: networks of one search differ
by about 0.01 (standard deviation of test AUROC among 16 random genomes, runs/LOG.md)."""

UNKNOWN_PATIENTS = "no patient that is known"
"""In the note of nas.data.table.without_patients."""

SMALL_VALIDATION = "val has "
"""How the note of nas.data.table.usable_validation begins: it joined the train split."""

PREVALENCE_GAP = 0.05
PREVALENCE_Z = 3.0
"""Both must be exceeded: a small gap is harmless, and one in a small split is chance."""

HIGH_FLOOR = 0.75
TOLD_APART = 0.70


def precision(counts: list[int]) -> Precision:
    """Of a set with these images of each class; with several classes, the smallest of them.

    The standard error of an AUROC of ASSUMED_AUROC after Hanley and McNeil 1982 (Radiology
    143:29), equation 1, with their Q1 and Q2 for exponential scores. It takes images for
    independent: with several of a patient it is larger.
    """
    smallest, images = min(counts), sum(counts)
    others = images - smallest
    if not smallest or not others:
        return Precision(images, smallest, None)
    area = ASSUMED_AUROC
    one, two = area / (2 - area), 2 * area**2 / (1 + area)
    spread = area * (1 - area)
    spread += (smallest - 1) * (one - area**2) + (others - 1) * (two - area**2)
    return Precision(images, smallest, math.sqrt(spread / (smallest * others)))


def grade(audit: Audit, size: int | None) -> tuple[Finding, ...]:
    """All findings of an audit that has none yet, the worst first.

    Args:
        audit: complete but for its findings.
        size: side in pixels that images will be searched at, if that is known.
    """
    found = [
        *_leaks(audit),
        *_copies(audit),
        *_unreadable(audit),
        *_small(audit),
        *_prevalence(audit),
        *_shortcuts(audit),
        *_notes(audit, size),
    ]
    order = list(Level)
    return tuple(sorted(found, key=lambda finding: order.index(finding.level)))


def _leaks(audit: Audit) -> Iterator[Finding]:
    for leak in audit.leaks:
        yield Finding(
            Level.WARNING if audit.published else Level.ERROR,
            "leak",
            "splits must share no patient and no image",
            str(leak),
            "this benchmark's figures are flattered by it; say so with yours"
            if audit.published
            else "move them to one side, or say --allow-leaks and report it with every figure",
        )


def _copies(audit: Audit) -> Iterator[Finding]:
    for code, kind, groups in (
        ("identical", "byte-identical files", audit.identical),
        ("similar", "nearly equal images", audit.similar),
    ):
        against = [group for group in groups if group.contradicting]
        if against:
            yield Finding(
                Level.WARNING,
                "contradiction",
                "one image must have one label",
                f"{counted(len(against), 'group')} of {kind} have several ({_first(against)})",
                "find out which label is right and remove the others",
            )
        if groups:
            number = sum(len(group.paths) for group in groups)
            yield Finding(
                Level.NOTE,
                code,
                f"{number} files are in {counted(len(groups), 'group')} of {kind}: they count more "
                "than once, and every division keeps a group on one side",
            )


def _first(groups: list[Copies]) -> str:
    return " and ".join(
        f"{path}: {label}" for path, label in zip(groups[0].paths, groups[0].labels, strict=True)
    )


def _unreadable(audit: Audit) -> Iterator[Finding]:
    if audit.unreadable:
        first = audit.unreadable[0]
        yield Finding(
            Level.WARNING,
            "unreadable",
            "every file should be readable",
            f"{len(audit.unreadable)} are not, first {first.path} ({first.reason})",
            "mend or remove them; they are left out",
        )


def _small(audit: Audit) -> Iterator[Finding]:
    for split in audit.splits:
        if (exact := split.precision) is None:
            continue
        what = "what train gives up to validate on" if split.name == "train" else split.name
        use = "measure a network" if split.name == "test" else "rank networks"
        half = None if exact.error is None else 1.96 * exact.error
        if (
            half is None
            or half > WIDEST
            or exact.smallest < SMALLEST_CLASS
            or (exact.images < SMALLEST_VALIDATION)
        ):
            known = (
                "no AUROC at all"
                if half is None
                else (f"an AUROC of {ASSUMED_AUROC} to ± {half:.3f} (95 %, Hanley and McNeil)")
            )
            yield Finding(
                Level.WARNING,
                "small",
                f"to {use}, a split must have at least {SMALLEST_VALIDATION} images, "
                f"{SMALLEST_CLASS} of each class, and tell an AUROC to ± {WIDEST}",
                f"{what} has {exact.images}, {exact.smallest} of the smallest class, and tells "
                + known,
                "add images, or do not trust differences below that",
            )


def _prevalence(audit: Audit) -> Iterator[Finding]:
    start = 1 if len(audit.classes) == 2 else 0  # of two, the positive one
    for first, second in combinations(audit.splits, 2):
        gaps = [
            (abs(one.prevalence - other.prevalence), one.name, one.prevalence, other.prevalence)
            for one, other in zip(first.classes[start:], second.classes[start:], strict=True)
            if one.prevalence is not None and other.prevalence is not None
        ]
        if not gaps:
            continue
        gap, name, one_share, other_share = max(gaps)
        if gap > PREVALENCE_GAP and gap > PREVALENCE_Z * _chance(first, second, name):
            yield Finding(
                Level.WARNING,
                "prevalence",
                "classes should be equally frequent in all splits",
                f"{name} is {one_share:.0%} of {first.name} and {other_share:.0%} of {second.name}",
                "choose thresholds and read accuracy, precision and calibration with care; AUROC, "
                "sensitivity and specificity do not depend on it",
            )


def _chance(first: SplitCount, second: SplitCount, name: str) -> float:
    """Standard error of the difference of a class's share, were it the same in both."""
    images = first.images + second.images
    inside = sum(
        count.images for split in (first, second) for count in split.classes if count.name == name
    )
    share = inside / images
    return math.sqrt(share * (1 - share) * (1 / first.images + 1 / second.images))


def _shortcuts(audit: Audit) -> Iterator[Finding]:
    floor = audit.floor
    if floor.auroc is not None and floor.auroc > HIGH_FLOOR:
        best = ", ".join(f"{one.name} {one.auroc:.2f}" for one in floor.singles[:2])
        yield Finding(
            Level.WARNING,
            "shortcut",
            f"file size and simple statistics should not tell the label (AUROC up to {HIGH_FLOOR})",
            f"AUROC {floor.auroc:.3f} is reached (alone: {best})",
            "compare every network with this floor, keep augmentation of sharpness, contrast and "
            "compression on, and test on images from elsewhere",
        )
    for one in audit.differences:
        if one.auroc is None or one.interval is None or one.auroc <= TOLD_APART:
            continue
        if one.interval[0] <= 0.5:  # few images: it may be chance
            continue
        yield _told_apart(one)


def _told_apart(one: Difference) -> Finding:
    pair = f"{one.first} and {one.second}"
    which = f"{one.within} of {pair}" if one.within else pair
    by = f" (most by {one.strongest.name})" if one.strongest else ""
    value = f"{which} are told apart with AUROC {one.auroc:.3f}{by}"
    if one.of == "split":
        return Finding(
            Level.WARNING,
            "shift",
            f"simple statistics should not tell splits apart (AUROC up to {TOLD_APART})",
            value,
            "validation will promise more than the test keeps: expect a drop, and judge by "
            "robustness as well",
        )
    return Finding(
        Level.NOTE,
        "domain",
        f"{which} differ in simple statistics, AUROC {one.auroc:.3f}{by}: hold one out to see how "
        f"a network fares (--fold domain-{one.first})",
    )


def _notes(audit: Audit, size: int | None) -> Iterator[Finding]:
    unknown, images = sum(split.unknown for split in audit.splits), audit.images
    if unknown:
        yield Finding(
            Level.NOTE,
            "patients",
            "splits must be by patient",
            f"for {unknown} of {images} images the patient is not known",
            "two images of one person may be on both sides; a CSV file with a column patient "
            "tells them",
        )
    if size is not None and audit.sizes is not None and audit.sizes.short_side.least < size:
        yield Finding(
            Level.NOTE,
            "resolution",
            f"images should be at least as large as they are searched at ({size} pixels)",
            f"the smallest has {audit.sizes.short_side.least:.0f} on its short side",
            "they are enlarged, which adds time and no detail; choose a smaller --size",
        )
    if audit.synthetic:
        yield Finding(
            Level.NOTE,
            "synthetic",
            "the images were drawn by a program: figures say nothing of patients",
        )
    for note in audit.notes:
        if unknown and UNKNOWN_PATIENTS in note:  # said above, with a remedy
            continue
        small = note.startswith(SMALL_VALIDATION)
        yield Finding(Level.WARNING if small else Level.NOTE, "small" if small else "source", note)
