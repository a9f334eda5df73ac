/* oracle.c - the judge: what arrived in Kafka against what PostgreSQL committed.
 *
 *   oracle watch --brokers B --out FILE [--topics A,B* | all] [--to-end]
 *   oracle check --dsn D --records FILE [--ledger QUERY] [--deadline SECONDS] [--allow-pending]
 *                [--allow-held]
 *
 * watch reads every partition of the topics from the beginning, also of topics that appear later,
 * and writes one line per record, flushed after each batch. TERM or INT: it reads to the end that
 * the brokers report then, and exits 0. --to-end does that at once. FILE is written anew; its
 * fields are separated by tabs:
 *   topic, partition, offset, timestamp
 *   key        hex, "-" for none
 *   event id   header ce_id, or id (debezium envelope); "-" for none
 *   payload    LENGTH:HEX, the first half of its SHA-256, or "null"
 *   headers    a hash over all of them, in order
 * Records that the broker threw away before they could be read show as payload gap:COUNT.
 *
 * check loads that file into temporary tables of the database, beside outbox.event and outbox.sent,
 * and judges there: each number is one query of the tables `numbers` and `faults` below. With
 * --ledger, committed means the event ids that this query returns (the application's own table).
 * Writers must have ended; with --deadline it waits until all has arrived and is marked. With
 * --allow-held an event is excused from both if outbox.held says that it is dead or discarded, or
 * blocked behind a dead one of its key; `excused` counts these, `excused_arrived` those that came all
 * the same. Tests use one writer per key, so that the order of ids is the order of commits; an event
 * with an available_at after its creation has no place in that order. Prints key=value lines,
 * examples on stderr. Exit status: 0 good, 1 bad, 2 could not judge, 64 usage.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/tools/oracle/oracle.h"

enum { EXIT_USAGE = 64 };

static int usage(void)
{
    fputs("usage: oracle watch --brokers B --out FILE [--topics A,B* | all] [--to-end]\n"
          "       oracle check --dsn D --records FILE [--ledger QUERY] [--deadline SECONDS]\n"
          "                    [--allow-pending] [--allow-held]\n",
          stderr);
    return EXIT_USAGE;
}

struct arguments {
    const char *brokers, *out, *topics, *dsn, *records, *ledger, *deadline;
    bool to_end, allow_pending, allow_held;
};

static bool parse_arguments(int argc, char **argv, struct arguments *args)
{
    static const struct option options[] = {
        { "brokers", required_argument, NULL, 'b' }, { "out", required_argument, NULL, 'o' },
        { "topics", required_argument, NULL, 't' },  { "to-end", no_argument, NULL, 'e' },
        { "dsn", required_argument, NULL, 'd' },     { "records", required_argument, NULL, 'r' },
        { "ledger", required_argument, NULL, 'l' },  { "deadline", required_argument, NULL, 'w' },
        { "allow-pending", no_argument, NULL, 'p' }, { "allow-held", no_argument, NULL, 'h' },
        { 0 },
    };
    int opt;

    while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (opt) {
        case 'b': args->brokers = optarg; break;
        case 'o': args->out = optarg; break;
        case 't': args->topics = optarg; break;
        case 'e': args->to_end = true; break;
        case 'd': args->dsn = optarg; break;
        case 'r': args->records = optarg; break;
        case 'l': args->ledger = optarg; break;
        case 'w': args->deadline = optarg; break;
        case 'p': args->allow_pending = true; break;
        case 'h': args->allow_held = true; break;
        default: return false;
        }
    }
    return optind == argc - 1;
}

int main(int argc, char **argv)
{
    struct arguments args = { .topics = "all", .deadline = "0" };

    if (!parse_arguments(argc, argv, &args))
        return usage();
    if (strcmp(argv[optind], "watch") == 0 && args.brokers != NULL && args.out != NULL)
        return oracle_watch(args.brokers, args.out, args.topics, args.to_end);
    if (strcmp(argv[optind], "check") == 0 && args.dsn != NULL && args.records != NULL)
        return oracle_check(args.dsn, args.records,
                            &(struct verdict_wanted){ args.ledger, args.allow_pending, args.allow_held,
                                                      atoi(args.deadline) });
    return usage();
}
