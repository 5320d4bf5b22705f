-- The number of the last batch of each publisher, so that a batch is stored once.
CREATE TABLE {schema}.publishers (
    publisher bytea PRIMARY KEY,
    no bigint NOT NULL,
    place bigint NOT NULL,
    seen_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50);

-- Lines and ends that are not settled, in the order of their ids, which is the order of commits. The payload
-- is a secret. `activity` is a hash of portal and event token.
CREATE TABLE {schema}.chunks (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    shard smallint NOT NULL,
    portal text,
    publisher bytea NOT NULL,
    activity bytea NOT NULL,
    numbers int8multirange NOT NULL,
    lines integer NOT NULL,
    logged_at timestamptz NOT NULL,
    appended_at timestamptz NOT NULL DEFAULT now(),
    payload bytea NOT NULL
) WITH (
    autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_cost_delay = 0,
    autovacuum_analyze_scale_factor = 0.2
);
CREATE INDEX chunks_of_activity ON {schema}.chunks (publisher, activity, lower(numbers));

-- Which numbers of an activity may stand in the log already, and which are settled although their chunk is
-- not. A row lives as long as the activity has chunks.
CREATE TABLE {schema}.marks (
    publisher bytea NOT NULL,
    activity bytea NOT NULL,
    tried int8multirange NOT NULL DEFAULT '{}',
    settled int8multirange NOT NULL DEFAULT '{}',
    PRIMARY KEY (publisher, activity)
) WITH (
    fillfactor = 70,
    autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_cost_delay = 0
);

-- Chunks that were given up because they were too old.
CREATE TABLE {schema}.dead (
    id bigint PRIMARY KEY,
    shard smallint NOT NULL,
    portal text,
    publisher bytea NOT NULL,
    activity bytea NOT NULL,
    numbers int8multirange NOT NULL,
    lines integer NOT NULL,
    logged_at timestamptz NOT NULL,
    died_at timestamptz NOT NULL DEFAULT now(),
    payload bytea NOT NULL
);
CREATE INDEX dead_of_activity ON {schema}.dead (publisher, activity);

-- The functions below switch off plans that read whole tables, because plans are made while the tables are small,
-- and used when they are large. Functions that are called often are in PL/pgSQL, which keeps its plans: making a
-- plan costs more than running it.

-- Stores a batch once, and returns the last id. Batches are stored one after the other, so that ids are in the
-- order of commits. It is one call, so that a client that pauses does not hold the lock.
CREATE FUNCTION {schema}.append(
    by_publisher bytea, batch bigint, shards smallint[], portals text[], activities bytea[], numbers text[],
    lines integer[], logged timestamptz[], payloads bytea[]
) RETURNS bigint LANGUAGE plpgsql
    SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
    SET plan_cache_mode = force_generic_plan AS $body$
DECLARE
    known {schema}.publishers;
    last bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('tracing-bizproc.{schema}.append', 0));
    SELECT * INTO known FROM {schema}.publishers p WHERE p.publisher = by_publisher;
    IF known.no >= batch THEN
        RETURN known.place;
    END IF;
    WITH added AS (
        INSERT INTO {schema}.chunks
            (shard, portal, publisher, activity, numbers, lines, logged_at, payload)
        SELECT u.shard, u.portal, by_publisher, u.activity, u.numbers::int8multirange, u.lines,
            u.logged_at, u.payload
        FROM unnest(shards, portals, activities, numbers, lines, logged, payloads)
            WITH ORDINALITY u (shard, portal, activity, numbers, lines, logged_at, payload, place)
        ORDER BY u.place
        RETURNING id
    )
    SELECT max(id) INTO last FROM added;
    IF last IS NULL THEN
        SELECT coalesce(max(id), 0) INTO last FROM {schema}.chunks;
    END IF;
    INSERT INTO {schema}.publishers AS p (publisher, no, place) VALUES (by_publisher, batch, last)
    ON CONFLICT (publisher) DO UPDATE SET no = batch, place = last, seen_at = now();
    RETURN last;
END
$body$;

