"""``python -m nas.bundle verify FILE…``: whether exported models can be used, and what they are."""

import argparse
import sys
from pathlib import Path

from nas.command import EXIT_REFUSED, Parser, run


def main() -> int:
    """Run the command; returns the exit status."""
    return run(_main)


def _main() -> int:
    options = _parser().parse_args()
    # Each file is judged, also after one that is refused.
    good = [_verify(path) for path in options.files]
    return 0 if all(good) else EXIT_REFUSED


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m nas.bundle", description="Look at exported models.")
    commands = parser.add_subparsers(dest="command", required=True, parser_class=Parser)
    verify = commands.add_parser(
        "verify",
        help="check a file, and print what it is",
        description="Check exported models: format, checksums, what they would cost, SHA256SUMS "
        "beside them, and that a blank and a random image get finite probabilities. Prints what "
        "each is. Exit status 0 if all are good, 2 if one is not.",
    )
    verify.add_argument(
        "files", nargs="+", type=Path, metavar="FILE", help=".pth or .safetensors files"
    )
    return parser


def _verify(path: Path) -> bool:
    # Only now: --help should not wait for torch.
    from nas.bundle.telling import printable
    from nas.bundle.values import RESEARCH_USE
    from nas.bundle.verifying import lines, verify
    from nas.errors import BundleError

    print(printable(path))
    try:
        verified = verify(path)
    except BundleError as error:
        # A message may quote what a foreign file says.
        print(f"  NOT VERIFIED: {printable(error)}\n", flush=True)
        return False
    rows = lines(verified)
    width = max(len(name) for name, _ in rows) + 2
    for name, text in rows:
        print(f"  {name:<{width}}{text}")
    print(f"  verified. {RESEARCH_USE}\n", flush=True)
    return True


if __name__ == "__main__":
    sys.exit(main())
