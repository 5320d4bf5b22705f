-- The functions of version 4 stay where their parameters have changed: relays of that version run until they are
-- updated.

-- For reads of one portal. No portal has an empty name, so the empty name stands for the default portal.
CREATE INDEX chunks_of_portal ON {schema}.chunks (shard, coalesce(portal, ''), id);

-- Like `read_chunks`, of one portal.
CREATE FUNCTION {schema}.read_portal(
    after bigint, of_shard smallint, of_portal text, bytes bigint, most bigint
) RETURNS TABLE (
    id bigint, publisher bytea, payload bytea, tried text, settled text, portal text, found bigint, last bigint
) LANGUAGE sql STABLE
    SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $body$
    WITH next AS (
        SELECT c.*, sum(octet_length(c.payload)) OVER (ORDER BY c.id) - octet_length(c.payload) AS before
        FROM (
            SELECT c.id, c.publisher, c.activity, c.portal, c.payload FROM {schema}.chunks c
            WHERE c.shard = of_shard AND coalesce(c.portal, '') = of_portal AND c.id > after
            ORDER BY c.shard, coalesce(c.portal, ''), c.id LIMIT most
        ) c
    )
    SELECT n.id, n.publisher, n.payload, m.tried::text, m.settled::text, n.portal,
        (SELECT count(*) FROM next), (SELECT max(next.id) FROM next)
    FROM next n
    LEFT JOIN {schema}.marks m ON m.publisher = n.publisher AND m.activity = n.activity
    WHERE n.before < bytes
    ORDER BY n.id
$body$;

-- Moves chunks of some shards that are older than this to the dead ones, a limited number of them, and returns
-- what they hold. Only the clock of this server decides how old they are: clocks of relays may be wrong. Ids are
-- in the order of time, so the search ends at the first chunk that is not too old.
CREATE FUNCTION {schema}.bury(of_shards smallint[], older_than interval)
RETURNS TABLE (
    publisher bytea, numbers text, settled text, logged_at timestamptz, payload bytea, lines integer
) LANGUAGE plpgsql
    SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $body$
DECLARE
    before timestamptz := clock_timestamp() - older_than;
    oldest record;
    old bigint[] := '{}';
BEGIN
    FOR oldest IN SELECT c.id, c.shard, c.appended_at FROM {schema}.chunks c ORDER BY c.id LOOP
        EXIT WHEN oldest.appended_at >= before OR cardinality(old) = 500;
        IF oldest.shard = ANY (of_shards) THEN
            old := old || oldest.id;
        END IF;
    END LOOP;
    IF cardinality(old) = 0 THEN
        RETURN;
    END IF;
    RETURN QUERY WITH gone AS (
        DELETE FROM {schema}.chunks c WHERE c.id = ANY (old)
        RETURNING c.*
    ),
    buried AS (
        INSERT INTO {schema}.dead
            (id, shard, portal, publisher, activity, numbers, lines, logged_at, died_at, payload)
        SELECT g.id, g.shard, g.portal, g.publisher, g.activity, g.numbers, g.lines, g.logged_at,
            clock_timestamp(), g.payload
        FROM gone g
    )
    SELECT g.publisher, g.numbers::text, m.settled::text, g.logged_at, g.payload, g.lines
    FROM gone g LEFT JOIN {schema}.marks m ON m.publisher = g.publisher AND m.activity = g.activity
    ORDER BY g.id;
END
$body$;

-- The number of the last intent of each sender, which is one run of one relay. So intents take effect in the order
-- in which they were sent.
CREATE TABLE {schema}.intents (
    sender bytea PRIMARY KEY,
    no bigint NOT NULL,
    stored_at timestamptz NOT NULL DEFAULT now()
) WITH (
    fillfactor = 10,
    autovacuum_vacuum_threshold = 2000,
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_cost_delay = 0
);

-- Roles that may use the shards may use this table, too.
DECLARE
    role_name text;
    its_rights text;
BEGIN
    FOR role_name, its_rights IN
        SELECT CASE g.grantee WHEN 'PUBLIC' THEN g.grantee ELSE quote_ident(g.grantee) END,
            string_agg(g.privilege_type, ', ')
        FROM information_schema.role_table_grants g
        WHERE g.table_schema = '{schema}' AND g.table_name = 'shards'
            AND g.privilege_type IN ('SELECT', 'INSERT', 'UPDATE', 'DELETE')
            AND g.grantee <> current_user
        GROUP BY g.grantee
    LOOP
        EXECUTE format('GRANT %s ON {schema}.intents TO %s', its_rights, role_name);
    END LOOP;
END;

