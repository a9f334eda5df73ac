-- migrate:down
--
-- 001_outbox.down.sql - take the outbox away: drops exactly what 001_outbox.up.sql made.
--
-- Purpose   Undo of 001. Refuses, and changes nothing, while events exist that are unsent, held or
--           dead: they would be lost. Then also while a relay is connected.
-- Locks     ACCESS EXCLUSIVE on outbox.event and then on all that is dropped, to the end of the
--           transaction. Appends wait meanwhile, so end the writers and the relay first.
-- Duration  The search for unsent events reads event and sent once, before the lock (seconds per
--           million rows); the rest takes well under a second.
-- Tables    All of schema outbox that 001 made. The schema goes too if nothing else is in it and
--           this role could make it again. Roles stay; roles.sql says how to drop them.
-- Retry     Safe. "lock timeout": a transaction uses a table of the outbox; see outbox.blocker, then again.
-- Run       In one transaction, as the up file.

SET LOCAL lock_timeout = '2s';
SET LOCAL statement_timeout = '15min';

-- Names in this file are PostgreSQL's, whatever others have put into a schema of the search_path: a function
-- whose arguments fit better would be called, with the rights of who runs this. Put back at the end.
SET LOCAL outbox.migration = 'begun';
DO $path$
BEGIN
    PERFORM pg_catalog.set_config('outbox.search_path', pg_catalog.current_setting('search_path'), true);
END
$path$;
SET LOCAL search_path = pg_catalog, pg_temp;

-- One block: what is refused stays whole, also where a tool goes on after an error.
DO $down$
DECLARE
    seen   pg_snapshot;
    unsent bigint;
    held   bigint;
    dead   bigint;
    more   bigint;
    relays text;
