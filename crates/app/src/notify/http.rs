//! One attempt at a webhook, by Standard Webhooks: the body is signed with its identifier and the
//! time of the attempt; any 2xx means that it was taken.

use std::time::Duration;

use chrono::{DateTime, Utc};
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::Response;
use tieline_core::{Notice, Webhook};
use tieline_store::WebhookSecrets;
use tieline_vault::signing;
use url::Url;

use super::schedule::{Outcome, retry_after};
use crate::outbound::Outbound;

/// How long a receiver may take to answer; the specification suggests 15 to 30 seconds. It has to
/// be well below the lease, or another server would send meanwhile.
const PATIENCE: Duration = Duration::from_secs(15);

/// The identifier of a notice as receivers see it: the same with every attempt.
pub(super) fn message_id(notice: &Notice) -> String {
    format!("msg_{}", notice.id)
}

/// Posts a notice.
pub(super) async fn post(
    outbound: &Outbound,
    webhook: &Webhook,
    secrets: &WebhookSecrets,
    notice: &Notice,
    body: Vec<u8>,
    now: DateTime<Utc>,
) -> Outcome {
    let Ok(url) = Url::parse(&webhook.url) else {
        return not_reached("delivery-not-allowed");
    };
    if outbound.admit(&url).is_err() {
        return not_reached("delivery-not-allowed");
    }
    let (id, timestamp) = (message_id(notice), now.timestamp());
    let Ok(signature) = signatures(secrets, &id, timestamp, &body) else {
        return not_reached("delivery-unsigned");
    };
    let sent = outbound
        .http()
        .post(url)
        .timeout(PATIENCE)
        .header(CONTENT_TYPE, "application/json")
        .header("webhook-id", id)
        .header("webhook-timestamp", timestamp.to_string())
        .header("webhook-signature", signature)
        .body(body)
        .send()
        .await;
    match sent {
        Ok(response) => answered(&response, now),
        Err(error) => not_reached(code_of(&error)),
    }
}

/// One signature for each secret that is in force, separated by a space.
fn signatures(
    secrets: &WebhookSecrets,
    id: &str,
    timestamp: i64,
    body: &[u8],
) -> Result<String, signing::NotASecret> {
    let mut all = signing::sign(&secrets.current, id, timestamp, body)?;
    if let Some(previous) = &secrets.previous {
        all.push(' ');
        all.push_str(&signing::sign(previous, id, timestamp, body)?);
    }
    Ok(all)
}

/// What the receiver writes in its answer is not kept: it may be anything.
fn answered(response: &Response, now: DateTime<Utc>) -> Outcome {
    let status = response.status();
    if status.is_success() {
        return Outcome::Taken {
            status: Some(status.as_u16()),
        };
    }
    let asked = response
        .headers()
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| retry_after(text, now));
    Outcome::Refused {
        status: status.as_u16(),
        retry_after: asked,
    }
}

fn not_reached(code: &'static str) -> Outcome {
    Outcome::NotReached { code }
}

fn code_of(error: &reqwest::Error) -> &'static str {
    if error.is_timeout() {
        return "delivery-slow";
    }
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if cause
            .downcast_ref::<crate::outbound::OutboundError>()
            .is_some_and(|e| matches!(e, crate::outbound::OutboundError::NotPublic { .. }))
        {
            return "delivery-not-allowed";
        }
        if let Some(io) = cause.downcast_ref::<std::io::Error>()
            && io
                .get_ref()
                .is_some_and(|inner| inner.downcast_ref::<rustls::Error>().is_some())
        {
            return "delivery-untrusted";
        }
        source = cause.source();
    }
    "delivery-unreachable"
}
