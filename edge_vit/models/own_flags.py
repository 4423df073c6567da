"""The flags that say what pictures a network of the user's own takes, for every command that has them."""

import argparse


def colors(text: str) -> tuple[float, float, float]:
    """Return three numbers for "0.485,0.456,0.406", and three times one for "0.5"."""
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if len(values) not in (1, 3):
        raise argparse.ArgumentTypeError(f"{text!r} is not allowed; give one number, or three as in 0.485,0.456,0.406")
    red, green, blue = values * 3 if len(values) == 1 else values
    return red, green, blue


def add_own_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what a network of the user's own may be said to take."""
    group = parser.add_argument_group("of a network of your own", "In place of what its function says of its pictures.")
    for name, default in (("mean", "0.485,0.456,0.406"), ("std", "0.229,0.224,0.225")):
        group.add_argument(
            f"--{name}", type=colors, metavar="R,G,B", help=f"of colors in 0 to 1 that it was trained with ({default})"
        )
    group.add_argument("--crop", type=float, metavar="SHARE", help="of the resized picture, its centre, is taken (1)")
