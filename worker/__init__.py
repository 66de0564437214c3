"""Ledger Worker: commands from Kafka, one signed call each to the brokerage, outcomes back to Kafka.

The path, one stage per line, each a module of `worker.pipeline` with a section in docs/architecture.md:

check    — says what a record is: a command, a refusal, or malformed; pure
accept   — makes rows of a batch of records, in one database transaction, before offsets are committed
claim    — leases lanes and writes down what each will send
effect   — makes one signed call, once
finish   — records what came of it: state, outcome, timer, the lane's next turn
publish  — sends what was recorded to Kafka, an account's outcomes one after the other
turn     — what the stages hand on, and what follows from all that is known of a command
policy   — why a call that would be made now must not be: too late, no use, stopped, too much; pure
report   — what came of a turn, as it is stored

What happens because time passed is in `worker.timers`. The engines meet only in Postgres.
"""
