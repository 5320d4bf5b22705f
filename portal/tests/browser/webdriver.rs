//! A WebDriver client for Debian's chromedriver: as much of it as these tests need.

use std::fmt::Debug;
use std::io::{BufRead, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::wire::{base64, command};

/// How long anything on the page may take. Only a failing test waits so long.
const PATIENCE: Duration = Duration::from_secs(15);
/// Between two looks at a condition.
const LOOK: Duration = Duration::from_millis(20);
/// The key under which WebDriver hands out a reference to an element.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// A browser with one window, and the driver that it is led by. Both end when it is dropped.
pub(crate) struct Browser {
    session: String,
    driver: Child,
    /// Held open, since the driver may still want to print.
    _output: BufReader<ChildStdout>,
    profile: PathBuf,
}

impl Browser {
    /// Starts a browser for the test of this name; nothing where there is none to be started.
    pub(crate) fn start(test: &str) -> Option<Self> {
        let Some((browser, (driver, output, port))) = installed() else {
            let reason = "chromium or chromedriver is not installed";
            assert!(std::env::var_os("BIZPROC_REQUIRE_BROWSER").is_none(), "{reason}");
            // Not by a macro: the test harness would hide it, and the skip must be seen.
            writeln!(std::io::stderr(), "SKIPPED {test}: {reason}").expect("stderr is there");
            return None;
        };
        let profile = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("{test}-{}", std::process::id()));
        let sessions = format!("http://127.0.0.1:{port}/session");
        // From here on, whatever fails ends the driver too.
        let mut this = Self { session: sessions.clone(), driver, _output: output, profile };
        let arguments = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--hide-scrollbars",
            "--window-size=1360,900",
            &format!("--user-data-dir={}", this.profile.display()),
        ];
        let options = json!({"binary": browser, "args": arguments});
        let wanted = json!({"capabilities": {"alwaysMatch": {"goog:chromeOptions": options}}});
        let started = command("POST", &sessions, &wanted).expect("a session");
        let id = started["sessionId"].as_str().expect("a session has an id");
        this.session = format!("{sessions}/{id}");
        Some(this)
    }

    pub(crate) fn open(&self, url: &str) {
        self.post("url", &json!({"url": url})).expect("a page");
    }

    /// The text of an element as it is rendered; nothing while there is no such element.
    pub(crate) fn text(&self, css: &str) -> Option<String> {
        self.of_element(css, "text")
    }

    /// How many elements there are.
    pub(crate) fn count(&self, css: &str) -> usize {
        self.elements(css).len()
    }

    /// The texts of all elements, in their order.
    pub(crate) fn texts(&self, css: &str) -> Vec<String> {
        let ids = self.elements(css).into_iter();
        // One that has just left the page has no text any more.
        ids.filter_map(|id| self.get(&format!("element/{id}/text")).ok())
            .filter_map(|text| text.as_str().map(str::to_owned))
            .collect()
    }

    /// The title of the page.
    pub(crate) fn title(&self) -> String {
        self.get("title")
            .ok()
            .and_then(|title| title.as_str().map(str::to_owned))
            .unwrap_or_default()
    }

    /// The page as it stands now, as markup.
    pub(crate) fn source(&self) -> String {
        let source = self.get("source").expect("a page");
        source.as_str().expect("markup is a text").to_owned()
    }

    pub(crate) fn attribute(&self, css: &str, name: &str) -> Option<String> {
        self.of_element(css, &format!("attribute/{name}"))
    }

    /// The id of the element that has the focus.
    pub(crate) fn focused(&self) -> Option<String> {
        let focused = self.get("element/active").ok()?;
        let id = focused[ELEMENT].as_str()?;
        self.get(&format!("element/{id}/attribute/id")).ok()?.as_str().map(str::to_owned)
    }

    /// How each element that is displayed is named to those who do not see it.
    pub(crate) fn names(&self, css: &str) -> Vec<String> {
        let ids = self.elements(css).into_iter();
        let displayed = |id: &String| self.get(&format!("element/{id}/displayed"));
        ids.filter(|id| displayed(id) == Ok(json!(true)))
            .filter_map(|id| self.get(&format!("element/{id}/computedlabel")).ok())
            .filter_map(|name| name.as_str().map(str::to_owned))
            .collect()
    }

    pub(crate) fn height(&self, css: &str) -> Option<f64> {
        self.get(&format!("element/{}/rect", self.element(css)?)).ok()?["height"].as_f64()
    }

    pub(crate) fn width(&self, css: &str) -> Option<f64> {
        self.get(&format!("element/{}/rect", self.element(css)?)).ok()?["width"].as_f64()
    }

    /// A computed style.
    pub(crate) fn style(&self, css: &str, property: &str) -> Option<String> {
        self.of_element(css, &format!("css/{property}"))
    }

    /// Clicks on an element once it is there and can be clicked on.
    pub(crate) fn click(&self, css: &str) {
        self.until(&format!("a click on {css}"), || {
            let id = self.element(css)?;
            self.post(&format!("element/{id}/click"), &json!({})).ok()
        });
    }

    /// Scrolls to the top of the page. The driver takes an element that lies behind the bar for one
    /// that can be clicked on.
    pub(crate) fn scroll_to_top(&self) {
        self.evaluate("scrollTo(0, 0)");
    }

    /// Replaces what stands in a field.
    pub(crate) fn fill(&self, css: &str, text: &str) {
        self.until(&format!("{css} to be filled"), || {
            let id = self.element(css)?;
            self.post(&format!("element/{id}/clear"), &json!({})).ok()?;
            self.post(&format!("element/{id}/value"), &json!({"text": text})).ok()
        });
    }

    /// Types into an element. Keys without a character have one of WebDriver's: U+E009 is the
    /// control key.
    pub(crate) fn type_into(&self, css: &str, keys: &str) {
        let id = self.element(css).expect("something to type into");
        let keys = json!({"text": keys});
        self.post(&format!("element/{id}/value"), &keys).expect("it takes keys");
    }

    /// Looks until `seen` brings something, and fails with `what` if it takes too long.
    pub(crate) fn until<T>(&self, what: &str, seen: impl Fn() -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(seen) = seen() {
                return seen;
            }
            let page = || self.text("body").unwrap_or_default();
            assert!(Instant::now() < deadline, "waited in vain for {what}; the page:\n{}", page());
            std::thread::sleep(LOOK);
        }
    }

    /// Waits until `seen` brings just this.
    pub(crate) fn until_is<T: PartialEq + Debug>(&self, expected: T, seen: impl Fn() -> T) {
        let what = format!("{expected:?}");
        self.until(&what, || (seen() == expected).then_some(()));
    }

    /// A command of the browser's own protocol, such as the one that sets a time zone.
    pub(crate) fn devtools(&self, name: &str, params: &Value) -> Value {
        let wish = json!({"cmd": name, "params": params});
        self.post("goog/cdp/execute", &wish).expect("the browser knows this command")
    }

    /// The value of an expression on the page.
    pub(crate) fn evaluate(&self, expression: &str) -> Value {
        let answer = self.devtools("Runtime.evaluate", &json!({"expression": expression}));
        answer["result"]["value"].clone()
    }

    /// What the page has said on its console at the levels of warnings and errors.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let said = self.post("se/log", &json!({"type": "browser"})).expect("a console");
        said.as_array().into_iter().flatten().map(Value::to_string).collect()
    }

    /// A picture of the window, as PNG.
    pub(crate) fn screenshot(&self) -> Vec<u8> {
        let picture = self.get("screenshot").expect("a picture");
        base64(picture.as_str().expect("a picture is a text"))
    }

    fn of_element(&self, css: &str, what: &str) -> Option<String> {
        let id = self.element(css)?;
        self.get(&format!("element/{id}/{what}")).ok()?.as_str().map(str::to_owned)
    }

    fn elements(&self, css: &str) -> Vec<String> {
        let found = self.post("elements", &json!({"using": "css selector", "value": css}));
        let found = found.unwrap_or_default();
        let ids = found.as_array().into_iter().flatten();
        ids.filter_map(|found| found[ELEMENT].as_str().map(str::to_owned)).collect()
    }

    fn element(&self, css: &str) -> Option<String> {
        let found = self.post("element", &json!({"using": "css selector", "value": css})).ok()?;
        found[ELEMENT].as_str().map(str::to_owned)
    }

    fn get(&self, path: &str) -> Result<Value, String> {
        command("GET", &format!("{}/{path}", self.session), &Value::Null)
    }

    fn post(&self, path: &str, body: &Value) -> Result<Value, String> {
        command("POST", &format!("{}/{path}", self.session), body)
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The browser ends with its session; killing the driver alone would leave it behind. What
        // fails here has ended already.
        drop(command("DELETE", &self.session, &Value::Null));
        drop(self.driver.kill());
        drop(self.driver.wait());
        drop(std::fs::remove_dir_all(&self.profile));
    }
}

