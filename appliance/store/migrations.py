"""The tables, as numbered migrations: each is applied once, in a transaction of its own, and never edited later.

The comments inside CREATE TABLE stay in the file: `.schema` shows them. Moments are ISO-8601 UTC text with
microseconds.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from sqlite_utils.db import Database
from sqlite_utils.migrations import Migrations

from appliance.errors import DatabaseTooNew

schema = Migrations("appliance")


def migrate(connection: sqlite3.Connection, path: Path, stop_before: str | None = None) -> None:
    """Bring the database up to date, or to just before a migration. Raises DatabaseTooNew, changing nothing."""
    refuse_newer(connection, path)
    schema.apply(Database(connection, execute_plugins=False), stop_before=stop_before)


def refuse_newer(connection: sqlite3.Connection, path: Path) -> None:
    """Raises DatabaseTooNew."""
    database = Database(connection, execute_plugins=False)
    known = [migration.name for migration in schema.pending(Database(memory=True, execute_plugins=False))]
    newer = [migration.name for migration in schema.applied(database) if migration.name not in known]
    if newer:
        raise DatabaseTooNew(
            f"{path} has the tables of {newer[-1]}, this version of the appliance knows them up to {known[-1]}: "
            "install the newer version again, or restore the backup made before it"
        )


_INTERACTIONS = """
CREATE TABLE interactions (
    -- One row for each request answered (or tried): what was asked, what came back, who decided and what it cost.
    -- Listings go by seq, never by time: clocks jump.
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    parent_id TEXT,                       -- the request that this one shadows or repeats
    created TEXT NOT NULL CHECK (created GLOB '????-??-??T??:??:??.??????+00:00'),
    session TEXT,
    key_id TEXT NOT NULL,                 -- '' when anonymous
    subject TEXT,                         -- whom the text is about, for erasure
    tenant TEXT,
    origin TEXT NOT NULL CHECK (origin IN ('live', 'eval', 'shadow', 'probe')),
    endpoint TEXT NOT NULL,
    metadata TEXT NOT NULL,               -- JSON object
    messages TEXT NOT NULL,               -- JSON list
    answer TEXT NOT NULL,
    alternatives TEXT NOT NULL,           -- JSON list: the other choices when n > 1
    cohort TEXT NOT NULL,
    layer TEXT NOT NULL,
    reason TEXT NOT NULL,
    confidence REAL,
    scores TEXT NOT NULL,                 -- JSON object
    router TEXT,
    release TEXT NOT NULL,                -- 'legal@3' or 'base'
    release_digest TEXT,
    arm TEXT,
    base_digest TEXT,
    format_digest TEXT,
    template_digest TEXT,
    sampling TEXT NOT NULL,               -- JSON object
    prompt_tokens INTEGER,
    completion_tokens INTEGER,
    queue_ms REAL,
    ttft_ms REAL,
    total_ms REAL,
    finish_reason TEXT,
    status TEXT NOT NULL CHECK (status IN ('ok', 'cancelled', 'failed')),
    error TEXT,
    rating INTEGER                        -- the newest rating in feedback, kept here so that rated rows list fast
)
"""

# Each index ends in seq (the rowid), so a filtered page is one range read backwards, without a sort.
# Of several that fit, SQLite takes the one created last: the narrowest comes last. No ANALYZE on this database: its
# averages hide that 'failed' is rare, and the planner would then read every row.
_INTERACTIONS_INDEXES = (
    "CREATE INDEX interactions_created ON interactions (created)",
    "CREATE INDEX interactions_layer ON interactions (layer)",
    "CREATE INDEX interactions_cohort ON interactions (cohort)",
    "CREATE INDEX interactions_release ON interactions (release)",
    "CREATE INDEX interactions_status ON interactions (status)",
    "CREATE INDEX interactions_rating ON interactions (rating) WHERE rating IS NOT NULL",
)

_FEEDBACK = """
CREATE TABLE feedback (
    -- What people said about an answer; it goes when the answer is erased.
    id TEXT PRIMARY KEY,
    request_id TEXT NOT NULL REFERENCES interactions (id) ON DELETE CASCADE,
    key_id TEXT NOT NULL,                 -- '' when anonymous
    created TEXT NOT NULL,
    rating INTEGER CHECK (rating IN (-1, 0, 1)),
    correction TEXT,
    comment TEXT,
    cohort TEXT,                          -- the right one
    use TEXT NOT NULL CHECK (use IN ('for', 'against', 'none')),
    idempotency_key TEXT,
    body_digest TEXT NOT NULL
)
"""

_RELEASES = """
CREATE TABLE releases (
    -- The immutable versions of each cohort, and the state each is in; the files lie under releases/ by digest.
    digest TEXT NOT NULL,
    cohort TEXT NOT NULL,
    version INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('candidate', 'shadow', 'canary', 'live', 'retired')),
    adapter_digest TEXT NOT NULL,
    template_digest TEXT NOT NULL,
    base_digest TEXT NOT NULL,
    system_prompt TEXT NOT NULL,
    parent TEXT,                          -- digest of the release it was made from
    created TEXT NOT NULL,
    gated INTEGER NOT NULL CHECK (gated IN (0, 1)),
    manifest TEXT NOT NULL,               -- JSON object
    PRIMARY KEY (cohort, version),
    UNIQUE (cohort, digest)
)
"""

_RELEASE_EVENTS = """
CREATE TABLE release_events (
    -- Every change of a release's state, in order; appended in the transaction that makes the change.
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    created TEXT NOT NULL,
    cohort TEXT NOT NULL,
    version INTEGER NOT NULL,
    digest TEXT NOT NULL,
    event TEXT NOT NULL,                  -- added, promoted, rolled_back, retired ...
    from_state TEXT,                      -- null when added
    to_state TEXT NOT NULL,
    key_id TEXT NOT NULL,
    FOREIGN KEY (cohort, version) REFERENCES releases (cohort, version)
)
"""

_KEYS = """
CREATE TABLE keys (
    -- Who may call: the SHA-256 of each secret, never the secret.
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    secret_sha256 TEXT NOT NULL,
    scopes TEXT NOT NULL,                 -- JSON list
    cohorts TEXT,                         -- JSON list; null is all
    tenant TEXT,
    hints INTEGER NOT NULL CHECK (hints IN (0, 1)),  -- may requests carry routing metadata
    created TEXT NOT NULL,
    expires TEXT,
    revoked TEXT
)
"""

_AUDIT = """
CREATE TABLE audit (
    -- One row for each change an operator made.
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    created TEXT NOT NULL,
    key_id TEXT NOT NULL,
    action TEXT NOT NULL,
    object TEXT NOT NULL,
    before TEXT NOT NULL,                 -- JSON, null when there was nothing
    after TEXT NOT NULL                   -- JSON, null when nothing is left
)
"""

_PROBE = """
CREATE TABLE probe (
    -- One row, rewritten to find out whether a failing disk has recovered.
    id INTEGER PRIMARY KEY CHECK (id = 1),
    written TEXT
)
"""

_ROUTERS = """
CREATE TABLE routers (
    -- The text routers fitted here; the files lie under router/ by digest.
    version INTEGER PRIMARY KEY,
    digest TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('live', 'refused', 'retired')),
    created TEXT NOT NULL,
    key_id TEXT NOT NULL,                 -- who had it fitted; '' on the machine itself
    manifest TEXT NOT NULL,               -- JSON object
    report TEXT NOT NULL,                 -- JSON object: what it gave on rows kept apart
    refusals TEXT NOT NULL                -- JSON list: why it did not go live
)
"""


_KINDS = (
    """
    CREATE TABLE kinds (
        -- Which of these occur together in interactions, for listings; kept by a trigger.
        cohort TEXT NOT NULL,
        layer TEXT NOT NULL,
        release TEXT NOT NULL,
        status TEXT NOT NULL,
        PRIMARY KEY (cohort, layer, release, status)
    ) WITHOUT ROWID
    """,
    # Both end in seq (the rowid), so the rows of a kind, and those of a rating, are ranges in the log's order.
    "CREATE INDEX interactions_kind ON interactions (cohort, layer, release, status)",
    "CREATE INDEX interactions_rated ON interactions (rating, cohort, layer, release, status) "
    "WHERE rating IS NOT NULL",
    "INSERT INTO kinds SELECT DISTINCT cohort, layer, release, status FROM interactions",
    """
    CREATE TRIGGER interactions_kinds AFTER INSERT ON interactions BEGIN
        INSERT OR IGNORE INTO kinds VALUES (NEW.cohort, NEW.layer, NEW.release, NEW.status);
    END
    """,
)

_MOMENTS = (
    """
    CREATE TABLE moments (
        -- The first row of interactions at or after which each minute was reached; kept by a trigger.
        minute TEXT PRIMARY KEY,              -- like 2026-11-22T08:00
        seq INTEGER NOT NULL                  -- no row before it was created in this minute or later
    ) WITHOUT ROWID
    """,
    """
    INSERT INTO moments
    SELECT minute, min(seq) FROM (
        SELECT substr(created, 1, 16) AS minute, seq, max(substr(created, 1, 16)) OVER (ORDER BY seq) AS latest
        FROM interactions
    ) WHERE minute = latest GROUP BY minute
    """,
    """
    CREATE TRIGGER interactions_moments AFTER INSERT ON interactions
    WHEN substr(NEW.created, 1, 16) > coalesce((SELECT max(minute) FROM moments), '') BEGIN
        INSERT INTO moments VALUES (substr(NEW.created, 1, 16), NEW.seq);
    END
    """,
)

# By so much the latest minute may be ahead of a row without a clock that was: the longest deadline of an answer.
_SETBACK = (
    """
    CREATE TABLE setback (
        -- One row: up to where the clock had been ahead of the rows of interactions; kept by a trigger.
        seq INTEGER NOT NULL                  -- of the newest row that is an hour older than one before it
    )
    """,
    """
    INSERT INTO setback
    SELECT coalesce(max(seq), 0) FROM (
        SELECT substr(created, 1, 16) AS minute, seq, max(substr(created, 1, 16)) OVER (ORDER BY seq) AS latest
        FROM interactions
    ) WHERE minute < strftime('%Y-%m-%dT%H:%M', latest, '-61 minutes')
    """,
    """
    CREATE TRIGGER interactions_setback AFTER INSERT ON interactions
    WHEN substr(NEW.created, 1, 16) <
        strftime('%Y-%m-%dT%H:%M', (SELECT max(minute) FROM moments), '-61 minutes') BEGIN
        UPDATE setback SET seq = NEW.seq;
    END
    """,
)

_KINDS_WITH_ORIGIN_AND_REVIEWED = (
    "DROP TRIGGER interactions_kinds",
    "DROP INDEX interactions_kind",
    "DROP INDEX interactions_rated",
    "DROP TABLE kinds",
    "ALTER TABLE interactions ADD COLUMN reviewed INTEGER /* has anybody judged the answer in feedback */ "
    "NOT NULL DEFAULT 0 CHECK (reviewed IN (0, 1))",
    "UPDATE interactions SET reviewed = 1 WHERE id IN "
    "(SELECT request_id FROM feedback WHERE coalesce(rating, correction, cohort, use) IS NOT NULL)",
    """
    CREATE TABLE kinds (
        -- Which of these occur, or occurred, together in interactions, for listings; kept by triggers.
        cohort TEXT NOT NULL,
        layer TEXT NOT NULL,
        release TEXT NOT NULL,
        status TEXT NOT NULL,
        origin TEXT NOT NULL,
        reviewed INTEGER NOT NULL,
        PRIMARY KEY (cohort, layer, release, status, origin, reviewed)
    ) WITHOUT ROWID
    """,
    # Both end in seq (the rowid), so the rows of a kind, and those of a rating, are ranges in the log's order.
    "CREATE INDEX interactions_kind ON interactions (cohort, layer, release, status, origin, reviewed)",
    "CREATE INDEX interactions_rated ON interactions (rating, cohort, layer, release, status, origin, reviewed) "
    "WHERE rating IS NOT NULL",
    "INSERT INTO kinds SELECT DISTINCT cohort, layer, release, status, origin, reviewed FROM interactions",
    """
    CREATE TRIGGER interactions_kinds AFTER INSERT ON interactions BEGIN
        INSERT OR IGNORE INTO kinds
        VALUES (NEW.cohort, NEW.layer, NEW.release, NEW.status, NEW.origin, NEW.reviewed);
    END
    """,
    """
    CREATE TRIGGER interactions_reviewed AFTER UPDATE OF reviewed ON interactions BEGIN
        INSERT OR IGNORE INTO kinds
        VALUES (NEW.cohort, NEW.layer, NEW.release, NEW.status, NEW.origin, NEW.reviewed);
    END
    """,
)


_EXAMPLES = """
CREATE TABLE examples (
    -- Labelled examples of each cohort: what routing and training learn from, and are judged by.
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    digest TEXT NOT NULL UNIQUE,          -- of cohort, split, prompt, completion, text, task, metric and refs
    cohort TEXT NOT NULL,                 -- 'base' for rows of no cohort
    split TEXT NOT NULL CHECK (split IN ('train', 'eval')),
    prompt TEXT NOT NULL,                 -- JSON list of messages, without the release's system prompt
    completion TEXT CHECK (completion IS NOT NULL OR cohort = 'base'),
    text TEXT NOT NULL,                   -- what a router reads: the user's own words
    task TEXT,
    metric TEXT,                          -- how an answer is judged
    refs TEXT NOT NULL,                   -- JSON list: what is right beside the completion
    subject TEXT,                         -- whom the text is about, for erasure
    source TEXT,                          -- where it comes from, for people
    origin TEXT NOT NULL CHECK (origin IN ('human', 'imported', 'interaction', 'synthetic')),
    teacher TEXT,                         -- the model that wrote the completion; null for people
    created TEXT NOT NULL
)
"""


_SLICES = """
CREATE TABLE slices (
    -- Frozen sets of examples of one cohort: what a release was trained on, or judged by.
    digest TEXT PRIMARY KEY,
    cohort TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('train', 'eval')),
    created TEXT NOT NULL,
    report TEXT NOT NULL                  -- JSON object: counts, mix, what was left out and why
)
"""

_SLICE_ROWS = """
CREATE TABLE slice_rows (
    -- Which rows a slice is made of; their text stays where it lies.
    slice TEXT NOT NULL REFERENCES slices (digest),
    position INTEGER NOT NULL,
    part TEXT NOT NULL CHECK (part IN ('train', 'validation', 'eval')),
    row TEXT NOT NULL,                    -- digest of an example
    source TEXT,                          -- a file and line, or the id of a request
    subject TEXT,                         -- whom the text is about, for erasure
    origin TEXT NOT NULL,
    PRIMARY KEY (slice, position)
) WITHOUT ROWID
"""

_EVALUATIONS = """
CREATE TABLE evaluations (
    -- One arm (a release, or the base) asked all rows of an eval slice, in one weight format.
    id INTEGER PRIMARY KEY,
    arm TEXT NOT NULL,                    -- digest of what answered
    slice TEXT NOT NULL,
    base_digest TEXT NOT NULL,
    format_digest TEXT NOT NULL,
    name TEXT NOT NULL,                   -- the arm for people
    cohort TEXT NOT NULL,                 -- whose rows
    seconds REAL NOT NULL,
    created TEXT NOT NULL,
    UNIQUE (arm, slice, base_digest, format_digest)
)
"""

_EVALUATION_RESULTS = """
CREATE TABLE evaluation_results (
    -- Every answer of an evaluation and its scores; an error counts as a failure.
    evaluation INTEGER NOT NULL REFERENCES evaluations (id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    row TEXT NOT NULL,                    -- digest of an example
    task TEXT NOT NULL,
    metric TEXT NOT NULL,
    answer TEXT NOT NULL,
    score REAL NOT NULL,
    scores TEXT NOT NULL,                 -- JSON object
    error TEXT,
    PRIMARY KEY (evaluation, position)
) WITHOUT ROWID
"""

_REVIEWS = """
CREATE TABLE reviews (
    -- What `cohort eval` found last of a release, on the base's weights in one format.
    digest TEXT NOT NULL,                 -- the release's
    cohort TEXT NOT NULL,
    format_digest TEXT NOT NULL,
    verdict TEXT NOT NULL,                -- pass, fail, insufficient
    created TEXT NOT NULL,
    PRIMARY KEY (digest, cohort, format_digest)
) WITHOUT ROWID
"""

_JOBS = """
CREATE TABLE jobs (
    -- Long work that an operator began.
    id TEXT PRIMARY KEY,
    kind TEXT NOT NULL,                   -- retrain, evaluate, rebuild
    cohort TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('running', 'done', 'failed', 'cancelled', 'interrupted')),
    created TEXT NOT NULL,
    ended TEXT,
    key_id TEXT NOT NULL,                 -- '' on the machine itself
    asked TEXT NOT NULL,                  -- JSON object
    result TEXT,                          -- JSON object
    error TEXT
)
"""

# Unlike before, a word on `use` may be missing; so 'none' is a word, too.
_FEEDBACK_WITH_USE_UNSAID = """
CREATE TABLE feedback (
    -- What people said about an answer; it goes when the answer is erased. Null is what they did not say, so the last
    -- word on something is the newest that is not null.
    id TEXT PRIMARY KEY,
    request_id TEXT NOT NULL REFERENCES interactions (id) ON DELETE CASCADE,
    key_id TEXT NOT NULL,                 -- '' when anonymous
    created TEXT NOT NULL,
    rating INTEGER CHECK (rating IN (-1, 0, 1)),
    correction TEXT,
    comment TEXT,
    cohort TEXT,                          -- the right one
    use TEXT CHECK (use IN ('for', 'against', 'none')),  -- none takes the others back
    idempotency_key TEXT,
    body_digest TEXT NOT NULL
)
"""
_FEEDBACK_INDEXES = (
    "CREATE INDEX feedback_request ON feedback (request_id)",
    "CREATE UNIQUE INDEX feedback_once ON feedback (key_id, idempotency_key) WHERE idempotency_key IS NOT NULL",
)


@schema()
def m001_interactions(database: Database) -> None:
    database.execute(_INTERACTIONS)
    for index in _INTERACTIONS_INDEXES:
        database.execute(index)


@schema()
def m002_feedback(database: Database) -> None:
    database.execute(_FEEDBACK)
    for index in _FEEDBACK_INDEXES:
        database.execute(index)


@schema()
def m003_releases(database: Database) -> None:
    database.execute(_RELEASES)
    database.execute("CREATE UNIQUE INDEX releases_one_live ON releases (cohort) WHERE state = 'live'")
    database.execute(_RELEASE_EVENTS)
    database.execute("CREATE INDEX release_events_release ON release_events (cohort, version)")


@schema()
def m004_keys(database: Database) -> None:
    database.execute(_KEYS)


@schema()
def m005_audit(database: Database) -> None:
    database.execute(_AUDIT)


@schema()
def m006_probe(database: Database) -> None:
    database.execute(_PROBE)
    database.execute("INSERT INTO probe (id) VALUES (1)")


@schema()
def m007_kinds_and_moments(database: Database) -> None:
    """Listings of a long log: by kind instead of by column, and by the place of a moment instead of its index."""
    for index in _INTERACTIONS_INDEXES:
        database.execute(f"DROP INDEX {index.split()[2]}")
    for statement in (*_KINDS, *_MOMENTS):
        database.execute(statement)


@schema()
def m008_examples(database: Database) -> None:
    database.execute(_EXAMPLES)
    # It ends in seq (the rowid), so the rows of a split are one range in the order of their import.
    database.execute("CREATE INDEX examples_split ON examples (cohort, split)")


@schema()
def m009_routers(database: Database) -> None:
    database.execute(_ROUTERS)
    database.execute("CREATE UNIQUE INDEX routers_one_live ON routers (state) WHERE state = 'live'")


@schema()
def m010_slices(database: Database) -> None:
    database.execute(_SLICES)
    database.execute(_SLICE_ROWS)
    # From a person, or a row, to every slice and so to every release that learned from it.
    database.execute("CREATE INDEX slice_rows_row ON slice_rows (row)")
    database.execute("CREATE INDEX slice_rows_subject ON slice_rows (subject) WHERE subject IS NOT NULL")


@schema()
def m011_evaluations(database: Database) -> None:
    database.execute(_EVALUATIONS)
    database.execute(_EVALUATION_RESULTS)


@schema()
def m012_jobs(database: Database) -> None:
    database.execute(_JOBS)
    database.execute("CREATE UNIQUE INDEX jobs_one_runs ON jobs (state) WHERE state = 'running'")


@schema()
def m013_use_unsaid(database: Database) -> None:
    """What was not said on `use` is null: until now that was what 'none' meant. Rows keep their order."""
    columns = "id, request_id, key_id, created, rating, correction, comment, cohort"
    others = "idempotency_key, body_digest"
    database.execute("ALTER TABLE feedback RENAME TO earlier")
    database.execute(_FEEDBACK_WITH_USE_UNSAID)
    database.execute(
        f"INSERT INTO feedback (rowid, {columns}, use, {others}) "  # noqa: S608 - of names above
        f"SELECT rowid, {columns}, nullif(use, 'none'), {others} FROM earlier"
    )
    database.execute("DROP TABLE earlier")
    for index in _FEEDBACK_INDEXES:
        database.execute(index)


@schema()
def m014_origin_and_reviewed(database: Database) -> None:
    """Listings by where a request came from, and by whether anybody has judged its answer."""
    for statement in _KINDS_WITH_ORIGIN_AND_REVIEWED:
        database.execute(statement)


@schema()
def m015_reviews(database: Database) -> None:
    database.execute(_REVIEWS)


@schema()
def m016_setback(database: Database) -> None:
    """How far back a listing until a moment has to look, where the clock has been ahead."""
    for statement in _SETBACK:
        database.execute(statement)
