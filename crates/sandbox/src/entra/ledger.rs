//! What was issued and decided, in the sandbox's database: refresh tokens by their hash, access
//! tokens by their identifier, device codes, service principals, and changes to the directory.
//!
//! No token stands here that could be used: only hashes, and what they were issued for.

use rusqlite::{Connection, OptionalExtension as _, Row, params};
use uuid::Uuid;

use crate::state::State;

pub(crate) const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS issued_refresh (
    hash BLOB PRIMARY KEY, family TEXT NOT NULL, tenant TEXT NOT NULL, client TEXT NOT NULL,
    user TEXT NOT NULL, resource TEXT NOT NULL, issued INTEGER NOT NULL, used INTEGER NOT NULL,
    state INTEGER NOT NULL, body TEXT NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS issued_refresh_family ON issued_refresh (family);
CREATE TABLE IF NOT EXISTS issued_access (
    id TEXT PRIMARY KEY, tenant TEXT NOT NULL, client TEXT NOT NULL, user TEXT,
    resource TEXT NOT NULL, issued INTEGER NOT NULL, expires INTEGER NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS issued_access_expires ON issued_access (expires);
CREATE TABLE IF NOT EXISTS device_code (
    hash BLOB PRIMARY KEY, user_code TEXT NOT NULL UNIQUE, at INTEGER NOT NULL,
    state INTEGER NOT NULL, request TEXT NOT NULL, grant_body TEXT
) STRICT;
CREATE TABLE IF NOT EXISTS browser_session (
    hash BLOB PRIMARY KEY, at INTEGER NOT NULL, body TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS service_principal (
    tenant TEXT NOT NULL, client TEXT NOT NULL, PRIMARY KEY (tenant, client)
) STRICT;
CREATE TABLE IF NOT EXISTS directory_change (
    kind TEXT NOT NULL, id TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (kind, id)
) STRICT;
";

/// A browser's session lives ninety days.
const SESSION_SECONDS: i64 = 90 * 86_400;

/// What became of a refresh token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Fate {
    Good,
    /// Used once, where rotation is strict.
    Superseded,
    /// Its family was ended.
    Ended,
    /// Made to look as if its time were over.
    Expired,
    /// Revoked by name.
    Revoked,
}

impl Fate {
    fn of(number: i64) -> Self {
        match number {
            0 => Self::Good,
            1 => Self::Superseded,
            3 => Self::Expired,
            4 => Self::Revoked,
            _ => Self::Ended,
        }
    }

    fn number(self) -> i64 {
        match self {
            Self::Good => 0,
            Self::Superseded => 1,
            Self::Ended => 2,
            Self::Expired => 3,
            Self::Revoked => 4,
        }
    }
}

/// A refresh token as it is kept.
#[derive(Debug, Clone)]
pub(crate) struct Refresh {
    pub(crate) family: String,
    pub(crate) fate: Fate,
    pub(crate) issued: i64,
    pub(crate) used: i64,
    pub(crate) body: String,
}

/// A token, without the token.
#[derive(Debug, Clone, serde::Serialize)]
pub(crate) struct Issued {
    /// Identifier of an access token (claim `uti`), family of a refresh token.
    pub(crate) id: String,
    pub(crate) tenant: String,
    pub(crate) application: String,
    pub(crate) user: Option<String>,
    pub(crate) resource: String,
    /// Seconds since 1970, like those below.
    pub(crate) issued: i64,
    pub(crate) expires: Option<i64>,
    pub(crate) last_used: Option<i64>,
    /// What became of it, for refresh tokens.
    pub(crate) fate: Option<Fate>,
}

/// Which tokens or consents are meant; what is left out means all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Scope {
    pub(crate) tenant: Option<Uuid>,
    pub(crate) application: Option<Uuid>,
    pub(crate) user: Option<String>,
}

impl Scope {
    /// Three values for `?1`, `?2`, `?3` of [`MEANT`].
    fn values(&self) -> (Option<String>, Option<String>, Option<String>) {
        (
            self.tenant.map(|id| id.to_string()),
            self.application.map(|id| id.to_string()),
            self.user.as_ref().map(|upn| upn.to_lowercase()),
        )
    }
}

const MEANT: &str = "(?1 IS NULL OR tenant = ?1) AND (?2 IS NULL OR client = ?2) \
                     AND (?3 IS NULL OR user = ?3)";

/// What became of a device's request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Device {
    Pending,
    Declined,
    Approved { grant: String },
    Redeemed,
}

