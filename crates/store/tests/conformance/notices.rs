//! What is told of events: written with them, taken once, kept in order.

use chrono::{DateTime, TimeDelta, Utc};
use tieline_core::{
    AccountId, ConnectionState, Delivery, DeliveryChannel, DeliveryState, DisabledReason,
    NoticeType, Webhook, WebhookId,
};
use tieline_store::{Attempted, Store, StoreError, WebhookSettings};

use crate::support::{
    Database, WORKSPACE, add, by, connected, fall, later, lose, now, secret, settings, shown,
};

on_both!(
    an_event_and_what_is_told_of_it_are_one_write,
    a_webhook_is_told_of_what_it_asked_for,
    another_reason_is_told_to_who_asked_for_it,
    a_warning_about_a_credential_is_told_and_mailed_by_itself,
    mails_wait_and_tell_of_trouble_only,
    a_delivery_is_taken_by_one_server,
    what_a_dead_server_held_is_taken_by_another,
    an_account_keeps_its_order_and_holds_up_no_other,
    a_late_result_is_not_written,
    a_pause_is_kept_by_all_that_waits,
    a_disabled_webhook_is_told_nothing_and_others_hear_of_it,
    a_notice_is_sent_again_under_its_own_name,
    a_secret_is_sealed_and_rotates_with_an_overlap,
    facts_stay_what_they_were,
    recipients_follow_the_configuration,
    old_deliveries_are_forgotten,
);

const URL: &str = "https://hooks.example.com/tieline?key=hidden";

fn webhook_settings() -> WebhookSettings {
    WebhookSettings {
        url: URL.to_owned(),
        description: "operations".to_owned(),
        events: NoticeType::USUAL.to_vec(),
        accounts: None,
    }
}

async fn webhook(store: &Store, settings: &WebhookSettings) -> Webhook {
    let id = WebhookId::generate(now());
    let secret = secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    store
        .webhook_add(WORKSPACE, id, settings, &secret, &by(), now())
        .await
        .expect("added")
}

async fn claim(store: &Store, target: &str, owner: &str, at: DateTime<Utc>) -> Vec<Delivery> {
    let until = at + TimeDelta::seconds(30);
    let claimed = store.deliveries_claim(target, owner, until, 10, at);
    claimed.await.expect("claimed")
}

fn taken() -> Attempted {
    Attempted {
        state: DeliveryState::Delivered,
        next_at: None,
        status: Some(204),
        error: None,
        paused_until: None,
    }
}

fn refused(next_at: DateTime<Utc>) -> Attempted {
    Attempted {
        state: DeliveryState::Pending,
        next_at: Some(next_at),
        status: Some(503),
        error: Some("delivery-refused"),
        paused_until: None,
    }
}

async fn done(store: &Store, delivery: &Delivery, owner: &str, what: &Attempted) -> bool {
    let written = store.delivery_attempted(delivery, owner, what, &[], later(100));
    written.await.expect("written")
}

async fn an_event_and_what_is_told_of_it_are_one_write(db: &Database) {
    let store = &db.store;
    let account = connected(store, "Contoso").await;
    assert_eq!(
        db.number("SELECT COUNT(*) FROM notice").await,
        0,
        "nobody is told"
    );
    let webhook = webhook(store, &webhook_settings()).await;
    fall(
        store,
        &account,
        ConnectionState::Degraded,
        "entra-busy",
        later(10),
    )
    .await;
    let claimed = claim(store, &webhook.id.to_string(), "a", later(10)).await;
    assert_eq!(claimed.len(), 1);
    let notice = &claimed[0].notice;
    let events = store.account_events(account.id, 1).await.expect("read");
    assert_eq!(notice.id, events[0].id, "a notice is named by its event");
    assert_eq!(notice.notice_type, NoticeType::StateChanged);
    assert_eq!(
        (notice.from, notice.to),
        (
            Some(ConnectionState::Connected),
            Some(ConnectionState::Degraded)
        )
    );
    assert_eq!(
        (notice.from_since, notice.since),
        (Some(now()), Some(later(10)))
    );
    assert_eq!(notice.subject, "Contoso");
    assert_eq!(notice.user.as_deref(), Some("admin@contoso.example"));
    assert_eq!(notice.reason.code, "entra-busy");
    // A write that is rolled back tells nothing either.
    add(store, &settings("contoso"))
        .await
        .expect_err("the name is taken");
    assert_eq!(db.number("SELECT COUNT(*) FROM notice").await, 1);
}