/// The browser's command, and a driver that was started for it.
fn installed() -> Option<(PathBuf, Driver)> {
    let path = std::env::var_os("PATH")?;
    let browser = std::env::split_paths(&path)
        .flat_map(|folder| ["chromium", "chromium-browser"].map(|name| folder.join(name)))
        .find(|file| file.is_file())?;
    // A driver ends at once if another one has taken its port meanwhile.
    for _ in 0..TRIES {
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let mut output = BufReader::new(driver.stdout.take().expect("it was asked for"));
        if let Some(port) = port_in(&mut output) {
            return Some((browser, (driver, output, port)));
        }
        drop(driver.kill());
        drop(driver.wait());
    }
    panic!("the driver has not said where it listens, in {TRIES} starts");
}

/// A driver, what it prints, and its port.
type Driver = (Child, BufReader<ChildStdout>, u16);

/// The port that the driver has chosen, which it prints.
fn port_in(output: &mut impl BufRead) -> Option<u16> {
    let mut lines = output.lines().map_while(Result::ok);
    let line = lines.find(|line| line.contains("successfully on port "))?;
    let digits = line.rsplit("on port ").next().unwrap_or_default().trim_end_matches('.');
    Some(digits.parse().expect("a port is a number"))
}

/// How often a driver is started until one listens.
const TRIES: usize = 5;
