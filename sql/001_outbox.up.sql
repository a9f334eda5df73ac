-- migrate:up
--
-- 001_outbox.up.sql - the transactional outbox: schema, tables, views and functions, version 1.
--
-- Purpose   Events are stored by the transaction that changes the business data; outbox-relay
--           publishes the committed ones to Kafka and marks each after the broker confirmed it.
-- Locks     Only on objects that this file creates; no table of yours is touched.
-- Duration  Well under a second; nothing is scanned or rewritten.
-- Tables    Creates schema outbox with event (event_0..event_7, event_kept), sent (the same ring),
--           held, relay, schema_version; views event_status, backlog, blocker; functions event_is_sound, append,
--           append_json, set_bucket_period, empty_bucket, backlog_now; procedure append_event.
-- Needs     PostgreSQL 13 or later and CREATE on the database (or an empty schema "outbox" of your
--           own). No extension, no superuser. Roles are in roles.sql and optional.
-- Retry     Safe: it runs in one transaction, so a failure leaves nothing behind. Where it is
--           installed already it says so and changes nothing.
-- Run       In one transaction: psql -X -v ON_ERROR_STOP=1 -1 -f 001_outbox.up.sql, Flyway,
--           golang-migrate, or as one multi-statement query; dbmate, when this file and 001_outbox.down.sql
--           are one (each opens with the line that it looks for).
--           Not as a role named "outbox" with a tool that keeps its own table unqualified: the
--           default search_path, "$user", would send that table here.

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

DO $check$
BEGIN
    -- Outside a transaction SET LOCAL does nothing, and a failure half way would leave half a schema.
    IF pg_catalog.current_setting('outbox.migration', true) IS DISTINCT FROM 'begun' THEN
        RAISE EXCEPTION 'outbox: this file must run in one transaction'
            USING ERRCODE = 'no_active_sql_transaction',
                  HINT = 'With psql: psql -v ON_ERROR_STOP=1 -1 -f FILE. A tool that goes on after this error carries out what follows.';
    END IF;
    IF current_setting('server_version_num')::int < 130000 THEN
        RAISE EXCEPTION 'outbox: PostgreSQL 13 or later is needed, this is %',
            current_setting('server_version');
    END IF;
    IF to_regclass('outbox.schema_version') IS NOT NULL OR to_regclass('outbox.event') IS NOT NULL THEN
        RAISE EXCEPTION 'outbox: already installed in database "%"', current_database()
            USING ERRCODE = 'duplicate_table',
                  HINT = 'See outbox.schema_version. To install anew run 001_outbox.down.sql first.';
    END IF;
    -- CREATE SCHEMA IF NOT EXISTS would ask for CREATE on the database even where the schema exists.
    IF to_regnamespace('outbox') IS NULL THEN
        CREATE SCHEMA outbox;
    END IF;
EXCEPTION
    WHEN insufficient_privilege THEN
        RAISE EXCEPTION 'outbox: %', SQLERRM
            USING ERRCODE = 'insufficient_privilege',
                  HINT = format('Let its owner: GRANT CREATE ON DATABASE %I TO %I; or CREATE SCHEMA outbox AUTHORIZATION %2$I;',
                                current_database(), current_user);
END
$check$;

COMMENT ON SCHEMA outbox IS
    'Transactional outbox: events stored with the business data, published to Kafka by outbox-relay';


-- What was applied --------------------------------------------------------------------------------

CREATE TABLE outbox.schema_version (
    version     integer     NOT NULL,
    min_relay   text        NOT NULL,
    breaking    boolean     NOT NULL,
    applied_at  timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT schema_version_pkey PRIMARY KEY (version),
    CONSTRAINT schema_version_positive CHECK (version >= 1)
);
COMMENT ON TABLE outbox.schema_version IS
    'One row per applied migration; library and relay compare the highest with what they know';
COMMENT ON COLUMN outbox.schema_version.version IS 'Number of the migration file';
COMMENT ON COLUMN outbox.schema_version.min_relay IS 'Oldest outbox-relay that works with this version';
COMMENT ON COLUMN outbox.schema_version.breaking IS
    'True: programs that know only lower versions must refuse to work';
COMMENT ON COLUMN outbox.schema_version.applied_at IS 'When the migration ran';


-- Events ------------------------------------------------------------------------------------------

-- The limits of an event. A function in plpgsql keeps what it has parsed for the session. The names are
-- those of rules: they stand in the message and in the error's field for a constraint.
-- It runs with the rights and the search_path of whoever inserts, and SET search_path would cost every row: so
-- every name and operator says that it is PostgreSQL's, or somebody's of a better fitting type would be called.
-- For the same reason it calls no function of this schema, for which it would need USAGE: an INSERT into somebody's view
-- has a role that has none.
CREATE FUNCTION outbox.event_is_sound(
    schema_version integer, topic text, key bytea, type text, content_type text, payload bytea, headers json
) RETURNS boolean LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SECURITY INVOKER AS $body$
DECLARE
    pairs  pg_catalog.jsonb;
    broken pg_catalog.text;
