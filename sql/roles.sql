-- roles.sql - optional: four roles for the outbox, and who may do what.
--
-- Purpose   outbox_owner (owns everything, for migrations), outbox_writer (append, nothing else),
--           outbox_relay (for outbox-relay), outbox_monitor (the views). None can log in: grant them,
--           as in GRANT outbox_writer TO my_service. A role that already exists is left as it is.
-- Locks     ACCESS EXCLUSIVE on each table and view while its owner changes (first run only); GRANT
--           takes no lock that appends or the relay would meet. All end with the transaction.
-- Duration  Well under a second; nothing is scanned.
-- Tables    The privileges and the owner of what 001_outbox.up.sql made. Roles are shared by all
--           databases of the cluster, hence a file of its own.
-- Needs     CREATEROLE (unless the roles exist), run by the role that ran 001 or by a superuser. It warns when it
--           cannot grant pg_read_all_stats, with which the age of others' transactions is seen: before PostgreSQL 16
--           CREATEROLE is enough for that, later it needs a superuser, or who has ADMIN OPTION on that role.
-- Retry     Safe, and safe to run again: after later migrations, and in each database.
-- Undo      As a superuser, or as who ran this, in each database:
--             GRANT outbox_writer, outbox_relay, outbox_monitor, outbox_owner TO CURRENT_USER;
--             DROP OWNED BY outbox_writer, outbox_relay, outbox_monitor;
--             REASSIGN OWNED BY outbox_owner TO CURRENT_USER;
--             DROP OWNED BY outbox_owner;
--           and then, once:
--             DROP ROLE outbox_writer, outbox_relay, outbox_monitor, outbox_owner;

SET LOCAL lock_timeout = '2s';
SET LOCAL statement_timeout = '60s';

-- Names in this file are PostgreSQL's, whatever others have put into a schema of the search_path: a function
-- whose arguments fit better would be called, with the rights of who runs this. Put back at the end.
SET LOCAL outbox.migration = 'begun';
DO $path$
BEGIN
    PERFORM pg_catalog.set_config('outbox.search_path', pg_catalog.current_setting('search_path'), true);
END
$path$;
SET LOCAL search_path = pg_catalog, pg_temp;

DO $roles$
DECLARE
    r record;
BEGIN
    -- Outside a transaction SET LOCAL does nothing, and the names below would be anybody's.
    IF pg_catalog.current_setting('outbox.migration', true) IS DISTINCT FROM 'begun' THEN
        RAISE EXCEPTION 'outbox: this file must run in one transaction'
            USING ERRCODE = 'no_active_sql_transaction',
                  HINT = 'With psql: psql -v ON_ERROR_STOP=1 -1 -f FILE. A tool that goes on after this error carries out what follows.';
    END IF;
    IF to_regclass('outbox.event') IS NULL THEN
        RAISE EXCEPTION 'outbox: not installed in database "%", run 001_outbox.up.sql first', current_database()
            USING ERRCODE = 'undefined_table';
    END IF;
    FOR r IN
        SELECT * FROM (VALUES
            ('outbox_owner', 'Owns schema outbox and all in it; for migrations'),
            ('outbox_writer', 'May append to the outbox: no reading, no changing'),
            ('outbox_relay', 'What outbox-relay needs'),
            ('outbox_monitor', 'May read the views of the outbox')) AS v (name, said)
         WHERE NOT EXISTS (SELECT FROM pg_roles p WHERE p.rolname = v.name)
    LOOP
        EXECUTE format('CREATE ROLE %I NOLOGIN', r.name);
        EXECUTE format('COMMENT ON ROLE %I IS %L', r.name, r.said);
    END LOOP;
EXCEPTION
    WHEN insufficient_privilege THEN
        RAISE EXCEPTION 'outbox: %', SQLERRM
            USING ERRCODE = 'insufficient_privilege',
                  HINT = 'Run this as a role with CREATEROLE that also ran the file before, or as a superuser; or have '
                         'outbox_owner, outbox_writer, outbox_relay and outbox_monitor made first.';
END
$roles$;

-- Whoever is no superuser must be a member of the new owner to hand something over, and stays one,
-- so that it can run later migrations.
DO $owner$
DECLARE
    r record;
BEGIN
    IF NOT pg_has_role('outbox_owner', 'USAGE') THEN
        EXECUTE format('GRANT outbox_owner TO %I', current_user);
    END IF;
    IF NOT EXISTS (SELECT FROM pg_namespace n WHERE n.nspname = 'outbox' AND n.nspowner = 'outbox_owner'::regrole) THEN
        ALTER SCHEMA outbox OWNER TO outbox_owner;
    END IF;
    FOR r IN
        SELECT CASE c.relkind WHEN 'v' THEN 'VIEW' ELSE 'TABLE' END AS kind, c.oid::regclass::text AS name
          FROM pg_class c
         WHERE c.relnamespace = 'outbox'::regnamespace AND c.relkind IN ('r', 'p', 'v')
           AND c.relowner <> 'outbox_owner'::regrole
        UNION ALL
        SELECT 'ROUTINE', p.oid::regprocedure::text
          FROM pg_proc p
         WHERE p.pronamespace = 'outbox'::regnamespace AND p.proowner <> 'outbox_owner'::regrole
    LOOP
        EXECUTE format('ALTER %s %s OWNER TO outbox_owner', r.kind, r.name);
    END LOOP;
