//! The Debian packages that the end-to-end tests use.

use xtask::shell::{has, run};

/// A package, and the program of it that shows that it is there.
const PACKAGES: [(&str, &str); 16] = [
    ("docker-registry", "docker-registry"),
    ("skopeo", "skopeo"),
    ("podman", "podman"),
    ("umoci", "umoci"),
    ("squashfs-tools", "mksquashfs"),
    ("uidmap", "newuidmap"),
    ("gnupg", "gpg"),
    ("openssl", "openssl"),
    ("apache2-utils", "htpasswd"),
    ("m4", "m4"),
    ("docker.io", "dockerd"),
    ("curl", "curl"),
    ("python3", "python3"),
    ("zstd", "zstd"),
    ("bzip2", "bzip2"),
    ("xz-utils", "xz"),
];

/// Installs what is missing, if `install` says so and the system lets us; else says what is.
pub(crate) fn provide(install: bool) -> Result<(), String> {
    let missing: Vec<&str> = PACKAGES
        .iter()
        .filter(|(_, program)| !has(program))
        .map(|(package, _)| *package)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !install || !has("apt-get") {
        println!(
            "not installed, so some tests will be skipped: {}",
            missing.join(", ")
        );
        println!("(`cargo xtask test --install` installs them on Debian, as root)");
        return Ok(());
    }
    run("apt-get", &["update", "-qq"])?;
    let mut arguments = vec!["install", "-y", "-qq", "--no-install-recommends"];
    arguments.extend(missing);
    run(
        "env",
        &[
            &["DEBIAN_FRONTEND=noninteractive", "apt-get"],
            arguments.as_slice(),
        ]
        .concat(),
    )
}
