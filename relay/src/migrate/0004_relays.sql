-- Notes of a portal's owner for the next one. The default portal has the empty name.
CREATE TABLE {schema}.memos (
    portal text NOT NULL,
    key bytea NOT NULL,
    value bytea NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (portal, key)
) WITH (
    fillfactor = 70,
    autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_cost_delay = 0
);

-- What became of ends, for those who asked for them. 0: accepted, 1: refused with this code, 2: not sent.
CREATE TABLE {schema}.answers (
    publisher bytea NOT NULL,
    no bigint NOT NULL,
    outcome smallint NOT NULL,
    code text,
    answered_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (publisher, no)
) WITH (
    autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_cost_delay = 0
);

-- Marks numbers as tried or returned, step by step, and stores memos, where their shard is owned in the given
-- epoch, and returns those of the held shards that are not owned any more. The lock on a shard's row lasts
-- until all of it is committed: whoever takes the shard sees it.
DROP FUNCTION {schema}.intend(
    bytea, smallint[], bigint[], smallint[], bytea[], bytea[], bigint[], bigint[]
);
CREATE FUNCTION {schema}.intend(
    me bytea, held smallint[], epochs bigint[],
    mark_shards smallint[], publishers bytea[], activities bytea[], firsts bigint[], lasts bigint[],
    steps smallint[], returned boolean[],
    memo_shards smallint[], portals text[], keys bytea[], contents bytea[]
) RETURNS smallint[] LANGUAGE plpgsql
    SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
    SET plan_cache_mode = force_generic_plan AS $body$
DECLARE
    mine smallint[];
BEGIN
    SELECT coalesce(array_agg(o.shard), '{}') INTO mine FROM (
        SELECT s.shard FROM {schema}.shards s
        JOIN unnest(held, epochs) h (shard, epoch) ON h.shard = s.shard AND h.epoch = s.epoch
        WHERE s.owner = me
        ORDER BY s.shard
        FOR SHARE OF s
    ) o;
    FOR step_no IN 0 .. coalesce((SELECT max(u.step) FROM unnest(steps) u (step)), -1) LOOP
        IF true = ANY (returned) THEN
            PERFORM {schema}.mark_returned(
                array_agg(m.publisher), array_agg(m.activity), array_agg(m.first_no), array_agg(m.last_no)
            ) FROM unnest(mark_shards, publishers, activities, firsts, lasts, steps, returned)
                m (shard, publisher, activity, first_no, last_no, step, returned)
            WHERE m.shard = ANY (mine) AND m.step = step_no AND m.returned;
        END IF;
        PERFORM {schema}.mark_tried(
            array_agg(m.publisher), array_agg(m.activity), array_agg(m.first_no), array_agg(m.last_no)
        ) FROM unnest(mark_shards, publishers, activities, firsts, lasts, steps, returned)
            m (shard, publisher, activity, first_no, last_no, step, returned)
        WHERE m.shard = ANY (mine) AND m.step = step_no AND NOT m.returned;
    END LOOP;
    IF cardinality(memo_shards) > 0 THEN
        -- Of memos with the same key, the last one counts.
        INSERT INTO {schema}.memos AS m (portal, key, value)
        SELECT DISTINCT ON (u.portal, u.key) u.portal, u.key, u.value
        FROM unnest(memo_shards, portals, keys, contents)
            WITH ORDINALITY u (shard, portal, key, value, place)
        WHERE u.shard = ANY (mine)
        ORDER BY u.portal, u.key, u.place DESC
        ON CONFLICT (portal, key) DO UPDATE SET value = excluded.value, changed_at = now();
    END IF;
    RETURN ARRAY (SELECT u.shard FROM unnest(held) u (shard) WHERE u.shard <> ALL (mine));
END
$body$;

