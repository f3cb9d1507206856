//! A headless Chromium of our own, by way of Debian's chromedriver.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use thirtyfour::common::capabilities::desiredcapabilities::PageLoadStrategy;
use thirtyfour::prelude::*;

/// More than any page takes, on a machine that may be busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
const GLANCE: Duration = Duration::from_millis(50);
/// Height of the page in pixels; its width is 1280.
const VIEW: u32 = 800;

/// A browser with a profile of its own.
pub(crate) struct Chrome {
    pub(crate) driver: WebDriver,
    process: Child,
    port: u16,
    _profile: tempfile::TempDir,
}

impl Chrome {
    /// A browser whose user reads a language, 1280 by 800.
    pub(crate) async fn start(language: &str, script: bool) -> Chrome {
        // A second test in the same process has done so already.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
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
            if let Some((_, port)) = line.trim_end().rsplit_once("started successfully on port ") {
                break port.trim_end_matches('.').parse::<u16>().unwrap();
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
        // Pages are waited for by what they show. chromedriver's own waiting gets stuck when a window
        // opens another one.
        wanted
            .set_page_load_strategy(PageLoadStrategy::None)
            .unwrap();
        let driver = WebDriver::new(format!("http://127.0.0.1:{port}"), wanted)
            .await
            .unwrap();
        let chrome = Chrome {
            driver,
            process,
            port,
            _profile: profile,
        };
        chrome.size(VIEW).await;
        chrome
    }

    /// Closes the browser.
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
    pub(crate) async fn find_with(&self, css: &str, text: &str) {
        let until = Instant::now() + PATIENCE;
        loop {
            for element in self.driver.find_all(By::Css(css)).await.unwrap() {
                // What the page replaces meanwhile is looked for again.
                if element.text().await.is_ok_and(|found| found.contains(text)) {
                    return;
                }
            }
            assert!(
                Instant::now() < until,
                "no {css} with '{text}'\n{}",
                self.page().await
            );
        }
    }

    /// Clicks as soon as the element can be clicked.
    pub(crate) async fn click(&self, css: &str) {
        let until = Instant::now() + PATIENCE;
        loop {
            let element = self.find(css).await;
            let clicked = async {
                element.scroll_into_view().await?;
                element.click().await
            };
            match clicked.await {
                Ok(()) => return,
                Err(error) => assert!(Instant::now() < until, "{css} cannot be clicked: {error}"),
            }
        }
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

    /// Waits until a field holds a text.
    pub(crate) async fn find_value(&self, css: &str, text: &str) {
        let until = Instant::now() + PATIENCE;
        loop {
            let value = self.find(css).await.prop("value").await;
            if value.is_ok_and(|value| value.as_deref() == Some(text)) {
                return;
            }
            assert!(
                Instant::now() < until,
                "{css} does not hold '{text}'\n{}",
                self.page().await
            );
        }
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
        // As high as what the pane holds, so that the picture shows all of it.
        let measure = "const pane = document.querySelector('.pane'); \
                       return (pane ? pane.scrollHeight : 0) + 60;";
        let needed = self.driver.execute(measure, Vec::new()).await.unwrap();
        let height = needed.json().as_u64().unwrap_or_default().clamp(720, 1600);
        self.size(u32::try_from(height).unwrap()).await;
        self.driver
            .screenshot(&directory.join(format!("{name}.png")))
            .await
            .unwrap();
        self.size(VIEW).await;
    }

    /// Gives the page 1280 pixels by a height, whatever the window's own frame takes.
    async fn size(&self, height: u32) {
        let inner = self
            .driver
            .execute(
                "return window.outerHeight - window.innerHeight;",
                Vec::new(),
            )
            .await
            .unwrap();
        let frame = u32::try_from(inner.json().as_u64().unwrap_or_default()).unwrap();
        self.driver
            .set_window_rect(0, 0, 1280, height + frame)
            .await
            .unwrap();
    }
}

impl Drop for Chrome {
    /// Ends the browser after a failure too: chromedriver leaves it running when it is killed.
    fn drop(&mut self) {
        if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)) {
            let request = format!(
                "DELETE /session/{} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n",
                self.driver.session_id()
            );
            let _ = stream.set_read_timeout(Some(PATIENCE));
            let _ = stream.write_all(request.as_bytes());
            let _ = stream.read(&mut [0; 1024]);
        }
        // The library's own way of doing that in a destructor blocks for two minutes.
        let _ = self.driver.clone().leak();
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
