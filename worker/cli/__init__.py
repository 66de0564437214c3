"""The command line: one file per group of commands, each with a `register` that `app` calls.

What a command imports beyond typer, it imports when it runs: SQLAlchemy, aiokafka and alembic take a second together,
and `--help`, a typing error or shell completion should not wait for what they never use.
"""
