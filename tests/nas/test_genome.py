import json
from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace
from itertools import product
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from nas.errors import GenomeError
from nas.genome import (
    MAX_BLOCKS,
    MAX_FILTERS,
    MAX_KERNEL,
    Activation,
    BackboneBlock,
    BackboneName,
    ConvBlock,
    Genome,
    ImageShape,
    LayerInfo,
    Norm,
    Order,
    Pool,
    Weights,
)
from nas.network import build
from tests.strategies import any_fitting, blocks, conv_blocks, fitting, genomes, pools

SMALL = Genome(
    (
        ConvBlock(8, 3, pool=Pool.MAX),
        ConvBlock(
            16, 2, Activation.GELU, Pool.AVERAGE, norm=Norm.NONE, order=Order.POOL_BEFORE_NORM
        ),
    ),
    dropout=0.25,
)


def test_arithmetic_as_worked_out_by_hand() -> None:
    layers = SMALL.layers(ImageShape(1, 9, 10), 2)
    assert layers == (
        LayerInfo("conv1", (8, 9, 10), 3 * 3 * 1 * 8, 72 * 90, 3),
        LayerInfo("norm1", (8, 9, 10), 16, 0, 3),
        LayerInfo("act1", (8, 9, 10), 0, 0, 3),
        LayerInfo("pool1", (8, 4, 5), 0, 0, 4),
        LayerInfo("conv2", (16, 4, 5), (2 * 2 * 8 + 1) * 16, 512 * 20, 6),
        LayerInfo("pool2", (16, 2, 2), 0, 0, 8),
        LayerInfo("act2", (16, 2, 2), 0, 0, 8),
        LayerInfo("average", (16, 1, 1), 0, 0, 12),
        LayerInfo("dropout", (16, 1, 1), 0, 0, 12),
        LayerInfo("linear", (2, 1, 1), 16 * 2 + 2, 32, 12),
    )
    assert SMALL.parameters(ImageShape(1, 9, 10), 2) == 72 + 16 + 528 + 34
    assert SMALL.multiply_adds(ImageShape(1, 9, 10), 2) == 6480 + 10240 + 32


def test_the_field_of_the_average_follows_the_longer_side() -> None:
    one = Genome((ConvBlock(1, 1),))
    assert one.layers(ImageShape(1, 3, 11), 2)[-1].receptive_field == 11
    assert one.layers(ImageShape(1, 11, 3), 2)[-1].receptive_field == 11


@given(fitting())
def test_totals_are_sums_of_the_layers(case: tuple[Genome, ImageShape, int]) -> None:
    genome, image, classes = case
    layers = genome.layers(image, classes)
    assert genome.parameters(image, classes) == sum(layer.parameters for layer in layers)
    assert genome.multiply_adds(image, classes) == sum(layer.multiply_adds for layer in layers)
    assert layers[-1].shape == (classes, 1, 1)
    names = [layer.name for layer in layers]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("norm", "pool", "order", "steps"),
    [
        ("none", "none", Order.POOL_LAST, "conv act"),
        ("batch", "none", Order.POOL_BEFORE_NORM, "conv norm act"),
        ("none", "max", Order.POOL_LAST, "conv act pool"),
        ("batch", "max", Order.POOL_LAST, "conv norm act pool"),
        ("none", "average", Order.POOL_BEFORE_NORM, "conv pool act"),
        ("batch", "average", Order.POOL_BEFORE_NORM, "conv pool norm act"),
    ],
)
def test_steps_follow_the_order(norm: str, pool: str, order: Order, steps: str) -> None:
    block = ConvBlock(4, 3, pool=Pool(pool), norm=Norm(norm), order=order)
    assert " ".join(block.steps) == steps


# Identity -----------------------------------------------------------------------------------------


def test_keys_do_not_change_between_versions() -> None:
    """Studies and bundles of former days hold these."""
    assert SMALL.key == "22f75918639952b8"
    assert Genome((ConvBlock(1, 1),)).key == "b91332e22581a283"


def test_the_json_form_does_not_change_between_versions() -> None:
    text = (
        '{"format": 1, "blocks": [{"kind": "conv", "filters": 8, "kernel": 3, "activation": "relu",'
        ' "pool": "max", "norm": "batch", "order": "conv-norm-activation-pool"}, {"kind": "conv",'
        ' "filters": 16, "kernel": 2, "activation": "gelu", "pool": "average", "norm": "none",'
        ' "order": "conv-pool-norm-activation"}], "head": {"dropout": 0.25}}'
    )
    assert json.dumps(SMALL.to_json()) == text
    assert Genome.from_json(json.loads(text)) == SMALL


