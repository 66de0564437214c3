"""What people ask of the worker and decide for it; the command line and the console call it.

explain  the causal story of a command, an account or a number: `story` its events, `standing` what it waits for,
         `holds` what lifts a hold, `rules` a sentence for each rule
doubts   what is in doubt and parked, with what comes next
resolve  a person decides what is in doubt; `shown_number` asks the brokerage about the number first
parked   a person puts back or ends what is parked; `decided` keeps who decided what and why
adopt    a topic whose stored place no longer holds is accepted as it is now
audit    the table and the topic hold one chain, or which row does not fit
outbox   what Kafka refused for good is put back
drained  partitions are added where somebody says that nothing is under way
doctor   everything that must be in order, one line each
explain      the causal story of a command, an account or a number
resolve      a person decides what is in doubt
adopt        a topic whose stored place no longer holds is accepted as it is now
replay_plan  a range of a topic is read again: what would each record be today
replay_run   what nobody has read of it is fed, as intake would have stored it
republish    the stored outcomes of such a range go out again
doctor       everything that must be in order, one line each
reconcile  commands and outcomes against the brokerage's own histories
"""
