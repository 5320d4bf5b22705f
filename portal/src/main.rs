//! Serves a stand-in portal until it is told to stop, and prints how to reach it.

use std::io;
use std::process::ExitCode;

use bizproc_portal::{Fault, OwnEntries, Portal, PortalBuilder, Retention, Tariff};

const USAGE: &str = "\
bizproc-portal: a stand-in Bitrix24 portal

  --port N        http at this port (default: any that is free)
  --tls-port N    https at this port (default: any that is free)
  --host-name S   also a name of this machine; may be given several times
  --cloud         the rate limit of a standard plan, and 50 entries a log
  --handler URL   who is told of the activity of the first workflow
  --faults SHARE  lets something go wrong with this share of all calls, such as 0.1
  --seed N        what identifiers, secrets and faults follow from (default: another each time)
";

struct Wishes {
    builder: PortalBuilder,
    handler: Option<String>,
    faults: Option<f64>,
}

#[expect(clippy::print_stderr, reason = "a program complains there")]
fn main() -> ExitCode {
    let arguments = std::env::args().skip(1).collect::<Vec<_>>();
    let served = read(&arguments).map_err(io::Error::other).and_then(serve);
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}\n\n{USAGE}");
            ExitCode::FAILURE
        }
    }
}

fn read(arguments: &[String]) -> Result<Wishes, String> {
    let builder = Portal::builder().tls().own_entries(OwnEntries::Activities);
    let mut wishes = Wishes { builder, handler: None, faults: None };
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let builder = wishes.builder.clone();
        let mut value = || rest.next().ok_or_else(|| format!("{argument} needs a value"));
        let number = |text: &String| {
            text.parse::<u64>().map_err(|error| format!("{argument} {text}: {error}"))
        };
        let port = |text: &String| {
            text.parse::<u16>().map_err(|error| format!("{argument} {text}: {error}"))
        };
        wishes.builder = match argument.as_str() {
            "--port" => builder.port(port(value()?)?),
            "--tls-port" => builder.tls_port(port(value()?)?),
            "--host-name" => builder.host_name(value()?),
            "--cloud" => builder.tariff(Tariff::Standard).retention(Retention::Cloud),
            "--seed" => builder.seed(number(value()?)?),
            "--faults" => {
                let text = value()?;
                let share = text.parse::<f64>().ok().filter(|share| (0.0..=1.0).contains(share));
                let share = share.ok_or_else(|| format!("--faults {text}: not from 0 to 1"))?;
                wishes.faults = Some(share);
                builder
            }
            "--handler" => {
                wishes.handler = Some(value()?.clone());
                builder
            }
            _ => return Err(format!("{argument} is not an option")),
        };
    }
    Ok(wishes)
}

#[expect(clippy::print_stdout, reason = "the addresses are what the program is for")]
fn serve(wishes: Wishes) -> io::Result<()> {
    let portal = wishes.builder.start()?;
    let workflow = portal.start_workflow("Order 1042");
    let mut activity = workflow.activity("check");
    if let Some(url) = wishes.handler {
        activity = activity.handler(url);
    }
    let token = activity.open().event_token();

    if let Some(share) = wishes.faults {
        portal.faults().at_random(portal.seed(), share, Fault::assorted());
        println!("faults   for {share} of all calls, by the seed below");
    }
    println!("page     {}", portal.page_url());
    println!("webhook  {}", portal.webhook_url());
    if let Some(url) = portal.webhook_url_https() {
        println!("https    {url}");
    }
    println!("oauth    {}", portal.oauth_url());
    if let Some(file) = portal.ca_file() {
        println!("ca file  {}", file.display());
    }
    println!("seed     {}", portal.seed());
    println!("Workflow \"Order 1042\" waits at the activity \"check\". Write a line into its log:");
    println!();
    println!(
        "curl -d 'EVENT_TOKEN={token}' -d 'LOG_MESSAGE=Hello from curl' {}bizproc.activity.log",
        portal.webhook_url()
    );
    // Until then the portal serves from threads of its own; leaving lets it tidy up.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(tokio::signal::ctrl_c())
}
