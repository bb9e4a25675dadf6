"""Images that the tests write themselves, and the form that carries them."""

import io
from typing import Any

import numpy as np
from PIL import Image


def array(seed: int = 0, side: int = 40) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """(side, side) uint8: a smooth gradient with noise."""
    noise = np.random.default_rng(seed).integers(0, 60, (side, side))
    return (np.linspace(0, 190, side)[None, :] + noise).astype(np.uint8)


def encoded(image: Image.Image, format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def png(seed: int = 0) -> bytes:
    return encoded(Image.fromarray(array(seed)), "PNG")


def photo() -> bytes:
    """A picture in colours."""
    return encoded(Image.fromarray(np.stack([array(), array().T, 255 - array()], 2)), "PNG")


def animated(format: str) -> bytes:
    frames = [Image.fromarray(array(seed)) for seed in range(3)]
    return encoded(frames[0], format, save_all=True, append_images=frames[1:])


def form(data: bytes, name: str = "image.png") -> dict[str, tuple[str, bytes]]:
    return {"file": (name, data)}


def multipart(data: bytes, boundary: str = "frontier") -> tuple[bytes, str]:
    """One file as a raw multipart body, and its content type."""
    head = 'Content-Disposition: form-data; name="file"; filename="image.png"'
    body = f"--{boundary}\r\n{head}\r\n\r\n".encode() + data + f"\r\n--{boundary}--\r\n".encode()
    return body, f"multipart/form-data; boundary={boundary}"