@st.composite
def neighbours(draw: st.DrawFn) -> tuple[Genome, Genome]:
    """Two genomes that differ in little, often in nothing that counts."""
    first = draw(genomes(max_blocks=3))
    where = draw(st.integers(0, len(first.blocks) - 1))
    other = draw(blocks())
    field = draw(st.sampled_from(["filters", "kernel", "activation", "pool", "norm", "order"]))
    changed = replace(first.blocks[where], **{field: getattr(other, field)})
    dropout = draw(st.sampled_from([first.dropout, 0.0, 0.5]))
    return first, Genome((*first.blocks[:where], changed, *first.blocks[where + 1 :]), dropout)


@given(neighbours())
def test_equal_networks_equal_genomes_and_equal_keys_are_one_thing(
    pair: tuple[Genome, Genome],
) -> None:
    first, second = pair
    networks = [str(build(genome, ImageShape(1, 64, 64), 2)) for genome in pair]
    same = networks[0] == networks[1]
    assert (first == second) is same
    assert (first.key == second.key) is same
    if same:
        assert hash(first) == hash(second)


@given(genomes())
def test_key_is_sixteen_hexadecimal_digits(genome: Genome) -> None:
    assert len(genome.key) == 16
    assert set(genome.key) <= set("0123456789abcdef")


def test_without_pooling_the_order_is_normalised() -> None:
    one, other = (ConvBlock(4, 3, order=order) for order in Order)
    assert one == other
    assert other.order is Order.POOL_LAST
    pooled, other_pooled = (ConvBlock(4, 3, pool=Pool.MAX, order=order) for order in Order)
    assert pooled != other_pooled
    assert Genome((pooled,)).key != Genome((other_pooled,)).key


def test_values_that_are_written_differently_are_one_value() -> None:
    block = ConvBlock(4, 3, "elu", "max", "none", "conv-pool-norm-activation")  # type: ignore[arg-type]
    assert (block.activation, block.pool) == (Activation.ELU, Pool.MAX)
    assert isinstance(block.order, Order)
    listed = Genome([block])  # type: ignore[arg-type]
    assert listed == Genome((block,))
    assert listed.blocks == (block,)
    zeros = [Genome((block,), dropout) for dropout in (0, 0.0, -0.0)]
    assert len({genome.key for genome in zeros}) == 1


def test_the_order_of_blocks_is_part_of_the_key() -> None:
    first, second = ConvBlock(4, 3), ConvBlock(8, 3)
    assert Genome((first, second)).key != Genome((second, first)).key


def test_genomes_are_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        SMALL.dropout = 0.5  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        conv_blocks(SMALL)[0].filters = 5  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        ImageShape(1, 2, 3).height = 5  # type: ignore[misc]


# JSON ---------------------------------------------------------------------------------------------


@given(genomes())
def test_json_round_trip(genome: Genome) -> None:
    text = json.dumps(genome.to_json(), allow_nan=False)
    again = Genome.from_json(json.loads(text))
    assert again == genome
    assert again.key == genome.key
    assert json.dumps(again.to_json()) == text


@given(any_fitting())
def test_json_round_trip_of_all_kinds_of_blocks(case: tuple[Genome, ImageShape, int]) -> None:
    test_json_round_trip.hypothesis.inner_test(case[0])  # type: ignore[attr-defined]
    assert _plain(case[0].to_json())


def _plain(value: Any) -> bool:
    """Exactly JSON's types: an enum that is a str would change what pickle and YAML write."""
    if type(value) is dict:
        return all(type(key) is str and _plain(entry) for key, entry in value.items())
    if type(value) is list:
        return all(_plain(entry) for entry in value)
    return type(value) in (str, int, float, bool)


@given(genomes())
def test_json_form_is_plain(genome: Genome) -> None:
    assert _plain(genome.to_json())


Change = Callable[[dict[str, Any]], Any]


def _set(path: str, value: object) -> Change:
    def change(data: dict[str, Any]) -> None:
        *parents, last = path.split(".")
        place: Any = data
        for name in parents:
            place = place[int(name)] if name.isdigit() else place[name]
        place[int(last) if last.isdigit() else last] = value

    return change


def _drop(path: str) -> Change:
    def change(data: dict[str, Any]) -> None:
        *parents, last = path.split(".")
        place: Any = data
        for name in parents:
            place = place[int(name)] if name.isdigit() else place[name]
        del place[last]

    return change


