//! An app that publishes, with a journal that keeps nothing. A real database would do its work in another process.

use std::time::SystemTime;

use tracing_bizproc::auth::Webhook;
use tracing_bizproc::journal::{
    Adopted, Batch, Evicted, Journal, JournalFuture, Mark, Position, Query, Read,
};
use tracing_subscriber::prelude::*;

use crate::candidate::Sink;

struct Nothing;

impl Journal for Nothing {
    fn append<'a>(&'a self, _batch: &'a Batch) -> JournalFuture<'a, Position> {
        Box::pin(async { Ok(Position::default()) })
    }

    fn read<'a>(&'a self, _query: Query<'a>) -> JournalFuture<'a, Read> {
        Box::pin(async { Ok(Read::default()) })
    }

    fn mark<'a>(&'a self, _marks: &'a [Mark]) -> JournalFuture<'a, ()> {
        Box::pin(async { Ok(()) })
    }

    fn adopt<'a>(&'a self) -> JournalFuture<'a, Adopted> {
        Box::pin(async { Ok(Adopted::default()) })
    }

    fn evicted<'a>(&'a self, _now: SystemTime) -> JournalFuture<'a, Vec<Evicted>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn generation(&self) -> u64 {
        1
    }
}

pub(crate) fn install() -> Sink {
    let webhook = Webhook::new("http://127.0.0.1:9/rest/1/secret/").expect("a webhook");
    let builder = tracing_bizproc::builder(webhook).publish_to(Nothing);
    let (layer, guard) = builder.build().expect("the worker starts");
    let handle = guard.handle();
    tracing_subscriber::registry().with(layer).init();
    Sink::journal(handle, guard)
}
