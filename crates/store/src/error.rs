//! Why the database did not do what it was asked.

use std::sync::Arc;

use tieline_vault::OpenError;

/// A failure of the database, or a constraint that was hit.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no such row.
    #[error("there is no such row")]
    NotFound,
    /// The row was changed since it was read.
    #[error("the row was changed since it was read")]
    Stale,
    /// A name, address or key that must be unique is taken.
    #[error("the name is taken")]
    NameTaken,
    /// A sealed column does not open.
    #[error("the sealed column {column} cannot be opened: {source}")]
    Sealed {
        /// `table.column`.
        column: &'static str,
        /// Why.
        #[source]
        source: OpenError,
    },
    /// A row says something that this version does not understand.
    #[error("the column {column} holds something unexpected: {reason}")]
    Corrupt {
        /// `table.column`.
        column: &'static str,
        /// What.
        reason: String,
    },
    /// The database's address is not one.
    #[error("the database's address cannot be used: {0}")]
    Address(String),
    /// The tables are not of this version.
    #[error("the database needs migrations; run: tieline migrate")]
    NotMigrated,
    /// The tables are of a later version.
    #[error(
        "the database was made by a newer version of Tieline; run that version, or restore a backup"
    )]
    Newer,
    /// The master keys are those of another database.
    #[error(
        "the key file holds none of the master keys that seal this database ({known}); put the \
         right master.keys in the data directory, or restore it from the backup"
    )]
    WrongKeys {
        /// The ids of the keys that do.
        known: String,
    },
    /// The migrations failed.
    #[error("the migrations failed: {0}")]
    Migration(#[source] sqlx::migrate::MigrateError),
    /// The database failed.
    #[error("the database failed: {0}")]
    Database(#[source] sqlx::Error),
    /// A transaction of several writes failed, and each is told.
    #[error("the database failed: {0}")]
    Uncommitted(#[source] Arc<sqlx::Error>),
    /// The write was given up before it began.
    #[error("the write was given up, because the server is stopping; try again")]
    Stopped,
}

impl StoreError {
    /// Stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "not-found",
            Self::Stale => "stale",
            Self::NameTaken => "name-taken",
            _ => "database-unavailable",
        }
    }

    pub(crate) fn corrupt(column: &'static str, reason: impl ToString) -> Self {
        Self::Corrupt {
            column,
            reason: reason.to_string(),
        }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        if violates_a_name(&error) {
            Self::NameTaken
        } else {
            Self::Database(error)
        }
    }
}

/// What must be unique because people choose it: the constraint, and the columns by which SQLite
/// tells of it. Any other violation is a fault of ours, and is not to be explained as a name.
const NAMES: [(&str, &str); 3] = [
    ("account_name", "account.workspace_id, account.name_key"),
    ("consumer_name", "consumer.workspace_id, consumer.name_key"),
    ("app_user_email", "app_user.email"),
];

fn violates_a_name(error: &sqlx::Error) -> bool {
    let Some(error) = error
        .as_database_error()
        .filter(|e| e.is_unique_violation())
    else {
        return false;
    };
    NAMES
        .iter()
        .any(|(constraint, columns)| match error.constraint() {
            Some(name) => name == *constraint,
            None => error.message().ends_with(columns),
        })
}
