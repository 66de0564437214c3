"""What people ask of the worker and decide for it; the command line and the console call it.

explain    the causal story of a command, an account or a number: `story` its events, `standing` what it waits for,
           `holds` what lifts a hold, `rules` a sentence for each rule
doubts     what is in doubt and parked, with what comes next
resolve    a person decides what is in doubt; `shown_number` asks the brokerage about the number first
parked     a person puts back or ends what is parked; `decided` keeps who decided what and why
brake      everything, an operation, a partition's intake or an account is stopped, and let go
cancel     what was never sent is taken back
fire       a temporary adjustment is ended now
redrive    dead letters are put back into intake, `edits` with other bytes; `triage` sorts them
replay_plan, replay_run, republish
           a range of a topic is read again; what nobody has read is fed, at a `pace`, or its outcomes go out again
reconcile  commands and outcomes against the brokerage's own histories, read by `quiet`: `comparing` an account's day,
           `differences` by name, `certificate` what is left in writing
adopt      a topic whose stored place no longer holds is accepted as it is now
recover    a database that forgot is told what Kafka knows: `witnesses` say that it forgot, `remember` reads, `retell` tells
audit      the table and the topic hold one chain, or which row does not fit
prune      what is old and done is redacted or deleted, a little at a time
outbox     what Kafka refused for good is put back
drained    partitions are added where somebody says that nothing is under way
doctor     everything that must be in order, one line each
"""
