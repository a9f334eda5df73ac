-- migrate:up
--
-- 002_inbox.up.sql - the inbox: what consumers of events must remember, version 2.
--
-- Purpose   A consumer stores the id of each event, and its place in Kafka, in the transaction that
--           applies the event, so that repeats are dropped. For libinbox and for any other language.
-- Locks     Only on objects that this file creates; no table of yours is touched.
-- Duration  Well under a second; nothing is scanned or rewritten.
-- Tables    Creates schema inbox with seen (seen_0..seen_7), ring, position, attempt, dead, consumer,
--           schema_version; views dead_letter, failing, progress; functions accept, accept_many, known, finish,
--           claim, turn. Needs nothing of 001 and changes nothing of it: it belongs into the database
--           that consumers write to, which may have no outbox.
-- Needs     PostgreSQL 13 or later and CREATE on the database (or an empty schema "inbox" of your
--           own). No extension, no superuser. Roles are in inbox_roles.sql and optional.
-- Retry     Safe: it runs in one transaction, so a failure leaves nothing behind. Where it is
--           installed already it says so and changes nothing.
-- Run       In one transaction, as 001: psql -X -v ON_ERROR_STOP=1 -1 -f 002_inbox.up.sql, or with a
--           tool for migrations. Not as a role named "inbox" with a tool that keeps its own table
--           unqualified.

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

DO $check$
BEGIN
    -- Outside a transaction SET LOCAL does nothing, and a failure half way would leave half a schema.
    IF pg_catalog.current_setting('inbox.migration', true) IS DISTINCT FROM 'begun' THEN
        RAISE EXCEPTION 'inbox: this file must run in one transaction'
            USING ERRCODE = 'no_active_sql_transaction',
                  HINT = 'With psql: psql -v ON_ERROR_STOP=1 -1 -f FILE. A tool that goes on after this error carries out what follows.';
    END IF;
    IF current_setting('server_version_num')::int < 130000 THEN
        RAISE EXCEPTION 'inbox: PostgreSQL 13 or later is needed, this is %',
            current_setting('server_version');
    END IF;
    IF to_regclass('inbox.schema_version') IS NOT NULL OR to_regclass('inbox.seen') IS NOT NULL THEN
        RAISE EXCEPTION 'inbox: already installed in database "%"', current_database()
            USING ERRCODE = 'duplicate_table',
                  HINT = 'See inbox.schema_version. To install anew run 002_inbox.down.sql first.';
    END IF;
    IF to_regnamespace('inbox') IS NULL THEN
        CREATE SCHEMA inbox;
    END IF;
EXCEPTION
    WHEN insufficient_privilege THEN
        RAISE EXCEPTION 'inbox: %', SQLERRM
            USING ERRCODE = 'insufficient_privilege',
                  HINT = format('Let its owner: GRANT CREATE ON DATABASE %I TO %I; or CREATE SCHEMA inbox AUTHORIZATION %2$I;',
                                current_database(), current_user);
END
$check$;

COMMENT ON SCHEMA inbox IS
    'Inbox of event consumers: which events were applied, how far each partition is, and dead letters';


-- What was applied --------------------------------------------------------------------------------

-- A table of its own: the inbox lives where there is no outbox as well.
CREATE TABLE inbox.schema_version (
    version      integer     NOT NULL,
    min_library  text        NOT NULL,
    breaking     boolean     NOT NULL,
    applied_at   timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT schema_version_pkey PRIMARY KEY (version),
    CONSTRAINT schema_version_positive CHECK (version >= 1)
);
COMMENT ON TABLE inbox.schema_version IS
    'One row per applied migration of the inbox; libinbox compares the highest with what it knows';
COMMENT ON COLUMN inbox.schema_version.version IS 'Number of the migration file';
COMMENT ON COLUMN inbox.schema_version.min_library IS 'Oldest libinbox that works with this version';
COMMENT ON COLUMN inbox.schema_version.breaking IS
    'True: programs that know only lower versions must refuse to work';
COMMENT ON COLUMN inbox.schema_version.applied_at IS 'When the migration ran';


-- Consumers ---------------------------------------------------------------------------------------

