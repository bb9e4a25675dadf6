"""The exported model, one file: write, verify, load ``the_nas_model.pth``; see docs/bundle.md.

A bundle is one network or several whose probabilities are averaged, with all that is needed to use
them and to judge them. Loading trusts nothing: all of it is checked before a network is built.
"""

from nas.bundle.files import load, loads, read_file, save, save_safetensors
from nas.bundle.limits import MAX_FILE_BYTES, MAX_MEMBERS
from nas.bundle.manifest import FORMAT, VERSION
from nas.bundle.networks import Networks, combine
from nas.bundle.values import RESEARCH_USE, Bundle, Calibration, Member

__all__ = [
    "FORMAT",
    "MAX_FILE_BYTES",
    "MAX_MEMBERS",
    "RESEARCH_USE",
    "VERSION",
    "Bundle",
    "Calibration",
    "Member",
    "Networks",
    "combine",
    "load",
    "loads",
    "read_file",
    "save",
    "save_safetensors",
]
