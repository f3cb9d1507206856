//! The history of an account: read page by page, and bounded.

use chrono::TimeDelta;
use tieline_core::ConnectionState;
use tieline_store::{EVENTS_KEPT, EventRange};

use crate::support::{Database, WORKSPACE, by, connected, fall, later, lose, now};

on_both!(
    a_history_is_read_page_by_page,
    a_history_is_bounded_and_keeps_its_latest_entry,
);

async fn a_history_is_read_page_by_page(db: &Database) {
    let store = &db.store;
    let account = connected(store, "Contoso").await;
    use ConnectionState::{Degraded, Unreachable};
    for (at, to) in [
        (10, Degraded),
        (20, Unreachable),
        (30, Degraded),
        (40, Unreachable),
    ] {
        fall(store, &account, to, "entra-busy", later(at)).await;
    }
    let mut range = EventRange::default();
    let mut seen = Vec::new();
    loop {
        let page = store
            .account_timeline(account.id, range, 2)
            .await
            .expect("read");
        let Some(last) = page.last() else { break };
        range.before = Some(last.event.id);
        seen.extend(page);
    }
    let times: Vec<_> = seen.iter().map(|t| (t.event.at, t.until)).collect();
    let expected: Vec<_> = [40, 30, 20, 10, 0]
        .into_iter()
        .zip([None, Some(40), Some(30), Some(20), Some(10)])
        .map(|(at, until)| (later(at), until.map(later)))
        .collect();
    assert_eq!(times, expected);
    let since = EventRange {
        before: None,
        since: Some(later(20)),
    };
    let recent = store
        .account_timeline(account.id, since, 10)
        .await
        .expect("read");
    assert_eq!(recent.len(), 3, "from that moment on");
    let other = connected(store, "Other").await;
    let all = store.events_latest(WORKSPACE, None, 2).await.expect("read");
    assert_eq!(all[0].account_id, other.id);
    let older = store
        .events_latest(WORKSPACE, Some(all[1].id), 10)
        .await
        .expect("read");
    assert_eq!(older.len(), 4);
    store
        .account_delete(account.id, &by(), later(50))
        .await
        .expect("deleted");
    let rest = store
        .events_latest(WORKSPACE, None, 10)
        .await
        .expect("read");
    assert_eq!(rest.len(), 1, "what is deleted is not shown");
}

async fn a_history_is_bounded_and_keeps_its_latest_entry(db: &Database) {
    let store = &db.store;
    let (busy, quiet) = (
        connected(store, "Busy").await,
        connected(store, "Quiet").await,
    );
    lose(store, &busy, later(10)).await;
    let dropped = store
        .events_prune(now() + EVENTS_KEPT + TimeDelta::seconds(11))
        .await;
    assert_eq!(dropped.expect("pruned"), 1, "the first of the busy one");
    for account in [&busy, &quiet] {
        let left = store.account_events(account.id, 10).await.expect("read");
        assert_eq!(left.len(), 1, "the latest stays");
    }
    // The bound by number holds at every write.
    let filler = format!(
        "INSERT INTO account_event (id, account_id, at, from_state, to_state, reason_code, \
         reason_detail) WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n \
         WHERE i < 2100) SELECT 'filler-' || i, '{}', 1, NULL, 'connected', 'renewed', '' FROM n",
        quiet.id
    );
    db.execute(&filler).await;
    lose(store, &quiet, later(20)).await;
    let count = format!(
        "SELECT COUNT(*) FROM account_event WHERE account_id = '{}'",
        quiet.id
    );
    assert_eq!(db.number(&count).await, 2_000);
    let latest = store.account_events(quiet.id, 1).await.expect("read");
    assert_eq!(latest[0].to, ConnectionState::Unreachable);
}
