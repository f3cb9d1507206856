-- A consumer's part in the limits of accounts, as JSON; what is not set has its default.
ALTER TABLE consumer ADD COLUMN limits TEXT NOT NULL DEFAULT '{}';

-- What an account has to give, where it is not what Microsoft publishes.
CREATE TABLE account_limits (
    account_id TEXT NOT NULL PRIMARY KEY REFERENCES account (id) ON DELETE CASCADE,
    limits TEXT NOT NULL
);

-- Until when Microsoft asked everyone to stay away.
CREATE TABLE account_pause (
    account_id TEXT NOT NULL PRIMARY KEY REFERENCES account (id) ON DELETE CASCADE,
    until BIGINT NOT NULL
);

-- What each server last saw of an account. A server lives as long as its beat goes on.
CREATE TABLE limit_server (
    account_id TEXT NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    server TEXT NOT NULL,
    beat BIGINT NOT NULL,
    at BIGINT NOT NULL,
    shown TEXT NOT NULL,
    PRIMARY KEY (account_id, server)
);
CREATE INDEX limit_server_at ON limit_server (at);

-- Calls by consumer in slots of a minute, kept for ten, and of an hour, kept for a day.
-- An empty consumer is the account itself.
CREATE TABLE limit_use (
    account_id TEXT NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    consumer_id TEXT NOT NULL,
    span BIGINT NOT NULL,
    slot BIGINT NOT NULL,
    calls BIGINT NOT NULL,
    bulk BIGINT NOT NULL,
    refused BIGINT NOT NULL,
    throttled BIGINT NOT NULL,
    waited_ms BIGINT NOT NULL,
    paused_ms BIGINT NOT NULL,
    PRIMARY KEY (account_id, span, slot, consumer_id)
);
CREATE INDEX limit_use_slot ON limit_use (span, slot);
