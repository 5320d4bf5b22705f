//! Text that means harm, in each place where the page shows a text.

use bizproc_portal::Portal;

use crate::webdriver::Browser;
use crate::{look, newest, start_on_the_page, write};

const HOSTILE: &[&str] = &[
    "note from the customer: <script>document.title='owned'</script> please",
    "<img src=x onerror=\"document.title='owned'\"> & <b>bold</b> &lt;i&gt;",
    "\"></p><iframe srcdoc=\"<script>parent.document.title='owned'</script>\"></iframe>",
    "[timestamp=5]<img src=x onerror=\"document.title='owned'\">[/timestamp]",
    "[timestamp=8640000000001]never[/timestamp]",
    "{=user:<b>boss</b>} and {=document:ID}",
    "\u{202e}desrever si eman s'remotsuc eht\u{2066}",
    "javascript:document.title='owned'",
];

/// What is not shown as it was written: a time takes the place of the text that it stands for.
fn shown(text: &str) -> &str {
    match text {
        text if text.starts_with("[timestamp=5]") => "1 Jan 1970, 00:00:05",
        text if text.starts_with("[timestamp=8") => "8640000000001",
        text => text,
    }
}

#[test]
fn hostile_text_is_shown_as_text_and_never_runs() {
    let Some(browser) = Browser::start("hostile") else { return };
    let portal = Portal::builder().start().unwrap();
    let utc = serde_json::json!({"timezoneId": "UTC"});
    browser.devtools("Emulation.setTimezoneOverride", &utc);
    browser.open(&portal.page_url());
    let token = start_on_the_page(&browser, HOSTILE[0], HOSTILE[1]);
    browser.click("#connect-toggle");
    for text in HOSTILE {
        write(&portal, &token, text);
        browser.until_is(Some(shown(text).to_owned()), || newest(&browser));
    }
    assert_eq!(browser.texts("#workflows .name"), [HOSTILE[0]]);
    assert_eq!(browser.text(".origin").as_deref(), Some(HOSTILE[1]));
    // Searching makes new elements of the same texts.
    browser.fill("#search", "<IMG SRC");
    browser.until_is(vec!["<img src".to_owned()], || browser.texts("#entries .text mark"));
    look(&browser, "hostile");
    let smuggled = "#workflow :is(script, img, iframe, b, i), #workflows :is(script, img, b)";
    assert_eq!(browser.count(smuggled), 0);
    assert!(browser.title().ends_with("– Stand-in portal"), "{}", browser.title());
    assert_eq!(browser.complaints(), [""; 0]);
}
