"""The only door to Kafka: nothing outside this folder imports aiokafka or faststream.

security   settings → how every client connects
dial       why it does not connect, in one sentence
rights     what Kafka allows this user, and what is said where a right is missing
cut        a send on a connection that was cut is a lost connection
broker     intake: one batch subscriber whose polls are positioned by Postgres, not by the group
consumer   its consumer, and the options that it is built with
positions  where reading goes on after an assignment, and what is refused
tolerant   reads record batches that aiokafka cannot
producer   the relay's idempotent producer
headers    header names that are not text, on their way out
topics     the manifest: plan, apply, verify
ports      what intake needs from the store
"""
