//! Pages that are one table: activity, audit log, users, settings.

use askama::Template;
use axum::Form;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use secrecy::SecretString;
use serde::Deserialize;
use tieline_core::{Account, AccountEvent, AuditEvent, Right, Role};

use crate::console::pages::{Trouble, html, status_of};
use crate::console::pane::event_text;
use crate::console::view::{Page, StateView, TextView, escape, time};
use crate::site::Site;
use crate::visitor::Visitor;
use crate::words::Words;

/// Entries that a page shows.
const SHOWN: u32 = 200;

/// A table. Cells are markup, put together here from escaped text.
#[derive(Debug, Template)]
#[template(path = "table.html")]
struct TablePage {
    page: Page,
    title: String,
    lead: String,
    heads: Vec<String>,
    rows: Vec<Vec<String>>,
    form: bool,
    problem: Option<TextView>,
    typed: String,
}

#[derive(Debug, Deserialize)]
pub(crate) struct NewUser {
    #[serde(default)]
    email: String,
    password: SecretString,
    #[serde(default)]
    role: String,
}

type Shown = Result<Response, Trouble>;

pub(crate) async fn activity(State(site): State<Site>, visitor: Visitor) -> Shown {
    let words = visitor.words;
    let trouble = |error| Trouble::new(error, words);
    let events = site.app.events_latest(None, SHOWN).await.map_err(trouble)?;
    let rows = events
        .iter()
        .map(|(account, event)| event_row(account, event, words))
        .collect();
    let heads = ["when", "item", "what"];
    Ok(html(
        StatusCode::OK,
        &table(&site, &visitor, "activity", &heads, rows).await,
    ))
}

pub(crate) async fn audit(State(site): State<Site>, visitor: Visitor) -> Shown {
    let words = visitor.words;
    let events = site
        .app
        .audit_list(SHOWN)
        .await
        .map_err(|e| Trouble::new(e, words))?;
    let rows = events.iter().map(|event| audit_row(event, words)).collect();
    let heads = ["when", "who", "what", "item"];
    Ok(html(
        StatusCode::OK,
        &table(&site, &visitor, "audit", &heads, rows).await,
    ))
}

pub(crate) async fn users(State(site): State<Site>, visitor: Visitor) -> Shown {
    let page = users_page(&site, &visitor).await?;
    Ok(html(StatusCode::OK, &page))
}

pub(crate) async fn user_add(
    State(site): State<Site>,
    visitor: Visitor,
    Form(form): Form<NewUser>,
) -> Shown {
    let trouble = |error| Trouble::new(error, visitor.words);
    visitor.require(Right::Manage).map_err(trouble)?;
    let role = form.role.parse().unwrap_or(Role::Operator);
    match site
        .app
        .user_add(&visitor.actor(), &form.email, &form.password, role)
        .await
    {
        Ok(_) => Ok(Redirect::to("/users").into_response()),
        Err(error) => {
            let mut page = users_page(&site, &visitor).await?;
            page.problem = Some(TextView::problem(&error, visitor.words));
            page.typed = form.email;
            Ok(html(status_of(&error), &page))
        }
    }
}

pub(crate) async fn settings(State(site): State<Site>, visitor: Visitor) -> Shown {
    let words = visitor.words;
    let link = |url: &str| format!("<code>{}</code>", escape(url));
    let rows = vec![
        vec![words.t("version"), escape(&site.settings.version)],
        vec![words.t("public-url"), link(site.app.public_url().as_str())],
        vec![words.t("redirect_uri"), link(&site.app.redirect_uri())],
        vec![
            words.t("gateway-url"),
            link(site.app.gateway_url().as_str()),
        ],
        vec![
            words.t("api-document"),
            "<a href=\"/api/v1/openapi.json\" hx-boost=\"false\">/api/v1/openapi.json</a>"
                .to_owned(),
        ],
    ];
    Ok(html(
        StatusCode::OK,
        &table(&site, &visitor, "settings", &["item", "what"], rows).await,
    ))
}

async fn users_page(site: &Site, visitor: &Visitor) -> Result<TablePage, Trouble> {
    let words = visitor.words;
    let users = site
        .app
        .user_list()
        .await
        .map_err(|error| Trouble::new(error, words))?;
    let rows = users
        .iter()
        .map(|user| {
            vec![
                escape(user.email.as_str()),
                words.t(&format!("role-{}", user.role)),
                time(user.created_at),
            ]
        })
        .collect();
    let mut page = table(site, visitor, "users", &["email", "role", "created"], rows).await;
    page.form = true;
    Ok(page)
}

async fn table(
    site: &Site,
    visitor: &Visitor,
    section: &'static str,
    heads: &[&str],
    rows: Vec<Vec<String>>,
) -> TablePage {
    let words = visitor.words;
    let address = match section {
        "activity" => "/activity",
        "audit" => "/audit",
        "users" => "/users",
        _ => "/settings",
    };
    TablePage {
        page: Page::of(site, visitor, address).await,
        title: words.t(section),
        lead: words.t(&format!("{section}-lead")),
        heads: heads.iter().map(|head| words.t(head)).collect(),
        rows,
        form: false,
        problem: None,
        typed: String::new(),
    }
}

fn event_row(account: &Account, event: &AccountEvent, words: Words) -> Vec<String> {
    let state = StateView::of(event.to, event.at, words);
    let text = escape(&event_text(event, account, words));
    let shown = format!(
        "<span class=\"state {}\"><span aria-hidden=\"true\">{}</span> {}</span> \
         <span class=\"muted\">{text}</span>",
        state.class,
        state.shape,
        escape(&state.word)
    );
    vec![time(event.at), escape(account.name.as_str()), shown]
}

fn audit_row(event: &AuditEvent, words: Words) -> Vec<String> {
    let key = format!("op-{}", event.operation);
    let mut what = escape(&words.t(&key));
    let changed = event
        .detail
        .get("changed")
        .and_then(|value| value.as_array());
    if let Some(changed) = changed.filter(|changed| !changed.is_empty()) {
        let names: Vec<String> = changed
            .iter()
            .filter_map(|name| name.as_str())
            .map(|name| words.t(name))
            .collect();
        what.push_str(&format!(
            " <span class=\"muted\">({})</span>",
            escape(&names.join(", "))
        ));
    }
    vec![
        time(event.at),
        escape(&event.actor.to_string()),
        what,
        escape(&event.item_name),
    ]
}
