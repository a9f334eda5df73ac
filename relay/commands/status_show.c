/* status_show.c - see status_show.h: as one JSON object, or in words and tables. */
#include "relay/commands/status_show.h"

#include <inttypes.h>
#include <stdio.h>

#include "relay/affix.h"
#include "relay/commands/cells.h"
#include "relay/commands/object.h"
#include "relay/exit_codes.h"

#define WIDE 60

static void topic_to_list(struct look *l, const struct operate_topic *t)
{
    json_t *object = json_object();

    if (!object_append(l->topic_list, object,
                       object != NULL && object_put_text(object, "topic", t->topic) &&
                           object_put_number(object, "pending", t->pending) &&
                           object_put(object, "more", json_boolean(t->more)) &&
                           object_put_number(object, "held", t->held) &&
                           object_put_number(object, "dead", t->dead) &&
                           object_put_seconds(object, "oldest_s", t->oldest_s) &&
                           object_put_text(object, "paused_code", t->paused_code) &&
                           object_put_text(object, "paused_why", t->paused_why)))
        l->failed = true;
}

static void topic_to_table(struct look *l, const struct operate_topic *t)
{
    static const char *const heads[] = { "TOPIC", "PENDING", "HELD", "DEAD", "OLDEST", "PAUSED BECAUSE" };
    FILE *cell;

    table_heads(&l->topics, heads, sizeof heads / sizeof heads[0]);
    table_add_text(&l->topics, t->topic, WIDE);
    cell = table_open(&l->topics);
    if (cell != NULL)
        fprintf(cell, "%" PRId64 "%s", t->pending, t->more ? "+" : "");
    table_close(&l->topics);
    table_add_number(&l->topics, t->held);
    table_add_number(&l->topics, t->dead);
    cell_age(&l->topics, t->oldest_s);
    table_add_text(&l->topics, t->paused_why != NULL ? t->paused_why : t->paused_code, WIDE);
}

void status_add_topic(struct look *l, const struct operate_topic *t)
{
    if (l->topic_list != NULL)
        topic_to_list(l, t);
    else
        topic_to_table(l, t);
}

static void blocker_to_list(struct look *l, const struct operate_blocker *b)
{
    json_t *object = json_object();

    if (!object_append(l->blocker_list, object,
                       object != NULL && object_put_number(object, "pid", b->pid) &&
                           object_put_text(object, "prepared", b->prepared) &&
                           object_put_text(object, "application", b->application) &&
                           object_put_text(object, "username", b->username) &&
                           object_put_seconds(object, "age_s", b->age_s) &&
                           object_put(object, "holds_rows", json_boolean(b->holds_rows)) &&
                           object_put(object, "holds_truncate", json_boolean(b->holds_truncate)) &&
                           object_put_text(object, "leaves", b->leaves)))
        l->failed = true;
}

static void blocker_to_table(struct look *l, const struct operate_blocker *b)
{
    static const char *const heads[] = { "PID", "APPLICATION", "USER", "OPEN FOR", "HOLDS" };
    struct table *t = &l->blockers;

    table_heads(t, heads, sizeof heads / sizeof heads[0]);
    if (b->pid != 0)
        table_add_number(t, b->pid);
    else
        table_add_text(t, b->prepared, WIDE);
    table_add_text(t, b->application, WIDE);
    table_add_text(t, b->username, WIDE);
    cell_age(t, b->age_s);
    table_add(t, b->holds_marks                      ? "the marks of all"
              : b->holds_rows && b->holds_truncate ? "its events, and a bucket"
              : b->holds_rows                       ? "its events"
                                                    : "a bucket");
}

void status_add_blocker(struct look *l, const struct operate_blocker *b)
{
    if (l->blocker_list != NULL)
        blocker_to_list(l, b);
    else
        blocker_to_table(l, b);
}

static const char *level_of(const struct look *l)
{
    return verdict_level_name(l->verdict.level);
}

