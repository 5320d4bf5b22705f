//! Finding one's way in many workflows and long logs.

use bizproc_portal::{Portal, Retention};
use serde_json::json;

use crate::client::{log, post_json};
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

#[test]
fn thousands_of_entries_do_not_leave_the_page_behind() {
    let Some(browser) = Browser::start("thousands") else { return };
    let portal = Portal::builder().start().unwrap();
    let token = portal.start_workflow("Import").open_activity("rows").event_token();
    browser.open(&portal.page_url());
    browser.until_is(Some("Import".to_owned()), || browser.text("#title"));
    for hit in 0..80 {
        let number = |index| format!("row {}", hit * 50 + index + 1);
        let commands: Vec<String> = (0..50).map(|index| log(&token, &number(index))).collect();
        post_json(&(portal.webhook_url() + "batch"), &json!({"cmd": commands}));
    }
    browser.until_is(Some("row 4000".to_owned()), || newest(&browser));
    browser.until_is(Some("4,000".to_owned()), || browser.text("#entry-count"));
    // Not all of them are on the page, but those that are there follow each other.
    let count = browser.count("#entries .text");
    assert!((50..=400).contains(&count), "{count}");
    browser.click("#older");
    browser.until("older rows", || (browser.count("#entries .text") > count).then_some(()));
    let second = format!("#entries li:nth-child({}) .text", count + 1);
    let expected = format!("row {}", 4000 - count);
    browser.until_is(Some(expected), || browser.text(&second));
}

#[test]
fn the_page_can_be_used_without_a_mouse_and_without_sight() {
    let Some(browser) = Browser::start("keyboard") else { return };
    let portal = Portal::builder().start().unwrap();
    let token = portal.start_workflow("Order 1042").open_activity("check").event_token();
    write(&portal, &token, "first");
    browser.open(&portal.page_url());
    browser.until_is(Some("first".to_owned()), || newest(&browser));
    browser.click("#connect-toggle");
    browser.until_is(Some("Reveal".to_owned()), || browser.text("#reveal"));
    let names = browser.names("button, input, select, dialog, [role=meter], [role=log]");
    assert!(names.len() > 15 && names.iter().all(|name| !name.is_empty()), "{names:?}");

    browser.type_into("body", "/");
    browser.until_is(Some("search".to_owned()), || browser.focused());
    browser.type_into("#search", "nothing like this");
    browser.until_is(0, || browser.count("#workflows li"));
    // U+E00C is the escape key, U+E007 the enter key.
    browser.type_into("#search", "\u{e00c}");
    browser.until_is(1, || browser.count("#workflows li"));
    browser.type_into("#start", "\u{e007}");
    browser.until_is(Some("new-title".to_owned()), || browser.focused());
    browser.type_into("#new-title", "Order by keyboard\u{e007}");
    browser.until_is(Some("Order by keyboard".to_owned()), || browser.text("#title"));
}
