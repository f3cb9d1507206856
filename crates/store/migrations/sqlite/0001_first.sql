-- Times are milliseconds since 1970, UTC. Columns of type BLOB with a secret hold sealed bytes.

CREATE TABLE workspace (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL
) STRICT;

CREATE TABLE app_user (
    id TEXT NOT NULL PRIMARY KEY,
    email TEXT NOT NULL,
    password_hash TEXT NOT NULL,
    role TEXT NOT NULL,
    language TEXT,
    created_at INTEGER NOT NULL,
    CONSTRAINT app_user_email UNIQUE (email)
) STRICT;

CREATE TABLE session (
    token_hash BLOB NOT NULL PRIMARY KEY,
    id TEXT NOT NULL,
    user_id TEXT NOT NULL REFERENCES app_user (id) ON DELETE CASCADE,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT;
CREATE INDEX session_by_user ON session (user_id);
CREATE INDEX session_expiry ON session (expires_at);

CREATE TABLE account (
    id TEXT NOT NULL PRIMARY KEY,
    workspace_id TEXT NOT NULL REFERENCES workspace (id),
    type TEXT NOT NULL,
    name TEXT NOT NULL,
    name_key TEXT NOT NULL,
    is_default INTEGER NOT NULL,
    authorization_url TEXT NOT NULL,
    token_url TEXT NOT NULL,
    api_url TEXT NOT NULL,
    client_id TEXT NOT NULL,
    grant_type TEXT NOT NULL,
    notes TEXT NOT NULL,
    client_secret BLOB,
    client_secret_version INTEGER NOT NULL,
    client_secret_set_at INTEGER,
    client_secret_expires_on TEXT,
    consent TEXT,
    state TEXT NOT NULL,
    state_since INTEGER NOT NULL,
    reason_code TEXT NOT NULL,
    reason_detail TEXT NOT NULL,
    version INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    created_by TEXT NOT NULL,
    changed_at INTEGER NOT NULL,
    changed_by TEXT NOT NULL,
    deleted_at INTEGER
) STRICT;
-- A deleted account frees its name and its place as the default.
CREATE UNIQUE INDEX account_name ON account (workspace_id, name_key) WHERE deleted_at IS NULL;
CREATE UNIQUE INDEX account_default ON account (workspace_id, type)
    WHERE is_default AND deleted_at IS NULL;

CREATE TABLE account_token (
    account_id TEXT NOT NULL PRIMARY KEY REFERENCES account (id) ON DELETE CASCADE,
    generation INTEGER NOT NULL,
    refresh_token BLOB,
    previous_refresh_token BLOB,
    access_token BLOB,
    access_expires_at INTEGER,
    obtained_at INTEGER,
    scope TEXT,
    client_key TEXT,
    lease_owner TEXT,
    lease_until INTEGER,
    blocked_key TEXT,
    failures INTEGER NOT NULL,
    renew_at INTEGER
) STRICT;
CREATE INDEX account_token_due ON account_token (renew_at) WHERE renew_at IS NOT NULL;

-- Many things happen in one millisecond; `seq` keeps them in order.
CREATE TABLE account_event (
    seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    account_id TEXT NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    at INTEGER NOT NULL,
    from_state TEXT,
    to_state TEXT NOT NULL,
    reason_code TEXT NOT NULL,
    reason_detail TEXT NOT NULL
) STRICT;
CREATE INDEX account_event_account ON account_event (account_id, seq);

CREATE TABLE draft (
    id TEXT NOT NULL PRIMARY KEY,
    workspace_id TEXT NOT NULL REFERENCES workspace (id),
    owner TEXT NOT NULL,
    -- Empty for a new account, since NULLs are never equal to each other.
    account_key TEXT NOT NULL,
    base_version INTEGER,
    fields TEXT NOT NULL,
    client_secret BLOB,
    client_secret_set_at INTEGER,
    tokens BLOB,
    tokens_set_at INTEGER,
    consent TEXT,
    report TEXT,
    updated_at INTEGER NOT NULL,
    CONSTRAINT draft_place UNIQUE (workspace_id, owner, account_key)
) STRICT;

CREATE TABLE consent (
    state_hash BLOB NOT NULL PRIMARY KEY,
    target TEXT NOT NULL,
    session_binding BLOB,
    verifier BLOB NOT NULL,
    nonce TEXT NOT NULL,
    redirect_uri TEXT NOT NULL,
    authorization_url TEXT NOT NULL,
    token_url TEXT NOT NULL,
    api_url TEXT NOT NULL,
    client_id TEXT NOT NULL,
    mode TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    used_at INTEGER,
    outcome TEXT
) STRICT;
CREATE INDEX consent_expiry ON consent (expires_at);

CREATE TABLE consumer (
    id TEXT NOT NULL PRIMARY KEY,
    workspace_id TEXT NOT NULL REFERENCES workspace (id),
    name TEXT NOT NULL,
    name_key TEXT NOT NULL,
    grants TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    CONSTRAINT consumer_name UNIQUE (workspace_id, name_key)
) STRICT;

CREATE TABLE api_key (
    id TEXT NOT NULL PRIMARY KEY,
    consumer_id TEXT NOT NULL REFERENCES consumer (id) ON DELETE CASCADE,
    hash BLOB NOT NULL,
    prefix TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    revoked_at INTEGER,
    last_used_at INTEGER,
    CONSTRAINT api_key_hash UNIQUE (hash)
) STRICT;
CREATE INDEX api_key_consumer ON api_key (consumer_id);

CREATE TABLE consumer_use (
    consumer_id TEXT NOT NULL REFERENCES consumer (id) ON DELETE CASCADE,
    account_id TEXT NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    last_used_at INTEGER NOT NULL,
    PRIMARY KEY (account_id, consumer_id)
) STRICT;

CREATE TABLE audit_event (
    seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    at INTEGER NOT NULL,
    actor TEXT NOT NULL,
    operation TEXT NOT NULL,
    item_kind TEXT NOT NULL,
    item_id TEXT,
    item_name TEXT NOT NULL,
    detail TEXT NOT NULL
) STRICT;

-- How servers and commands learn of each other's writes. Old rows are pruned.
CREATE TABLE change (
    seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    at INTEGER NOT NULL,
    kind TEXT NOT NULL,
    item_id TEXT NOT NULL,
    generation INTEGER NOT NULL
) STRICT;
CREATE INDEX change_at ON change (at);

-- One row per master key that ever sealed something here. A server whose keys open none of them
-- has the wrong key file and must not seal more.
CREATE TABLE master_key (
    key_id TEXT NOT NULL PRIMARY KEY,
    proof BLOB NOT NULL
) STRICT;

INSERT INTO workspace (id, name) VALUES ('00000000000000000000000001', 'default');
