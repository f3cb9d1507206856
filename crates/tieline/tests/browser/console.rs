//! What a person does in the console.

use std::time::Instant;

use thirtyfour::prelude::*;

use crate::chrome::{Chrome, PATIENCE};
use crate::test_app::TestApp;

/// A person at a browser, and the demo that they look at.
pub(crate) struct Person<'a> {
    pub(crate) chrome: &'a Chrome,
    pub(crate) app: &'a TestApp,
}

impl Person<'_> {
    /// Opens a page, and waits until it is there in place of the one before.
    pub(crate) async fn open(&self, path: &str) {
        let driver = &self.chrome.driver;
        let mark = "document.documentElement.dataset.before = 'true';";
        // Where scripts are off there is nothing to be marked, and links are followed at once.
        let _ = driver.execute(mark, Vec::new()).await;
        let url = format!("{}{path}", self.app.text("/console_url"));
        driver.goto(url).await.unwrap();
        self.chrome.gone("html[data-before]").await;
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
        let until = Instant::now() + PATIENCE;
        let popup = loop {
            let windows = driver.windows().await.unwrap();
            if let Some(popup) = windows.into_iter().find(|window| *window != here) {
                break popup;
            }
            assert!(
                Instant::now() < until,
                "no window opened\n{}",
                self.chrome.page().await
            );
        };
        driver.switch_to_window(popup).await.unwrap();
        here
    }

    /// Signs in on Microsoft's page: the first of the sandbox's users, who consented for the demo,
    /// or the second, who never did.
    pub(crate) async fn sign_in_at_microsoft(&self, user: usize) {
        let chrome = self.chrome;
        let text = |name: &str| {
            self.app
                .text(&format!("/sandbox/users/{user}/{name}"))
                .to_owned()
        };
        chrome.fill("#i0116", &text("upn")).await;
        chrome.fill("#i0118", &text("password")).await;
        chrome.click("#idSIButton9").await;
    }

    /// Goes back to the console's window once the other one has closed itself.
    pub(crate) async fn come_back(&self, here: WindowHandle) {
        let driver = &self.chrome.driver;
        let until = Instant::now() + PATIENCE;
        while driver.windows().await.unwrap().len() > 1 {
            assert!(
                Instant::now() < until,
                "the window stays open\n{}",
                self.chrome.page().await
            );
        }
        driver.switch_to_window(here).await.unwrap();
    }

    /// Runs the test to its end, and gives what each rung came to.
    pub(crate) async fn test(&self) -> Vec<(String, String)> {
        let chrome = self.chrome;
        // The verdict of the test before is not this one's.
        let mark = "document.querySelector('#verdict')?.setAttribute('data-before', '');";
        let _ = chrome.driver.execute(mark, Vec::new()).await;
        chrome.click("#test").await;
        chrome.find("#verdict:not([data-before]) time").await;
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
