"""The search spaces: an explicit table, name -> how to make it for images of a shape."""

from collections.abc import Callable, Mapping

from nas.genome import ImageShape
from search_spaces.base import NetworkSpace, Space
from search_spaces.chain import ChainSpace

SPACES: Mapping[str, Callable[[ImageShape], NetworkSpace]] = {
    "chain": ChainSpace,
}

__all__ = ["SPACES", "NetworkSpace", "Space"]
