//! Where the Docker engine is: at sockets and ports, with and without TLS, by flags, by the
//! environment and by Docker's contexts; and what is said when it is not there.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use dhow_model::Digest;
use dhow_testkit::image::{ImageSpec, validate_layout, write_layout};
use serde_json::json;

use crate::authority::{Authority, Flavour};
use crate::dhow::{Desk, Outcome, outcome};
use crate::engine::{Engine, Listening, free_address};

/// Runs dhow with variables in its environment.
fn dhow(desk: &Desk, variables: &[(&str, &str)], arguments: &[&str]) -> Outcome {
    let mut command = desk.command();
    outcome(command.envs(variables.iter().copied()).args(arguments))
}

/// Makes a context of Docker's in a folder, as `docker context create` does.
fn write_context(folder: &Path, name: &str, host: &str) -> PathBuf {
    let id = Digest::sha256(name.as_bytes()).hex();
    let place = folder.join("contexts/meta").join(&id);
    fs::create_dir_all(&place).unwrap();
    let meta = json!({
        "Name": name,
        "Metadata": {},
        "Endpoints": {"docker": {"Host": host, "SkipTLSVerify": false}},
    });
    fs::write(place.join("meta.json"), meta.to_string()).unwrap();
    folder.join("contexts/tls").join(id).join("docker")
}

/// Makes a context the one that is in use.
fn choose_context(folder: &Path, name: &str) {
    let config = json!({"auths": {}, "currentContext": name});
    fs::write(folder.join("config.json"), config.to_string()).unwrap();
}

#[test]
fn heavy_the_engine_is_found_by_flag_by_environment_and_by_context() {
    let Some(engine) = Engine::listening(Listening::Plain) else {
        return;
    };
    let desk = Desk::new();
    let image = ImageSpec::oci(81).build();
    write_layout(&desk.path("origin"), &[("image", &image)]);
    let (socket, port) = (engine.host(), engine.address.as_str());
    let (tcp, http) = (format!("tcp://{port}"), format!("http://{port}"));

    for (name, host) in [("by-socket:1", &socket), ("by-port:1", &http)] {
        let place = format!("docker-daemon:{name}");
        let flag = format!("--dest-daemon-host={host}");
        let copy = ["copy", &flag, "oci:./origin:image", &place];
        dhow(&desk, &[("DOCKER_HOST", "tcp://127.0.0.1:1")], &copy).ok();
        engine.image(name);
        let flag = format!("--src-daemon-host={host}");
        let layout = format!("oci:./{name}", name = name.trim_end_matches(":1"));
        desk.dhow(&["copy", &flag, &place, &layout]).ok();
        validate_layout(&desk.path(name.trim_end_matches(":1"))).expect("every digest is right");
    }
    let inspect = ["inspect", "docker-daemon:by-socket:1"];
    // A flag with `tcp://` means TLS, which this engine does not speak.
    let flag = format!("--daemon-host={tcp}");
    let told = desk
        .dhow(&[inspect[0], &flag, inspect[1]])
        .fails(6)
        .to_lowercase();
    assert!(told.contains("http://") && told.contains(port), "{told}");

    let folder = desk.path("docker");
    let config = folder.to_str().expect("its name is text");
    write_context(&folder, "near", &socket);
    write_context(&folder, "port", &tcp);
    write_context(&folder, "nowhere", "unix:///nonexistent/docker.sock");
    choose_context(&folder, "near");
    let config = ("DOCKER_CONFIG", config);
    for variables in [
        &[("DOCKER_HOST", socket.as_str())][..],
        &[("DOCKER_HOST", &tcp)],
        &[config],
        &[config, ("DOCKER_CONTEXT", "port")],
        &[config, ("DOCKER_CONTEXT", "nowhere"), ("DOCKER_HOST", &tcp)],
    ] {
        dhow(&desk, variables, &inspect).ok();
    }
    for variables in [
        &[config, ("DOCKER_CONTEXT", "nowhere")][..],
        &[config, ("DOCKER_HOST", "unix:///nonexistent/docker.sock")],
    ] {
        let told = dhow(&desk, variables, &inspect).fails(5);
        assert!(told.contains("/nonexistent/docker.sock"), "{told}");
    }
    let told = dhow(&desk, &[config, ("DOCKER_CONTEXT", "gone")], &inspect);
    assert!(!matches!(told.code, Some(0 | 2 | 101)), "{told:?}");
    assert!(told.stderr.contains("`gone`"), "{told:?}");

    // The user's own folder is the one, when no other is named.
    let own = desk.home().join(".docker");
    write_context(&own, "mine", &socket);
    choose_context(&own, "mine");
    desk.dhow(&inspect).ok();
    // An engine without root listens beside what else runs for its user.
    if !Path::new("/var/run/docker.sock").exists() {
        choose_context(&own, "default");
        let run = desk.path("run-of-user");
        fs::create_dir(&run).unwrap();
        std::os::unix::fs::symlink(engine.socket(), run.join("docker.sock")).unwrap();
        let run = run.to_str().expect("its name is text");
        dhow(&desk, &[("XDG_RUNTIME_DIR", run)], &inspect).ok();
    }
}