/// A device's request.
#[derive(Debug, Clone)]
pub(crate) struct DeviceRow {
    pub(crate) hash: Vec<u8>,
    pub(crate) at: i64,
    pub(crate) state: Device,
    pub(crate) request: String,
}

/// The tables above.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ledger<'a>(pub(crate) &'a State);

impl Ledger<'_> {
    pub(crate) fn prepare(&self) -> rusqlite::Result<()> {
        self.0.with(|database| database.execute_batch(SCHEMA))
    }

    // === refresh tokens ===

    pub(crate) fn keep_refresh(
        &self,
        hash: &[u8],
        issued: &Issued,
        body: &str,
    ) -> rusqlite::Result<()> {
        let sql = "INSERT INTO issued_refresh \
                   (hash, family, tenant, client, user, resource, issued, used, state, body) \
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7, 0, ?8)";
        self.0.with(|database| {
            let values = params![
                hash,
                issued.id,
                issued.tenant,
                issued.application,
                issued.user,
                issued.resource,
                issued.issued,
                body
            ];
            database.prepare_cached(sql)?.execute(values).map(|_| ())
        })
    }

    pub(crate) fn refresh(&self, hash: &[u8]) -> rusqlite::Result<Option<Refresh>> {
        let sql = "SELECT family, state, issued, used, body FROM issued_refresh WHERE hash = ?1";
        self.0.with(|database| {
            let read = |row: &Row<'_>| {
                Ok(Refresh {
                    family: row.get(0)?,
                    fate: Fate::of(row.get(1)?),
                    issued: row.get(2)?,
                    used: row.get(3)?,
                    body: row.get(4)?,
                })
            };
            database
                .prepare_cached(sql)?
                .query_row([hash], read)
                .optional()
        })
    }

    /// Notes a use; false when somebody else was quicker to use up a token that is good once.
    pub(crate) fn use_refresh(&self, hash: &[u8], at: i64, then: Fate) -> rusqlite::Result<bool> {
        let sql = "UPDATE issued_refresh SET used = ?2, state = ?3 WHERE hash = ?1 AND state = 0";
        self.0.with(|database| {
            let values = params![hash, at, then.number()];
            Ok(database.prepare_cached(sql)?.execute(values)? == 1)
        })
    }

    /// Ends everything that came from one sign-in.
    pub(crate) fn end_family(&self, family: &str) -> rusqlite::Result<()> {
        let sql = "UPDATE issued_refresh SET state = 2 WHERE family = ?1";
        self.0
            .with(|database| database.execute(sql, [family]).map(|_| ()))
    }

    /// Gives good refresh tokens another fate; how many there were.
    pub(crate) fn settle_refresh(&self, scope: &Scope, fate: Fate) -> rusqlite::Result<usize> {
        let sql = format!("UPDATE issued_refresh SET state = ?4 WHERE state = 0 AND {MEANT}");
        let (tenant, client, user) = scope.values();
        self.0
            .with(|database| database.execute(&sql, params![tenant, client, user, fate.number()]))
    }

    /// Refresh tokens with what they stand for. One that was not used was not used yet when it was
    /// issued.
    pub(crate) fn refresh_tokens(&self, scope: &Scope) -> rusqlite::Result<Vec<(Issued, String)>> {
        let sql = format!(
            "SELECT family, tenant, client, user, resource, issued, NULL, NULLIF(used, issued), \
             state, body FROM issued_refresh WHERE {MEANT} ORDER BY issued, rowid"
        );
        self.list(&sql, scope)
    }

    // === access tokens ===

    pub(crate) fn keep_access(&self, issued: &Issued) -> rusqlite::Result<()> {
        let sql = "INSERT INTO issued_access \
                   (id, tenant, client, user, resource, issued, expires) \
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        self.0.with(|database| {
            // What is over for a day interests nobody.
            let old = "DELETE FROM issued_access WHERE expires < ?1";
            database
                .prepare_cached(old)?
                .execute([issued.issued - 86_400])?;
            let values = params![
                issued.id,
                issued.tenant,
                issued.application,
                issued.user,
                issued.resource,
                issued.issued,
                issued.expires
            ];
            database.prepare_cached(sql)?.execute(values).map(|_| ())
        })
    }

    pub(crate) fn access_tokens(&self, scope: &Scope) -> rusqlite::Result<Vec<Issued>> {
        let sql = format!(
            "SELECT id, tenant, client, user, resource, issued, expires, NULL, NULL, '' \
             FROM issued_access WHERE {MEANT} ORDER BY issued, rowid"
        );
        let listed = self.list(&sql, scope)?;
        Ok(listed.into_iter().map(|(issued, _)| issued).collect())
    }

    fn list(&self, sql: &str, scope: &Scope) -> rusqlite::Result<Vec<(Issued, String)>> {
        let (tenant, client, user) = scope.values();
        self.0.with(|database| {
            let mut statement = database.prepare(sql)?;
            let rows = statement.query_map(params![tenant, client, user], |row| {
                let fate: Option<i64> = row.get(8)?;
                let issued = Issued {
                    id: row.get(0)?,
                    tenant: row.get(1)?,
                    application: row.get(2)?,
                    user: row.get(3)?,
                    resource: row.get(4)?,
                    issued: row.get(5)?,
                    expires: row.get(6)?,
                    last_used: row.get(7)?,
                    fate: fate.map(Fate::of),
                };
                Ok((issued, row.get(9)?))
            })?;
            rows.collect()
        })
    }

    // === browsers ===

    /// Keeps who is signed in in a browser, by the hash of its cookie.
    pub(crate) fn keep_session(&self, hash: &[u8], at: i64, body: &str) -> rusqlite::Result<()> {
        let sql = "INSERT OR REPLACE INTO browser_session (hash, at, body) VALUES (?1, ?2, ?3)";
        self.0.with(|database| {
            let old = "DELETE FROM browser_session WHERE at < ?1";
            database.execute(old, [at - SESSION_SECONDS])?;
            database.execute(sql, params![hash, at, body]).map(|_| ())
        })
    }

    pub(crate) fn session(&self, hash: &[u8]) -> rusqlite::Result<Option<String>> {
        let sql = "SELECT body FROM browser_session WHERE hash = ?1";
        self.0
            .with(|database| database.query_row(sql, [hash], |row| row.get(0)).optional())
    }

    pub(crate) fn end_session(&self, hash: &[u8]) -> rusqlite::Result<()> {
        let sql = "DELETE FROM browser_session WHERE hash = ?1";
        self.0
            .with(|database| database.execute(sql, [hash]).map(|_| ()))
    }

    // === consents and service principals ===

    /// Withdraws consents; how many there were. A user means the user's own, and no user means all,
    /// also those for everybody.
    pub(crate) fn withdraw(&self, scope: &Scope) -> rusqlite::Result<usize> {
        let sql = format!("DELETE FROM consent WHERE {MEANT}");
        let (tenant, client, user) = scope.values();
        self.0
            .with(|database| database.execute(&sql, params![tenant, client, user]))
    }

    /// Tenant, client and user of every consent; `*` is everybody.
    pub(crate) fn consents(
        &self,
        scope: &Scope,
    ) -> rusqlite::Result<Vec<(String, String, String)>> {
        let sql =
            format!("SELECT tenant, client, user FROM consent WHERE {MEANT} ORDER BY 1, 2, 3");
        let (tenant, client, user) = scope.values();
        self.0.with(|database| {
            let mut statement = database.prepare(&sql)?;
            let rows = statement.query_map(params![tenant, client, user], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })?;
            rows.collect()
        })
    }

    pub(crate) fn add_principal(&self, tenant: Uuid, client: Uuid) -> rusqlite::Result<()> {
        let sql = "INSERT OR IGNORE INTO service_principal (tenant, client) VALUES (?1, ?2)";
        let values = [tenant.to_string(), client.to_string()];
        self.0
            .with(|database| database.execute(sql, values).map(|_| ()))
    }

    pub(crate) fn principals(&self) -> rusqlite::Result<Vec<(Uuid, Uuid)>> {
        let sql = "SELECT tenant, client FROM service_principal";
        let rows = self.0.with(|database| {
            let mut statement = database.prepare(sql)?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            rows.collect::<rusqlite::Result<Vec<(String, String)>>>()
        })?;
        let parse =
            |(tenant, client): (String, String)| Some((tenant.parse().ok()?, client.parse().ok()?));
        Ok(rows.into_iter().filter_map(parse).collect())
    }

    // === changes to the directory ===

    pub(crate) fn keep_change(&self, kind: &str, id: &str, body: &str) -> rusqlite::Result<()> {
        let sql = "INSERT OR REPLACE INTO directory_change (kind, id, body) VALUES (?1, ?2, ?3)";
        self.0
            .with(|database| database.execute(sql, params![kind, id, body]).map(|_| ()))
    }

    /// What was changed in something, as it was kept.
    pub(crate) fn change<T: serde::de::DeserializeOwned>(
        &self,
        kind: &str,
        id: &str,
    ) -> rusqlite::Result<Option<T>> {
        let sql = "SELECT body FROM directory_change WHERE kind = ?1 AND id = ?2";
        let body: Option<String> = self.0.with(|database| {
            database
                .query_row(sql, params![kind, id], |row| row.get(0))
                .optional()
        })?;
        // What an older sandbox wrote and this one cannot read counts as unchanged.
        Ok(body.and_then(|body| serde_json::from_str(&body).ok()))
    }

    // === devices ===

    pub(crate) fn keep_device(
        &self,
        hash: &[u8],
        user_code: &str,
        at: i64,
        request: &str,
    ) -> rusqlite::Result<()> {
        let sql = "INSERT INTO device_code (hash, user_code, at, state, request) \
                   VALUES (?1, ?2, ?3, 0, ?4)";
        self.0.with(|database| {
            database.execute("DELETE FROM device_code WHERE at < ?1", [at - 86_400])?;
            database
                .execute(sql, params![hash, user_code, at, request])
                .map(|_| ())
        })
    }

    pub(crate) fn device(&self, hash: &[u8]) -> rusqlite::Result<Option<DeviceRow>> {
        self.0
            .with(|database| read_device(database, "hash = ?1", params![hash]))
    }

    pub(crate) fn device_by_user_code(&self, code: &str) -> rusqlite::Result<Option<DeviceRow>> {
        self.0
            .with(|database| read_device(database, "user_code = ?1", params![code]))
    }

    /// Settles a request that is still open; false when it was settled before.
    pub(crate) fn settle_device(
        &self,
        hash: &[u8],
        from: &Device,
        to: &Device,
    ) -> rusqlite::Result<bool> {
        let sql = "UPDATE device_code SET state = ?2, grant_body = ?3 \
                   WHERE hash = ?1 AND state = ?4";
        let grant = match to {
            Device::Approved { grant } => Some(grant.as_str()),
            _ => None,
        };
        let values = params![hash, device_number(to), grant, device_number(from)];
        self.0
            .with(|database| Ok(database.execute(sql, values)? == 1))
    }
}

fn device_number(state: &Device) -> i64 {
    match state {
        Device::Pending => 0,
        Device::Declined => 1,
        Device::Approved { .. } => 2,
        Device::Redeemed => 3,
    }
}

fn read_device(
    database: &Connection,
    which: &str,
    values: &[&dyn rusqlite::ToSql],
) -> rusqlite::Result<Option<DeviceRow>> {
    let sql = format!("SELECT hash, at, state, request, grant_body FROM device_code WHERE {which}");
    let read = |row: &Row<'_>| {
        let grant: Option<String> = row.get(4)?;
        let state = match (row.get::<_, i64>(2)?, grant) {
            (0, _) => Device::Pending,
            (2, Some(grant)) => Device::Approved { grant },
            (3, _) => Device::Redeemed,
            _ => Device::Declined,
        };
        Ok(DeviceRow {
            hash: row.get(0)?,
            at: row.get(1)?,
            state,
            request: row.get(3)?,
        })
    };
    database.query_row(&sql, values, read).optional()
}
