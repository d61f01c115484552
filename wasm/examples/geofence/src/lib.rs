//! Plugin geofence delivers a position to those readers who are near it.
//!
//! Where a reader is, and how far it sees, its token says: the claims lat, lon and
//! radius_m. A message says where it is by its members lat and lon. One without is
//! for all; a reader without a place gets only those.
#![no_std]

use chappe::{number, Answer, Event, Reader, Verdict};

const DEGREE: f64 = 111_195.0; // metres, of latitude

/// The cosine of an angle in degrees between -90 and 90, to 0.01 %.
fn cos(degrees: f64) -> f64 {
    let x = degrees * 0.017_453_292_519_943_295;
    let x2 = x * x;
    1.0 - x2 / 2.0 * (1.0 - x2 / 12.0 * (1.0 - x2 / 30.0 * (1.0 - x2 / 56.0 * (1.0 - x2 / 90.0))))
}

fn place(json: &[u8]) -> Option<(f64, f64)> {
    let (lat, lon) = (number(json, "lat")?, number(json, "lon")?);
    if (-90.0..=90.0).contains(&lat) && (-180.0..=180.0).contains(&lon) { Some((lat, lon)) } else { None }
}

fn subscribe(e: &Event) -> Verdict {
    let (lat, lon) = match place(e.claims()) {
        Some(p) => p,
        None => return Verdict::ALLOW,
    };
    let radius = match number(e.claims(), "radius_m") {
        Some(r) if r > 0.0 => r,
        _ => return Verdict::deny(403, "radius_m is missing in the token: metres"),
    };
    let mut ext = [0; 24];
    ext[..8].copy_from_slice(&lat.to_le_bytes());
    ext[8..16].copy_from_slice(&lon.to_le_bytes());
    ext[16..].copy_from_slice(&radius.to_le_bytes());
    Answer::new().tags(1, 0, 0, &ext).allow()
}

fn f64_at(b: &[u8], at: usize) -> f64 {
    let mut raw = [0; 8];
    raw.copy_from_slice(&b[at..at + 8]);
    f64::from_le_bytes(raw)
}

fn near(r: &Reader, lat: f64, lon: f64, shrink: f64) -> bool {
    let ext = r.ext();
    if ext.len() != 24 {
        return false;
    }
    let (y, radius) = ((lat - f64_at(ext, 0)) * DEGREE, f64_at(ext, 16));
    let mut turn = lon - f64_at(ext, 8);
    if turn > 180.0 { turn -= 360.0 }
    if turn < -180.0 { turn += 360.0 }
    let x = turn * DEGREE * shrink;
    x * x + y * y <= radius * radius
}

fn deliver(e: &Event) -> Verdict {
    match place(e.payload()) {
        Some((lat, lon)) => {
            let shrink = cos(lat);
            e.filter(|r| near(r, lat, lon, shrink))
        }
        None => Verdict::ALLOW,
    }
}

chappe::plugin!(subscribe = subscribe, deliver = deliver);
