//! The page in a browser, as a developer uses it: what is written through REST appears without a
//! reload, and a text stays a text.
//!
//! Needs Debian's chromium and chromium-driver. Without them the tests say that they were
//! skipped, or fail if BIZPROC_REQUIRE_BROWSER is set. With BIZPROC_SCREENSHOTS set, the story
//! renews the pictures in docs.

#[path = "../it/application.rs"]
#[expect(dead_code, reason = "the tests of the API need more of it")]
mod application;
mod apps;
#[path = "../it/client.rs"]
#[expect(dead_code, reason = "the tests of the API need more of it")]
mod client;
mod hostile;
mod language;
mod quickstart;
mod reading;
mod secrets;
mod story;
mod switches;
mod webdriver;
mod wire;

use bizproc_portal::Portal;
use serde_json::json;

use client::post_json;
use webdriver::Browser;

fn write(portal: &Portal, token: &str, message: &str) {
    let body = json!({"EVENT_TOKEN": token, "LOG_MESSAGE": message});
    let answer = post_json(&(portal.webhook_url() + "bizproc.activity.log"), &body);
    assert_eq!(answer.status, 200, "{}", answer.body);
}

/// Starts a workflow by hand and returns the event token that the page reveals.
fn start_on_the_page(browser: &Browser, title: &str, activity: &str) -> String {
    browser.click("#start");
    browser.fill("#new-title", title);
    browser.fill("#new-activity", activity);
    browser.click("#starting button[type=submit]");
    browser.until_is(Some(title.to_owned()), || browser.text("#title"));
    browser.click("#reveal");
    browser.until("the token", || browser.text("#event-token").filter(|text| text.contains('|')))
}

/// Leaves a picture for whoever wants to see what a test saw.
fn look(browser: &Browser, name: &str) {
    let file = format!("{}/{name}.png", env!("CARGO_TARGET_TMPDIR"));
    std::fs::write(file, browser.screenshot()).expect("the folder is there");
}

fn newest(browser: &Browser) -> Option<String> {
    browser.text("#entries li:first-child .text")
}

/// The text as HTML shows it, where line breaks and runs of blanks are one blank.
fn collapsed(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
