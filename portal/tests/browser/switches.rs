//! The switches reach the portal, and what the portal does is seen on the page.

use bizproc_portal::{Portal, Tariff};
use serde_json::json;

use crate::client::{post_json, request};
use crate::look;
use crate::webdriver::Browser;

#[test]
fn tariff_and_faults_are_switched_on_the_page() {
    let Some(browser) = Browser::start("switches") else { return };
    let portal = Portal::builder().tariff(Tariff::Standard).start().unwrap();
    let token = portal.start_workflow("Order 1042").open_activity("check").event_token();
    browser.open(&portal.page_url());
    let gauge = || browser.text("#gauge-rate .level");
    browser.until_is(Some("0 / 50".to_owned()), gauge);
    browser.click("#tariff input[value=enterprise]");
    browser.until_is(Some("0 / 250".to_owned()), gauge);

    browser.click("#next-fault option[value=bad_gateway]");
    browser.click("#plan-fault");
    browser.until_is(Some("1 fault planned".to_owned()), || browser.text("#planned"));
    let log = portal.webhook_url() + "bizproc.activity.log";
    let body = json!({"EVENT_TOKEN": token, "LOG_MESSAGE": "x"});
    assert_eq!(post_json(&log, &body).status, 502);
    browser.until_is(Some(String::new()), || browser.text("#planned"));

    browser.click("#faults option[value='1']");
    browser.until("the seed", || browser.text("#seed").filter(|seed| seed.starts_with("Seed ")));
    assert!(portal.counters().hits == 1);
    look(&browser, "faults");
    browser.click("#faults option[value='']");
    browser.until_is(Some(String::new()), || browser.text("#seed"));
    for _ in 0..20 {
        assert_eq!(post_json(&log, &body).status, 200);
    }
}

#[test]
fn the_gauge_fills_and_a_refused_hit_is_counted() {
    let Some(browser) = Browser::start("gauge") else { return };
    let clock = bizproc_portal::Clock::running();
    let portal = Portal::builder().tariff(Tariff::Standard).clock(clock.clone()).start().unwrap();
    browser.open(&portal.page_url());
    let url = portal.webhook_url() + "bizproc.activity.log";
    let refused = |_| request(&url, "POST", &[], b"").is_ok_and(|answer| answer.status == 503);
    let count = (0..60).filter(|hit| refused(*hit)).count();
    assert!(count > 0);
    browser.until("a full gauge", || {
        let level = browser.attribute("#gauge-rate", "data-level");
        level.filter(|level| level == "full")
    });
    browser.until_is(Some("60".to_owned()), || browser.text("#counter-requests dd"));
    look(&browser, "gauge");
    // Nothing happens but time, and the page sees it pass.
    clock.advance(std::time::Duration::from_secs(60));
    browser.until_is(Some("0 / 50".to_owned()), || browser.text("#gauge-rate .level"));
}

#[test]
fn the_viewer_chooses_light_or_dark() {
    let Some(browser) = Browser::start("theme") else { return };
    let portal = Portal::builder().start().unwrap();
    browser.open(&portal.page_url());
    let background = || browser.style("body", "background-color");
    let light = background();
    let dark = json!({"features": [{"name": "prefers-color-scheme", "value": "dark"}]});
    browser.devtools("Emulation.setEmulatedMedia", &dark);
    browser.until("a dark page", || background().filter(|_| background() != light));
    browser.click("#theme input[value=light]");
    browser.until_is(light.clone(), background);
    // The choice outlives the page.
    browser.open(&portal.page_url());
    browser.until_is(light, background);
}
