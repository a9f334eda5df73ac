/* verify.c - `outbox-relay verify`: is what was marked sent in the topics, once, and as it was sent? Changes
 * nothing.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "relay/affix.h"
#include "relay/commands/commands.h"
#include "relay/commands/compare.h"
#include "relay/commands/object.h"
#include "relay/commands/options.h"
#include "relay/commands/progress.h"
#include "relay/commands/verify_chunk.h"
#include "relay/exit_codes.h"
#include "relay/loop.h"
#include "relay/sink/inspect.h"
#include "relay/text.h"

#define WIDE 60
#define WIDE_REASON 200
#define ASK_KAFKA_MS 3000
#define READ_MS 10000 /* nothing came for so long: the topic cannot be read */

static const char help[] =
    "Usage: outbox-relay verify [--since TIME] [--until TIME] | [--from-id A] [--to-id B] [--topic T]\n"
    "Compare the events that are marked sent with what their topics hold at the partition and offset that\n"
    "each mark tells: which are missing, which differ (event id, key, payload, headers), which are there\n"
    "twice. Without a range: what was marked in the last hour.\n"
    "\n"
    "      --since TIME      marked sent at or after: '2026-01-02 03:04+00', 'today', or 15m, 2h, 3d ago\n"
    "      --until TIME      marked sent before\n"
    "      --from-id A       events from this number on\n"
    "      --to-id B         up to this one\n"
    "      --topic T         only those of this topic\n"
    "      --limit N         show at most N of the events found (default 50); all are counted\n"
    "      --json            one JSON object instead of words\n"
    "  -c, --config FILE     read settings from FILE: the envelope and the source must be those of the relay\n"
    "  -X KEY=VALUE          set one setting; may be repeated\n"
    "  -h, --help            print this\n"
    "\n"
    "Examples:\n"
    "  outbox-relay verify --config relay.conf\n"
    "  outbox-relay verify --config relay.conf --since 3d --topic orders\n"
    "  outbox-relay verify --config relay.conf --from-id 1000 --to-id 2000 --json\n"
    "\n"
    "expired: the topic's retention has dropped that part, so nothing can be said. missing also means\n"
    "compacted away in a topic with cleanup.policy=compact. twice: the same event once more, near by, which\n"
    "at-least-once delivery allows (consumers drop repeats by the event id); what replay sent again is\n"
    "counted apart. With the plain envelope records carry no event id: then repeats are not seen.\n"
    "unreadable: the database cannot send the event (what it stores is damaged, say), so that nothing can be\n"
    "compared; the others are.\n"
    "Needs the right to read the topics. Of much, this takes as long as reading it.\n"
    "\n"
    "Exit codes: 0 nothing is missing or changed; 69 something is, or events, database or topics\n"
    "could not be read; 64 usage, 70 internal error, 77 a right is missing, 78 settings or schema.\n";

struct verify {
    struct options *o;
    struct operate *op;
    struct envelope envelope;
    struct verify_chunk *chunk;
    struct operate_walk walk;
    struct progress progress;
    int64_t n[N_VERIFY_OUTCOMES], n_twice, n_replayed, n_unsent, n_checked, n_shown, n_source;
    struct table table;
    json_t *examples; /* NULL: a table is wanted */
    bool unreached;   /* no broker answers: nothing was compared */
    bool failed;      /* out of memory */
};

static const char *const outcome_names[N_VERIFY_OUTCOMES] = {
    [VERIFY_UNREAD] = "unread",   [VERIFY_AS_SENT] = "as sent", [VERIFY_CHANGED] = "changed",
    [VERIFY_MISSING] = "missing", [VERIFY_EXPIRED] = "expired", [VERIFY_UNPLACED] = "unplaced",
    [VERIFY_UNREADABLE] = "unreadable",
};

/* -- examples -------------------------------------------------------------------------------- */

struct example {
    const char *found;
    int64_t id; /* 0: not at hand */
    const char *event_id, *topic;
    int32_t partition;
    int64_t offset;
    unsigned differences;
    bool twice;
    int32_t again_partition;
    int64_t again_offset;
    const char *unreadable; /* NULL, or why */
    bool no_topic;
};

static void print_detail(FILE *out, const struct example *x)
{
    if (x->unreadable != NULL)
        text_put(out, x->unreadable, WIDE_REASON);
    else if (x->differences != 0)
        compare_print(x->differences, out);
    else if (x->twice)
        fprintf(out, "one is at partition %" PRId32 ", offset %" PRId64, x->again_partition,
                x->again_offset);
    else
        fputs(x->no_topic ? "the topic is not there any more, or has fewer partitions" : "-", out);
}

