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

#[test]
fn the_page_says_that_the_portal_is_gone_and_goes_on_with_the_next_one() {
    let Some(browser) = Browser::start("restart") else { return };
    let portal = Portal::builder().start().unwrap();
    portal.start_workflow("Order 1042");
    let url = portal.page_url();
    let port = url.trim_end_matches('/').rsplit(':').next().unwrap().parse().unwrap();
    browser.open(&url);
    browser.until_is(Some("Order 1042".to_owned()), || browser.text("#title"));
    drop(portal);
    browser.until_is(Some("Reconnecting".to_owned()), || browser.text("#live"));
    // The port is free once the threads of the first portal have ended.
    let portal = browser.until("the port", || Portal::builder().port(port).start().ok());
    portal.start_workflow("Order 1043");
    browser.until_is(Some("Order 1043".to_owned()), || browser.text("#title"));
    browser.until_is(Some("Live".to_owned()), || browser.text("#live"));
}

#[test]
fn a_viewer_of_several_portals_chooses_one() {
    let Some(browser) = Browser::start("portals") else { return };
    let first = Portal::builder().start().unwrap();
    let second = Portal::builder().beside(&first).tariff(Tariff::Enterprise).start().unwrap();
    first.start_workflow("Order of the first");
    second.start_workflow("Order of the second");
    browser.open(&first.page_url());
    browser.until_is(Some("Order of the first".to_owned()), || browser.text("#title"));
    browser.click(&format!("#portal option[value='{}']", second.member_id()));
    browser.until_is(Some("Order of the second".to_owned()), || browser.text("#title"));
    browser.until_is(Some("0 / 250".to_owned()), || browser.text("#gauge-rate .level"));
    // It has not come to any activity yet.
    browser.click("#again");
    browser.until_is(Some("waits at check".to_owned()), || browser.text("#stage"));
    browser.click("#operating option[value='420']");
    browser.until_is(Some("0.0 / 420 s".to_owned()), || browser.text("#gauge-operating .level"));
    look(&browser, "portals");
    browser.click("#start");
    browser.click("#starting button[type=submit]");
    browser.until("the new workflow", || (second.workflows().len() == 2).then_some(()));
    assert_eq!(first.workflows().len(), 1);
}
