"""A simulated brokerage with books of its own; shares no code with the worker that is tested against it.

A request comes in at `door`, passes the gateway and reaches the books in `brokerage`:

door        HTTP: one request in, an answer, a fault or a cut connection out
own         the endpoints under /_sandbox: effects, calls, accounts, orders, faults
brokerage   the one way of a request: path, signature, form, idempotency, books, audit
signature   the gateway's check of a signature
routes      every path of the brokerage, its operation and its shapes
assets      cash and position adjustment, freeze, unfreeze, debit
temporary   temporary adjustments, booked and ended
orders      place, modify, withdraw
views       the look-ups
ledger      the books themselves, and the sweep of temporary adjustments
fields      reads the fields of a request
envelope    the shapes and codes of answers
faults      which call goes wrong next, and how
audit       calls and effects, apart from the books
clock       the only door to time and chance
serve       opens the port, says where, sweeps, ends at SIGTERM
__main__    the command line
parts/      real Kafka and Postgres, and this sandbox, as processes on a machine that has only Python
"""
