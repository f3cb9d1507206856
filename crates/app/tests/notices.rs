//! Notices over days: a clock that is told to move, a real database, receivers on real sockets.
#![expect(clippy::unwrap_used, reason = "a panic in a test is the report")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tempfile::TempDir;
use tieline_app::{
    App, MailSettings, MailTls, NotifySettings, Outbound, OutboundSettings, Parts, Policy,
    WebhookForm,
};
use tieline_core::{
    AccountId, AccountType, Actor, Clock, ConnectionState, Delivery, DeliveryState, DisabledReason,
    EventId, GrantType, Language, ManualClock, Reason, RefreshTokenRotation, Webhook, WorkspaceId,
};
use tieline_store::{
    AccountSettings, FailedRenewal, LeasePurpose, LeaseWish, MarkAfter, Migrations, StateChange,
    Store,
};
use tieline_vault::KeyRing;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use url::Url;

/// Far longer than anything here takes; the tests end as soon as it comes.
const PATIENCE: Duration = Duration::from_secs(60);
const OPS: &str = "ops@example.com";

struct Stage {
    clock: Arc<ManualClock>,
    store: Store,
    app: App,
    stop: CancellationToken,
    background: JoinHandle<()>,
    _directory: TempDir,
}

impl Stage {
    async fn open(mail_port: Option<u16>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", directory.path().join("tieline.db").display());
        let keys = Arc::new(KeyRing::generate());
        let store = Store::open(&url, keys, Migrations::Run).await.unwrap();
        if mail_port.is_some() {
            // The background work writes the same; here nothing happens before it.
            let settle = TimeDelta::seconds(60);
            let receivers = [OPS.to_owned()];
            let set = store.mail_recipients_set(&receivers, settle);
            set.await.unwrap();
        }
        let start: DateTime<Utc> = "2026-11-23T08:00:00Z".parse().unwrap();
        let clock = Arc::new(ManualClock::new(start));
        let outbound = Outbound::new(&OutboundSettings {
            policy: Policy::LoopbackToo,
            ..OutboundSettings::default()
        });
        let app = App::new(Parts {
            store: store.clone(),
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            outbound: outbound.unwrap(),
            public_url: Url::parse("https://tieline.example.com").unwrap(),
            gateway_url: Url::parse("https://gateway.example.com").unwrap(),
            notify: NotifySettings {
                language: Language::English,
                mail: mail_port.map(mail_settings),
            },
        });
        let stop = CancellationToken::new();
        let (running, until) = (app.clone(), stop.clone());
        let background = tokio::spawn(async move { running.run_background(until).await });
        Self {
            clock,
            store,
            app,
            stop,
            background,
            _directory: directory,
        }
    }

    async fn webhook(&self, url: &str) -> Webhook {
        let form = WebhookForm {
            url: Some(url.to_owned()),
            ..WebhookForm::default()
        };
        self.app.webhook_add(&Actor::System, &form).await.unwrap().0
    }

    async fn account(&self, name: &str) -> AccountId {
        let settings = AccountSettings {
            name: name.parse().unwrap(),
            is_default: false,
            authorization_url: "https://login.example.com/t/oauth2/authorize".to_owned(),
            token_url: "https://login.example.com/t/oauth2/token".to_owned(),
            api_url: "https://contoso.example.com/api/data/v9.2".to_owned(),
            client_id: "client".to_owned(),
            grant: GrantType::AuthorizationCode,
            rotation: RefreshTokenRotation::Auto,
            notes: String::new(),
            secret_expires_on: None,
            credentials: Vec::new(),
        };
        let now = self.clock.now();
        let id = AccountId::generate(now);
        let (workspace, kind) = (WorkspaceId::DEFAULT, AccountType::MicrosoftDynamics365);
        self.store
            .account_add(
                workspace,
                id,
                kind,
                &settings,
                None,
                None,
                &Actor::System,
                now,
            )
            .await
            .unwrap();
        id
    }

