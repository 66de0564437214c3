"""The only door to Kafka: nothing outside this folder imports aiokafka or faststream.

security   settings → how every client connects
cut        a send on a connection that was cut is a lost connection
broker     intake: one batch subscriber whose polls are positioned by Postgres, not by the group
positions  where reading goes on after an assignment, and what is refused
tolerant   reads record batches that aiokafka cannot
producer   the relay's idempotent producer
headers    header names that are not text, on their way out
topics     the manifest: plan, apply, verify
ports      what intake needs from the store
"""