async fn a_webhook_is_told_of_what_it_asked_for(db: &Database) {
    let store = &db.store;
    let (one, two) = (connected(store, "One").await, connected(store, "Two").await);
    let every = webhook(store, &webhook_settings()).await;
    let only = WebhookSettings {
        accounts: Some(vec![two.id, AccountId::generate(now())]),
        ..webhook_settings()
    };
    let only = webhook(store, &only).await;
    let other = WebhookSettings {
        events: vec![NoticeType::WebhookDisabled],
        ..webhook_settings()
    };
    let other = webhook(store, &other).await;
    for account in [&one, &two] {
        fall(
            store,
            account,
            ConnectionState::Unreachable,
            "entra-busy",
            later(1),
        )
        .await;
    }
    let mut told = Vec::new();
    for webhook in [&every, &only, &other] {
        let claimed = claim(store, &webhook.id.to_string(), "a", later(1)).await;
        told.push(
            claimed
                .iter()
                .map(|d| d.notice.subject.clone())
                .collect::<Vec<_>>(),
        );
    }
    assert_eq!(
        told,
        [
            vec!["One".to_owned(), "Two".to_owned()],
            vec!["Two".to_owned()],
            vec![]
        ]
    );
}

async fn another_reason_is_told_to_who_asked_for_it(db: &Database) {
    let store = &db.store;
    let account = connected(store, "Contoso").await;
    let usual = webhook(store, &webhook_settings()).await;
    let curious = WebhookSettings {
        events: vec![NoticeType::ReasonChanged],
        ..webhook_settings()
    };
    let curious = webhook(store, &curious).await;
    store
        .mail_recipients_set(&["a@example.com".to_owned()], TimeDelta::zero())
        .await
        .expect("set");
    fall(
        store,
        &account,
        ConnectionState::Unreachable,
        "connection-refused",
        later(1),
    )
    .await;
    fall(
        store,
        &account,
        ConnectionState::Unreachable,
        "connection-refused",
        later(2),
    )
    .await;
    fall(
        store,
        &account,
        ConnectionState::Unreachable,
        "connection-slow",
        later(3),
    )
    .await;
    let at = later(3);
    assert_eq!(
        claim(store, &usual.id.to_string(), "a", at).await.len(),
        1,
        "one for the change"
    );
    let told = claim(store, &curious.id.to_string(), "a", at).await;
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].notice.reason.code, "connection-slow");
    let mails = claim(store, "a@example.com", "a", at).await;
    assert_eq!(mails.len(), 1);
    assert!(
        store
            .deliveries_behind(&mails[0])
            .await
            .expect("read")
            .is_empty()
    );
}

async fn a_warning_about_a_credential_is_told_and_mailed_by_itself(db: &Database) {
    let store = &db.store;
    let account = connected(store, "Contoso").await;
    let hook = webhook(store, &webhook_settings()).await;
    let to = "ops@example.com";
    store
        .mail_recipients_set(&[to.to_owned()], TimeDelta::zero())
        .await
        .expect("set");
    let (connected, code) = (ConnectionState::Connected, "secret-expires-soon");
    fall(store, &account, connected, code, later(1)).await;
    fall(
        store,
        &account,
        ConnectionState::Degraded,
        "entra-busy",
        later(2),
    )
    .await;
    let told = claim(store, &hook.id.to_string(), "a", later(2)).await;
    assert_eq!(told[0].notice.notice_type, NoticeType::CredentialWarning);
    // The two mails are no sum: both can be taken, and neither stands behind the other.
    let mails = claim(store, to, "a", later(2)).await;
    assert_eq!(mails.len(), 2);
    for mail in &mails {
        let behind = store.deliveries_behind(mail).await.expect("read");
        assert!(behind.is_empty());
    }
}

async fn mails_wait_and_tell_of_trouble_only(db: &Database) {
    let store = &db.store;
    let to = "ops@example.com";
    store
        .mail_recipients_set(&[to.to_owned()], TimeDelta::seconds(60))
        .await
        .expect("set");
    // A new account and its consent are no news to whoever made them.
    let account = connected(store, "Contoso").await;
    assert!(claim(store, to, "a", later(1_000)).await.is_empty());
    fall(
        store,
        &account,
        ConnectionState::Degraded,
        "entra-busy",
        later(10),
    )
    .await;
    lose(store, &account, later(20)).await;
    assert!(
        claim(store, to, "a", later(69)).await.is_empty(),
        "it settles"
    );
    let claimed = claim(store, to, "a", later(70)).await;
    assert_eq!(claimed.len(), 1, "what came later waits behind it");
    assert_eq!(claimed[0].channel, DeliveryChannel::Mail);
    let behind = store.deliveries_behind(&claimed[0]).await.expect("read");
    assert_eq!(behind.len(), 1);
    assert_eq!(behind[0].notice.to, Some(ConnectionState::Unreachable));
    // One mail tells of both.
    let told = [behind[0].seq];
    assert!(
        store
            .delivery_attempted(&claimed[0], "a", &taken(), &told, later(71))
            .await
            .expect("written")
    );
    assert!(claim(store, to, "a", later(5_000)).await.is_empty());
    let states: Vec<_> = store
        .mails(10)
        .await
        .expect("read")
        .iter()
        .map(|d| d.state)
        .collect();
    assert_eq!(
        states,
        [DeliveryState::Superseded, DeliveryState::Delivered]
    );
}