    /// What the keeper writes when a renewal ends.
    async fn enter(&self, account: AccountId, state: ConnectionState, code: &str) {
        let row = self.store.token(account).await.unwrap().unwrap();
        let wish = LeaseWish {
            owner: "keeper",
            seen: row.generation,
            marked_by: None,
            purpose: LeasePurpose::Other,
            life: TimeDelta::seconds(60),
        };
        assert!(self.store.token_lease(account, &wish).await.unwrap());
        let failed = FailedRenewal {
            blocked_key: None,
            renew_at: None,
            mark: MarkAfter::Clear,
            rotation_seen: None,
            claims: None,
        };
        let change = StateChange {
            state,
            reason: Reason::new(code, String::new()),
        };
        let now = self.clock.now();
        let written = self
            .store
            .token_failed(account, "keeper", row.generation, &failed, &change, now)
            .await;
        assert!(written.unwrap());
    }

    /// Moves the clock, and lets the outbox be looked into.
    async fn advance(&self, step: TimeDelta) {
        self.clock.advance(step);
        let nobody = EventId::generate(self.clock.now());
        let looked = self.store.delivery_resend("", nobody, self.clock.now());
        assert!(!looked.await.unwrap());
    }

    /// The deliveries to a target, once they are as wanted.
    async fn until(&self, target: &str, wanted: impl Fn(&[Delivery]) -> bool) -> Vec<Delivery> {
        let settled = async {
            loop {
                let log = self.store.deliveries(target, None, 50).await.unwrap();
                if wanted(&log) {
                    return log;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, settled)
            .await
            .expect("it settles")
    }

    async fn close(self) {
        self.stop.cancel();
        self.background.await.unwrap();
    }
}

fn mail_settings(port: u16) -> MailSettings {
    MailSettings {
        host: "127.0.0.1".to_owned(),
        port,
        tls: MailTls::None,
        user: None,
        password: None,
        from: "tieline@example.com".to_owned(),
        to: vec![OPS.to_owned()],
        settle: Duration::from_secs(60),
        ca_files: Vec::new(),
    }
}

/// An HTTP server that answers every request alike, and says what it got.
fn receiver(answer: &'static str) -> (String, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let (tell, got) = channel();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let tell: Sender<String> = tell.clone();
            thread::spawn(move || receive(&stream, answer, &tell));
        }
    });
    (url, got)
}

fn receive(stream: &TcpStream, answer: &str, tell: &Sender<String>) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let (mut line, mut length) = (String::new(), 0);
    loop {
        line.clear();
        reader.read_line(&mut line).ok()?;
        let lower = line.to_ascii_lowercase();
        if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        if line == "\r\n" {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let _ = tell.send(String::from_utf8(body).ok()?);
    let mut writer = stream;
    let head = format!("HTTP/1.1 {answer}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    writer.write_all(head.as_bytes()).ok()
}

/// A relay that takes all mail in the clear.
fn relay() -> (u16, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (tell, got) = channel();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let tell: Sender<String> = tell.clone();
            thread::spawn(move || take(&stream, &tell));
        }
    });
    (port, got)
}

