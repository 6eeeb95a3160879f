//! `dhow inspect` on an image in a directory.

use crate::command::{Bench, config, digest, manifest};

#[test]
fn the_summary_is_skopeos_json() {
    let run = Bench::new().run("inspect dir:image");
    assert_eq!(run.code, 0, "{}", run.stderr);
    let start = format!(
        "{{\n    \"Digest\": \"{}\",\n    \"RepoTags\": [],\n",
        digest()
    );
    assert!(run.stdout.starts_with(&start), "{}", run.stdout);
    assert!(
        run.stdout.contains(r#""who": "\u003cme\u003e""#),
        "{}",
        run.stdout
    );
    assert!(
        run.stdout
            .ends_with("    \"Env\": [\n        \"A=1\"\n    ]\n}\n"),
        "{}",
        run.stdout
    );
}

#[test]
fn raw_output_is_what_is_stored() {
    let bench = Bench::new();
    assert_eq!(bench.run("inspect --raw dir:image").stdout, manifest());
    assert_eq!(
        bench.run("inspect --raw --config dir:image").stdout,
        config()
    );
}

#[test]
fn templates_choose_what_is_printed() {
    let bench = Bench::new();
    for (arguments, output) in [
        (&["--format", "{{.Digest}}"][..], format!("{}\n", digest())),
        (
            &["-f", r"{{.Os}}\t{{.Architecture}}\n"],
            "linux\tamd64\n".to_owned(),
        ),
        (
            &["-f", "table {{.Os}} {{.Architecture}}"],
            "linux       amd64\n".to_owned(),
        ),
        (
            &["-f", "{{json .Labels}}"],
            "{\"who\":\"<me>\"}\n".to_owned(),
        ),
        (
            &["-f", "{{.Created}}"],
            "2024-01-02 03:04:05 +0000 UTC\n".to_owned(),
        ),
        (
            &["--config", "-f", "{{.Config.WorkingDir}} {{.OS}}"],
            "/w linux\n".to_owned(),
        ),
        (
            &["--config", "-f", "{{json .Config.Env}}"],
            "[\"A=1\"]\n".to_owned(),
        ),
    ] {
        let run = bench.run_with(&[&["inspect", "dir:image"], arguments].concat());
        assert_eq!(
            (run.code, run.stdout),
            (0, output),
            "{arguments:?}: {}",
            run.stderr
        );
    }
}

#[test]
fn json_is_the_same_with_and_without_asking_for_it() {
    let bench = Bench::new();
    let plain = bench.run("inspect dir:image").stdout;
    for template in ["json", "{{json .}}", "{{ json . }}"] {
        let run = bench.run_with(&["inspect", "--format", template, "dir:image"]);
        assert_eq!(run.stdout, plain, "{template}");
    }
}

#[test]
fn a_field_that_does_not_exist_is_an_error() {
    let run = Bench::new().run_with(&["inspect", "-f", "{{.Nope}}", "dir:image"]);
    assert_eq!((run.code, run.stdout.as_str()), (64, ""));
    assert!(
        run.stderr.contains("there is no field `Nope`"),
        "{}",
        run.stderr
    );
    assert!(run.stderr.contains("\nhint: "), "{}", run.stderr);
}

#[test]
fn an_image_that_is_not_there_differs_from_a_place_that_is_not_there() {
    let bench = Bench::new();
    assert_eq!(bench.run("copy -q dir:image oci:target:a").code, 0);
    for (arguments, code) in [
        ("inspect oci:target:absent", 2),
        ("inspect oci:absent:a", 9),
        ("inspect dir:absent", 9),
    ] {
        let run = bench.run(arguments);
        assert_eq!(run.code, code, "{arguments}: {}", run.stderr);
        assert!(
            run.stderr.starts_with("error: "),
            "{arguments}: {}",
            run.stderr
        );
    }
}
