"""Tables and drawings of networks."""

import xml.etree.ElementTree as ET
from itertools import pairwise

import pytest
from hypothesis import given, settings
from rich.console import Console

from nas.genome import (
    BackboneBlock,
    BackboneName,
    CellsBlock,
    ConvBlock,
    Genome,
    ImageShape,
    InvertedBlock,
    Pool,
    ResidualBlock,
    Weights,
)
from nas.genome.branches import Branches
from nas.genome.cell import canonical, cells
from nas.genome.layout import Branch, box
from nas.genome.nodes import Layer
from nas.genome.parts import Part, parts_of, unseen
from nas.genome.steps import steps_of
from nas.genome.svg import network_svg
from nas.genome.table import layer_table, totals
from nas.genome.text_drawing import text_drawing
from tests.strategies import any_fitting

IMAGE = ImageShape(3, 64, 64)
MIXED = Genome(
    (
        ConvBlock(8, 3, pool=Pool.MAX),
        ResidualBlock(16, 3, stride=2, squeeze=True, repeats=4),
        InvertedBlock(16, 5),
        CellsBlock("123432", 8, 3, 2),
    ),
    dropout=0.2,
)
DENSE = Genome((BackboneBlock(BackboneName.DENSENET121, Weights.IMAGENET, 2),))
SPACE = "{http://www.w3.org/2000/svg}"


def drawn(genome: Genome, image: ImageShape = IMAGE) -> ET.Element:
    return ET.fromstring(network_svg(parts_of(genome, image, 2), "a < b", "its & sum"))


def table_text(parts: tuple[Part, ...], width: int, *, everything: bool = False) -> str:
    console = Console(width=width, highlight=False)
    with console.capture() as capture:
        console.print(layer_table(parts, everything=everything))
    return capture.get()


def leaves(parts: tuple[Part, ...]) -> list[Part]:
    found = []
    for part in parts:
        found += [part] if isinstance(part.node, Layer) else leaves(part.parts)
    return found


@given(any_fitting())
@settings(max_examples=60)
def test_everything_is_there_and_adds_up(case: tuple[Genome, ImageShape, int]) -> None:
    genome, image, classes = case
    parts = parts_of(genome, image, classes)
    counts = genome.parameters(image, classes), genome.multiply_adds(image, classes)
    assert (sum(p.parameters for p in parts), sum(p.multiply_adds for p in parts)) == counts
    layers = {layer.name: layer for layer in genome.layers(image, classes)}
    for leaf in leaves(parts):
        if leaf.path in layers:
            known = layers[leaf.path]
            assert (leaf.parameters, leaf.multiply_adds) == (known.parameters, known.multiply_adds)
            assert (leaf.after.shape, leaf.after.field) == (known.shape, known.receptive_field)
    assert {leaf.path for leaf in leaves(parts)} - set(layers) <= {"flatten"}

    shown = table_text(parts, 80).splitlines()
    total = shown[-2].split()
    assert total[:2] == ["total", f"{counts[0]:,}"]
    assert total[2:] == [f"{counts[1]:,}"]
    top = [part.node.name for part in parts if not unseen(part)]
    names = [line.split()[0] for line in shown[4:-3] if line[1:2].strip()]
    assert names == top

    for width in (60, 80, 120):
        text = text_drawing(parts, width)
        assert max(map(len, text.splitlines())) <= width
    assert sum(step.times * len(step.parts) for step in steps_of(parts)) == len(top)

    about = ET.fromstring(network_svg(parts, "title", "about"))
    said = " ".join(about.itertext())
    assert all(step.name.partition(" to ")[0] in said for step in steps_of(parts))


@pytest.mark.parametrize("everything", [False, True])
@pytest.mark.parametrize("genome", [MIXED, DENSE])
def test_a_table_fits_a_terminal(genome: Genome, everything: bool) -> None:
    text = table_text(parts_of(genome, IMAGE, 2), 80, everything=everything)
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    assert (len(lines) < 40) is not everything
    if everything:
        rows = [line.split()[0] for line in lines if line.strip()]
        for leaf in leaves(parts_of(genome, IMAGE, 2)):
            assert leaf.node.name in rows or unseen(leaf)


def test_subtotals_and_what_is_frozen() -> None:
    parts = parts_of(DENSE, ImageShape(3, 224, 224), 1000)
    text = table_text(parts, 120)
    # As published: 7,978,856 parameters with the head of 1,025,000.
    assert "backbone1 5 stage" in text
    for stage in ("stage1  frozen: conv, pool", "stage2  frozen: 6 dense", "stage5  16 dense"):
        assert f"  {stage}" in text
    assert "6,953,856" in text
    frozen = 9_536 + 368_320
    told = totals(parts, 1000)
    assert told.startswith(
        f"3×224×224 to 1000 classes, 7,978,856 parameters ({frozen:,} of them fr"
    )
    assert "frozen" not in totals(parts_of(MIXED, IMAGE, 2), 2)


def test_a_text_drawing_by_hand() -> None:
    text = text_drawing(parts_of(MIXED, IMAGE, 2), 80)
    assert text + "\n" == TEXT


