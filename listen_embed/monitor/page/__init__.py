"""The live page: what the monitor hears and decides, in any browser, without internet.

In: hops and entries from the pipeline's thread, the journal. Out: a page, its data, sound, exports.

Addresses other than loopback demand a token. Requests for unknown host names are refused (DNS
rebinding), as are deeds that a foreign page could ask for.

`hub` is the present and who is watching; `room` the monitor as far as the page may reach it;
`app` what is answered; `guard` who may ask; `server` the thread that serves.
"""

from listen_embed.monitor.page.hub import Hub
from listen_embed.monitor.page.room import ControlRoom
from listen_embed.monitor.page.server import Page

__all__ = ["ControlRoom", "Hub", "Page"]
