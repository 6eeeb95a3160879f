//! Flags, and what is said when they make no sense.

use crate::command::{Bench, digest, manifest};

#[test]
fn the_version_is_one_line_on_stdout() {
    for arguments in ["--version", "-v", "-V"] {
        let run = Bench::new().run(arguments);
        let expected = concat!("dhow ", env!("CARGO_PKG_VERSION"), "\n");
        assert_eq!(
            (run.code, run.stdout.as_str()),
            (0, expected),
            "{arguments}"
        );
    }
}

#[test]
fn every_command_has_help_with_examples() {
    let bench = Bench::new();
    for command in ["copy", "inspect", "list-tags", "delete"] {
        let run = bench.run_with(&[command, "--help"]);
        assert_eq!(run.code, 0, "{command}");
        assert!(run.stdout.contains("Examples:"), "{command}");
        assert!(
            run.stdout.contains("--tls-verify") || command == "copy",
            "{command}"
        );
        let first = run.stdout.lines().next().unwrap_or_default();
        assert!(
            !first.ends_with('.') && !first.is_empty(),
            "{command}: {first}"
        );
    }
}

#[test]
fn command_lines_that_make_no_sense_end_with_64() {
    let bench = Bench::new();
    for (arguments, message) in [
        ("", "a command is missing"),
        ("cpy a b", "unrecognized subcommand 'cpy'"),
        ("copy dir:image", "required arguments were not provided"),
        ("copy dir:image dir:a dir:b", "unexpected argument 'dir:b'"),
        ("inspect --nope dir:image", "unexpected argument '--nope'"),
        (
            "inspect dir:image --raw --format x",
            "raw output does not support format option",
        ),
        (
            "copy --all --multi-arch all dir:image dir:b",
            "cannot use --all and --multi-arch",
        ),
        (
            "copy --multi-arch everything dir:image dir:b",
            "unknown multi-arch option",
        ),
        ("copy --format v3 dir:image dir:b", "unknown format `v3`"),
        (
            "copy --src-creds a:b --src-no-creds dir:image dir:b",
            "creds and no-creds cannot be specified at the same time",
        ),
        (
            "copy --dest-username a dir:image dir:b",
            "password must be specified when username is specified",
        ),
        ("inspect --creds= dir:image", "credentials can't be empty"),
        (
            "copy --command-timeout 5 dir:image dir:b",
            "`5` is no duration",
        ),
        (
            "copy --src-tls-verify=maybe dir:image dir:b",
            "expected `true` or `false`",
        ),
        ("inspect nothing", "invalid image name"),
        ("inspect nope:image", "invalid image name"),
    ] {
        let run = bench.run(arguments);
        assert_eq!(run.code, 64, "{arguments}: {}", run.stderr);
        assert!(
            run.stderr.starts_with("error: "),
            "{arguments}: {}",
            run.stderr
        );
        let said = run.stderr.to_lowercase();
        assert!(
            said.contains(&message.to_lowercase()),
            "{arguments}: {}",
            run.stderr
        );
        assert_eq!(run.stdout, "", "{arguments}");
    }
}

#[test]
fn global_flags_stand_before_or_after_the_command() {
    let bench = Bench::new();
    for arguments in [
        "--insecure-policy --tmpdir . inspect --raw dir:image",
        "inspect --insecure-policy=true --raw dir:image --override-os linux",
        "inspect dir:image --raw=T --debug=false --quiet --quiet",
        "inspect --raw=false --raw -- dir:image",
    ] {
        let run = bench.run(arguments);
        assert_eq!(
            (run.code, run.stdout),
            (0, manifest()),
            "{arguments}: {}",
            run.stderr
        );
    }
}

#[test]
fn passwords_are_not_shown_in_messages() {
    let bench = Bench::new();
    for arguments in [
        "copy --src-creds :s3cret dir:image dir:b",
        "copy --src-creds a:s3cret --src-username b dir:image dir:b",
        "copy --debug --dest-registry-token s3cret dir:absent dir:b",
    ] {
        let run = bench.run(arguments);
        assert_ne!(run.code, 0, "{arguments}");
        assert!(
            !run.stderr.contains("s3cret"),
            "{arguments}: {}",
            run.stderr
        );
    }
}

#[test]
fn the_digest_of_a_manifest_is_printed() {
    let bench = Bench::new();
    let run = bench.run("manifest-digest image/manifest.json");
    assert_eq!((run.code, run.stdout), (0, format!("{}\n", digest())));
    let run = bench.run("manifest-digest absent.json");
    assert_eq!(run.code, 2);
    assert!(run.stderr.contains("\n  caused by: "), "{}", run.stderr);
}

#[test]
fn completion_scripts_know_the_commands() {
    for shell in ["bash", "fish", "zsh"] {
        let run = Bench::new().run_with(&["completion", shell]);
        assert_eq!(run.code, 0, "{shell}");
        assert!(run.stdout.contains("list-tags"), "{shell}");
    }
}
