-- Between speakers a grant is later by more than the skew, between counters of a device also by its append.

-- The word on permission that counts, for each installation of whom something was said. The rule is that of
-- ledger/effective.py (docs/reference/consent-rule.md). A word is (clock, at, appended, offset, since, number,
-- privacy, permission, cause); clocks are a device that counts, one that doesn't, server, import: 0 to 3.
CREATE OR REPLACE VIEW permission_that_counts AS
WITH
    ['authorized', 'ephemeral', 'provisional', 'pre_granted', 'not_determined', 'denied'] AS by_privacy,
    facts AS
    (
        SELECT *, toUnixTimestamp64Milli(appended_at) AS appended
        FROM permission_facts FINAL
        WHERE subject NOT IN (SELECT subject FROM permission_facts WHERE fact = 'SubjectErased')
    ),
    links AS
    (
        SELECT subject, app, installation,
            maxIf(toUnixTimestamp64Milli(effective_at), fact = 'InstallationLinked') AS linked_at,
            maxIf(toUnixTimestamp64Milli(effective_at), fact = 'InstallationUnlinked') AS unlinked_at,
            argMaxIf(
                (appended, offset),
                (toUnixTimestamp64Milli(effective_at), -appended, -offset),
                fact = 'InstallationUnlinked'
            ) AS place
        FROM facts
        WHERE fact IN ('InstallationLinked', 'InstallationUnlinked')
        GROUP BY subject, app, installation
    ),
    words AS
    (
        SELECT subject, app, installation,
            toInt64(indexOf(['device_counted', 'device', 'server', 'import'], register)) - 1 AS clock,
            permission IN ('denied', 'not_determined') AS refuses,
            arraySort(
                w -> (w.2, w.7, -w.3, -w.4),
                groupArray(
                    (
                        toInt64(clock),
                        toUnixTimestamp64Milli(occurred_at),
                        appended,
                        toInt64(offset),
                        if(clock = 0, toUnixTimestamp64Milli(ifNull(counter_since, toDateTime64(0, 3, 'UTC'))), 0),
                        if(clock = 0, ifNull(sequence, 0), -1),
                        toInt64(indexOf(by_privacy, permission)),
                        toString(permission),
                        toString(cause)
                    )
                )
            ) AS said,
            multiIf(
                refuses, said,
                clock = 0, arrayDistinct([said[-1], arraySort(w -> (w.5, w.6, w.7, w.2, -w.3, -w.4), said)[-1]]),
                [said[-1]]
            ) AS kept
        FROM facts
        WHERE permission != ''
        GROUP BY subject, app, installation, clock, refuses
    ),
    kept_words AS
    (
        SELECT subject, app, installation,
            groupArrayArrayIf(kept, NOT refuses) AS granting,
            groupArrayArrayIf(kept, refuses) AS refusing
        FROM words
        GROUP BY subject, app, installation
    )
SELECT
    kept_words.subject AS subject,
    kept_words.app AS app,
    kept_words.installation AS installation,
    links.unlinked_at AS unlinked_at,
    unlinked_at > 0 AND links.linked_at <= unlinked_at AS unlinked,
    arrayFilter(g -> least(g.2, g.3) > unlinked_at, granting) AS grants,
    arrayFilter(r -> least(r.2, r.3) > unlinked_at OR (r.3, r.4) > links.place, refusing) AS refusals,
    arrayFilter(
        r -> NOT arrayExists(
            g -> (g.1 = r.1 OR (g.1 < 2 AND r.1 < 2)) AND if(
                        g.1 = 0 AND r.1 = 0,
                        g.2 > r.2 AND (g.5, g.6) > (r.5, r.6) AND (g.5 = r.5 OR (g.3, g.4) >= (r.3, r.4)),
                        NOT (r.1 < 2 AND g.1 = 3) AND (g.3, g.4) >= (r.3, r.4)
                            AND g.2 > r.2 + if(g.1 = r.1 OR (g.1 < 2 AND r.1 < 2), 0, 300000)
                    ),
            grants
        ),
        refusals
    ) AS standing,
    arrayFilter(
        g -> arrayAll(
            r -> if(
                        g.1 = 0 AND r.1 = 0,
                        g.2 > r.2 AND (g.5, g.6) > (r.5, r.6) AND (g.5 = r.5 OR (g.3, g.4) >= (r.3, r.4)),
                        NOT (r.1 < 2 AND g.1 = 3) AND (g.3, g.4) >= (r.3, r.4)
                            AND g.2 > r.2 + if(g.1 = r.1 OR (g.1 < 2 AND r.1 < 2), 0, 300000)
                    ),
            standing
        ),
        grants
    ) AS counting,
    if(
        notEmpty(counting),
        arraySort(g -> (g.1 < 2, g.2, g.7, g.3, g.4), counting)[-1],
        arraySort(r -> (r.3, r.4, r.7, r.2), standing)[-1]
    ) AS word
FROM kept_words
LEFT JOIN links ON links.subject = kept_words.subject AND links.app = kept_words.app
    AND links.installation = kept_words.installation;
