"""A genome in one line, for tables and progress."""

from nas.genome.backbones import BackboneBlock, Weights
from nas.genome.cell import CellsBlock
from nas.genome.conv import ConvBlock
from nas.genome.genome import AnyBlock, Genome
from nas.genome.kinds import Pool
from nas.genome.mobile import InvertedBlock
from nas.genome.residual import ResidualBlock

POOLS = {Pool.NONE: "", Pool.MAX: " /max", Pool.AVERAGE: " /avg"}


def brief(genome: Genome) -> str:
    """Blocks as filters×kernel activation; ``/`` is where one pools or strides.

    >>> from nas.genome import ConvBlock
    >>> brief(Genome((ConvBlock(8, 3, pool=Pool.MAX), ConvBlock(16, 5, repeats=2))))
    '8×3 relu /max, 2 × 16×5 relu'
    """
    parts = [_block(block) for block in genome.blocks]
    if genome.hidden:
        parts.append("hidden " + " ".join(map(str, genome.hidden)))
    return ", ".join(parts)


def _block(block: AnyBlock) -> str:
    match block:
        case ConvBlock():
            text = f"{block.filters}×{block.kernel} {block.activation}"
            end = _stride(block.stride) + POOLS[block.pool]
        case ResidualBlock():
            kind = "bottleneck" if block.bottleneck else "residual"
            text = f"{kind} {block.filters}×{block.kernel} {block.activation}"
            end = (" se" if block.squeeze else "") + _stride(block.stride)
        case InvertedBlock():
            text = f"mobile {block.filters}×{block.kernel} e{block.expansion} {block.activation}"
            end = (" se" if block.squeeze else "") + _stride(block.stride)
        case CellsBlock():
            return f"{block.stages} × {block.cells} cells {block.code}, {block.filters} filters"
        case BackboneBlock():
            learnt = "" if block.weights is Weights.NONE else f", {block.weights}"
            frozen = f", {block.frozen} stages frozen" if block.frozen else ""
            side = f" at {block.side}" if block.side else ""
            return f"{block.name}{side}{learnt}{frozen}"
    return (f"{block.repeats} × " if block.repeats > 1 else "") + text + end


def _stride(stride: int) -> str:
    return f" /{stride}" if stride > 1 else ""
