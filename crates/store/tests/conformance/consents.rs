//! Consents under way: single use, in time, bound.

use serde_json::json;
use tieline_core::{AccountId, DraftId};
use tieline_store::{ConsentTarget, NewConsent, TakeConsent};

use crate::support::{Database, later, now, secret, shown};

on_both!(
    a_consent_comes_back_as_it_began,
    a_consent_is_taken_once,
    a_consent_that_is_too_old_is_not_taken,
    an_unknown_consent_is_told_apart,
    of_two_that_take_a_consent_one_gets_it,
    the_outcome_can_be_asked_for,
    old_consents_are_forgotten,
);

async fn a_consent_comes_back_as_it_began(db: &Database) {
    let draft = DraftId::generate(now());
    for (mark, target, binding) in [
        (1, ConsentTarget::Draft(draft), Some([9; 32])),
        (2, ConsentTarget::Account(AccountId::generate(now())), None),
    ] {
        let begun = NewConsent {
            target,
            session_binding: binding,
            ..consent(mark)
        };
        db.store.consent_begin(&begun, now()).await.expect("begun");
        let taken = db
            .store
            .consent_take([mark; 32], later(1))
            .await
            .expect("asked");
        let TakeConsent::Taken(taken) = taken else {
            panic!("{taken:?}")
        };
        assert_eq!((taken.target, taken.session_binding), (target, binding));
        assert_eq!(shown(Some(&taken.verifier)), Some("verifier"));
        assert_eq!(taken.nonce, begun.nonce);
        assert_eq!(taken.redirect_uri, begun.redirect_uri);
        assert_eq!(taken.authorization_url, begun.authorization_url);
        assert_eq!(taken.token_url, begun.token_url);
        assert_eq!(taken.api_url, begun.api_url);
        assert_eq!((taken.client_id, taken.mode), (begun.client_id, begun.mode));
    }
}

async fn a_consent_is_taken_once(db: &Database) {
    db.store
        .consent_begin(&consent(1), now())
        .await
        .expect("begun");
    let first = db
        .store
        .consent_take([1; 32], later(1))
        .await
        .expect("asked");
    assert!(matches!(first, TakeConsent::Taken(_)), "{first:?}");
    for at in [2, 5_000] {
        let again = db
            .store
            .consent_take([1; 32], later(at))
            .await
            .expect("asked");
        assert!(matches!(again, TakeConsent::UsedBefore), "{again:?}");
    }
}

async fn a_consent_that_is_too_old_is_not_taken(db: &Database) {
    db.store
        .consent_begin(&consent(1), now())
        .await
        .expect("begun");
    let late = db
        .store
        .consent_take([1; 32], later(600))
        .await
        .expect("asked");
    assert!(matches!(late, TakeConsent::Expired), "{late:?}");
    db.store
        .consent_begin(&consent(2), now())
        .await
        .expect("begun");
    let in_time = db
        .store
        .consent_take([2; 32], later(599))
        .await
        .expect("asked");
    assert!(matches!(in_time, TakeConsent::Taken(_)), "{in_time:?}");
}

async fn an_unknown_consent_is_told_apart(db: &Database) {
    let unknown = db.store.consent_take([7; 32], now()).await.expect("asked");
    assert!(matches!(unknown, TakeConsent::Unknown), "{unknown:?}");
}

async fn of_two_that_take_a_consent_one_gets_it(db: &Database) {
    let other = db.another().await;
    for mark in 0..10 {
        db.store
            .consent_begin(&consent(mark), now())
            .await
            .expect("begun");
        let (one, two) = tokio::join!(
            db.store.consent_take([mark; 32], later(1)),
            other.consent_take([mark; 32], later(1)),
        );
        let taken = [one.expect("asked"), two.expect("asked")];
        let won = taken
            .iter()
            .filter(|take| matches!(take, TakeConsent::Taken(_)))
            .count();
        let lost = taken
            .iter()
            .filter(|take| matches!(take, TakeConsent::UsedBefore))
            .count();
        assert_eq!((won, lost), (1, 1), "{taken:?}");
    }
}

async fn the_outcome_can_be_asked_for(db: &Database) {
    db.store
        .consent_begin(&consent(1), now())
        .await
        .expect("begun");
    assert_eq!(db.store.consent_outcome([1; 32]).await.expect("read"), None);
    let outcome = json!({ "ok": false, "code": "consent-denied" });
    db.store
        .consent_finish([1; 32], &outcome, now())
        .await
        .expect("finished");
    assert_eq!(
        db.store.consent_outcome([1; 32]).await.expect("read"),
        Some(outcome)
    );
    assert_eq!(db.store.consent_outcome([2; 32]).await.expect("read"), None);
}

async fn old_consents_are_forgotten(db: &Database) {
    db.store
        .consent_begin(&consent(1), now())
        .await
        .expect("begun");
    let next = NewConsent {
        expires_at: later(200_600),
        ..consent(2)
    };
    db.store
        .consent_begin(&next, later(200_000))
        .await
        .expect("begun");
    assert_eq!(db.number("SELECT COUNT(*) FROM consent").await, 1);
}

fn consent(mark: u8) -> NewConsent {
    NewConsent {
        state_hash: [mark; 32],
        target: ConsentTarget::Draft(DraftId::generate(now())),
        session_binding: None,
        verifier: secret("verifier"),
        nonce: "nonce".to_owned(),
        redirect_uri: "https://tieline.example/admin/msdynamicscallback.html".to_owned(),
        authorization_url: "https://login.microsoftonline.com/t/oauth2/authorize".to_owned(),
        token_url: "https://login.microsoftonline.com/t/oauth2/token".to_owned(),
        api_url: "https://contoso.crm4.dynamics.com/api/data/v9.2".to_owned(),
        client_id: "client".to_owned(),
        mode: "user".to_owned(),
        expires_at: later(600),
    }
}
