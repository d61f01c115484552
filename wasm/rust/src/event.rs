use crate::verdict::{Answer, Verdict};
use crate::INPUT;

/// What happened (ABI §4). Its parts are views of the frame.
pub struct Event {
    frame: &'static [u8],
}

impl Event {
    /// The event in the in-buffer. The macro makes it.
    pub fn new(n: u32) -> Event {
        // The host does not write while the guest runs, and nobody else does.
        unsafe { Event { frame: core::slice::from_raw_parts(core::ptr::addr_of!(INPUT) as *const u8, n as usize) } }
    }

    fn u32(&self, at: usize) -> u32 {
        let b = &self.frame[at..at + 4];
        u32::from_le_bytes([b[0], b[1], b[2], b[3]])
    }

    fn u64(&self, at: usize) -> u64 {
        self.u32(at) as u64 | (self.u32(at + 4) as u64) << 32
    }

    fn part(&self, at: usize) -> &'static [u8] {
        let (off, n) = (self.u32(at) as usize, self.u32(at + 4) as usize);
        &self.frame[off..off + n]
    }

    pub fn flags(&self) -> u32 { self.u32(4) }
    /// The message's stamp in microseconds; 0: it has none yet.
    pub fn tick(&self) -> u64 { self.u64(8) }
    /// Milliseconds since 1970, frozen for the call.
    pub fn now(&self) -> u64 { self.u64(16) }
    pub fn channel(&self) -> &'static [u8] { self.part(24) }
    pub fn client(&self) -> &'static [u8] { self.part(32) }
    /// A JSON object; empty if there are none.
    pub fn claims(&self) -> &'static [u8] { self.part(40) }
    pub fn name(&self) -> &'static [u8] { self.part(48) }
    /// The message; of init the configuration.
    pub fn payload(&self) -> &'static [u8] { self.part(56) }
    pub fn user(&self) -> &'static [u8] { self.part(64) }
    pub fn key(&self) -> &'static [u8] { self.part(72) }
    pub fn id(&self) -> &'static [u8] { self.part(80) }
    /// Readers of a deliver frame; 1 joined or 2 left; the close code.
    pub fn arg0(&self) -> u32 { self.u32(88) }

    /// Asks about each reader who gets the message (ABI §5.5).
    pub fn filter<F: FnMut(&Reader) -> bool>(&self, mut gets: F) -> Verdict {
        let (n, size) = (self.arg0() as usize, self.u32(92) as usize);
        let head = self.frame[0] as usize | (self.frame[1] as usize) << 8;
        let mut answer = Answer::new();
        let bits = answer.zeroed((n + 7) / 8);
        for i in 0..n {
            if gets(&Reader { event: self, at: head + i * size }) {
                bits[i >> 3] |= 1 << (i & 7);
            }
        }
        answer.bitmap()
    }
}

/// One reader of a deliver frame.
pub struct Reader<'a> {
    event: &'a Event,
    at: usize,
}

impl Reader<'_> {
    pub fn tags(&self) -> u64 { self.event.u64(self.at) }
    pub fn level(&self) -> u32 { self.event.u32(self.at + 8) }
    pub fn group(&self) -> u32 { self.event.u32(self.at + 12) }
    pub fn user(&self) -> u64 { self.event.u64(self.at + 16) }
    /// The bytes that subscribe gave.
    pub fn ext(&self) -> &'static [u8] { self.event.part(self.at + 24) }
}
