//! Called as `skopeo`, through a link.

use crate::command::Bench;

/// The message of the fatal line, as it is written.
fn fatal(stderr: &str) -> &str {
    let line = stderr.lines().last().unwrap_or_default();
    assert!(line.starts_with("time=\""), "{stderr}");
    let (_, rest) = line.split_once(" level=fatal msg=").expect("a fatal line");
    rest
}

#[test]
fn the_version_is_that_of_the_skopeo_it_stands_in_for() {
    let run = Bench::skopeo().run("--version");
    assert_eq!(
        (run.code, run.stdout.as_str()),
        (0, "skopeo version 1.22.2\n")
    );
}

#[test]
fn wrong_command_lines_have_skopeos_messages_and_code_1() {
    let bench = Bench::skopeo();
    for (arguments, message, with_help) in [
        (
            "",
            r#""Missing command 'skopeo COMMAND'\nTry 'skopeo --help' for more information""#,
            false,
        ),
        (
            "cpy",
            r#""Unrecognized command `skopeo cpy`\n\nDid you mean this?\n\tcopy\n\nTry 'skopeo --help' for more information""#,
            false,
        ),
        ("copy dir:image", "\"Exactly two arguments expected\"", true),
        (
            "copy dir:image dir:a dir:b",
            "\"Exactly two arguments expected\"",
            true,
        ),
        (
            "list-tags",
            "\"Exactly one non-option argument expected\"",
            true,
        ),
        ("inspect", "\"Exactly one argument expected\"", false),
        ("delete", "\"Usage: delete imageReference\"", false),
        (
            "manifest-digest",
            "\"Usage: skopeo manifest-digest manifest\"",
            false,
        ),
        (
            "inspect --nope dir:image",
            "\"unknown flag: --nope\"",
            false,
        ),
        (
            "copy --src-creds a:b --src-no-creds dir:image dir:b",
            "\"creds and no-creds cannot be specified at the same time\"",
            false,
        ),
    ] {
        let run = bench.run(arguments);
        assert_eq!(run.code, 1, "{arguments}: {}", run.stderr);
        assert_eq!(fatal(&run.stderr), message, "{arguments}");
        assert_eq!(
            run.stderr.contains("Usage: skopeo "),
            with_help || message.contains("Usage: skopeo "),
            "{arguments}: {}",
            run.stderr
        );
        assert_eq!(run.stdout, "", "{arguments}");
    }
}

#[test]
fn only_a_missing_image_is_code_2() {
    let bench = Bench::skopeo();
    assert_eq!(bench.run("copy -q dir:image oci:target:a").code, 0);
    for (arguments, code) in [
        ("inspect oci:target:absent", 2),
        ("copy oci:target:absent dir:b", 2),
        ("inspect dir:absent", 1),
        ("inspect oci:absent:a", 1),
        ("delete oci:target:absent", 1),
        ("manifest-digest absent.json", 1),
        ("inspect nope:image", 1),
    ] {
        let run = bench.run(arguments);
        assert_eq!(run.code, code, "{arguments}: {}", run.stderr);
        fatal(&run.stderr);
    }
}

#[test]
fn a_copy_is_reported_in_skopeos_lines_on_stderr() {
    let run = Bench::skopeo().run("copy dir:image oci:target:a");
    assert_eq!((run.code, run.stdout.as_str()), (0, ""), "{}", run.stderr);
    let starts: Vec<&str> = run
        .stderr
        .lines()
        .map(|line| line.split(" sha256:").next().unwrap_or(line))
        .collect();
    assert_eq!(
        starts.first(),
        Some(&"Getting image source signatures"),
        "{}",
        run.stderr
    );
    assert!(
        starts.contains(&"Copying blob") && starts.contains(&"Copying config"),
        "{}",
        run.stderr
    );
    assert_eq!(
        starts.last(),
        Some(&"Writing manifest to image destination"),
        "{}",
        run.stderr
    );
    assert_eq!(
        Bench::skopeo().run("copy -q dir:image oci:target:a").stderr,
        ""
    );
}

#[test]
fn the_debug_log_has_logrus_lines() {
    let run = Bench::skopeo().run("copy --debug dir:image oci:target:a");
    for line in run.stderr.lines().filter(|line| line.contains("level=")) {
        assert!(
            line.starts_with("time=\"") && line.contains(" level=debug msg="),
            "{line}"
        );
    }
}
