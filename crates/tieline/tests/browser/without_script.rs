//! The same without JavaScript: every page works by itself.

use crate::chrome::Chrome;
use crate::console::Person;
use crate::test_app::TestApp;

#[tokio::test]
async fn an_account_is_connected_without_javascript() {
    let app = TestApp::start();
    let chrome = Chrome::start("en", false).await;
    let person = Person {
        chrome: &chrome,
        app: &app,
    };
    person.sign_in().await;
    chrome.click("#add").await;
    chrome.click(".types a").await;
    person.fill_in("Without script").await;
    chrome.click("button[data-popup=user]").await;
    // A page between, because a form's answer may not lead to another site.
    person.sign_in_at_microsoft(0).await;
    chrome
        .find_with("#content", app.text("/sandbox/users/0/upn"))
        .await;
    chrome.click("#content a").await;
    person.test().await;
    assert_eq!(person.status_of("whoami").await, "ok");
    chrome.click("#apply").await;
    chrome.find_with("#state", "connected").await;
    chrome.close().await;
}
