//! Several credentials of one account: sealed, moved, noted and watched.

use chrono::{DateTime, NaiveDate, Utc};
use tieline_core::{Account, ConnectionState, CredentialInfo, CredentialSlot, Reason};
use tieline_store::{
    AccountSettings, CredentialChange, CredentialOutcome, SecretChange, StoreError,
};

use crate::support::{Database, by, connected, now, secret, settings_of, shown};

on_both!(
    the_second_secret_takes_the_place_of_the_first,
    a_credential_in_another_place_does_not_open,
    what_became_of_a_credential_is_an_event_once,
    notices_are_given_once_by_several_servers,
    a_token_of_another_organization_is_taken_away,
    a_draft_keeps_its_credentials_sealed,
);

fn day(text: &str) -> NaiveDate {
    text.parse().expect("a day")
}

fn morning(text: &str) -> DateTime<Utc> {
    day(text).and_hms_opt(6, 0, 0).expect("a time").and_utc()
}

async fn update(db: &Database, account: &Account, settings: &AccountSettings) -> Account {
    change(db, account, settings, SecretChange::Keep)
        .await
        .expect("a change")
}

async fn change(
    db: &Database,
    account: &Account,
    settings: &AccountSettings,
    secret: SecretChange,
) -> Result<Account, StoreError> {
    db.store
        .account_update(
            account.id,
            account.version,
            settings,
            secret,
            None,
            &by(),
            now(),
        )
        .await
}

/// The account with a second secret that ends on a day.
async fn with_second(db: &Database, account: &Account, ends: &str) -> Account {
    let mut settings = settings_of(account);
    let slot = CredentialSlot::NextClientSecret;
    let mut info = CredentialInfo::new(slot, now());
    info.expires_on = Some(day(ends));
    let change = CredentialChange::Set {
        secret: secret("second-secret"),
        info,
    };
    settings.credentials = vec![(slot, change)];
    update(db, account, &settings).await
}

async fn the_second_secret_takes_the_place_of_the_first(db: &Database) {
    let account = connected(&db.store, "Contoso").await;
    let account = with_second(db, &account, "2027-05-01").await;
    let slots: Vec<_> = account.credentials.iter().map(|info| info.slot).collect();
    let both = [
        CredentialSlot::ClientSecret,
        CredentialSlot::NextClientSecret,
    ];
    assert_eq!(slots, both);
    let opened = db
        .store
        .account_credentials(account.id)
        .await
        .expect("read");
    assert_eq!(shown(opened.get(&both[0])), Some("client-secret"));
    assert_eq!(shown(opened.get(&both[1])), Some("second-secret"));

    let settings = settings_of(&account);
    let account = change(db, &account, &settings, SecretChange::Clear)
        .await
        .expect("a change");
    let slots: Vec<_> = account.credentials.iter().map(|info| info.slot).collect();
    assert_eq!(slots, both[..1]);
    let first = account.client_secret.as_ref().expect("a secret");
    assert_eq!(first.expires_on, Some(day("2027-05-01")));
    let opened = db
        .store
        .account_credentials(account.id)
        .await
        .expect("read");
    assert_eq!(shown(opened.get(&both[0])), Some("second-secret"));
    assert_eq!(opened.len(), 1);

    // The place that was left takes another, and the tokens of the consent are as they were.
    let account = with_second(db, &account, "2027-06-01").await;
    assert_eq!(account.credentials.len(), 2);
    let row = db.store.token(account.id).await.expect("read");
    let row = row.expect("a row");
    assert_eq!(shown(row.refresh_token.as_ref()), Some("refresh-1"));
    assert_eq!(shown(row.access_token.as_ref()), Some("access-1"));
}

async fn a_credential_in_another_place_does_not_open(db: &Database) {
    let account = connected(&db.store, "Contoso").await;
    let account = with_second(db, &account, "2027-05-01").await;
    db.execute("UPDATE account_credential SET slot = 'client_certificate'")
        .await;
    let moved = db.store.account_credentials(account.id).await;
    assert!(matches!(moved, Err(StoreError::Sealed { .. })), "{moved:?}");
}

async fn what_became_of_a_credential_is_an_event_once(db: &Database) {
    let account = connected(&db.store, "Contoso").await;
    let account = with_second(db, &account, "2027-05-01").await;
    let before = db.store.account_events(account.id, 50).await.expect("read");
    let outcome = CredentialOutcome {
        worked: Some(CredentialSlot::NextClientSecret),
        accepted: Vec::new(),
        refused: vec![(
            CredentialSlot::ClientSecret,
            Reason::new("secret-expired", "AADSTS7000222: over"),
        )],
    };
    assert!(outcome.is_news(&account.credentials));
    for _ in 0..2 {
        let noted = db
            .store
            .credentials_noted(account.id, &outcome, now())
            .await;
        noted.expect("noted");
    }
    let account = db.store.account(account.id).await.expect("read");
    let account = account.expect("an account");
    assert!(!outcome.is_news(&account.credentials));
    let order = tieline_core::trial_order(&account.credentials);
    assert_eq!(order.first(), Some(&CredentialSlot::NextClientSecret));
    let first = account.credential(CredentialSlot::ClientSecret);
    let refused = first
        .and_then(|info| info.refused.clone())
        .expect("refused");
    assert_eq!(
        (refused.since, refused.code.as_str()),
        (now(), "secret-expired")
    );
    let events = db.store.account_events(account.id, 50).await.expect("read");
    assert_eq!(events.len(), before.len() + 1);
    let event = events.first().expect("an event");
    assert_eq!(event.reason.code, "credential-refused");
    assert!(event.reason.detail.starts_with("client_secret: "));
    assert_eq!(event.to, ConnectionState::Connected);

    // A test that finds it accepted again says so.
    let revived = CredentialOutcome {
        accepted: vec![CredentialSlot::ClientSecret],
        ..CredentialOutcome::default()
    };
    assert!(revived.is_news(&account.credentials));
    let noted = db
        .store
        .credentials_noted(account.id, &revived, now())
        .await;
    noted.expect("noted");
    let account = db.store.account(account.id).await.expect("read");
    let known = account.expect("an account").credentials;
    assert!(known.iter().all(|info| info.refused.is_none()));
}