CREATE TABLE inbox.consumer (
    name         text COLLATE "C" NOT NULL,
    dedupe_keep  interval    NOT NULL DEFAULT '7 days',
    started_at   timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT consumer_pkey PRIMARY KEY (name),
    CONSTRAINT consumer_name_length CHECK (octet_length(name) BETWEEN 1 AND 249),
    CONSTRAINT consumer_dedupe_keep_long_enough CHECK (dedupe_keep >= interval '1 minute')
);
COMMENT ON TABLE inbox.consumer IS
    'Who consumes. The longest dedupe_keep holds for all; delete the row of a consumer that is no more';
COMMENT ON COLUMN inbox.consumer.name IS 'Name of the consumer: its Kafka group';
COMMENT ON COLUMN inbox.consumer.dedupe_keep IS 'How long ids must be remembered at least';
COMMENT ON COLUMN inbox.consumer.started_at IS 'When a process of this consumer last connected';


-- Ids that were applied ---------------------------------------------------------------------------

-- One id is taken once per consumer, though no unique index spans the ring. The argument:
--   1. Within one bucket the primary key of the leaf sees to it. A second transaction that stores the
--      same id waits for the first.
--   2. Which bucket is current says inbox.ring, and only turn() changes it, under ACCESS EXCLUSIVE of
--      inbox.ring. Who stores an id holds ACCESS SHARE of inbox.ring from before it looks to the end
--      of its transaction. So when the ring turns, nobody has an unfinished row in any bucket, and
--      whoever comes after sees all rows of the other buckets, with a snapshot taken after its lock
--      was granted. Hence looking them up there is enough (READ COMMITTED, which accept() insists on:
--      an older snapshot would miss some).
--   3. A bucket is emptied only when its newest row is older than dedupe_keep.
-- A dead letter that is redriven stores its id once more, so that it stays for long enough: a second row, in an
-- older bucket, says the same.
-- It does not matter where a repeat stands: the id alone decides, not partition, offset or time. The
-- bucket does not follow from the id either, because an id need not be a UUIDv7, and one that is
-- replayed says when the event was made and not when it was applied. A clock (now()) would not do
-- instead of the ring's row: at midnight a transaction that began before could put an id into the old
-- bucket unseen while another puts it into the new one.
CREATE TABLE inbox.seen (
    bucket       smallint    NOT NULL,
    consumer     text COLLATE "C" NOT NULL,
    event_id     text COLLATE "C" NOT NULL,
    accepted_at  timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT seen_event_id_length CHECK (octet_length(event_id) BETWEEN 1 AND 1100)
) PARTITION BY LIST (bucket);

CREATE TABLE inbox.seen_0 PARTITION OF inbox.seen (CONSTRAINT seen_0_pkey PRIMARY KEY (consumer, event_id)) FOR VALUES IN (0);
CREATE TABLE inbox.seen_1 PARTITION OF inbox.seen (CONSTRAINT seen_1_pkey PRIMARY KEY (consumer, event_id)) FOR VALUES IN (1);
CREATE TABLE inbox.seen_2 PARTITION OF inbox.seen (CONSTRAINT seen_2_pkey PRIMARY KEY (consumer, event_id)) FOR VALUES IN (2);
CREATE TABLE inbox.seen_3 PARTITION OF inbox.seen (CONSTRAINT seen_3_pkey PRIMARY KEY (consumer, event_id)) FOR VALUES IN (3);
CREATE TABLE inbox.seen_4 PARTITION OF inbox.seen (CONSTRAINT seen_4_pkey PRIMARY KEY (consumer, event_id)) FOR VALUES IN (4);
CREATE TABLE inbox.seen_5 PARTITION OF inbox.seen (CONSTRAINT seen_5_pkey PRIMARY KEY (consumer, event_id)) FOR VALUES IN (5);
CREATE TABLE inbox.seen_6 PARTITION OF inbox.seen (CONSTRAINT seen_6_pkey PRIMARY KEY (consumer, event_id)) FOR VALUES IN (6);
CREATE TABLE inbox.seen_7 PARTITION OF inbox.seen (CONSTRAINT seen_7_pkey PRIMARY KEY (consumer, event_id)) FOR VALUES IN (7);

COMMENT ON TABLE inbox.seen IS
    'One row per event that a consumer has applied or put into dead. Insert-only; old buckets leave by TRUNCATE';
COMMENT ON COLUMN inbox.seen.bucket IS 'Leaf of the ring; inbox.ring says which is current';
COMMENT ON COLUMN inbox.seen.consumer IS 'Who has applied it';
COMMENT ON COLUMN inbox.seen.event_id IS
    'The event: its UUID; another id behind its source and a space; topic/partition/offset where it has none';
