//! What the process may do.

/// Returns whether the process is in a user namespace that does not have all ids: there are no
/// devices to be made in it, and overlay's attributes have other names.
pub fn in_user_namespace() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map");
    map.is_ok_and(|map| !is_whole(&map))
}

/// Returns whether an id map is the one of the first namespace.
fn is_whole(map: &str) -> bool {
    let fields: Vec<&str> = map.split_ascii_whitespace().collect();
    fields == ["0", "0", "4294967295"]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_namespace_has_all_ids() {
        assert!(is_whole("         0          0 4294967295\n"));
        assert!(!is_whole("         0       1000          1\n"));
        assert!(!is_whole("0 0 65536\n"));
    }
}