REFUSED: list[tuple[Change, list[str]]] = [
    (_set("format", 2), ["genome: format must be 1", "2", "another version"]),
    (_set("format", "1"), ["genome: format", "'1'"]),
    (_set("format", True), ["genome: format", "True"]),
    (_set("format", None), ["genome: format", "None"]),
    (_drop("format"), ["genome", "; add format"]),
    (_drop("head"), ["genome", "'head'"]),
    (_set("name", "x"), ["genome", "'name'", "; remove name"]),
    (_set("blocks", {}), ["genome: blocks must be a list"]),
    (_set("blocks", "conv"), ["genome: blocks must be a list"]),
    (_set("blocks", []), ["genome: the number of blocks", "1 to 64", "0"]),
    (_set("blocks.1", None), ["block 2: kind", "None", "known kind"]),
    (_set("blocks.1", []), ["block 2: kind"]),
    (_set("blocks.1.kind", "transformer"), ["block 2: kind", "'conv'", "'transformer'"]),
    (_drop("blocks.1.kind"), ["block 2: kind"]),
    (_drop("blocks.0.filters"), ["block 1", "; add filters"]),
    (_drop("blocks.0.order"), ["block 1", "'order'"]),
    (_set("blocks.0.dilation", 2), ["block 1", "'dilation'", "; remove dilation"]),
    (_set("blocks.0.stride", 5), ["block 1: conv: stride", "1 to 4", "5"]),
    (_set("blocks.0.repeats", 9), ["block 1: conv: repeats", "1 to 8", "9"]),
    (_set("blocks.0.padding", -2), ["block 1: conv: padding", "-2"]),
    (_set("blocks.0.filters", 0), ["block 1: conv: filters", "1 to 4096", "0", "choose"]),
    (_set("blocks.0.filters", 4097), ["block 1: conv: filters", "4097"]),
    (_set("blocks.0.filters", 10**400), ["block 1: conv: filters"]),
    (_set("blocks.0.filters", True), ["block 1: conv: filters", "True"]),
    (_set("blocks.0.filters", 8.0), ["block 1: conv: filters", "8.0"]),
    (_set("blocks.0.filters", "8"), ["block 1: conv: filters", "'8'"]),
    (_set("blocks.0.filters", None), ["block 1: conv: filters", "None"]),
    (_set("blocks.1.kernel", 16), ["block 2: conv: kernel", "1 to 15", "16"]),
    (_set("blocks.1.kernel", True), ["block 2: conv: kernel", "True"]),
    (_set("blocks.0.activation", "mish"), ["block 1: conv: activation", "'silu'", "'mish'"]),
    (_set("blocks.0.activation", 1), ["block 1: conv: activation", "1"]),
    (_set("blocks.0.activation", []), ["block 1: conv: activation", "[]"]),
    (_set("blocks.0.pool", "min"), ["block 1: conv: pool", "'average'", "'min'", "choose"]),
    (_set("blocks.0.pool", None), ["block 1: conv: pool", "None"]),
    (_set("blocks.0.norm", "layer"), ["block 1: conv: norm", "'batch'", "'layer'"]),
    (_set("blocks.0.order", "pool-conv"), ["block 1: conv: order", "'pool-conv'"]),
    (_set("head", 0.2), ["head", "float"]),
    (_set("head", {}), ["head", "'dropout'"]),
    (_set("head.bias", 5), ["head", "'bias'"]),
    (_set("head.hidden", 5), ["genome: hidden must be a list", "5"]),
    (_set("head.hidden", [0]), ["genome: hidden", "1 to 8192", "0"]),
    (_set("head.hidden", [8] * 5), ["the number of hidden layers", "5"]),
    (_set("head.grid", 0), ["genome: grid", "1 to 16", "0"]),
    (_set("head.activation", "mish"), ["genome: hidden_activation", "'mish'"]),
    (_set("head.dropout", 1), ["genome: dropout", "[0, 1)", "1", "0 means no dropout"]),
    (_set("head.dropout", -0.1), ["genome: dropout", "-0.1"]),
    (_set("head.dropout", float("nan")), ["genome: dropout", "nan"]),
    (_set("head.dropout", float("inf")), ["genome: dropout", "inf"]),
    (_set("head.dropout", False), ["genome: dropout", "False"]),
    (_set("head.dropout", "0.1"), ["genome: dropout", "'0.1'"]),
    (_set("head.dropout", None), ["genome: dropout", "None"]),
    (_set("head.dropout", 10**400), ["genome: dropout"]),
]


