//! Plugin PLUGIN drops messages that hold "debug":true.
#![no_std]

use chappe::{Event, Verdict};

chappe::plugin!(publish = |e: &Event| {
    if e.payload().windows(12).any(|w| w == b"\"debug\":true") { Verdict::DROP } else { Verdict::ALLOW }
});
