//! Parts of tar files by hand.

/// Returns the records of a pax header, whose lengths are right.
pub fn pax_records(records: &[(&str, &str)]) -> Vec<u8> {
    let mut all = Vec::new();
    for (key, value) in records {
        // The length counts its own digits.
        let rest = key.len() + value.len() + 3;
        let mut length = rest + 1;
        while length != rest + length.to_string().len() {
            length = rest + length.to_string().len();
        }
        all.extend_from_slice(format!("{length} {key}={value}\n").as_bytes());
    }
    all
}
