/* trace.c - `outbox-relay trace`: what became of one event, as sentences in the order of time. Changes
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
#include "relay/exit_codes.h"
#include "relay/source/operate_events.h"
#include "relay/text.h"
#include "relay/verdict.h"

#define WIDE 200
#define ASK_KAFKA_MS 5000

static const char help[] =
    "Usage: outbox-relay trace EVENT_ID | --id N\n"
    "What is known of one event: appended when and by which transaction, why it is held, sent when and\n"
    "where, and, when kafka.bootstrap.servers is set and a broker answers, whether its record is there now.\n"
    "Once it is sent, why it was held and what was refused before is forgotten; the relay's log has that.\n"
    "\n"
    "  EVENT_ID              the event with this UUID (ce_id, or id, of the record)\n"
    "      --id N            the event with this number (ce_sequence of the record)\n"
    "      --json            one JSON object instead of sentences\n"
    "  -c, --config FILE     read settings from FILE\n"
    "  -X KEY=VALUE          set one setting; may be repeated\n"
    "  -h, --help            print this\n"
    "\n"
    "Examples:\n"
    "  outbox-relay trace --config relay.conf 01890a5d-ac96-774b-bcce-b302099a8057\n"
    "  outbox-relay trace --config relay.conf --id 4711\n"
    "  outbox-relay trace -X dsn=postgresql:///shop --id 4711 --json\n"
    "\n"
    "Events have no index on their UUID. One that liboutbox made tells when, and is found at once; one that\n"
    "SQL made is looked for among all events, which takes about a second for each million.\n"
    "\n"
    "Exit codes: 0 told; 1 there is no such event (any more: a bucket that was emptied is forgotten);\n"
    "64 usage, 69 database unavailable, 70 internal error, 77 a right is missing, 78 settings or schema.\n";

enum found { NOT_ASKED, THERE, OTHER, EXPIRED, GONE, NO_TOPIC, NOT_KNOWN };

/* What is at the place where the record was written. */
struct at_place {
    enum found found;
    unsigned differences;
    bool seen;
    char why[512];
    int64_t low, high;
    const struct row *row;
    const struct header *headers;
    size_t n_headers;
    enum envelope_kind kind;
};

struct telling {
    struct options *o;
    struct operate *op;
    int code;
    bool failed;
};

/* -- the record ------------------------------------------------------------------------------ */

static void on_record(void *arg, const struct reader_record *record)
{
    struct at_place *p = arg;

    p->seen = true;
    p->differences = compare_record(p->kind, p->row, p->headers, p->n_headers, record);
}

static void look_at_record(struct at_place *p, struct reader *r, const struct operate_sent *sent)
{
    const char *topic = sent->row->topic;
    enum reader_ends ends = reader_ends(r, topic, sent->partition, ASK_KAFKA_MS, &p->low, &p->high,
                                        p->why, sizeof p->why);

    p->found = ends == READER_NO_TOPIC ? NO_TOPIC : NOT_KNOWN;
    if (ends != READER_THERE)
        return;
    if (sent->offset < p->low || sent->offset >= p->high) {
        p->found = sent->offset < p->low ? EXPIRED : GONE;
        return;
    }
    if (reader_read(r, topic, sent->partition, sent->offset, sent->offset + 1, ASK_KAFKA_MS, NULL,
                    on_record, p, p->why, sizeof p->why) == 0)
        p->found = !p->seen ? GONE : p->differences != 0 ? OTHER : THERE;
}

static void ask_kafka(struct at_place *p, const struct options *o, const struct operate_sent *sent)
{
    const struct envelope envelope = { o->settings.envelope, o->settings.source };
    struct envelope_buf buf = { .headers = NULL };

    p->kind = o->settings.envelope;
    p->row = sent->row;
    p->found = NOT_KNOWN;
    snprintf(p->why, sizeof p->why, "out of memory");
    if (envelope_headers(&envelope, sent->row, &buf, &p->headers, &p->n_headers) == 0) {
        struct reader *r = options_reader(o, p->why, sizeof p->why);
        if (r != NULL)
            look_at_record(p, r, sent);
        reader_free(r);
    }
    envelope_buf_deinit(&buf);
}