async fn a_delivery_is_taken_by_one_server(db: &Database) {
    let target = webhook(&db.store, &webhook_settings()).await.id.to_string();
    for at in 0..8 {
        let account = connected(&db.store, &format!("Account {at}")).await;
        fall(
            &db.store,
            &account,
            ConnectionState::Unreachable,
            "entra-busy",
            later(1),
        )
        .await;
    }
    let mut servers = Vec::new();
    for owner in ["a", "b", "c", "d"] {
        let (store, target) = (db.another().await, target.clone());
        servers.push(tokio::spawn(async move {
            claim(&store, &target, owner, later(1)).await
        }));
    }
    let mut taken = Vec::new();
    for server in servers {
        taken.extend(server.await.expect("no panic").iter().map(|d| d.seq));
    }
    taken.extend(
        claim(&db.store, &target, "e", later(1))
            .await
            .iter()
            .map(|d| d.seq),
    );
    taken.sort_unstable();
    let all = taken.len();
    taken.dedup();
    // The first event of each account was written too: not connected is where it began.
    assert_eq!((all, taken.len()), (8, 8), "each once, none twice");
}

async fn what_a_dead_server_held_is_taken_by_another(db: &Database) {
    let store = &db.store;
    let account = connected(store, "Contoso").await;
    let target = webhook(store, &webhook_settings()).await.id.to_string();
    lose(store, &account, later(1)).await;
    assert_eq!(claim(store, &target, "dead", later(1)).await.len(), 1);
    assert!(
        claim(store, &target, "alive", later(30)).await.is_empty(),
        "it is held"
    );
    let again = claim(store, &target, "alive", later(31)).await;
    assert_eq!(again.len(), 1);
    assert!(done(store, &again[0], "alive", &taken()).await);
}

async fn an_account_keeps_its_order_and_holds_up_no_other(db: &Database) {
    let store = &db.store;
    let (one, two) = (connected(store, "One").await, connected(store, "Two").await);
    let target = webhook(store, &webhook_settings()).await.id.to_string();
    fall(
        store,
        &one,
        ConnectionState::Degraded,
        "entra-busy",
        later(1),
    )
    .await;
    lose(store, &one, later(2)).await;
    lose(store, &two, later(3)).await;
    let first = claim(store, &target, "a", later(10)).await;
    let told: Vec<_> = first
        .iter()
        .map(|d| (d.notice.subject.as_str(), d.notice.to))
        .collect();
    assert_eq!(
        told,
        [
            ("One", Some(ConnectionState::Degraded)),
            ("Two", Some(ConnectionState::Unreachable))
        ]
    );
    // While the first is to be tried again, what follows it waits.
    assert!(done(store, &first[0], "a", &refused(later(500))).await);
    assert!(done(store, &first[1], "a", &taken()).await);
    assert!(claim(store, &target, "a", later(499)).await.is_empty());
    let again = claim(store, &target, "a", later(500)).await;
    assert_eq!((again.len(), again[0].seq), (1, first[0].seq));
    assert_eq!((again[0].attempts, again[0].last_status), (1, Some(503)));
    assert!(done(store, &again[0], "a", &taken()).await);
    let next = claim(store, &target, "a", later(500)).await;
    assert_eq!(next.len(), 1);
    assert_eq!(next[0].notice.to, Some(ConnectionState::Unreachable));
}

async fn a_late_result_is_not_written(db: &Database) {
    let store = &db.store;
    let account = connected(store, "Contoso").await;
    let target = webhook(store, &webhook_settings()).await.id.to_string();
    lose(store, &account, later(1)).await;
    let slow = claim(store, &target, "slow", later(1)).await;
    let quick = claim(store, &target, "quick", later(40)).await;
    assert!(done(store, &quick[0], "quick", &taken()).await);
    assert!(!done(store, &slow[0], "slow", &refused(later(50))).await);
    let log = store.deliveries(&target, None, 10).await.expect("read");
    assert_eq!(log[0].state, DeliveryState::Delivered);
}

