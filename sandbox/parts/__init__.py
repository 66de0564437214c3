"""A real Kafka, a real Postgres and the simulated brokerage on a machine that has only Python.

`together.running()` starts all; `Kafka`, `Postgres`, `Brokerage` one each, with `start`, `stop`, `kill` and a start again on the
same data and port. Everything ends with `Programs.close()`, or when the process that started it dies.
"""

from sandbox.parts.brokerage import Brokerage
from sandbox.parts.errors import PartsError
from sandbox.parts.kafka import Kafka
from sandbox.parts.postgres import Postgres
from sandbox.parts.programs import Program, Programs
from sandbox.parts.together import Parts, running

__all__ = ["Brokerage", "Kafka", "Parts", "PartsError", "Postgres", "Program", "Programs", "running"]
