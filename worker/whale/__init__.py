"""The only door to HTTP: what we call at the brokerage, how it is signed and sent, and what its answers mean.

sign        a request and a second become headers (pure)
wire        what came back, and the envelope in it (pure)
client      one call, once
pool        the connections: how many, which are idle, how one is made
connection  one of them: one write, one answer
tunnel      one by way of a proxy, as far as the brokerage's door
answer      bytes become an answer, in whatever pieces they come
operations  the registry: one entry per command type, from `assets`, `temporary` and `orders`
verdict     one exchange becomes a verdict (pure)
probes      looks: did it happen?
shown       whether a number that a person gives is shown, and as ours
histories   what the brokerage has of an account, read whole
limits      this process's share of the fleet's rate, and its slots (pure)
"""
