-- Who is told of an account's events, what is told, and what became of it.

CREATE TABLE webhook (
    id TEXT NOT NULL PRIMARY KEY,
    workspace_id TEXT NOT NULL REFERENCES workspace (id),
    url TEXT NOT NULL,
    description TEXT NOT NULL,
    -- Lists in JSON, searched for a quoted word; without accounts it is every account.
    events TEXT NOT NULL,
    accounts TEXT,
    disabled_reason TEXT,
    disabled_at INTEGER,
    secret BLOB NOT NULL,
    secret_version INTEGER NOT NULL,
    -- After a rotation both sign, until the receiver has had time to take the new one.
    previous_secret BLOB,
    previous_secret_version INTEGER,
    previous_secret_until INTEGER,
    -- A receiver that asks for a pause gets it for everything that waits for it.
    paused_until INTEGER,
    failing_since INTEGER,
    last_success_at INTEGER,
    created_at INTEGER NOT NULL,
    created_by TEXT NOT NULL
) STRICT;

-- Whoever the configuration sends mail to. It stands here too, because what is written with an
-- event is decided by the database alone.
CREATE TABLE mail_recipient (
    address TEXT NOT NULL PRIMARY KEY,
    settle_ms INTEGER NOT NULL
) STRICT;

-- Facts as they were when it happened: a later attempt says the same.
CREATE TABLE notice (
    id TEXT NOT NULL PRIMARY KEY,
    type TEXT NOT NULL,
    at INTEGER NOT NULL,
    account_id TEXT,
    subject TEXT NOT NULL,
    token_url TEXT NOT NULL,
    consent TEXT,
    from_state TEXT,
    from_since INTEGER,
    to_state TEXT,
    since INTEGER,
    reason_code TEXT NOT NULL,
    reason_detail TEXT NOT NULL
) STRICT;
CREATE INDEX notice_at ON notice (at);

-- The outbox: one row for each notice and receiver.
CREATE TABLE delivery (
    seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    notice_id TEXT NOT NULL REFERENCES notice (id) ON DELETE CASCADE,
    channel TEXT NOT NULL,
    target TEXT NOT NULL,
    -- Deliveries to one target about one thing keep their order. Empty for what is about no account.
    order_key TEXT NOT NULL,
    state TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    next_at INTEGER,
    last_at INTEGER,
    last_status INTEGER,
    last_error TEXT,
    lease_owner TEXT,
    lease_until INTEGER,
    CONSTRAINT delivery_once UNIQUE (notice_id, target)
) STRICT;
CREATE INDEX delivery_due ON delivery (target, next_at) WHERE state = 'pending';
CREATE INDEX delivery_order ON delivery (target, order_key, seq) WHERE state = 'pending';
CREATE INDEX delivery_waiting ON delivery (channel, created_at) WHERE state = 'pending';
CREATE INDEX delivery_log ON delivery (target, seq);

-- A history is kept for a time, and read across accounts.
CREATE INDEX account_event_at ON account_event (at);
