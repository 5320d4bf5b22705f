//! Serves a stand-in portal until it is told to stop.

use bizproc_portal::Portal;

#[expect(clippy::print_stdout, reason = "the addresses are what the program is for")]
fn main() -> std::io::Result<()> {
    let portal = Portal::builder().start()?;
    let workflow = portal.start_workflow("Order 1042");
    let activity = workflow.open_activity("check");
    println!("page      {}", portal.page_url());
    println!("webhook   {}", portal.webhook_url());
    println!(
        "curl -d 'EVENT_TOKEN={}' -d 'LOG_MESSAGE=Hello' {}bizproc.activity.log",
        activity.event_token(),
        portal.webhook_url()
    );
    loop {
        std::thread::park();
    }
}
