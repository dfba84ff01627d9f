"""The way from blocks to journalled events: blocks -> hops -> overload -> judgement -> record.

In: a source's items. Out: entries in the journal, and per hop a `Hop` for whoever watches.

=============== =================================================================================
`grid`          where the hops of a sample clock lie
`hops`          an unbroken stretch of samples -> hops with their embeddings
`overload`      whether sound has to be given up because too much waits
`wall`          when a sample was heard
`track`         items of a source -> hops and remarks, across clocks, gaps and overload
`judge`         hops -> judgements, states, alarms
`record`        remarks -> the journal
`pipeline`      the chain of them
=============== =================================================================================

The same samples give the same events, whatever the block sizes and however often the monitor was
killed in between.
"""

from listen_embed.monitor.pipeline.grid import Ear, Grid
from listen_embed.monitor.pipeline.pipeline import Hop, Pipeline, Rhythm

__all__ = ["Ear", "Grid", "Hop", "Pipeline", "Rhythm"]