BEGIN
    -- A short question first. plpgsql makes an expression ready anew in each transaction, operator by operator: the list
    -- below costs the server some 13 us for an event alone in its transaction, this one some 8. It says yes to what
    -- nearly all events look like and never to one that breaks a rule. Headers that need no backslash are plain: 256
    -- KiB of them, each the 9 bytes ["a",""], make 600 KB of jsonb. Sizes come first, for a regular expression fails
    -- for a text of 256 MiB; and where it has a backslash it is in dollars, for in quotes that means something else in
    -- a session with standard_conforming_strings off.
    IF schema_version OPERATOR(pg_catalog.>=) 1
       AND pg_catalog.octet_length(topic) OPERATOR(pg_catalog.<=) 249
       AND topic COLLATE pg_catalog."C" OPERATOR(pg_catalog.~) '^[a-zA-Z0-9_-][a-zA-Z0-9._-]*$'
       AND type OPERATOR(pg_catalog.<>) ''
       AND pg_catalog.octet_length(type) OPERATOR(pg_catalog.<=) 255
       AND (content_type OPERATOR(pg_catalog.=) ANY (ARRAY['application/json', 'application/x-protobuf',
                'application/protobuf', 'application/avro', 'application/octet-stream', 'text/plain'])) IS NOT FALSE
       AND (pg_catalog.octet_length(key) OPERATOR(pg_catalog.>) 1048576) IS NOT TRUE
       AND (pg_catalog.octet_length(payload) OPERATOR(pg_catalog.>) 33554432) IS NOT TRUE
       AND (headers IS NULL
            OR pg_catalog.octet_length(headers::pg_catalog.text) OPERATOR(pg_catalog.<=) 262144
               AND headers::pg_catalog.text COLLATE pg_catalog."C" OPERATOR(pg_catalog.~)
                   $re$^\[\["[^"\\]+", ?"[^"\\]*"\](, ?\["[^"\\]+", ?"[^"\\]*"\])*\]\Z$re$)
    THEN
        RETURN true;
    END IF;

    -- The text may say with six bytes what is one in jsonb, and blanks have no end.
    pairs := CASE
        WHEN pg_catalog.octet_length(headers::pg_catalog.text) OPERATOR(pg_catalog.<=) 8388608
            THEN headers::pg_catalog.jsonb
    END;
    -- A condition that is NULL breaks nothing.
    broken := CASE
        WHEN schema_version OPERATOR(pg_catalog.<) 1
            THEN 'event_schema_version_positive: schema_version is 1 or higher'
        WHEN pg_catalog.octet_length(topic) OPERATOR(pg_catalog.<) 1
             OR pg_catalog.octet_length(topic) OPERATOR(pg_catalog.>) 249
            THEN 'event_topic_length: topic is 1 to 249 bytes'
        WHEN topic COLLATE pg_catalog."C" OPERATOR(pg_catalog.~) '[^a-zA-Z0-9._-]'
            THEN 'event_topic_characters: topic is made of a-z A-Z 0-9 . _ -'
        WHEN topic OPERATOR(pg_catalog.=) ANY (ARRAY['.', '..'])
            THEN 'event_topic_not_dots: topic is neither . nor ..'
        WHEN pg_catalog.octet_length(type) OPERATOR(pg_catalog.<) 1
             OR pg_catalog.octet_length(type) OPERATOR(pg_catalog.>) 255
            THEN 'event_type_length: type is 1 to 255 bytes'
        WHEN pg_catalog.octet_length(content_type) OPERATOR(pg_catalog.<) 1
             OR pg_catalog.octet_length(content_type) OPERATOR(pg_catalog.>) 255
            THEN 'event_content_type_length: content_type is NULL or 1 to 255 bytes'
        -- This prefix would make consumers take the payload for a structured CloudEvent.
        WHEN pg_catalog.lower(pg_catalog.left(content_type, 23) COLLATE pg_catalog."C")
             OPERATOR(pg_catalog.=) 'application/cloudevents'
            THEN 'event_content_type_not_cloudevents: content_type does not begin with application/cloudevents'
        -- Records of Kafka are small: 1 MiB unless a topic says otherwise. And the relay takes a row
        -- into memory as a whole, several times over: without limits one row could stop all the
        -- others, and one of a gigabyte could not even be read. Sizes are known without reading what
        -- is stored out of line.
        WHEN pg_catalog.octet_length(key) OPERATOR(pg_catalog.>) 1048576
            THEN 'event_key_length: key is at most 1 MiB'
        WHEN pg_catalog.octet_length(payload) OPERATOR(pg_catalog.>) 33554432
            THEN 'event_payload_length: payload is at most 32 MiB'
        WHEN headers IS NOT NULL
             AND (pg_catalog.pg_column_size(pairs) OPERATOR(pg_catalog.<=) 1048576) IS NOT TRUE
            THEN 'event_headers_length: headers are at most 1 MiB as jsonb, and 8 MiB as text'
        -- Each element has two members, all members are strings, and no name is empty. @? gives NULL,
        -- not false, where the shape does not allow the question: hence IS NOT FALSE. One path that
        -- says all this takes twice as long; containment, which is cheap, spares most rows the last
        -- question.
        WHEN pairs IS NOT NULL
             AND (pg_catalog.jsonb_typeof(pairs) OPERATOR(pg_catalog.<>) 'array'
                  OR (pairs OPERATOR(pg_catalog.@?)
                      'strict $[*].size() ? (@ != 2)'::pg_catalog.jsonpath) IS NOT FALSE
                  OR (pairs OPERATOR(pg_catalog.@?)
                      'strict $[*][*] ? ((@ starts with "") is unknown)'::pg_catalog.jsonpath) IS NOT FALSE
                  OR (pairs OPERATOR(pg_catalog.@>) '[[""]]'
                      AND (pairs OPERATOR(pg_catalog.@?)
                           'strict $[*][0] ? (@ == "")'::pg_catalog.jsonpath) IS NOT FALSE))
            THEN 'event_headers_pairs: headers are NULL or an array of [name, value] pairs of strings, no name empty'
    END;
    IF broken IS NOT NULL THEN
        RAISE EXCEPTION 'outbox: the event breaks the rule "%":%', pg_catalog.split_part(broken, ':', 1),
            pg_catalog.substr(broken, pg_catalog.strpos(broken, ':') OPERATOR(pg_catalog.+) 1)
            USING ERRCODE = 'check_violation', SCHEMA = 'outbox', TABLE = 'event',
                  CONSTRAINT = pg_catalog.split_part(broken, ':', 1);
    END IF;
    RETURN true;
END
$body$;

-- Defaults are evaluated in column order, so xid comes first: a transaction has its id before it
-- draws a row's id. A row with an id that a reader has passed already, and that was not visible
-- then, therefore has an xid that was running at that moment or came later. The late read of the
-- relay rests on this; do not reorder.
CREATE TABLE outbox.event (
    xid             xid8        NOT NULL DEFAULT pg_current_xact_id(),
    id              bigint      NOT NULL GENERATED ALWAYS AS IDENTITY (CACHE 1),
    created_at      timestamptz NOT NULL DEFAULT now(),
    -- UTC days, modulo 8. date_part is double precision in every version (extract became numeric in
    -- 14) and exact here: floor keeps whole seconds, the rest is integer arithmetic. "& 7" is "% 8"
    -- that cannot turn negative.
    bucket          smallint    NOT NULL
                    DEFAULT ((floor(date_part('epoch', now()))::bigint / 86400) & 7)::smallint,
    event_id        uuid        NOT NULL DEFAULT gen_random_uuid(),
    schema_version  integer     NOT NULL DEFAULT 1,
    topic           text        NOT NULL,
    key             bytea,
    type            text        NOT NULL,
    content_type    text,
    payload         bytea,
    -- json, not jsonb: the relay wants the text, and making it of jsonb is a quarter of what a drain costs
    -- the server. What is not valid jsonb the check refuses.
    headers         json,
    available_at    timestamptz,
    -- All in one: the server parses the text of each constraint anew for each statement, which for
    -- thirteen of them took a third of the time of an append.
    CONSTRAINT event_is_sound
        CHECK (outbox.event_is_sound(schema_version, topic, key, type, content_type, payload, headers))
) PARTITION BY LIST (bucket);

-- All leaves exist from now on: no append can fail for want of one, and no DDL runs in production.
CREATE TABLE outbox.event_0 PARTITION OF outbox.event FOR VALUES IN (0);
CREATE TABLE outbox.event_1 PARTITION OF outbox.event FOR VALUES IN (1);
CREATE TABLE outbox.event_2 PARTITION OF outbox.event FOR VALUES IN (2);
CREATE TABLE outbox.event_3 PARTITION OF outbox.event FOR VALUES IN (3);
CREATE TABLE outbox.event_4 PARTITION OF outbox.event FOR VALUES IN (4);
CREATE TABLE outbox.event_5 PARTITION OF outbox.event FOR VALUES IN (5);
CREATE TABLE outbox.event_6 PARTITION OF outbox.event FOR VALUES IN (6);
CREATE TABLE outbox.event_7 PARTITION OF outbox.event FOR VALUES IN (7);
CREATE TABLE outbox.event_kept PARTITION OF outbox.event FOR VALUES IN (-1);

