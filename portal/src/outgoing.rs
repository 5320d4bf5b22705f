//! What a portal does by itself: it moves workflows from activity to activity, calls handlers, and sends
//! events to applications.
//!
//! Each request is sent once and not again, whatever the application answers (server behaviour).

mod flow;
mod forms;
mod life;

use std::sync::Arc;

pub(crate) use flow::{Notice, advance, notice_of, open, start_from_template};
pub(crate) use life::{
    clean_uninstall, finish_installation, install_by_event, install_by_page, open_page, uninstall,
    update,
};

use crate::core::Core;
use crate::wire::{self, Form};

/// Sends a form in the background; `told` gets the answer.
fn send(
    core: &Arc<Core>,
    what: &str,
    url: &str,
    form: Form,
    told: impl FnOnce(&Core, &crate::state::Delivery) + Send + 'static,
) {
    let number = core.world().journal.sending(core.clock.now(), what, url);
    let (sender, url) = (core.clone(), url.to_owned());
    core.runtime.spawn(async move {
        let delivery = wire::post(&url, &form, &sender.trust).await;
        told(&sender, &delivery);
        sender.world().journal.delivered(number, delivery);
        sender.changed();
    });
}
