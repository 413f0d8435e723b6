-- Why addresses died, and between which times.

ALTER TABLE token_facts
    ADD COLUMN IF NOT EXISTS cause LowCardinality(String) COMMENT 'TokenInvalidated: uninstall, browser, stale, wrong or unknown',
    ADD COLUMN IF NOT EXISTS last_seen_ok Nullable(DateTime64(3, 'UTC')) COMMENT 'when the address last seemed to work',
    ADD COLUMN IF NOT EXISTS first_seen_gone Nullable(DateTime64(3, 'UTC')) COMMENT 'when it was first found dead';

-- Addresses that were lost, by day, app and cause. Nobody reports an uninstall: it shows at the next push, so the day
-- on which it was noticed is not the day on which it happened. It happened between two times, and a day has:
-- `surely` those that can have happened on no other day, `possibly` all that can have happened on it, `expected` the
-- same with each loss spread evenly over its interval (it sums up to whole losses), `noticed` those that were found
-- on it. `no_start`: those of `noticed` whose last sign of life nobody knows; they are in no other count.
CREATE OR REPLACE VIEW token_losses AS
WITH
    deaths AS
    (
        -- Several pushes may be refused for one death: they share the last sign of life.
        SELECT app, installation, token_id, last_seen_ok,
            min(ifNull(first_seen_gone, occurred_at)) AS gone,
            argMin(cause, ifNull(first_seen_gone, occurred_at)) AS why,
            last_seen_ok IS NOT NULL AS has_start,
            least(ifNull(last_seen_ok, gone), gone) AS ok
        FROM token_facts FINAL
        WHERE fact = 'TokenInvalidated'
        GROUP BY app, installation, token_id, last_seen_ok
    ),
    spread AS
    (
        SELECT app, why, has_start, ok, gone,
            arrayJoin(range(toUInt32(dateDiff('day', ok, gone, 'UTC') + 1))) AS nth,
            toDate(ok, 'UTC') + nth AS day,
            toDateTime64(day, 3, 'UTC') AS begins,
            -- In ms. An interval without a length lies wholly on its day.
            dateDiff('millisecond', greatest(ok, begins), least(gone, begins + INTERVAL 1 DAY)) AS here,
            dateDiff('millisecond', ok, gone) AS whole
        FROM deaths
    )
SELECT
    day,
    app,
    why AS cause,
    countIf(has_start AND toDate(ok, 'UTC') = toDate(gone, 'UTC')) AS surely,
    countIf(has_start) AS possibly,
    sumIf(if(whole = 0, 1, here / whole), has_start) AS expected,
    countIf(toDate(gone, 'UTC') = day) AS noticed,
    countIf(NOT has_start) AS no_start
FROM spread
GROUP BY day, app, cause;
