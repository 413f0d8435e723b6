"""All metrics, one row each. What is not here is not measured: `docs/reference/metrics.md` is made from it.

A row is a constant of this module. Its labels are closed sets, so nothing personal can get into one, and the
number of series is known: no subject, installation or app is ever a label.
"""

from __future__ import annotations

from typing import Final

import schemas
from ledger.words import REGISTERS
from processors.telemetry.health import REASONS
from processors.telemetry.metric import Counter, Gauge, Histogram, Metric

LANE_ROLES: Final = ("journeys", "delivery")
ROLES: Final = (*LANE_ROLES, "metrics")

_NAMES: Final = tuple(topic.name for topic in schemas.topics())
TOPICS: Final = tuple(name for name in _NAMES if not name.endswith("-changelog"))
MOVABLE_INPUTS: Final = tuple(
    topic.name
    for topic in schemas.topics()
    if topic.key in {"subject", "installation"} and "journeys" in topic.consumers
)
LANES: Final = tuple(name.split("-")[1] for name in _NAMES if name.endswith("-changelog"))
"""A changelog is called `optin.<role>-<lane>-changelog`."""

DEAD_LETTER_REASONS: Final = (
    *("empty", "not_single_object", "unknown_schema", "truncated", "trailing_bytes", "oversized"),
    *("undecodable", "key_mismatch", "personal_subject", "absurd_time", "from_the_future"),
    *("unknown_source", "absurd_identifier", "absurd_text", "absurd_number", "misplaced"),
    *(
        "misplaced_fact",
        "not_yours",
        "wrong_topic",
        "unknown_time_zone",
        "unknown_country",
        "too_many_installations",
        "too_many_topics",
        "too_many_suppressions",
        "internal_error",
        "unfoldable",
        "unknown_definition",
        "other",
    ),
)
"""`other`: a reason that is missing here, which a test would have found."""
REVOCATIONS: Final = (
    *("PermissionRevoked", "PermissionDenied", "MarketingPaused", "SubjectSuppressed", "SubjectErased"),
)
VERDICTS: Final = ("send", "withhold", "hold", "hold_out")
PROVIDERS: Final = ("apns", "fcm", "web_push")
OUTCOMES: Final = ("accepted", "rejected", "withheld_late", "unknown")

_LANE: Final = {"lane": LANES}
_TOPIC: Final = {"topic": TOPICS}
_FAST_S: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
_SLOW_S: Final = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3_600)

# The worker.

READY: Final = Gauge(
    name="optin_ready",
    meaning="1 while the worker does its work, 0 while `/readyz` says why not.",
    rises="Good. While it is 0, look at `optin_unready`.",
    roles=ROLES,
)
UNREADY: Final = Gauge(
    name="optin_unready",
    meaning="1 for each reason for which the worker is not ready now.",
    rises="`starting`, `rebalancing` and `recovering` pass by themselves; else mend the named system."
    " `event_loop_blocked`: restart the worker and report its log.",
    roles=ROLES,
    labels={"reason": REASONS},
)
LOOP_SILENT: Final = Gauge(
    name="optin_event_loop_silent_seconds",
    meaning="How long ago the event loop turned last.",
    rises="Something blocks the loop: take a stack dump (`py-spy dump`), then restart the worker.",
    roles=ROLES,
)
SINCE_PROGRESS: Final = Gauge(
    name="optin_since_progress_seconds",
    meaning="How long there has been work and no progress; OPTIN_STALLED_S_MAX ends the process.",
    rises="Look at the log: what does the worker wait for? The restart that follows loses nothing.",
    roles=ROLES,
)
LAG: Final = Gauge(
    name="optin_input_lag_records",
    meaning="Records of owned partitions that are not durable yet. Gone while the broker is silent.",
    rises="More comes in than is folded, or a partition hangs: compare with the maximum, add workers.",
    roles=ROLES,
    labels=_TOPIC,
)
LAG_MAX: Final = Gauge(
    name="optin_input_lag_records_max",
    meaning="The same for the partition that lags most.",
    rises="One partition hangs or is hot; its worker's log says which chunk it works on.",
    roles=ROLES,
    labels=_TOPIC,
)
REBALANCES: Final = Counter(
    name="optin_rebalances_total",
    meaning="Assignments that became ready, the first one included.",
    rises="Workers come and go, or miss heartbeats: look for restarts, and for a loop that is blocked.",
    roles=ROLES,
)
REBALANCE_PAUSE: Final = Histogram(
    name="optin_rebalance_pause_seconds",
    meaning="From the revocation of partitions until folding goes on.",
    rises="Recovery takes long, or the group waits for a member: see `optin_recovery_seconds`.",
    roles=ROLES,
    buckets=_SLOW_S,
)

