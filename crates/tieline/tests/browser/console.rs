//! What a person does in the console.

use thirtyfour::prelude::*;

use crate::chrome::Chrome;
use crate::test_app::TestApp;

/// A person at a browser, and the demo that they look at.
pub(crate) struct Person<'a> {
    pub(crate) chrome: &'a Chrome,
    pub(crate) app: &'a TestApp,
}

impl Person<'_> {
    pub(crate) async fn open(&self, path: &str) {
        let url = format!("{}{path}", self.app.text("/console_url"));
        self.chrome.driver.goto(url).await.unwrap();
    }

    pub(crate) async fn sign_in(&self) {
        let chrome = self.chrome;
        self.open("/").await;
        chrome.fill("#email", self.app.text("/admin/email")).await;
        chrome
            .fill("#password", self.app.text("/admin/password"))
            .await;
        chrome.click("#sign-in").await;
        chrome.find("#add").await;
    }

    /// Types the settings that the sandbox expects.
    pub(crate) async fn fill_in(&self, name: &str) {
        let chrome = self.chrome;
        let authority = self.app.text("/sandbox/authority");
        chrome.fill("#name", name).await;
        chrome
            .fill(
                "#authorization_url",
                &format!("{authority}/oauth2/authorize"),
            )
            .await;
        chrome
            .fill("#token_url", &format!("{authority}/oauth2/token"))
            .await;
        chrome
            .fill(
                "#api_url",
                &format!("{}/api/data/v9.2", self.app.text("/sandbox/org_url")),
            )
            .await;
        chrome
            .fill("#client_id", self.app.text("/sandbox/client_id"))
            .await;
        chrome
            .fill("#client_secret", self.app.text("/sandbox/client_secret"))
            .await;
    }

    /// Presses a button that opens Microsoft in a window of its own, and goes there.
    pub(crate) async fn go_to_microsoft(&self) -> WindowHandle {
        let driver = &self.chrome.driver;
        let here = driver.window().await.unwrap();
        self.chrome.click("button[data-popup=user]").await;
        let popup = loop {
            let windows = driver.windows().await.unwrap();
            match windows.into_iter().find(|window| *window != here) {
                Some(popup) => break popup,
                None => tokio::task::yield_now().await,
            }
        };
        driver.switch_to_window(popup).await.unwrap();
        here
    }

    pub(crate) async fn sign_in_at_microsoft(&self) {
        let chrome = self.chrome;
        chrome
            .fill("#i0116", self.app.text("/sandbox/users/0/upn"))
            .await;
        chrome
            .fill("#i0118", self.app.text("/sandbox/users/0/password"))
            .await;
        chrome.click("#idSIButton9").await;
    }

    /// Goes back to the console's window once the other one has closed itself.
    pub(crate) async fn come_back(&self, here: WindowHandle) {
        let driver = &self.chrome.driver;
        while driver.windows().await.unwrap().len() > 1 {
            tokio::task::yield_now().await;
        }
        driver.switch_to_window(here).await.unwrap();
    }

    /// Runs the test to its end, and gives what each rung came to.
    pub(crate) async fn test(&self) -> Vec<(String, String)> {
        self.chrome.click("#test").await;
        self.rungs().await
    }

    /// What each rung of a test came to, once it has ended.
    pub(crate) async fn rungs(&self) -> Vec<(String, String)> {
        let chrome = self.chrome;
        chrome.find("#verdict time").await;
        let mut rungs = Vec::new();
        for rung in chrome
            .driver
            .find_all(By::Css("#ladder .rung"))
            .await
            .unwrap()
        {
            let name = rung.attr("data-rung").await.unwrap().unwrap_or_default();
            let status = rung.attr("data-status").await.unwrap().unwrap_or_default();
            rungs.push((name, status));
        }
        rungs
    }

    pub(crate) async fn status_of(&self, rung: &str) -> String {
        let css = format!("#ladder .rung[data-rung={rung}]");
        self.chrome
            .find(&css)
            .await
            .attr("data-status")
            .await
            .unwrap()
            .unwrap_or_default()
    }
}