/// Writes the files of a client as Docker names them, as far as they are given.
fn write_client(folder: &Path, authority: Option<&Authority>, identity: Option<&Authority>) {
    fs::create_dir_all(folder).unwrap();
    if let Some(authority) = authority {
        fs::copy(authority.trusted.join("ca.crt"), folder.join("ca.pem")).unwrap();
    }
    if let Some(authority) = identity {
        let (certificate, key) = (folder.join("cert.pem"), folder.join("key.pem"));
        authority.issue(&certificate, &key, &["client"], Flavour::Client);
    }
}

/// Checks that an engine that does not know who asks is named.
#[track_caller]
fn assert_refused(told: &Outcome, engine: &Engine) {
    assert!(!matches!(told.code, Some(0 | 2 | 101)), "{told:?}");
    assert!(told.stderr.contains(&engine.address), "{told:?}");
}

#[test]
fn heavy_an_engine_with_tls_is_trusted_as_its_files_say() {
    let desk = Desk::new();
    let (own, other) = (desk.path("own"), desk.path("other"));
    fs::create_dir(&own).unwrap();
    fs::create_dir(&other).unwrap();
    let (own, other) = (Authority::create(&own), Authority::create(&other));
    let Some(engine) = Engine::listening(Listening::Secured(&own)) else {
        return;
    };
    let image = ImageSpec::oci(82).build();
    write_layout(&desk.path("origin"), &[("image", &image)]);
    let folder = |name: &str, authority, identity| {
        write_client(&desk.path(name), authority, identity);
        desk.path(name)
            .to_str()
            .expect("its name is text")
            .to_owned()
    };
    let right = folder("right", Some(&own), Some(&own));
    let wrong = folder("wrong", Some(&other), Some(&own));
    let stranger = folder("stranger", Some(&own), Some(&other));
    let nobody = folder("nobody", Some(&own), None);

    let host = format!("tcp://{}", engine.address);
    let to = format!("--dest-daemon-host={host}");
    let from = format!("--src-daemon-host={host}");
    let copied_in = |folder: &str, more: &[&str]| {
        let folder = format!("--dest-cert-dir={folder}");
        let copy = ["copy", &to, &folder, "oci:./origin:image"];
        desk.dhow(&[&copy[..], more, &["docker-daemon:x:1"]].concat())
    };
    let copied_out = |folder: &str, more: &[&str]| {
        let folder = format!("--src-cert-dir={folder}");
        let copy = ["copy", &from, &folder, "docker-daemon:x:1", "oci:./out:1"];
        desk.dhow(&[&copy[..], more].concat())
    };
    for folder in [&stranger, &nobody] {
        assert_refused(&copied_in(folder, &[]), &engine);
    }
    let told = copied_in(&wrong, &[]).fails(6);
    assert!(told.contains(&engine.address), "{told}");
    assert!(told.contains("cert-dir"), "{told}");
    assert!(told.contains("peer certificate"), "{told}");
    assert!(engine.names().is_empty());
    copied_in(&right, &[]).ok();
    assert_eq!(engine.names(), ["x:1"]);
    copied_out(&wrong, &[]).fails(6);
    for folder in [&stranger, &nobody] {
        assert_refused(&copied_out(folder, &[]), &engine);
    }
    assert!(!desk.path("out").exists());
    copied_out(&right, &[]).ok();
    // Who does not look whom it speaks with still has to say who it is.
    copied_out(&wrong, &["--src-tls-verify=false"]).ok();
    copied_in(&wrong, &["--dest-tls-verify=false"]).ok();
    assert_refused(&copied_out(&nobody, &["--src-tls-verify=false"]), &engine);
    validate_layout(&desk.path("out")).expect("every digest is right");

    // As the docker CLI is told.
    let inspect = ["inspect", "docker-daemon:x:1"];
    let secured = |folder| {
        [
            ("DOCKER_HOST", host.as_str()),
            ("DOCKER_TLS_VERIFY", "1"),
            ("DOCKER_CERT_PATH", folder),
        ]
    };
    dhow(&desk, &secured(&right), &inspect).ok();
    dhow(&desk, &secured(&wrong), &inspect).fails(6);
    let docker = desk.home().join(".docker");
    let place = write_context(&docker, "secured", &host);
    write_client(&place, Some(&own), Some(&own));
    choose_context(&docker, "secured");
    desk.dhow(&inspect).ok();
    write_client(&place, Some(&other), None);
    desk.dhow(&inspect).fails(6);
    // Without TLS there is no answer, and no waiting for one.
    let plain = format!("--daemon-host=http://{}", engine.address);
    let told = desk.dhow(&["inspect", &plain, "docker-daemon:x:1"]);
    assert!(!matches!(told.code, Some(0 | 2 | 101)), "{told:?}");
    assert!(told.stderr.contains("docker engine reported"), "{told:?}");
}

