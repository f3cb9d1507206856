//! A headless Chromium of our own, by way of Debian's chromedriver.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use thirtyfour::prelude::*;

/// More than any page takes, on a machine that may be busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
const GLANCE: Duration = Duration::from_millis(50);

/// A browser with a profile of its own.
pub(crate) struct Chrome {
    pub(crate) driver: WebDriver,
    process: Child,
    _profile: tempfile::TempDir,
}

impl Chrome {
    /// A browser whose user reads a language, 1280 by 800.
    pub(crate) async fn start(language: &str, script: bool) -> Chrome {
        let mut process = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver is needed: apt-get install chromium-driver");
        let mut said = BufReader::new(process.stdout.take().unwrap());
        let mut line = String::new();
        let port = loop {
            line.clear();
            assert!(
                said.read_line(&mut line).unwrap() > 0,
                "chromedriver ended without a port"
            );
            if let Some((_, port)) = line.trim_end().rsplit_once("on port ") {
                break port.trim_end_matches('.').to_owned();
            }
        };
        // Nobody reads what else it says, and its pipe must not fill up.
        std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));

        let profile = tempfile::tempdir().unwrap();
        let mut wanted = DesiredCapabilities::chrome();
        for arg in [
            "--headless=new",
            // Tests may run as root, where Chromium has no sandbox.
            "--no-sandbox",
            "--disable-dev-shm-usage",
            "--disable-gpu",
            "--window-size=1280,800",
            "--hide-scrollbars",
            "--disable-popup-blocking",
            &format!("--accept-lang={language}"),
            &format!("--user-data-dir={}", profile.path().display()),
        ] {
            wanted.add_arg(arg).unwrap();
        }
        if !script {
            let prefs =
                serde_json::json!({"profile.managed_default_content_settings.javascript": 2});
            wanted.add_experimental_option("prefs", prefs).unwrap();
        }
        wanted.accept_insecure_certs(true).unwrap();
        let driver = WebDriver::new(format!("http://127.0.0.1:{port}"), wanted)
            .await
            .unwrap();
        driver.set_window_rect(0, 0, 1280, 800).await.unwrap();
        Chrome {
            driver,
            process,
            _profile: profile,
        }
    }

    /// Closes the browser. A test that fails leaves this to the end of its process.
    pub(crate) async fn close(self) {
        self.driver.clone().quit().await.unwrap();
    }

    /// Waits for an element.
    pub(crate) async fn find(&self, css: &str) -> WebElement {
        let found = self
            .driver
            .query(By::Css(css))
            .wait(PATIENCE, GLANCE)
            .first()
            .await;
        match found {
            Ok(element) => element,
            Err(error) => panic!("no {css}: {error}\n{}", self.page().await),
        }
    }

    /// Waits until there is no such element any more.
    pub(crate) async fn gone(&self, css: &str) {
        let query = self.driver.query(By::Css(css)).wait(PATIENCE, GLANCE);
        assert!(
            query.not_exists().await.unwrap(),
            "{css} is still there\n{}",
            self.page().await
        );
    }

    /// Waits for an element that holds a text.
    pub(crate) async fn find_with(&self, css: &str, text: &str) -> WebElement {
        let text = text.to_owned();
        let query = self.driver.query(By::Css(css)).wait(PATIENCE, GLANCE);
        let found =
            query.with_text(thirtyfour::stringmatch::StringMatch::new(text.clone()).partial());
        match found.first().await {
            Ok(element) => element,
            Err(error) => panic!("no {css} with '{text}': {error}\n{}", self.page().await),
        }
    }

    pub(crate) async fn click(&self, css: &str) {
        let element = self.find(css).await;
        element
            .wait_until()
            .wait(PATIENCE, GLANCE)
            .clickable()
            .await
            .unwrap();
        element.scroll_into_view().await.unwrap();
        element.click().await.unwrap();
    }

    /// Replaces what stands in a field.
    pub(crate) async fn fill(&self, css: &str, text: &str) {
        let field = self.find(css).await;
        field.clear().await.unwrap();
        field.send_keys(text).await.unwrap();
    }

    pub(crate) async fn value(&self, css: &str) -> String {
        self.find(css)
            .await
            .prop("value")
            .await
            .unwrap()
            .unwrap_or_default()
    }

    pub(crate) async fn text(&self, css: &str) -> String {
        self.find(css).await.text().await.unwrap()
    }

    /// The page as text, for a failure's report.
    pub(crate) async fn page(&self) -> String {
        let url = self
            .driver
            .current_url()
            .await
            .map(|url| url.to_string())
            .unwrap_or_default();
        let body = match self.driver.find(By::Tag("body")).await {
            Ok(body) => body.text().await.unwrap_or_default(),
            Err(error) => error.to_string(),
        };
        format!("--- {url}\n{body}\n---")
    }

    /// Saves a picture for the guide, where the environment says where to.
    pub(crate) async fn picture(&self, language: &str, name: &str) {
        let Some(directory) = std::env::var_os("TIELINE_SCREENSHOTS") else {
            return;
        };
        let directory = PathBuf::from(directory).join(language);
        std::fs::create_dir_all(&directory).unwrap();
        self.driver
            .screenshot(&directory.join(format!("{name}.png")))
            .await
            .unwrap();
    }
}

impl Drop for Chrome {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