# Lanes.

FOLDED: Final = Counter(
    name="optin_records_folded_total",
    meaning="Records folded, once durable. By the event clock, dues are counted too.",
    rises="It is the throughput.",
    roles=LANE_ROLES,
    labels=_LANE,
    from_zero=False,
)
CHUNK: Final = Histogram(
    name="optin_chunk_records",
    meaning="Records of one chunk.",
    rises="The role is catching up: larger chunks cost less each.",
    roles=LANE_ROLES,
    labels=_LANE,
    buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000),
)
FOLD: Final = Histogram(
    name="optin_fold_seconds",
    meaning="Decoding and folding the chunks of one transaction.",
    rises="Larger chunks, larger rows, or a busy CPU; divide its sum by the records folded.",
    roles=LANE_ROLES,
    labels=_LANE,
    buckets=_FAST_S,
)
TRANSACTION: Final = Histogram(
    name="optin_transaction_seconds",
    meaning="Encoding rows and writing one transaction; its `_count` is the number of transactions.",
    rises="Kafka is slow to acknowledge: look at its disks, in-sync replicas and transaction coordinators.",
    roles=LANE_ROLES,
    labels=_LANE,
    buckets=_FAST_S,
)
CLAIM: Final = Histogram(
    name="optin_claim_seconds",
    meaning="Claiming all partitions of an assignment (InitProducerId).",
    rises="The former owner's transaction is being ended, or Kafka's coordinators are slow.",
    roles=LANE_ROLES,
    labels=_LANE,
    buckets=_SLOW_S,
)
RECOVERY: Final = Histogram(
    name="optin_recovery_seconds",
    meaning="Reading the changelog of an assignment back, timers included.",
    rises="The table grows or its changelog is not compacted: look at `optin_recovered_records_total`.",
    roles=LANE_ROLES,
    labels=_LANE,
    buckets=_SLOW_S,
)
RECOVERED: Final = Counter(
    name="optin_recovered_records_total",
    meaning="Changelog records read back.",
    rises="Partitions move. Far more than `optin_table_rows` at once: the changelog is not compacted.",
    roles=LANE_ROLES,
    labels=_LANE,
    from_zero=False,
)
SETTLED: Final = Counter(
    name="optin_settled_partitions_total",
    meaning="Partitions on which a transaction hung, its markers forgotten by Kafka; a claim ended it.",
    rises="Kafka forgets markers when it restarts: see the how-to about hanging transactions.",
    roles=LANE_ROLES,
    labels={**_LANE, "fate": ("committed", "aborted")},
)
UNSETTLED: Final = Gauge(
    name="optin_unsettled_lane",
    meaning="1 while a worker, about to end, tells that a transaction hangs and nothing shows its fate.",
    rises="The lane stands still until an operator ends that transaction: its log and the how-to say how.",
    roles=LANE_ROLES,
    labels=_LANE,
)
ROWS: Final = Gauge(
    name="optin_table_rows",
    meaning="Rows in memory: subjects, attempts without an outcome, and notes of when an address worked.",
    rises="Memory rises with it; add workers before it runs out.",
    roles=LANE_ROLES,
    labels=_LANE,
)
TIMERS: Final = Gauge(
    name="optin_timers_pending",
    meaning="Rows that wait for a time, overdue ones included.",
    rises="More journeys are open. With lag, dues wait until the inputs are folded.",
    roles=LANE_ROLES,
    labels=_LANE,
)

