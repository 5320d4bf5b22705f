//! Two portals on which an app is installed. They call it, and it is stopped while it works: SIGTERM comes
//! when it has an order of each portal to fulfil.
//!
//! Usage: app-portals PROGRAM [RELAY]. The program is the service of the guide. With the program of a relay, the
//! service publishes to a database, and the relay delivers.

use std::error::Error;
use std::ffi::OsStr;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command};
use std::thread::sleep;
use std::time::Duration;

use bizproc_portal::{Activity, App, Portal, Workflow};
use bizproc_test_postgres::Postgres;

fn main() -> Result<(), Box<dyn Error>> {
    let program = std::env::args_os().nth(1).ok_or("usage: app-portals PROGRAM")?;
    let first = Portal::builder().start()?;
    let second = Portal::builder().beside(&first).start()?;
    let app = first.install_app();
    let sites = [(&second, second.install_known_app(&app)), (&first, app.clone())];

    let of_app = |program: &OsStr| {
        let mut command = Command::new(program);
        command
            // The app before this one had a webhook.
            .env_remove("BITRIX24_WEBHOOK_URL")
            .env("BITRIX24_CLIENT_ID", app.client_id())
            .env("BITRIX24_CLIENT_SECRET", app.client_secret())
            .env("BITRIX24_OAUTH_URL", first.oauth_url());
        command
    };
    let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
    let mut command = of_app(&program);
    command
        .env("RUST_LOG", "my_app=info")
        .env("APP_ADDRESS", &address)
        .env("APP_URL", format!("http://{address}"));
    // They are stopped in this order: the relay, and the database.
    let (_database, _relay);
    if let Some(relay) = std::env::args_os().nth(2) {
        let Some(postgres) = Postgres::start_or_skip(&["fsync=off"]) else { return Ok(()) };
        let url = postgres.tcp("postgres");
        command.env("BIZPROC_DATABASE_URL", &url);
        let with_database = |argument: &str| {
            let mut command = of_app(&relay);
            command.env("BIZPROC_DATABASE_URL", &url).env("BIZPROC_RELAY_LISTEN", "off");
            command.arg(argument);
            command
        };
        if !with_database("migrate").status()?.success() {
            return Err("the tables were not created".into());
        }
        _database = postgres;
        _relay = Service(with_database("run").spawn()?);
    }
    let mut service = Service(command.spawn()?);
    service.until("it listens", || TcpStream::connect(&address).is_ok())?;

    for (portal, app) in &sites {
        app.install_at(&format!("http://{address}/life"));
        let workflow = portal.start_workflow("waits for the registration");
        service.until("it is registered", || workflow.registered_activity("fulfil").is_some())?;
    }
    for (portal, app) in &sites {
        let order = order(portal, app, "1042")?;
        service.until("an order has ended", || !order.1.is_open())?;
        is_fulfilled(portal, &order, "1042")?;
    }

    // Work is under way, and then the service is stopped.
    let mut last = Vec::new();
    for (portal, app) in &sites {
        last.push(order(portal, app, "1043")?);
    }
    for (_, activity) in &last {
        service.until("it is called", || activity.delivery().is_some())?;
    }
    let stopped = Command::new("kill").args(["-TERM", &service.0.id().to_string()]).status()?;
    let ended = service.0.wait()?;
    if !stopped.success() || !ended.success() {
        return Err(format!("SIGTERM: {stopped}, the service: {ended}").into());
    }
    for ((portal, _), order) in sites.iter().zip(&last) {
        is_fulfilled(portal, order, "1043")?;
    }
    println!("both portals have their orders");
    Ok(())
}

fn order(portal: &Portal, app: &App, order: &str) -> Result<(Workflow, Activity), Box<dyn Error>> {
    let workflow = portal.start_workflow(order);
    let activity = workflow.registered_activity("fulfil").ok_or("the activity is registered")?;
    let activity = activity.app(app).property("Order", order).open();
    Ok((workflow, activity))
}

fn is_fulfilled(
    portal: &Portal,
    (workflow, activity): &(Workflow, Activity),
    order: &str,
) -> Result<(), Box<dyn Error>> {
    let lines = ["Order received", "Handed to the carrier"];
    portal.wait_for_lines(workflow, lines.map(|line| format!("{line} (order={order}")))?;
    let completion = activity.completion().ok_or("the activity has not ended")?;
    let shipped = completion.return_values == [("status".to_owned(), "shipped".to_owned())];
    let lost = workflow.lost().len();
    if shipped && lost == 0 { Ok(()) } else { Err(format!("{completion:?}, lost: {lost}").into()) }
}

/// The running service. It is killed if something goes wrong here.
struct Service(Child);

impl Service {
    fn until(&mut self, what: &str, holds: impl Fn() -> bool) -> Result<(), Box<dyn Error>> {
        for _ in 0..600 {
            if holds() {
                return Ok(());
            }
            if let Some(ended) = self.0.try_wait()? {
                return Err(format!("the service has ended with {ended} before {what}").into());
            }
            sleep(Duration::from_millis(50));
        }
        Err(format!("waited 30 s until {what}").into())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        drop(self.0.kill());
    }
}
