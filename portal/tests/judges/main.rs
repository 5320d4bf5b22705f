//! The official SDKs and other clients, as they were published, against the portal: outsiders who judge
//! whether it behaves as the real one does. README.md says how to run them.

#[expect(dead_code, reason = "the other tests use the rest of it")]
#[path = "../it/client.rs"]
mod client;
mod clients;
mod judge;
mod sdks;
