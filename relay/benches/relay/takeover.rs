//! How long shards have no owner after their relay has ended.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tracing_bizproc_relay::{Member, Owner, PgConfig, PgOwnership, Shard};

use super::news::print;
use super::wait;

/// One relay ends, and the other one takes all shards.
pub(crate) fn measure(config: &PgConfig, small: bool) {
    let rounds = if small { 1 } else { 10 };
    for (what, says_so) in [("takeover of one that leaves", true), ("of one that is killed", false)]
    {
        let taken: Vec<Duration> =
            (0..rounds).map(|round| takeover(config, says_so, round)).collect();
        print(what, &taken);
    }
}

fn takeover(config: &PgConfig, says_so: bool, round: u32) -> Duration {
    let owner = |n: u128| {
        let ownership = PgOwnership::new(config.clone()).unwrap();
        Owner::new(Arc::new(ownership), Member(u128::from(round) * 10 + n))
    };
    let (mut goes, mut stays) = (owner(1), owner(2));
    while goes.leases().claims().len() < Shard::COUNT / 2
        || stays.leases().claims().len() < Shard::COUNT / 2
    {
        for owner in [&mut goes, &mut stays] {
            let change = wait(owner.turn(Instant::now)).unwrap();
            wait(owner.give_back(&change.surplus)).unwrap();
        }
    }
    // The end is at a random moment between two turns of the other relay.
    thread::sleep(stays.interval() * round / 10);
    let start = Instant::now();
    if says_so {
        wait(goes.leave()).unwrap();
    }
    drop(goes);
    while stays.leases().claims().len() < Shard::COUNT {
        thread::sleep(stays.interval());
        wait(stays.turn(Instant::now)).unwrap();
    }
    let taken = start.elapsed();
    wait(stays.leave()).unwrap();
    taken
}