-- Nothing else: each index costs every append about 70 bytes of WAL.
CREATE INDEX event_id_idx ON outbox.event (id);
CREATE INDEX event_xid_id_idx ON outbox.event (xid, id);

-- Kept events are deleted one by one, which a publication FOR ALL TABLES (Debezium makes one) would refuse for want
-- of a primary key. By all columns (FULL) a subscriber could not find them again: json has no equality.
CREATE UNIQUE INDEX event_kept_identity ON outbox.event_kept (event_id, id);
ALTER TABLE outbox.event_kept REPLICA IDENTITY USING INDEX event_kept_identity;

COMMENT ON TABLE outbox.event IS
    'The events. Insert-only: rows are never updated; old buckets leave by TRUNCATE, kept ones by DELETE';
COMMENT ON COLUMN outbox.event.xid IS
    'Transaction that wrote the row, set by the database. First column: taken before id is drawn';
COMMENT ON COLUMN outbox.event.id IS
    'Number of the event, set by the database; order of events with the same topic and key';
COMMENT ON COLUMN outbox.event.created_at IS
    'Start of the writing transaction; timestamp of the Kafka record';
COMMENT ON COLUMN outbox.event.bucket IS
    'Leaf of the ring that holds the row: 0 to 7 by the clock (see set_bucket_period), -1 kept';
COMMENT ON COLUMN outbox.event.event_id IS
    'Identity of the event for consumers, who drop repeats by it. Random unless given';
COMMENT ON COLUMN outbox.event.schema_version IS 'Version of the payload''s schema, 1 or higher';
COMMENT ON COLUMN outbox.event.topic IS
    'Kafka topic: 1 to 249 of a-z A-Z 0-9 . _ -, neither "." nor ".."';
COMMENT ON COLUMN outbox.event.key IS
    'Kafka key, up to 1 MiB: events with the same topic and key keep their order. NULL: no key and no order';
COMMENT ON COLUMN outbox.event.type IS 'Type of the event, such as order.created; 1 to 255 bytes';
COMMENT ON COLUMN outbox.event.content_type IS
    'Media type of the payload or NULL; 1 to 255 bytes, not application/cloudevents*';
COMMENT ON COLUMN outbox.event.payload IS 'Kafka value, sent as it is; up to 32 MiB. NULL: a tombstone';
COMMENT ON COLUMN outbox.event.headers IS
    'NULL, or further Kafka headers in order: a JSON array of [name, value] pairs of strings';
COMMENT ON COLUMN outbox.event.available_at IS 'Not to be published before. NULL: at once';
COMMENT ON INDEX outbox.event_id_idx IS 'Fresh rows: those after the highest id read';
COMMENT ON INDEX outbox.event_xid_id_idx IS
    'Late rows: those of transactions that were running when their ids were passed';


-- Marks -------------------------------------------------------------------------------------------

-- The mark is a narrow row of its own: inserting it costs a quarter of updating the event, and
-- leaves nothing to vacuum. sent_at is now(), not clock_timestamp(): marks are written in batches by
-- short transactions, so one reading of the clock dates the batch. Wide columns first: no padding.
CREATE TABLE outbox.sent (
    id               bigint      NOT NULL,
    sent_at          timestamptz NOT NULL DEFAULT now(),
    kafka_offset     bigint,
    kafka_partition  integer,
    bucket           smallint    NOT NULL
) PARTITION BY LIST (bucket);

CREATE TABLE outbox.sent_0 PARTITION OF outbox.sent (CONSTRAINT sent_0_pkey PRIMARY KEY (id)) FOR VALUES IN (0);
CREATE TABLE outbox.sent_1 PARTITION OF outbox.sent (CONSTRAINT sent_1_pkey PRIMARY KEY (id)) FOR VALUES IN (1);
CREATE TABLE outbox.sent_2 PARTITION OF outbox.sent (CONSTRAINT sent_2_pkey PRIMARY KEY (id)) FOR VALUES IN (2);
CREATE TABLE outbox.sent_3 PARTITION OF outbox.sent (CONSTRAINT sent_3_pkey PRIMARY KEY (id)) FOR VALUES IN (3);
CREATE TABLE outbox.sent_4 PARTITION OF outbox.sent (CONSTRAINT sent_4_pkey PRIMARY KEY (id)) FOR VALUES IN (4);
CREATE TABLE outbox.sent_5 PARTITION OF outbox.sent (CONSTRAINT sent_5_pkey PRIMARY KEY (id)) FOR VALUES IN (5);
CREATE TABLE outbox.sent_6 PARTITION OF outbox.sent (CONSTRAINT sent_6_pkey PRIMARY KEY (id)) FOR VALUES IN (6);
CREATE TABLE outbox.sent_7 PARTITION OF outbox.sent (CONSTRAINT sent_7_pkey PRIMARY KEY (id)) FOR VALUES IN (7);
CREATE TABLE outbox.sent_kept PARTITION OF outbox.sent (CONSTRAINT sent_kept_pkey PRIMARY KEY (id)) FOR VALUES IN (-1);

COMMENT ON TABLE outbox.sent IS
    'One row per event that Kafka confirmed. Insert-only (on conflict do nothing), same ring as event';
COMMENT ON COLUMN outbox.sent.id IS 'The event''s id; primary key of each leaf';
COMMENT ON COLUMN outbox.sent.sent_at IS 'Start of the transaction that wrote the mark';
COMMENT ON COLUMN outbox.sent.kafka_offset IS 'Offset of the record; NULL where the broker gave none';
COMMENT ON COLUMN outbox.sent.kafka_partition IS 'Partition that took the record; NULL where unknown';
COMMENT ON COLUMN outbox.sent.bucket IS 'The event''s bucket';

DO $leaves$
DECLARE
    leaf text;
BEGIN
    FOREACH leaf IN ARRAY ARRAY['0', '1', '2', '3', '4', '5', '6', '7', 'kept'] LOOP
        EXECUTE format('COMMENT ON TABLE outbox.%I IS %L', 'event_' || leaf,
            CASE leaf WHEN 'kept' THEN 'Events that outlived their bucket because held named them; deleted when resolved and old'
                      ELSE 'Leaf of outbox.event, bucket ' || leaf END);
        EXECUTE format('COMMENT ON TABLE outbox.%I IS %L', 'sent_' || leaf,
            CASE leaf WHEN 'kept' THEN 'Marks of the events in event_kept'
                      ELSE 'Leaf of outbox.sent, bucket ' || leaf END);
    END LOOP;
END
$leaves$;


-- Exceptions --------------------------------------------------------------------------------------

