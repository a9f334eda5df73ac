/* schema.h - the oldest server, and the migration of sql/, that the relay and its commands are written
 * for. An older schema is refused, a newer one only when a migration declared itself breaking. And the lock by which the
 * commands know the relays. */
#ifndef RELAY_SOURCE_SCHEMA_H
#define RELAY_SOURCE_SCHEMA_H

#define SCHEMA_VERSION 1
#define INBOX_VERSION 2 /* of the inbox, where the commands for consumers look */
#define SERVER_VERSION_MIN 130000 /* PostgreSQL 13, as server_version_num says it */

/* Of an advisory lock: "outb", and 1. */
#define SQL_CONNECTED_KEY "1869968482, 1"

#endif
