/* doctor.c - `outbox-relay doctor`: looks at database, brokers and topics for what is or will be wrong, and
 * says what to do. Changes nothing, and runs to its end whatever is broken.
 */
#include <stdlib.h>

#include "relay/commands/commands.h"
#include "relay/commands/doctor.h"
#include "relay/commands/object.h"
#include "relay/exit_codes.h"

static const char help[] =
    "Usage: outbox-relay doctor [--json] [--probe-write]\n"
    "Look for what is wrong, or will be: the server (version, standby, read-only, pooler, clock, unsafe\n"
    "settings), the schema (version, rights of this role, leaves, indexes, bucket default, sequence), whether\n"
    "a relay leads and events move, dead rows, the size on disk and a bucket that should have been emptied, what holds\n"
    "cleaning back (old and prepared transactions, replication slots), librdkafka, the brokers, and each\n"
    "topic that events wait for or were appended to lately (there, rights, leaders, replicas, sizes,\n"
    "times). Each finding comes with what to do. Runs to its end whatever is broken.\n"
    "\n"
    "      --probe-write     also ask whether this client may write to each topic, by a produce request that\n"
    "                        no broker can accept: it demands two acknowledgements, where only 0, 1 and all\n"
    "                        exist, and its record is larger than the topic takes. Nothing is written; the\n"
    "                        brokers may count a failed request\n"
    "      --json            one JSON object instead of words\n"
    "  -c, --config FILE     read settings from FILE\n"
    "  -X KEY=VALUE          set one setting; may be repeated\n"
    "  -h, --help            print this\n"
    "\n"
    "Examples:\n"
    "  outbox-relay doctor --config /etc/outbox-relay.conf\n"
    "  outbox-relay doctor --config relay.conf --probe-write\n"
    "  outbox-relay doctor --config relay.conf --json\n"
    "\n"
    "Run it as the role of the relay and with its settings: rights are those of the role of the dsn, and what\n"
    "a running relay was started with is not known here (retention, for one).\n"
    "\n"
    "Exit codes: 0 nothing must be mended, also when something needs a look; else that of the worst: 69\n"
    "something is away or will be refused, 77 a right is missing, 78 settings or schema; 64 usage, 70\n"
    "internal error.\n";

static int show(struct doctor *d)
{
    json_t *object = NULL;

    if (d->findings.failed || (d->o->json && (object = findings_object(&d->findings)) == NULL))
        return options_fail(d->o, EXIT_INTERNAL, "out of memory");
    if (d->o->json)
        (void)object_print(object, stdout);
    else
        findings_print(&d->findings, stdout);
    json_decref(object);
    int code = options_finish_output(d->o);
    return code != EXIT_OK ? code : findings_exit_code(&d->findings);
}

int command_doctor(int argc, char **argv)
{
    struct options o = { .of = OPTIONS_DOCTOR, .help = help };
    struct doctor *d = NULL;
    int code = options_parse(&o, argc, argv);

    if (code < 0) {
        code = options_settings(&o, SETTINGS_NEED_DATABASE);
        if (code == EXIT_OK && (d = calloc(1, sizeof *d)) == NULL)
            code = options_fail(&o, EXIT_INTERNAL, "out of memory");
    }
    if (d != NULL) {
        d->o = &o;
        doctor_database(d);
        doctor_kafka(d);
        code = show(d);
        findings_deinit(&d->findings);
    }
    free(d);
    options_deinit(&o);
    return code;
}