static void example_to_table(struct verify *v, const struct example *x)
{
    static const char *const heads[] = { "FOUND", "ID", "EVENT ID", "TOPIC", "PARTITION", "OFFSET",
                                         "WHAT" };
    struct table *t = &v->table;
    FILE *cell;

    table_heads(t, heads, sizeof heads / sizeof heads[0]);
    table_add(t, x->found);
    if (x->id != 0)
        table_add_number(t, x->id);
    else
        table_add(t, "-");
    table_add(t, x->event_id);
    table_add_text(t, x->topic, WIDE);
    table_add_number(t, x->partition);
    table_add_number(t, x->offset);
    if ((cell = table_open(t)) != NULL)
        print_detail(cell, x);
    table_close(t);
}

static json_t *differences_of(unsigned differences)
{
    json_t *list = json_array();

    for (unsigned bit = 1; list != NULL && bit < 1u << COMPARE_N_DIFFERENCES; bit <<= 1)
        if ((differences & bit) && json_array_append_new(list, json_string(compare_name(bit))) < 0) {
            json_decref(list);
            return NULL;
        }
    return list;
}

static void example_to_list(struct verify *v, const struct example *x)
{
    json_t *o = json_object();

    if (!object_append(
            v->examples, o,
            o != NULL && object_put_text(o, "found", x->found) &&
                object_put(o, "id", x->id != 0 ? json_integer(x->id) : json_null()) &&
                object_put_text(o, "event_id", x->event_id) && object_put_text(o, "topic", x->topic) &&
                object_put_number(o, "partition", x->partition) &&
                object_put_number(o, "offset", x->offset) &&
                object_put(o, "different", differences_of(x->differences)) &&
                object_put(o, "again_partition", x->twice ? json_integer(x->again_partition) : json_null()) &&
                object_put(o, "again_offset", x->twice ? json_integer(x->again_offset) : json_null()) &&
                object_put_text(o, "unreadable", x->unreadable)))
        v->failed = true;
}

static void show(struct verify *v, const struct example *x)
{
    if (v->n_shown >= v->o->limit)
        return;
    v->n_shown++;
    if (v->examples != NULL)
        example_to_list(v, x);
    else
        example_to_table(v, x);
}

/* -- counting -------------------------------------------------------------------------------- */

static void count_event(struct verify *v, const struct verify_event *e)
{
    char event_id[37];
    struct example x = { outcome_names[e->outcome], e->sent.row->id, event_id, e->sent.row->topic,
                         e->sent.partition, e->sent.offset, e->differences, e->twice, e->again_partition,
                         e->again_offset, e->sent.row->unreadable, e->no_topic };

    text_uuid(e->sent.row->event_id, event_id);
    v->n_checked++;
    v->n[e->outcome]++;
    v->n_replayed += e->replayed;
    v->n_source += e->outcome == VERIFY_CHANGED && e->differences == COMPARE_SOURCE;
    if (e->outcome == VERIFY_CHANGED || e->outcome == VERIFY_MISSING || e->outcome == VERIFY_UNREAD ||
        e->outcome == VERIFY_UNREADABLE)
        show(v, &x);
    if (!e->twice || e->outcome == VERIFY_MISSING || e->outcome == VERIFY_UNPLACED)
        return;
    v->n_twice++;
    x.found = "twice";
    x.differences = 0;
    x.unreadable = NULL;
    show(v, &x);
}

static void on_late_repeat(void *arg, const uint8_t id[16], const struct id_place *place,
                           int32_t partition, int64_t offset)
{
    struct verify *v = arg;
    char event_id[37];

    text_uuid(id, event_id);
    v->n_twice++;
    show(v, &(struct example){ "twice", 0, event_id, NULL, place->partition, place->offset, 0, true,
                               partition, offset, NULL, false });
}

static int fill(struct verify *v)
{
    static struct operate_sent sent[1000];
    struct verify_chunk *c = v->chunk;
    uint64_t bytes = 0;
    int code = EXIT_OK;

    while (code == EXIT_OK && !v->walk.done && bytes < VERIFY_BYTES && c->n < VERIFY_ROWS) {
        uint32_t room = VERIFY_ROWS - c->n, n = 0;
        code = operate_walk_next(v->op, &v->walk, room < 1000 ? room : 1000, VERIFY_BYTES - bytes,
                                 sent, &n, &v->n_unsent);
        for (uint32_t i = 0; i < n; i++) {
            bytes += sent[i].row->block_bytes;
            c->event[c->n++].sent = sent[i];
        }
        progress_show(&v->progress, loop_now_ms(), v->walk.at - v->walk.first + 1,
                      v->walk.last - v->walk.first + 1, v->n_checked);
    }
    return code;
}