COMMENT ON COLUMN inbox.seen.accepted_at IS 'Start of the transaction that applied it';

DO $leaves$
BEGIN
    FOR leaf IN 0..7 LOOP
        EXECUTE format('COMMENT ON TABLE inbox.%I IS %L', 'seen_' || leaf, 'Leaf of inbox.seen, bucket ' || leaf);
    END LOOP;
END
$leaves$;

CREATE TABLE inbox.ring (
    bucket        smallint    NOT NULL,
    is_current    boolean     NOT NULL DEFAULT false,
    filled_since  timestamptz,
    filled_until  timestamptz,
    CONSTRAINT ring_pkey PRIMARY KEY (bucket),
    CONSTRAINT ring_bucket_of_ring CHECK (bucket BETWEEN 0 AND 7)
);
CREATE UNIQUE INDEX ring_current_idx ON inbox.ring (is_current) WHERE is_current;
COMMENT ON TABLE inbox.ring IS
    'The eight buckets of inbox.seen. Written by turn() only, under a lock that everybody who accepts respects';
COMMENT ON COLUMN inbox.ring.bucket IS 'Number of the leaf';
COMMENT ON COLUMN inbox.ring.is_current IS 'True for the one that takes new ids';
COMMENT ON COLUMN inbox.ring.filled_since IS 'When it became current; NULL: never';
COMMENT ON COLUMN inbox.ring.filled_until IS
    'When it ceased to be: no row of it is younger. NULL: it is current, or never was';
COMMENT ON INDEX inbox.ring_current_idx IS 'One bucket is current';


-- How far each partition is -----------------------------------------------------------------------

