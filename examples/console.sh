#!/bin/sh
# Sends one command as plain JSON with Kafka's own console producer, and prints the account's outcomes as they come.
#   COMMAND_ID=$(uuidgen | tr A-Z a-z) ACCOUNT_NO=H10240001 sh examples/console.sh
# The record's key is the account, the topic that of the command's type, and the id is kept: sending again is safe.
set -eu
: "${COMMAND_ID:?a new lower-case UUID: it names what you want, for ever}" "${ACCOUNT_NO:?}"
servers=${LEDGER_KAFKA_BOOTSTRAP_SERVERS:?host:port of Kafka}
now=$(date -u +%Y-%m-%dT%H:%M:%SZ)

kafka-console-producer.sh --bootstrap-server "$servers" --topic "${LEDGER_TOPIC_ADJUSTMENTS:-ledger.commands.adjustments.v1}" \
    --command-property acks=all --command-property enable.idempotence=true \
    --reader-property parse.key=true --reader-property 'key.separator=|' <<END
$ACCOUNT_NO|{"command_id": "$COMMAND_ID", "type": "cash.adjust", "account_no": "$ACCOUNT_NO", "issued_at": "$now", "issued_by": "console", "payload": {"direction": "CREDIT", "currency": "USD", "amount": "1000.00", "biz_code": "OPLCSTBD"}}
END

# ends when nothing came for so long; its exit status is that of grep: 1 when there is no outcome yet
kafka-console-consumer.sh --bootstrap-server "$servers" --topic "${LEDGER_TOPIC_OUTCOMES:-ledger.outcomes.v1}" \
    --from-beginning --timeout-ms "${WAIT_MS:-15000}" 2>/dev/null | grep "\"command_id\":\"$COMMAND_ID\""