/* Else each partition would be waited for, and every event be told as unread. */
static int reach(struct verify *v)
{
    char err[sizeof v->chunk->error];
    int brokers;
    struct inspect *kafka = options_inspect(v->o, err, sizeof err);
    bool up = kafka != NULL && inspect_reach(kafka, ASK_KAFKA_MS, &brokers, err, sizeof err);

    inspect_free(kafka);
    if (!up)
        memcpy(v->chunk->error, err, sizeof err);
    v->unreached = !up;
    return up ? EXIT_OK : options_fail(v->o, EXIT_UNAVAILABLE, "no Kafka broker answers this command, so that nothing was "
                                       "compared: %s", err);
}

static int walk(struct verify *v)
{
    const struct options *o = v->o;
    struct operate_range range = { o->from_id, o->to_id, o->since, o->until, o->choice.topic, NULL, 0 };
    int code;

    if (o->from_id == 0 && o->to_id == 0 && o->since == NULL && o->until == NULL)
        range.since = "1h";
    code = operate_walk_begin(v->op, &range, &v->walk);
    v->chunk->is_first = true;
    while (code == EXIT_OK && !v->walk.done) {
        code = fill(v);
        if (code != EXIT_OK)
            break;
        if (v->chunk->is_first && v->chunk->n > 0 && (code = reach(v)) != EXIT_OK) {
            progress_end(&v->progress);
            return code;
        }
        v->chunk->is_last = v->walk.done;
        verify_chunk_compare(v->chunk);
        v->chunk->is_first = false;
        for (uint32_t i = 0; i < v->chunk->n; i++)
            count_event(v, &v->chunk->event[i]);
        verify_chunk_next(v->chunk);
    }
    progress_end(&v->progress);
    return code == EXIT_OK ? EXIT_OK : options_fail_operate(v->o, v->op, code);
}

/* -- results --------------------------------------------------------------------------------- */

static bool is_good(const struct verify *v)
{
    return !v->unreached &&
           v->n[VERIFY_CHANGED] + v->n[VERIFY_MISSING] + v->n[VERIFY_UNREAD] + v->n[VERIFY_UNREADABLE] == 0;
}

static const char *finding(const struct verify *v)
{
    if (v->n[VERIFY_CHANGED] + v->n[VERIFY_MISSING] > 0)
        return "NOT all are there as they were sent";
    if (!is_good(v))
        return "NOT all could be compared; of those that were, none is missing or changed";
    return v->n[VERIFY_AS_SENT] == v->n_checked ? "All are there as they were sent"
                                                : "None is missing or changed";
}

static void print_count(const char *what, int64_t n, const char *note)
{
    if (n > 0)
        printf("%-10s %" PRId64 "%s\n", what, n, note != NULL ? note : "");
}

static void print_counts(const struct verify *v)
{
    static const enum verify_outcome order[] = { VERIFY_AS_SENT, VERIFY_MISSING, VERIFY_CHANGED,
                                                 VERIFY_EXPIRED, VERIFY_UNPLACED, VERIFY_UNREAD,
                                                 VERIFY_UNREADABLE };
    static const char *const notes[N_VERIFY_OUTCOMES] = {
        [VERIFY_EXPIRED] = "  (below what the topic still has)",
        [VERIFY_UNPLACED] = "  (their marks do not tell where they are)",
        [VERIFY_UNREADABLE] = "  (the database cannot send them; restore them, from a backup or from their records)",
    };

    for (size_t i = 0; i < sizeof order / sizeof order[0]; i++)
        print_count(outcome_names[order[i]], v->n[order[i]], notes[order[i]]);
    print_count("twice", v->n_twice, NULL);
    print_count("replayed", v->n_replayed, NULL);
    print_count("not sent", v->n_unsent, "  (in the range and not sent: not looked for)");
}

static void print_words(struct verify *v)
{
    if (v->n_checked == 0)
        puts("no event in this range is marked sent");
    else
        printf("%s: %" PRId64 " event%s%s\n", finding(v), v->n_checked, v->n_checked == 1 ? "" : "s",
               v->n[VERIFY_UNREAD] + v->n[VERIFY_UNREADABLE] > 0 ? "" : " compared");
    print_counts(v);
    if (v->n_source > 0) {
        printf("of %" PRId64 " changed ones ", v->n_source);
        compare_print_source_hint(v->o->settings.source, stdout);
    }
    if (v->table.n_cells > 0) {
        putchar('\n');
        if (!table_print(&v->table, stdout))
            v->failed = true;
    }
}

