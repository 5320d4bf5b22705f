//! Installation, updates and removal of an application, and their events.

use std::sync::Arc;

use super::flow::tokens;
use super::forms::Place;
use super::send;
use crate::core::Core;
use crate::credentials::ADMIN;
use crate::oauth::{Installation, Stage};
use crate::state::Binding;

/// Installs an application without a page: `url` gets ONAPPINSTALL with the first tokens
/// (installation callback).
pub(crate) fn install_by_event(core: &Arc<Core>, client_id: &str, url: &str) {
    change(core, client_id, |there| {
        (there.url, there.has_page, there.stage) = (Some(url.to_owned()), false, Stage::Installed);
    });
    tell_of_installation(core, client_id);
    core.changed();
}

/// Shows the page on which people install an application. Until it says that it is done, it may
/// call and gets no events (installation wizard).
pub(crate) fn install_by_page(core: &Arc<Core>, client_id: &str, url: &str) {
    change(core, client_id, |there| {
        (there.url, there.has_page, there.stage) = (Some(url.to_owned()), true, Stage::Pending);
    });
    open_page(core, client_id);
}

/// Opens the application's page, as a browser's frame does; nothing without a page.
pub(crate) fn open_page(core: &Arc<Core>, client_id: &str) {
    let url = installed(core, client_id, |there| there.url.clone()).flatten();
    let issued = tokens(core, client_id, ADMIN);
    let (Some(url), Some((issued, application_token))) = (url, issued) else { return };
    let session = core.cloud.oauth().session();
    let (query, form) = Place::of(core).page(&session, &issued, &application_token);
    let separator = if url.contains('?') { '&' } else { '?' };
    send(core, "page", &format!("{url}{separator}{}", query.as_str()), form, |_, _| {});
    core.changed();
}

/// The page says that the installation is done (`BX24.installFinish`).
pub(crate) fn finish_installation(core: &Arc<Core>, client_id: &str) {
    let pending = installed(core, client_id, |there| there.stage == Stage::Pending);
    if pending == Some(true) {
        change(core, client_id, |there| there.stage = Stage::Installed);
        tell_of_installation(core, client_id);
        core.changed();
    }
}

/// Installs the next version: activities, robots and handlers of events are gone, handlers
/// that were bound to ONAPPUPDATE get the event, and the installation starts again.
pub(crate) fn update(core: &Arc<Core>, client_id: &str, renew_application_token: bool) {
    let member_id = &core.identity.member_id;
    if renew_application_token {
        core.cloud.oauth().renew_application_token(client_id, member_id);
    }
    let version = change(core, client_id, |there| {
        there.version += 1;
        there.version
    });
    let bound = core.world().registry.forget(client_id);
    let Some(version) = version else { return };
    let data = [
        ("PREVIOUS_VERSION", (version - 1).to_string()),
        ("VERSION", version.to_string()),
        ("LANGUAGE_ID", language(core)),
    ];
    tell(core, client_id, "ONAPPUPDATE", &data, handlers(&bound, "ONAPPUPDATE"));
    let (url, has_page) =
        installed(core, client_id, |there| (there.url.clone(), there.has_page)).unwrap_or_default();
    match url {
        Some(url) if has_page => install_by_page(core, client_id, &url),
        Some(url) => install_by_event(core, client_id, &url),
        None => core.changed(),
    }
}

/// Removes the application from the portal.
pub(crate) fn uninstall(core: &Arc<Core>, client_id: &str) {
    remove(core, client_id, false);
}

/// The same, with the application's data.
pub(crate) fn clean_uninstall(core: &Arc<Core>, client_id: &str) {
    remove(core, client_id, true);
}

fn remove(core: &Arc<Core>, client_id: &str, clean: bool) {
    let was_installed = installed(core, client_id, |there| there.stage == Stage::Installed);
    change(core, client_id, |there| there.stage = Stage::Removed);
    let bound = core.world().registry.forget(client_id);
    if was_installed == Some(true) {
        let clean = u8::from(clean).to_string();
        let data = [("LANGUAGE_ID", language(core)), ("CLEAN", clean)];
        tell(core, client_id, "ONAPPUNINSTALL", &data, handlers(&bound, "ONAPPUNINSTALL"));
    }
    core.changed();
}

/// ONAPPINSTALL goes to the callback of an application without a page, and to whoever is bound.
fn tell_of_installation(core: &Arc<Core>, client_id: &str) {
    let callback = installed(core, client_id, |there| {
        let version = there.version;
        (version, there.url.clone().filter(|_| !there.has_page))
    });
    let Some((version, callback)) = callback else { return };
    let bound = core.world().registry.bindings().to_vec();
    let bound = bound.into_iter().filter(|binding| binding.client_id == client_id);
    let mut urls = handlers(&bound.collect::<Vec<_>>(), "ONAPPINSTALL");
    urls.extend(callback.map(|url| (url, ADMIN)));
    let data = [
        ("VERSION", version.to_string()),
        ("ACTIVE", "Y".to_owned()),
        ("INSTALLED", "Y".to_owned()),
        ("LANGUAGE_ID", language(core)),
    ];
    tell(core, client_id, "ONAPPINSTALL", &data, urls);
}

/// The handlers of an event, and whose tokens each of them gets.
fn handlers(bound: &[Binding], event: &str) -> Vec<(String, u64)> {
    let named = bound.iter().filter(|binding| binding.event == event);
    let user = |binding: &Binding| if binding.auth_type == 0 { ADMIN } else { binding.auth_type };
    named.map(|binding| (binding.handler.clone(), user(binding))).collect()
}

/// An application that is gone gets no tokens, since it could not use them.
fn tell(
    core: &Arc<Core>,
    client_id: &str,
    event: &str,
    data: &[(&str, String)],
    mut handlers: Vec<(String, u64)>,
) {
    handlers.sort();
    handlers.dedup();
    for (url, user) in handlers {
        let issued = tokens(core, client_id, user);
        let token = installed(core, client_id, |there| there.application_token.clone());
        let now = core.clock.now().as_secs();
        let issued = issued.as_ref().map(|(issued, _)| issued);
        let form = Place::of(core).event(event, data, now, issued, &token.unwrap_or_default());
        send(core, event, &url, form, |_, _| {});
    }
}

fn language(core: &Core) -> String {
    core.world().settings.language.id().to_owned()
}

fn installed<T>(core: &Core, client_id: &str, read: impl Fn(&Installation) -> T) -> Option<T> {
    core.cloud.oauth().installation(client_id, &core.identity.member_id).map(read)
}

fn change<T>(
    core: &Core,
    client_id: &str,
    change: impl FnOnce(&mut Installation) -> T,
) -> Option<T> {
    core.cloud.oauth().installation_mut(client_id, &core.identity.member_id).map(change)
}
