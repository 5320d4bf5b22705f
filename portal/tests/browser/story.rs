//! The quickest way to see what the portal is good for, and the pictures in the README.

use std::time::Duration;

use bizproc_portal::{Clock, LostReason, OwnEntries, Portal, Tariff, UnixTime};
use serde_json::json;

use crate::client::post_json;
use crate::webdriver::Browser;
use crate::{collapsed, newest, start_on_the_page, write};

/// 21 November 2026, 12:12:06 UTC: the same in each picture.
const START: UnixTime = UnixTime::new(Duration::from_secs(1_795_263_126));

/// What an order's application writes: seconds since the start of the workflow, and an entry.
const STORY: &[(u64, &str)] = &[
    (
        2,
        "▸ 14:12:08.114 INFO order received: number=1042 lines=3 total=18 490 ₽\n\
         ▸ 14:12:08.131 INFO customer: Анна Ковалёва, Калининград, договор № 77-Б\n\
         ▸ 14:12:08.246 INFO stock reserved: warehouse=north items=3",
    ),
    (
        9,
        "▸ 14:12:15.020 INFO charge{attempt=1}: card •• 4417, amount=18 490 ₽\n\
         ▸ 14:12:17.480 WARN charge{attempt=1}: bank did not answer in 2 s, asking again",
    ),
    (
        14,
        "▸ 14:12:20.911 INFO charge{attempt=2}: approved, authorization=A-60 218\n\
         ▸ 14:12:20.955 INFO receipt sent to anna@example.com",
    ),
    (21, "▸ 14:12:27.302 INFO ship: parcel packed, weight=2.4 kg, комментарий: «позвонить за час»"),
    (
        24,
        "▸ 14:12:29.870 INFO label printed: carrier=СДЭК, from=Калининград, to=Светлогорск\n\
         ▸ 14:12:30.004 INFO invoice 2026/1042 stored in the document of the deal",
    ),
    (
        26,
        "▸ 14:12:32.640 INFO ship: handed to courier, tracking=KGD-204-771\n\
         ▸ 14:12:32.641 INFO ship: pickup before [timestamp=1795341600]tomorrow noon[/timestamp], \
         responsible {=user:user_5}",
    ),
];

#[test]
fn entries_appear_without_a_reload() {
    let Some(browser) = Browser::start("story") else { return };
    let clock = Clock::stopped_at(START);
    let portal = Portal::builder()
        .tariff(Tariff::Standard)
        .clock(clock.clone())
        .seed(1042)
        .own_entries(OwnEntries::Activities)
        .start()
        .unwrap();
    browser.devtools("Emulation.setTimezoneOverride", &json!({"timezoneId": "Europe/Kaliningrad"}));
    browser.open(&portal.page_url());
    browser.evaluate("window.stillThere = true");
    let earlier = earlier_workflows(&portal);
    let token = start_on_the_page(&browser, "Order 1042", "fulfilment");
    browser.click("#connect-toggle");

    let mut now = 0;
    // The first entry is the portal's own: the activity has begun.
    for (count, (seconds, text)) in (2..).zip(STORY) {
        clock.advance(Duration::from_secs(seconds - now));
        now = *seconds;
        write(&portal, &token, text);
        let shown = shown_in_kaliningrad(&collapsed(text));
        browser.until_is(Some(shown), || newest(&browser));
        browser.until_is(Some((count).to_string()), || browser.text("#entry-count"));
        assert_eq!(browser.count("#entries li"), count);
    }
    // The time of the entry, in the viewer's zone: two hours east of the portal's.
    let times = browser.texts("#entries li > time");
    assert_eq!(times[0], "14:12:32");
    browser.until_is(Some((STORY.len() + 3).to_string()), || browser.text("#counter-entries dd"));

    let (_, last) = STORY[STORY.len() - 1];
    browser.click("#line-breaks");
    let with_breaks = shown_in_kaliningrad(last);
    browser.until_is(Some(with_breaks), || newest(&browser));
    pictures(&browser);
    browser.click("#line-breaks");
    browser.until_is(Some(shown_in_kaliningrad(&collapsed(last))), || newest(&browser));
    assert_eq!(browser.evaluate("window.stillThere"), true, "the page was loaded anew");
    assert!(earlier.iter().all(|lost| *lost == LostReason::Completed));
    assert_eq!(browser.complaints(), [""; 0]);
}

/// What the portal makes of the two notations, for a viewer in Kaliningrad.
fn shown_in_kaliningrad(text: &str) -> String {
    text.replace("[timestamp=1795341600]tomorrow noon[/timestamp]", "22 Nov 2026, 12:00:00")
        .replace("{=user:user_5}", "User 5")
}

/// Two workflows that came before; one of them has lost a line. Returns why.
fn earlier_workflows(portal: &Portal) -> Vec<LostReason> {
    let done = portal.start_workflow("Order 1040");
    let token = done.open_activity("delivery").event_token();
    write(portal, &token, "▸ 14:11:50.002 INFO parcel delivered");
    let send = json!({"EVENT_TOKEN": token, "LOG_MESSAGE": "▸ 14:11:50.377 INFO done"});
    post_json(&(portal.webhook_url() + "bizproc.event.send"), &send);
    write(portal, &token, "▸ 14:11:50.378 INFO this line comes too late");
    done.finish();
    let waiting = portal.start_workflow("Договор 77-Б: согласование");
    let token = waiting.open_activity("legal check").event_token();
    write(portal, &token, "▸ 14:11:58.640 INFO sent to the lawyers");
    done.lost().iter().map(|lost| lost.reason).collect()
}

/// Light and dark, for the README.
fn pictures(browser: &Browser) {
    let folder = match std::env::var_os("BIZPROC_SCREENSHOTS") {
        Some(_) => concat!(env!("CARGO_MANIFEST_DIR"), "/docs"),
        None => env!("CARGO_TARGET_TMPDIR"),
    };
    let size = json!({"width": 1360, "height": 900, "deviceScaleFactor": 1.25, "mobile": false});
    browser.devtools("Emulation.setDeviceMetricsOverride", &size);
    let still = json!({"name": "prefers-reduced-motion", "value": "reduce"});
    let mut backgrounds = Vec::new();
    for scheme in ["light", "dark"] {
        let wanted = json!({"name": "prefers-color-scheme", "value": scheme});
        browser.devtools("Emulation.setEmulatedMedia", &json!({"features": [wanted, still]}));
        let picture = browser.screenshot();
        assert!(picture.starts_with(b"\x89PNG") && picture.len() < 300_000, "{}", picture.len());
        std::fs::write(format!("{folder}/page-{scheme}.png"), picture)
            .expect("the folder is there");
        backgrounds.push(browser.style("body", "background-color"));
    }
    assert_ne!(backgrounds[0], backgrounds[1]);
}