-- Returns chunks of some shards (and of one portal, unless `any_portal`) behind a place. It looks at the next
-- `most` chunks, and returns as many of them as have about the wanted size together, but at least one. The last
-- two columns say how many chunks there are, and up to which id.
CREATE FUNCTION {schema}.read_chunks(
    after bigint, of_shards smallint[], any_portal boolean, of_portal text, bytes bigint, most bigint
) RETURNS TABLE (
    id bigint, publisher bytea, payload bytea, tried text, settled text, portal text, found bigint, last bigint
) LANGUAGE sql STABLE
    SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $body$
    WITH next AS (
        SELECT c.*, sum(octet_length(c.payload)) OVER (ORDER BY c.id) - octet_length(c.payload) AS before
        FROM (
            SELECT c.id, c.publisher, c.activity, c.portal, c.payload FROM {schema}.chunks c
            WHERE c.id > after AND c.shard = ANY (of_shards)
                AND (any_portal OR c.portal IS NOT DISTINCT FROM of_portal)
            ORDER BY c.id LIMIT most
        ) c
    )
    SELECT n.id, n.publisher, n.payload, m.tried::text, m.settled::text, n.portal,
        (SELECT count(*) FROM next), (SELECT max(next.id) FROM next)
    FROM next n
    LEFT JOIN {schema}.marks m ON m.publisher = n.publisher AND m.activity = n.activity
    WHERE n.before < bytes
    ORDER BY n.id
$body$;

-- Marks numbers as tried: they may be in the log from now on.
CREATE FUNCTION {schema}.mark_tried(
    publishers bytea[], activities bytea[], firsts bigint[], lasts bigint[]
) RETURNS void LANGUAGE plpgsql
    SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
    SET plan_cache_mode = force_generic_plan AS $body$
BEGIN
    INSERT INTO {schema}.marks AS m (publisher, activity, tried)
    SELECT f.publisher, f.activity, range_agg(int8range(f.first_no, f.last_no, '[]'))
    FROM unnest(publishers, activities, firsts, lasts) f (publisher, activity, first_no, last_no)
    WHERE EXISTS (
        SELECT FROM {schema}.chunks c
        WHERE c.publisher = f.publisher AND c.activity = f.activity
    )
    GROUP BY 1, 2
    ORDER BY 1, 2
    ON CONFLICT (publisher, activity) DO UPDATE SET tried = m.tried + excluded.tried;
END
$body$;

-- Marks numbers as returned: the portal has said that they are not in the log.
CREATE FUNCTION {schema}.mark_returned(
    publishers bytea[], activities bytea[], firsts bigint[], lasts bigint[]
) RETURNS void LANGUAGE plpgsql
    SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
    SET plan_cache_mode = force_generic_plan AS $body$
BEGIN
    -- In one order, so that two calls never wait for each other.
    PERFORM FROM {schema}.marks m
    WHERE (m.publisher, m.activity) IN (SELECT * FROM unnest(publishers, activities))
    ORDER BY m.publisher, m.activity
    FOR UPDATE;
    UPDATE {schema}.marks m SET tried = m.tried - f.numbers
    FROM (
        SELECT u.publisher, u.activity, range_agg(int8range(u.first_no, u.last_no, '[]')) AS numbers
        FROM unnest(publishers, activities, firsts, lasts) u (publisher, activity, first_no, last_no)
        GROUP BY 1, 2
    ) f
    WHERE m.publisher = f.publisher AND m.activity = f.activity AND m.tried && f.numbers;
END
$body$;

-- Marks numbers as settled.
CREATE FUNCTION {schema}.mark_settled(
    publishers bytea[], activities bytea[], firsts bigint[], lasts bigint[]
) RETURNS void LANGUAGE plpgsql
    SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
    SET plan_cache_mode = force_generic_plan AS $body$