-- Stores what became of ends. An end that was accepted stays accepted.
CREATE FUNCTION {schema}.answer(publishers bytea[], nos bigint[], outcomes smallint[], codes text[])
RETURNS void LANGUAGE sql AS $body$
    INSERT INTO {schema}.answers AS a (publisher, no, outcome, code)
    SELECT DISTINCT ON (u.publisher, u.no) u.publisher, u.no, u.outcome, u.code
    FROM unnest(publishers, nos, outcomes, codes)
        WITH ORDINALITY u (publisher, no, outcome, code, place)
    ORDER BY u.publisher, u.no, u.place DESC
    ON CONFLICT (publisher, no) DO UPDATE
        SET outcome = excluded.outcome, code = excluded.code, answered_at = now()
        WHERE a.outcome <> 0
$body$;

-- How many lines of a publisher up to a number are not settled: of one activity, or of all (NULL).
CREATE FUNCTION {schema}.unsettled(by_publisher bytea, of_activity bytea, up_to bigint) RETURNS bigint
LANGUAGE sql STABLE
    SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $body$
    SELECT coalesce(sum(upper(r) - lower(r)), 0)::bigint
    FROM {schema}.chunks c
    LEFT JOIN {schema}.marks m ON m.publisher = c.publisher AND m.activity = c.activity
    CROSS JOIN LATERAL unnest(
        c.numbers * int8multirange(int8range(NULL, up_to, '(]')) - coalesce(m.settled, '{}')
    ) r
    WHERE c.publisher = by_publisher AND (of_activity IS NULL OR c.activity = of_activity)
        AND lower(c.numbers) <= up_to AND c.lines > 0
$body$;

-- Puts dead chunks back behind all others, as if they were appended now, and returns how many lines they
-- hold. What was settled or tried of them stays known. NULL: of all portals. Under the lock of `append`, so
-- that ids stay in the order of commits.
--
-- They appear under new publishers. Otherwise a relay that has read later lines of the same publisher would
-- believe that it has read these lines, too.
CREATE FUNCTION {schema}.requeue(any_portal boolean, of_portal text, first_id bigint, last_id bigint)
RETURNS TABLE (chunks bigint, lines bigint) LANGUAGE plpgsql AS $body$
DECLARE
    seed bytea := uuid_send(gen_random_uuid());
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('tracing-bizproc.{schema}.append', 0));
    RETURN QUERY WITH risen AS (
        DELETE FROM {schema}.dead d
        WHERE (any_portal OR d.portal IS NOT DISTINCT FROM of_portal) AND d.id BETWEEN first_id AND last_id
        RETURNING d.*, substr(sha256(d.publisher || seed), 1, 16) AS new_publisher
    ),
    known AS (
        INSERT INTO {schema}.marks (publisher, activity, tried, settled)
        SELECT DISTINCT r.new_publisher, m.activity, m.tried, m.settled
        FROM risen r JOIN {schema}.marks m ON m.publisher = r.publisher AND m.activity = r.activity
    ),
    added AS (
        INSERT INTO {schema}.chunks
            (shard, portal, publisher, activity, numbers, lines, logged_at, payload)
        SELECT r.shard, r.portal, r.new_publisher, r.activity, r.numbers, r.lines, r.logged_at, r.payload
        FROM risen r ORDER BY r.id
        RETURNING 1
    )
    SELECT (SELECT count(*) FROM added), (SELECT coalesce(sum(r.lines), 0)::bigint FROM risen r);
END
$body$;

-- Forgets dead chunks after seven days, publishers that were not seen for a month, answers after a day, memos
-- that did not change for a week, and marks whose chunks are gone.
CREATE OR REPLACE FUNCTION {schema}.tidy(at timestamptz) RETURNS void LANGUAGE sql
    SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $body$
    DELETE FROM {schema}.dead WHERE died_at < at - interval '7 days';
    DELETE FROM {schema}.publishers WHERE seen_at < at - interval '30 days';
    DELETE FROM {schema}.answers WHERE answered_at < at - interval '1 day';
    DELETE FROM {schema}.memos WHERE changed_at < at - interval '7 days';
    DELETE FROM {schema}.marks m
    WHERE NOT EXISTS (
            SELECT FROM {schema}.chunks c WHERE c.publisher = m.publisher AND c.activity = m.activity
        )
        AND NOT EXISTS (
            SELECT FROM {schema}.dead d WHERE d.publisher = m.publisher AND d.activity = m.activity
        );
$body$;