TEXT = """\
image                                                                    3×64×64
↓ conv1    conv 3×3, 8 → batch norm → relu                               8×64×64
↓ pool1    max pool 2×2                                                  8×32×32
↓ residual2                                                             16×16×16
  ├─ main      conv 3×3, 16, stride 2 → batch norm → relu → conv 3×3, 16
  │            → batch norm → gate (average → conv 1×1, 4 → relu → conv 1×1, 16
  │            → sigmoid)
  ├─ shortcut  conv 1×1, 16, stride 2 → batch norm
  └─ sum       relu
↓ residual2_2 to residual2_4  × 3                                       16×16×16
  ├─ main      conv 3×3, 16 → batch norm → relu → conv 3×3, 16 → batch norm
  │            → gate (average → conv 1×1, 4 → relu → conv 1×1, 16 → sigmoid)
  ├─ shortcut  identity
  └─ sum       relu
↓ inverted3                                                             16×16×16
  ├─ main      conv 1×1, 48 → batch norm → relu → depthwise conv 5×5, 48
  │            → batch norm → relu → conv 1×1, 16 → batch norm
  ├─ shortcut  identity
  └─ sum
↓ stem4    conv 3×3, 8 → batch norm                                      8×16×16
↓ cell4_1_1 to cell4_1_3  × 3, every place is the sum of what comes in   8×16×16
  ├─ 0 → 1  identity
  ├─ 0 → 2  relu → conv 1×1, 8 → batch norm
  ├─ 1 → 2  relu → conv 3×3, 8 → batch norm
  ├─ 0 → 3  relu → conv 3×3, 8 → batch norm
  ├─ 1 → 3  average pool 3×3, stride 1
  └─ 2 → 3  relu → conv 1×1, 8 → batch norm
↓ reduction4_2                                                            16×8×8
  ├─ main      relu → conv 3×3, 16, stride 2 → batch norm → relu → conv 3×3, 16
  │            → batch norm
  ├─ shortcut  average pool 2×2 → conv 1×1, 16
  └─ sum
↓ cell4_2_1 to cell4_2_3  × 3, every place is the sum of what comes in    16×8×8
  ├─ 0 → 1  identity
  ├─ 0 → 2  relu → conv 1×1, 16 → batch norm
  ├─ 1 → 2  relu → conv 3×3, 16 → batch norm
  ├─ 0 → 3  relu → conv 3×3, 16 → batch norm
  ├─ 1 → 3  average pool 3×3, stride 1
  └─ 2 → 3  relu → conv 1×1, 16 → batch norm
↓ last4    batch norm → relu                                              16×8×8
↓ average  average                                                            16
↓ linear   dropout 0.2 → linear, 2                                             2
"""


def test_stages_of_a_published_network_are_told_apart() -> None:
    text = text_drawing(parts_of(DENSE, IMAGE, 2), 80)
    assert "├─ stage1  frozen: conv 7×7, 64, stride 2 → batch norm → relu" in text
    assert "├─ stage2  frozen  " in text
    for count in (6, 12, 24, 16):
        assert f"├─ dense1 to dense{count}  × {count}  " in text
    assert "both   as channels" in text


def test_a_drawing_says_all_to_a_screen_reader() -> None:
    svg = drawn(MIXED)
    assert [(one.tag, one.text) for one in svg[:1]] == [(f"{SPACE}title", "a < b")]
    about = svg[1].text or ""
    assert svg[1].tag == f"{SPACE}desc"
    assert about.startswith("its & sum From the image: conv1 gives 8×64×64, pool1 gives 8×32×32, ")
    assert "residual2_2 to residual2_4 gives 16×16×16" in about
    assert svg.get("role") == "img"
    style = svg[2].text or ""
    assert "prefers-color-scheme: dark" in style


def test_branches_gates_and_stacks_are_drawn() -> None:
    svg = drawn(MIXED)
    groups = [group.get("class") for group in svg.iter(f"{SPACE}g")]
    gates = groups.count("gate")
    assert gates == 2  # of the first residual block, and of the three that are drawn once
    assert groups.count("product") == gates + 1  # and what the sign means
    arcs = [path for path in svg.iter(f"{SPACE}path") if path.get("class") == "line arc"]
    assert len(arcs) == 2  # the three residual blocks with nothing on their shortcut; a mobile one
    texts = [text.text for text in svg.iter(f"{SPACE}text")]
    assert texts.count("× 3") == 3  # residual blocks, cells of two stages
    assert {"residual2_2", "inverted3", "cell4_1_1", "gate", "16×16×16"} <= set(texts)
    dense = [group.get("class") for group in drawn(DENSE).iter(f"{SPACE}g")]
    assert dense.count("stack") == 5
    assert dense.count("frozen") == 2


def test_boxes_lie_within_the_picture_and_apart_from_one_another() -> None:
    for genome in (MIXED, DENSE, Genome((CellsBlock("444444", 8, 1, 1),))):
        svg = drawn(genome)
        width, height = (float(svg.get(name, "")) for name in ("width", "height"))
        boxes = [
            [float(rect.get(name, "")) for name in ("x", "y", "width", "height")]
            for rect in svg.iter(f"{SPACE}rect")
            if rect.get("class") == "box"
        ]
        for x, y, w, h in boxes:
            assert 0 <= x < x + w <= width
            assert 0 <= y < y + h <= height
        for number, (x, y, w, h) in enumerate(boxes):
            for x2, y2, w2, h2 in boxes[number + 1 :]:
                assert x + w <= x2 or x2 + w2 <= x or y + h <= y2 or y2 + h2 <= y


def test_every_cell_can_be_drawn_without_crossings() -> None:
    piece = box((), "op", (), "conv", "")
    codes = sorted({code for code in map(canonical, cells()) if code})
    for code in codes[:: len(codes) // 50]:
        svg = drawn(Genome((CellsBlock(code, 8, 1, 1),)), ImageShape(1, 8, 8))
        assert len(list(svg.iter(f"{SPACE}rect"))) > 3
    edges = [(0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3)]
    full = Branches(4, [Branch(s, t, piece, "1×1×1") for s, t in edges], "sum")
    sides = {(branch.source, branch.target): side for branch, side in full._arcs}
    assert sides == {(0, 2): 1, (1, 3): -1, (0, 3): 1}
    tops = full._tops
    assert all(lower - upper >= piece.height for upper, lower in pairwise(tops))