async fn notices_are_given_once_by_several_servers(db: &Database) {
    let account = connected(&db.store, "Contoso").await;
    let account = with_second(db, &account, "2027-05-01").await;
    let quiet = connected(&db.store, "Fabrikam").await;
    let ends = db.store.soonest_expiry().await.expect("read");
    assert_eq!(ends.map(|at| at.date_naive()), Some(day("2027-05-01")));
    let other = db.another().await;
    let mut given = Vec::new();
    for today in ["2027-03-01", "2027-04-02", "2027-04-20", "2027-05-03"] {
        let (one, two) = tokio::join!(
            db.store.expiry_notices(morning(today)),
            other.expiry_notices(morning(today)),
        );
        given.push(one.expect("given") + two.expect("given"));
        let again = db.store.expiry_notices(morning(today)).await;
        assert_eq!(again.expect("given"), 0);
    }
    assert_eq!(given, [0, 1, 1, 1]);
    let events = db.store.account_events(account.id, 3).await.expect("read");
    let said: Vec<_> = events
        .iter()
        .map(|event| (event.reason.code.as_str(), event.reason.detail.as_str()))
        .collect();
    let detail = "next_client_secret: 2027-05-01";
    let expected = [
        ("credential-ends", detail),
        ("secret-expires-soon", detail),
        ("secret-expires-soon", detail),
    ];
    assert_eq!(said, expected);
    assert!(events.iter().all(|event| event.from == Some(event.to)));
    let others = db.store.account_events(quiet.id, 50).await.expect("read");
    assert!(
        others
            .iter()
            .all(|event| !event.reason.code.contains("soon"))
    );
    // A notice leaves the account's own state alone.
    let now = db.store.account(account.id).await.expect("read");
    let now = now.expect("an account");
    assert_eq!(now.connection, account.connection);
    assert_eq!(now.version, account.version);
}

async fn a_token_of_another_organization_is_taken_away(db: &Database) {
    let account = connected(&db.store, "Contoso").await;
    let access = async |account: &Account| {
        let row = db.store.token(account.id).await.expect("read");
        let row = row.expect("a row");
        (row.access_token.is_some(), row.refresh_token.is_some())
    };
    let mut settings = settings_of(&account);
    settings.api_url = "https://CONTOSO.crm4.dynamics.com/api/data/v9.1".to_owned();
    settings.client_id = "00000000-0000-0000-0000-000000000002".to_owned();
    let account = update(db, &account, &settings).await;
    assert_eq!(access(&account).await, (true, true));
    settings.api_url = "https://fabrikam.crm4.dynamics.com/api/data/v9.1".to_owned();
    let account = update(db, &account, &settings).await;
    assert_eq!(access(&account).await, (false, true));
}

async fn a_draft_keeps_its_credentials_sealed(db: &Database) {
    let id = tieline_core::DraftId::generate(now());
    let fields = serde_json::json!({});
    let saved = db
        .store
        .draft_save(
            id,
            crate::support::WORKSPACE,
            "owner",
            None,
            None,
            &fields,
            SecretChange::Keep,
            now(),
        )
        .await;
    let id = saved.expect("a draft");
    for slot in [
        CredentialSlot::NextClientSecret,
        CredentialSlot::ClientCertificate,
    ] {
        let credential = (
            secret(&format!("top-{slot}")),
            CredentialInfo::new(slot, now()),
        );
        let kept = db
            .store
            .draft_set_credential(id, slot, Some(credential), now())
            .await;
        kept.expect("kept");
    }
    let gone = CredentialSlot::ClientCertificate;
    let forgotten = db.store.draft_set_credential(id, gone, None, now()).await;
    forgotten.expect("forgotten");
    let opened = db.store.draft_credentials(id).await.expect("read");
    assert_eq!(opened.len(), 1);
    let second = opened.get(&CredentialSlot::NextClientSecret);
    assert_eq!(shown(second), Some("top-next_client_secret"));
    let draft = db.store.draft(id).await.expect("read").expect("a draft");
    assert_eq!(draft.credentials.len(), 1);
    if let Some(bytes) = db.bytes() {
        let needle = b"top-next_client_secret";
        assert!(!bytes.windows(needle.len()).any(|window| window == needle));
    }
}
