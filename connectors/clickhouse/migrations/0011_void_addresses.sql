-- An address that never was one, such as `null`, is dead when it is registered: its registration has the cause `wrong`.

-- Consent now: one row for each installation, with what its person chose; a person without any
-- installation, or an erased one, has one row with an empty installation.
-- The rule is that of ledger/consent.py: each clock (register) keeps its last word, at equal times the more
-- private; the device's latest word counts first; a server's or an import's grant stands in where the device
-- is silent or refused more than 5 minutes earlier; a refusal by any clock at or after the grant wins.
-- While an installation is no longer the person's, its permission is `unlinked`; words and tokens from before it
-- last ceased to be do not count afterwards either.
CREATE OR REPLACE VIEW consent_current AS
WITH
    ['authorized', 'ephemeral', 'provisional', 'pre_granted', 'not_determined', 'denied'] AS by_privacy,
    facts AS
    (
        SELECT *, toUnixTimestamp64Milli(effective_at) AS at, toUInt8(indexOf(by_privacy, permission)) AS privacy
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
    words AS
    (
        SELECT subject, app, installation, register,
            argMax(
                (at, privacy, register, permission, cause),
                (if(register = 'device_counted', ifNull(sequence, 0), at), privacy, at, cause)
            ) AS word
        FROM facts
        WHERE permission != ''
        GROUP BY subject, app, installation, register
    ),
    spoken AS
    (
        SELECT subject, app, installation,
            arraySort(groupArray(word)) AS all_words,
            arrayFilter(w -> w.4 IN ('denied', 'not_determined'), all_words) AS refusals,
            arrayFilter(w -> w.3 IN ('device', 'device_counted'), all_words)[-1] AS device,
            arrayFilter(
                w -> w.3 IN ('server', 'import') AND w.4 NOT IN ('denied', 'not_determined'), all_words
            )[-1] AS grant,
            refusals[-1] AS refusal,
            if(
                grant.2 > 0 AND (device.2 = 0 OR (has(refusals, device) AND grant.1 > device.1 + 300000)),
                grant,
                device
            ) AS first,
            if(
                refusal.2 > 0 AND (first.2 = 0 OR has(refusals, first) OR refusal.1 >= first.1),
                refusal,
                first
            ) AS effective
        FROM words
        LEFT JOIN links ON links.subject = words.subject AND links.app = words.app
            AND links.installation = words.installation
        WHERE word.1 > links.unlinked_at
        GROUP BY subject, app, installation
    ),
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
            maxIf(toUnixTimestamp64Milli(effective_at), fact = 'TokenInvalidated' OR cause = 'wrong') AS invalidated_at
        FROM token_facts FINAL
        WHERE subject NOT IN (SELECT subject FROM permission_facts WHERE fact = 'SubjectErased')
        GROUP BY subject, app, installation, token_id
    ),
    tokens AS
    (
        SELECT subject, app, installation,
            argMaxIf(
                (address_provider, registered_at > invalidated_at),
                (registered_at, token_id),
                registered_at > links.unlinked_at
            ) AS current
        FROM addresses
        LEFT JOIN links ON links.subject = addresses.subject AND links.app = addresses.app
            AND links.installation = addresses.installation
        GROUP BY subject, app, installation
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
        UNION DISTINCT
        SELECT subject, app, installation FROM words
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
        links.unlinked, 'unlinked', spoken.effective.2 > 0, spoken.effective.4, 'not_determined'
    ) AS permission,
    multiIf(
        links.unlinked,
        fromUnixTimestamp64Milli(links.unlinked_at, 'UTC'),
        spoken.effective.2 > 0,
        fromUnixTimestamp64Milli(spoken.effective.1, 'UTC'),
        NULL
    ) AS permission_since,
    if(links.unlinked, '', spoken.effective.3) AS permission_by,
    if(links.unlinked, '', spoken.effective.5) AS permission_cause,
    tokens.current.1 AS provider,
    toBool(tokens.current.2 AND NOT links.unlinked) AS token_live,
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
LEFT JOIN tokens ON tokens.subject = installations.subject AND tokens.app = installations.app
    AND tokens.installation = installations.installation
LEFT JOIN links ON links.subject = installations.subject AND links.app = installations.app
    AND links.installation = installations.installation
LEFT JOIN topics ON topics.subject = people.subject
LEFT JOIN frequencies ON frequencies.subject = people.subject
LEFT JOIN quiet ON quiet.subject = people.subject
LEFT JOIN pauses ON pauses.subject = people.subject
LEFT JOIN suppressions ON suppressions.subject = people.subject;
