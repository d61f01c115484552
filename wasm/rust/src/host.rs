#[cfg(target_arch = "wasm32")]
mod sys {
    #[link(wasm_import_module = "chappe")]
    extern "C" {
        pub fn log(level: u32, at: *const u8, n: usize);
        pub fn metric_define(at: *const u8, n: usize, kind: u32) -> i32;
        pub fn metric_add(id: i32, n: i64);
        pub fn config_get(key: *const u8, n: usize, out: *mut u8, cap: usize) -> i32;
        pub fn kv_get(key: *const u8, n: usize, out: *mut u8, cap: usize) -> i32;
        pub fn kv_set(key: *const u8, n: usize, value: *const u8, m: usize, ttl: u32) -> i32;
        pub fn kv_incr(key: *const u8, n: usize, delta: i64, ttl: u32) -> i64;
        pub fn timer_set(ms: u32);
        pub fn now_ms() -> i64;
        pub fn random() -> i64;
    }
}

// Outside a guest there is no host: logic is tested, not what it calls.
#[cfg(not(target_arch = "wasm32"))]
#[allow(clippy::missing_safety_doc)]
mod sys {
    pub unsafe fn log(_: u32, _: *const u8, _: usize) {}
    pub unsafe fn metric_define(_: *const u8, _: usize, _: u32) -> i32 { -1 }
    pub unsafe fn metric_add(_: i32, _: i64) {}
    pub unsafe fn config_get(_: *const u8, _: usize, _: *mut u8, _: usize) -> i32 { -1 }
    pub unsafe fn kv_get(_: *const u8, _: usize, _: *mut u8, _: usize) -> i32 { -1 }
    pub unsafe fn kv_set(_: *const u8, _: usize, _: *const u8, _: usize, _: u32) -> i32 { -1 }
    pub unsafe fn kv_incr(_: *const u8, _: usize, _: i64, _: u32) -> i64 { 0 }
    pub unsafe fn timer_set(_: u32) {}
    pub unsafe fn now_ms() -> i64 { 0 }
    pub unsafe fn random() -> i64 { 0 }
}

/// Writes a line: level 0 debug, 1 info, 2 warning, 3 error.
pub fn log(level: u32, text: &[u8]) { unsafe { sys::log(level, text.as_ptr(), text.len()) } }

/// A metric that counts; -1 if it cannot be.
pub fn counter(name: &str) -> i32 { unsafe { sys::metric_define(name.as_ptr(), name.len(), 0) } }

/// A metric that is set.
pub fn gauge(name: &str) -> i32 { unsafe { sys::metric_define(name.as_ptr(), name.len(), 1) } }

/// Adds to a counter, sets a gauge.
pub fn add(metric: i32, n: i64) { unsafe { sys::metric_add(metric, n) } }

/// A member of the configuration, in out; None if it is not there or out is too small.
pub fn config<'a>(key: &str, out: &'a mut [u8]) -> Option<&'a [u8]> {
    let n = unsafe { sys::config_get(key.as_ptr(), key.len(), out.as_mut_ptr(), out.len()) };
    if n < 0 { None } else { Some(&out[..n as usize]) }
}

/// The store's value of a key, in out; None if it is not there or out is too small.
pub fn get<'a>(key: &[u8], out: &'a mut [u8]) -> Option<&'a [u8]> {
    let n = unsafe { sys::kv_get(key.as_ptr(), key.len(), out.as_mut_ptr(), out.len()) };
    if n < 0 { None } else { Some(&out[..n as usize]) }
}

/// Writes the store; false: it is full. ttl in milliseconds, 0: for ever.
pub fn set(key: &[u8], value: &[u8], ttl: u32) -> bool {
    unsafe { sys::kv_set(key.as_ptr(), key.len(), value.as_ptr(), value.len(), ttl) == 0 }
}

/// Adds to a counter of the store and returns the sum.
pub fn incr(key: &[u8], delta: i64, ttl: u32) -> i64 { unsafe { sys::kv_incr(key.as_ptr(), key.len(), delta, ttl) } }

/// Has the timer hook called once, after ms milliseconds; 0 cancels.
pub fn timer(ms: u32) { unsafe { sys::timer_set(ms) } }
pub fn now() -> i64 { unsafe { sys::now_ms() } }
pub fn random() -> i64 { unsafe { sys::random() } }
