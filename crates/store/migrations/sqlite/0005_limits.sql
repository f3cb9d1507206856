-- A consumer's part in the limits of accounts, as JSON; what is not set has its default.
ALTER TABLE consumer ADD COLUMN limits TEXT NOT NULL DEFAULT '{}';

-- What an account has to give, where it is not what Microsoft publishes.
CREATE TABLE account_limits (
    account_id TEXT NOT NULL PRIMARY KEY REFERENCES account (id) ON DELETE CASCADE,
    limits TEXT NOT NULL
) STRICT;

-- Until when Microsoft asked everyone to stay away.
CREATE TABLE account_pause (
    account_id TEXT NOT NULL PRIMARY KEY REFERENCES account (id) ON DELETE CASCADE,
    until INTEGER NOT NULL
) STRICT;

-- What each server last saw of an account. A server lives as long as its beat goes on.
CREATE TABLE limit_server (
    account_id TEXT NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    server TEXT NOT NULL,
    beat INTEGER NOT NULL,
    at INTEGER NOT NULL,
    shown TEXT NOT NULL,
    PRIMARY KEY (account_id, server)
) STRICT;
CREATE INDEX limit_server_at ON limit_server (at);

-- Calls by consumer in slots of a minute, kept for ten, and of an hour, kept for a day.
-- An empty consumer is the account itself.
CREATE TABLE limit_use (
    account_id TEXT NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    consumer_id TEXT NOT NULL,
    span INTEGER NOT NULL,
    slot INTEGER NOT NULL,
    calls INTEGER NOT NULL,
    bulk INTEGER NOT NULL,
    refused INTEGER NOT NULL,
    throttled INTEGER NOT NULL,
    waited_ms INTEGER NOT NULL,
    paused_ms INTEGER NOT NULL,
    PRIMARY KEY (account_id, span, slot, consumer_id)
) STRICT;
CREATE INDEX limit_use_slot ON limit_use (span, slot);
