-- Permission by every order that could be right, the words that it passes over, and whose an address is.

ALTER TABLE permission_facts
    ADD COLUMN IF NOT EXISTS counter_since Nullable(DateTime64(3, 'UTC')) COMMENT 'when the counter of sequence began';

ALTER TABLE link_facts
    ADD COLUMN IF NOT EXISTS counter_since Nullable(DateTime64(3, 'UTC')) COMMENT 'when the counter of sequence began';

ALTER TABLE decision_facts
    ADD COLUMN IF NOT EXISTS consent_rule_from Nullable(Int64) COMMENT 'offset on optin.permissions; empty: by the former rule';

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
                        g.2 > r.2 AND (g.5, g.6) > (r.5, r.6),
                        NOT (r.1 < 2 AND g.1 = 3) AND (g.3, g.4) >= (r.3, r.4)
                            AND g.2 > r.2 + if(r.1 < 2 AND g.1 = 2, 300000, 0)
                    ),
            grants
        ),
        refusals
    ) AS standing,
    arrayFilter(
        g -> arrayAll(
            r -> if(
                        g.1 = 0 AND r.1 = 0,
                        g.2 > r.2 AND (g.5, g.6) > (r.5, r.6),
                        NOT (r.1 < 2 AND g.1 = 3) AND (g.3, g.4) >= (r.3, r.4)
                            AND g.2 > r.2 + if(r.1 < 2 AND g.1 = 2, 300000, 0)
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

-- The words without effect: they were appended after the one that counts, and say the contrary.
CREATE OR REPLACE VIEW words_passed_over AS
SELECT
    facts.subject AS subject,
    facts.app AS app,
    facts.installation AS installation,
    facts.fact AS fact,
    facts.permission AS permission,
    facts.source AS source,
    facts.occurred_at AS occurred_at,
    facts.appended_at AS appended_at,
    facts.event_id AS event_id,
    counts.word.8 AS counts,
    ['device_counted', 'device', 'server', 'import'][counts.word.1 + 1] AS counts_by,
    fromUnixTimestamp64Milli(counts.word.3, 'UTC') AS counts_since
FROM (SELECT * FROM permission_facts FINAL WHERE permission != '') AS facts
INNER JOIN permission_that_counts AS counts ON counts.subject = facts.subject AND counts.app = facts.app
    AND counts.installation = facts.installation
WHERE counts.word.7 > 0 AND NOT counts.unlinked
    AND (toUnixTimestamp64Milli(facts.appended_at), toInt64(facts.offset)) > (counts.word.3, counts.word.4)
    AND (facts.permission IN ('denied', 'not_determined')) != (counts.word.8 IN ('denied', 'not_determined'));

-- Consent now: one row for each installation, with what its person chose; a person without any
-- installation, or an erased one, has one row with an empty installation. While an installation is no longer the
-- person's, its permission is `unlinked`; tokens from before it last ceased to be don't count afterwards. An address
-- that another installation of the person registered later, by its own time or the broker's, is that one's.
CREATE OR REPLACE VIEW consent_current AS
WITH
    facts AS
    (
        SELECT *, toUnixTimestamp64Milli(effective_at) AS at
        FROM permission_facts FINAL
        WHERE subject NOT IN (SELECT subject FROM permission_facts WHERE fact = 'SubjectErased')
    ),
    links AS
    (
        SELECT subject, app, installation,
            maxIf(at, fact = 'InstallationLinked') AS linked_at,
            maxIf(at, fact = 'InstallationUnlinked') AS unlinked_at,
            unlinked_at > 0 AND linked_at <= unlinked_at AS unlinked
        FROM facts
        WHERE fact IN ('InstallationLinked', 'InstallationUnlinked')
        GROUP BY subject, app, installation
    ),
    spoken AS (SELECT subject, app, installation, word FROM permission_that_counts),
    seen AS
    (
        SELECT subject, app, installation,
            argMax((platform, time_zone, country), (at, platform, time_zone, country)) AS told
        FROM facts
        WHERE fact = 'InstallationSeen'
        GROUP BY subject, app, installation
    ),
    addresses AS
    (
        SELECT subject, app, installation, token_id,
            max(provider) AS address_provider,
            maxIf(toUnixTimestamp64Milli(effective_at), fact = 'TokenRegistered') AS registered_at,
            maxIf(toUnixTimestamp64Milli(effective_at), fact = 'TokenInvalidated' OR cause = 'wrong') AS invalidated_at,
            argMaxIf(
                toUnixTimestamp64Milli(appended_at),
                (toUnixTimestamp64Milli(effective_at), -toUnixTimestamp64Milli(appended_at)),
                fact = 'TokenRegistered'
            ) AS appended
        FROM token_facts FINAL
        WHERE subject NOT IN (SELECT subject FROM permission_facts WHERE fact = 'SubjectErased')
        GROUP BY subject, app, installation, token_id
    ),
    tokens AS
    (
        SELECT subject, app, installation,
            argMaxIf(
                (address_provider, registered_at > invalidated_at, token_id, registered_at, appended),
                (registered_at, token_id),
                registered_at > links.unlinked_at
            ) AS current
        FROM addresses
        LEFT JOIN links ON links.subject = addresses.subject AND links.app = addresses.app
            AND links.installation = addresses.installation
        GROUP BY subject, app, installation
    ),
    holders AS
    (
        SELECT subject, token_id, groupArray((concat(app, '/', installation), registered_at, appended)) AS places
        FROM addresses
        WHERE registered_at > 0
        GROUP BY subject, token_id
    ),
    own_tokens AS
    (
        SELECT tokens.subject AS subject, tokens.app AS app, tokens.installation AS installation, current,
            NOT arrayExists(
                h -> h.1 != concat(tokens.app, '/', tokens.installation) AND if(
                    (h.2, h.3) = (current.4, current.5),
                    h.1 > concat(tokens.app, '/', tokens.installation),
                    h.2 > current.4 OR h.3 > current.5
                ),
                holders.places
            ) AS own
        FROM tokens
        LEFT JOIN holders ON holders.subject = tokens.subject AND holders.token_id = tokens.current.3
    ),
    installations AS
    (
        SELECT subject, app, installation FROM seen
        UNION DISTINCT
        SELECT subject, app, installation FROM spoken
        UNION DISTINCT
        SELECT subject, app, installation FROM tokens
        UNION DISTINCT
        SELECT subject, app, installation FROM links
    ),
    people AS
    (
        SELECT subject, max(fact = 'SubjectErased') AS erased FROM permission_facts GROUP BY subject
        UNION ALL
        SELECT DISTINCT subject, 0 FROM token_facts WHERE subject NOT IN (SELECT subject FROM permission_facts)
    ),
    topics AS
    (
        SELECT subject,
            arraySort(groupArrayIf(topic, wanted)) AS topics_on,
            arraySort(groupArrayIf(topic, NOT wanted)) AS topics_off
        FROM
        (
            SELECT subject, topic,
                argMax(fact = 'TopicSubscribed', (at, fact = 'TopicUnsubscribed')) AS wanted
            FROM facts
            WHERE fact IN ('TopicSubscribed', 'TopicUnsubscribed')
            GROUP BY subject, topic
        )
        GROUP BY subject
    ),
    frequencies AS
    (
        SELECT subject, argMax((max_pushes, window), (at, -toInt64(max_pushes), window)) AS frequency
        FROM facts
        WHERE fact = 'FrequencyChosen'
        GROUP BY subject
    ),
    quiet AS
    (
        SELECT subject,
            argMax(
                (start_minute, end_minute),
                (at, positiveModulo(toInt32(end_minute) - toInt32(start_minute), 1440), start_minute)
            ) AS hours
        FROM facts
        WHERE fact = 'QuietHoursChosen'
        GROUP BY subject
    ),
    pauses AS
    (
        SELECT subject,
            argMax(
                (fact = 'MarketingPaused', until),
                (at, fact = 'MarketingPaused', until IS NULL, ifNull(until, toDateTime64(0, 3, 'UTC')))
            ) AS pause
        FROM facts
        WHERE fact IN ('MarketingPaused', 'MarketingResumed')
        GROUP BY subject
    ),
    suppressions AS
    (
        SELECT subject, arraySort(groupArrayIf(reason, last.1 AND ifNull(last.2 > now64(3), 1))) AS reasons
        FROM
        (
            SELECT subject, reason,
                argMax(
                    (fact = 'SubjectSuppressed', until),
                    (at, fact = 'SubjectSuppressed', until IS NULL, ifNull(until, toDateTime64(0, 3, 'UTC')))
                ) AS last
            FROM facts
            WHERE fact IN ('SubjectSuppressed', 'SubjectReleased')
            GROUP BY subject, reason
        )
        GROUP BY subject
    )
SELECT
    people.subject AS subject,
    installations.app AS app,
    installations.installation AS installation,
    seen.told.1 AS platform,
    seen.told.2 AS time_zone,
    seen.told.3 AS country,
    multiIf(
        links.unlinked, 'unlinked', spoken.word.7 > 0, spoken.word.8, 'not_determined'
    ) AS permission,
    multiIf(
        links.unlinked,
        fromUnixTimestamp64Milli(links.unlinked_at, 'UTC'),
        spoken.word.7 > 0,
        fromUnixTimestamp64Milli(least(spoken.word.2, spoken.word.3), 'UTC'),
        NULL
    ) AS permission_since,
    if(
        links.unlinked OR spoken.word.7 = 0,
        '',
        ['device_counted', 'device', 'server', 'import'][spoken.word.1 + 1]
    ) AS permission_by,
    if(links.unlinked, '', spoken.word.9) AS permission_cause,
    if(tokens.own, tokens.current.1, '') AS provider,
    toBool(tokens.own AND tokens.current.2 AND NOT links.unlinked) AS token_live,
    topics.topics_on AS topics_on,
    topics.topics_off AS topics_off,
    frequencies.frequency.1 AS max_pushes,
    frequencies.frequency.2 AS frequency_window,
    quiet.hours.1 AS quiet_start_minute,
    quiet.hours.2 AS quiet_end_minute,
    toBool(pauses.pause.1 AND ifNull(pauses.pause.2 > now64(3), 1)) AS paused,
    if(pauses.pause.1, pauses.pause.2, NULL) AS paused_until,
    suppressions.reasons AS suppressed_for,
    toBool(people.erased) AS erased
FROM people
LEFT JOIN installations ON installations.subject = people.subject
LEFT JOIN spoken ON spoken.subject = installations.subject AND spoken.app = installations.app
    AND spoken.installation = installations.installation
LEFT JOIN seen ON seen.subject = installations.subject AND seen.app = installations.app
    AND seen.installation = installations.installation
LEFT JOIN own_tokens AS tokens ON tokens.subject = installations.subject AND tokens.app = installations.app
    AND tokens.installation = installations.installation
LEFT JOIN links ON links.subject = installations.subject AND links.app = installations.app
    AND links.installation = installations.installation
LEFT JOIN topics ON topics.subject = people.subject
LEFT JOIN frequencies ON frequencies.subject = people.subject
LEFT JOIN quiet ON quiet.subject = people.subject
LEFT JOIN pauses ON pauses.subject = people.subject
LEFT JOIN suppressions ON suppressions.subject = people.subject;
