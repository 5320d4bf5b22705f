//! An application is led through its life by the buttons of the page.

use bizproc_portal::Portal;
use serde_json::json;

use crate::application::Application;
use crate::client::post_json;
use crate::look;
use crate::webdriver::Browser;

#[test]
fn an_application_is_installed_updated_and_removed_on_the_page() {
    let Some(browser) = Browser::start("apps") else { return };
    let portal = Portal::builder().start().unwrap();
    let application = Application::start();
    browser.open(&portal.page_url());
    browser.click("#new-app");
    browser.fill("#install-at", &application.at("install"));
    browser.click("#install-own");
    look(&browser, "installing");
    browser.click("#installing button[type=submit]");
    let installed = application.next();
    assert_eq!(installed.told("event"), "ONAPPINSTALL");
    let access = installed.told("auth[access_token]").to_owned();
    let call = |method: &str, mut params: serde_json::Value| {
        params["auth"] = access.clone().into();
        post_json(&(portal.client_endpoint() + method), &params)
    };
    let deed = |deed: &str| browser.click(&format!(".app button[data-deed={deed}]"));
    let head = || browser.text(".app-head span").unwrap_or_default();

    deed("reveal");
    let secret = || browser.text(".secrets dd[data-secret=application_token]");
    browser.until_is(Some(portal.app().application_token()), secret);
    look(&browser, "app-secrets");
    deed("reveal");
    browser.until_is(None, secret);

    // It registers an activity, a workflow comes to it, and its return value is shown.
    let registration = json!({
        "CODE": "check",
        "HANDLER": application.at("check"),
        "NAME": "Check the order",
        "RETURN_PROPERTIES": {"Total": {"Name": "Total", "Type": "int"}},
    });
    assert_eq!(call("bizproc.activity.add", registration).status, 200);
    browser.click(".registered button[data-code=check]");
    let request = application.next();
    let end = json!({
        "event_token": request.told("event_token"),
        "RETURN_VALUES": {"TOTAL": 42, "Totl": 1},
    });
    assert_eq!(call("bizproc.event.send", end).status, 200);
    let returned = || browser.text("#returned");
    let shown = "check has returned\nTotal 42\nTotl was not declared: dropped";
    browser.until_is(Some(shown.to_owned()), returned);
    browser.click("#sent summary");
    browser
        .until("the list", || browser.text("#sent-list").filter(|it| it.contains("answered 200")));
    for scheme in ["light", "dark"] {
        let wanted = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        browser.devtools("Emulation.setEmulatedMedia", &wanted);
        look(&browser, &format!("app-{scheme}"));
        if std::env::var_os("BIZPROC_SCREENSHOTS").is_some() {
            let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/docs");
            let picture = browser.screenshot();
            std::fs::write(format!("{folder}/app-{scheme}.png"), picture).unwrap();
        }
    }

    deed("expire");
    browser.until("the end of the token", || {
        (call("app.info", json!({})).error().1 == "expired_token").then_some(())
    });
    deed("unpaid");
    browser.until("the word", || head().contains("unpaid").then_some(()));
    deed("paid");
    browser.until("the word's end", || (!head().contains("unpaid")).then_some(()));
    deed("update_token");
    let updated = application.next();
    assert_eq!(updated.told("data[VERSION]"), "2");
    assert_ne!(updated.told("auth[application_token]"), installed.told("auth[application_token]"));
    browser.until("the version", || head().contains("version 2").then_some(()));
    browser.until_is(0, || browser.count(".registered li"));
    deed("uninstall");
    browser.until("the removal", || head().contains("removed").then_some(()));
    browser.until_is(1, || browser.count(".app button[data-deed]:not([hidden])"));
    assert_eq!(browser.complaints(), [""; 0]);
}

#[test]
fn a_failed_handler_call_is_shown_on_the_page() {
    let Some(browser) = Browser::start("failing") else { return };
    let portal = Portal::builder().start().unwrap();
    let application = Application::answering("HTTP/1.1 500 Broken\r\nContent-Length: 0\r\n\r\n");
    browser.open(&portal.page_url());
    portal.start_workflow("Order").activity("check").handler(application.at("check")).open();
    let summary = || browser.text("#sent summary");
    browser.until_is(Some("Sent to applications, 1 failure".to_owned()), summary);
    browser.click("#sent summary");
    browser.until_is(Some("answered 500".to_owned()), || browser.text("#sent-list .outcome"));
    look(&browser, "failing");

    // The same application on a page of its own, whose installation is to be finished.
    browser.click("#new-app");
    browser.click("#install-how option[value=install_page]");
    browser.fill("#install-at", &application.at("page"));
    browser.click("#install-own");
    browser.click("#installing button[type=submit]");
    let head = || browser.text(".app-head span").unwrap_or_default();
    browser.until("the beginning", || head().contains("pending").then_some(()));
    browser.click(".app button[data-deed=finish]");
    browser.until("the end", || head().contains("version 1, installed").then_some(()));
    browser.click(".app button[data-deed=clean]");
    browser.until("the removal", || head().contains("removed").then_some(()));
}

#[test]
fn settings_and_the_name_of_the_portal_can_be_changed_on_the_page() {
    let Some(browser) = Browser::start("settings") else { return };
    let portal = Portal::builder().domain("acme.example").start().unwrap();
    portal.start_workflow("Order");
    browser.open(&portal.page_url());
    browser.until("the title", || browser.text("#title").filter(|title| title == "Order"));
    browser.click(".more summary");
    for setting in bizproc_portal::Setting::all() {
        assert_eq!(browser.count(&format!("#{}", setting.name())), 1, "{}", setting.name());
    }
    browser.click("#event_send input[value=background]");
    let notice = || browser.text("#notice").unwrap_or_default();
    browser.until_is("Event send: Background".to_owned(), notice);
    browser.fill("#server_time", "spent");
    browser.type_into("#server_time", "\u{e007}");
    browser.until("the refusal", || notice().contains("measured|claimed:SECONDS").then_some(()));
    look(&browser, "settings");
    browser.scroll_to_top();
    browser.click("#move");
    browser.until("the new name", || notice().contains("moved-1.acme.example").then_some(()));
}
