//! Databases on the PostgreSQL that `./test` starts.

use secrecy::ExposeSecret as _;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

/// The address of a database of a test's own; it goes with its server.
pub(crate) async fn database() -> String {
    let admin = std::env::var("TIELINE_TEST_POSTGRES").unwrap_or_else(|_| {
        panic!("PostgreSQL is needed for this test: run ./test, or set TIELINE_TEST_POSTGRES")
    });
    let random = tieline_vault::token::random();
    let letters = random.expose_secret().chars();
    let letters: String = letters.filter(char::is_ascii_alphanumeric).collect();
    let name = format!("tieline_{}", letters.to_lowercase());
    let mut connection = PgConnection::connect(&admin).await.unwrap();
    let sql = AssertSqlSafe(format!("CREATE DATABASE {name}"));
    sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
    let mut url: url::Url = admin.parse().unwrap();
    url.set_path(&name);
    url.into()
}
