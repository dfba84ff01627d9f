"""Learning from each other: a common start from which every device learns fast.

`network` and `prior` are what is learnt, `node` is a device, `updates` what it sends and what is
let in of that, `reptile` how the start moves. Two engines carry the messages: `mqtt` for small
devices, `flower` for gateways and data centres; `local` runs all nodes in one process.
"""
