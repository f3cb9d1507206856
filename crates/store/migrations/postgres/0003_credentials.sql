-- An account may have several credentials. What is known of them without opening them stands in
-- `credentials` as JSON. The first client secret keeps its own columns; the others are sealed here.
-- A row stays when its credential goes, so that its version is never used a second time.
CREATE TABLE account_credential (
    account_id TEXT NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    slot TEXT NOT NULL,
    version BIGINT NOT NULL,
    sealed BYTEA,
    PRIMARY KEY (account_id, slot)
);

ALTER TABLE account ADD COLUMN credentials TEXT NOT NULL DEFAULT '[]';
-- When the next notice of a credential's end is due, and when the first of them ends.
ALTER TABLE account ADD COLUMN notice_at BIGINT;
ALTER TABLE account ADD COLUMN credential_ends_at BIGINT;
CREATE INDEX account_notice ON account (notice_at)
    WHERE notice_at IS NOT NULL AND deleted_at IS NULL;
CREATE INDEX account_credential_end ON account (credential_ends_at)
    WHERE credential_ends_at IS NOT NULL AND deleted_at IS NULL;
-- Looked at once, which works out both.
UPDATE account SET notice_at = 0 WHERE client_secret_expires_on IS NOT NULL;

ALTER TABLE draft ADD COLUMN credentials BYTEA;
ALTER TABLE draft ADD COLUMN credentials_set_at BIGINT;
ALTER TABLE draft ADD COLUMN credentials_known TEXT;
