//! From the sign-in to a connected account, with every mistake on the way.

use crate::chrome::Chrome;
use crate::console::Person;
use crate::test_app::TestApp;

/// Words that a language shows at a place.
struct Words {
    tag: &'static str,
    accounts: &'static str,
    select_type: &'static str,
    connected: &'static str,
    apply: &'static str,
}

const ENGLISH: Words = Words {
    tag: "en",
    accounts: "Integration Accounts",
    select_type: "Select integration account type",
    connected: "connected",
    apply: "Apply",
};

const JAPANESE: Words = Words {
    tag: "ja",
    accounts: "統合アカウント",
    select_type: "統合アカウントの種類を選択",
    connected: "接続済み",
    apply: "適用",
};

#[tokio::test]
async fn a_newcomer_connects_an_account_in_english() {
    walk(&ENGLISH).await;
}

#[tokio::test]
async fn a_newcomer_connects_an_account_in_japanese() {
    walk(&JAPANESE).await;
}

async fn walk(words: &Words) {
    let app = TestApp::start();
    let chrome = Chrome::start(words.tag, true).await;
    let person = Person {
        chrome: &chrome,
        app: &app,
    };
    sign_in(&person, words).await;
    let name = format!("Fabrikam {}", words.tag);
    new_account_with_mistakes(&person, words, &name).await;
    refused_consent(&person).await;
    wrong_secret(&person, words).await;
    consent_test_and_apply(&person, words, &name).await;
    edit_and_default(&person, words, &name).await;
    delete_and_restore(&person, &name).await;
    chrome.close().await;

    // It survives a restart.
    let (status, data_dir) = app.stop("-TERM");
    assert!(status.success());
    let app = TestApp::start_in(data_dir, &[]);
    let accounts = app.json(&["account", "list", "--json"]);
    let states: Vec<_> = accounts
        .as_array()
        .unwrap()
        .iter()
        .map(|account| (account["name"].clone(), account["state"].clone()))
        .collect();
    assert!(
        states.contains(&(name.into(), "connected".into())),
        "{states:?}"
    );
}

async fn sign_in(person: &Person<'_>, words: &Words) {
    let chrome = person.chrome;
    person.open("/accounts").await;
    chrome.fill("#email", person.app.text("/admin/email")).await;
    chrome.fill("#password", "not the password").await;
    chrome.click("#sign-in").await;
    chrome.find("[role=alert]").await;
    assert_eq!(
        chrome.value("#email").await,
        person.app.text("/admin/email")
    );
    person.sign_in().await;
    assert_eq!(chrome.text("h1").await, words.accounts);
    assert_eq!(
        chrome
            .find("html")
            .await
            .attr("lang")
            .await
            .unwrap()
            .as_deref(),
        Some(words.tag)
    );
    // The demo's own account is there, and connected.
    chrome.find_with(".rows .state", words.connected).await;
    chrome.picture(words.tag, "list").await;
}

async fn new_account_with_mistakes(person: &Person<'_>, words: &Words, name: &str) {
    let chrome = person.chrome;
    chrome.click("#add").await;
    assert_eq!(chrome.text("#types-title").await, words.select_type);
    chrome.picture(words.tag, "types").await;
    chrome.click(".types a").await;
    let apply = chrome.find("#apply").await;
    assert_eq!(apply.text().await.unwrap(), words.apply);
    for property in [
        "name",
        "default",
        "authorization_url",
        "token_url",
        "api_url",
        "client_id",
        "client_secret",
        "refresh_token",
        "redirect_uri",
    ] {
        chrome.find(&format!("#{property}")).await;
    }
    assert!(
        chrome
            .value("#redirect_uri")
            .await
            .ends_with("/admin/msdynamicscallback.html")
    );
    chrome.picture(words.tag, "pane-empty").await;

    // A name that is taken, a URL that is none, and endpoints of two tenants.
    person.fill_in("contoso SALES").await;
    chrome.fill("#api_url", "contoso crm").await;
    chrome
        .fill(
            "#token_url",
            "https://login.microsoftonline.com/fabrikam.example/oauth2/token",
        )
        .await;
    chrome.click("#apply").await;
    for field in ["name", "api_url", "token_url"] {
        chrome
            .find(&format!("#{field}-findings .finding-error"))
            .await;
        assert_eq!(
            chrome
                .find(&format!("#{field}"))
                .await
                .attr("aria-invalid")
                .await
                .unwrap()
                .as_deref(),
            Some("true"),
            "{field}"
        );
    }
    // Nothing typed is lost, and the first error has the focus.
    assert_eq!(chrome.value("#name").await, "contoso SALES");
    assert_eq!(chrome.value("#api_url").await, "contoso crm");
    let focused = chrome.driver.active_element().await.unwrap();
    assert_eq!(focused.attr("id").await.unwrap().as_deref(), Some("name"));

    // Away and back again: a draft was kept, its secret too.
    person.open("/accounts").await;
    person.open("/accounts/new").await;
    assert_eq!(chrome.value("#api_url").await, "contoso crm");
    person.fill_in(name).await;
}

