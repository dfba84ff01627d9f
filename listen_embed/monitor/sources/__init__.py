"""Where sound comes from: files, folders, the microphone, pipes and sockets.

In: a SOURCE as the command line gives it. Out: `Source`, whose items are blocks of samples on a
sample clock, and notices of what happened to the source; it never raises for what arrives.

===================================== =========================================================
SOURCE                                meaning, options after ``?`` joined by ``&``
===================================== =========================================================
``file.wav``                          a sound file; ``pace``: 0 as fast as possible, 1 real time
``folder/``                           its sound files by name, each a clock of its own; ``pace``
``mic:`` or ``mic:NAME``              sounddevice's input; ``sr``, ``channels``
``stdin:``                            raw PCM; ``sr``, ``dtype``, ``channels``, ``live``
``fifo``                              a named pipe that raw PCM is written to; as stdin, and
                                      ``once=1`` to end with the first writer
``tcp://host:port``                   raw PCM from a sensor that listens there; as stdin, and
                                      ``listen=1`` to wait for it here, ``once=1`` to end with it
``udp://host:port``                   datagrams sent to this port: framed blocks or raw PCM
``mqtt://host/topic``, ``mqtts://``   framed blocks (`listen_embed.monitor.sources.mqtt`)
===================================== =========================================================

``live=0`` says that the sound can wait: nothing is dropped however slow the monitor is. ``backlog``
is how many seconds of live sound may wait, ``stall`` after how many silent seconds a source counts
as stalled.
"""

from listen_embed.monitor.sources.files import sound_files
from listen_embed.monitor.sources.opening import open_source
from listen_embed.monitor.sources.source import Item, Notice, Place, Source

__all__ = ["Item", "Notice", "Place", "Source", "open_source", "sound_files"]
