use crate::{OUT, OUTPUT};

/// What a hook answers (ABI §6).
#[derive(Clone, Copy)]
pub struct Verdict(u64);

impl Verdict {
    pub const ALLOW: Verdict = Verdict(1);
    pub const DROP: Verdict = Verdict(2);

    /// Refuses, with a code like that of HTTP and a reason for the client.
    pub fn deny(code: u16, reason: &str) -> Verdict {
        let mut a = Answer::new();
        a.put(reason.as_bytes());
        Verdict(3 | (code as u64) << 16 | (a.used as u64) << 32)
    }

    /// Publishes another payload instead.
    pub fn replace(payload: &[u8]) -> Verdict {
        let mut a = Answer::new();
        a.put(payload);
        Verdict(4 | (a.used as u64) << 32)
    }

    /// As a trap, with a text for the log.
    pub fn fail(text: &str) -> Verdict {
        let mut a = Answer::new();
        a.put(text.as_bytes());
        Verdict((a.used as u64) << 32)
    }

    pub fn word(self) -> u64 { self.0 }
}

/// An answer with several parts (ABI §7). It is written straight to the out-buffer:
/// one at a time, and over 64 KiB is a trap.
pub struct Answer {
    used: usize,
}

impl Answer {
    #[allow(clippy::new_without_default)]
    pub fn new() -> Answer { Answer { used: 0 } }

    fn out(&mut self) -> &'static mut [u8; OUT] {
        unsafe { &mut *core::ptr::addr_of_mut!(OUTPUT.0) }
    }

    fn put(&mut self, b: &[u8]) {
        let at = self.used;
        self.out()[at..at + b.len()].copy_from_slice(b);
        self.used += b.len();
    }

    pub(crate) fn zeroed(&mut self, n: usize) -> &'static mut [u8] {
        let at = self.used;
        self.used += n;
        let b = &mut self.out()[at..at + n];
        b.fill(0);
        b
    }

    fn head(&mut self, kind: u16, n: usize) {
        self.put(&kind.to_le_bytes());
        self.put(&[0, 0]);
        self.put(&(n as u32).to_le_bytes());
    }

    pub(crate) fn bitmap(self) -> Verdict { Verdict(5 | (self.used as u64) << 32) }

    fn list(self, verdict: u64) -> Verdict { Verdict(verdict | 2 << 8 | (self.used as u64) << 32) }

    /// A further message on another channel.
    pub fn fan(mut self, channel: &[u8], payload: &[u8]) -> Answer {
        self.head(2, 2 + channel.len() + payload.len());
        self.put(&(channel.len() as u16).to_le_bytes());
        self.put(channel);
        self.put(payload);
        self
    }

    /// Only readers whose tags pass get the message.
    pub fn only(mut self, any: u64, all: u64, none: u64, level: u32) -> Answer {
        self.head(6, 28);
        self.put(&any.to_le_bytes());
        self.put(&all.to_le_bytes());
        self.put(&none.to_le_bytes());
        self.put(&level.to_le_bytes());
        self
    }

    /// What deliver and match know of a subscription; ext of at most 256 bytes.
    pub fn tags(mut self, bits: u64, level: u32, group: u32, ext: &[u8]) -> Answer {
        self.head(3, 16 + ext.len());
        self.put(&bits.to_le_bytes());
        self.put(&level.to_le_bytes());
        self.put(&group.to_le_bytes());
        self.put(ext);
        self
    }

    /// Allow, with what was said: tags, a match, further messages.
    pub fn allow(self) -> Verdict { self.list(1) }

    /// Not published, but further messages are.
    pub fn instead(self) -> Verdict { self.list(2) }
}
