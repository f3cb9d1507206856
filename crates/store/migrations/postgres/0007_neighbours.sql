-- Servers read every two seconds what the others wrote, and not what they wrote themselves.
-- Without the moment, which changes with every beat: the index need not change with it.
CREATE INDEX limit_server_of ON limit_server (server);
