//! Secrets that must show up nowhere.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::dhow::{Desk, outcome};
use crate::registry::{Registry, Wanted};

const CANARY: &str = "canary/s3cret+bird";

#[test]
fn no_level_of_output_shows_a_secret() {
    let desk = Desk::new();
    let wanted = Wanted {
        user: Some(("ann", CANARY)),
        ..Wanted::default()
    };
    let right = Registry::dhow(&desk, "right", wanted);
    let wanted = Wanted {
        user: Some(("ann", "another")),
        ..Wanted::default()
    };
    let wrong = Registry::dhow(&desk, "wrong", wanted);
    let pair = format!("ann:{CANARY}");
    let shapes = [
        CANARY.to_owned(),
        STANDARD.encode(&pair),
        "canary%2Fs3cret%2Bbird".to_owned(),
    ];
    for registry in [&right, &wrong] {
        let image = format!("docker://{}/none:1", registry.address);
        for flag in [
            format!("--creds={pair}"),
            format!("--registry-token={CANARY}"),
        ] {
            for level in ["error", "trace"] {
                let got = outcome(desk.command().env("RUST_LOG", level).args([
                    "--debug",
                    "inspect",
                    "--tls-verify=false",
                    &flag,
                    &image,
                ]));
                assert_ne!(got.code, Some(0), "{}", got.stderr);
                for shape in &shapes {
                    assert!(!got.stdout.contains(shape), "{level} {}", got.stdout);
                    assert!(!got.stderr.contains(shape), "{level} {}", got.stderr);
                }
            }
        }
    }
}

#[test]
fn the_password_of_a_proxy_is_not_shown() {
    let desk = Desk::new();
    let password = "canary-of-a-proxy";
    for level in ["error", "trace"] {
        let got = outcome(
            desk.command()
                .env("RUST_LOG", level)
                .env("HTTPS_PROXY", format!("http://ann:{password}@127.0.0.1:1"))
                .args(["--debug", "inspect", "docker://registry.invalid/none:1"]),
        );
        assert_ne!(got.code, Some(0), "{got:?}");
        let pair = STANDARD.encode(format!("ann:{password}"));
        for text in [&got.stdout, &got.stderr] {
            assert!(!text.contains(password) && !text.contains(&pair), "{text}");
        }
    }
}
