/* fate.h - the words in which core, driver and sink speak about a send. */
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
    BLAME_NONE, /* the link, or our own purge */
    BLAME_ROW,  /* the broker refused the content of a batch */
    BLAME_TOPIC /* missing, not authorised, cannot be written */
};

#endif
