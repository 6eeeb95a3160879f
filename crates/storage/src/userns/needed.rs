//! Whether the process can write a storage as it is.

use std::fs;

use dhow_config::EnvSnapshot;

/// Returns whether the process lacks a capability that writing layers takes: it has to enter a user
/// namespace, or it is in one that does not help.
///
/// COMPAT(skopeo): these are the capabilities.
pub fn needed() -> bool {
    // Who cannot be asked is taken for a user.
    effective().is_none_or(|effective| effective & REQUIRED != REQUIRED)
}

/// Returns the id of the user whose storage the process works with, also from inside.
pub fn owner(environment: &EnvSnapshot) -> u32 {
    dhow_config::StorageSettings::owner(environment)
}

/// Returns the capabilities that the process has in effect, as a set of bits.
pub(super) fn effective() -> Option<u64> {
    parse(&fs::read_to_string("/proc/self/status").ok()?)
}

fn parse(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

/// The bits of `linux/capability.h`.
const CHOWN: u32 = 0;
const DAC_OVERRIDE: u32 = 1;
const FOWNER: u32 = 3;
const FSETID: u32 = 4;
const SETGID: u32 = 6;
const SETUID: u32 = 7;
const SYS_ADMIN: u32 = 21;
const MKNOD: u32 = 27;
const SETFCAP: u32 = 31;

const REQUIRED: u64 = bits(&[
    CHOWN,
    DAC_OVERRIDE,
    FOWNER,
    FSETID,
    SYS_ADMIN,
    MKNOD,
    SETFCAP,
]);

/// What it takes to give ids to a user namespace without anybody's help.
pub(super) const MAPS_IDS: u64 = bits(&[SETGID, SETUID]);

const fn bits(capabilities: &[u32]) -> u64 {
    let (mut bits, mut at) = (0, 0);
    while at < capabilities.len() {
        bits |= 1 << capabilities[at];
        at += 1;
    }
    bits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_effective_capabilities_are_read_from_the_status() {
        let status = "Name:\tx\nCapPrm:\t0000000000000000\nCapEff:\t000001ffffffffff\n";
        assert_eq!(parse(status), Some(0x1ff_ffff_ffff));
        assert_eq!(parse("CapEff:\tz\n"), None);
        assert_eq!(parse(""), None);
        assert_eq!(REQUIRED, 0x8820_001b);
        // What Docker gives to root in a container: no CAP_SYS_ADMIN.
        assert_ne!(0xa804_25fb & REQUIRED, REQUIRED);
    }
}
