#!/usr/bin/env bash
# kafka_partitions.sh - keys land in the partitions of Kafka's own producer.
# Needs OUTBOX_TEST_DSN, OUTBOX_TEST_KAFKA and OUTBOX_TEST_BROKER_DIR.
set -euo pipefail

# shellcheck source=tests/rig/lib_relay.sh
. "$(dirname "${BASH_SOURCE[0]}")/../rig/lib_relay.sh"
brokers=$OUTBOX_TEST_KAFKA
make_topic() { "$broker" topic "$OUTBOX_TEST_BROKER_DIR" "$@"; }

# Kafka's own client sends the keys to java-N, the relay the same to relay-N.
cat >"$dir/Keys.java" <<'JAVA'
import java.util.*;
import org.apache.kafka.clients.producer.*;

class Keys {
    public static void main(String[] a) throws Exception {
        var conf = new Properties();
        conf.put("bootstrap.servers", a[0]);
        for (String what : new String[] { "key.serializer", "value.serializer" })
            conf.put(what, "org.apache.kafka.common.serialization.ByteArraySerializer");
        try (var producer = new KafkaProducer<byte[], byte[]>(conf); var in = new Scanner(System.in)) {
            while (in.hasNext()) {
                String topic = in.next(), hex = in.next();
                byte[] key = HexFormat.of().parseHex(hex);
                var at = producer.send(new ProducerRecord<>(topic, key, new byte[0])).get();
                System.out.println(topic + " " + hex + " " + at.partition());
            }
        }
    }
}
JAVA
if ! command -v javac >/dev/null; then
    skip partitions_are_those_of_the_java_producer 'no javac here, only a Java runtime'
    exit "$bad"
fi
reset
for n in 1 3 12; do
    make_topic "$topic-java-$n" "$n"
    make_topic "$topic-relay-$n" "$n"
    append 40 "$topic-relay-$n" "substr(decode(md5(n::text) || md5(n::text), 'hex'), 1, (1 + n % 21)::int)"
done
relay_once keys
equal keys_are_sent 0 "$status"
sql "select replace(topic, '-relay-', '-java-') || ' ' || encode(key, 'hex') from outbox.event order by id" >"$dir/keys"
java -XX:TieredStopAtLevel=1 -cp "$root/.cache/kafka/4.1.1/libs/*" "$dir/Keys.java" "$brokers" <"$dir/keys" \
    >"$dir/java" 2>"$dir/java.log" || tail -n 5 "$dir/java.log"
equal partitions_are_those_of_the_java_producer "$(sed 's/-java-/-relay-/' "$dir/java" | sort)" \
    "$(sql "select topic || ' ' || encode(key, 'hex') || ' ' || kafka_partition from outbox.event_status" | sort)"
equal all_keys_were_compared 120 "$(wc -l <"$dir/java")"
exit "$bad"
