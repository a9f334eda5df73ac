-- inbox_roles.sql - optional: four roles for the inbox, and who may do what.
--
-- Purpose   inbox_owner (owns everything, for migrations), inbox_consumer (what consumers need),
--           inbox_operator (decides over dead letters: retry or discard), inbox_monitor (the views).
--           None can log in: grant them, as in GRANT inbox_consumer TO my_service. A role that
--           already exists is left as it is.
-- Locks     ACCESS EXCLUSIVE on each table and view while its owner changes (first run only); GRANT
--           takes no lock that consumers would meet. All end with the transaction.
-- Duration  Well under a second; nothing is scanned.
-- Tables    The privileges and the owner of what 002_inbox.up.sql made. Roles are shared by all
--           databases of the cluster, hence a file of its own; apart from roles.sql, because the inbox
--           lives where there is no outbox as well.
-- Needs     CREATEROLE (unless the roles exist), run by the role that ran 002 or by a superuser.
-- Retry     Safe, and safe to run again: after later migrations, and in each database.
-- Undo      As a superuser, or as who ran this, in each database:
--             GRANT inbox_consumer, inbox_operator, inbox_monitor, inbox_owner TO CURRENT_USER;
--             DROP OWNED BY inbox_consumer, inbox_operator, inbox_monitor;
--             REASSIGN OWNED BY inbox_owner TO CURRENT_USER;
--             DROP OWNED BY inbox_owner;
--           and then, once:
--             DROP ROLE inbox_consumer, inbox_operator, inbox_monitor, inbox_owner;

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

DO $roles$
DECLARE
    r record;
BEGIN
    -- Outside a transaction SET LOCAL does nothing, and the names below would be anybody's.
    IF pg_catalog.current_setting('inbox.migration', true) IS DISTINCT FROM 'begun' THEN
        RAISE EXCEPTION 'inbox: this file must run in one transaction'
            USING ERRCODE = 'no_active_sql_transaction',
                  HINT = 'With psql: psql -v ON_ERROR_STOP=1 -1 -f FILE. A tool that goes on after this error carries out what follows.';
    END IF;
    IF to_regclass('inbox.seen') IS NULL THEN
        RAISE EXCEPTION 'inbox: not installed in database "%", run 002_inbox.up.sql first', current_database()
            USING ERRCODE = 'undefined_table';
    END IF;
    FOR r IN
        SELECT * FROM (VALUES
            ('inbox_owner', 'Owns schema inbox and all in it; for migrations'),
            ('inbox_consumer', 'What a consumer of events needs'),
            ('inbox_operator', 'May send dead letters of the inbox back, or discard them'),
            ('inbox_monitor', 'May read the views of the inbox')) AS v (name, said)
         WHERE NOT EXISTS (SELECT FROM pg_roles p WHERE p.rolname = v.name)
    LOOP
        EXECUTE format('CREATE ROLE %I NOLOGIN', r.name);
        EXECUTE format('COMMENT ON ROLE %I IS %L', r.name, r.said);
    END LOOP;
EXCEPTION
    WHEN insufficient_privilege THEN
        RAISE EXCEPTION 'inbox: %', SQLERRM
            USING ERRCODE = 'insufficient_privilege',
                  HINT = 'Run this as a role with CREATEROLE that also ran the file before, or as a superuser; or have '
                         'inbox_owner, inbox_consumer, inbox_operator and inbox_monitor made first.';
END
$roles$;

-- Whoever is no superuser must be a member of the new owner to hand something over, and stays one.
DO $owner$
DECLARE
    r record;
BEGIN
    IF NOT pg_has_role('inbox_owner', 'USAGE') THEN
        EXECUTE format('GRANT inbox_owner TO %I', current_user);
    END IF;
    IF NOT EXISTS (SELECT FROM pg_namespace n WHERE n.nspname = 'inbox' AND n.nspowner = 'inbox_owner'::regrole) THEN
        ALTER SCHEMA inbox OWNER TO inbox_owner;
    END IF;
    FOR r IN
        SELECT CASE c.relkind WHEN 'v' THEN 'VIEW' ELSE 'TABLE' END AS kind, c.oid::regclass::text AS name
          FROM pg_class c
         WHERE c.relnamespace = 'inbox'::regnamespace AND c.relkind IN ('r', 'p', 'v')
           AND c.relowner <> 'inbox_owner'::regrole
        UNION ALL
        SELECT 'FUNCTION', p.oid::regprocedure::text
          FROM pg_proc p
         WHERE p.pronamespace = 'inbox'::regnamespace AND p.proowner <> 'inbox_owner'::regrole
    LOOP
        EXECUTE format('ALTER %s %s OWNER TO inbox_owner', r.kind, r.name);
    END LOOP;
EXCEPTION
    WHEN insufficient_privilege THEN
        RAISE NOTICE 'inbox: the owner stays as it is (%)', SQLERRM;
END
$owner$;

GRANT USAGE ON SCHEMA inbox TO inbox_consumer, inbox_operator, inbox_monitor;
GRANT SELECT ON inbox.schema_version TO inbox_consumer, inbox_operator, inbox_monitor;

-- Consumer: ids and dead letters come, positions move. It empties old buckets, which takes TRUNCATE of
-- the leaves and the lock of the ring.
GRANT SELECT, INSERT ON inbox.seen TO inbox_consumer;
GRANT TRUNCATE ON
    inbox.seen_0, inbox.seen_1, inbox.seen_2, inbox.seen_3,
    inbox.seen_4, inbox.seen_5, inbox.seen_6, inbox.seen_7 TO inbox_consumer;
GRANT SELECT, UPDATE ON inbox.ring TO inbox_consumer;
GRANT SELECT, INSERT, UPDATE ON inbox.position, inbox.consumer TO inbox_consumer;
GRANT SELECT, INSERT, UPDATE, DELETE ON inbox.dead, inbox.attempt TO inbox_consumer;
GRANT EXECUTE ON FUNCTION
    inbox.known(text, text[]), inbox.accept_many(text, text[]), inbox.accept(text, text),
    inbox.claim(text, text, integer, text),
    inbox.finish(text, text, text[], text[], integer[], bigint[], bigint[], bigint[], integer), inbox.turn() TO inbox_consumer;

-- Operator: what becomes of a dead letter, and not what is in it: no key, payload or headers.
GRANT SELECT (id, consumer, topic, kafka_partition, kafka_offset, event_id, type, recorded_at, state, reason,
              attempts, error_code, error, first_error_at, died_at, changed_at, discard_reason,
              called_by),
      UPDATE (state, changed_at, discard_reason, called_by) ON inbox.dead TO inbox_operator;

-- Monitor: the views, and no business data. Who decides must look first.
GRANT SELECT ON inbox.dead_letter, inbox.failing, inbox.progress TO inbox_monitor, inbox_operator, inbox_consumer;
GRANT SELECT ON inbox.position, inbox.attempt, inbox.ring, inbox.consumer TO inbox_monitor, inbox_operator;

-- For what a tool does after this in the same transaction.
DO $path$
BEGIN
    PERFORM pg_catalog.set_config('search_path', pg_catalog.current_setting('inbox.search_path'), true);
END
$path$;
