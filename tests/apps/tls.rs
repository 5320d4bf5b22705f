//! An app that uses rustls itself, with this crate added. `run.sh` builds it once for each set of
//! features, as a package of its own.

use std::error::Error;
use std::time::Duration;

use tracing::{info, info_span};
use tracing_bizproc::EventToken;
use tracing_bizproc::auth::Webhook;
use tracing_subscriber::prelude::*;

fn main() -> Result<(), Box<dyn Error>> {
    let roots = std::fs::read(std::env::var("BITRIX24_CA_FILE")?)?;
    let builder = tracing_bizproc::builder(Webhook::from_env()?).extra_roots(roots);

    #[cfg(feature = "installs")]
    {
        let refused = builder.clone().build::<tracing_subscriber::Registry>();
        println!("before install_default: {}", refused.expect_err("nothing is linked"));
        let installed = rustls::crypto::ring::default_provider().install_default();
        installed.expect("tracing-bizproc has installed none");
    }

    // What the app did before this crate was added. It panics if two providers are linked, or none.
    let app = rustls::ClientConfig::builder();
    println!("the app's provider: {:?}", app.crypto_provider());
    #[cfg(feature = "reqwest")]
    let _client = reqwest::Client::new();

    let (bizproc, guard) = builder.build()?;
    tracing_subscriber::registry().with(bizproc).init();
    let event_token = EventToken::parse(&std::env::var("EVENT_TOKEN")?)?;
    info_span!("activity", event_token = event_token.as_field()).in_scope(|| info!("delivered by https"));
    let report = guard.shutdown_blocking(Duration::from_secs(30));
    println!("{report}");
    Ok(())
}