async fn refused_consent(person: &Person<'_>) {
    let chrome = person.chrome;
    let here = person.go_to_microsoft().await;
    person.sign_in_at_microsoft(1).await;
    chrome.click("#idBtn_Back").await;
    chrome.click("details.evidence summary").await;
    chrome.find_with("details.evidence", "65004").await;
    let at = chrome.driver.current_url().await.unwrap();
    assert_eq!(at.path(), "/admin/msdynamicscallback.html");
    assert_eq!(
        at.query(),
        None,
        "no code and no state stays in the address bar"
    );
    chrome.driver.close_window().await.unwrap();
    chrome.driver.switch_to_window(here).await.unwrap();
    chrome.find("#client_secret").await;
}

async fn wrong_secret(person: &Person<'_>, words: &Words) {
    let chrome = person.chrome;
    // What people paste by mistake: the secret's ID. It is said before anything is sent.
    chrome
        .fill("#client_secret", "0b0c7d52-5a8f-4d39-9d6a-3f3a6d3e1a11")
        .await;
    let rungs = person.test().await;
    assert_eq!(rungs.len(), 9, "{rungs:?}");
    chrome.find("#client_secret-findings .finding").await;
    // Without a refresh token the token rung cannot be climbed.
    assert_eq!(person.status_of("token").await, "failed");
    assert_eq!(person.status_of("whoami").await, "not_reached");
    chrome.picture(words.tag, "test-failed").await;

    chrome.fill("#client_secret", "wrong~secret").await;
    let here = person.go_to_microsoft().await;
    person.sign_in_at_microsoft(1).await;
    chrome.click("#idBtn_Accept").await;
    // Microsoft refuses the secret when the code is redeemed: the page says so.
    chrome.click("details.evidence summary").await;
    chrome.find_with("details.evidence", "7000215").await;
    chrome.driver.close_window().await.unwrap();
    chrome.driver.switch_to_window(here).await.unwrap();
    chrome
        .fill("#client_secret", person.app.text("/sandbox/client_secret"))
        .await;
}

async fn consent_test_and_apply(person: &Person<'_>, words: &Words, name: &str) {
    let chrome = person.chrome;
    // The consent was given a moment ago, though its code came to nothing: after the sign-in the window closes by itself.
    let here = person.go_to_microsoft().await;
    person.sign_in_at_microsoft(1).await;
    person.come_back(here).await;
    chrome
        .find_with("#refresh_token", person.app.text("/sandbox/users/1/upn"))
        .await;
    chrome.picture(words.tag, "pane-filled").await;
    let rungs = person.test().await;
    let wrong: Vec<_> = rungs.iter().filter(|(_, status)| status != "ok").collect();
    assert!(
        wrong.is_empty(),
        "{wrong:?}\n{}",
        chrome.text("#ladder").await
    );
    chrome.find("#test").await.scroll_into_view().await.unwrap();
    chrome.picture(words.tag, "test-good").await;
    chrome.click("#apply").await;
    chrome.find_with("#state", words.connected).await;
    chrome.find_with(".rows .name", name).await;
    assert!(
        chrome.value("#client_secret").await.is_empty(),
        "a secret never comes back"
    );
    assert!(
        chrome
            .value("#gateway_address")
            .await
            .contains("/api/data/"),
        "the line's address"
    );
}

async fn edit_and_default(person: &Person<'_>, words: &Words, name: &str) {
    let chrome = person.chrome;
    // Typed and reset.
    chrome.fill("#name", "Something else").await;
    chrome.click("#reset").await;
    chrome.find_value("#name", name).await;
    chrome.gone("#unsaved").await;
    // Typed and applied, by keyboard.
    let field = chrome.find("#client_id").await;
    field
        .send_keys(thirtyfour::Key::Control + "s")
        .await
        .unwrap();
    chrome.find(".notice").await;
    // The default moves.
    chrome.click("#make-default").await;
    chrome.gone("#make-default").await;
    chrome.find_with("#state", words.connected).await;
    let accounts = person.app.json(&["account", "list", "--json"]);
    let defaults: Vec<_> = accounts
        .as_array()
        .unwrap()
        .iter()
        .filter(|account| account["default"] == true)
        .map(|account| account["name"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(defaults, [name]);
}

async fn delete_and_restore(person: &Person<'_>, name: &str) {
    let chrome = person.chrome;
    chrome.click("#delete").await;
    chrome.find_with("#delete-title", name).await;
    chrome.click("#confirm-delete").await;
    chrome.find("#undo").await;
    assert!(!chrome.text("#rows").await.contains(name));
    chrome.click("#undo").await;
    chrome.find_with(".rows .name", name).await;
}
