//! A log in its reader's language, as its reader sees it.

use std::path::Path;
use std::process::Command;

use bizproc_portal::{Fault, Moment, Portal};
use serde_json::json;

use crate::webdriver::Browser;
use crate::{look, newest, start_on_the_page};

#[test]
fn the_log_is_shown_correctly_in_russian_and_in_english() {
    let Some(browser) = Browser::start("language") else { return };
    tell(
        &browser,
        "ru",
        "Заказ 1042 передан курьеру",
        &[
            "+03:00 Заказ 1042 принят, клиент Анна Ковалёва",
            "+03:00 ВНИМАНИЕ: Шнур питания: остался последний, нужен дозаказ",
            "• (возможен повтор: ответ на первую попытку потерян)",
            "• (3 строки пропущены с ",
            "+03:00: исчерпана память для журнала)",
            "+03:00 ОШИБКА: Банк отклонил карту: недостаточно средств",
        ],
    );
    tell(
        &browser,
        "en",
        "Order 1042 handed to the courier",
        &[
            "+03:00 Order 1042 received, customer Anna Kovaleva",
            "+03:00 WARNING: Power cord: last one in stock, reorder",
            "• (possible repeat: the answer to the first try was lost)",
            "• (3 lines missing since ",
            "+03:00: memory budget used up)",
            "+03:00 ERROR: The bank declined the card: insufficient funds",
        ],
    );
}

/// Plays the example against a portal that loses its first answer, and looks at the page.
fn tell(browser: &Browser, language: &str, last: &str, lines: &[&str]) {
    let portal = Portal::builder().start().expect("a portal");
    browser.open(&portal.page_url());
    let token = start_on_the_page(browser, "1042", "fulfilment");
    browser.click("#connect-toggle");
    portal.faults().next(Fault::Reset(Moment::AfterExecution));
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a workspace around it");
    let ran = Command::new(env!("CARGO"))
        .args(["run", "--quiet", "--example", "language", "--", language])
        .current_dir(workspace)
        .env("BITRIX24_WEBHOOK_URL", portal.webhook_url())
        .env("EVENT_TOKEN", &token)
        .output()
        .expect("cargo runs");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    browser.until_is(Some(last.to_owned()), || newest(browser));
    let shown = browser.texts("#entries li").join(" ");
    browser.click("#line-breaks");
    let size = json!({"width": 1360, "height": 900, "deviceScaleFactor": 1.25, "mobile": false});
    browser.devtools("Emulation.setDeviceMetricsOverride", &size);
    look(browser, &format!("language-{language}"));
    for line in lines {
        assert!(shown.contains(line), "{line} is not in {shown}");
    }
}
