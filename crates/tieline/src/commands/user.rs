//! `tieline user`: the people who sign in to the console.

use std::path::{Path, PathBuf};

use anyhow::Context;
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use tieline_core::Role;

use crate::commands::serve::made_up_password;
use crate::commands::{Desk, Session};
use crate::exit::Exit;
use crate::output::{self, UserJson, say};

/// What to do.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    /// Everybody who may sign in
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Adds a user
    Add {
        /// E-mail address, the sign-in name
        #[arg(long)]
        email: String,
        /// What they may do
        #[arg(long, default_value = "operator", value_parser = role)]
        role: Role,
        /// File with the password; `-` reads stdin [default: one is made up and printed]
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Removes a user
    Remove {
        /// E-mail address or identifier
        user: String,
    },
    /// Changes what a user may do
    Role {
        /// E-mail address or identifier
        user: String,
        /// administrator or operator
        #[arg(value_parser = role)]
        role: Role,
    },
    /// Sets a user's password and ends their sessions
    Password {
        /// E-mail address or identifier
        user: String,
        /// File with the password; `-` reads stdin [default: one is made up and printed]
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
    },
}

fn role(word: &str) -> Result<Role, String> {
    word.parse()
        .map_err(|error: tieline_core::UnknownWord| error.to_string())
}

#[derive(Debug, Serialize)]
struct Added {
    user: UserJson,
    /// Only when it was made up.
    password: Option<String>,
}

/// Runs the verb.
///
/// # Errors
/// When the database does not answer, or the change is refused.
pub(crate) async fn run(verb: Verb, session: Session) -> anyhow::Result<Exit> {
    let Desk { app, by, .. } = session.open().await?;
    match verb {
        Verb::List { json } => {
            let users = app.user_list().await.context("failed to list the users")?;
            if json {
                output::json(&users.iter().map(UserJson::of).collect::<Vec<_>>())?;
            } else {
                let row = |u: &tieline_core::User| vec![u.email.to_string(), u.role.to_string()];
                let rows: Vec<_> = users.iter().map(row).collect();
                output::line(&output::table(&["email", "role"], &rows))?;
            }
        }
        Verb::Add {
            email,
            role,
            password_file,
            json,
        } => {
            let (password, shown) = password(password_file.as_deref())?;
            let user = app
                .user_add(&by, &email, &password, role)
                .await
                .context("failed to add the user")?;
            if json {
                output::json(&Added {
                    user: UserJson::of(&user),
                    password: shown,
                })?;
            } else {
                say(&format!("{} may sign in now, as {}", user.email, user.role));
                show_password(shown)?;
            }
        }
        Verb::Remove { user } => {
            app.user_remove(&by, &user)
                .await
                .context("failed to remove the user")?;
        }
        Verb::Role { user, role } => {
            app.user_set_role(&by, &user, role)
                .await
                .context("failed to change the role")?;
        }
        Verb::Password {
            user,
            password_file,
        } => {
            let (password, shown) = password(password_file.as_deref())?;
            app.user_set_password(&by, &user, &password)
                .await
                .context("failed to set the password")?;
            show_password(shown)?;
        }
    }
    Ok(Exit::Done)
}

/// The password from a file, or one that is made up and therefore has to be shown.
fn password(file: Option<&Path>) -> anyhow::Result<(SecretString, Option<String>)> {
    match file {
        Some(path) => Ok((output::read_secret(path, "the password")?, None)),
        None => {
            let made_up = made_up_password();
            let shown = made_up.expose_secret().to_owned();
            Ok((made_up, Some(shown)))
        }
    }
}

fn show_password(shown: Option<String>) -> anyhow::Result<()> {
    let Some(password) = shown else { return Ok(()) };
    say("The password, shown this once:");
    output::line(&password)
}
