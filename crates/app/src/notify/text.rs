//! What is said: the JSON of webhooks and the text of mails.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use tieline_core::{ConnectionState, Language, Notice, NoticeType};
use url::Url;

use crate::help::{Explanation, explain, explain_plain, explain_reason_of};

/// A mail before it has an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MailText {
    pub(super) subject: String,
    pub(super) body: String,
}

/// The body of a webhook.
pub(super) fn payload(notice: &Notice, language: Language, console: &Url) -> Value {
    let told = explained(notice, language);
    let mut data = json!({});
    if let Some(account) = notice.account_id {
        data = json!({
            "account_id": account.to_string(),
            "account_name": notice.subject,
            "from": notice.from.map(ConnectionState::as_str),
            "from_since": notice.from_since.map(time),
            "to": notice.to.map(ConnectionState::as_str),
            "since": notice.since.map(time),
            "url": account_url(notice, console),
        });
    } else if notice.notice_type == NoticeType::WebhookDisabled {
        data["webhook_url"] = json!(notice.subject);
    }
    data["reason"] = json!({
        "code": notice.reason.code,
        "detail": notice.reason.detail,
        "cause": told.cause,
        "remedy": told.remedy,
    });
    json!({
        "type": notice.notice_type.as_str(),
        "timestamp": time(notice.at),
        "data": data,
    })
}

/// A mail about an account, or about a webhook. `changes` says of how many it is the sum.
pub(super) fn mail(notice: &Notice, changes: usize, language: Language, console: &Url) -> MailText {
    let told = explained(notice, language);
    let (Some(to), Some(since)) = (notice.to, notice.since) else {
        return about_webhook(notice, &told, language, console);
    };
    if notice.notice_type == NoticeType::CredentialWarning {
        return about_credential(notice, told, language, console);
    }
    let recovered = !to.is_unwell();
    let say = |key: &str, args: &[(&str, String)]| explain(key, args, language).cause;
    let name = ("name", notice.subject.clone());
    let state = ("state", say(&format!("state-word-{to}"), &[]));
    let mut lines = Vec::new();
    let lead = if recovered {
        "mail-recovered"
    } else {
        "mail-trouble"
    };
    lines.push(say(lead, &[name.clone(), state.clone()]));
    lines.push(String::new());
    lines.push(say("mail-since", &[("time", people(since))]));
    if let (Some(from), Some(began)) = (notice.from, notice.from_since)
        && from != to
    {
        let before = say(&format!("state-word-{from}"), &[]);
        let lasted = span(since - began, language);
        lines.push(say("mail-before", &[("state", before), ("lasted", lasted)]));
    }
    if changes > 1 {
        lines.push(say("mail-changes", &[("count", changes.to_string())]));
    }
    if !recovered {
        lines.push(say("mail-cause", &[("cause", told.cause)]));
        if !told.remedy.is_empty() {
            lines.push(say("mail-remedy", &[("remedy", told.remedy)]));
        }
    }
    lines.push(String::new());
    lines.extend(account_url(notice, console));
    if !recovered {
        lines.push(String::new());
        lines.push(say("mail-foot", &[]));
    }
    MailText {
        subject: say("mail-subject", &[name, state]),
        body: lines.join("\n") + "\n",
    }
}

/// The connection is as it was, and somebody should act before it is not.
fn about_credential(
    notice: &Notice,
    told: Explanation,
    language: Language,
    console: &Url,
) -> MailText {
    let name = ("name", notice.subject.clone());
    let say = |key: &str, args: &[(&str, String)]| explain(key, args, language).cause;
    let mut lines = vec![told.cause, String::new()];
    if !told.remedy.is_empty() {
        lines.push(say("mail-remedy", &[("remedy", told.remedy)]));
        lines.push(String::new());
    }
    lines.extend(account_url(notice, console));
    MailText {
        subject: say("mail-credential-subject", &[name]),
        body: lines.join("\n") + "\n",
    }
}

fn about_webhook(
    notice: &Notice,
    told: &Explanation,
    language: Language,
    console: &Url,
) -> MailText {
    let url = ("url", notice.subject.clone());
    let subject = explain("mail-webhook-subject", std::slice::from_ref(&url), language).cause;
    let lines = [
        notice.subject.clone(),
        String::new(),
        told.cause.clone(),
        told.remedy.clone(),
        String::new(),
        format!("{}notifications", console),
    ];
    MailText {
        subject,
        body: lines.join("\n") + "\n",
    }
}

fn explained(notice: &Notice, language: Language) -> Explanation {
    match notice.account_id {
        Some(_) => explain_reason_of(
            &notice.reason,
            &notice.token_url,
            notice.user.as_deref(),
            language,
        ),
        None => explain_plain(&notice.reason.code, language),
    }
}

