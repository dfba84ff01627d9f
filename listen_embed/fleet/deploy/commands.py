"""``listen-embed fleet deploy | rollback | status`` for the command line."""

from __future__ import annotations

import argparse


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands about deployment to those of ``fleet``."""
