//! The two panes: the list of accounts, and the properties of one.

use askama::Template;
use axum::Form;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;
use tieline_app::{AppError, DraftView, TestTarget};
use tieline_core::{AccountId, Right, TestId};

use crate::console::consent;
use crate::console::headroom::{self, HeadroomView};
use crate::console::pages::{Trouble, html};
use crate::console::pane::{Candour, LadderView, Pane, PostedForm, host_of};
use crate::console::view::{Page, StateView, TextView};
use crate::site::Site;
use crate::visitor::Visitor;
use crate::words::Words;

/// Entries of the history that the pane shows.
const EVENTS: u32 = 10;

#[derive(Debug, Template)]
#[template(path = "accounts.html")]
struct AccountsPage {
    page: Page,
    list: List,
    pane: Option<Pane>,
    headroom: Option<HeadroomView>,
    notice: Option<Notice>,
    types: bool,
    deletion: Option<Deletion>,
}

#[derive(Debug)]
struct List {
    query: String,
    total: usize,
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    href: String,
    name: String,
    host: String,
    is_default: bool,
    current: bool,
    state: StateView,
}

#[derive(Debug)]
struct Notice {
    text: String,
    undo: Option<String>,
}

#[derive(Debug)]
struct Deletion {
    name: String,
    used_by: Vec<String>,
    action: String,
    back: String,
}

/// The ladder alone, for the page that asks how far it is.
#[derive(Debug, Template)]
#[template(path = "ladder.html")]
struct LadderPart {
    page: PartPage,
    ladder: LadderView,
}

