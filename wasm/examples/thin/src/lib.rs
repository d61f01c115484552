//! Plugin thin lets one message through per conflation key and interval: positions
//! of a vehicle, say, that come ten times a second and are shown once.
//!
//! Configuration: {"interval_ms": 1000}.
#![no_std]

use chappe::{Event, Verdict};

/// The longest key: channel, 0, conflation key.
const KEY: usize = 256;

fn interval() -> Option<u32> {
    let mut b = [0; 16];
    let text = core::str::from_utf8(chappe::config("interval_ms", &mut b)?).ok()?;
    text.parse().ok().filter(|&ms| ms > 0)
}

fn init(_: &Event) -> Verdict {
    match interval() {
        Some(_) => Verdict::ALLOW,
        None => Verdict::deny(403, "interval_ms is missing: a number of milliseconds"),
    }
}

fn publish(e: &Event) -> Verdict {
    let (channel, key) = (e.channel(), e.key());
    let n = channel.len() + 1 + key.len();
    if n > KEY {
        return Verdict::ALLOW; // more than the store's keys hold: not thinned
    }
    let mut name = [0; KEY];
    name[..channel.len()].copy_from_slice(channel);
    name[channel.len() + 1..n].copy_from_slice(key);
    let mut out = [0; 1];
    if chappe::get(&name[..n], &mut out).is_some() {
        return Verdict::DROP;
    }
    chappe::set(&name[..n], b"1", interval().unwrap_or(1000)); // a full store thins nothing
    Verdict::ALLOW
}

chappe::plugin!(init = init, publish = publish);