/* Only what was sent, and where is known, can be looked at. */
static int find_record(struct telling *t, const struct operate_story *s, struct at_place *p)
{
    const struct operate_range range = { .from_id = s->event.id, .to_id = s->event.id };
    struct operate_walk walk;
    struct operate_sent sent;
    uint32_t n = 0;
    int64_t n_unsent = 0;
    char err[512];

    if (s->sent_at == NULL || s->offset < 0 || s->partition < 0 ||
        settings_require(&t->o->settings, SETTINGS_NEED_KAFKA, err, sizeof err) < 0)
        return EXIT_OK;
    int code = operate_walk_begin(t->op, &range, &walk);
    if (code == EXIT_OK)
        code = operate_walk_next(t->op, &walk, 1, UINT32_MAX, &sent, &n, &n_unsent);
    if (code == EXIT_OK && n == 1) {
        ask_kafka(p, t->o, &sent);
        free(sent.row);
    }
    return code;
}

/* -- sentences ------------------------------------------------------------------------------- */

static void say_event(const struct operate_story *s)
{
    printf("event   %" PRId64 ", %s\ntopic   ", s->event.id, s->event.event_id);
    text_put(stdout, s->event.topic, WIDE);
    fputs("\nkey     ", stdout);
    if (s->event.key == NULL)
        fputs("none: it has no order", stdout);
    else
        text_put_key(stdout, s->event.key, s->event.key_len);
    fputs("\ntype    ", stdout);
    text_put(stdout, s->event.type, WIDE);
    printf(" (version %" PRId64 ")\npayload ", s->schema_version);
    if (s->payload_bytes < 0)
        fputs("none: a tombstone", stdout);
    else
        printf("%" PRId64 " bytes", s->payload_bytes);
    printf(", %" PRId64 " header%s\n\n", s->n_headers, s->n_headers == 1 ? "" : "s");
}

static void say_append(const struct operate_story *s)
{
    printf("%s  the transaction began that appended it: %s; it is in outbox.event_", s->created_at,
           s->xid);
    if (s->bucket >= 0)
        printf("%" PRId64 "\n", s->bucket);
    else
        puts("kept");
    if (s->committed_at != NULL)
        printf("%s  that transaction committed\n", s->committed_at);
    else
        printf("%-24s  it committed; when is not known%s\n", "",
               s->commit_times ? "" : " (track_commit_timestamp is off)");
    if (s->available_at != NULL)
        printf("%s  it was not to be sent before\n", s->available_at);
}

static bool is_discarded(const struct operate_story *s)
{
    return s->sent_at == NULL && strcmp(s->event.state, "discarded") == 0;
}

/* The time that is kept is that of the first failure; what came later has none. */
static void say_error(const struct operate_story *s)
{
    const struct operate_event *e = &s->event;
    const char *at = e->first_error_at != NULL ? e->first_error_at : "";

    if (e->error_code == NULL && e->error == NULL)
        return;
    if (is_discarded(s)) {
        if (e->first_error_at != NULL)
            printf("%-24s  it could not go for the first time\n", at);
        if (e->attempts > 0)
            printf("%-24s  %" PRId64 " attempt%s refused\n", "", e->attempts, e->attempts == 1 ? " was" : "s were");
        printf("%-24s  it was given up by a person: ", "");
    } else if (e->attempts == 0) {
        printf("%-24s  it could not go: ", at);
    } else if (e->attempts == 1) {
        printf("%-24s  it could not go, 1 attempt refused so far, for: ", at);
    } else {
        printf("%-24s  it could not go for the first time\n", at);
        printf("%-24s  %" PRId64 " attempts refused so far, the last for: ", "", e->attempts);
    }
    text_put(stdout, s->event.error_code, WIDE);
    fputs(": ", stdout);
    text_put(stdout, s->event.error, WIDE);
    putchar('\n');
    if (s->event.maybe_delivered)
        printf("%-24s  one attempt ended without an answer: the record may be in the topic\n", "");
}