-- Like `intend` of version 4. `sent_no` increases with each call of a sender, also if it repeats a call. A call that
-- arrives after a later one has no effect: nobody waits for it any more, and it would take back marks and memos that
-- are newer.
CREATE FUNCTION {schema}.intend(
    sent_no bigint, by_sender bytea, me bytea, held smallint[], epochs bigint[],
    mark_shards smallint[], publishers bytea[], activities bytea[], firsts bigint[], lasts bigint[],
    steps smallint[], returned boolean[],
    memo_shards smallint[], portals text[], keys bytea[], contents bytea[]
) RETURNS smallint[] LANGUAGE plpgsql
    SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
    SET plan_cache_mode = force_generic_plan AS $body$
BEGIN
    -- The lock on this row lasts until the marks are committed, so a later call waits for an earlier one.
    INSERT INTO {schema}.intents AS i (sender, no) VALUES (by_sender, sent_no)
    ON CONFLICT (sender) DO UPDATE SET no = excluded.no, stored_at = now() WHERE i.no < excluded.no;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'a later intent of this sender is stored' USING ERRCODE = 'serialization_failure';
    END IF;
    RETURN {schema}.intend(
        me, held, epochs, mark_shards, publishers, activities, firsts, lasts, steps, returned,
        memo_shards, portals, keys, contents
    );
END
$body$;

-- Stores what became of ends. The best answer counts, whatever comes first: accepted, then refused, then not sent.
CREATE OR REPLACE FUNCTION {schema}.answer(
    publishers bytea[], nos bigint[], outcomes smallint[], codes text[]
) RETURNS void LANGUAGE sql AS $body$
    INSERT INTO {schema}.answers AS a (publisher, no, outcome, code)
    SELECT DISTINCT ON (u.publisher, u.no) u.publisher, u.no, u.outcome, u.code
    FROM unnest(publishers, nos, outcomes, codes)
        WITH ORDINALITY u (publisher, no, outcome, code, place)
    ORDER BY u.publisher, u.no, u.outcome, u.place DESC
    ON CONFLICT (publisher, no) DO UPDATE
        SET outcome = excluded.outcome, code = excluded.code, answered_at = now()
        WHERE excluded.outcome < a.outcome OR excluded.outcome = a.outcome AND excluded.outcome <> 0
$body$;

-- How many lines of a publisher up to a number are not settled: of one activity, or of all (NULL). Most chunks
-- count as a whole.
CREATE OR REPLACE FUNCTION {schema}.unsettled(by_publisher bytea, of_activity bytea, up_to bigint)
RETURNS bigint LANGUAGE plpgsql STABLE
    SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
    SET plan_cache_mode = force_generic_plan AS $body$
BEGIN
    IF of_activity IS NULL THEN
        RETURN (
            SELECT coalesce(sum(CASE
                WHEN upper(c.numbers) <= up_to + 1 AND (m.settled IS NULL OR NOT c.numbers && m.settled)
                    THEN c.lines
                ELSE (
                    SELECT coalesce(sum(upper(r) - lower(r)), 0) FROM unnest(
                        c.numbers * int8multirange(int8range(NULL, up_to, '(]')) - coalesce(m.settled, '{}')
                    ) r
                ) END), 0)::bigint
            FROM {schema}.chunks c
            LEFT JOIN {schema}.marks m ON m.publisher = c.publisher AND m.activity = c.activity
            WHERE c.publisher = by_publisher AND lower(c.numbers) <= up_to AND c.lines > 0
        );
    END IF;
    RETURN (
        SELECT coalesce(sum(upper(r) - lower(r)), 0)::bigint
        FROM {schema}.chunks c
        LEFT JOIN {schema}.marks m ON m.publisher = c.publisher AND m.activity = c.activity
        CROSS JOIN LATERAL unnest(
            c.numbers * int8multirange(int8range(NULL, up_to, '(]')) - coalesce(m.settled, '{}')
        ) r
        WHERE c.publisher = by_publisher AND c.activity = of_activity
            AND lower(c.numbers) <= up_to AND c.lines > 0
    );
END
$body$;

-- Like `tidy` of version 4, by the clock of this server. Also forgets intents of relays that are gone for a day.
CREATE FUNCTION {schema}.tidy() RETURNS void LANGUAGE sql
    SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $body$
    DELETE FROM {schema}.dead WHERE died_at < clock_timestamp() - interval '7 days';
    DELETE FROM {schema}.publishers WHERE seen_at < clock_timestamp() - interval '30 days';
    DELETE FROM {schema}.answers WHERE answered_at < clock_timestamp() - interval '1 day';
    DELETE FROM {schema}.memos WHERE changed_at < clock_timestamp() - interval '7 days';
    DELETE FROM {schema}.intents WHERE stored_at < clock_timestamp() - interval '1 day';
    DELETE FROM {schema}.marks m
    WHERE NOT EXISTS (
            SELECT FROM {schema}.chunks c WHERE c.publisher = m.publisher AND c.activity = m.activity
        )
        AND NOT EXISTS (
            SELECT FROM {schema}.dead d WHERE d.publisher = m.publisher AND d.activity = m.activity
        );
$body$;
