"""The search spaces: an explicit table, name -> how to make it for images of a shape."""

from collections.abc import Callable, Mapping

from nas.genome import ImageShape
from search_spaces.base import NetworkSpace, Space
from search_spaces.cell import CellSpace
from search_spaces.chain import ChainSpace
from search_spaces.macro import MacroSpace
from search_spaces.mobile import MobileSpace
from search_spaces.residual import ResidualSpace
from search_spaces.transfer import TransferSpace

SPACES: Mapping[str, Callable[[ImageShape], NetworkSpace]] = {
    "chain": ChainSpace,
    "residual": ResidualSpace,
    "mobile": MobileSpace,
    "cell": CellSpace,
    "macro": MacroSpace,
    "transfer": TransferSpace,
}

__all__ = ["SPACES", "NetworkSpace", "Space"]
