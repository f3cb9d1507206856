//! Consumers and their API keys.

use askama::Template;
use axum::Form;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use tieline_app::AppError;
use tieline_core::{
    Account, ApiKeyInfo, Consumer, ConsumerGrant, ConsumerLimits, OnThrottle, OutOfRange, Priority,
    Right,
};

use crate::console::pages::{Trouble, html, status_of};
use crate::console::view::{Page, TextView, time};
use crate::site::Site;
use crate::visitor::Visitor;
use crate::words::Words;

#[derive(Debug, Template)]
#[template(path = "consumers.html")]
struct ConsumersPage {
    page: Page,
    rows: Vec<Row>,
    accounts: Vec<(String, String)>,
    /// A key that is shown this once: whose it is, and the key.
    key: Option<(String, String)>,
    problem: Option<TextView>,
    typed: String,
}

#[derive(Debug)]
struct Row {
    id: String,
    name: String,
    grant: String,
    limits: LimitsView,
    keys: Vec<KeyRow>,
}

/// A consumer's part in the limits of accounts, as text for a form.
#[derive(Debug)]
struct LimitsView {
    /// Word, label, and whether it is the one.
    priorities: Vec<(&'static str, String, bool)>,
    throttles: Vec<(&'static str, String, bool)>,
    summary: String,
    share: u8,
    rate: String,
    burst: String,
    deadline: String,
}

#[derive(Debug)]
struct KeyRow {
    id: String,
    prefix: String,
    revoked: bool,
    used: String,
}

#[derive(Debug, Deserialize)]
pub(crate) struct NewConsumer {
    #[serde(default)]
    name: String,
    #[serde(default)]
    account: String,
}

/// What the form of limits sends; an empty field means the usual.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct NewLimits {
    priority: String,
    share: String,
    rate: String,
    burst: String,
    on_throttle: String,
    /// Seconds.
    deadline: String,
}

type Shown = Result<Response, Trouble>;

pub(crate) async fn list(State(site): State<Site>, visitor: Visitor) -> Shown {
    let page = consumers_page(&site, &visitor).await?;
    Ok(html(StatusCode::OK, &page))
}

pub(crate) async fn add(
    State(site): State<Site>,
    visitor: Visitor,
    Form(form): Form<NewConsumer>,
) -> Shown {
    manage(&visitor)?;
    let grant = match form.account.parse() {
        Ok(account) => ConsumerGrant::Accounts {
            accounts: vec![account],
        },
        Err(_) => ConsumerGrant::AllAccounts,
    };
    match site
        .app
        .consumer_add(&visitor.actor(), &form.name, grant)
        .await
    {
        Ok((consumer, key)) => with_key(&site, &visitor, consumer.name, &key).await,
        Err(error) => {
            let mut page = consumers_page(&site, &visitor).await?;
            page.problem = Some(TextView::problem(&error, visitor.words));
            page.typed = form.name;
            Ok(html(status_of(&error), &page))
        }
    }
}

pub(crate) async fn key_add(
    State(site): State<Site>,
    visitor: Visitor,
    Path(id): Path<String>,
) -> Shown {
    manage(&visitor)?;
    let trouble = |error| Trouble::new(error, visitor.words);
    let consumer = site.app.consumer_find(&id).await.map_err(trouble)?;
    let added = site.app.consumer_key_add(&visitor.actor(), &id).await;
    let (_, key) = added.map_err(trouble)?;
    with_key(&site, &visitor, consumer.name, &key).await
}

pub(crate) async fn key_revoke(
    State(site): State<Site>,
    visitor: Visitor,
    Path((id, key)): Path<(String, String)>,
) -> Shown {
    manage(&visitor)?;
    let trouble = |error| Trouble::new(error, visitor.words);
    let missing = |_| trouble(AppError::NotFound { what: "key" });
    let key = key.parse().map_err(missing)?;
    site.app
        .consumer_key_revoke(&visitor.actor(), &id, key)
        .await
        .map_err(trouble)?;
    Ok(Redirect::to("/consumers").into_response())
}

pub(crate) async fn limits(
    State(site): State<Site>,
    visitor: Visitor,
    Path(id): Path<String>,
    Form(form): Form<NewLimits>,
) -> Shown {
    manage(&visitor)?;
    let set = match form.limits() {
        Ok(limits) => {
            let actor = visitor.actor();
            site.app.consumer_limits_set(&actor, &id, limits).await
        }
        Err(error) => Err(error),
    };
    match set {
        Ok(_) => Ok(Redirect::to("/consumers").into_response()),
        Err(error) => {
            let mut page = consumers_page(&site, &visitor).await?;
            page.problem = Some(TextView::problem(&error, visitor.words));
            Ok(html(status_of(&error), &page))
        }
    }
}

pub(crate) async fn remove(
    State(site): State<Site>,
    visitor: Visitor,
    Path(id): Path<String>,
) -> Shown {
    manage(&visitor)?;
    let removed = site.app.consumer_remove(&visitor.actor(), &id).await;
    removed.map_err(|error| Trouble::new(error, visitor.words))?;
    Ok(Redirect::to("/consumers").into_response())
}

async fn with_key(site: &Site, visitor: &Visitor, name: String, key: &SecretString) -> Shown {
    let mut page = consumers_page(site, visitor).await?;
    page.key = Some((name, key.expose_secret().to_owned()));
    Ok(html(StatusCode::OK, &page))
}

async fn consumers_page(site: &Site, visitor: &Visitor) -> Result<ConsumersPage, Trouble> {
    let trouble = |error| Trouble::new(error, visitor.words);
    let consumers = site.app.consumer_list().await.map_err(trouble)?;
    let accounts = site.app.account_list("").await.map_err(trouble)?;
    Ok(ConsumersPage {
        page: Page::of(site, visitor, "/consumers").await,
        rows: consumers
            .iter()
            .map(|c| row(c, &accounts, visitor.words))
            .collect(),
        accounts: accounts
            .iter()
            .map(|a| (a.id.to_string(), a.name.to_string()))
            .collect(),
        key: None,
        problem: None,
        typed: String::new(),
    })
}

fn row(consumer: &Consumer, accounts: &[Account], words: Words) -> Row {
    let grant = match &consumer.grant {
        ConsumerGrant::AllAccounts => words.t("grant-all"),
        ConsumerGrant::Accounts { accounts: granted } => {
            let names: Vec<String> = accounts
                .iter()
                .filter(|account| granted.contains(&account.id))
                .map(|account| account.name.to_string())
                .collect();
            if names.is_empty() {
                words.t("grant-none")
            } else {
                names.join(", ")
            }
        }
    };
    Row {
        limits: LimitsView::of(&consumer.limits, words),
        id: consumer.id.to_string(),
        name: consumer.name.clone(),
        grant,
        keys: consumer
            .keys
            .iter()
            .map(|key| key_row(key, words))
            .collect(),
    }
}

impl NewLimits {
    fn limits(&self) -> Result<ConsumerLimits, AppError> {
        let usual = ConsumerLimits::default();
        let refused = |code| move |_| AppError::Refused { code };
        let deadline = number::<f64>("deadline", &self.deadline)?;
        Ok(ConsumerLimits {
            priority: match self.priority.as_str() {
                "" => usual.priority,
                word => word.parse().map_err(refused("priority-malformed"))?,
            },
            on_throttle: match self.on_throttle.as_str() {
                "" => usual.on_throttle,
                word => word.parse().map_err(refused("on-throttle-malformed"))?,
            },
            share: number("share", &self.share)?.unwrap_or(usual.share),
            rate: number("rate", &self.rate)?,
            burst: number("burst", &self.burst)?,
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a float becomes the nearest number there is, and is checked then"
            )]
            deadline_ms: deadline.map(|seconds| (seconds * 1_000.0) as u64),
        })
    }
}

