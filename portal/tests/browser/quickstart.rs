//! The quickstart of the layer that this portal was made for: from the page, and to the page.

use std::path::Path;
use std::process::Command;

use bizproc_portal::Portal;

use crate::webdriver::Browser;
use crate::{newest, start_on_the_page};

#[test]
fn the_quickstart_fills_a_workflow_that_was_started_from_the_page() {
    let Some(browser) = Browser::start("quickstart") else { return };
    let portal = Portal::builder().start().unwrap();
    browser.open(&portal.page_url());
    browser.evaluate("window.stillThere = true");
    let token = start_on_the_page(&browser, "Order 1042", "fulfilment");

    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let ran = Command::new(env!("CARGO"))
        .args(["run", "--quiet", "--example", "quickstart"])
        .current_dir(workspace)
        .env("BITRIX24_WEBHOOK_URL", portal.webhook_url())
        .env("EVENT_TOKEN", &token)
        .output()
        .unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));

    // Its last line rides with the end of the activity.
    browser.until_is(Some("Order 1042 is done".to_owned()), || newest(&browser));
    let shown = browser.texts("#entries li").join(" ");
    for line in [
        "Order received (order=1042, items=3)",
        "WARNING: Last one in stock, reorder (sku=CORD-1, in_stock=1)",
        "Адрес доставки проверен: Москва, ул. Ленина, д. 5",
        "Card authorised (approved=true; authorise: attempt=1; payment: provider=Kassa)",
        "Order fulfilled (order=1042)",
    ] {
        assert!(shown.contains(line), "{line} is not in {shown}");
    }
    assert_eq!(browser.evaluate("window.stillThere"), true, "nothing was loaded again");
}
