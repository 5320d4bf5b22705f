//! What gives access to the portal is shown to a developer who asks for it, and not before.

use bizproc_portal::Portal;
use serde_json::json;

use crate::webdriver::Browser;
use crate::{look, start_on_the_page, write};

#[test]
fn secrets_are_on_the_page_only_while_they_are_revealed() {
    let Some(browser) = Browser::start("secrets") else { return };
    let portal = Portal::builder().start().unwrap();
    let webhook = portal.webhook_url();
    let code = webhook.trim_end_matches('/').rsplit('/').next().unwrap();
    browser.open(&portal.page_url());
    let token = start_on_the_page(&browser, "Order 1042", "check");
    let quickstart = browser.text("#command-quickstart").unwrap();
    assert!(quickstart.contains(&format!("BITRIX24_WEBHOOK_URL='{webhook}'")), "{quickstart}");
    assert!(quickstart.contains(&format!("EVENT_TOKEN='{token}'")), "{quickstart}");
    look(&browser, "secrets");

    browser.click("#reveal");
    browser.until("the token to be hidden", || (!browser.source().contains(&token)).then_some(()));
    assert!(!browser.source().contains(code));
    write(&portal, &token, "the token was good");

    // Copied without being shown.
    let copy = json!({"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]});
    browser.devtools("Browser.grantPermissions", &copy);
    browser.click("#event-token ~ button:last-child");
    browser.until_is(Some("Copied".to_owned()), || browser.text("#notice"));
    assert!(!browser.source().contains(&token));
    look(&browser, "copied");
    browser.type_into("#search", "\u{e009}v");
    let empty = format!("No entry of this workflow has “{token}” in it.");
    browser.until_is(Some(empty), || browser.text("#nothing"));
}

#[test]
fn an_activity_that_is_opened_again_has_a_new_token() {
    let Some(browser) = Browser::start("again") else { return };
    let portal = Portal::builder().start().unwrap();
    browser.open(&portal.page_url());
    let first = start_on_the_page(&browser, "Order 1042", "check");
    browser.click("#again");
    browser.until_is(Some("Reveal".to_owned()), || browser.text("#reveal"));
    browser.click("#reveal");
    let second = browser.until("another token", || {
        browser.text("#event-token").filter(|text| text.contains('|') && *text != first)
    });
    write(&portal, &second, "heard");
    write(&portal, &first, "lost, since the workflow is past that visit");
    browser.until_is(Some("1 text was lost silently".to_owned()), || browser.text("#lost summary"));
    browser.click("#lost summary");
    browser.until_is(Some("lost, since the workflow is past that visit".to_owned()), || {
        browser.text("#lost-entries .text")
    });
    look(&browser, "lost");
    browser.click("#finish");
    browser.until_is(Some("finished".to_owned()), || browser.text("#stage"));
}
