//! Exit codes, and how an error is told on a terminal.

use std::fmt::Write as _;
use std::process::ExitCode;

use tieline_app::{AppError, Finding};
use tieline_core::Language;

use crate::config::ConfigError;

/// How a command ended. The numbers are documented in `--help` and never change their meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It did what it was asked.
    Done,
    /// It could not.
    Failure,
    /// The command line or the configuration cannot be understood. clap uses the same number.
    Usage,
    /// A test ran, and what it tested is not in order.
    TestFailed,
    /// What was named does not exist.
    NotFound,
    /// What was given is refused: a value that is wrong, a name that is taken, a consent denied.
    Refused,
}

impl Exit {
    /// The number.
    pub(crate) fn code(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::Failure => 1,
            Exit::Usage => 2,
            Exit::TestFailed => 3,
            Exit::NotFound => 4,
            Exit::Refused => 5,
        }
    }

    /// The exit that an error means.
    pub(crate) fn of(error: &anyhow::Error) -> Exit {
        for cause in error.chain() {
            if cause.is::<ConfigError>() || cause.is::<Usage>() {
                return Exit::Usage;
            }
            if cause.is::<Denied>() {
                return Exit::Refused;
            }
            match cause.downcast_ref::<AppError>() {
                Some(AppError::NotFound { .. }) => return Exit::NotFound,
                Some(AppError::Store(_) | AppError::TooManyAttempts { .. }) => {
                    return Exit::Failure;
                }
                Some(_) => return Exit::Refused,
                None => {}
            }
        }
        Exit::Failure
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}

/// What `--help` says of exit codes.
pub(crate) const EXIT_HELP: &str = "\
Exit codes:
  0  done
  1  failed
  2  the command line or the configuration cannot be understood
  3  the test ran and found a fault
  4  what was named does not exist
  5  what was given is refused: a wrong value, a name taken, a consent denied

Data goes to stdout, words and logs to stderr.";

/// A command line that parses but makes no sense.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Usage(pub(crate) String);

/// Somebody at Microsoft, or Microsoft itself, said no.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Denied(pub(crate) String);

/// An error as people read it: what failed, why, and what to do.
pub(crate) fn describe(error: &anyhow::Error, language: Language) -> String {
    let mut text = String::new();
    for (depth, cause) in error.chain().enumerate() {
        let app = cause.downcast_ref::<AppError>();
        let said = app.map_or_else(|| cause.to_string(), |app| of_app(app, language));
        let lead = if depth == 0 {
            "tieline: "
        } else {
            "  because "
        };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{lead}{said}");
    }
    text
}

fn of_app(error: &AppError, language: Language) -> String {
    let findings: &[Finding] = match error {
        AppError::Invalid(findings) => findings,
        _ => &[],
    };
    if findings.is_empty() {
        let told = error.explain(language);
        // The database's own words help whoever looks after it; the remedy is for everybody.
        return match error {
            AppError::Store(_) => join(&format!("{error}."), &told.remedy),
            _ => join(&told.cause, &told.remedy),
        };
    }
    let lines = findings
        .iter()
        .filter(|finding| finding.is_error())
        .map(|finding| {
            let told = finding.explain(language);
            format!(
                "{}: {}",
                flag_of(finding.field.as_str()),
                join(&told.cause, &told.remedy)
            )
        });
    lines.collect::<Vec<_>>().join("\n          ")
}

/// The flag that sets a property. Secrets come from files.
pub(crate) fn flag_of(field: &str) -> String {
    match field {
        "client_secret"
        | "next_client_secret"
        | "client_certificate"
        | "next_client_certificate"
        | "refresh_token" => format!("--{}-file", field.replace('_', "-")),
        "secret_expires_on" => "--secret-expires".to_owned(),
        "next_secret_expires_on" => "--next-secret-expires".to_owned(),
        _ => format!("--{}", field.replace('_', "-")),
    }
}

fn join(cause: &str, remedy: &str) -> String {
    if remedy.is_empty() {
        cause.to_owned()
    } else {
        format!("{cause} {remedy}")
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;
    use tieline_app::Field;

    use super::*;

    #[test]
    fn the_exit_code_is_that_of_the_innermost_reason() {
        let missing = anyhow::Error::from(AppError::NotFound { what: "account" });
        assert_eq!(
            Exit::of(&missing.context("failed to test the account")).code(),
            4
        );
        let taken = AppError::Invalid(vec![Finding::error(Field::Name, "name-taken")]);
        assert_eq!(Exit::of(&anyhow::Error::from(taken)).code(), 5);
        assert_eq!(Exit::of(&anyhow::anyhow!("the disk is full")).code(), 1);
        let usage = Err::<(), _>(Usage("no".into()))
            .context("failed to start")
            .expect_err("usage");
        assert_eq!(Exit::of(&usage).code(), 2);
    }

    #[test]
    fn a_finding_is_told_with_its_flag_and_its_remedy() {
        let taken = Finding::error(Field::Name, "name-taken").with("name", "Contoso");
        let secret = Finding::error(Field::ClientSecret, "client-secret-empty");
        let error = anyhow::Error::from(AppError::Invalid(vec![taken, secret]))
            .context("failed to add the account");
        let text = describe(&error, Language::English);
        assert!(
            text.starts_with("tieline: failed to add the account\n"),
            "{text}"
        );
        assert!(
            text.contains("--name: ") && text.contains("Contoso"),
            "{text}"
        );
        assert!(text.contains("--client-secret-file: "), "{text}");
    }
}
