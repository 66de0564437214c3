"""What people ask of the worker and decide for it; the command line and the console call it.

explain  the causal story of a command, an account or a number
resolve  a person decides what is in doubt
adopt    a topic whose stored place no longer holds is accepted as it is now
audit    the table and the topic hold one chain, or which row does not fit
outbox   what Kafka refused for good is put back
drained  partitions are added where somebody says that nothing is under way
doctor   everything that must be in order, one line each
"""
