-- What a million accounts need.

-- Purging reads what was deleted, not every account there is.
CREATE INDEX account_deleted ON account (deleted_at) WHERE deleted_at IS NOT NULL;