fn take(stream: &TcpStream, tell: &Sender<String>) -> Option<()> {
    let (mut reader, mut writer) = (BufReader::new(stream), stream);
    writer.write_all(b"220 relay\r\n").ok()?;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let reply: &[u8] = match line.trim_end() {
            "DATA" => {
                writer.write_all(b"354 go on\r\n").ok()?;
                let mut message = String::new();
                while !message.ends_with("\r\n.\r\n") {
                    reader.read_line(&mut message).ok()?;
                }
                let _ = tell.send(message);
                b"250 taken\r\n"
            }
            "QUIT" => return writer.write_all(b"221 bye\r\n").ok(),
            _ => b"250 ok\r\n",
        };
        writer.write_all(reply).ok()?;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_that_takes_nothing_for_three_days_is_disabled_and_not_silently() {
    let stage = Stage::open(None).await;
    let (bad, attempts) = receiver("500 Internal Server Error");
    let (good, told) = receiver("204 No Content");
    let (bad, good) = (stage.webhook(&bad).await, stage.webhook(&good).await);
    let start = stage.clock.now();
    // An account that is added tells its first state; what follows waits behind that.
    let account = stage.account("Contoso").await;
    let target = bad.id.to_string();
    let refused = "connection-refused";
    stage
        .enter(account, ConnectionState::Unreachable, refused)
        .await;
    let mut tried = 0;
    let last = loop {
        attempts.recv_timeout(PATIENCE).expect("an attempt");
        tried += 1;
        let log = stage
            .until(&target, |log| log.iter().any(|d| d.attempts == tried))
            .await;
        let delivery = log.iter().find(|d| d.attempts == tried).unwrap().clone();
        match delivery.next_at {
            Some(next) => stage.advance(next - stage.clock.now()).await,
            None => break delivery,
        }
    };
    assert_eq!(last.state, DeliveryState::Failed);
    assert_eq!(last.last_status, Some(500));
    assert_eq!(stage.clock.now() - start, TimeDelta::days(3));
    assert!((12..=18).contains(&tried), "{tried}");
    // Whoever is left hears of the account and of the webhook.
    let heard: Vec<String> = (0..3)
        .map(|_| told.recv_timeout(PATIENCE).unwrap())
        .collect();
    let disabled = |body: &String| {
        body.contains("\"webhook.disabled\"") && body.contains("\"webhook-failing\"")
    };
    assert!(heard.iter().any(disabled), "{heard:?}");
    let shown = stage.app.webhook_find(&target).await.unwrap();
    assert_eq!(
        shown.disabled,
        Some((DisabledReason::Failing, stage.clock.now()))
    );
    let well = stage.app.webhook_find(&good.id.to_string()).await.unwrap();
    assert!(well.is_enabled());
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_that_was_asked_for_holds_for_every_account() {
    let stage = Stage::open(None).await;
    let (url, got) = receiver("429 Too Many Requests\r\nRetry-After: 3600");
    let webhook = stage.webhook(&url).await.id.to_string();
    stage.account("One").await;
    got.recv_timeout(PATIENCE).expect("the first");
    stage
        .until(&webhook, |log| log.iter().any(|d| d.attempts == 1))
        .await;
    stage.account("Two").await;
    for seconds in [0, 3_599] {
        let at = stage.clock.now() + TimeDelta::seconds(seconds);
        let open = stage.store.webhooks_open(at).await.unwrap();
        assert!(open.is_empty(), "{seconds}");
    }
    stage.advance(TimeDelta::seconds(5_000)).await;
    let after = got.recv_timeout(PATIENCE).expect("after the pause");
    assert!(after.contains("not_connected"), "{after}");
    let log = stage
        .until(&webhook, |log| log.iter().any(|d| d.attempts > 0))
        .await;
    assert!(log.iter().all(|d| d.state == DeliveryState::Pending));
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_over_before_it_settles_is_not_mailed() {
    let (port, mails) = relay();
    let stage = Stage::open(Some(port)).await;
    let account = stage.account("Contoso").await;
    let trouble = async |state| stage.enter(account, state, "connection-refused").await;
    trouble(ConnectionState::Unreachable).await;
    stage.advance(TimeDelta::seconds(30)).await;
    trouble(ConnectionState::Connected).await;
    stage.advance(TimeDelta::seconds(31)).await;
    let over = |log: &[Delivery]| log.iter().all(|d| d.state == DeliveryState::Superseded);
    let log = stage.until(OPS, over).await;
    assert_eq!(log.len(), 2, "the trouble and its end");
    assert!(mails.try_recv().is_err(), "no mail tells of it");

    // What stays is mailed once, with all that came to it.
    trouble(ConnectionState::Degraded).await;
    stage.advance(TimeDelta::seconds(20)).await;
    trouble(ConnectionState::Unreachable).await;
    stage.advance(TimeDelta::seconds(41)).await;
    let mail = mails.recv_timeout(PATIENCE).expect("one mail");
    assert!(mail.contains("[Tieline] Contoso: unreachable"), "{mail}");
    assert!(mail.contains("changed 2 times"), "{mail}");
    let done = |log: &[Delivery]| log.iter().all(|d| d.state != DeliveryState::Pending);
    stage.until(OPS, done).await;
    trouble(ConnectionState::Connected).await;
    stage.advance(TimeDelta::seconds(61)).await;
    let mail = mails.recv_timeout(PATIENCE).expect("its end");
    assert!(mail.contains("works again"), "{mail}");
    assert!(mails.try_recv().is_err());
    stage.close().await;
}