static json_t *findings_of(const struct look *l)
{
    json_t *list = json_array();

    for (uint32_t i = 0; list != NULL && i < l->verdict.n_findings; i++) {
        const struct verdict_finding *f = &l->verdict.finding[i];
        json_t *object = json_object();
        if (!object_append(list, object,
                           object != NULL &&
                               object_put_text(object, "level", verdict_level_name(f->level)) &&
                               object_put_text(object, "text", f->text) &&
                               object_put_text(object, "remedy", f->remedy))) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

static json_t *lead_of(const struct look *l)
{
    const struct operate_lead *lead = &l->lead;
    json_t *object = json_object();

    if (!l->looked || object == NULL) {
        json_decref(object);
        return l->looked ? NULL : json_null();
    }
    if (object_put_text(object, "owner", l->in.leader) &&
        object_put(object, "lease_left_s", l->in.leader != NULL ? json_real(lead->left_s) : json_null()) &&
        object_put_seconds(object, "renewed_s", lead->renewed_s) &&
        object_put_seconds(object, "leading_s", lead->leading_s) &&
        object_put_number(object, "epoch", lead->epoch) &&
        object_put_seconds(object, "rate", lead->rate) &&
        object_put_seconds(object, "last_mark_s", lead->since_mark_s) &&
        object_put(object, "server_is_standby", json_boolean(lead->is_standby)))
        return object;
    json_decref(object);
    return NULL;
}

static json_t *place_of(const struct look *l)
{
    json_t *object = json_object();

    if (object != NULL && object_put_text(object, "dbname", l->place.dbname) &&
        object_put_text(object, "host", l->place.host) && object_put_text(object, "port", l->place.port) &&
        object_put_text(object, "user", l->place.user))
        return object;
    json_decref(object);
    return NULL;
}

static json_t *fact(enum verdict_fact f)
{
    return f == FACT_UNKNOWN ? json_null() : json_boolean(f == FACT_YES);
}

static void print_object(struct look *l)
{
    json_t *object = json_object();

    if (object == NULL ||
        !object_put(object, "flowing", l->code != EXIT_OK ? json_null() : json_boolean(l->verdict.level != VERDICT_BAD)) ||
        !object_put_text(object, "level", level_of(l)) ||
        !object_put_text(object, "verdict", l->verdict.text) ||
        !object_put(object, "findings", findings_of(l)) || !object_put(object, "lead", lead_of(l)) ||
        !object_put(object, "relays", l->looked && !l->lead.is_standby ? relays_list(&l->relays) : json_null()) ||
        !object_put(object, "database_up", fact(l->code == EXIT_OK || l->code == EXIT_UNAVAILABLE ? l->in.db_up : FACT_UNKNOWN)) ||
        !object_put_text(object, "database_error", l->in.db_error) ||
        !object_put(object, "database", place_of(l)) ||
        !object_put(object, "kafka_up", fact(l->in.kafka_up)) ||
        !object_put_text(object, "kafka_error", l->in.kafka_up == FACT_NO ? l->kafka_error : l->in.kafka_misset) ||
        !object_put(object, "space", l->looked ? space_object(&l->space) : json_null()) ||
        !object_put(object, "topics", json_incref(l->topic_list)) ||
        !object_put(object, "blockers", json_incref(l->blocker_list)) || !object_print(object, stdout))
        l->failed = true;
    json_decref(object);
}

/* A standby server has no relays, and does not know those of its primary. */
static void print_relays(const struct look *l)
{
    const struct relays *r = &l->relays;
    int others = r->n - r->n_leading;
    bool nobody_leads = l->in.leader == NULL || l->lead.ended;
    char from[500];

    if (l->lead.is_standby)
        return;
    if (others == 0)
        puts(nobody_leads ? "relays  none is connected" : "standby none");
    else if (nobody_leads)
        printf("relays  %d connected%s\n", others, relays_from(r, false, from, sizeof from));
    else
        printf("standby %d relay%s%s\n", others, plural(others), relays_from(r, false, from, sizeof from));
}

static void print_lead(const struct look *l)
{
    const struct operate_lead *lead = &l->lead;
    char age[32], count[32];

    fputs("lead    ", stdout);
    if (l->in.leader == NULL) {
        puts("nobody");
    } else {
        text_put(stdout, l->owner, WIDE);
        if (lead->ended)
            printf(", until %s ago", verdict_age(-lead->left_s, age, sizeof age));
        else
            printf(", for another %s", verdict_age(lead->left_s, age, sizeof age));
        fputs(" (", stdout);
        if (!lead->ended && lead->leading_s >= 0)
            printf("leads for %s, ", verdict_age(lead->leading_s, age, sizeof age));
        printf("last heard of %s ago, epoch %" PRId64 ")\n",
               verdict_age(lead->renewed_s, age, sizeof age), lead->epoch);
    }
    print_relays(l);
    printf("marks   %s a second", verdict_rate(lead->rate, count, sizeof count));
    if (lead->since_mark_s >= 0)
        printf(", the last %s ago", verdict_age(lead->since_mark_s, age, sizeof age));
    putchar('\n');
    if (lead->is_standby)
        puts("server  a standby: this may lag behind, and no relay can work here");
}

static void print_place(const struct look *l)
{
    if (l->place_words[0] == '\0')
        return;
    fputs("dsn     ", stdout);
    text_put(stdout, l->place_words, sizeof l->place_words);
    putchar('\n');
}

static void print_space(const struct look *l)
{
    char words[600];

    fputs("size    ", stdout);
    text_put(stdout, space_words(&l->space, words, sizeof words), sizeof words);
    putchar('\n');
}

static void print_kafka(const struct look *l)
{
    if (l->in.kafka_misset != NULL) {
        fputs("kafka   not asked: ", stdout);
        text_put(stdout, l->kafka_error, sizeof l->kafka_error);
        putchar('\n');
    } else if (l->in.kafka_up == FACT_UNKNOWN) {
        puts("kafka   not asked: kafka.bootstrap.servers is not set");
    } else if (l->in.kafka_up == FACT_YES) {
        printf("kafka   %d broker%s, asked by this command\n", l->brokers, plural(l->brokers));
    } else {
        fputs("kafka   no answer to this command: ", stdout);
        text_put(stdout, l->kafka_error, sizeof l->kafka_error);
        putchar('\n');
    }
}

static void print_table(struct look *l, const struct table *t)
{
    if (t->n_cells == 0)
        return;
    putchar('\n');
    if (!table_print(t, stdout))
        l->failed = true;
}

static void print_words(struct look *l)
{
    text_put(stdout, l->verdict.text, sizeof l->verdict.text);
    fputs("\n\n", stdout);
    print_place(l);
    if (l->looked)
        print_lead(l);
    print_kafka(l);
    if (l->looked)
        print_space(l);
    print_table(l, &l->topics);
    print_table(l, &l->blockers);
    for (uint32_t i = 0; i < l->verdict.n_findings; i++) {
        const struct verdict_finding *f = &l->verdict.finding[i];
        printf("%s%-5s", i == 0 ? "\n" : "", verdict_level_name(f->level));
        text_put(stdout, f->text, sizeof f->text);
        printf("\n     %s\n", f->remedy);
    }
}

void status_print(struct look *l)
{
    if (l->topic_list != NULL)
        print_object(l);
    else
        print_words(l);
}
