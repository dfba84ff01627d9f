"""Many devices: they learn, and learn from each other.

`listen_embed.fleet.learning` has the rounds: nodes learn from a common start on sounds that never
leave them, a coordinator moves the start towards what they learnt. Its arithmetic is numpy alone;
``pip install "listen-embed[fleet]"`` brings MQTT and signatures for ``listen-embed fleet``.
"""