# Facts.

REVOCATION: Final = Histogram(
    name="optin_revocation_latency_seconds",
    meaning="From the first append of a fact that takes permission away until this role has it durable; once"
    " for each that changes something. While a role catches up, they show their age.",
    rises="People are reached after they said no: find the lag, the pause or the misplaced facts behind it.",
    roles=LANE_ROLES,
    labels={"fact": REVOCATIONS},
    buckets=(0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 300, 3_600),
)
FAILED_STEPS: Final = Counter(
    name="optin_failed_steps_total",
    meaning="Steps that raised and were put aside, each with a dead letter: a `fold` of a fact, a `fire` of a"
    " timer, a `conclude` of a push.",
    rises="A definition or this program is broken for some people, whose marketing is withheld:"
    " `docs/how-to/mend-failed-steps.md`.",
    roles=LANE_ROLES,
    labels={**_LANE, "step": ("fold", "fire", "conclude")},
)
DEAD_LETTERS: Final = Counter(
    name="optin_dead_letters_total",
    meaning="Records refused and put into dead-letters.",
    rises="`optin dead-letters list` shows them: mend the producer, then replay or dismiss.",
    roles=LANE_ROLES,
    labels={"reason": DEAD_LETTER_REASONS},
)
LEFT_OUT: Final = Counter(
    name="optin_lines_left_out_total",
    meaning="Lines of facts that were left out, the others counted: items of orders, attributes, properties.",
    rises="A producer sends ids or texts that the ledger refuses: `docs/how-to/publish-facts.md` says which.",
    roles=("journeys",),
    labels={"fact": ("OrderPlaced", "SubjectAttributesSet", "CustomActivity")},
)
PASSED_OVER: Final = Counter(
    name="optin_words_passed_over_total",
    meaning="Words on permission without effect: appended after the one that counts, saying the contrary.",
    rises="Devices' clocks are wrong, counters began anew, or a backend repeats an old yes: the view"
    " `words_passed_over` lists them, `optin explain` names the word that counts"
    " (`docs/reference/consent-rule.md`).",
    roles=("journeys",),
    labels={"clock": REGISTERS},
)
MISPLACED: Final = Counter(
    name="optin_misplaced_facts_total",
    meaning="Facts on a partition where their key does not belong, appended again where it does.",
    rises="A producer does not partition by murmur2, and its revocations take effect late: the log names"
    " the partitions, and what to mend is in `docs/how-to/publish-facts.md`.",
    roles=("journeys",),
    labels={"topic": MOVABLE_INPUTS},
)
MISPLACED_DELAY: Final = Histogram(
    name="optin_misplaced_delay_seconds",
    meaning="From the first append of a misplaced fact until its second one was acknowledged.",
    rises="As above; until then the fact has no effect.",
    roles=("journeys",),
    buckets=_SLOW_S,
)
REAPPENDS: Final = Counter(
    name="optin_reappends_total",
    meaning="Acknowledged appends of misplaced facts; a chunk that is tried again appends again.",
    rises="More than `optin_misplaced_facts_total`: chunks with such facts are folded anew after crashes.",
    roles=("journeys",),
)

# Pushes.

