//! A write that is dropped half way, as when a browser goes away or a server is stopped: all of it
//! is there, or nothing.

use std::future::Future;
use std::pin::pin;
use std::task::Poll;

use tieline_core::{AccountId, ConnectionState};

use crate::support::{
    Database, TYPE, WORKSPACE, by, connected, consented, later, now, renewed, secret, settings,
    shown, state,
};

on_both!(
    an_account_is_added_wholly_or_not_at_all,
    a_renewal_is_stored_wholly_or_not_at_all,
);

/// More polls than any write takes.
const LONGEST: usize = 400;

async fn an_account_is_added_wholly_or_not_at_all(db: &Database) {
    for polls in 0..LONGEST {
        let id = AccountId::generate(now());
        let name = settings(&format!("Account {polls}"));
        let (secret, tokens) = (Some(secret("s")), Some(consented("1")));
        let by = by();
        let add = db
            .store
            .account_add(WORKSPACE, id, TYPE, &name, secret, tokens, &by, now());
        let finished = poll_at_most(add, polls).await.is_some();
        let parts = [
            format!("SELECT COUNT(*) FROM account WHERE id = '{id}'"),
            format!("SELECT COUNT(*) FROM account_token WHERE account_id = '{id}'"),
            format!("SELECT COUNT(*) FROM account_event WHERE account_id = '{id}'"),
            format!("SELECT COUNT(*) FROM audit_event WHERE item_id = '{id}'"),
            format!("SELECT COUNT(*) FROM change WHERE item_id = '{id}'"),
        ];
        let whole = settled(db, id).await;
        for part in parts {
            assert_eq!(
                db.number(&part).await,
                i64::from(whole),
                "after {polls} polls: {part}"
            );
        }
        if finished {
            assert!(whole, "what was acknowledged is there");
            return;
        }
    }
    panic!("a write takes more than {LONGEST} polls");
}

async fn a_renewal_is_stored_wholly_or_not_at_all(db: &Database) {
    let id = connected(&db.store, "Contoso").await.id;
    for polls in 0..LONGEST {
        let before = db.store.token(id).await.expect("read").expect("a row");
        let _ = crate::support::lease(&db.store, id, "one").await;
        let (tokens, change) = (
            renewed(&format!("renewal-{polls}")),
            state(ConnectionState::Connected, "x"),
        );
        let renew =
            db.store
                .token_renewed(id, "one", before.generation, &tokens, &change, later(1));
        let finished = poll_at_most(renew, polls).await.is_some();
        // The store still works: a transaction that was dropped holds nothing back.
        db.store
            .token_schedule(id, Some(now()))
            .await
            .expect("scheduled");
        let after = db.store.token(id).await.expect("read").expect("a row");
        let (refresh, access) = (
            format!("refresh-renewal-{polls}"),
            format!("access-renewal-{polls}"),
        );
        let new = after.generation == before.generation + 1;
        assert!(new || after.generation == before.generation);
        assert_eq!(
            shown(after.refresh_token.as_ref()) == Some(refresh.as_str()),
            new
        );
        assert_eq!(
            shown(after.access_token.as_ref()) == Some(access.as_str()),
            new
        );
        assert_eq!(after.lease.is_none(), new);
        assert_eq!(after.spending.is_none(), new);
        if finished {
            assert!(new, "what was acknowledged is there");
            return;
        }
    }
    panic!("a write takes more than {LONGEST} polls");
}

/// Whether the account is there, once a dropped transaction has come to its end.
async fn settled(db: &Database, id: AccountId) -> bool {
    // The next write waits for the one before it.
    db.store.token_schedule(id, None).await.expect("scheduled");
    db.store.account(id).await.expect("read").is_some()
}

/// Polls a future so many times and then drops it.
async fn poll_at_most<F: Future>(future: F, polls: usize) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut left = polls;
    std::future::poll_fn(move |context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        future.as_mut().poll(context).map(Some)
    })
    .await
}
