/// The value of the first member of a name, as its bytes in the JSON text: of a
/// string what stands between the quotes, escapes and all.
fn value<'a>(json: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let name = name.as_bytes();
    let mut i = 0;
    while i + name.len() + 2 < json.len() {
        if json[i] == b'"' && json[i + 1 + name.len()] == b'"' && &json[i + 1..i + 1 + name.len()] == name {
            let mut at = i + name.len() + 2;
            while at < json.len() && json[at] <= b' ' { at += 1; }
            if at < json.len() && json[at] == b':' {
                at += 1;
                while at < json.len() && json[at] <= b' ' { at += 1; }
                return Some(&json[at..]);
            }
        }
        i += 1;
    }
    None
}

/// The first member of a name that is a number.
pub fn number(json: &[u8], name: &str) -> Option<f64> {
    let b = value(json, name)?;
    let n = b.iter().position(|c| !matches!(c, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E')).unwrap_or(b.len());
    core::str::from_utf8(&b[..n]).ok()?.parse().ok()
}

/// The first member of a name that is a string without escapes.
pub fn text<'a>(json: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let b = value(json, name)?;
    if b.first() != Some(&b'"') { return None; }
    let n = b[1..].iter().position(|&c| c == b'"' || c == b'\\')?;
    if b[1 + n] == b'\\' { None } else { Some(&b[1..1 + n]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members() {
        let j = br#"{"a":"lat", "lat" : -48.85e0,"s":"x y","e":"a\"b"}"#;
        assert_eq!(number(j, "lat"), Some(-48.85));
        assert_eq!(number(j, "lon"), None);
        assert_eq!(number(j, "s"), None);
        assert_eq!(text(j, "s"), Some(&b"x y"[..]));
        assert_eq!(text(j, "e"), None);
        assert_eq!(text(b"{\"s", "s"), None);
    }
}
