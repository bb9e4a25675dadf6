"""The closed lists that genomes choose from. Stored in studies and bundles: only ever added to."""

from enum import StrEnum


class Activation(StrEnum):
    """Activation functions; the last three are those of references alone."""

    RELU = "relu"
    LEAKY_RELU = "leaky_relu"
    ELU = "elu"
    GELU = "gelu"
    SILU = "silu"
    RELU6 = "relu6"
    HARD_SWISH = "hard_swish"
    HARD_SIGMOID = "hard_sigmoid"
    SIGMOID = "sigmoid"
    TANH = "tanh"


class Pool(StrEnum):
    """Pooling at the end of a block."""

    NONE = "none"
    MAX = "max"
    AVERAGE = "average"


class Norm(StrEnum):
    """Normalisation after a convolution."""

    NONE = "none"
    BATCH = "batch"


class Order(StrEnum):
    """Where pooling stands within a block.

    Pooling before the norm trains 1.4 times as fast on a CPU, because norm and activation then see
    a quarter of the pixels. It is another network, so the genome names it.
    """

    POOL_LAST = "conv-norm-activation-pool"
    POOL_BEFORE_NORM = "conv-pool-norm-activation"
