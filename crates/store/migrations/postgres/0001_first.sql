-- Times are milliseconds since 1970, UTC. What is sorted is sorted as SQLite does, by bytes. Columns of type BYTEA with a secret hold sealed bytes.

CREATE TABLE workspace (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL
);

CREATE TABLE app_user (
    id TEXT NOT NULL PRIMARY KEY,
    email TEXT COLLATE "C" NOT NULL,
    password_hash TEXT NOT NULL,
    role TEXT NOT NULL,
    language TEXT,
    created_at BIGINT NOT NULL,
    CONSTRAINT app_user_email UNIQUE (email)
);

CREATE TABLE session (
    token_hash BYTEA NOT NULL PRIMARY KEY,
    id TEXT NOT NULL,
    user_id TEXT NOT NULL REFERENCES app_user (id) ON DELETE CASCADE,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX session_by_user ON session (user_id);
CREATE INDEX session_expiry ON session (expires_at);

CREATE TABLE account (
    id TEXT NOT NULL PRIMARY KEY,
    workspace_id TEXT NOT NULL REFERENCES workspace (id),
    type TEXT NOT NULL,
    name TEXT NOT NULL,
    name_key TEXT COLLATE "C" NOT NULL,
    is_default BOOLEAN NOT NULL,
    authorization_url TEXT NOT NULL,
    token_url TEXT NOT NULL,
    api_url TEXT NOT NULL,
    client_id TEXT NOT NULL,
    grant_type TEXT NOT NULL,
    notes TEXT NOT NULL,
    client_secret BYTEA,
    client_secret_version BIGINT NOT NULL,
    client_secret_set_at BIGINT,
    client_secret_expires_on TEXT,
    consent TEXT,
    state TEXT NOT NULL,
    state_since BIGINT NOT NULL,
    reason_code TEXT NOT NULL,
    reason_detail TEXT NOT NULL,
    version BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    created_by TEXT NOT NULL,
    changed_at BIGINT NOT NULL,
    changed_by TEXT NOT NULL,
    deleted_at BIGINT
);
-- A deleted account frees its name and its place as the default.
CREATE UNIQUE INDEX account_name ON account (workspace_id, name_key) WHERE deleted_at IS NULL;
CREATE UNIQUE INDEX account_default ON account (workspace_id, type)
    WHERE is_default AND deleted_at IS NULL;

CREATE TABLE account_token (
    account_id TEXT NOT NULL PRIMARY KEY REFERENCES account (id) ON DELETE CASCADE,
    generation BIGINT NOT NULL,
    refresh_token BYTEA,
    previous_refresh_token BYTEA,
    access_token BYTEA,
    access_expires_at BIGINT,
    obtained_at BIGINT,
    scope TEXT,
    client_key TEXT,
    lease_owner TEXT,
    lease_until BIGINT,
    blocked_key TEXT,
    failures BIGINT NOT NULL,
    renew_at BIGINT
);
CREATE INDEX account_token_due ON account_token (renew_at) WHERE renew_at IS NOT NULL;

-- Many things happen in one millisecond; `seq` keeps them in order.
CREATE TABLE account_event (
    seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    account_id TEXT NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    at BIGINT NOT NULL,
    from_state TEXT,
    to_state TEXT NOT NULL,
    reason_code TEXT NOT NULL,
    reason_detail TEXT NOT NULL
);
CREATE INDEX account_event_account ON account_event (account_id, seq);

CREATE TABLE draft (
    id TEXT NOT NULL PRIMARY KEY,
    workspace_id TEXT NOT NULL REFERENCES workspace (id),
    owner TEXT NOT NULL,
    -- Empty for a new account, since NULLs are never equal to each other.
    account_key TEXT NOT NULL,
    base_version BIGINT,
    fields TEXT NOT NULL,
    client_secret BYTEA,
    client_secret_set_at BIGINT,
    tokens BYTEA,
    tokens_set_at BIGINT,
    consent TEXT,
    report TEXT,
    updated_at BIGINT NOT NULL,
    CONSTRAINT draft_place UNIQUE (workspace_id, owner, account_key)
);

CREATE TABLE consent (
    state_hash BYTEA NOT NULL PRIMARY KEY,
    target TEXT NOT NULL,
    session_binding BYTEA,
    verifier BYTEA NOT NULL,
    nonce TEXT NOT NULL,
    redirect_uri TEXT NOT NULL,
    authorization_url TEXT NOT NULL,
    token_url TEXT NOT NULL,
    api_url TEXT NOT NULL,
    client_id TEXT NOT NULL,
    mode TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    used_at BIGINT,
    outcome TEXT
);
CREATE INDEX consent_expiry ON consent (expires_at);

CREATE TABLE consumer (
    id TEXT NOT NULL PRIMARY KEY,
    workspace_id TEXT NOT NULL REFERENCES workspace (id),
    name TEXT NOT NULL,
    name_key TEXT COLLATE "C" NOT NULL,
    grants TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    CONSTRAINT consumer_name UNIQUE (workspace_id, name_key)
);

CREATE TABLE api_key (
    id TEXT NOT NULL PRIMARY KEY,
    consumer_id TEXT NOT NULL REFERENCES consumer (id) ON DELETE CASCADE,
    hash BYTEA NOT NULL,
    prefix TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    revoked_at BIGINT,
    last_used_at BIGINT,
    CONSTRAINT api_key_hash UNIQUE (hash)
);
CREATE INDEX api_key_consumer ON api_key (consumer_id);

CREATE TABLE consumer_use (
    consumer_id TEXT NOT NULL REFERENCES consumer (id) ON DELETE CASCADE,
    account_id TEXT NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    last_used_at BIGINT NOT NULL,
    PRIMARY KEY (account_id, consumer_id)
);

CREATE TABLE audit_event (
    seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    at BIGINT NOT NULL,
    actor TEXT NOT NULL,
    operation TEXT NOT NULL,
    item_kind TEXT NOT NULL,
    item_id TEXT,
    item_name TEXT NOT NULL,
    detail TEXT NOT NULL
);

-- How servers and commands learn of each other's writes. Old rows are pruned.
CREATE TABLE change (
    seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at BIGINT NOT NULL,
    kind TEXT NOT NULL,
    item_id TEXT NOT NULL,
    generation BIGINT NOT NULL
);
CREATE INDEX change_at ON change (at);

-- One row per master key that ever sealed something here. A server whose keys open none of them
-- has the wrong key file and must not seal more.
CREATE TABLE master_key (
    key_id TEXT NOT NULL PRIMARY KEY,
    proof BYTEA NOT NULL
);

INSERT INTO workspace (id, name) VALUES ('00000000000000000000000001', 'default');
