"""The live page: what the monitor hears and decides, in any browser, without internet.

In: hops and entries from the pipeline's thread. Out: ``/`` (one HTML file), ``/history`` (the last
hour as JSON), ``/live`` (server-sent events).

Addresses other than loopback demand a token. Requests for unknown host names are refused (DNS
rebinding).
"""

from listen_embed.monitor.page.hub import Hub
from listen_embed.monitor.page.server import Page

__all__ = ["Hub", "Page"]
