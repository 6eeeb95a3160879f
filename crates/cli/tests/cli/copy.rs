//! `dhow copy` between directories and layouts: output, files, exit codes.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use crate::command::{Bench, digest};

#[test]
fn stdout_stays_empty_and_the_result_is_on_stderr() {
    let run = Bench::new().run("copy dir:image oci:target:app:1.0");
    assert_eq!((run.code, run.stdout.as_str()), (0, ""), "{}", run.stderr);
    assert!(run.stderr.contains(&digest()), "{}", run.stderr);
    assert!(run.stderr.contains("2 blobs sent"), "{}", run.stderr);
}

#[test]
fn quiet_says_nothing() {
    for arguments in [
        "copy -q dir:image oci:target:a",
        "--quiet copy dir:image oci:target:a",
    ] {
        let run = Bench::new().run(arguments);
        assert_eq!(
            (run.code, run.stdout + &run.stderr),
            (0, String::new()),
            "{arguments}"
        );
    }
}

#[test]
fn the_digest_file_holds_the_digest_without_a_newline() {
    let bench = Bench::new();
    fs::write(bench.path("digest"), "old").unwrap();
    let run = bench.run("copy -q --digestfile digest dir:image oci:target:a");
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(fs::read_to_string(bench.path("digest")).unwrap(), digest());
}

#[test]
fn the_digest_file_stays_as_it_was_when_nothing_was_copied() {
    let bench = Bench::new();
    fs::write(bench.path("digest"), "old").unwrap();
    for arguments in [
        "copy --digestfile digest dir:absent oci:target:a",
        "copy --digestfile digest --dry-run dir:image oci:target:a",
    ] {
        bench.run(arguments);
        let held = fs::read_to_string(bench.path("digest")).unwrap();
        assert_eq!(held, "old", "{arguments}");
    }
}

#[test]
fn a_digest_file_can_be_a_device() {
    let run = Bench::new().run("copy -q --digestfile /dev/stdout dir:image oci:target:a");
    assert_eq!((run.code, run.stdout), (0, digest()), "{}", run.stderr);
}

#[test]
fn a_result_for_programs_is_one_object() {
    let bench = Bench::new();
    let run = bench.run("copy --output json --progress none dir:image oci:target:a");
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));
    let result: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(result["schemaVersion"], 1);
    assert_eq!(result["digest"], digest());
    assert_eq!(result["sent"]["blobs"], 2);
    let run = bench.run("copy --output json --progress none dir:image oci:target:b");
    let result: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(
        (&result["sent"]["blobs"], &result["reused"]["blobs"]),
        (&0.into(), &2.into())
    );
}

#[test]
fn progress_for_programs_is_json_lines() {
    let run = Bench::new().run("copy --progress json --output json dir:image oci:target:a");
    assert_eq!(run.code, 0, "{}", run.stderr);
    let events: Vec<serde_json::Value> = run
        .stderr
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let named = |name: &str| events.iter().filter(|event| event["event"] == name).count();
    assert_eq!(
        (named("planned"), named("blob"), named("manifest")),
        (1, 2, 1),
        "{}",
        run.stderr
    );
}

#[test]
fn a_dry_run_prints_the_plan_and_writes_nothing() {
    let bench = Bench::new();
    let run = bench.run("copy --dry-run dir:image oci:target:a");
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));
    assert!(run.stdout.contains(&digest()), "{}", run.stdout);
    assert!(run.stdout.contains("2 blobs would move"), "{}", run.stdout);
    assert!(!bench.path("target").exists());
    let run = bench.run("copy --dry-run --output json dir:image oci:target:a");
    let result: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(result["plan"]["blobs"].as_array().unwrap().len(), 2);
}

#[test]
fn what_cannot_be_done_is_refused_with_a_hint() {
    let bench = Bench::new();
    for (arguments, code) in [
        ("copy --format v2s1 dir:image dir:b", 10),
        ("copy --preserve-digests --format v2s2 dir:image dir:b", 10),
        ("copy --multi-arch index-only dir:image dir:b", 10),
    ] {
        let run = bench.run(arguments);
        assert_eq!(run.code, code, "{arguments}: {}", run.stderr);
        assert!(
            run.stderr.contains("\nhint: "),
            "{arguments}: {}",
            run.stderr
        );
        assert!(!bench.path("b/manifest.json").exists(), "{arguments}");
    }
}

#[test]
fn policy_decides() {
    let bench = Bench::new();
    fs::write(bench.path("no.json"), r#"{"default":[{"type":"reject"}]}"#).unwrap();
    fs::write(bench.path("bad.json"), "{").unwrap();
    for (arguments, code) in [
        ("copy --policy no.json dir:image dir:a", 7),
        ("copy --policy bad.json dir:image dir:a", 8),
        ("copy --policy no.json --insecure-policy dir:image dir:b", 0),
        ("inspect --policy no.json dir:image", 0),
    ] {
        let run = bench.run(arguments);
        assert_eq!(run.code, code, "{arguments}: {}", run.stderr);
    }
    assert!(!bench.path("a/manifest.json").exists());
}

#[test]
fn content_that_is_not_what_its_digest_says_ends_with_7() {
    let bench = Bench::new();
    for entry in fs::read_dir(bench.path("image")).unwrap() {
        let path = entry.unwrap().path();
        let bytes = fs::read(&path).unwrap();
        if bytes.starts_with(&[0x1f, 0x8b]) {
            fs::write(&path, vec![0; bytes.len()]).unwrap();
        }
    }
    let run = bench.run("copy dir:image oci:target:a");
    assert_eq!(run.code, 7, "{}", run.stderr);
    assert!(run.stderr.contains("\n  caused by: "), "{}", run.stderr);
}

#[test]
fn a_manifest_that_is_none_ends_with_8() {
    let bench = Bench::new();
    fs::write(bench.path("image/manifest.json"), "{\"schemaVersion\":").unwrap();
    let run = bench.run("copy dir:image oci:target:a");
    assert_eq!(run.code, 8, "{}", run.stderr);
}

#[test]
fn a_directory_that_cannot_be_written_ends_with_9() {
    let bench = Bench::new();
    fs::create_dir(bench.path("locked")).unwrap();
    fs::set_permissions(bench.path("locked"), fs::Permissions::from_mode(0o555)).unwrap();
    // Nothing is locked to root.
    if fs::write(bench.path("locked/probe"), "").is_ok() {
        return;
    }
    let run = bench.run("copy dir:image oci:locked/target:a");
    assert_eq!(run.code, 9, "{}", run.stderr);
}

#[test]
fn tags_of_a_layout_are_listed_and_deleted() {
    let bench = Bench::new();
    bench.run("copy -q dir:image oci:target:a");
    bench.run("copy -q dir:image oci:target:b");
    let run = bench.run("list-tags oci:target");
    assert_eq!(
        run.stdout,
        "{\n    \"Tags\": [\n        \"a\",\n        \"b\"\n    ]\n}\n"
    );
    let run = bench.run("delete oci:target:a");
    assert_eq!((run.code, run.stdout.as_str()), (0, ""), "{}", run.stderr);
    assert_eq!(bench.run("inspect --raw oci:target:a").code, 2);
    assert_eq!(bench.run("inspect --raw oci:target:b").code, 0);
}
