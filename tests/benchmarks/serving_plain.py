"""Servers as people write them first, to be compared with: no bounds, no batches."""

import os
from functools import cache
from pathlib import Path

from fastapi import FastAPI, UploadFile

from nas.predictor import Predictor

each = FastAPI()
once = FastAPI()


def load() -> Predictor:
    """The model of the environment."""
    return Predictor.load(Path(os.environ["NAS_MODEL"]))


loaded = cache(load)


@each.post("/predict")
def predict_each(file: UploadFile) -> dict[str, object]:
    """Load, decode, compute; in one of the framework's forty threads."""
    found = load().predict([file.file.read()])[0]
    return {"prediction": found.label, "confidence": found.confidence}


@once.post("/predict")
def predict_once(file: UploadFile) -> dict[str, object]:
    """Decode and compute."""
    found = loaded().predict([file.file.read()])[0]
    return {"prediction": found.label, "confidence": found.confidence}