#[derive(Debug)]
struct PartPage {
    words: Words,
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct Asked {
    #[serde(default)]
    q: String,
    #[serde(default)]
    done: String,
    #[serde(default)]
    deleted: String,
    #[serde(default)]
    name: String,
}

/// What a handler comes to: a page, or trouble.
type Shown = Result<Response, Trouble>;

pub(crate) async fn list(
    State(site): State<Site>,
    visitor: Visitor,
    Query(asked): Query<Asked>,
) -> Shown {
    let notice = (!asked.deleted.is_empty()).then(|| Notice {
        text: visitor.words.with("deleted", "name", &asked.name),
        undo: Some(format!("/accounts/{}/restore", asked.deleted)),
    });
    let mut page = accounts_page(&site, &visitor, &asked.q, None).await?;
    page.notice = notice;
    Ok(html(StatusCode::OK, &page))
}

pub(crate) async fn types(State(site): State<Site>, visitor: Visitor) -> Shown {
    visitor
        .require(Right::Manage)
        .map_err(|e| Trouble::new(e, visitor.words))?;
    let mut page = accounts_page(&site, &visitor, "", None).await?;
    page.types = true;
    Ok(html(StatusCode::OK, &page))
}

pub(crate) async fn new(State(site): State<Site>, visitor: Visitor) -> Shown {
    visitor
        .require(Right::Manage)
        .map_err(|e| Trouble::new(e, visitor.words))?;
    show_draft(&site, &visitor, None, Candour::Typed, None).await
}

pub(crate) async fn show(
    State(site): State<Site>,
    visitor: Visitor,
    Path(id): Path<String>,
    Query(asked): Query<Asked>,
) -> Shown {
    let id = account_id(&visitor, &id)?;
    let notice = match asked.done.as_str() {
        "applied" => Some(visitor.words.t("applied")),
        "restored" => Some(visitor.words.t("restored")),
        _ => None,
    };
    show_draft(&site, &visitor, Some(id), Candour::Typed, notice).await
}

pub(crate) async fn new_submit(
    State(site): State<Site>,
    visitor: Visitor,
    headers: HeaderMap,
    Form(form): Form<PostedForm>,
) -> Shown {
    act(&site, &visitor, None, &headers, form).await
}

pub(crate) async fn submit(
    State(site): State<Site>,
    visitor: Visitor,
    Path(id): Path<String>,
    headers: HeaderMap,
    Form(form): Form<PostedForm>,
) -> Shown {
    let id = account_id(&visitor, &id)?;
    act(&site, &visitor, Some(id), &headers, form).await
}

pub(crate) async fn new_draft(
    State(site): State<Site>,
    visitor: Visitor,
    Form(form): Form<PostedForm>,
) -> Shown {
    keep(&site, &visitor, None, &form).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

pub(crate) async fn draft(
    State(site): State<Site>,
    visitor: Visitor,
    Path(id): Path<String>,
    Form(form): Form<PostedForm>,
) -> Shown {
    let id = account_id(&visitor, &id)?;
    keep(&site, &visitor, Some(id), &form).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

pub(crate) async fn new_test(
    State(site): State<Site>,
    visitor: Visitor,
    Path(test): Path<String>,
) -> Response {
    ladder_part(&site, &visitor, "/accounts/new", &test)
}

pub(crate) async fn test(
    State(site): State<Site>,
    visitor: Visitor,
    Path((id, test)): Path<(String, String)>,
) -> Response {
    ladder_part(&site, &visitor, &format!("/accounts/{id}"), &test)
}

pub(crate) async fn make_default(
    State(site): State<Site>,
    visitor: Visitor,
    Path(id): Path<String>,
) -> Shown {
    let id = account_id(&visitor, &id)?;
    manage(&visitor)?;
    let done = site.app.account_set_default(&visitor.actor(), id).await;
    let account = done.map_err(|error| Trouble::new(error, visitor.words))?;
    Ok(Redirect::to(&format!("/accounts/{}?done=applied", account.id)).into_response())
}

pub(crate) async fn delete_page(
    State(site): State<Site>,
    visitor: Visitor,
    Path(id): Path<String>,
) -> Shown {
    let id = account_id(&visitor, &id)?;
    manage(&visitor)?;
    let trouble = |error| Trouble::new(error, visitor.words);
    let account = site
        .app
        .account_find(&id.to_string())
        .await
        .map_err(trouble)?;
    let used_by = site.app.account_used_by(id).await.map_err(trouble)?;
    let mut page = accounts_page(&site, &visitor, "", Some(id)).await?;
    page.deletion = Some(Deletion {
        name: account.name.to_string(),
        used_by,
        action: format!("/accounts/{id}/delete"),
        back: format!("/accounts/{id}"),
    });
    Ok(html(StatusCode::OK, &page))
}

pub(crate) async fn delete(
    State(site): State<Site>,
    visitor: Visitor,
    Path(id): Path<String>,
) -> Shown {
    let id = account_id(&visitor, &id)?;
    manage(&visitor)?;
    let trouble = |error| Trouble::new(error, visitor.words);
    let account = site
        .app
        .account_find(&id.to_string())
        .await
        .map_err(trouble)?;
    site.app
        .account_delete(&visitor.actor(), id)
        .await
        .map_err(trouble)?;
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query
        .append_pair("deleted", &id.to_string())
        .append_pair("name", account.name.as_str());
    Ok(Redirect::to(&format!("/accounts?{}", query.finish())).into_response())
}

pub(crate) async fn restore(
    State(site): State<Site>,
    visitor: Visitor,
    Path(id): Path<String>,
) -> Shown {
    let id = account_id(&visitor, &id)?;
    manage(&visitor)?;
    let restored = site.app.account_restore(&visitor.actor(), id).await;
    let account = restored.map_err(|error| Trouble::new(error, visitor.words))?;
    Ok(Redirect::to(&format!("/accounts/{}?done=restored", account.id)).into_response())
}

// === what the buttons of the pane do ===

async fn act(
    site: &Site,
    visitor: &Visitor,
    account: Option<AccountId>,
    headers: &HeaderMap,
    form: PostedForm,
) -> Shown {
    if form.action == "test" && !visitor.may(Right::Manage) {
        // Who may not change the form tests what is saved.
        return run_test(site, visitor, account, headers).await;
    }
    if form.action == "reset" {
        manage(visitor)?;
        let reset = site.app.draft_reset(&visitor.user, account).await;
        reset.map_err(|error| Trouble::new(error, visitor.words))?;
        return Ok(Redirect::to(&address(account)).into_response());
    }
    keep(site, visitor, account, &form).await?;
    match form.action.as_str() {
        "apply" => apply(site, visitor, account).await,
        "test" => run_test(site, visitor, account, headers).await,
        "generate_certificate" => generate_certificate(site, visitor, account).await,
        action if action.starts_with("forget:") => {
            forget_credential(site, visitor, account, action).await
        }
        "propose" => propose(site, visitor, account, &form).await,
        "consent" => Ok(consent::leave(visitor.words, account, "user")),
        "consent_organization" => Ok(consent::leave(visitor.words, account, "organization")),
        _ => Ok(Redirect::to(&address(account)).into_response()),
    }
}

async fn keep(
    site: &Site,
    visitor: &Visitor,
    account: Option<AccountId>,
    form: &PostedForm,
) -> Result<DraftView, Trouble> {
    manage(visitor)?;
    let trouble = |error| Trouble::new(error, visitor.words);
    let is_default = match account {
        Some(id) => {
            site.app
                .account_find(&id.to_string())
                .await
                .map_err(trouble)?
                .is_default
        }
        None => false,
    };
    site.app
        .draft_save(&visitor.user, account, form.form(is_default))
        .await
        .map_err(trouble)
}

async fn generate_certificate(site: &Site, visitor: &Visitor, account: Option<AccountId>) -> Shown {
    let made = site
        .app
        .draft_certificate_generate(&visitor.user, account)
        .await;
    match made {
        Ok(()) => Ok(Redirect::to(&format!("{}#credentials", address(account))).into_response()),
        Err(error) => Err(Trouble::new(error, visitor.words)),
    }
}

async fn forget_credential(
    site: &Site,
    visitor: &Visitor,
    account: Option<AccountId>,
    action: &str,
) -> Shown {
    let slot = action.trim_start_matches("forget:").parse();
    let slot = slot.map_err(|_| {
        let missing = AppError::NotFound { what: "credential" };
        Trouble::new(missing, visitor.words)
    })?;
    let forgotten = site
        .app
        .draft_credential_forget(&visitor.user, account, slot)
        .await;
    forgotten.map_err(|error| Trouble::new(error, visitor.words))?;
    Ok(Redirect::to(&address(account)).into_response())
}

async fn apply(site: &Site, visitor: &Visitor, account: Option<AccountId>) -> Shown {
    match site.app.draft_apply(&visitor.user, account).await {
        Ok(applied) => {
            let to = format!("/accounts/{}?done=applied", applied.account.id);
            Ok(Redirect::to(&to).into_response())
        }
        Err(AppError::Invalid(_) | AppError::Stale { .. }) => {
            show_draft(site, visitor, account, Candour::Everything, None).await
        }
        Err(error) => Err(Trouble::new(error, visitor.words)),
    }
}

/// With a script the page shows progress as it happens; without one it comes when all is done.
async fn run_test(
    site: &Site,
    visitor: &Visitor,
    account: Option<AccountId>,
    headers: &HeaderMap,
) -> Shown {
    let target = match (visitor.may(Right::Manage), account) {
        (false, Some(id)) => TestTarget::Account(id),
        _ => TestTarget::Draft {
            user: visitor.user.id,
            account,
        },
    };
    let started = site.app.test_start(target, visitor.words.language()).await;
    let test = started.map_err(|error| Trouble::new(error, visitor.words))?;
    if !headers.contains_key("hx-request") {
        site.app.test_wait(test).await;
    }
    let progress = site.app.test_progress(test).unwrap_or_default();
    let ladder = LadderView::of(&progress, &address(account), test, visitor.words);
    let mut page = draft_page(site, visitor, account, Candour::Everything).await?;
    page.pane = page.pane.map(|pane| pane.testing(ladder));
    Ok(html(StatusCode::OK, &page))
}

async fn propose(
    site: &Site,
    visitor: &Visitor,
    account: Option<AccountId>,
    form: &PostedForm,
) -> Shown {
    let trouble = |error| Trouble::new(error, visitor.words);
    let proposal = site.app.setup_propose(&form.propose).await;
    let problem = match &proposal {
        Ok(proposal) => {
            let mut filled = form.form(false);
            let fill = |field: &mut String, value: &Option<String>| {
                if let Some(value) = value {
                    field.clone_from(value);
                }
            };
            fill(&mut filled.authorization_url, &proposal.authorization_url);
            fill(&mut filled.token_url, &proposal.token_url);
            fill(&mut filled.api_url, &proposal.api_url);
            site.app
                .draft_save(&visitor.user, account, filled)
                .await
                .map_err(trouble)?;
            None
        }
        Err(error) => Some(TextView::problem(error, visitor.words)),
    };
    let mut page = draft_page(site, visitor, account, Candour::Typed).await?;
    if let Some(pane) = &mut page.pane {
        pane.pasted.clone_from(&form.propose);
        pane.proposed = problem.is_none();
        pane.propose_problem = problem;
    }
    Ok(html(StatusCode::OK, &page))
}

// === pages ===

async fn show_draft(
    site: &Site,
    visitor: &Visitor,
    account: Option<AccountId>,
    candour: Candour,
    notice: Option<String>,
) -> Shown {
    let mut page = draft_page(site, visitor, account, candour).await?;
    page.notice = notice.map(|text| Notice { text, undo: None });
    let wrong = page
        .pane
        .as_ref()
        .is_some_and(|pane| pane.judged && pane.error_count > 0);
    let status = if wrong {
        StatusCode::UNPROCESSABLE_ENTITY
    } else {
        StatusCode::OK
    };
    Ok(html(status, &page))
}

async fn draft_page(
    site: &Site,
    visitor: &Visitor,
    account: Option<AccountId>,
    candour: Candour,
) -> Result<AccountsPage, Trouble> {
    let trouble = |error| Trouble::new(error, visitor.words);
    let view = site
        .app
        .draft_open(&visitor.user, account)
        .await
        .map_err(trouble)?;
    let events = match account {
        Some(id) => site.app.account_events(id, EVENTS).await.map_err(trouble)?,
        None => Vec::new(),
    };
    let mut page = accounts_page(site, visitor, "", account).await?;
    page.pane = Some(Pane::of(site, visitor.words, &view, &events, candour));
    if let Some(id) = account {
        page.headroom = Some(headroom::section(site, visitor, id).await?);
    }
    Ok(page)
}

async fn accounts_page(
    site: &Site,
    visitor: &Visitor,
    query: &str,
    current: Option<AccountId>,
) -> Result<AccountsPage, Trouble> {
    let trouble = |error| Trouble::new(error, visitor.words);
    let accounts = site.app.account_list(query).await.map_err(trouble)?;
    let total = match query.is_empty() {
        true => accounts.len(),
        false => {
            let states = site.app.account_states().await.map_err(trouble)?;
            states.iter().map(|(_, count)| count).sum()
        }
    };
    let rows = accounts
        .iter()
        .map(|account| Row {
            href: format!("/accounts/{}", account.id),
            name: account.name.to_string(),
            host: host_of(&account.api_url),
            is_default: account.is_default,
            current: current == Some(account.id),
            state: StateView::of(
                account.connection.state,
                account.connection.since,
                visitor.words,
            ),
        })
        .collect();
    Ok(AccountsPage {
        page: Page::of(site, visitor, "/accounts").await,
        list: List {
            query: query.to_owned(),
            total,
            rows,
        },
        pane: None,
        headroom: None,
        notice: None,
        types: false,
        deletion: None,
    })
}

fn ladder_part(site: &Site, visitor: &Visitor, base: &str, test: &str) -> Response {
    let progress = test.parse::<TestId>().ok().and_then(|id| {
        let progress = site.app.test_progress(id)?;
        Some((id, progress))
    });
    match progress {
        Some((id, progress)) => {
            let ladder = LadderView::of(&progress, base, id, visitor.words);
            let part = LadderPart {
                page: PartPage {
                    words: visitor.words,
                },
                ladder,
            };
            html(StatusCode::OK, &part)
        }
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

fn manage(visitor: &Visitor) -> Result<(), Trouble> {
    visitor
        .require(Right::Manage)
        .map_err(|error| Trouble::new(error, visitor.words))
}

pub(crate) fn address(account: Option<AccountId>) -> String {
    account.map_or_else(
        || "/accounts/new".to_owned(),
        |id| format!("/accounts/{id}"),
    )
}

pub(crate) fn account_id(visitor: &Visitor, text: &str) -> Result<AccountId, Trouble> {
    let missing = || AppError::NotFound { what: "account" };
    text.parse()
        .map_err(|_| Trouble::new(missing(), visitor.words))
}
