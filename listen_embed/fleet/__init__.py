"""Many devices: they learn from each other, and are found by what they can do.

`learning` has the rounds: nodes learn from a common start on sounds that never leave them, a
coordinator moves the start towards what they learnt; its arithmetic is numpy alone. `things`
describes devices and models and matches them, `deploy` brings models to devices, `page` shows them.
``pip install "listen-embed[fleet]"`` brings what they need.
"""
