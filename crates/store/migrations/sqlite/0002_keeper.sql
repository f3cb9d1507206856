-- What the keeper knows of a refresh token that may have been spent, and of the server it is for.

-- auto, lenient or strict: whether a used refresh token may be sent once more.
ALTER TABLE account ADD COLUMN refresh_token_rotation TEXT NOT NULL DEFAULT 'auto';
CREATE INDEX account_by_state ON account (state) WHERE deleted_at IS NULL;

-- Which attempt sent the present refresh token without a definite answer being known, and when.
ALTER TABLE account_token ADD COLUMN spending_owner TEXT;
ALTER TABLE account_token ADD COLUMN spending_since INTEGER;
-- keeps, rotates or punishes: what the server was seen to do.
ALTER TABLE account_token ADD COLUMN rotation_seen TEXT;
-- Claims that Microsoft asked for and that no renewal or consent has met yet. They are no secret.
ALTER TABLE account_token ADD COLUMN claims TEXT;
-- The generation of the token that Dynamics refused with those claims, where it did.
ALTER TABLE account_token ADD COLUMN refused_generation INTEGER;
