//! Applications on the page: what they are, what is done to them, and their secrets.

use std::sync::Arc;

use serde_json::{Value, json};

use super::change::portal;
use crate::app::App;
use crate::core::Core;
use crate::oauth::Stage;
use crate::state::Kind;

/// The applications of a portal, without their secrets.
pub(super) fn list(core: &Core) -> Vec<Value> {
    let member_id = &core.identity.member_id;
    let world = core.world();
    let oauth = core.cloud.oauth();
    let own = world.own_app.as_deref();
    let blank = world.settings.blank_subscription;
    let apps = oauth.installations_at(member_id).map(|(client_id, there)| {
        let registered = world.registry.all().iter().filter(|known| known.client_id == client_id);
        let registered = registered.map(|known| {
            let kind = if known.kind == Kind::Activity { "activity" } else { "robot" };
            json!({"code": known.code, "name": known.name, "kind": kind, "waits": known.waits(blank)})
        });
        json!({
            "client_id": client_id,
            "own": own == Some(client_id),
            "stage": match there.stage {
                Stage::Pending => "pending",
                Stage::Installed => "installed",
                Stage::Removed => "removed",
            },
            "version": there.version,
            "paid": there.paid,
            "url": there.url,
            "has_page": there.has_page,
            "registered": registered.collect::<Vec<_>>(),
        })
    });
    apps.collect()
}

/// Everything that the application needs to know, and a fresh pair of tokens.
pub(super) fn secrets(core: &Arc<Core>, client_id: &str) -> Option<Value> {
    let (_, app) = find(core, client_id)?;
    let tokens = app.issue_tokens();
    Some(json!({
        "client_id": client_id,
        "client_secret": app.client_secret(),
        "application_token": app.application_token(),
        "access_token": tokens.access_token,
        "refresh_token": tokens.refresh_token,
        "expires": tokens.expires.as_secs(),
    }))
}

/// `{"member_id", "install_url", "install_page", "own"}`, all optional: makes an application. With a
/// URL it is told there of its installation, or shown there; `own` makes it that of the workflows
/// which the portal starts.
pub(super) fn install(core: &Arc<Core>, wish: &Value) -> Result<Value, String> {
    let core = portal(core, wish)?;
    let (url, page) = (url(wish, "install_url")?, url(wish, "install_page")?);
    let app = match wish["own"].as_bool() {
        Some(true) => App::of(core.clone(), core.own_app()),
        _ => App::install(core.clone(), None),
    };
    if let Some(url) = url {
        app.install_at(url);
    }
    if let Some(page) = page {
        app.install_on_page(page);
    }
    core.changed();
    Ok(json!({"client_id": app.client_id()}))
}

fn url<'a>(wish: &'a Value, what: &str) -> Result<Option<&'a str>, String> {
    let url = wish[what].as_str().map(str::trim).filter(|url| !url.is_empty());
    match url {
        Some(url) if !url.starts_with("http://") && !url.starts_with("https://") => {
            Err(format!("{what} does not begin with http:// or https://"))
        }
        url => Ok(url),
    }
}

/// Does something to an application.
pub(super) fn act(
    core: &Arc<Core>,
    client_id: &str,
    action: &str,
    wish: &Value,
) -> Result<Value, String> {
    let none = || format!("there is no application {client_id}");
    let (core, app) = find(core, client_id).ok_or_else(none)?;
    match action {
        "expire" => app.expire_access_tokens(),
        "spend" => app.spend_refresh_tokens(),
        "revoke" => app.revoke_tokens(),
        "unpaid" => app.set_paid(false),
        "paid" => app.set_paid(true),
        "update" => app.update(),
        "update_token" => app.update_with_new_token(),
        "finish" => app.finish_installation(),
        "open" => app.open_page(),
        "uninstall" => app.uninstall(),
        "clean" => app.uninstall_and_clean(),
        "install" => match (url(wish, "install_url")?, url(wish, "install_page")?) {
            (Some(url), None) => app.install_at(url),
            (None, Some(page)) => app.install_on_page(page),
            _ => return Err("say install_url or install_page".to_owned()),
        },
        _ => return Err(format!("unknown action {action}")),
    }
    core.changed();
    Ok(json!({}))
}

/// The application, and the first portal that has it.
fn find(core: &Arc<Core>, client_id: &str) -> Option<(Arc<Core>, App)> {
    let mut portals = core.cloud.portals().into_iter();
    let there = portals.find(|core| {
        core.cloud.oauth().installation(client_id, &core.identity.member_id).is_some()
    })?;
    Some((there.clone(), App::of(there, client_id.to_owned())))
}
