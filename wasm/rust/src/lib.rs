//! The guest kit for Rust: ABI version 1 of Chappe's plugins (ABI.md).
//!
//! ```ignore
//! #![no_std]
//! use chappe::{Event, Verdict};
//! chappe::plugin!(publish = |e: &Event| {
//!     if e.payload().windows(12).any(|w| w == b"\"debug\":true") { Verdict::DROP } else { Verdict::ALLOW }
//! });
//! ```
//!
//! A hook is exported if it is named. Nothing allocates; a panic is a trap.
#![cfg_attr(target_arch = "wasm32", no_std)]

mod event;
mod host;
mod json;
mod verdict;

pub use event::{Event, Reader};
pub use host::{add, config, counter, gauge, get, incr, log, now, random, set, timer};
pub use json::{number, text};
pub use verdict::{Answer, Verdict};

pub(crate) const IN: usize = 256 << 10;
pub(crate) const OUT: usize = 64 << 10;

#[repr(align(8))]
pub(crate) struct Buffer<const N: usize>(pub [u8; N]);

pub(crate) static mut INPUT: Buffer<IN> = Buffer([0; IN]);
pub(crate) static mut OUTPUT: Buffer<OUT> = Buffer([0; OUT]);

/// Where the host writes frames and reads answers (ABI §10.3). The macro exports it.
pub fn buffers(input: u32, output: u32) -> u64 {
    if input as usize > IN || output as usize > OUT {
        return 0; // the host refuses it
    }
    unsafe { (core::ptr::addr_of!(INPUT) as u64) << 32 | core::ptr::addr_of!(OUTPUT) as u64 }
}

/// Makes the exports of a plugin: `plugin!(publish = f, deliver = g)`. Hooks are
/// init, connect, subscribe, publish, deliver, presence, history, disconnect and
/// timer; each takes an `&Event` and returns a `Verdict`.
#[macro_export]
macro_rules! plugin {
    ($($hook:ident = $f:expr),+ $(,)?) => {
        #[no_mangle]
        pub extern "C" fn chappe_abi_v1() {}
        #[no_mangle]
        pub extern "C" fn chappe_buffers(input: u32, output: u32) -> u64 { $crate::buffers(input, output) }
        $($crate::hook!($hook, $f);)+
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! hook {
    (init, $f:expr) => { $crate::hook!(@ chappe_init, $f); };
    (connect, $f:expr) => { $crate::hook!(@ chappe_on_connect, $f); };
    (subscribe, $f:expr) => { $crate::hook!(@ chappe_on_subscribe, $f); };
    (publish, $f:expr) => { $crate::hook!(@ chappe_on_publish, $f); };
    (deliver, $f:expr) => { $crate::hook!(@ chappe_on_deliver, $f); };
    (presence, $f:expr) => { $crate::hook!(@ chappe_on_presence, $f); };
    (history, $f:expr) => { $crate::hook!(@ chappe_on_history, $f); };
    (disconnect, $f:expr) => { $crate::hook!(@ chappe_on_disconnect, $f); };
    (timer, $f:expr) => { $crate::hook!(@ chappe_on_timer, $f); };
    (@ $export:ident, $f:expr) => {
        #[no_mangle]
        pub extern "C" fn $export(n: u32) -> u64 {
            let f: fn(&$crate::Event) -> $crate::Verdict = $f;
            f(&$crate::Event::new(n)).word()
        }
    };
}

#[cfg(target_arch = "wasm32")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    core::arch::wasm32::unreachable()
}
