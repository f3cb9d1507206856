//! The sections `[notifications]` and `[mail]`: how others are told of events.

use std::time::Duration;

use tieline_app::{MailSettings, MailTls, NotifySettings};
use tieline_core::Language;

use crate::config::error::ConfigError;
use crate::config::load::Origin;
use crate::config::resolve::{Reader, wrong, wrong_value};

/// Reads both.
///
/// # Errors
/// When a value means nothing, or mail has a server but no sender or recipient.
pub(super) fn read(raw: &Reader<'_>) -> Result<NotifySettings, ConfigError> {
    let language = match raw.given("notifications.language") {
        None => Language::English,
        Some(given) => Language::ALL
            .into_iter()
            .find(|language| language.tag() == given.text.trim())
            .ok_or_else(|| wrong("notifications.language", given))?,
    };
    Ok(NotifySettings {
        language,
        mail: mail(raw)?,
    })
}

fn mail(raw: &Reader<'_>) -> Result<Option<MailSettings>, ConfigError> {
    let Some(host) = raw.text("mail.host") else {
        return Ok(None);
    };
    let tls = match raw.given("mail.tls") {
        None => MailTls::StartTls,
        Some(given) => match given.text.trim() {
            "starttls" => MailTls::StartTls,
            "implicit" => MailTls::Implicit,
            "none" => MailTls::None,
            _ => return Err(wrong("mail.tls", given)),
        },
    };
    let port = match raw.given("mail.port") {
        Some(given) => given
            .text
            .trim()
            .parse::<u16>()
            .ok()
            .filter(|port| *port > 0)
            .ok_or_else(|| wrong_value("mail.port", given, "a port, such as 587"))?,
        None => match tls {
            MailTls::StartTls => 587,
            MailTls::Implicit => 465,
            MailTls::None => 25,
        },
    };
    let password = raw.secret("mail.password", "mail.password_file")?;
    if let (MailTls::None, Some(_), Some(given)) = (tls, &password, raw.given("mail.tls")) {
        let expected = "starttls or implicit, since a password is set: it would be overheard";
        return Err(wrong_value("mail.tls", given, expected));
    }
    let ca_files = raw.path("outbound.ca_file").into_iter().collect();
    Ok(Some(MailSettings {
        host,
        port,
        tls,
        user: raw.text("mail.user"),
        password,
        from: address(raw)?,
        to: recipients(raw)?,
        settle: settle(raw)?,
        ca_files,
    }))
}

fn address(raw: &Reader<'_>) -> Result<String, ConfigError> {
    let text = raw.text("mail.from").unwrap_or_default();
    if is_address(&text) {
        return Ok(text);
    }
    Err(needed(
        "mail.from",
        &text,
        "the sender's mail address, since mail.host is set",
    ))
}

fn recipients(raw: &Reader<'_>) -> Result<Vec<String>, ConfigError> {
    let text = raw.text("mail.to").unwrap_or_default();
    let mut all: Vec<String> = text
        .split(',')
        .map(|part| part.trim().to_owned())
        .filter(|part| !part.is_empty())
        .collect();
    all.sort();
    all.dedup();
    if all.is_empty() || !all.iter().all(|address| is_address(address)) {
        let expected = "mail addresses of whoever is to be told, since mail.host is set";
        return Err(needed("mail.to", &text, expected));
    }
    Ok(all)
}

fn settle(raw: &Reader<'_>) -> Result<Duration, ConfigError> {
    let Some(given) = raw.given("mail.settle") else {
        return Ok(Duration::from_secs(60));
    };
    span(given.text.trim()).ok_or_else(|| wrong("mail.settle", given))
}

/// `90s`, `5m`, `1h`; a day is more than anybody should wait.
fn span(text: &str) -> Option<Duration> {
    let split = text.find(|c: char| !c.is_ascii_digit())?;
    let (count, unit) = text.split_at(split);
    let seconds = match unit.trim() {
        "s" => 1,
        "m" | "min" => 60,
        "h" => 3_600,
        _ => return None,
    };
    let total = count.parse::<u64>().ok()?.checked_mul(seconds)?;
    (total <= 86_400).then(|| Duration::from_secs(total))
}

/// `name@host`, or with a name in front: `Tieline <name@host>`. The rest is the mail server's.
fn is_address(text: &str) -> bool {
    let bare = match text.split_once('<') {
        Some((_, rest)) => match rest.strip_suffix('>') {
            Some(bare) => bare,
            None => return false,
        },
        None => text,
    };
    bare.parse::<tieline_core::Email>().is_ok()
}

fn needed(key: &'static str, found: &str, expected: &str) -> ConfigError {
    ConfigError::WrongValue {
        origin: Origin::Default,
        key,
        expected: expected.to_owned(),
        found: if found.is_empty() {
            "not set".to_owned()
        } else {
            format!("{found:?}")
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::resolve::tests::load;

    const MAIL: [(&str, &str); 3] = [
        ("mail.host", "smtp.example.com"),
        ("mail.from", "Tieline <tieline@example.com>"),
        ("mail.to", "b@example.com, a@example.com"),
    ];

    #[test]
    fn no_mail_goes_out_unless_a_server_is_named() {
        assert!(load(&[]).expect("defaults").notify.mail.is_none());
        let mail = load(&MAIL).expect("read").notify.mail.expect("mail");
        assert_eq!((mail.port, mail.tls), (587, MailTls::StartTls));
        assert_eq!(mail.to, ["a@example.com", "b@example.com"]);
        assert_eq!(mail.settle, Duration::from_secs(60));
    }

    #[test]
    fn what_mail_lacks_is_named() {
        let error = load(&MAIL[..1]).expect_err("no sender").to_string();
        assert!(error.contains("mail.from"), "{error}");
        let error = load(&MAIL[..2]).expect_err("no recipient").to_string();
        assert!(error.contains("mail.to"), "{error}");
        for (key, value, expected) in [
            ("mail.port", "no", "a port"),
            ("mail.tls", "maybe", "starttls"),
            ("mail.settle", "60", "90s"),
            ("mail.settle", "5 weeks", "90s"),
            ("mail.to", "nobody", "mail addresses"),
            ("notifications.language", "fr", "en, ja"),
        ] {
            let mut flags = MAIL.to_vec();
            flags.retain(|(known, _)| *known != key);
            flags.push((key, value));
            let error = load(&flags).expect_err(key).to_string();
            assert!(error.contains(key) && error.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_password_is_not_sent_in_the_clear_nor_shown() {
        let mut flags = MAIL.to_vec();
        flags.extend([
            ("mail.tls", "none"),
            ("mail.user", "u"),
            ("mail.password", "hunter2"),
        ]);
        let error = load(&flags).expect_err("refused").to_string();
        assert!(
            error.contains("mail.tls") && !error.contains("hunter2"),
            "{error}"
        );
        flags.retain(|(key, _)| *key != "mail.tls");
        let settings = load(&flags).expect("read");
        assert!(!format!("{settings:?}").contains("hunter2"));
    }

    #[test]
    fn spans_have_units() {
        assert_eq!(span("90s"), Some(Duration::from_secs(90)));
        assert_eq!(span("5m"), Some(Duration::from_secs(300)));
        assert_eq!(span("1 h"), Some(Duration::from_secs(3_600)));
        assert_eq!(span("0s"), Some(Duration::ZERO));
        for wrong in ["", "s", "90", "-1s", "2d", "25h", "99999999999999999999s"] {
            assert_eq!(span(wrong), None, "{wrong}");
        }
    }
}
