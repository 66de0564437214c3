"""The only door to HTTP: what we call at the brokerage, how it is signed and sent, and what its answers mean.

sign        a request and a second become headers (pure)
wire        what came back, and the envelope in it (pure)
client      one call, once
operations  the registry: one entry per command type, from `assets`, `temporary` and `orders`
verdict     one exchange becomes a verdict (pure)
probes      looks: did it happen?
limits      this process's share of the fleet's rate, and its slots (pure)
"""