@pytest.mark.parametrize(("change", "parts"), REFUSED, ids=[str(i) for i in range(len(REFUSED))])
def test_from_json_refuses_and_names_layer_rule_and_remedy(
    change: Change, parts: list[str]
) -> None:
    data = SMALL.to_json()
    change(data)
    with pytest.raises(GenomeError) as caught:
        Genome.from_json(json.loads(json.dumps(data)))
    for part in parts:
        assert part in str(caught.value)


@pytest.mark.parametrize("data", [None, 1, "genome", [], {}, [SMALL.to_json()], {1: 2, "a": 3}])
def test_from_json_refuses_what_is_no_genome(data: object) -> None:
    with pytest.raises(GenomeError, match="genome: must have exactly the entries"):
        Genome.from_json(data)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)


@given(
    genomes(max_blocks=2),
    st.sampled_from(["format", "blocks", "head", "blocks.0", "head.dropout"])
    | st.sampled_from([f"blocks.0.{name}" for name in ConvBlock(1, 1).to_json()]),
    json_values,
)
def test_from_json_raises_nothing_but_genome_errors(
    genome: Genome, path: str, value: object
) -> None:
    data = genome.to_json()
    _set(path, value)(data)
    try:
        again = Genome.from_json(data)
    except GenomeError:
        return
    assert Genome.from_json(again.to_json()) == again


# Limits -------------------------------------------------------------------------------------------


def test_limits_are_inclusive() -> None:
    ConvBlock(1, 1)
    block = ConvBlock(MAX_FILTERS, MAX_KERNEL)
    Genome((block,) * MAX_BLOCKS, dropout=0.999)
    ImageShape(1, 65_536, 1)
    Genome((block,)).layers(ImageShape(1, 1, 1), 100_000)


@pytest.mark.parametrize("value", [0, -1, MAX_BLOCKS + 1])
def test_a_genome_has_1_to_64_blocks(value: int) -> None:
    with pytest.raises(GenomeError, match="number of blocks must be a whole number from 1 to 64"):
        Genome((ConvBlock(1, 1),) * value)


@pytest.mark.parametrize("value", [0, -3, 65_537, True, 2.0, "8", None])
@pytest.mark.parametrize("field", ["channels", "height", "width"])
def test_an_image_has_whole_sides(field: str, value: Any) -> None:
    with pytest.raises(GenomeError, match=f"image: {field} must be a whole number from 1 to 65536"):
        ImageShape(**{"channels": 1, "height": 1, "width": 1, field: value})


@pytest.mark.parametrize("classes", [1, 0, -1, 100_001, True, 2.0, None])
def test_there_are_two_classes_at_least(classes: Any) -> None:
    for ask in (SMALL.layers, SMALL.parameters, SMALL.multiply_adds):
        with pytest.raises(GenomeError, match="classes must be a whole number from 2"):
            ask(ImageShape(1, 8, 8), classes)


@pytest.mark.parametrize("seeing", [{"weights": Weights.IMAGENET}, {"side": 64}])
def test_a_backbone_that_looks_at_images_comes_first(seeing: dict[str, Any]) -> None:
    backbone = BackboneBlock(BackboneName.RESNET18, **seeing)
    Genome((backbone, ConvBlock(8, 3)))
    with pytest.raises(GenomeError, match=r"block 3: .* first block, .* but 2 come before it"):
        Genome((ConvBlock(8, 3), ConvBlock(8, 3), backbone))
    Genome((ConvBlock(8, 3), BackboneBlock(BackboneName.RESNET18)))


@given(genomes())
def test_an_image_that_is_pooled_away_is_refused_with_the_number_of_the_pool(
    genome: Genome,
) -> None:
    count = pools(genome)
    assume(count > 0)
    last = max(i for i, block in enumerate(conv_blocks(genome), 1) if block.pool is not Pool.NONE)
    least = 2**count
    genome.layers(ImageShape(1, least, least), 2)
    for height, width in product((least - 1, least), repeat=2):
        if (height, width) == (least, least):
            continue
        with pytest.raises(GenomeError) as caught:
            genome.layers(ImageShape(1, height, width), 2)
        # All sides but the short one have 2 pixels left.
        rest = f"{min(2, height // (least // 2))}×{min(2, width // (least // 2))}"
        assert f"pool{last}: pooling needs an input of at least 2×2" in str(caught.value)
        assert f"gives {rest}; remove a pooling or enlarge the images" in str(caught.value)