-- Small and rewritten often: room on the pages for new row versions, and a vacuum long before the
-- defaults would come.
CREATE TABLE outbox.held (
    id               bigint      NOT NULL,
    bucket           smallint    NOT NULL,
    topic            text        NOT NULL,
    key              bytea,
    state            text        NOT NULL,
    attempts         integer     NOT NULL DEFAULT 0,
    next_attempt_at  timestamptz,
    maybe_delivered  boolean     NOT NULL DEFAULT false,
    first_error_at   timestamptz,
    error_code       text,
    error            text,
    CONSTRAINT held_pkey PRIMARY KEY (id),
    CONSTRAINT held_bucket_of_ring CHECK (bucket BETWEEN -1 AND 7),
    CONSTRAINT held_state_known
        CHECK (state IN ('retrying', 'blocked', 'paused', 'scheduled', 'dead', 'discarded')),
    CONSTRAINT held_attempts_not_negative CHECK (attempts >= 0)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 200,
        autovacuum_analyze_scale_factor = 0.05, autovacuum_analyze_threshold = 200);

-- A Kafka key may be longer than the 2,704 bytes that an index entry may hold, so its digest stands
-- in: where topic = $1 and sha256(key) = sha256($2).
-- The relay steps from group to group and to the first row of each, however many rows a group has: hence
-- one index for each kind of row that it looks for. It asks for them ORDER BY id + 0, which the primary
-- key cannot serve: the planner would take that one when most rows are of one group, or seem to be.
CREATE INDEX held_key_idx ON outbox.held (topic, sha256(key), (id + 0))
    WHERE key IS NOT NULL AND state IN ('retrying', 'blocked');
CREATE INDEX held_dead_idx ON outbox.held (topic, sha256(key), (id + 0)) WHERE state = 'dead';
CREATE INDEX held_paused_idx ON outbox.held (topic, (id + 0)) WHERE state = 'paused';
CREATE INDEX held_next_attempt_idx ON outbox.held (next_attempt_at) WHERE next_attempt_at IS NOT NULL;

COMMENT ON TABLE outbox.held IS
    'Events that did not simply go through: waiting for another attempt, for their key or topic, or dead';
COMMENT ON COLUMN outbox.held.id IS 'The event''s id';
COMMENT ON COLUMN outbox.held.bucket IS 'The event''s bucket';
COMMENT ON COLUMN outbox.held.topic IS 'The event''s topic';
COMMENT ON COLUMN outbox.held.key IS 'The event''s key';
COMMENT ON COLUMN outbox.held.state IS
    'retrying: Kafka refused it, next_attempt_at says when again; blocked: behind an earlier event of '
    'its key; paused: its topic is; scheduled: until available_at; dead: attempts used up; '
    'discarded: given up by a person, resolved and never sent, and gone with its bucket';
COMMENT ON COLUMN outbox.held.attempts IS 'Attempts that Kafka refused';
COMMENT ON COLUMN outbox.held.next_attempt_at IS 'When it is due; NULL: it waits for something else';
COMMENT ON COLUMN outbox.held.maybe_delivered IS
    'True: one attempt ended without an answer, so the record may be in the topic already';
COMMENT ON COLUMN outbox.held.first_error_at IS 'When it was first refused';
COMMENT ON COLUMN outbox.held.error_code IS
    'Name of the last error, such as MSG_SIZE_TOO_LARGE; our own are DISCARDED, FOUND_BY_SWEEP, EVENT_GONE, '
    'HOPS_EXCEEDED, NO_PROGRESS (of its topic) and UNREADABLE (PostgreSQL cannot give the event out)';
COMMENT ON COLUMN outbox.held.error IS 'The last error in words; of a discarded event, the reason';
COMMENT ON INDEX outbox.held_key_idx IS 'What waits for itself or its key';
COMMENT ON INDEX outbox.held_dead_idx IS 'What a person must decide; it blocks its key unless on.poison is skip';
COMMENT ON INDEX outbox.held_paused_idx IS 'What waits for its topic';
COMMENT ON INDEX outbox.held_next_attempt_idx IS 'What is due';


-- Relay state -------------------------------------------------------------------------------------

