"""``python -m listen_embed.cli``."""

from __future__ import annotations

import sys

from listen_embed.cli import main

if __name__ == "__main__":
    sys.exit(main())
