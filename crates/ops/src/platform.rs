//! The platform of this machine, in Go's names.

use std::fs::File;
use std::io::Read as _;

use dhow_model::PlatformWish;

/// Returns the platform that images are chosen for when nobody says otherwise.
pub fn host_platform() -> PlatformWish {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "x86" => "386",
        "aarch64" => "arm64",
        "powerpc64" => "ppc64le",
        "loongarch64" => "loong64",
        other => other,
    };
    let variant = match architecture {
        "arm" | "arm64" => cpu_variant(&cpu_information()),
        _ => None,
    };
    let os = match std::env::consts::OS {
        "macos" => "darwin",
        other => other,
    };
    PlatformWish::new(os, architecture, variant)
}

fn cpu_information() -> String {
    let mut text = String::new();
    if let Ok(file) = File::open("/proc/cpuinfo") {
        // What cannot be read tells nothing; the choice then goes without a variant.
        drop(file.take(64 * 1024).read_to_string(&mut text));
    }
    text
}

/// Returns the variant that the first processor of /proc/cpuinfo has.
fn cpu_variant(information: &str) -> Option<String> {
    let line = information
        .lines()
        .find(|line| line.starts_with("CPU architecture"))?;
    let value = line.split_once(':')?.1.trim();
    match value {
        "8" | "AArch64" => Some("v8".to_owned()),
        "7" | "7M" | "?(12)" | "?(13)" | "?(14)" | "?(15)" | "?(16)" | "?(17)" => {
            Some("v7".to_owned())
        }
        "6" | "6TEJ" => Some("v6".to_owned()),
        "5" | "5T" | "5TE" | "5TEJ" => Some("v5".to_owned()),
        "4" | "4T" => Some("v4".to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arm_variants_are_read_from_the_processor() {
        let variant =
            |value: &str| cpu_variant(&format!("processor\t: 0\nCPU architecture: {value}\n"));
        assert_eq!(variant("8").as_deref(), Some("v8"));
        assert_eq!(variant("7").as_deref(), Some("v7"));
        assert_eq!(variant("5TEJ").as_deref(), Some("v5"));
        assert_eq!(variant("junk"), None);
        assert_eq!(cpu_variant(""), None);
    }
}
