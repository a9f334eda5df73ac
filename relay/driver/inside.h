/* inside.h - the running relay from inside: what the files of driver/ share. Used inside driver/ only.
 *
 * driver.c is the loop. open.c makes what it drives from the settings. rows.c and events.c tell the core what
 * the source has brought, actions.c and produce.c do what the core wants and tell it what Kafka says.
 */
#ifndef RELAY_DRIVER_INSIDE_H
#define RELAY_DRIVER_INSIDE_H

#include "lib/shared/restraint.h"
#include "relay/core/core.h"
#include "relay/driver/driver.h"
#include "relay/incidents.h"
#include "relay/janitor.h"
#include "relay/log.h"
#include "relay/monitor.h"
#include "relay/notify.h"
#include "relay/sink/envelope.h"
#include "relay/sink/sink.h"
#include "relay/source/source.h"
#include "relay/takeover.h"

struct slot {
    struct row *row;
    int64_t offset;
    int32_t partition;
    struct reason reason; /* why the row was last refused */
};

struct driver {
    struct core core;
    struct source *source;
    struct sink *sink;
    struct slot *slot; /* by the core's slot */
    struct source_mark *marks;
    struct source_hold *holds;
    struct sink_property *properties;
    struct takeover takeover;
    struct incidents incidents;
    struct janitor janitor;
    struct monitor *monitor;
    struct envelope envelope;
    struct envelope_buf envelope_buf;
    struct notify notify;
    struct settings *settings;
    const struct settings_from *from; /* NULL: they are not loaded again */
    uint64_t now_ms;
    bool once;
    bool left; /* once: events are held at the end, and not only for their time */
    struct restraint stalled; /* of what is said of rows that stand still, */
    bool stalled_any;         /* as it was said last: does a broker answer? */
    bool led; /* the role that was last logged, */
    bool robbed; /* and since then the database has said that the lease is another's */
    bool gave_up; /* rows that could not be held: logged */
    char leader[160]; /* the other relay that leads, as the last answer about the lease says; "": none, or not known */
    int exit_code; /* of a run that ends by itself; negative: none yet */
    struct log_line why; /* it does; "": nothing was logged */
    uint64_t n_read, n_confirmed, n_marked, n_failed, n_held, n_swept;
    char owner[SETTINGS_OWNER_MAX + 1];
};

/* -- driver.c. It cannot go on: what is out comes home, the lease is given back where the database lets it, within
 * seconds. The first code counts. */
void driver_end(struct driver *d, int exit_code);

/* -- open.c. Makes all there is, in a driver of zeroes: EXIT_OK, or an exit code, and it is logged. What there is
 * by then is closed by driver_close all the same. */
int driver_open(struct driver *d, const struct settings *set);
void driver_close(struct driver *d, uint32_t n_slots);
struct core_config driver_core_settings(const struct settings *set, bool once);

/* -- rows.c. A page was read: its rows go to the core, or wait for the ends of their topics (takeover.h). */
void driver_page(struct driver *d, const struct source_event *e, enum takeover_from from);
/* One that has waited, or need not. */
void driver_use_page(struct driver *d, const struct takeover_page *page);
/* A piece of what a new leader must know of outbox.held. */
void driver_held_keys(struct driver *d, const struct source_event *e);

/* -- events.c */
void driver_on_event(struct driver *d, const struct source_event *e);

/* -- actions.c */
void driver_do(struct driver *d, const struct core_action *a);
/* Last of those who ask on the aside: it can wait. */
void driver_do_janitor(struct driver *d);

/* -- produce.c */
void driver_produce(struct driver *d, uint32_t slot, enum lane lane);
/* Whom the sink tells what becomes of the records. */
void driver_hears(struct driver *d, struct sink_config *cfg, bool statistics);

#endif
