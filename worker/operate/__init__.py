"""What people ask of the worker and decide for it; the command line and the console call it.

explain  the causal story of a command, an account or a number: `story` its events, `standing` what it waits for,
         `holds` what lifts a hold, `rules` a sentence for each rule
doubts   what is in doubt and parked, with what comes next
resolve  a person decides what is in doubt; `shown_number` asks the brokerage about the number first
parked   a person puts back or ends what is parked; `decided` keeps who decided what and why
adopt    a topic whose stored place no longer holds is accepted as it is now
doctor   everything that must be in order, one line each
"""