async fn a_pause_is_kept_by_all_that_waits(db: &Database) {
    let store = &db.store;
    let account = connected(store, "Contoso").await;
    let webhook = webhook(store, &webhook_settings()).await;
    lose(store, &account, later(1)).await;
    let claimed = claim(store, &webhook.id.to_string(), "a", later(1)).await;
    let pause = Attempted {
        paused_until: Some(later(600)),
        ..refused(later(600))
    };
    assert!(done(store, &claimed[0], "a", &pause).await);
    assert!(
        store
            .webhooks_open(later(599))
            .await
            .expect("read")
            .is_empty()
    );
    assert_eq!(
        store.webhooks_open(later(600)).await.expect("read"),
        [webhook.id]
    );
    let failing = store
        .webhook(webhook.id)
        .await
        .expect("read")
        .expect("a webhook");
    assert_eq!(failing.failing_since, Some(later(100)));
    let again = claim(store, &webhook.id.to_string(), "a", later(600)).await;
    assert!(done(store, &again[0], "a", &taken()).await);
    let well = store
        .webhook(webhook.id)
        .await
        .expect("read")
        .expect("a webhook");
    assert_eq!(
        (well.failing_since, well.last_success_at),
        (None, Some(later(100)))
    );
}

async fn a_disabled_webhook_is_told_nothing_and_others_hear_of_it(db: &Database) {
    let store = &db.store;
    let account = connected(store, "Contoso").await;
    let (dead, other) = (
        webhook(store, &webhook_settings()).await,
        webhook(store, &webhook_settings()).await,
    );
    let to = "ops@example.com".to_owned();
    store
        .mail_recipients_set(std::slice::from_ref(&to), TimeDelta::zero())
        .await
        .expect("set");
    lose(store, &account, later(1)).await;
    let gone = DisabledReason::Gone;
    assert!(
        store
            .webhook_disable(&dead, gone, &by(), later(2))
            .await
            .expect("disabled")
    );
    assert!(
        !store
            .webhook_disable(&dead, gone, &by(), later(2))
            .await
            .expect("asked"),
        "once"
    );
    fall(
        store,
        &account,
        ConnectionState::Misconfigured,
        "secret-wrong",
        later(3),
    )
    .await;
    let log = store
        .deliveries(&dead.id.to_string(), None, 10)
        .await
        .expect("read");
    let states: Vec<_> = log.iter().map(|d| d.state).collect();
    assert_eq!(states, [DeliveryState::Cancelled]);
    let told = claim(store, &other.id.to_string(), "a", later(3)).await;
    let types: Vec<_> = told.iter().map(|d| d.notice.notice_type).collect();
    assert_eq!(
        types,
        [NoticeType::StateChanged, NoticeType::WebhookDisabled]
    );
    assert_eq!(
        told[1].notice.subject, "https://hooks.example.com/tieline",
        "without its key"
    );
    assert_eq!(told[1].notice.reason.code, "webhook-gone");
    let mails = claim(store, &to, "a", later(3)).await;
    assert!(
        mails
            .iter()
            .any(|d| d.notice.notice_type == NoticeType::WebhookDisabled)
    );
    let shown = store
        .webhook(dead.id)
        .await
        .expect("read")
        .expect("a webhook");
    assert_eq!(shown.disabled, Some((gone, later(2))));
    store
        .webhook_enable(&shown, &by(), later(4))
        .await
        .expect("enabled");
    let enabled = store
        .webhook(dead.id)
        .await
        .expect("read")
        .expect("a webhook");
    assert!(enabled.is_enabled());
    let audit = store.audit(10, None).await.expect("read");
    assert!(audit.iter().any(|e| e.operation == "webhook_disabled"));
    assert!(audit.iter().all(|e| !e.item_name.contains("hidden")));
}

async fn a_notice_is_sent_again_under_its_own_name(db: &Database) {
    let store = &db.store;
    let account = connected(store, "Contoso").await;
    let target = webhook(store, &webhook_settings()).await.id.to_string();
    lose(store, &account, later(1)).await;
    let first = claim(store, &target, "a", later(1)).await;
    let id = first[0].notice.id;
    assert!(
        !store
            .delivery_resend(&target, id, later(2))
            .await
            .expect("asked"),
        "it is under way"
    );
    assert!(done(store, &first[0], "a", &taken()).await);
    assert!(claim(store, &target, "a", later(200)).await.is_empty());
    assert!(
        store
            .delivery_resend(&target, id, later(200))
            .await
            .expect("asked")
    );
    let again = claim(store, &target, "a", later(200)).await;
    assert_eq!(again[0].notice, first[0].notice);
    let elsewhere = store.delivery_resend("nobody", id, later(200)).await;
    assert!(!elsewhere.expect("asked"));
}

