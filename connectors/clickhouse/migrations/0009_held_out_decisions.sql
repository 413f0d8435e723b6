-- Decisions of people who are held out: rows from before this migration said false for all of them.

ALTER TABLE decision_facts
    UPDATE holdout = true
    WHERE fact = 'PushDecided'
      AND arrayExists((name, passed) -> name = 'holdout' AND NOT passed, `checks.name`, `checks.passed`)
    SETTINGS mutations_sync = 1;

ALTER TABLE decision_facts
    COMMENT COLUMN holdout 'the pushes of this journey are held out for this person, for comparison';