BEGIN
    WITH facts AS (
        SELECT u.publisher, u.activity, range_agg(int8range(u.first_no, u.last_no, '[]')) AS numbers
        FROM unnest(publishers, activities, firsts, lasts) u (publisher, activity, first_no, last_no)
        GROUP BY 1, 2
    ),
    gone AS (
        SELECT c.id FROM facts f
        JOIN {schema}.chunks c ON c.publisher = f.publisher AND c.activity = f.activity
            AND lower(c.numbers) < upper(f.numbers)
        LEFT JOIN {schema}.marks m ON m.publisher = f.publisher AND m.activity = f.activity
        WHERE c.numbers <@ f.numbers OR c.numbers <@ (f.numbers + m.settled)
        ORDER BY c.id
        FOR UPDATE OF c
    )
    DELETE FROM {schema}.chunks c USING gone WHERE c.id = gone.id;

    -- Chunks of which a part is settled.
    INSERT INTO {schema}.marks AS m (publisher, activity, settled)
    SELECT u.publisher, u.activity, range_agg(int8range(u.first_no, u.last_no, '[]'))
    FROM unnest(publishers, activities, firsts, lasts) u (publisher, activity, first_no, last_no)
    WHERE EXISTS (
        SELECT FROM {schema}.chunks c
        WHERE c.publisher = u.publisher AND c.activity = u.activity
            AND lower(c.numbers) <= u.last_no
            AND c.numbers && int8multirange(int8range(u.first_no, u.last_no, '[]'))
    )
    GROUP BY 1, 2
    ORDER BY 1, 2
    ON CONFLICT (publisher, activity) DO UPDATE SET settled = m.settled + excluded.settled;

    DELETE FROM {schema}.marks m
    WHERE (m.publisher, m.activity) IN (SELECT * FROM unnest(publishers, activities))
        AND NOT EXISTS (
            SELECT FROM {schema}.chunks c WHERE c.publisher = m.publisher AND c.activity = m.activity
        )
        AND NOT EXISTS (
            SELECT FROM {schema}.dead d WHERE d.publisher = m.publisher AND d.activity = m.activity
        );
END
$body$;

-- Moves chunks that were appended before a time to the dead ones, a limited number of them, and returns what
-- they hold. Only the oldest chunks are looked at: ids are in the order of time.
CREATE FUNCTION {schema}.bury(of_shards smallint[], before timestamptz)
RETURNS TABLE (
    publisher bytea, numbers text, settled text, logged_at timestamptz, payload bytea, lines integer
)
LANGUAGE sql AS $body$
    WITH oldest AS (
        SELECT c.id, c.appended_at FROM {schema}.chunks c
        WHERE c.shard = ANY (of_shards) ORDER BY c.id LIMIT 500
    ),
    gone AS (
        DELETE FROM {schema}.chunks c USING oldest
        WHERE c.id = oldest.id AND oldest.appended_at < before
        RETURNING c.*
    ),
    buried AS (
        INSERT INTO {schema}.dead
            (id, shard, portal, publisher, activity, numbers, lines, logged_at, payload)
        SELECT g.id, g.shard, g.portal, g.publisher, g.activity, g.numbers, g.lines, g.logged_at, g.payload
        FROM gone g
    )
    SELECT g.publisher, g.numbers::text, m.settled::text, g.logged_at, g.payload, g.lines
    FROM gone g LEFT JOIN {schema}.marks m ON m.publisher = g.publisher AND m.activity = g.activity
    ORDER BY g.id
$body$;

-- Forgets dead chunks after seven days, publishers that were not seen for a month, and marks whose chunks are gone.
CREATE FUNCTION {schema}.tidy(at timestamptz) RETURNS void LANGUAGE sql
    SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $body$
    DELETE FROM {schema}.dead WHERE died_at < at - interval '7 days';
    DELETE FROM {schema}.publishers WHERE seen_at < at - interval '30 days';
    DELETE FROM {schema}.marks m
    WHERE NOT EXISTS (
            SELECT FROM {schema}.chunks c WHERE c.publisher = m.publisher AND c.activity = m.activity
        )
        AND NOT EXISTS (
            SELECT FROM {schema}.dead d WHERE d.publisher = m.publisher AND d.activity = m.activity
        );
$body$;
