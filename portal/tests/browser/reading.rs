//! Finding one's way in many workflows and long logs.

use bizproc_portal::{Portal, Retention};
use serde_json::json;

use crate::webdriver::Browser;
use crate::{look, newest, write};

#[test]
fn a_search_finds_workflows_and_entries_and_marks_them() {
    let Some(browser) = Browser::start("search") else { return };
    let portal = Portal::builder().start().unwrap();
    for (title, texts) in [
        ("Order 1040", &["оплата: карта", "shipped"][..]),
        ("Order 1041", &["shipped"][..]),
        ("Возврат по карте", &["approved"][..]),
    ] {
        let token = portal.start_workflow(title).open_activity("check").event_token();
        texts.iter().for_each(|text| write(&portal, &token, text));
    }
    browser.open(&portal.page_url());
    browser.until_is(3, || browser.count("#workflows li"));
    browser.fill("#search", "КАРТ");
    browser.until_is(
        vec!["Возврат по карте".to_owned(), "Order 1040".to_owned()],
        || browser.texts("#workflows .name"),
    );
    assert_eq!(browser.texts("#workflows .tally"), ["0 matches", "1 match"]);
    assert_eq!(browser.texts("#workflows mark"), ["карт"]);
    browser.click("#workflows li:last-child button");
    browser
        .until_is(vec!["оплата: карта".to_owned()], || browser.texts("#entries .text"));
    assert_eq!(browser.texts("#entries mark"), ["карт"]);
    look(&browser, "search");
    browser.fill("#search", "nowhere");
    browser.until_is(0, || browser.count("#workflows li"));
}

#[test]
fn a_long_log_is_read_in_parts_and_what_rolls_off_goes() {
    let Some(browser) = Browser::start("long") else { return };
    let portal = Portal::builder().start().unwrap();
    let workflow = portal.start_workflow("Stock count");
    let token = workflow.open_activity("count").event_token();
    for number in 1..=70 {
        write(&portal, &token, &format!("shelf {number}"));
    }
    browser.open(&format!("{}#/{}", portal.page_url(), workflow.id()));
    let shown = || browser.count("#entries .text");
    browser.until_is(50, shown);
    browser.click("#older");
    browser.until_is(70, shown);

    portal.set_retention(Retention::Cloud);
    browser.until_is(50, shown);
    let note = "The portal keeps the newest 50 entries. 20 older ones have rolled off.";
    browser.until_is(Some(note.to_owned()), || browser.text("#rolled-off"));

    let all = "a long line of the warehouse, ".repeat(400);
    write(&portal, &token, &all);
    let folded = browser.until("the long entry", || {
        browser
            .height("#entries li:first-child")
            .filter(|_| newest(&browser) == Some(all.trim().into()))
    });
    browser.scroll_to_top();
    look(&browser, "long");
    browser.click(".unfold");
    browser.until("all of it", || {
        browser.height("#entries li:first-child").filter(|height| *height > 2.0 * folded)
    });
    assert_eq!(shown(), 50);
}

#[test]
fn the_page_fits_a_narrow_screen_and_says_what_to_do_when_it_is_empty() {
    let Some(browser) = Browser::start("narrow") else { return };
    let portal = Portal::builder().start().unwrap();
    let phone = json!({"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": true});
    browser.devtools("Emulation.setDeviceMetricsOverride", &phone);
    browser.open(&portal.page_url());
    browser.until("an invitation", || browser.text("#no-workflow").filter(|text| !text.is_empty()));
    look(&browser, "narrow-empty");
    browser.click("#start-first");
    browser.until("the dialog", || browser.text("#starting-title").filter(|text| !text.is_empty()));
    look(&browser, "narrow-dialog");
    browser.click("#starting button[type=submit]");
    browser.until_is(Some("Order 1042".to_owned()), || browser.text("#title"));
    look(&browser, "narrow-started");
    assert_eq!(browser.width("body"), Some(390.0));
    let token = portal.workflows()[0].activity("check").open().event_token();
    write(&portal, &token, &"KGD-204-771".repeat(40));
    browser.until("the entry", || newest(&browser));
    browser.click("#connect-toggle");
    look(&browser, "narrow");
    assert_eq!(browser.width("body"), Some(390.0));
}