static const char *meaning_of(const char *state)
{
    static const struct {
        const char *state, *meaning;
    } meanings[] = {
        { "pending", "it is neither marked sent nor held; it goes by itself (outbox-relay status says what it waits for)" },
        { "retrying", "it is tried again by itself" },
        { "blocked", "it waits for an earlier event of its key" },
        { "paused", "its topic takes nothing; it goes by itself when the topic works again, or is given up: " },
        { "scheduled", "it goes by itself when its time has come" },
        { "dead", "it does not go again by itself; a person decides: outbox-relay retry, or discard" },
        { "discarded", "it is never sent" },
    };

    for (size_t i = 0; i < sizeof meanings / sizeof meanings[0]; i++)
        if (strcmp(meanings[i].state, state) == 0)
            return meanings[i].meaning;
    return "";
}

static void say_state(const struct operate_story *s)
{
    char age[32];

    if (s->sent_at != NULL) {
        printf("%s  it was marked sent: partition ", s->sent_at);
        if (s->partition >= 0)
            printf("%" PRId64 ", offset %" PRId64, s->partition, s->offset);
        else
            fputs("and offset not known", stdout);
        printf("; it had waited for %s\n", verdict_age(s->waited_s, age, sizeof age));
        return;
    }
    printf("%s  now it is %s: %s", s->now, s->event.state, meaning_of(s->event.state));
    if (strcmp(s->event.state, "paused") == 0) {
        fputs(VERDICT_DISCARD_TOPIC, stdout);
        text_put(stdout, s->event.topic, WIDE);
        fputs(VERDICT_DISCARD_PAUSED, stdout);
    }
    if (!is_discarded(s)) {
        if (s->event.next_attempt_at != NULL)
            printf("; due at %s", s->event.next_attempt_at);
        if (s->before_id != 0)
            printf("; before it goes event %" PRId64 ", which is %s", s->before_id, s->before_state);
        if (s->waited_s > 0)
            printf("; it has waited for %s", verdict_age(s->waited_s, age, sizeof age));
    }
    putchar('\n');
}

static void say_record(const struct operate_story *s, const struct at_place *p, const char *source)
{
    if (s->sent_at == NULL)
        return;
    printf("%s  ", s->now);
    switch (p->found) {
    case NOT_ASKED:
        puts(s->offset < 0 ? "where its record is, is not known"
                           : "the topic was not looked at: kafka.bootstrap.servers is not set");
        return;
    case THERE:
        puts("its record is there");
        return;
    case OTHER:
        if (p->differences == COMPARE_SOURCE) {
            fputs("its record is there; ", stdout);
            compare_print_source_hint(source, stdout);
            return;
        }
        fputs("the record there is not as it was sent; different: ", stdout);
        compare_print(p->differences, stdout);
        puts(p->differences & COMPARE_EVENT_ID ? " (was the topic made anew?)" : "");
        return;
    case EXPIRED:
        printf("its record is not there any more: the topic has dropped what is below offset %" PRId64 "\n",
               p->low);
        return;
    case GONE:
        if (p->high > p->low)
            printf("its record is not there (the topic holds offsets %" PRId64 " to %" PRId64
                   "): compacted away, or the topic was made anew\n", p->low, p->high - 1);
        else
            puts("its record is not there (its partition is empty): the topic was made anew, or emptied");
        return;
    case NO_TOPIC:
        puts("the topic is not there any more, or has fewer partitions");
        return;
    case NOT_KNOWN:
        fputs("the topic could not be looked at: ", stdout);
        text_put(stdout, p->why, sizeof p->why);
        putchar('\n');
        return;
    }
}

static void say_later(const struct operate_story *s)
{
    if (s->event.key == NULL)
        return;
    if (s->n_later == 0)
        printf("%-24s  no later event of its key%s\n", "", s->n_looked > 0 ? " among those looked at" : "");
    else
        printf("%-24s  of the next %" PRId64 " event%s %" PRId64 " ha%s its key; %" PRId64 " of them %s sent\n", "", s->n_looked,
               plural(s->n_looked), s->n_later, s->n_later == 1 ? "s" : "ve", s->n_later_sent, s->n_later_sent == 1 ? "is" : "are");
}

/* -- as JSON --------------------------------------------------------------------------------- */