/// A number as it was typed; nothing means none.
fn number<T: std::str::FromStr>(field: &'static str, text: &str) -> Result<Option<T>, AppError> {
    match text.trim() {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(|_| {
            AppError::OutOfRange(OutOfRange {
                field,
                low: 1,
                high: 100,
            })
        }),
    }
}

impl LimitsView {
    fn of(limits: &ConsumerLimits, words: Words) -> Self {
        let priorities = Priority::ALL.iter().map(|priority| {
            let label = words.t(&format!("priority-{}", priority.as_str()));
            (priority.as_str(), label, *priority == limits.priority)
        });
        let throttles = OnThrottle::ALL.iter().map(|choice| {
            let label = words.t(&format!("on-throttle-{}", choice.as_str()));
            (choice.as_str(), label, *choice == limits.on_throttle)
        });
        let text = |number: Option<String>| number.unwrap_or_default();
        let priority = words.t(&format!("priority-{}", limits.priority.as_str()));
        let summary = match limits.rate {
            Some(rate) => format!("{priority} · {rate}/s"),
            None => priority,
        };
        #[expect(clippy::cast_precision_loss, reason = "an hour at most")]
        let deadline = limits
            .deadline_ms
            .map(|ms| (ms as f64 / 1_000.0).to_string());
        Self {
            priorities: priorities.collect(),
            throttles: throttles.collect(),
            summary,
            share: limits.share,
            rate: text(limits.rate.map(|rate| rate.to_string())),
            burst: text(limits.burst.map(|burst| burst.to_string())),
            deadline: text(deadline),
        }
    }
}

fn key_row(key: &ApiKeyInfo, words: Words) -> KeyRow {
    let used = match key.last_used_at {
        Some(at) => format!("{} {}", words.t("key-used"), time(at)),
        None => words.t("key-never"),
    };
    KeyRow {
        id: key.id.to_string(),
        prefix: key.prefix.clone(),
        revoked: key.revoked_at.is_some(),
        used,
    }
}

fn manage(visitor: &Visitor) -> Result<(), Trouble> {
    visitor
        .require(Right::Manage)
        .map_err(|error| Trouble::new(error, visitor.words))
}
