"""What happens because a command arrived, in the order of the path.

check    looks at one record's bytes, key and headers and says what it is
accept   makes a batch of records durable, gives commands their place in their lane
claim    leases ready lanes, judges what must hold at the call, writes the attempt
effect   makes the one signed call
finish   records verdicts, outcomes, timers, and lets lanes advance
publish  brings the outbox to Kafka

A command whose verdict nobody can know is parked by finish, or by timers/resolve, which also clears doubts.
"""
