//! Consumers and their API keys.

use askama::Template;
use axum::Form;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use tieline_app::AppError;
use tieline_core::{Account, ApiKeyInfo, Consumer, ConsumerGrant, Right};

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
    keys: Vec<KeyRow>,
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
            page.problem = Some(TextView::error(error.explain(visitor.words.language())));
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