fn account_url(notice: &Notice, console: &Url) -> Option<String> {
    let base = console.as_str().trim_end_matches('/');
    notice
        .account_id
        .map(|account| format!("{base}/accounts/{account}"))
}

/// RFC 3339 with milliseconds, as everywhere in the API.
fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}

fn people(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// A span in its two largest units.
#[must_use]
pub fn span(span: TimeDelta, language: Language) -> String {
    let seconds = span.num_seconds().max(0);
    let parts = [
        ("span-days", seconds / 86_400),
        ("span-hours", seconds / 3_600 % 24),
        ("span-minutes", seconds / 60 % 60),
        ("span-seconds", seconds % 60),
    ];
    let first = parts
        .iter()
        .position(|(_, count)| *count > 0)
        .unwrap_or(parts.len() - 1);
    let shown: Vec<String> = parts[first..]
        .iter()
        .take(2)
        .filter(|(key, count)| *count > 0 || *key == parts[first].0)
        .map(|(key, count)| explain(key, &[("count", count.to_string())], language).cause)
        .collect();
    shown.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use tieline_core::{AccountId, EventId, Reason};

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().expect("a time")
    }

    fn notice() -> Notice {
        let now = at("2026-11-23T08:00:00Z");
        Notice {
            id: EventId::generate(now),
            notice_type: NoticeType::StateChanged,
            at: now,
            account_id: Some(AccountId::generate(now)),
            subject: "Contoso – 営業".to_owned(),
            token_url: "https://login.microsoftonline.com/t/oauth2/token".to_owned(),
            user: None,
            from: Some(ConnectionState::Connected),
            from_since: Some(now - TimeDelta::minutes(190)),
            to: Some(ConnectionState::Unreachable),
            since: Some(now),
            reason: Reason::new("connection-refused", "what was seen"),
        }
    }

    fn console() -> Url {
        Url::parse("https://tieline.example.com").expect("a URL")
    }

    #[test]
    fn a_payload_holds_what_the_guide_says() {
        let notice = notice();
        let payload = payload(&notice, Language::English, &console());
        assert_eq!(payload["type"], "integration_account.state_changed");
        assert_eq!(payload["timestamp"], "2026-11-23T08:00:00.000Z");
        let data = &payload["data"];
        assert_eq!(data["from"], "connected");
        assert_eq!(data["to"], "unreachable");
        assert_eq!(data["since"], "2026-11-23T08:00:00.000Z");
        assert_eq!(data["from_since"], "2026-11-23T04:50:00.000Z");
        assert_eq!(data["account_name"], "Contoso – 営業");
        assert_eq!(data["reason"]["code"], "connection-refused");
        let cause = data["reason"]["cause"].as_str().expect("a cause");
        assert!(cause.contains("login.microsoftonline.com"), "{cause}");
    }

    #[test]
    fn a_mail_says_what_since_when_and_what_to_do_in_both_languages() {
        let notice = notice();
        for language in Language::ALL {
            let mail = mail(&notice, 3, language, &console());
            assert!(mail.subject.contains("Contoso – 営業"), "{mail:?}");
            for part in [
                "2026-11-23 08:00:00 UTC",
                "login.microsoftonline.com",
                "https://tieline.example.com/accounts/",
                "3",
            ] {
                assert!(mail.body.contains(part), "{part}: {}", mail.body);
            }
            for key in ["mail-", "span-", "state-word"] {
                assert!(!mail.body.contains(key), "{key}: {}", mail.body);
            }
        }
        let mail = mail(&notice, 1, Language::English, &console());
        assert!(mail.body.contains("3 h 10 min"), "{}", mail.body);
    }

    #[test]
    fn a_credential_that_ends_is_told_with_what_to_do() {
        let warned = Notice {
            notice_type: NoticeType::CredentialWarning,
            from: Some(ConnectionState::Connected),
            to: Some(ConnectionState::Connected),
            reason: Reason::new("secret-expires-soon", "client_secret: 2026-12-01"),
            ..notice()
        };
        for language in Language::ALL {
            let mail = mail(&warned, 1, language, &console());
            assert!(mail.subject.contains("Contoso – 営業"), "{mail:?}");
            assert!(mail.body.contains("2026-12-01"), "{}", mail.body);
            assert!(mail.body.contains("/accounts/"), "{}", mail.body);
        }
    }

    #[test]
    fn spans_have_two_units_at_most() {
        let told = |seconds| span(TimeDelta::seconds(seconds), Language::English);
        assert_eq!(told(0), "0 s");
        assert_eq!(told(59), "59 s");
        assert_eq!(told(3_600), "1 h");
        assert_eq!(told(3_661), "1 h 1 min");
        assert_eq!(told(90_061), "1 d 1 h");
    }
}
