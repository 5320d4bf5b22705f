//! Serves a stand-in portal until it is stopped, and prints its addresses.

mod cli;

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use bizproc_portal::{Delivery, Fault, Portal, Sent};
use serde_json::{Value, json};

use cli::Wishes;

#[expect(clippy::print_stderr, reason = "a program complains there")]
fn main() -> ExitCode {
    let wishes = match cli::read(std::env::args_os()) {
        Ok(wishes) => wishes,
        // Help and version go to stdout and are no failure.
        Err(said) => said.exit(),
    };
    match serve(wishes) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(wishes: Wishes) -> io::Result<()> {
    let end = Stop::listen()?;
    let portal = wishes.builder.start()?;
    let app = portal.app();
    if let Some(url) = &wishes.install_url {
        app.install_at(url);
    }
    if let Some(page) = &wishes.install_page {
        app.install_on_page(page);
    }
    let workflow = portal.start_workflow("Order 1042");
    let mut activity = workflow.activity("check");
    if let Some(url) = wishes.handler {
        activity = activity.handler(url);
    }
    let event_token = activity.open().event_token();
    if let Some(share) = wishes.faults {
        portal.faults().at_random(portal.seed(), share, Fault::assorted());
    }

    let mut told = json!({
        "page": portal.page_url(),
        "webhook": portal.webhook_url(),
        "https": portal.webhook_url_https(),
        "oauth": portal.oauth_url(),
        "client_endpoint": portal.client_endpoint(),
        "ca_file": portal.ca_file(),
        "member_id": portal.member_id(),
        // As a text, since not every language's numbers hold 64 bits.
        "seed": portal.seed().to_string(),
        "faults": wishes.faults,
        "workflow": {"id": workflow.id(), "activity": "check", "event_token": event_token},
    });
    if wishes.app {
        let tokens = app.issue_tokens();
        told["app"] = json!({
            "client_id": app.client_id(),
            "client_secret": app.client_secret(),
            "application_token": app.application_token(),
            "access_token": tokens.access_token,
            "refresh_token": tokens.refresh_token,
            "expires": tokens.expires.as_secs(),
        });
    }
    let text = if wishes.json { told.to_string() } else { for_people(&told) };
    // The reader may close the pipe after the first lines.
    drop(writeln!(io::stdout(), "{text}"));

    std::thread::scope(|scope| {
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let portal = &portal;
        scope.spawn(move || tell_of_failures(portal, &stopped));
        // Until then the portal serves from threads of its own; leaving lets it tidy up.
        end.wait();
        drop(stop);
    });
    Ok(())
}

/// The output for people.
fn for_people(told: &Value) -> String {
    let mut lines = Vec::new();
    let mut line = |label: &str, value: &Value| {
        if let Some(value) = value.as_str() {
            lines.push(format!("{label:<9}{value}"));
        }
    };
    if told["faults"].is_number() {
        let text = format!("for {} of all calls, by the seed below", told["faults"]);
        line("faults", &text.into());
    }
    for (label, name) in [
        ("page", "page"),
        ("webhook", "webhook"),
        ("https", "https"),
        ("oauth", "oauth"),
        ("ca file", "ca_file"),
        ("seed", "seed"),
    ] {
        line(label, &told[name]);
    }
    if let Some(app) = told["app"].as_object() {
        lines.push("An application is installed:".to_owned());
        for (name, value) in app {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            lines.push(format!("  {name:<18}{value}"));
        }
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    lines.push(
        "Workflow \"Order 1042\" waits at the activity \"check\". Write a line into its log:"
            .to_owned(),
    );
    lines.push(String::new());
    lines.push(format!(
        "curl -d 'EVENT_TOKEN={}' -d 'LOG_MESSAGE=Hello from curl' {}bizproc.activity.log",
        text(&told["workflow"]["event_token"]),
        text(&told["webhook"])
    ));
    lines.join("\n")
}

/// Prints to stderr which requests to an application failed.
fn tell_of_failures(portal: &Portal, stopped: &std::sync::mpsc::Receiver<()>) {
    let mut seen = 0;
    let failed = |sent: &Sent, seen: u64| sent.number > seen && sent.has_failed();
    while stopped.try_recv() != Err(std::sync::mpsc::TryRecvError::Disconnected) {
        let tick = Duration::from_millis(200);
        if !portal.wait_for(tick, |portal| portal.sent().iter().any(|sent| failed(sent, seen))) {
            continue;
        }
        let before = seen;
        for sent in portal.sent().into_iter().filter(|sent| failed(sent, before)) {
            let how = match &sent.delivery {
                Some(Delivery::Answered(status)) => format!("answered {status}"),
                Some(Delivery::Failed(reason)) => reason.clone(),
                _ => "did not answer".to_owned(),
            };
            let text = format!("{}: {} {how}; it is not sent again", sent.what, sent.url);
            drop(writeln!(io::stderr(), "{text}"));
            seen = sent.number;
        }
    }
}

/// What tells the program to stop. It is listened to before anything is printed, since whoever has
/// read that may be quick.
struct Stop {
    runtime: tokio::runtime::Runtime,
    #[cfg(unix)]
    signals: [tokio::signal::unix::Signal; 3],
}

impl Stop {
    fn listen() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        #[cfg(unix)]
        let signals = {
            use tokio::signal::unix::{SignalKind, signal};
            let _context = runtime.enter();
            [
                signal(SignalKind::interrupt())?,
                signal(SignalKind::terminate())?,
                signal(SignalKind::hangup())?,
            ]
        };
        Ok(Self {
            runtime,
            #[cfg(unix)]
            signals,
        })
    }

    #[cfg(unix)]
    fn wait(self) {
        let Self { runtime, signals: [mut interrupted, mut terminated, mut hung_up] } = self;
        runtime.block_on(async {
            tokio::select! {
                _ = interrupted.recv() => {}
                _ = terminated.recv() => {}
                _ = hung_up.recv() => {}
            }
        });
    }

    #[cfg(not(unix))]
    fn wait(self) {
        drop(self.runtime.block_on(tokio::signal::ctrl_c()));
    }
}