static json_t *record_of(const struct at_place *p)
{
    static const char *const names[] = { "not asked", "there", "different", "expired",
                                         "gone", "no topic", "not known" };
    json_t *object = json_object(), *list = json_array();

    for (unsigned bit = 1; list != NULL && bit < 1u << COMPARE_N_DIFFERENCES; bit <<= 1)
        if (p->differences & bit)
            (void)json_array_append_new(list, json_string(compare_name(bit)));
    if (object == NULL || !object_put_text(object, "found", names[p->found]) ||
        !object_put_text(object, "error", p->found == NOT_KNOWN ? p->why : NULL)) {
        json_decref(list);
        json_decref(object);
        return NULL;
    }
    (void)object_put(object, "different", list);
    return object;
}

static bool story_to_object(json_t *o, const struct operate_story *s, const struct at_place *p)
{
    const struct operate_event *e = &s->event;

    return object_put_name(o, e) && object_put_text(o, "type", e->type) &&
           object_put_text(o, "state", e->state) && object_put_text(o, "created_at", s->created_at) &&
           object_put_text(o, "xid", s->xid) && object_put_text(o, "committed_at", s->committed_at) &&
           object_put_text(o, "available_at", s->available_at) &&
           object_put_number(o, "bucket", s->bucket) &&
           object_put_known(o, "payload_bytes", s->payload_bytes) &&
           object_put_number(o, "headers", s->n_headers) &&
           object_put_number(o, "attempts", e->attempts) &&
           object_put_text(o, "first_error_at", e->first_error_at) &&
           object_put_text(o, "next_attempt_at", e->next_attempt_at) &&
           object_put_text(o, "error_code", e->error_code) && object_put_text(o, "error", e->error) &&
           object_put(o, "maybe_delivered", json_boolean(e->maybe_delivered)) &&
           object_put(o, "waits_for_id", s->before_id != 0 ? json_integer(s->before_id) : json_null()) &&
           object_put_text(o, "waits_for_state", s->before_state) &&
           object_put_text(o, "sent_at", s->sent_at) &&
           object_put_known(o, "partition", s->partition) &&
           object_put_known(o, "offset", s->offset) &&
           object_put(o, "waited_s", is_discarded(s) ? json_null() : json_real(s->waited_s)) && object_put(o, "record", record_of(p)) &&
           object_put_number(o, "later_of_its_key", s->n_later) &&
           object_put_number(o, "later_of_its_key_sent", s->n_later_sent) &&
           object_put_number(o, "later_looked_at", s->n_looked) && object_put_text(o, "now", s->now);
}

/* -- both ------------------------------------------------------------------------------------ */

static void on_story(void *arg, const struct operate_story *s)
{
    struct telling *t = arg;
    struct at_place place = { .found = NOT_ASKED };

    t->code = find_record(t, s, &place);
    if (t->o->json) {
        json_t *object = json_object();
        t->failed = object == NULL || !story_to_object(object, s, &place) || !object_print(object, stdout);
        json_decref(object);
        return;
    }
    say_event(s);
    say_append(s);
    say_error(s);
    say_state(s);
    say_record(s, &place, t->o->settings.source);
    say_later(s);
}

static int tell(struct options *o, struct operate *op)
{
    struct telling t = { .o = o, .op = op };
    int64_t id = o->choice.id;
    bool found = false;
    int code = EXIT_OK;

    if (o->choice.event_id != NULL)
        code = operate_find_event(op, o->choice.event_id, &id);
    if (code == EXIT_OK && id != 0)
        code = operate_tell(op, id, on_story, &t, &found);
    if (code == EXIT_OK)
        code = t.code;
    if (code != EXIT_OK)
        return options_fail_operate(o, op, code);
    if (!found && o->choice.event_id != NULL)
        return options_fail(o, EXIT_NO_MATCH, "there is no event %s (any more)", o->choice.event_id);
    if (!found)
        return options_fail(o, EXIT_NO_MATCH, "there is no event with the number %" PRId64 " (any more)", id);
    if (t.failed)
        return options_fail(o, EXIT_INTERNAL, "out of memory");
    return options_finish_output(o);
}

int command_trace(int argc, char **argv)
{
    struct options o = { .of = OPTIONS_TRACE, .help = help };

    return options_look(&o, SETTINGS_NEED_DATABASE, argc, argv, tell);
}
