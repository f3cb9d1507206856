//! What the demo starts with: an administrator, a consumer with a key, and an account that is
//! connected. A second start finds them again, wherever the sandbox listens by then.

use std::path::Path;

use anyhow::{Context, bail, ensure};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use tieline_app::{AccountForm, App, AppError, ConsentPrompt, ConsentTarget, TestTarget};
use tieline_core::{Account, AccountId, Actor, ConsumerGrant, LadderReport, Language};
use tieline_sandbox::Sandbox;

use crate::commands::serve::made_up_password;
use crate::config::Settings;
use crate::demo::scene::Scene;
use crate::demo::walk;
use crate::files;

const FILE: &str = "demo.json";
/// The account that is connected from the start.
const ACCOUNT: &str = "Contoso Sales";
/// The consumer that may use every account.
const CONSUMER: &str = "Demo";

/// What was seeded, with its secrets: they open nothing but rehearsals, and whoever runs the demo
/// has to be told them again.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seeded {
    pub(crate) admin_email: String,
    pub(crate) admin_password: String,
    pub(crate) api_key: String,
    pub(crate) account: String,
}

/// What is remembered between two starts.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Memory {
    admin_password: Option<String>,
    api_key: Option<String>,
    account_id: Option<AccountId>,
}

/// Makes what is missing, and connects the account if it is not.
///
/// # Errors
/// When any of it fails: a demo that only looks as if it worked is worse than none.
pub(crate) async fn prepare(
    app: &App,
    settings: &Settings,
    scene: &Scene,
    sandbox: &Sandbox,
) -> anyhow::Result<Seeded> {
    let path = settings.data_dir.join(FILE);
    let mut memory = recall(&path)?;
    let admin_password = administrator(app, settings, &mut memory).await?;
    let api_key = consumer(app, &mut memory).await?;
    // Written before the walk, so that a demo that stops in the middle has lost no key.
    remember(&path, &memory)?;
    let account = account(app, scene, sandbox, &mut memory).await?;
    remember(&path, &memory)?;
    let account = connected(app, account, scene).await?;
    Ok(Seeded {
        admin_email: settings.admin.email.clone(),
        admin_password,
        api_key,
        account: account.name.to_string(),
    })
}

fn recall(path: &Path) -> anyhow::Result<Memory> {
    match std::fs::read_to_string(path) {
        Ok(text) => serde_json::from_str(&text).with_context(|| {
            format!(
                "failed to understand {}; remove it and start again",
                path.display()
            )
        }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Memory::default()),
        Err(error) => Err(error).with_context(|| format!("failed to read {}", path.display())),
    }
}

fn remember(path: &Path, memory: &Memory) -> anyhow::Result<()> {
    files::write_private(path, &serde_json::to_string_pretty(memory)?)
}

async fn administrator(
    app: &App,
    settings: &Settings,
    memory: &mut Memory,
) -> anyhow::Result<String> {
    let given = settings.admin.password.clone();
    let remembered = memory.admin_password.clone().map(SecretString::from);
    let password = given.or(remembered).unwrap_or_else(made_up_password);
    let email = &settings.admin.email;
    let added = app.first_administrator(email, &password).await;
    if !added.context("failed to add the administrator")? && memory.admin_password.is_none() {
        // Somebody removed the demo's memory but not its database.
        let set = app
            .user_set_password(&Actor::System, email, &password)
            .await;
        set.context("failed to set the administrator's password")?;
    }
    let password = password.expose_secret().to_owned();
    memory.admin_password = Some(password.clone());
    Ok(password)
}

async fn consumer(app: &App, memory: &mut Memory) -> anyhow::Result<String> {
    if let Some(key) = &memory.api_key
        && app.caller_admit(key).await.is_ok()
    {
        return Ok(key.clone());
    }
    let by = Actor::System;
    let key = match app.consumer_find(CONSUMER).await {
        Ok(_) => app
            .consumer_key_add(&by, CONSUMER)
            .await
            .map(|(_, key)| key),
        Err(AppError::NotFound { .. }) => app
            .consumer_add(&by, CONSUMER, ConsumerGrant::AllAccounts)
            .await
            .map(|(_, key)| key),
        Err(other) => Err(other),
    };
    let key = key
        .context("failed to add the demo's consumer")?
        .expose_secret()
        .to_owned();
    memory.api_key = Some(key.clone());
    Ok(key)
}

/// The account, at the address that the sandbox has today.
async fn account(
    app: &App,
    scene: &Scene,
    sandbox: &Sandbox,
    memory: &mut Memory,
) -> anyhow::Result<Account> {
    let today = scene.form(ACCOUNT, sandbox)?;
    let Some(known) = known_account(app, memory).await? else {
        let added = app.account_add(&Actor::System, today).await;
        let account = added.context("failed to add the demo's account")?.account;
        memory.account_id = Some(account.id);
        return Ok(account);
    };
    memory.account_id = Some(known.id);
    let mut moved = AccountForm::of(&known);
    moved.authorization_url = today.authorization_url;
    moved.token_url = today.token_url;
    moved.api_url = today.api_url;
    if moved.differences(&AccountForm::of(&known)).is_empty() {
        return Ok(known);
    }
    let edited = app
        .account_edit(&Actor::System, known.id, known.version, moved)
        .await;
    Ok(edited
        .context("failed to move the demo's account to the sandbox's new address")?
        .account)
}

/// The account of an earlier start, also when it was given another name since.
async fn known_account(app: &App, memory: &Memory) -> anyhow::Result<Option<Account>> {
    let references = memory.account_id.map(|id| id.to_string()).into_iter();
    for reference in references.chain([ACCOUNT.to_owned()]) {
        match app.account_find(&reference).await {
            Ok(account) => return Ok(Some(account)),
            Err(AppError::NotFound { .. }) => {}
            Err(other) => return Err(other).context("failed to look for the demo's account"),
        }
    }
    Ok(None)
}

/// Sees to it that the account works: by its tokens if they do, else by a consent.
async fn connected(app: &App, account: Account, scene: &Scene) -> anyhow::Result<Account> {
    if account.consent.is_some() && test(app, account.id).await?.ok {
        return Ok(account);
    }
    let target = ConsentTarget::Account(account.id);
    let begun = app
        .consent_begin(target, None, ConsentPrompt::SelectAccount)
        .await;
    let start = begun.context("failed to begin the consent")?;
    walk::walk(app.outbound().http(), &start.url, &scene.person)
        .await
        .context("failed to walk the consent")?;
    let outcome = app
        .consent_outcome(&start.handle)
        .await
        .context("failed to read its outcome")?;
    let end = outcome.context("the consent did not come back to the console")?;
    if !end.ok {
        let told = end.explain(Language::English);
        bail!(
            "the consent ended with {}: {} {}",
            end.code,
            told.cause,
            told.remedy
        );
    }
    let report = test(app, account.id).await?;
    let fault = report
        .failure()
        .map(|rung| format!("{}: {}", rung.rung, rung.cause));
    ensure!(
        report.ok,
        "the account's test failed at {}",
        fault.unwrap_or_default()
    );
    app.account_find(&account.id.to_string())
        .await
        .context("failed to read the account again")
}

async fn test(app: &App, id: AccountId) -> anyhow::Result<LadderReport> {
    let started = app
        .test_start(TestTarget::Account(id), Language::English)
        .await;
    let test = started.context("failed to start the account's test")?;
    app.test_wait(test)
        .await
        .context("the account's test was cancelled")
}
