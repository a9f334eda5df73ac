/* sequence_sql.h - where the sequence of the ids stands: for relay and commands. */
#ifndef RELAY_SOURCE_SEQUENCE_SQL_H
#define RELAY_SOURCE_SEQUENCE_SQL_H

/* For `from`; last_value is NULL when nothing was drawn, or the role may not see it. */
#define SQL_SEQUENCE                                                                               \
    "pg_catalog.pg_sequences s where format('%I.%I', s.schemaname, s.sequencename) = "             \
    "pg_get_serial_sequence('outbox.event', 'id')"
#define SQL_SEQUENCE_IS_SEEN "has_sequence_privilege(pg_get_serial_sequence('outbox.event', 'id'), 'SELECT')"

#endif