BEGIN
    -- Outside a transaction SET LOCAL does nothing: no lock would time out, and the names below would be anybody's.
    IF pg_catalog.current_setting('outbox.migration', true) IS DISTINCT FROM 'begun' THEN
        RAISE EXCEPTION 'outbox: this file must run in one transaction, nothing was changed'
            USING ERRCODE = 'no_active_sql_transaction', HINT = 'With psql: psql -v ON_ERROR_STOP=1 -1 -f FILE';
    END IF;
    IF to_regclass('outbox.event') IS NULL THEN
        RAISE EXCEPTION 'outbox: not installed in database "%", nothing was changed', current_database()
            USING ERRCODE = 'undefined_table';
    END IF;
    -- With an older snapshot the look below the lock would not see what was committed before it.
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'outbox: this file must run with isolation level read committed, nothing was changed'
            USING ERRCODE = 'active_sql_transaction';
    END IF;
    IF EXISTS (SELECT FROM outbox.schema_version WHERE version > 1) THEN
        RAISE EXCEPTION 'outbox: a later migration is installed, nothing was changed'
            USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'Run the down files from the highest number.';
    END IF;

    SELECT pg_current_snapshot(), count(*) FILTER (WHERE h.id IS NULL),
           count(*) FILTER (WHERE h.state NOT IN ('dead', 'discarded')), count(*) FILTER (WHERE h.state = 'dead')
      INTO seen, unsent, held, dead
      FROM outbox.event e
      LEFT JOIN outbox.held h ON h.id = e.id
     WHERE NOT EXISTS (SELECT FROM outbox.sent s WHERE s.bucket = e.bucket AND s.id = e.id);

    -- Each relay that is connected holds this lock, "outb" and 1. It would be in the way of the locks below, and they in its.
    IF unsent + held + dead = 0 THEN
        SELECT string_agg(l.pid::text, ', ' ORDER BY l.pid) INTO relays FROM pg_locks l
         WHERE l.locktype = 'advisory' AND l.objsubid = 2 AND l.classid = 1869968482 AND l.objid = 1
           AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database());
        IF relays IS NOT NULL THEN
            RAISE EXCEPTION 'outbox: a relay is connected (pid %), nothing was changed', relays
                USING ERRCODE = 'object_in_use',
                      HINT = 'End all relays of this database, also those that stand by, then run this file again. Where '
                             'one is gone and only its connection is left: SELECT pg_terminate_backend(PID);';
        END IF;
    END IF;

    -- What was committed between the count and the lock. Events of another cluster, after a restore, are looked at
    -- again: those that a person has given up must not count here either.
    IF unsent + held + dead = 0 THEN
        LOCK TABLE outbox.event IN ACCESS EXCLUSIVE MODE;
        -- Who has another table in use and now waits for this one would make a deadlock of it: less than deadlock_timeout.
        PERFORM set_config('lock_timeout', '500ms', true);
        SELECT count(*) INTO more FROM outbox.event e
         WHERE (e.xid >= pg_snapshot_xmax(seen) OR e.xid = ANY (ARRAY(SELECT pg_snapshot_xip(seen))))
           AND NOT EXISTS (SELECT FROM outbox.sent s WHERE s.bucket = e.bucket AND s.id = e.id)
           AND NOT EXISTS (SELECT FROM outbox.held h WHERE h.id = e.id AND h.state = 'discarded');
        unsent := unsent + more;
    END IF;

    IF unsent + held + dead > 0 THEN
        RAISE EXCEPTION 'outbox: % unsent, % held and % dead events would be lost, nothing was changed',
            unsent, held, dead
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = concat_ws(' ',
                         CASE WHEN unsent > 0 THEN 'Unsent ones: stop the writers; outbox-relay --once publishes what is '
                                                   'left.' END,
                         CASE WHEN held > 0 THEN 'Held ones: a relay sends them when they are due and their topic takes '
                                                 'them; outbox-relay dead --all-states says why they wait; outbox-relay '
                                                 'discard --all --retrying --paused --reason ''no longer needed'' gives '
                                                 'them and the dead ones up.' END,
                         CASE WHEN dead > 0 THEN 'Dead ones: outbox-relay retry --all sends them again, outbox-relay '
                                                 'discard --all --reason ''no longer needed'' gives them up.' END,
                         'What stays is in outbox.event_status with its state. To give all of it up: '
                         'TRUNCATE outbox.event, outbox.sent, outbox.held; then run this file again.');
    END IF;

    DROP VIEW outbox.blocker;
    DROP VIEW outbox.backlog;
    DROP VIEW outbox.event_status;
    DROP FUNCTION outbox.backlog_now();
    DROP FUNCTION outbox.empty_bucket(smallint, bigint, interval, pg_snapshot, bigint[]);
    DROP FUNCTION outbox.set_bucket_period(interval);
    DROP FUNCTION outbox.append_json(text, text, text, jsonb, jsonb, integer, text, uuid, timestamptz);
    DROP PROCEDURE outbox.append_event(text, bytea, text, integer, text, bytea, json, uuid, timestamptz);
    DROP FUNCTION outbox.append(text, bytea, text, bytea, jsonb, integer, text, uuid, timestamptz);
    DROP TABLE outbox.relay;
    DROP TABLE outbox.held;
    DROP TABLE outbox.sent;
    DROP TABLE outbox.event;
    DROP FUNCTION outbox.event_is_sound(integer, text, bytea, text, text, bytea, json);
    DROP TABLE outbox.schema_version;

    BEGIN
        IF has_database_privilege(current_database(), 'CREATE') THEN
            DROP SCHEMA outbox;
        ELSE
            RAISE NOTICE 'outbox: schema "outbox" is kept, this role could not make it again';
        END IF;
    EXCEPTION
        WHEN dependent_objects_still_exist THEN
            RAISE NOTICE 'outbox: schema "outbox" is kept, something else is in it';
        WHEN insufficient_privilege THEN
            RAISE NOTICE 'outbox: schema "outbox" is kept, it belongs to another role';
    END;
END
$down$;

-- For what a tool does after this in the same transaction.
DO $path$
BEGIN
    PERFORM pg_catalog.set_config('search_path', pg_catalog.current_setting('outbox.search_path'), true);
END
$path$;
