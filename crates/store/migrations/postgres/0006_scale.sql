-- What a million accounts need.

-- Purging reads what was deleted, not every account there is.
CREATE INDEX account_deleted ON account (deleted_at) WHERE deleted_at IS NOT NULL;

-- Sealed bytes look random: PostgreSQL would try to compress each new token and never succeed.
ALTER TABLE account ALTER COLUMN client_secret SET STORAGE EXTERNAL;
ALTER TABLE account_token
    ALTER COLUMN refresh_token SET STORAGE EXTERNAL,
    ALTER COLUMN previous_refresh_token SET STORAGE EXTERNAL,
    ALTER COLUMN access_token SET STORAGE EXTERNAL;

-- Every renewal updates its row twice. Room on the page keeps the first of them, the lease, out of
-- the indexes; and what is left behind is swept up before a fifth of a million rows are dead.
ALTER TABLE account_token SET (
    fillfactor = 70,
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_threshold = 1000
);