EXCEPTION
    WHEN insufficient_privilege THEN
        RAISE NOTICE 'outbox: the owner stays as it is (%)', SQLERRM;
END
$owner$;

GRANT USAGE ON SCHEMA outbox TO outbox_writer, outbox_relay, outbox_monitor;
GRANT SELECT ON outbox.schema_version TO outbox_writer, outbox_relay, outbox_monitor;

-- Writer: the public columns only. bucket, id, xid and created_at are the database's.
GRANT INSERT (topic, key, type, schema_version, content_type, payload, headers, event_id, available_at)
    ON outbox.event TO outbox_writer;
GRANT EXECUTE ON FUNCTION
    outbox.append(text, bytea, text, bytea, jsonb, integer, text, uuid, timestamptz),
    outbox.append_json(text, text, text, jsonb, jsonb, integer, text, uuid, timestamptz) TO outbox_writer;
GRANT EXECUTE ON PROCEDURE
    outbox.append_event(text, bytea, text, integer, text, bytea, json, uuid, timestamptz) TO outbox_writer;

-- Relay: reads events and marks them. It empties a bucket by moving what is held to event_kept and
-- truncating both leaves; TRUNCATE also allows the lock that goes before. No UPDATE on events and
-- marks, and DELETE only of kept ones.
GRANT SELECT ON outbox.event, outbox.sent, outbox.held, outbox.relay TO outbox_relay;
GRANT INSERT ON outbox.sent, outbox.sent_0, outbox.sent_1, outbox.sent_2, outbox.sent_3,
    outbox.sent_4, outbox.sent_5, outbox.sent_6, outbox.sent_7 TO outbox_relay;
GRANT INSERT, UPDATE, DELETE ON outbox.held TO outbox_relay;
GRANT INSERT, UPDATE ON outbox.relay TO outbox_relay;
GRANT SELECT, TRUNCATE ON
    outbox.event_0, outbox.event_1, outbox.event_2, outbox.event_3, outbox.event_4,
    outbox.event_5, outbox.event_6, outbox.event_7, outbox.event_kept,
    outbox.sent_0, outbox.sent_1, outbox.sent_2, outbox.sent_3, outbox.sent_4,
    outbox.sent_5, outbox.sent_6, outbox.sent_7, outbox.sent_kept TO outbox_relay;
GRANT INSERT, DELETE ON outbox.event_kept TO outbox_relay;
GRANT DELETE ON outbox.sent_kept TO outbox_relay;
GRANT EXECUTE ON FUNCTION
    outbox.empty_bucket(smallint, bigint, interval, pg_snapshot, bigint[]) TO outbox_relay;

-- Monitor: the views, and what `outbox-relay status` reads. backlog runs with the rights of the caller,
-- so it needs the columns that it looks at; of business data these hold the topic, and the error of what is held.
-- event_status shows each event's key and type as well: where keys are secret, REVOKE SELECT on it whenever this file
-- has run; no command of outbox-relay that a monitor may use needs it.
GRANT SELECT ON outbox.event_status, outbox.backlog, outbox.blocker TO outbox_monitor, outbox_relay;
GRANT EXECUTE ON FUNCTION outbox.backlog_now() TO outbox_monitor, outbox_relay;
GRANT SELECT (id, xid, bucket, topic, created_at, available_at) ON outbox.event TO outbox_monitor;
GRANT SELECT (id, bucket, sent_at) ON outbox.sent TO outbox_monitor;
GRANT SELECT (id, bucket, topic, state, next_attempt_at, error_code, error) ON outbox.held TO outbox_monitor;
GRANT SELECT (name, owner, epoch, lease_expires_at, renewed_at, cursor_id, cursor_snapshot, floor_id, leading_since, pid)
    ON outbox.relay TO outbox_monitor;

-- `outbox-relay doctor` looks whether the sequence is behind the events.
DO $sequence$
BEGIN
    EXECUTE format('GRANT SELECT ON SEQUENCE %s TO outbox_monitor, outbox_relay',
                   pg_get_serial_sequence('outbox.event', 'id'));
END
$sequence$;

-- The age of other roles' transactions in outbox.blocker. The relay says in its log who stands in its way.
DO $stats$
BEGIN
    IF NOT (pg_has_role('outbox_monitor', 'pg_read_all_stats', 'MEMBER')
            AND pg_has_role('outbox_relay', 'pg_read_all_stats', 'MEMBER')) THEN
        GRANT pg_read_all_stats TO outbox_monitor, outbox_relay;
    END IF;
EXCEPTION
    WHEN insufficient_privilege THEN
        RAISE WARNING 'outbox: pg_read_all_stats was not granted (%): nobody is warned of old transactions', SQLERRM
            USING HINT = 'As a superuser: GRANT pg_read_all_stats TO outbox_monitor, outbox_relay';
END
$stats$;

-- For what a tool does after this in the same transaction.
DO $path$
BEGIN
    PERFORM pg_catalog.set_config('search_path', pg_catalog.current_setting('outbox.search_path'), true);
END
$path$;
