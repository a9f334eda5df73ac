#!/usr/bin/env bash
# kafka_main.sh - the relay against a real Kafka: kills on both sides, a batch that the broker refuses,
# and the partitions of Kafka's own producer.
# Needs OUTBOX_TEST_DSN, OUTBOX_TEST_KAFKA and OUTBOX_TEST_BROKER_DIR; restarts that broker.
set -euo pipefail

# shellcheck source=tests/rig/lib_relay.sh
. "$(dirname "${BASH_SOURCE[0]}")/../rig/lib_relay.sh"
brokers=$OUTBOX_TEST_KAFKA
make_topic() { "$broker" topic "$OUTBOX_TEST_BROKER_DIR" "$@"; }
marks_more_than() { (($(sql "$sent") > $1)); }

# --- a backlog, and everything is killed ---------------------------------------------------------

reset
for name in "$topic" "$topic-b" "$topic-c"; do make_topic "$name" 4; done
for name in "$topic" "$topic-b" "$topic-c"; do
    append 16667 "$name" "case n % 10 when 0 then null else convert_to('k' || n % 101, 'UTF8') end" \
        "decode(repeat(md5(n::text), 16), 'hex')"
done
watch_start
for n in {1..5}; do
    # a small window, so that the backlog lasts for all kills
    relay_start killed -X lease.owner=killed -X inflight.rows=1000 -X batch.rows=500
    wait_until 30 marks_more_than "$((n * 3000))" || not_ok "start_$n" "$(tail -n 3 "$dir/killed.log")"
    ((n != 3)) || { "$broker" kill "$OUTBOX_TEST_BROKER_DIR" && "$broker" restart "$OUTBOX_TEST_BROKER_DIR" >/dev/null; }
    sleep "0.0$((RANDOM % 100))" # where it hits is left to chance
    relay_kill killed
done
relay_start killed -X lease.owner=killed
judge relay_killed_five_times_and_broker_once --deadline 60 committed=50001 unmarked=0
duplicates=$(number duplicates)
# Each kill sends again at most what was in flight.
holds repeats_are_bounded test "$duplicates" -le $((6 * 1000))
watch_stop
relay_signal killed TERM
relay_end killed 20
equal ends_clean 0 "$status"

# --- refused by the broker ------------------------------------------------------------------------

reset
make_topic "$topic" 3 max.message.bytes=5000
make_topic "$topic-b" 3
append 500 "$topic"
sql "insert into outbox.event (topic, type, key, payload) values ('$topic', 'x', 'k5', convert_to(repeat('x', 20000), 'UTF8'))"
append 500 "$topic"
append 200 "$topic-b"
watch_start
# small batches: several are on their way behind the one that is refused
relay_start large -X kafka.batch.num.messages=10
rest=$(sql "select count(*) from outbox.event where topic = '$topic' and key = 'k5' and id > 500")
holds only_the_culprit_and_its_key_stay wait_sql 60 "$rest" "$unsent"
equal culprit_stays 1 "$(sql "$unsent and e.id = 501")"
append 300 "$topic" "convert_to('k' || n % 5, 'UTF8')"
append 300 "$topic-b"
holds rows_that_come_later_pass wait_sql 60 "$rest" "$unsent"
holds refusal_is_logged said large "did not accept.*id=501 .*code=MSG_SIZE_TOO_LARGE"
judge nothing_overtook_within_its_key --deadline 20 --ledger "$marked" --allow-pending "arrived=$((1801 - rest))" reordered=0
watch_stop
relay_signal large TERM
relay_end large 20
equal ends_clean_with_a_refused_row 0 "$status"

# Where the broker knows nothing yet of the producer it takes any sequence number: a batch that is on its
# way behind the first of a partition must not be written when that first one is refused. Key 3 goes to
# partition 1 and opens the topic, key big goes to partition 0.
for n in {1..5}; do
    reset
    make_topic "$topic" 2
    sql "insert into outbox.event (topic, type, key, payload) values ('$topic', 'x', '3', 'first'),
         ('$topic', 'x', 'big', convert_to(repeat('x', 2000000), 'UTF8')), ('$topic', 'x', 'big', 'behind'),
         ('$topic', 'x', 'big', 'behind it too'), ('$topic', 'x', '3', 'last')"
    relay_once cold -X lease.owner=cold
    equal "nothing_passes_a_row_refused_on_a_cold_partition_$n" "69 3" "$status $(sql "$unsent")"
done

# --- partitions -----------------------------------------------------------------------------------

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
    ok 'partitions_are_those_of_the_java_producer # skip no javac here, only a Java runtime'
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