#[test]
fn an_engine_that_does_not_run_is_named_whatever_is_wanted_of_it() {
    let desk = Desk::new();
    let image = ImageSpec::oci(83).build();
    write_layout(&desk.path("origin"), &[("image", &image)]);
    let gone = desk.path("gone.sock");
    let left = desk.path("left.sock");
    // A socket whose listener ended without taking it away.
    drop(std::os::unix::net::UnixListener::bind(&left).unwrap());
    let file = desk.path("file");
    fs::write(&file, "").unwrap();
    let port = free_address();
    for host in [
        format!("unix://{}", gone.display()),
        format!("unix://{}", left.display()),
        format!("unix://{}", file.display()),
        format!("tcp://{port}"),
        format!("http://{port}"),
    ] {
        let address = host.split_once("://").expect("it has a scheme").1;
        let (from, to) = (
            format!("--src-daemon-host={host}"),
            format!("--dest-daemon-host={host}"),
        );
        let one = format!("--daemon-host={host}");
        for arguments in [
            &["copy", &from, "docker-daemon:x:1", "oci:./out:1"][..],
            &["copy", &to, "oci:./origin:image", "docker-daemon:x:1"],
            &["inspect", &one, "docker-daemon:x:1"],
            &["delete", &one, "docker-daemon:x:1"],
        ] {
            let started = Instant::now();
            let told = desk.dhow(arguments).fails(5);
            assert!(told.contains(address), "{told}");
            assert!(told.contains("daemon-host"), "{told}");
            assert!(started.elapsed() < SOON, "{arguments:?}");
        }
    }
    assert!(!desk.path("out").exists());
    for (host, said) in [
        ("ssh://me@somewhere", "ssh"),
        ("nothing", "scheme"),
        ("unix://", "path"),
    ] {
        let told = dhow(
            &desk,
            &[("DOCKER_HOST", host)],
            &["inspect", "docker-daemon:x:1"],
        );
        assert!(!matches!(told.code, Some(0 | 2 | 101)), "{told:?}");
        assert!(told.stderr.contains("DOCKER_HOST"), "{told:?}");
        assert!(told.stderr.contains(said), "{told:?}");
    }
}

/// How long it may take to see that nobody is there.
const SOON: Duration = Duration::from_secs(10);
