"""Filters, feature maps and heat maps of the winner, and which images they are of."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from nas.errors import NasError, RunError
from nas.explain import layer_grad_cam, overlay
from nas.report.looking import Learnt, Seen, learnt, seen
from nas.report.tiles import around_zero, mosaic, side_by_side, spread
from nas.report.values import Gallery, Part, Picture, RunData, Section

FILTERS = "Filters and feature maps"
HEAT = "Where the winner looked (Grad-CAM)"
MOST_TILES = 32
MAPS = 16
STAGES = 4
CASES = 4
HEIGHT = 192
NO_OPACITY = 0.0


def looks(data: RunData) -> list[Section]:
    """The two sections; the images are opened once for both."""
    try:
        own = learnt(data)
    except RunError as error:
        return [Section(FILTERS, [str(error)]), Section(HEAT, [str(error)])]
    parts: list[Part] = [f"Of {own.what}.", _filters(own)]
    try:
        what = seen(data, own)
    except NasError as error:
        told = f"The images could not be opened: {error}"
        return [Section(FILTERS, [*parts, told]), Section(HEAT, [told])]
    return [Section(FILTERS, [*parts, *_maps(own, what)]), Section(HEAT, _heats(own, what))]


def _filters(own: Learnt) -> Part:
    for name, tensor in own.network.state_dict().items():
        if tensor.ndim == 4 and tensor.shape[-1] > 1:
            kernels = tensor.float().mean(1).numpy()
            tiles = [around_zero(kernel) for kernel in kernels[:MOST_TILES]]
            left = f", the first {MOST_TILES}" if len(kernels) > MOST_TILES else ""
            about = "; the mean over its input channels" if tensor.shape[1] > 1 else ""
            size = "×".join(map(str, tensor.shape))
            caption = f"Filters of the first convolution ({name}, {size}{left}){about}. Gray is 0."
            return Picture("filters", mosaic(tiles, 16, 10), "png", caption)
    return "The network has no convolution larger than a pixel, so it has no filters to look at."


def _maps(own: Learnt, what: Seen) -> Iterator[Part]:
    """What layers make of one image that was judged right."""
    row = int(what.right.int().argmax())  # the first of them, or 0 if there is none
    pixels = what.fold.validation.take(torch.tensor([row]))
    label = what.fold.classes[int(what.fold.validation.labels[row])]
    with torch.inference_mode():
        values = what.fold.preprocessing.normalize(pixels)
        found: list[tuple[str, torch.Tensor]] = []
        for name, layer in own.network.named_children():
            values = layer(values)
            plain = isinstance(layer, nn.BatchNorm2d | nn.Dropout | nn.Conv2d)
            if values.ndim == 4 and values.shape[-1] > 1 and not plain:
                found.append((name, values[0].clone()))
    if not found:
        yield "No layer of the network gives maps of several pixels."
        return
    steps = np.linspace(0, len(found) - 1, min(STAGES, len(found))).round().astype(int)
    image = pixels[0].float().mean(0).numpy() / 255
    yield Gallery(
        f"One image ({label}) and what layers make of it",
        [
            Picture("maps-image", mosaic([image], 1, max(1, HEIGHT // image.shape[0])), "png",
                    f"The image, {label}"),
            *(_map(*found[step]) for step in dict.fromkeys(steps.tolist())),
        ],
    )  # fmt: skip


def _map(name: str, values: torch.Tensor) -> Picture:
    """The maps that differ most over the image."""
    order = values.std((1, 2)).argsort(descending=True)[:MAPS]
    tiles = [spread(values[int(i)].float().numpy()) for i in order]
    scale = max(1, round(HEIGHT / 4 / tiles[0].shape[0]))
    caption = f"{name}: {len(tiles)} of {len(values)} maps, the liveliest"
    return Picture(f"maps-{name}", mosaic(tiles, 4, scale), "png", caption)


def _heats(own: Learnt, what: Seen) -> list[Part]:
    """The surest right and wrong answers."""
    sure = what.probabilities.max(1).values
    right, wrong = what.right, ~what.right
    parts: list[Part] = [
        f"Of {own.what}, on the validation images of {own.division}, which it has not learned "
        f"from: {int(right.sum())} right, {int(wrong.sum())} wrong. Heat shows what the answer "
        "hung on, not that it is right, and not where a disease is; it is as coarse as the layer "
        "that it is from, whose size stands below. These are images of the data "
        "set: mind its licence before you pass the page on."
    ]
    chosen: list[int] = []
    for label in range(len(what.fold.classes)):
        own_class = right & (what.fold.validation.labels == label)
        rows = own_class.nonzero()[:, 0]
        chosen += rows[sure[rows].argsort(descending=True)[: max(1, CASES // 2)]].tolist()
    parts.append(Gallery("Right, the surest of each class", [*_cases(own, what, chosen, "right")]))
    rows = wrong.nonzero()[:, 0]
    worst = rows[sure[rows].argsort(descending=True)[:CASES]].tolist()
    if worst:
        parts.append(Gallery("Wrong, the surest", [*_cases(own, what, worst, "wrong")]))
    else:
        parts.append("It is wrong on none of them.")
    return parts


def _cases(own: Learnt, what: Seen, rows: list[int], kind: str) -> Iterator[Picture]:
    for place, row in enumerate(rows, 1):
        pixels = what.fold.validation.take(torch.tensor([row]))
        target = int(what.predicted[row])
        inputs = what.fold.preprocessing.normalize(pixels)
        heat, layer = layer_grad_cam(own.network, inputs, target)
        size = (pixels.shape[-2], pixels.shape[-1])
        large = functional.interpolate(heat, size, mode="bilinear", align_corners=False)[0, 0]
        most = float(large.max())
        scaled = (large / most if most > 0 else large).numpy().astype(np.float32)
        raw = pixels[0].numpy()
        both = [overlay(raw, scaled, NO_OPACITY), overlay(raw, scaled)]
        is_a = what.fold.classes[int(what.fold.validation.labels[row])]
        shape = "×".join(map(str, heat.shape[-2:]))
        chance = float(what.probabilities[row, target])
        caption = f"is {is_a}; said {what.fold.classes[target]} {chance:.3f}; {layer}, {shape}"
        yield Picture(f"heat-{kind}-{place}", side_by_side(both, HEIGHT), "png", caption)
