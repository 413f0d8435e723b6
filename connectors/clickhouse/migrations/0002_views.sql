-- One view for each thing that people ask. Days are days in UTC.

-- Consent now: one row for each installation, with what its person chose; a person without any
-- installation, or an erased one, has one row with an empty installation.
-- The rule is that of ledger/consent.py: each clock (register) keeps its last word, at equal times the more
-- private; the device's latest word counts first; a server's or an import's grant stands in where the device
-- is silent or refused more than 5 minutes earlier; a refusal by any clock at or after the grant wins.
CREATE OR REPLACE VIEW consent_current AS
WITH
    ['authorized', 'ephemeral', 'provisional', 'pre_granted', 'not_determined', 'denied'] AS by_privacy,
    facts AS
    (
        SELECT *, toUnixTimestamp64Milli(effective_at) AS at, toUInt8(indexOf(by_privacy, permission)) AS privacy
        FROM permission_facts FINAL
        WHERE subject NOT IN (SELECT subject FROM permission_facts WHERE fact = 'SubjectErased')
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
            maxIf(toUnixTimestamp64Milli(effective_at), fact = 'TokenInvalidated') AS invalidated_at
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
                registered_at > 0
            ) AS current
        FROM addresses
        GROUP BY subject, app, installation
    ),
    installations AS
    (
        SELECT subject, app, installation FROM seen
        UNION DISTINCT
        SELECT subject, app, installation FROM spoken
        UNION DISTINCT
        SELECT subject, app, installation FROM tokens
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
    if(spoken.effective.2 > 0, spoken.effective.4, 'not_determined') AS permission,
    if(spoken.effective.2 > 0, fromUnixTimestamp64Milli(spoken.effective.1, 'UTC'), NULL) AS permission_since,
    spoken.effective.3 AS permission_by,
    spoken.effective.5 AS permission_cause,
    tokens.current.1 AS provider,
    toBool(tokens.current.2) AS token_live,
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
LEFT JOIN topics ON topics.subject = people.subject
LEFT JOIN frequencies ON frequencies.subject = people.subject
LEFT JOIN quiet ON quiet.subject = people.subject
LEFT JOIN pauses ON pauses.subject = people.subject
LEFT JOIN suppressions ON suppressions.subject = people.subject;

-- How many say yes when asked, by platform, by where in the app, by day. Counted in installations.
-- `provisional` (quiet delivery that nobody was asked for) and `pre_granted` (an upgraded Android) are no
-- answers and stand apart; imported facts are no answers either.
CREATE OR REPLACE VIEW opt_in_rate AS
WITH
    answers AS
    (
        SELECT *, (subject, app, installation) AS place
        FROM permission_facts FINAL
        WHERE register != 'import' AND fact IN
            ('PromptShown', 'PermissionGranted', 'PermissionDenied', 'PermissionObserved')
    ),
    seen AS
    (
        SELECT subject, app, installation, argMax(platform, (effective_at, platform)) AS platform
        FROM permission_facts
        WHERE fact = 'InstallationSeen'
        GROUP BY subject, app, installation
    )
SELECT
    toDate(answers.occurred_at, 'UTC') AS day,
    answers.app AS app,
    seen.platform AS platform,
    answers.context AS context,
    uniqExactIf(place, fact = 'PromptShown' AND prompt = 'os') AS asked,
    uniqExactIf(place, fact = 'PermissionGranted' AND permission = 'authorized') AS authorized,
    uniqExactIf(place, fact = 'PermissionDenied') AS denied,
    if(authorized + denied = 0, NULL, authorized / (authorized + denied)) AS rate,
    uniqExactIf(place, permission = 'provisional') AS provisional,
    uniqExactIf(place, permission = 'pre_granted') AS pre_granted
FROM answers
LEFT JOIN seen ON seen.subject = answers.subject AND seen.app = answers.app
    AND seen.installation = answers.installation
GROUP BY day, app, platform, context
HAVING asked + authorized + denied + provisional + pre_granted > 0;

-- What the gate said, and why. `hold` is on the way: the same candidate is decided again, and is counted
-- again with its final verdict.
CREATE OR REPLACE VIEW decisions_by_reason AS
SELECT
    toDate(occurred_at, 'UTC') AS day,
    app,
    journey,
    step,
    category,
    topic,
    verdict,
    reason,
    toBool(verdict != 'hold') AS final,
    count() AS decisions
FROM decision_facts FINAL
WHERE fact = 'PushDecided'
GROUP BY day, app, journey, step, category, topic, verdict, reason;

-- What became of the journeys that started on a day, up to the order that followed a push.
-- An order is credited to the last push that was decided before it, within that journey's attribution window;
-- a push counts once, however many opens and orders follow.
CREATE OR REPLACE VIEW journey_funnel AS
WITH
    started AS
    (
        SELECT instance, app, journey, toDate(occurred_at, 'UTC') AS day
        FROM decision_facts FINAL
        WHERE fact = 'JourneyStarted'
    ),
    ended AS
    (
        SELECT instance, any(outcome) AS ending
        FROM decision_facts FINAL
        WHERE fact = 'JourneyEnded'
        GROUP BY instance
    ),
    decided AS
    (
        SELECT instance, argMax(verdict, revision) AS last_verdict, any(decision_id) AS decision
        FROM decision_facts FINAL
        WHERE fact = 'PushDecided'
        GROUP BY instance
    ),
    accepted AS (SELECT DISTINCT decision_id, push_id FROM delivery_facts WHERE fact = 'PushAccepted'),
    opened AS
    (
        SELECT DISTINCT accepted.decision_id AS decision
        FROM accepted
        INNER JOIN (SELECT DISTINCT push_id FROM activity_facts WHERE fact = 'PushOpened') AS opens
            ON opens.push_id = accepted.push_id
    ),
    ordered AS
    (
        SELECT DISTINCT sends.decision_id AS decision
        FROM
            (SELECT subject, occurred_at AS ordered_at FROM activity_facts FINAL WHERE fact = 'OrderPlaced') AS orders
        ASOF INNER JOIN
            (
                SELECT subject, decision_id, occurred_at AS sent_at, attribution_ms
                FROM decision_facts FINAL
                WHERE verdict = 'send'
            ) AS sends
            ON sends.subject = orders.subject AND orders.ordered_at >= sends.sent_at
        WHERE toUnixTimestamp64Milli(ordered_at) - toUnixTimestamp64Milli(sent_at) <= attribution_ms
    )
SELECT
    started.day AS day,
    started.app AS app,
    started.journey AS journey,
    count() AS started,
    countIf(ended.ending = 'converted') AS converted,
    countIf(ended.ending IN ('emptied', 'erased')) AS dropped,
    countIf(ended.ending = 'candidate') AS candidates,
    countIf(ended.ending = '') AS open,
    countIf(decided.last_verdict = 'withhold') AS withheld,
    countIf(decided.last_verdict = 'hold_out') AS held_out,
    countIf(decided.last_verdict = 'hold') AS holding,
    countIf(decided.last_verdict = 'send') AS sent,
    countIf(decided.decision IN (SELECT decision_id FROM accepted)) AS accepted,
    countIf(decided.decision IN (SELECT decision FROM opened)) AS opened,
    countIf(decided.decision IN (SELECT decision FROM ordered)) AS ordered
FROM started
LEFT JOIN ended ON ended.instance = started.instance
LEFT JOIN decided ON decided.instance = started.instance
GROUP BY day, app, journey;

-- What became of the pushes that were decided on a day: one for each `send` and chosen installation, and
-- each ends in exactly one of accepted, rejected, withheld_late and unknown.
CREATE OR REPLACE VIEW push_outcomes AS
WITH
    sends AS
    (
        SELECT decision_id, app, journey, toDate(occurred_at, 'UTC') AS day, length(installations) AS chosen
        FROM decision_facts FINAL
        WHERE verdict = 'send'
    ),
    outcomes AS
    (
        SELECT decision_id,
            uniqExactIf(push_id, fact = 'PushAccepted') AS taken,
            uniqExactIf(push_id, fact = 'PushRejected') AS refused,
            uniqExactIf(push_id, fact = 'PushWithheldLate') AS stopped,
            uniqExactIf(push_id, fact = 'PushOutcomeUnknown') AS unclear,
            uniqExactIf(push_id, push_id IN (SELECT push_id FROM activity_facts WHERE fact = 'PushOpened')) AS tapped
        FROM delivery_facts
        GROUP BY decision_id
    )
SELECT
    sends.day AS day,
    sends.app AS app,
    sends.journey AS journey,
    sum(sends.chosen) AS pushes,
    sum(outcomes.taken) AS accepted,
    sum(outcomes.refused) AS rejected,
    sum(outcomes.stopped) AS withheld_late,
    sum(outcomes.unclear) AS unknown,
    toInt64(pushes) - accepted - rejected - withheld_late - unknown AS pending,
    sum(outcomes.tapped) AS opened
FROM sends
LEFT JOIN outcomes ON outcomes.decision_id = sends.decision_id
GROUP BY day, app, journey;
