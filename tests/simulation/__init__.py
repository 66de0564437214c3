"""A fast twin of the worker: its own decisions over a true database, a brokerage that loses and delays, and virtual time.

What is real: `worker.ledger`, the stages `Claim` and `Finish`, `reclaim`, `wake_due`, `end_watched`, `tell_doubts`, the
watch, a person's `resolve`, and `conclude` with all it calls. What is not: what speaks to Postgres and to the brokerage.

database    the tables in memory, and for each statement of `worker.store` a function that says the same in Python
lookups     those of them that only read: what waits in a lane, what was tried for a command, what it refers to
doors       puts these functions in the place of the statements, and virtual time in the place of the clock
brokerage   the brokerage's own ledger: what took effect, when, how often, and what is still under way to it
scenario    which commands are sent, to which accounts, under which settings: all of it from one seed
world       workers that claim, send, die, freeze and come back; a story is a list of actions, and plays again
promises    what must be true after every step, and in the end
runs        a random story from a seed, then calm until nothing moves; a story that breaks a promise made short
explore     every story of a small world, by states (`python -m tests.simulation.explore`)
tally       what a number of runs found, as one line of figures
sabotage    decisions made wrong on purpose, which the runs must find

`python -m tests.simulation --runs 100000` is the long run; `docs/proof.md` has what it found.
"""
