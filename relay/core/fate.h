/* fate.h - the words in which core, driver, source and sink speak about a row. */
#ifndef RELAY_CORE_FATE_H
#define RELAY_CORE_FATE_H

enum lane {
    LANE_MAIN, /* pipelined; the first refusal stops it exactly */
    LANE_SOLO, /* one record per batch: what is refused here is refused for itself */
    N_LANES
};

/* What became of a send. */
enum outcome {
    OUTCOME_PERSISTED,
    OUTCOME_NOT_PERSISTED, /* certainly not in the log */
    OUTCOME_MAYBE          /* may be in the log */
};

/* And who is to blame when it is not persisted. */
enum blame {
    BLAME_NONE,     /* the link, a producer that is broken, or our own purge */
    BLAME_PRODUCER, /* the broker refused a batch for what it knows of the producer */
    BLAME_ROW,      /* the broker refused the content of a batch */
    BLAME_TOPIC     /* missing, not authorised, cannot be written */
};

/* Where a row that was read comes from: the outbox, or outbox.held, by what it waited for there. */
enum held_as {
    HELD_NOT,
    HELD_KEY,   /* retrying or blocked: its turn, with its key's other rows behind it */
    HELD_TOPIC, /* paused: its topic's */
    HELD_TIME   /* scheduled: its own time */
};

/* What a row is put into outbox.held as. */
enum hold_state {
    HOLD_RETRYING, /* refused for itself; goes again after a pause */
    HOLD_BLOCKED,  /* behind an earlier row of its key */
    HOLD_PAUSED,   /* its topic takes nothing */
    HOLD_SCHEDULED,
    HOLD_DEAD      /* its attempts are used up, or none makes sense */
};

#endif
