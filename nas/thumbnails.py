"""A few numbers about a thumbnail, which no picture of a disease should depend on."""

import numpy as np
import numpy.typing as npt

OF_THUMBNAILS = {
    "mean": "mean gray level, 0 to 255",
    "std": "standard deviation of the gray levels: contrast",
    "dark": "gray level that 5 % of the pixels are below",
    "median": "gray level that half of the pixels are below",
    "bright": "gray level that 95 % of the pixels are below",
    "black": "share of pixels of gray level 10 or less, such as borders",
    "white": "share of pixels of gray level 245 or more, such as burned-in letters",
    "border": "mean gray level of the outermost sixteenth on each side",
    "sharpness": "variance of the Laplacian: fine detail and noise",
}
"""Name -> meaning, of 64×64 pixels in gray."""

Features = npt.NDArray[np.float64]


def of_thumbnails(thumbnails: npt.NDArray[np.uint8]) -> Features:
    """(N, 1, S, S) uint8 to (N, 9): those of OF_THUMBNAILS, in that order."""
    pictures = thumbnails[:, 0].astype(np.float32)
    flat = pictures.reshape(len(pictures), -1)
    ordered = np.sort(thumbnails[:, 0].reshape(len(pictures), -1), axis=1)  # bytes sort faster
    last = flat.shape[1] - 1
    dark, median, bright = (ordered[:, round(share * last)] for share in (0.05, 0.5, 0.95))
    inner = pictures[:, 1:-1, 1:-1]
    laplacian = 4 * inner - pictures[:, :-2, 1:-1] - pictures[:, 2:, 1:-1]
    laplacian -= pictures[:, 1:-1, :-2] + pictures[:, 1:-1, 2:]
    frame = np.ones(pictures.shape[1:], dtype=bool)
    edge = max(1, len(frame) // 16)
    frame[edge:-edge, edge:-edge] = False
    black, white = (flat <= 10).mean(1), (flat >= 245).mean(1)
    border, sharpness = pictures[:, frame].mean(1), laplacian.var((1, 2))
    columns = (flat.mean(1), flat.std(1), dark, median, bright, black, white, border, sharpness)
    return np.column_stack(columns).astype(np.float64)