async fn a_secret_is_sealed_and_rotates_with_an_overlap(db: &Database) {
    let store = &db.store;
    let hook = webhook(store, &webhook_settings()).await;
    let other = webhook(store, &webhook_settings()).await;
    let next = secret("whsec_bmV4dG5leHRuZXh0bmV4dG5leHQ=");
    store
        .webhook_rotate(&hook, &next, later(60), &by(), now())
        .await
        .expect("rotated");
    let both = store
        .webhook_secrets(hook.id, later(59))
        .await
        .expect("read")
        .expect("secrets");
    assert_eq!(shown(Some(&both.current)), shown(Some(&next)));
    assert!(shown(both.previous.as_ref()).is_some_and(|s| s.starts_with("whsec_MfKQ")));
    let one = store
        .webhook_secrets(hook.id, later(60))
        .await
        .expect("read")
        .expect("secrets");
    assert!(one.previous.is_none());
    if let Some(bytes) = db.bytes() {
        let text = String::from_utf8_lossy(&bytes);
        assert!(!text.contains("whsec_"), "it is nowhere in the clear");
    }
    // A secret that was moved to another row does not open.
    let swap = format!(
        "UPDATE webhook SET secret = (SELECT secret FROM webhook WHERE id = '{}') WHERE id = '{}'",
        hook.id, other.id
    );
    db.execute(&swap).await;
    let moved = store.webhook_secrets(other.id, now()).await;
    assert!(matches!(moved, Err(StoreError::Sealed { .. })), "{moved:?}");
}

async fn facts_stay_what_they_were(db: &Database) {
    let store = &db.store;
    let account = connected(store, "Contoso").await;
    let target = webhook(store, &webhook_settings()).await.id.to_string();
    lose(store, &account, later(1)).await;
    store
        .account_delete(account.id, &by(), later(2))
        .await
        .expect("deleted");
    store.accounts_purge(later(3)).await.expect("purged");
    let claimed = claim(store, &target, "a", later(4)).await;
    assert_eq!(claimed[0].notice.subject, "Contoso");
    assert_eq!(claimed[0].notice.account_id, Some(account.id));
}

async fn recipients_follow_the_configuration(db: &Database) {
    let store = &db.store;
    let both = ["a@example.com".to_owned(), "b@example.com".to_owned()];
    store
        .mail_recipients_set(&both, TimeDelta::zero())
        .await
        .expect("set");
    let account = connected(store, "Contoso").await;
    lose(store, &account, later(1)).await;
    store
        .mail_recipients_set(&both[..1], TimeDelta::zero())
        .await
        .expect("set");
    assert_eq!(claim(store, &both[0], "a", later(1)).await.len(), 1);
    assert!(
        claim(store, &both[1], "a", later(1)).await.is_empty(),
        "cancelled"
    );
    store
        .mail_recipients_set(&[], TimeDelta::zero())
        .await
        .expect("set");
    fall(
        store,
        &account,
        ConnectionState::Misconfigured,
        "secret-wrong",
        later(2),
    )
    .await;
    let depth = store.outbox_depth().await.expect("read");
    assert!(depth.iter().all(|depth| depth.pending == 0), "{depth:?}");
}

async fn old_deliveries_are_forgotten(db: &Database) {
    let store = &db.store;
    let account = connected(store, "Contoso").await;
    let target = webhook(store, &webhook_settings()).await.id.to_string();
    lose(store, &account, later(1)).await;
    let claimed = claim(store, &target, "a", later(1)).await;
    assert!(done(store, &claimed[0], "a", &taken()).await);
    store
        .outbox_prune(now() + TimeDelta::days(29))
        .await
        .expect("pruned");
    assert_eq!(
        store
            .deliveries(&target, None, 10)
            .await
            .expect("read")
            .len(),
        1
    );
    store
        .outbox_prune(now() + TimeDelta::days(31))
        .await
        .expect("pruned");
    assert!(
        store
            .deliveries(&target, None, 10)
            .await
            .expect("read")
            .is_empty()
    );
    assert_eq!(db.number("SELECT COUNT(*) FROM notice").await, 0);
}