-- One row per stream, rewritten about once a second: a nearly empty page lets those updates be HOT.
CREATE TABLE outbox.relay (
    name               text        NOT NULL,
    epoch              bigint      NOT NULL DEFAULT 0,
    owner              text,
    lease_expires_at   timestamptz,
    renewed_at         timestamptz,
    cursor_id          bigint      NOT NULL DEFAULT 0,
    cursor_snapshot    pg_snapshot NOT NULL DEFAULT pg_current_snapshot(),
    floor_id           bigint      NOT NULL DEFAULT 0,
    system_identifier  bigint,
    timeline           integer,
    leading_since      timestamptz,
    pid                integer,
    CONSTRAINT relay_pkey PRIMARY KEY (name),
    CONSTRAINT relay_name_length CHECK (octet_length(name) BETWEEN 1 AND 255)
) WITH (fillfactor = 10, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

COMMENT ON TABLE outbox.relay IS 'State of the relay: who leads, and how far the events were read';
COMMENT ON COLUMN outbox.relay.name IS 'Stream; there is one, "default"';
COMMENT ON COLUMN outbox.relay.epoch IS
    'Raised by each takeover; what a relay writes with an older epoch has no effect';
COMMENT ON COLUMN outbox.relay.owner IS 'Relay that leads; NULL: none';
COMMENT ON COLUMN outbox.relay.lease_expires_at IS 'After this another relay may take over';
COMMENT ON COLUMN outbox.relay.renewed_at IS 'When the leader last renewed its lease';
COMMENT ON COLUMN outbox.relay.cursor_id IS
    'Position that preceded the oldest event not yet in sent or held: the highest id read';
COMMENT ON COLUMN outbox.relay.cursor_snapshot IS
    'What was visible at that position. Events up to cursor_id that it did not see are read late';
COMMENT ON COLUMN outbox.relay.floor_id IS
    'Events up to this id came from another cluster (dump and restore); the late read leaves them out';
COMMENT ON COLUMN outbox.relay.system_identifier IS 'Cluster that the cursor belongs to';
COMMENT ON COLUMN outbox.relay.timeline IS 'Timeline that the cursor belongs to';
COMMENT ON COLUMN outbox.relay.leading_since IS
    'When the lead began, or the last one did. Leads that follow each other at once and mark nothing of what waits are one';
COMMENT ON COLUMN outbox.relay.pid IS 'Server process of the connection by which owner took the lead';


-- Views -------------------------------------------------------------------------------------------

-- Payload and headers are left out: who may watch need not read the business data.
CREATE VIEW outbox.event_status AS
SELECT e.id, e.event_id, e.created_at, e.topic, e.key, e.type, e.schema_version, e.available_at,
       CASE WHEN s.id IS NOT NULL THEN 'sent'
            WHEN h.id IS NOT NULL THEN h.state
            WHEN e.available_at > now() THEN 'scheduled'
            ELSE 'pending' END AS state,
       s.sent_at, s.kafka_partition, s.kafka_offset,
       h.attempts, h.next_attempt_at, h.maybe_delivered, h.first_error_at, h.error_code, h.error,
       e.bucket, e.xid
  FROM outbox.event e
  LEFT JOIN outbox.sent s ON s.bucket = e.bucket AND s.id = e.id
  LEFT JOIN outbox.held h ON h.id = e.id;

COMMENT ON VIEW outbox.event_status IS
    'Each event with its state. Ask by id: other columns have no index';
COMMENT ON COLUMN outbox.event_status.state IS
    'sent; retrying, blocked, paused, scheduled, dead, discarded (see outbox.held); pending: not yet taken up';
COMMENT ON COLUMN outbox.event_status.sent_at IS 'When it was marked sent; NULL: not sent';
COMMENT ON COLUMN outbox.event_status.kafka_partition IS 'Partition that took the record';
COMMENT ON COLUMN outbox.event_status.kafka_offset IS 'Offset of the record';
COMMENT ON COLUMN outbox.event_status.attempts IS 'Attempts that Kafka refused; NULL: none';

-- Looks only at what lies after the saved cursor, and at held, so it stays quick however many events
-- are done. A function, because a view cannot set planner options: compiling the plan (jit) would
-- take a hundred times as long as running it. What else keeps it on the indexes:
-- - a range with both ends is taken to be narrow where its ends are not known at planning time, one
--   with a single end to be a third of the table. Hence the upper ends that are always true.
-- - LIMIT 1 in a lateral subquery makes one index probe per row; a join might read all of sent.
-- - OFFSET 0 keeps the condition on id away from the choice of index.
CREATE FUNCTION outbox.backlog_now(
    OUT topic text, OUT pending bigint, OUT held bigint, OUT dead bigint, OUT oldest_age interval
) RETURNS SETOF record LANGUAGE sql STABLE SECURITY INVOKER ROWS 20
SET search_path = pg_catalog, pg_temp
SET jit = off SET enable_seqscan = off SET max_parallel_workers_per_gather = 0 AS $body$
WITH saved AS MATERIALIZED (
    SELECT r.cursor_id, r.cursor_snapshot, r.floor_id FROM outbox.relay r WHERE r.name = 'default'
), unread AS (
    SELECT e.id, e.topic, greatest(e.created_at, e.available_at) AS due_at
      FROM outbox.event e
     WHERE e.id > coalesce((SELECT cursor_id FROM saved), 0)
       AND e.id <= 9223372036854775807
       AND NOT EXISTS (SELECT FROM outbox.sent s
                        WHERE s.id > coalesce((SELECT cursor_id FROM saved), 0)
                          AND s.id <= 9223372036854775807
                          AND s.bucket = e.bucket AND s.id = e.id)
    UNION ALL
    SELECT l.id, l.topic, greatest(l.created_at, l.available_at)
      FROM (SELECT * FROM (
                -- Those of transactions that were running then and are not now. An id that this
                -- cluster has not reached came with a dump; it is not running either.
                SELECT e.id, e.bucket, e.topic, e.created_at, e.available_at
                  FROM outbox.event e
                 WHERE e.xid = ANY (ARRAY(
                           SELECT x.xid
                             FROM pg_snapshot_xip((SELECT cursor_snapshot FROM saved)) AS x (xid)
                            WHERE pg_visible_in_snapshot(x.xid, pg_current_snapshot())
                               OR x.xid >= pg_snapshot_xmax(pg_current_snapshot())))
                OFFSET 0) a
             UNION ALL
            SELECT * FROM (
                -- Those of transactions that came later.
                SELECT e.id, e.bucket, e.topic, e.created_at, e.available_at
                  FROM outbox.event e
                 WHERE e.xid >= pg_snapshot_xmax((SELECT cursor_snapshot FROM saved))
                   AND e.xid <= '18446744073709551615'::xid8
                   AND e.id <= (SELECT cursor_id FROM saved)
                OFFSET 0) b) l
      LEFT JOIN LATERAL (SELECT true AS found FROM outbox.sent s
                          WHERE s.bucket = l.bucket AND s.id = l.id LIMIT 1) m ON true
     WHERE l.id > (SELECT floor_id FROM saved) AND l.id <= (SELECT cursor_id FROM saved)
       AND m.found IS NULL
), waiting AS (
    SELECT h.topic, h.state,
           count(*) AS n,
           min(h.next_attempt_at) FILTER (WHERE h.state = 'scheduled') AS due_at,
           min(h.id) FILTER (WHERE h.state NOT IN ('scheduled', 'dead')) AS oldest_id
      FROM outbox.held h
      LEFT JOIN LATERAL (SELECT true AS found FROM outbox.sent s
                          WHERE s.bucket = h.bucket AND s.id = h.id LIMIT 1) m ON true
     WHERE m.found IS NULL AND h.state <> 'discarded'
     GROUP BY h.topic, h.state
), part AS (
    SELECT u.topic, count(*) AS pending, 0 AS held, 0 AS dead,
           min(u.due_at) FILTER (WHERE u.due_at <= now()) AS due_at
      FROM unread u
      LEFT JOIN LATERAL (SELECT true AS found FROM outbox.held h WHERE h.id = u.id LIMIT 1) m ON true
     WHERE m.found IS NULL
     GROUP BY u.topic
    UNION ALL
    SELECT w.topic, 0, CASE w.state WHEN 'dead' THEN 0 ELSE w.n END,
           CASE w.state WHEN 'dead' THEN w.n ELSE 0 END,
           CASE WHEN w.state = 'scheduled' AND w.due_at <= now() THEN w.due_at ELSE o.due_at END
      FROM waiting w
      -- From infinity nothing can be subtracted before PostgreSQL 17.
      LEFT JOIN LATERAL (SELECT nullif(greatest(e.created_at, e.available_at), 'infinity') AS due_at
                           FROM outbox.event e WHERE e.id = w.oldest_id LIMIT 1) o ON true
)
SELECT p.topic,
       sum(p.pending)::bigint AS pending,
       sum(p.held)::bigint AS held,
       sum(p.dead)::bigint AS dead,
       now() - min(p.due_at) AS oldest_age
  FROM part p
 GROUP BY p.topic
$body$;

CREATE VIEW outbox.backlog AS
SELECT b.topic, b.pending, b.held, b.dead, b.oldest_age FROM outbox.backlog_now() b;

COMMENT ON VIEW outbox.backlog IS
    'Per topic what is not sent yet; a topic with nothing to do has no row. Cheap with many done events';
COMMENT ON COLUMN outbox.backlog.pending IS 'Events neither sent nor held; those for later included';
COMMENT ON COLUMN outbox.backlog.held IS 'Events held as retrying, blocked, paused or scheduled';
COMMENT ON COLUMN outbox.backlog.dead IS 'Events given up; they need a decision';
COMMENT ON COLUMN outbox.backlog.oldest_age IS
    'How long the oldest due event has waited; dead ones and those for later do not count';

-- pg_locks is open to every role. Without pg_read_all_stats the age is shown for
-- one's own sessions and for prepared transactions only.
CREATE VIEW outbox.blocker AS
WITH lock AS MATERIALIZED (
    SELECT k.pid, k.virtualtransaction, k.locktype, k.relation, k.transactionid, k.mode
      FROM pg_locks k
     WHERE k.granted
       AND (k.locktype = 'relation'
                AND k.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
            OR k.locktype = 'transactionid' AND k.pid IS NULL)
       AND k.pid IS DISTINCT FROM pg_backend_pid()
), place AS (
    SELECT 'outbox.event'::regclass::oid AS relid, NULL::text AS leaf, true AS is_event
    UNION ALL
    SELECT i.inhrelid, c.relname::text, i.inhparent = 'outbox.event'::regclass
      FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
     WHERE i.inhparent IN ('outbox.event'::regclass, 'outbox.sent'::regclass)
), holder AS (
    SELECT k.pid, k.virtualtransaction,
           bool_or(k.mode = 'RowExclusiveLock' AND t.is_event) AS writes,
           array(SELECT DISTINCT u.leaf FROM unnest(array_agg(t.leaf)) AS u (leaf)
                  WHERE u.leaf IS NOT NULL ORDER BY u.leaf) AS leaves
      FROM lock k JOIN place t ON t.relid = k.relation
     WHERE k.locktype = 'relation'
     GROUP BY k.pid, k.virtualtransaction
)
SELECT h.pid, p.gid AS prepared,
       coalesce(a.usename, p.owner) AS username,
       coalesce(nullif(a.application_name, ''), a.backend_type) AS application,
       clock_timestamp() - coalesce(a.xact_start, p.prepared) AS age,
       w.writes AS holds_rows,
       h.leaves <> '{}' AS holds_truncate,
       h.leaves
  FROM holder h
  LEFT JOIN pg_stat_activity a ON a.pid = h.pid
  -- A prepared transaction has no process; its lock on its own id tells which one it is.
  LEFT JOIN lock x ON h.pid IS NULL AND x.locktype = 'transactionid'
                  AND x.virtualtransaction = h.virtualtransaction
  LEFT JOIN pg_prepared_xacts p ON p.transaction = x.transactionid
 CROSS JOIN LATERAL (SELECT h.writes AND coalesce(a.backend_xid, x.transactionid) IS NOT NULL) AS w (writes)
 WHERE w.writes OR h.leaves <> '{}';

COMMENT ON VIEW outbox.blocker IS
    'Other transactions that hold events back by not having ended, or hold the TRUNCATE of a leaf';
COMMENT ON COLUMN outbox.blocker.pid IS 'Server process; NULL: a prepared transaction';
COMMENT ON COLUMN outbox.blocker.prepared IS 'Name of the prepared transaction, for COMMIT or ROLLBACK PREPARED';
COMMENT ON COLUMN outbox.blocker.username IS 'Its user';
COMMENT ON COLUMN outbox.blocker.application IS 'Its application_name, or the kind of server process';
COMMENT ON COLUMN outbox.blocker.age IS
    'Age of the transaction; NULL where the asking role may not see it, for want of pg_read_all_stats';
COMMENT ON COLUMN outbox.blocker.holds_rows IS
    'True: it has a transaction id and writes to outbox.event; what it wrote waits for its end';
COMMENT ON COLUMN outbox.blocker.holds_truncate IS 'True: it has a lock on a leaf';
COMMENT ON COLUMN outbox.blocker.leaves IS 'The leaves that it has locked; those cannot be emptied';

-- The other columns of event_status are those of the tables.
DO $columns$
DECLARE
    c record;
BEGIN
    FOR c IN
        SELECT v.attname, coalesce(col_description('outbox.event'::regclass, e.attnum),
                                   col_description('outbox.held'::regclass, h.attnum)) AS said
          FROM pg_attribute v
          LEFT JOIN pg_attribute e ON e.attrelid = 'outbox.event'::regclass AND e.attname = v.attname
          LEFT JOIN pg_attribute h ON h.attrelid = 'outbox.held'::regclass AND h.attname = v.attname
         WHERE v.attrelid = 'outbox.event_status'::regclass AND v.attnum > 0
           AND col_description(v.attrelid, v.attnum) IS NULL
    LOOP
        EXECUTE format('COMMENT ON COLUMN outbox.event_status.%I IS %L', c.attname, c.said);
    END LOOP;
END
$columns$;
COMMENT ON COLUMN outbox.backlog.topic IS 'Kafka topic';


-- Functions ---------------------------------------------------------------------------------------

-- What each touches, and which role of roles.sql may call it. All run with the rights of the caller:
--   event_is_sound     nothing; the check of event                                                everybody
--   append_event       inserts into event                                      everybody who may insert there
--   append             inserts into event                                                         outbox_writer
--   append_json        calls append                                                               outbox_writer
--   set_bucket_period  the default of event.bucket: ACCESS EXCLUSIVE of event, for a moment       outbox_owner
--   empty_bucket       truncates event_N and sent_N, moves rows to event_kept and sent_kept,
--                      updates and deletes in held, locks the row of relay FOR SHARE              outbox_relay
--   backlog_now        reads relay, event, sent, held                             outbox_relay, outbox_monitor

-- What liboutbox calls to store one event. The server keeps the plan of the INSERT for the session, with nothing
-- prepared there; and CALL, unlike SELECT, has no plan of its own. liboutbox looks for it by its name and passes the
-- parameters in this order: a procedure with others needs another name.
CREATE PROCEDURE outbox.append_event(
    topic text, key bytea, type text, schema_version integer, content_type text, payload bytea, headers json,
    event_id uuid, available_at timestamptz
) LANGUAGE plpgsql SECURITY INVOKER AS $body$
BEGIN
    INSERT INTO outbox.event (topic, key, type, schema_version, content_type, payload, headers, event_id,
                              available_at)
    VALUES (topic, key, type, schema_version, content_type, payload, headers, event_id, available_at);
    IF NOT FOUND THEN
        RAISE EXCEPTION 'outbox: stored 0 rows instead of 1: a trigger or rule on outbox.event takes events away'
            USING ERRCODE = 'triggered_data_change_violation';
    END IF;
END
$body$;

-- No CALL of append_event: it would cost an eighth more. No RETURNING: that would ask for SELECT, which writers do
-- not have. Names are qualified, because the body runs with the caller's search_path.
CREATE FUNCTION outbox.append(
    topic text, key bytea, type text, payload bytea, headers jsonb DEFAULT NULL,
    schema_version integer DEFAULT 1, content_type text DEFAULT NULL, event_id uuid DEFAULT NULL,
    available_at timestamptz DEFAULT NULL
) RETURNS uuid LANGUAGE plpgsql VOLATILE SECURITY INVOKER AS $body$
#variable_conflict use_variable
BEGIN
    event_id := coalesce(event_id, pg_catalog.gen_random_uuid());
    IF pg_catalog.jsonb_typeof(headers) OPERATOR(pg_catalog.=) 'object' THEN
        -- jsonb_each keeps values that are not strings, so that the table refuses them.
        headers := (SELECT pg_catalog.jsonb_agg(pg_catalog.jsonb_build_array(h.name, h.value))
                      FROM pg_catalog.jsonb_each(headers) AS h (name, value));
    END IF;
    INSERT INTO outbox.event (event_id, schema_version, topic, key, type, content_type, payload, headers,
                              available_at)
    VALUES (event_id, schema_version, topic, key, type, content_type, payload, headers::pg_catalog.json,
            available_at);
    IF NOT FOUND THEN
        RAISE EXCEPTION 'outbox: stored 0 rows instead of 1: a trigger or rule on outbox.event takes events away'
            USING ERRCODE = 'triggered_data_change_violation';
    END IF;
    RETURN event_id;
END
$body$;

CREATE FUNCTION outbox.append_json(
    topic text, key text, type text, payload jsonb, headers jsonb DEFAULT NULL,
    schema_version integer DEFAULT 1, content_type text DEFAULT 'application/json',
    event_id uuid DEFAULT NULL, available_at timestamptz DEFAULT NULL
) RETURNS uuid LANGUAGE plpgsql VOLATILE SECURITY INVOKER AS $body$
BEGIN
    RETURN outbox.append(topic, pg_catalog.convert_to(key, 'UTF8'), type,
                         pg_catalog.convert_to(payload::pg_catalog.text, 'UTF8'), headers,
                         schema_version, content_type, event_id, available_at);
END
$body$;

-- ONLY: events come in through the root, so its default is the one that counts, and no leaf need be
-- locked. The new default must stay a pure expression of now().
CREATE FUNCTION outbox.set_bucket_period(period interval) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY INVOKER
SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s' AS $body$
DECLARE
    seconds double precision := date_part('epoch', period);
BEGIN
    -- Months and years have no fixed length.
    IF period IS NULL OR seconds < 1 OR seconds > 315360000 OR seconds <> floor(seconds)
       OR date_part('year', period) <> 0 OR date_part('month', period) <> 0 THEN
        RAISE EXCEPTION 'outbox: bucket period % is not allowed', coalesce(period::text, 'NULL')
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'Give whole seconds, minutes, hours or days: at least 1 second, at most 3650 days.';
    END IF;
    EXECUTE format(
        'ALTER TABLE ONLY outbox.event ALTER COLUMN bucket SET DEFAULT '
        '((floor(date_part(''epoch'', now()))::bigint / %s) & 7)::smallint', seconds::bigint);
EXCEPTION
    WHEN lock_not_available THEN
        RAISE EXCEPTION 'outbox: outbox.event is locked, the period is as it was'
            USING ERRCODE = 'lock_not_available',
                  HINT = 'outbox.blocker lists who has it open; when that transaction has ended, set the period again.';
END
$body$;

-- Emptying a bucket -------------------------------------------------------------------------------

-- For the relay's janitor, which has walked the bucket before, without a lock, and found every event in
-- it sent or held: `walked` is the snapshot with which that began, was_held names those that were in held
-- and not in sent. What is left to do under the lock is little, whatever the size of the bucket:
-- - events that the walk may not have seen, found by the index on (xid, id): those of transactions that
--   were running at its beginning or came later. An id up to floor_id of a transaction that this cluster
--   has not reached came with a dump, before the relay took the lead.
-- - events that held named then: are they there still, or sent? A mark is never taken back.
-- - what held names now moves to event_kept, with its mark if it has one; but what a person has discarded
--   goes. It is looked for between the lowest and the highest id, since held has no index on bucket.
-- A transaction that has written to the bucket and not ended, a prepared one too, has a lock on it: then
-- there is no TRUNCATE. Who asks for the lock queues others behind it: hence 100 ms and no more. Appends
-- to other buckets do not wait at all. TRUNCATE is not for older snapshots: a transaction of isolation
-- level repeatable read that has not looked at the bucket before (pg_dump has) finds it empty.
-- A subtransaction, so that the locks end with it and the server's log has no error for what is normal.
-- row_security: TRUNCATE takes what a policy hides from this role as well, so where there is one it fails.
-- Another bucket's events, and event_kept, are not touched; the sequence of ids goes on.
CREATE FUNCTION outbox.empty_bucket(
    bucket smallint, epoch bigint, retention interval, walked pg_snapshot, was_held bigint[],
    OUT outcome text, OUT moved bigint, OUT bytes bigint,
    OUT pid integer, OUT prepared text, OUT application text, OUT age interval
) LANGUAGE plpgsql VOLATILE SECURITY INVOKER
SET search_path = pg_catalog, pg_temp SET lock_timeout = '100ms'
SET jit = off SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET enable_bitmapscan = off SET max_parallel_workers_per_gather = 0 SET row_security = off AS $body$
#variable_conflict use_column
DECLARE
    most_rows CONSTANT bigint := 10000;     -- that may move, or be looked at, under the lock
    most_bytes CONSTANT bigint := 67108864; -- that may move
    floor_id bigint;
    held_ids bigint[];
    n        bigint;
    size     bigint;
    bad      boolean;
BEGIN
    IF bucket IS NULL OR bucket NOT BETWEEN 0 AND 7 OR retention IS NULL OR walked IS NULL THEN
        RAISE EXCEPTION 'outbox: bucket must be 0 to 7, and retention and walked be given'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    -- With an older snapshot the look below the lock would not see what was committed before it.
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'outbox: empty_bucket needs isolation level read committed'
            USING ERRCODE = 'active_sql_transaction';
    END IF;

    outcome := 'crowded';
    EXECUTE format($sql$
        SELECT count(*), coalesce(sum(k.size), 0)
          FROM (SELECT coalesce(pg_column_size(e.payload), 0) + coalesce(pg_column_size(e.headers), 0) AS size
                  FROM outbox.held h JOIN outbox.event_%1$s e ON e.id = h.id
                 WHERE h.bucket = %1$s AND h.state <> 'discarded'
                   AND h.id >= (SELECT min(i.id) FROM outbox.event_%1$s i)
                   AND h.id <= (SELECT max(i.id) FROM outbox.event_%1$s i)
                 LIMIT $1 + 1) k
        $sql$, bucket) INTO n, size USING most_rows;
    IF n > most_rows OR size > most_bytes THEN
        RETURN;
    END IF;

    BEGIN
        EXECUTE format('LOCK TABLE outbox.event_%1$s, outbox.sent_%1$s IN ACCESS EXCLUSIVE MODE', bucket);

        -- A takeover waits for us from here on, or we see it. The leader's renewal waits as well.
        outcome := 'not leading';
        SELECT r.floor_id INTO floor_id FROM outbox.relay r
         WHERE r.name = 'default' AND r.epoch = empty_bucket.epoch FOR SHARE;
        IF NOT FOUND THEN
            RETURN;
        END IF;

        outcome := 'changed';
        EXECUTE format($sql$
            SELECT count(*) > $5 OR coalesce(bool_or(e.created_at > now() - $4
                OR NOT EXISTS (SELECT FROM outbox.sent_%1$s s WHERE s.id = e.id)
                   AND NOT EXISTS (SELECT FROM outbox.held h WHERE h.id = e.id)), false)
                OR EXISTS (SELECT FROM unnest($2) AS u (id)
                            WHERE NOT EXISTS (SELECT FROM outbox.held h WHERE h.id = u.id)
                              AND NOT EXISTS (SELECT FROM outbox.sent_%1$s s WHERE s.id = u.id))
              FROM (SELECT c.id, c.created_at FROM outbox.event_%1$s c
                     WHERE c.xid = ANY (ARRAY(SELECT pg_snapshot_xip($1)))
                     UNION ALL
                    SELECT c.id, c.created_at FROM outbox.event_%1$s c
                     WHERE c.xid >= pg_snapshot_xmax($1)
                       AND (c.id + 0 > $3 OR c.xid < pg_snapshot_xmax(pg_current_snapshot()))
                     LIMIT $5 + 1) e
            $sql$, bucket) INTO bad USING walked, was_held, floor_id, retention, most_rows;
        IF bad THEN
            RETURN;
        END IF;

        -- In order of id, as everybody does who locks several; what is read of held below stays as it is.
        EXECUTE format($sql$
            SELECT ARRAY(SELECT h.id FROM outbox.held h
                          WHERE h.id = ANY ($1 || ARRAY(SELECT i.id FROM outbox.held i
                                WHERE i.bucket = %1$s AND i.id >= (SELECT min(e.id) FROM outbox.event_%1$s e)
                                  AND i.id <= (SELECT max(e.id) FROM outbox.event_%1$s e)))
                            AND EXISTS (SELECT FROM outbox.event_%1$s e WHERE e.id = h.id)
                          ORDER BY h.id FOR UPDATE),
                   pg_total_relation_size('outbox.event_%1$s') + pg_total_relation_size('outbox.sent_%1$s')
            $sql$, bucket) INTO held_ids, bytes USING was_held;
        EXECUTE format($sql$
            INSERT INTO outbox.event_kept (xid, id, created_at, bucket, event_id, schema_version, topic, key,
                                           type, content_type, payload, headers, available_at)
            OVERRIDING SYSTEM VALUE
            SELECT e.xid, e.id, e.created_at, -1, e.event_id, e.schema_version, e.topic, e.key,
                   e.type, e.content_type, e.payload, e.headers, e.available_at
              FROM unnest($1) AS u (id)
              JOIN outbox.held h ON h.id = u.id AND h.state <> 'discarded'
              JOIN outbox.event_%1$s e ON e.id = u.id
            $sql$, bucket) USING held_ids;
        GET DIAGNOSTICS moved = ROW_COUNT;
        EXECUTE format($sql$
            INSERT INTO outbox.sent (id, sent_at, kafka_offset, kafka_partition, bucket)
            SELECT s.id, s.sent_at, s.kafka_offset, s.kafka_partition, -1
              FROM unnest($1) AS u (id)
              JOIN outbox.held h ON h.id = u.id AND h.state <> 'discarded'
              JOIN outbox.sent_%1$s s ON s.id = u.id
                ON CONFLICT DO NOTHING
            $sql$, bucket) USING held_ids;
        UPDATE outbox.held h SET bucket = -1 WHERE h.id = ANY (held_ids) AND h.state <> 'discarded';
        DELETE FROM outbox.held h WHERE h.id = ANY (held_ids) AND h.state = 'discarded';
        EXECUTE format('TRUNCATE outbox.event_%1$s, outbox.sent_%1$s', bucket);
        outcome := 'emptied';
    EXCEPTION
        WHEN lock_not_available OR deadlock_detected THEN
            outcome := 'locked';
            moved := NULL;
            bytes := NULL;
            -- Who was in front of us is older than our wait; all others are passers-by. No age: either it
            -- may not be seen, or the transaction has ended this moment.
            SELECT b.pid, b.prepared, b.application, b.age INTO pid, prepared, application, age
              FROM outbox.blocker b
             WHERE b.leaves && ARRAY['event_' || empty_bucket.bucket, 'sent_' || empty_bucket.bucket]
               AND (b.age >= interval '100 ms' OR b.age IS NULL AND b.username IS DISTINCT FROM current_user
                                                  AND NOT pg_has_role('pg_read_all_stats', 'USAGE'))
             ORDER BY b.age DESC NULLS FIRST LIMIT 1;
    END;
END
$body$;

REVOKE ALL ON FUNCTION outbox.append(text, bytea, text, bytea, jsonb, integer, text, uuid, timestamptz),
                       outbox.append_json(text, text, text, jsonb, jsonb, integer, text, uuid, timestamptz),
                       outbox.set_bucket_period(interval),
                       outbox.empty_bucket(smallint, bigint, interval, pg_snapshot, bigint[]),
                       outbox.backlog_now() FROM PUBLIC;

-- Whoever may insert must be able to, whatever the default privileges of this database.
GRANT EXECUTE ON FUNCTION outbox.event_is_sound(integer, text, bytea, text, text, bytea, json) TO PUBLIC;
GRANT EXECUTE ON PROCEDURE
    outbox.append_event(text, bytea, text, integer, text, bytea, json, uuid, timestamptz) TO PUBLIC;

COMMENT ON FUNCTION outbox.event_is_sound(integer, text, bytea, text, text, bytea, json) IS
    'True, or an error (23514) that names the rule of an event which is broken. The check of outbox.event';
COMMENT ON PROCEDURE outbox.append_event(text, bytea, text, integer, text, bytea, json, uuid, timestamptz) IS
    'Store an event with the current transaction, for liboutbox: the INSERT, with a plan that the session keeps';
COMMENT ON FUNCTION outbox.append(text, bytea, text, bytea, jsonb, integer, text, uuid, timestamptz) IS
    'Store an event with the current transaction and return its event_id. headers: an array of '
    '[name, value] pairs, or an object (in the order of jsonb). A direct INSERT is as good';
COMMENT ON FUNCTION outbox.append_json(text, text, text, jsonb, jsonb, integer, text, uuid, timestamptz) IS
    'The same with a text key, sent as UTF-8, and a JSON payload. SQL NULL payload: a tombstone';
COMMENT ON FUNCTION outbox.backlog_now() IS
    'What the view backlog shows; with the rights of the caller, who therefore needs EXECUTE on it';
COMMENT ON FUNCTION outbox.set_bucket_period(interval) IS
    'How long events go to one bucket of the ring (1 day at first). Owner only; locks outbox.event for a moment';

COMMENT ON FUNCTION outbox.empty_bucket(smallint, bigint, interval, pg_snapshot, bigint[]) IS
    'The relay''s janitor: truncate a bucket that it has walked, and keep what held names. outcome: emptied; '
    'locked (pid, application, age say by whom); changed since the walk; crowded (more than 10,000 held '
    'events, or 64 MiB); not leading';


-- First rows --------------------------------------------------------------------------------------

INSERT INTO outbox.relay (name) VALUES ('default');
INSERT INTO outbox.schema_version (version, min_relay, breaking) VALUES (1, '0.1.0', true);

-- For what a tool does after this in the same transaction.
DO $path$
BEGIN
    PERFORM pg_catalog.set_config('search_path', pg_catalog.current_setting('outbox.search_path'), true);
END
$path$;