DECISIONS: Final = Counter(
    name="optin_decisions_total",
    meaning="Decisions of the gate on candidates, once durable; a hold is decided again later.",
    rises="It is the work done. Mostly `withhold` all at once: consent, a cap or a definition changed; see"
    " the view `decisions_by_reason`.",
    roles=("journeys",),
    labels={"verdict": VERDICTS},
)
PUSHES: Final = Counter(
    name="optin_pushes_total",
    meaning="Outcomes of attempted pushes, once durable.",
    rises="`withheld_late`: consent changed after the decision. `unknown`: workers or providers break off.",
    roles=("delivery",),
    labels={"outcome": OUTCOMES},
)
PUSH_RETRIES: Final = Counter(
    name="optin_push_retries_total",
    meaning="Pushes that wait to be tried again, once durable.",
    rises="`transient`: a provider is slow or down. `credential`: ours are wrong. `unknown`: answers to"
    " transactional pushes get lost.",
    roles=("delivery",),
    labels={"reason": ("transient", "credential", "unknown")},
)
ANSWERS: Final = (
    "accepted",
    "token_dead",
    "unlisted_service",
    "credential",
    "payload",
    "transient",
    "unknown",
)
"""What a provider says of a push: taken, or whose fault it was; see `connectors.push.port`."""
PROVIDER_ANSWERS: Final = Counter(
    name="optin_provider_answers_total",
    meaning="Pushes that were handed to a provider, by what it said. Retries count each time.",
    rises="`accepted` is the throughput; for the others see docs/how-to/connect-providers.md.",
    roles=("delivery",),
    labels={
        "provider": PROVIDERS,
        "answer": ANSWERS,
    },
)
PROBES: Final = Counter(
    name="optin_probes_total",
    meaning="Silent pushes that looked for apps that went (`OPTIN_PROBE_PER_S`), by what providers said.",
    rises="`token_dead`: people uninstall. Others than that and `accepted`: as with pushes.",
    roles=("delivery",),
    labels={"answer": ANSWERS},
)
PROVIDER_ANSWER: Final = Histogram(
    name="optin_provider_answer_seconds",
    meaning="How long a provider took to answer pushes that were handed over together.",
    rises="The provider is slow, or the way to it is: fewer are handed over at once by themselves.",
    roles=("delivery",),
    labels={"provider": PROVIDERS},
    buckets=_FAST_S,
)
PROVIDER_PAUSE: Final = Gauge(
    name="optin_provider_pause_seconds",
    meaning="For how long a provider is left alone yet since it fails, or asks for it: the longest pause.",
    rises="The provider is away or refuses our credentials: pushes wait meanwhile, and until `send_within`.",
    roles=("delivery",),
    labels={"provider": PROVIDERS},
)
BARRIER: Final = Histogram(
    name="optin_barrier_wait_seconds",
    meaning="How long a set of sends waited until consent was folded, timeouts included.",
    rises="The consent lane lags: look at `optin_input_lag_records` of permissions.",
    roles=("delivery",),
    buckets=_FAST_S,
)
BARRIER_TIMEOUTS: Final = Counter(
    name="optin_barrier_timeouts_total",
    meaning="Barriers that were not passed within OPTIN_BARRIER_TIMEOUT_S; the set is tried again.",
    rises="As above; pushes are late, none is sent unchecked.",
    roles=("delivery",),
)
LEASE_EXPIRIES: Final = Counter(
    name="optin_lease_expiries_total",
    meaning="Attempts whose lease ended before they were handed over, or before an outcome was recorded.",
    rises="Workers died in mid-send, or commits take longer than OPTIN_LEASE_S.",
    roles=("delivery",),
)

# ClickHouse.

INSERTED: Final = Counter(
    name="optin_rows_inserted_total",
    meaning="Rows that ClickHouse took.",
    rises="It is the throughput.",
    roles=("metrics",),
)
INSERT: Final = Histogram(
    name="optin_insert_seconds",
    meaning="One batch, from its first try until ClickHouse took it.",
    rises="ClickHouse is slow or away: views are behind, nothing is lost.",
    roles=("metrics",),
    buckets=_SLOW_S,
)
INSERT_RETRIES: Final = Counter(
    name="optin_insert_retries_total",
    meaning="Tries that ClickHouse did not take.",
    rises="The worker's log has ClickHouse's words.",
    roles=("metrics",),
)
UNMEASURED: Final = Counter(
    name="optin_records_not_measured_total",
    meaning="Records that are no rows: inputs that the ledger refuses, each of which is a dead letter, and"
    " what nobody of ours wrote to our own topics.",
    rises="As `optin_dead_letters_total`; of our own topics the log names the place.",
    roles=("metrics",),
)

CATALOGUE: Final[tuple[Metric, ...]] = tuple(
    value for value in tuple(globals().values()) if isinstance(value, Metric)
)
"""Every row, in the order in which it stands here."""