static void print_object(struct verify *v)
{
    json_t *o = json_object();

    if (o == NULL || !object_put(o, "good", json_boolean(is_good(v))) ||
        !object_put_text(o, "since", v->walk.since[0] != '\0' ? v->walk.since : NULL) ||
        !object_put_text(o, "until", v->walk.until[0] != '\0' ? v->walk.until : NULL) ||
        !object_put_number(o, "first_id", v->walk.first) || !object_put_number(o, "last_id", v->walk.last) ||
        !object_put_number(o, "n_compared", v->n_checked) ||
        !object_put_number(o, "n_as_sent", v->n[VERIFY_AS_SENT]) ||
        !object_put_number(o, "n_missing", v->n[VERIFY_MISSING]) ||
        !object_put_number(o, "n_changed", v->n[VERIFY_CHANGED]) ||
        !object_put_number(o, "n_expired", v->n[VERIFY_EXPIRED]) ||
        !object_put_number(o, "n_unplaced", v->n[VERIFY_UNPLACED]) ||
        !object_put_number(o, "n_unread", v->n[VERIFY_UNREAD]) ||
        !object_put_number(o, "n_unreadable", v->n[VERIFY_UNREADABLE]) ||
        !object_put_number(o, "n_twice", v->n_twice) || !object_put_number(o, "n_replayed", v->n_replayed) ||
        !object_put_number(o, "n_not_sent", v->n_unsent) ||
        !object_put_text(o, "error", v->chunk->error[0] != '\0' ? v->chunk->error : NULL) ||
        !object_put(o, "examples", json_incref(v->examples)) || !object_print(o, stdout))
        v->failed = true;
    json_decref(o);
}

/* -- from the command line ------------------------------------------------------------------- */

static int verify(struct verify *v)
{
    int code = walk(v);

    if (code != EXIT_OK && !(v->unreached && v->o->json))
        return code;
    if (v->o->json)
        print_object(v);
    else
        print_words(v);
    if (v->failed || v->table.failed)
        return options_fail(v->o, EXIT_INTERNAL, "out of memory; show fewer with --limit");
    if (v->unreached)
        return code;
    code = options_finish_output(v->o);
    if (v->n[VERIFY_UNREAD] > 0)
        return options_fail(v->o, EXIT_UNAVAILABLE, "%" PRId64 " event%s could not be looked for: %s",
                            v->n[VERIFY_UNREAD], plural(v->n[VERIFY_UNREAD]), v->chunk->error);
    if (v->n[VERIFY_UNREADABLE] > 0)
        return options_fail(v->o, EXIT_UNAVAILABLE, "%" PRId64 " event%s cannot be read from the database",
                            v->n[VERIFY_UNREADABLE], plural(v->n[VERIFY_UNREADABLE]));
    return code == EXIT_OK && !is_good(v) ? EXIT_UNAVAILABLE : code;
}

/* What goes through the range chunk by chunk. EXIT_OK, or it was said what is wrong. */
static int open_chunk(struct verify *v)
{
    struct options *o = v->o;
    char err[1024];

    v->chunk = calloc(1, sizeof *v->chunk);
    v->examples = o->json ? json_array() : NULL;
    if (v->chunk == NULL || (o->json && v->examples == NULL))
        return options_fail(o, EXIT_INTERNAL, "out of memory");
    v->envelope = (struct envelope){ o->settings.envelope, o->settings.source };
    v->chunk->envelope = &v->envelope;
    v->chunk->timeout_ms = READ_MS;
    v->chunk->on_late_repeat = on_late_repeat;
    v->chunk->arg = v;
    v->chunk->reader = options_reader(o, err, sizeof err);
    return v->chunk->reader != NULL ? EXIT_OK : options_fail(o, EXIT_CONFIGURATION, "%s", err);
}

static int open_and_verify(struct options *o, struct operate *op)
{
    struct verify v = { .o = o, .op = op };
    int code = open_chunk(&v);

    progress_begin(&v.progress, o->program, "compared", loop_now_ms());
    if (code == EXIT_OK)
        code = verify(&v);
    if (v.chunk != NULL) {
        verify_chunk_deinit(v.chunk);
        reader_free(v.chunk->reader);
    }
    free(v.chunk);
    json_decref(v.examples);
    table_deinit(&v.table);
    return code;
}

int command_verify(int argc, char **argv)
{
    struct options o = { .of = OPTIONS_VERIFY, .help = help };

    return options_look(&o, SETTINGS_NEED_DATABASE | SETTINGS_NEED_KAFKA, argc, argv, open_and_verify);
}
