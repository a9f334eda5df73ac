-- migrate:down
--
-- 002_inbox.down.sql - take the inbox away: drops exactly what 002_inbox.up.sql made.
--
-- Purpose   Undo of 002. Refuses, and changes nothing, while dead letters wait for a decision: they
--           would be lost; and while consumers are connected, or have partitions. What is known of
--           applied events goes: consumers that are installed anew begin where Kafka has their group,
--           and apply again what comes again.
-- Locks     ACCESS EXCLUSIVE on all tables of the inbox, to the end of the transaction. End the
--           consumers first.
-- Duration  Well under a second.
-- Tables    All of schema inbox that 002 made. The schema goes too if nothing else is in it and this
--           role could make it again. Roles stay; inbox_roles.sql says how to drop them.
-- Retry     Safe. "lock timeout": a transaction uses the inbox; end it, then again.
-- Run       In one transaction, as the up file.

SET LOCAL lock_timeout = '2s';
SET LOCAL statement_timeout = '60s';

-- Names in this file are PostgreSQL's, whatever others have put into a schema of the search_path: a function
-- whose arguments fit better would be called, with the rights of who runs this. Put back at the end.
SET LOCAL inbox.migration = 'begun';
DO $path$
BEGIN
    PERFORM pg_catalog.set_config('inbox.search_path', pg_catalog.current_setting('search_path'), true);
END
$path$;
SET LOCAL search_path = pg_catalog, pg_temp;

-- One block: what is refused stays whole, also where a tool goes on after an error.
DO $down$
DECLARE
    n_dead  bigint;
    busy    text;
BEGIN
    -- Outside a transaction SET LOCAL does nothing: no lock would time out, and the names below would be anybody's.
    IF pg_catalog.current_setting('inbox.migration', true) IS DISTINCT FROM 'begun' THEN
        RAISE EXCEPTION 'inbox: this file must run in one transaction, nothing was changed'
            USING ERRCODE = 'no_active_sql_transaction', HINT = 'With psql: psql -v ON_ERROR_STOP=1 -1 -f FILE';
    END IF;
    IF to_regclass('inbox.seen') IS NULL THEN
        RAISE EXCEPTION 'inbox: not installed in database "%", nothing was changed', current_database()
            USING ERRCODE = 'undefined_table';
    END IF;
    -- With an older snapshot the look below the lock would not see what was committed before it.
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'inbox: this file must run with isolation level read committed, nothing was changed'
            USING ERRCODE = 'active_sql_transaction';
    END IF;
    IF EXISTS (SELECT FROM inbox.schema_version WHERE version > 2) THEN
        RAISE EXCEPTION 'inbox: a later migration is installed, nothing was changed'
            USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'Run the down files from the highest number.';
    END IF;
    LOCK TABLE inbox.ring, inbox.seen, inbox.position, inbox.dead IN ACCESS EXCLUSIVE MODE;
    SELECT count(*) INTO n_dead FROM inbox.dead WHERE state <> 'discarded';
    IF n_dead > 0 THEN
        RAISE EXCEPTION 'inbox: % dead letter% would be lost, nothing was changed',
            n_dead, CASE WHEN n_dead = 1 THEN '' ELSE 's' END
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = 'See inbox.dead_letter. Retry or discard them, or give all of them up: TRUNCATE inbox.dead;';
    END IF;
    -- A consumer that runs has partitions, or a session of this name, unless its dsn names that otherwise.
    SELECT string_agg(format('"%s" (%s)', b.name, concat_ws(', ', 'session ' || b.pids, 'partitions of ' || b.owners)),
                      ', ' ORDER BY b.name) INTO busy
      FROM (SELECT n.name,
                   (SELECT string_agg(a.pid::text, ' ' ORDER BY a.pid) FROM pg_stat_activity a
                     WHERE a.datname = current_database() AND a.application_name = left('inbox ' || n.name, 63)
                       AND a.pid <> pg_backend_pid()) AS pids,
                   (SELECT string_agg(DISTINCT p.owner, ', ') FROM inbox.position p WHERE p.consumer = n.name) AS owners
              FROM (SELECT c.name FROM inbox.consumer c UNION SELECT p.consumer FROM inbox.position p) n) b
     WHERE b.pids IS NOT NULL OR b.owners IS NOT NULL;
    IF busy IS NOT NULL THEN
        RAISE EXCEPTION 'inbox: consumers are at work, nothing was changed: %', busy
            USING ERRCODE = 'object_in_use',
                  HINT = 'End their processes, then again. One that was killed still has its partitions: UPDATE inbox.position SET owner = NULL;';
    END IF;

    DROP VIEW inbox.progress;
    DROP VIEW inbox.failing;
    DROP VIEW inbox.dead_letter;
    DROP FUNCTION inbox.turn();
    DROP FUNCTION inbox.finish(text, text, text[], text[], integer[], bigint[], bigint[], bigint[], integer);
    DROP FUNCTION inbox.claim(text, text, integer, text);
    DROP FUNCTION inbox.accept(text, text);
    DROP FUNCTION inbox.accept_many(text, text[]);
    DROP FUNCTION inbox.known(text, text[]);
    DROP TABLE inbox.dead;
    DROP TABLE inbox.attempt;
    DROP TABLE inbox.position;
    DROP TABLE inbox.ring;
    DROP TABLE inbox.seen;
    DROP TABLE inbox.consumer;
    DROP TABLE inbox.schema_version;

    BEGIN
        IF has_database_privilege(current_database(), 'CREATE') THEN
            DROP SCHEMA inbox;
        ELSE
            RAISE NOTICE 'inbox: schema "inbox" is kept, this role could not make it again';
        END IF;
    EXCEPTION
        WHEN dependent_objects_still_exist THEN
            RAISE NOTICE 'inbox: schema "inbox" is kept, something else is in it';
        WHEN insufficient_privilege THEN
            RAISE NOTICE 'inbox: schema "inbox" is kept, it belongs to another role';
    END;
END
$down$;

-- For what a tool does after this in the same transaction.
DO $path$
BEGIN
    PERFORM pg_catalog.set_config('search_path', pg_catalog.current_setting('inbox.search_path'), true);
END
$path$;
