-- The relays that are running.
CREATE TABLE {schema}.members (
    member bytea PRIMARY KEY,
    until timestamptz NOT NULL
) WITH (fillfactor = 50);

-- Who owns which part of the portals, and since which epoch. `until` is by the clock of this server.
CREATE TABLE {schema}.shards (
    shard smallint PRIMARY KEY,
    owner bytea,
    epoch bigint NOT NULL DEFAULT 0,
    until timestamptz NOT NULL DEFAULT '-infinity'
) WITH (
    fillfactor = 10,
    autovacuum_vacuum_threshold = 2000,
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_cost_delay = 0
);
INSERT INTO {schema}.shards (shard) SELECT generate_series(0, 255);

-- Says that a member is there for a while, and returns how many there are.
CREATE FUNCTION {schema}.join_members(me bytea, lease interval) RETURNS bigint LANGUAGE sql AS $body$
    DELETE FROM {schema}.members m WHERE m.until < clock_timestamp() AND m.member <> me;
    INSERT INTO {schema}.members AS m VALUES (me, clock_timestamp() + lease)
    ON CONFLICT (member) DO UPDATE SET until = excluded.until;
    SELECT count(*) FROM {schema}.members;
$body$;

-- Takes up to `most` shards that nobody owns, or whose owner has not renewed them in time. From now on their
-- former owners can write no intent any more.
CREATE FUNCTION {schema}.acquire(me bytea, lease interval, most bigint)
RETURNS TABLE (shard smallint, epoch bigint) LANGUAGE sql AS $body$
    UPDATE {schema}.shards s SET owner = me, epoch = s.epoch + 1, until = clock_timestamp() + lease
    FROM (
        SELECT f.shard FROM {schema}.shards f
        WHERE f.owner IS NULL OR f.until < clock_timestamp()
        ORDER BY f.shard LIMIT most
        FOR UPDATE SKIP LOCKED
    ) free
    WHERE s.shard = free.shard
    RETURNING s.shard, s.epoch
$body$;

-- Renews what is owned in these epochs, and returns it. What does not come back has another owner.
CREATE FUNCTION {schema}.renew(me bytea, lease interval, held smallint[], epochs bigint[])
RETURNS TABLE (shard smallint, epoch bigint) LANGUAGE sql AS $body$
    UPDATE {schema}.shards s SET until = clock_timestamp() + lease
    FROM (
        SELECT o.shard FROM {schema}.shards o
        JOIN unnest(held, epochs) h (shard, epoch) ON h.shard = o.shard AND h.epoch = o.epoch
        WHERE o.owner = me
        ORDER BY o.shard
        FOR UPDATE OF o
    ) mine
    WHERE s.shard = mine.shard
    RETURNING s.shard, s.epoch
$body$;

-- Gives back what is owned in these epochs.
CREATE FUNCTION {schema}.release(me bytea, held smallint[], epochs bigint[]) RETURNS void
LANGUAGE sql AS $body$
    UPDATE {schema}.shards s SET owner = NULL, until = '-infinity'
    FROM unnest(held, epochs) h (shard, epoch)
    WHERE s.shard = h.shard AND s.epoch = h.epoch AND s.owner = me
$body$;

-- Gives back everything, and removes the member.
CREATE FUNCTION {schema}.leave_members(me bytea) RETURNS void LANGUAGE sql AS $body$
    UPDATE {schema}.shards SET owner = NULL, until = '-infinity' WHERE owner = me;
    DELETE FROM {schema}.members WHERE member = me;
$body$;

-- Marks numbers as tried, where their shard is owned in the given epoch, and returns the other shards. The
-- lock on a shard's row lasts until the marks are committed: whoever takes the shard sees them.
CREATE FUNCTION {schema}.intend(
    me bytea, held smallint[], epochs bigint[], mark_shards smallint[], publishers bytea[],
    activities bytea[], firsts bigint[], lasts bigint[]
) RETURNS smallint[] LANGUAGE plpgsql
    SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
    SET plan_cache_mode = force_generic_plan AS $body$
DECLARE
    mine smallint[];
BEGIN
    SELECT coalesce(array_agg(o.shard), '{}') INTO mine FROM (
        SELECT s.shard FROM {schema}.shards s
        JOIN unnest(held, epochs) h (shard, epoch) ON h.shard = s.shard AND h.epoch = s.epoch
        WHERE s.owner = me AND s.shard = ANY (mark_shards)
        ORDER BY s.shard
        FOR SHARE OF s
    ) o;
    PERFORM {schema}.mark_tried(
        array_agg(m.publisher), array_agg(m.activity), array_agg(m.first_no), array_agg(m.last_no)
    ) FROM unnest(mark_shards, publishers, activities, firsts, lasts)
        m (shard, publisher, activity, first_no, last_no)
    WHERE m.shard = ANY (mine);
    RETURN ARRAY (SELECT DISTINCT u.shard FROM unnest(mark_shards) u (shard) WHERE u.shard <> ALL (mine));
END
$body$;