-- Rewritten by each transaction of its owner: room on the page lets these updates be HOT.
CREATE TABLE inbox.position (
    consumer         text COLLATE "C" NOT NULL,
    topic            text COLLATE "C" NOT NULL,
    kafka_partition  integer     NOT NULL,
    next_offset      bigint,
    witness_offset   bigint,
    witness_mark     bigint,
    owner            text,
    claimed_at       timestamptz,
    moved_at         timestamptz,
    applied_at       timestamptz,
    CONSTRAINT position_pkey PRIMARY KEY (consumer, topic, kafka_partition),
    CONSTRAINT position_consumer_length CHECK (octet_length(consumer) BETWEEN 1 AND 249),
    CONSTRAINT position_topic_length CHECK (octet_length(topic) BETWEEN 1 AND 249),
    CONSTRAINT position_partition_not_negative CHECK (kafka_partition >= 0),
    CONSTRAINT position_next_offset_not_negative CHECK (next_offset >= 0)
) WITH (fillfactor = 20, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
COMMENT ON TABLE inbox.position IS
    'The truth about how far a consumer is; Kafka''s own offsets of the group follow it and are a hint';
COMMENT ON COLUMN inbox.position.consumer IS 'The consumer';
COMMENT ON COLUMN inbox.position.topic IS 'Kafka topic';
COMMENT ON COLUMN inbox.position.kafka_partition IS 'Partition of the topic';
COMMENT ON COLUMN inbox.position.next_offset IS
    'The lowest offset that is not finished: all before it are applied, dropped or dead, or before where it began. NULL: where it begins is not known yet';
COMMENT ON COLUMN inbox.position.witness_offset IS
    'A record at next_offset or just before it, which tells this log from another under the topic''s name. NULL: none';
COMMENT ON COLUMN inbox.position.witness_mark IS
    'Hash of its timestamp, key, id and length. Another record there: the topic was made anew, and is read from its beginning';
COMMENT ON COLUMN inbox.position.owner IS
    'The process that has the partition (host/pid/chance); only its transactions may move the row. NULL: none';
COMMENT ON COLUMN inbox.position.claimed_at IS 'When the owner got it';
COMMENT ON COLUMN inbox.position.moved_at IS
    'Start of the last transaction that finished events of it; behind a key that is held back next_offset stands all the same';
COMMENT ON COLUMN inbox.position.applied_at IS
    'When an event of it was last applied, at the end of that transaction: dead letters and repeats are none, but one that is called again and succeeds';


-- Calls that may not return, and calls that failed -------------------------------------------------

-- What a transaction has written is gone when its process is killed; so a call that may end the process is
-- written down, and committed, before it begins. Most calls never are: see lib/inbox/attempts.c. One that has
-- failed is written down afterwards, so that others see why an event waits, and for how long.
CREATE TABLE inbox.attempt (
    consumer         text COLLATE "C" NOT NULL,
    topic            text COLLATE "C" NOT NULL,
    kafka_partition  integer     NOT NULL,
    kafka_offset     bigint      NOT NULL,
    event_id         text COLLATE "C" NOT NULL,
    attempts         integer     NOT NULL,
    begun_by         text,
    first_begun_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    error_code       text,
    error            text,
    last_failed_at   timestamptz,
    next_attempt_at  timestamptz,
    CONSTRAINT attempt_pkey PRIMARY KEY (consumer, topic, kafka_partition, kafka_offset),
    CONSTRAINT attempt_attempts_positive CHECK (attempts >= 1)
);
COMMENT ON TABLE inbox.attempt IS
    'Events that are not finished, and whose handler failed, or was called with care: again after a failure, or first after a process ended unasked';
COMMENT ON COLUMN inbox.attempt.consumer IS 'Whose it is';
COMMENT ON COLUMN inbox.attempt.topic IS 'Topic of its record';
COMMENT ON COLUMN inbox.attempt.kafka_partition IS 'Partition of its record';
COMMENT ON COLUMN inbox.attempt.kafka_offset IS 'Offset of its record';
COMMENT ON COLUMN inbox.attempt.event_id IS 'As in inbox.seen';
COMMENT ON COLUMN inbox.attempt.attempts IS 'Calls of the handler that began';
COMMENT ON COLUMN inbox.attempt.begun_by IS
    'The process whose handler is at work, or which ended in it; NULL: the last call failed and returned';
COMMENT ON COLUMN inbox.attempt.first_begun_at IS 'When the first of these calls began';
COMMENT ON COLUMN inbox.attempt.error_code IS 'SQLSTATE of the last error; NULL: it was none of the database';
COMMENT ON COLUMN inbox.attempt.error IS 'The last error in words; NULL: none is known';
COMMENT ON COLUMN inbox.attempt.last_failed_at IS 'When a call last failed and returned; NULL: none did, as far as is known';
COMMENT ON COLUMN inbox.attempt.next_attempt_at IS
    'When its process calls the handler again; NULL: it is at work. Another process, once it has the partition, calls at once';


-- Dead letters ------------------------------------------------------------------------------------

CREATE TABLE inbox.dead (
    id               bigint      NOT NULL GENERATED ALWAYS AS IDENTITY,
    consumer         text COLLATE "C" NOT NULL,
    topic            text COLLATE "C" NOT NULL,
    kafka_partition  integer     NOT NULL,
    kafka_offset     bigint      NOT NULL,
    event_id         text COLLATE "C" NOT NULL,
    type             text,
    key              bytea,
    payload          bytea,
    header_names     text[]      NOT NULL DEFAULT '{}',
    header_values    bytea[]     NOT NULL DEFAULT '{}',
    recorded_at      timestamptz,
    state            text        NOT NULL DEFAULT 'dead',
    reason           text        NOT NULL,
    attempts         integer     NOT NULL DEFAULT 0,
    error_code       text,
    error            text,
    first_error_at   timestamptz,
    died_at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    changed_at       timestamptz NOT NULL DEFAULT now(),
    discard_reason   text,
    called_by        text,
    CONSTRAINT dead_pkey PRIMARY KEY (id),
    CONSTRAINT dead_state_known CHECK (state IN ('dead', 'retry', 'discarded')),
    CONSTRAINT dead_reason_known CHECK (reason IN ('rejected', 'attempts', 'time')),
    CONSTRAINT dead_attempts_not_negative CHECK (attempts >= 0),
    CONSTRAINT dead_headers_pairs CHECK (cardinality(header_names) = cardinality(header_values))
);
CREATE INDEX dead_state_idx ON inbox.dead (consumer, state, id);
CREATE INDEX dead_event_idx ON inbox.dead (consumer, event_id);
COMMENT ON TABLE inbox.dead IS
    'Events that a consumer could not apply, whole. To decide: outbox-relay inbox retry or discard, or set state';
COMMENT ON COLUMN inbox.dead.id IS 'Number of the dead letter';
COMMENT ON COLUMN inbox.dead.event_id IS
    'As in inbox.seen. As long as the row is here a repeat is dropped, however long ago the event died';
COMMENT ON COLUMN inbox.dead.type IS 'Type of the event; NULL: it had none';
COMMENT ON COLUMN inbox.dead.key IS 'Kafka key; NULL: none';
COMMENT ON COLUMN inbox.dead.payload IS 'Kafka value; NULL: a tombstone';
COMMENT ON COLUMN inbox.dead.header_names IS
    'Names of all headers, in order; bytes that are no text of this database are shown as ?';
COMMENT ON COLUMN inbox.dead.header_values IS 'Their values; NULL where Kafka has NULL';
COMMENT ON COLUMN inbox.dead.recorded_at IS 'Timestamp of the record; NULL: it had none';
COMMENT ON COLUMN inbox.dead.state IS
    'dead: somebody must decide; retry: its consumer will call the handler again, and delete the row when that '
    'succeeds; discarded: given up by a person, deleted after dedupe_keep';
COMMENT ON COLUMN inbox.dead.reason IS
    'rejected: by the handler; attempts: retry.attempts were used up; time: retry.total had passed';
COMMENT ON COLUMN inbox.dead.attempts IS 'Calls of the handler';
COMMENT ON COLUMN inbox.dead.error_code IS 'SQLSTATE of the last error; NULL: it was none of the database';
COMMENT ON COLUMN inbox.dead.error IS 'The last error in words';
COMMENT ON COLUMN inbox.dead.first_error_at IS 'When it first failed';
COMMENT ON COLUMN inbox.dead.died_at IS 'When it was put here';
COMMENT ON COLUMN inbox.dead.changed_at IS 'When state last changed; set it with state';
COMMENT ON COLUMN inbox.dead.discard_reason IS 'Why a person gave it up; NULL: nobody did, or nobody said why';
COMMENT ON COLUMN inbox.dead.called_by IS
    'The process that calls its handler again, or ended in that call; NULL: none';
COMMENT ON INDEX inbox.dead_state_idx IS 'What a consumer is to call again, and what waits for a decision';
COMMENT ON INDEX inbox.dead_event_idx IS 'Is it a dead letter?';


-- Views -------------------------------------------------------------------------------------------

-- Key, payload and headers are left out: who may watch need not read the business data.
CREATE VIEW inbox.dead_letter AS
SELECT id, consumer, topic, kafka_partition, kafka_offset, event_id, type, state, reason, attempts,
       error_code, error, first_error_at, died_at, changed_at, discard_reason, recorded_at,
       octet_length(payload) AS payload_bytes
  FROM inbox.dead;
COMMENT ON VIEW inbox.dead_letter IS 'Dead letters without their contents';
COMMENT ON COLUMN inbox.dead_letter.payload_bytes IS 'Length of the payload; NULL: a tombstone';

-- What was finished elsewhere meanwhile, and what is called with care for the first time, is none of these.
CREATE VIEW inbox.failing AS
SELECT a.consumer, a.topic, a.kafka_partition, a.kafka_offset, a.event_id, a.attempts, a.error_code, a.error,
       a.first_begun_at, a.last_failed_at, a.next_attempt_at, a.begun_by
  FROM inbox.attempt a
  JOIN inbox.position p USING (consumer, topic, kafka_partition)
 WHERE a.kafka_offset >= coalesce(p.next_offset, 0)
   AND (a.last_failed_at IS NOT NULL OR a.attempts > 1
        OR (a.begun_by IS NOT NULL AND a.begun_by IS DISTINCT FROM p.owner));
COMMENT ON VIEW inbox.failing IS
    'Events whose handler failed or ended its process, and that are called again until they are applied or dead letters';

CREATE VIEW inbox.progress AS
SELECT c.name AS consumer, c.dedupe_keep, c.started_at, p.partitions, p.owned, p.owners, p.last_moved_at,
       p.last_applied_at, f.failing, f.oldest_failing_at, d.dead, d.retry, d.oldest_dead_at
  FROM inbox.consumer c
 CROSS JOIN LATERAL (SELECT count(*) AS partitions, count(owner) AS owned, count(DISTINCT owner) AS owners,
                            max(moved_at) AS last_moved_at, max(applied_at) AS last_applied_at
                       FROM inbox.position WHERE position.consumer = c.name) p
 CROSS JOIN LATERAL (SELECT count(*) AS failing, min(first_begun_at) AS oldest_failing_at
                       FROM inbox.failing WHERE failing.consumer = c.name) f
 CROSS JOIN LATERAL (SELECT count(*) FILTER (WHERE state = 'dead') AS dead,
                            count(*) FILTER (WHERE state = 'retry') AS retry,
                            min(died_at) FILTER (WHERE state = 'dead') AS oldest_dead_at
                       FROM inbox.dead WHERE dead.consumer = c.name) d;
COMMENT ON VIEW inbox.progress IS
    'One row per consumer: its partitions, who has them, what fails, its dead letters';
COMMENT ON COLUMN inbox.progress.consumer IS 'Name of the consumer: its Kafka group';
COMMENT ON COLUMN inbox.progress.partitions IS 'Partitions that it has ever had';
COMMENT ON COLUMN inbox.progress.owned IS 'Of these, those that a process has now, or had when it was killed';
COMMENT ON COLUMN inbox.progress.owners IS 'How many processes these are';
COMMENT ON COLUMN inbox.progress.last_moved_at IS 'When events were last finished, of any partition';
COMMENT ON COLUMN inbox.progress.last_applied_at IS 'When any event was last applied; NULL: none was yet';
COMMENT ON COLUMN inbox.progress.failing IS 'Events that fail and are called again: rows of inbox.failing';
COMMENT ON COLUMN inbox.progress.oldest_failing_at IS 'When the first call of the oldest of these began';
COMMENT ON COLUMN inbox.progress.dead IS 'Dead letters that wait for a decision';
COMMENT ON COLUMN inbox.progress.retry IS 'Dead letters on their way back to the handler';
COMMENT ON COLUMN inbox.progress.oldest_dead_at IS 'Since when the oldest waits';

-- A column without a comment has that of its namesake in the table that it comes from.
DO $columns$
DECLARE
    pair text[];
    c record;
BEGIN
    FOREACH pair SLICE 1 IN ARRAY ARRAY[['dead', 'attempt'], ['dead_letter', 'dead'], ['failing', 'attempt'],
                                         ['progress', 'consumer']] LOOP
        FOR c IN
            SELECT t.attname, col_description(o.attrelid, o.attnum) AS said
              FROM pg_attribute t JOIN pg_attribute o ON o.attname = t.attname
             WHERE t.attrelid = to_regclass('inbox.' || pair[1]) AND o.attrelid = to_regclass('inbox.' || pair[2])
               AND t.attnum > 0 AND col_description(t.attrelid, t.attnum) IS NULL
        LOOP
            EXECUTE format('COMMENT ON COLUMN inbox.%I.%I IS %L', pair[1], c.attname, c.said);
        END LOOP;
    END LOOP;
END
$columns$;


-- Functions ---------------------------------------------------------------------------------------

-- What each touches; inbox_consumer of inbox_roles.sql may call them all. They run with the rights of the caller:
--   known        reads seen, dead
--   accept_many  reads ring (ACCESS SHARE to the end of the transaction), seen, dead; inserts into seen
--   accept       calls accept_many
--   claim        inserts into position, or updates it
--   finish       updates position; calls accept_many
--   turn         reads consumer; deletes what was discarded from dead, truncates seen_N, updates ring (ACCESS EXCLUSIVE)

-- They run with the caller's rights, in a session that may have any search_path: what they call by a
-- name alone must be PostgreSQL's, or somebody's function of a better fitting type would be called.

-- The lookup is one probe of each leaf's index for each id; the planner must not think of reading whole leaves,
-- which it may while a table is young or its statistics are old, and keeps the plan for the session.
-- A dead letter counts as known: its id may have left seen while somebody thought about it.
CREATE FUNCTION inbox.known(consumer text, event_ids text[]) RETURNS text[]
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS
$body$
BEGIN
    RETURN ARRAY(
        SELECT i.id FROM unnest(known.event_ids) AS i (id)
         WHERE (SELECT true FROM inbox.seen s
                 WHERE s.consumer = known.consumer AND s.event_id = i.id LIMIT 1)
            OR (SELECT true FROM inbox.dead d
                 WHERE d.consumer = known.consumer AND d.event_id = i.id LIMIT 1));
END
$body$;

CREATE FUNCTION inbox.accept_many(consumer text, event_ids text[]) RETURNS text[]
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS
$body$
DECLARE
    to_bucket  smallint;
    taken      text[];
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'inbox: isolation level % would miss ids that others store meanwhile; use READ COMMITTED',
            current_setting('transaction_isolation') USING ERRCODE = 'active_sql_transaction';
    END IF;
    -- Kept to the end of the transaction. The snapshot of each statement below is younger than it.
    LOCK TABLE inbox.ring IN ACCESS SHARE MODE;
    SELECT r.bucket INTO STRICT to_bucket FROM inbox.ring r WHERE r.is_current;
    -- In one order, so that two transactions with the same ids cannot deadlock.
    WITH put AS (
        INSERT INTO inbox.seen AS n (bucket, consumer, event_id)
        SELECT to_bucket, accept_many.consumer, i.id
          FROM (SELECT DISTINCT u.id COLLATE "C" AS id FROM unnest(accept_many.event_ids) AS u (id)) i
         WHERE (SELECT true FROM inbox.seen s
                 WHERE s.consumer = accept_many.consumer AND s.event_id = i.id LIMIT 1) IS NULL
           AND (SELECT true FROM inbox.dead d
                 WHERE d.consumer = accept_many.consumer AND d.event_id = i.id LIMIT 1) IS NULL
         ORDER BY i.id
        ON CONFLICT DO NOTHING
        RETURNING n.event_id)
    SELECT coalesce(array_agg(p.event_id), '{}') INTO taken FROM put p;
    RETURN taken;
END
$body$;

CREATE FUNCTION inbox.accept(consumer text, event_id text) RETURNS boolean
    LANGUAGE sql VOLATILE AS
$body$
    SELECT pg_catalog.cardinality(inbox.accept_many($1, ARRAY[$2])) OPERATOR(pg_catalog.=) 1
$body$;

-- The new owner waits for no transaction of the old one but its last moment: finish() looks at the owner
-- under the lock of the row. Either the old owner's transaction got there first, and its position is
-- what comes back here; or it finds another owner and fails.
CREATE FUNCTION inbox.claim(consumer text, topic text, kafka_partition integer, owner text, OUT next_offset bigint,
                            OUT witness_offset bigint, OUT witness_mark bigint) RETURNS record
    LANGUAGE sql VOLATILE AS
$body$
    INSERT INTO inbox.position AS p (consumer, topic, kafka_partition, owner, claimed_at)
    VALUES ($1, $2, $3, $4, pg_catalog.now())
    ON CONFLICT ON CONSTRAINT position_pkey DO UPDATE SET owner = excluded.owner, claimed_at = excluded.claimed_at
    RETURNING p.next_offset, p.witness_offset, p.witness_mark
$body$;

CREATE FUNCTION inbox.finish(consumer text, owner text, event_ids text[], topics text[],
                             kafka_partitions integer[], next_offsets bigint[], witness_offsets bigint[],
                             witness_marks bigint[], applied integer) RETURNS void
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS
$body$
DECLARE
    n  bigint;
BEGIN
    IF current_setting('inbox.transaction', true) IS DISTINCT FROM finish.owner THEN
        RAISE EXCEPTION 'inbox: a handler has ended the transaction' USING ERRCODE = 'IB003';
    END IF;
    -- One order for all, so that an old owner and a new one cannot deadlock.
    PERFORM FROM inbox.position p
       JOIN unnest(finish.topics, finish.kafka_partitions) AS w (topic, kafka_partition)
         ON p.topic = w.topic AND p.kafka_partition = w.kafka_partition
      WHERE p.consumer = finish.consumer
      ORDER BY p.topic, p.kafka_partition
        FOR UPDATE OF p;
    UPDATE inbox.position p SET next_offset = w.next_offset, witness_offset = w.witness_offset,
                                witness_mark = w.witness_mark, moved_at = now(),
                                applied_at = CASE WHEN finish.applied > 0 THEN clock_timestamp() ELSE p.applied_at END
      FROM unnest(finish.topics, finish.kafka_partitions, finish.next_offsets, finish.witness_offsets,
                  finish.witness_marks)
           AS w (topic, kafka_partition, next_offset, witness_offset, witness_mark)
     WHERE p.consumer = finish.consumer AND p.topic = w.topic AND p.kafka_partition = w.kafka_partition
       AND p.owner = finish.owner;
    GET DIAGNOSTICS n = ROW_COUNT;
    IF n <> cardinality(finish.topics) THEN
        RAISE EXCEPTION 'inbox: a partition has another owner' USING ERRCODE = 'IB001';
    END IF;
    IF cardinality(inbox.accept_many(finish.consumer, finish.event_ids)) <> cardinality(finish.event_ids) THEN
        RAISE EXCEPTION 'inbox: an event was applied by another transaction meanwhile' USING ERRCODE = 'IB002';
    END IF;
END
$body$;

CREATE FUNCTION inbox.turn(OUT outcome text, OUT bucket smallint) RETURNS record
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET lock_timeout = '200ms' AS
$body$
DECLARE
    keep     interval;
    present  record;
    next     record;
    locked   boolean := false;
BEGIN
    outcome := 'early';
    -- Looked at twice: without the lock, which is needed once a day, and under it.
    FOR look IN 1..2 LOOP
        SELECT coalesce(max(c.dedupe_keep), interval '7 days') INTO keep FROM inbox.consumer c;
        SELECT r.* INTO STRICT present FROM inbox.ring r WHERE r.is_current;
        SELECT r.* INTO STRICT next FROM inbox.ring r WHERE r.bucket = (present.bucket + 1) & 7;
        -- Seven buckets hold what must be kept while the eighth is emptied.
        EXIT WHEN clock_timestamp() < present.filled_since + keep / 7;
        IF next.filled_until > clock_timestamp() - keep THEN
            outcome := 'young';
            EXIT;
        END IF;
        IF locked THEN
            EXECUTE format('TRUNCATE inbox.seen_%s', next.bucket);
            UPDATE inbox.ring r SET is_current = false, filled_until = clock_timestamp() WHERE r.bucket = present.bucket;
            UPDATE inbox.ring r SET is_current = true, filled_since = clock_timestamp(), filled_until = NULL
             WHERE r.bucket = next.bucket;
            outcome := 'turned';
            bucket := next.bucket;
            EXIT;
        END IF;
        -- Before the lock, behind which all wait that accept: they may be many.
        DELETE FROM inbox.dead d WHERE d.state = 'discarded' AND d.changed_at < clock_timestamp() - keep;
        BEGIN
            LOCK TABLE inbox.ring IN ACCESS EXCLUSIVE MODE;
            locked := true;
        EXCEPTION -- of its own, that they be not deleted again at each try
            WHEN lock_not_available OR deadlock_detected THEN
                outcome := 'locked';
                EXIT;
        END;
    END LOOP;
EXCEPTION
    WHEN lock_not_available OR deadlock_detected THEN
        outcome := 'locked';
        bucket := NULL;
END
$body$;

REVOKE ALL ON FUNCTION inbox.known(text, text[]), inbox.accept_many(text, text[]), inbox.accept(text, text),
                       inbox.claim(text, text, integer, text),
                       inbox.finish(text, text, text[], text[], integer[], bigint[], bigint[], bigint[], integer),
                       inbox.turn() FROM PUBLIC;

COMMENT ON FUNCTION inbox.known(text, text[]) IS 'Of these events those that the consumer has applied';
COMMENT ON FUNCTION inbox.accept_many(text, text[]) IS
    'Take events in this transaction. Returns those that are new; the others have been applied. Waits for '
    'transactions that take the same. READ COMMITTED only';
COMMENT ON FUNCTION inbox.accept(text, text) IS
    'Take one event in this transaction. True: it is new, apply it; false: it has been applied, pass it by';
COMMENT ON FUNCTION inbox.claim(text, text, integer, text) IS
    'Become the owner of a partition and learn where to begin, and by what to know the log; NULL: that is not known yet';
COMMENT ON FUNCTION inbox.finish(text, text, text[], text[], integer[], bigint[], bigint[], bigint[], integer) IS
    'The end of a transaction of libinbox: move positions and store ids, so many of them of events that were applied. IB001: another owner; IB002: an id was '
    'stored meanwhile; IB003: not the transaction that the library began';
COMMENT ON FUNCTION inbox.turn() IS
    'Go to the next bucket and empty it, when a seventh of dedupe_keep has passed and all in it is older than '
    'dedupe_keep. outcome: turned; early; young; locked (somebody stood in the way for 200 ms: ask again)';


-- First rows --------------------------------------------------------------------------------------

INSERT INTO inbox.ring (bucket, is_current, filled_since)
SELECT b, b = 0, CASE b WHEN 0 THEN now() END FROM generate_series(0, 7) b;
INSERT INTO inbox.schema_version (version, min_library, breaking) VALUES (2, '0.1.0', true);

-- For what a tool does after this in the same transaction.
DO $path$
BEGIN
    PERFORM pg_catalog.set_config('search_path', pg_catalog.current_setting('inbox.search_path'), true);
END
$path$;
