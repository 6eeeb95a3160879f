//! Whose certificate is trusted, and what is said when it is not.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rcgen::{CertificateParams, KeyPair, date_time_ymd};

use crate::authority::Authority;
use crate::dhow::{Desk, outcome};
use crate::registry::{Registry, Wanted};
use crate::tools::has;

#[test]
fn trust_comes_from_every_place_that_is_documented() {
    let desk = Desk::new();
    let authority = Authority::create(&desk.work());
    let wanted = Wanted {
        tls: Some(&authority),
        ..Wanted::default()
    };
    let server = Registry::dhow(&desk, "registry", wanted);
    let image = format!("docker://{}/none:1", server.address);
    let message = desk.dhow(&["inspect", &image]).fails(6);
    assert!(message.contains("certs.d"), "{message}");
    // The image is not there: what fails with 2 has trusted the server.
    desk.dhow(&["inspect", "--tls-verify=false", &image])
        .fails(2);
    let flag = format!("--cert-dir={}", authority.trusted.display());
    desk.dhow(&["inspect", &flag, &image]).fails(2);
    let file = authority.trusted.join("ca.crt");
    outcome(
        desk.command()
            .env("SSL_CERT_FILE", &file)
            .args(["inspect", &image]),
    )
    .fails(2);
    let own = desk
        .home()
        .join(".config/containers/certs.d")
        .join(&server.address);
    fs::create_dir_all(&own).unwrap();
    fs::copy(&file, own.join("ca.crt")).unwrap();
    desk.dhow(&["inspect", &image]).fails(2);
    fs::copy(&authority.certificate, own.join("client.cert")).unwrap();
    let message = desk.dhow(&["inspect", &image]);
    assert_ne!(message.code, Some(2), "{message:?}");
    assert!(message.stderr.contains("client."), "{message:?}");
}

#[test]
fn plain_http_needs_the_flag() {
    let desk = Desk::new();
    let server = Registry::dhow(&desk, "registry", Wanted::default());
    let image = format!("docker://{}/none:1", server.address);
    let message = desk.dhow(&["inspect", &image]);
    assert!(!matches!(message.code, Some(0 | 2)), "{message:?}");
    assert!(message.stderr.contains("--tls-verify=false"), "{message:?}");
    desk.dhow(&["inspect", "--tls-verify=false", &image])
        .fails(2);
}

#[test]
fn a_certificate_that_is_over_or_for_another_host_says_so() {
    let desk = Desk::new();
    for (name, host, until, said) in [
        ("over", "127.0.0.1", 2001, "expired"),
        ("other", "other.example", 4000, "other.example"),
    ] {
        let mut authority = Authority::create(&desk.work());
        let key = KeyPair::generate().unwrap();
        let mut leaf = CertificateParams::new(vec![host.to_owned()]).unwrap();
        leaf.not_before = date_time_ymd(2000, 1, 1);
        leaf.not_after = date_time_ymd(until, 1, 1);
        authority.certificate = desk.path(&format!("{name}.crt"));
        authority.key = desk.path(&format!("{name}.key"));
        let certificate = leaf.self_signed(&key).unwrap();
        fs::write(&authority.certificate, certificate.pem()).unwrap();
        fs::write(&authority.key, key.serialize_pem()).unwrap();
        fs::write(authority.trusted.join("ca.crt"), certificate.pem()).unwrap();
        let wanted = Wanted {
            tls: Some(&authority),
            ..Wanted::default()
        };
        let server = Registry::dhow(&desk, name, wanted);
        let image = format!("docker://{}/none:1", server.address);
        let flag = format!("--cert-dir={}", authority.trusted.display());
        let message = desk.dhow(&["inspect", &flag, &image]).fails(6);
        assert!(message.contains(said), "{message}");
    }
}

#[test]
fn a_client_key_that_cannot_be_used_is_named() {
    if !has("openssl") {
        return;
    }
    let desk = Desk::new();
    let authority = Authority::create(&desk.work());
    let wanted = Wanted {
        tls: Some(&authority),
        ..Wanted::default()
    };
    let server = Registry::dhow(&desk, "registry", wanted);
    let image = format!("docker://{}/none:1", server.address);
    let flag = format!("--cert-dir={}", authority.trusted.display());
    let key = authority.trusted.join("client.key");
    fs::copy(
        &authority.certificate,
        authority.trusted.join("client.cert"),
    )
    .unwrap();
    let encrypt = ["pkcs8", "-topk8", "-passout", "pass:secret", "-in"];
    outcome(
        desk.dressed("openssl")
            .args(encrypt)
            .arg(&authority.key)
            .arg("-out")
            .arg(&key),
    )
    .ok();
    let encrypted = desk.dhow(&["inspect", &flag, &image]);
    fs::write(&key, KeyPair::generate().unwrap().serialize_pem()).unwrap();
    let foreign = desk.dhow(&["inspect", &flag, &image]);
    for message in [encrypted, foreign] {
        assert!(!matches!(message.code, Some(0 | 2)), "{message:?}");
        assert!(message.stderr.contains("client.key"), "{message:?}");
    }
}

#[test]
fn directories_of_authorities_are_taken_from_the_environment() {
    let desk = Desk::new();
    let authority = Authority::create(&desk.work());
    let wanted = Wanted {
        tls: Some(&authority),
        ..Wanted::default()
    };
    let server = Registry::dhow(&desk, "registry", wanted);
    let image = format!("docker://{}/none:1", server.address);
    let empty = desk.path("empty");
    fs::create_dir(&empty).unwrap();
    let (empty, trusted) = (empty.display(), authority.trusted.display());
    for (value, code) in [
        (format!("{trusted}"), 2),
        (format!("{empty}:{trusted}"), 2),
        (format!("{empty}"), 6),
        (format!("{trusted}/nowhere"), 8),
    ] {
        let mut command = desk.command();
        command
            .env("SSL_CERT_DIR", &value)
            .args(["inspect", &image]);
        let told = outcome(&mut command).fails(code);
        assert!(code != 8 || told.contains("nowhere"), "{told}");
    }
    let mut command = desk.command();
    command
        .env("SSL_CERT_FILE", "/nowhere/ca.crt")
        .args(["inspect", &image]);
    let told = outcome(&mut command).fails(8);
    assert!(
        told.contains("SSL_CERT_FILE") && told.contains("/nowhere/ca.crt"),
        "{told}"
    );
}

#[test]
fn a_server_that_speaks_only_old_tls_is_refused_with_a_reason() {
    if !has("openssl") {
        return;
    }
    let desk = Desk::new();
    let authority = Authority::create(&desk.work());
    let trusted = format!("--cert-dir={}", authority.trusted.display());
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap().to_string();
    drop(free);
    let mut server = desk
        .dressed("openssl")
        .args(["s_server", "-www", "-tls1_1", "-accept", &address])
        .args(["-cipher", "DEFAULT@SECLEVEL=0", "-cert"])
        .arg(&authority.certificate)
        .arg("-key")
        .arg(&authority.key)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let start = Instant::now();
    while TcpStream::connect(&address).is_err() {
        let waited = start.elapsed();
        assert!(waited < Duration::from_secs(10), "openssl does not listen");
    }
    let image = format!("docker://{address}/none:1");
    let report = desk.dhow(&["doctor", &trusted, &image]);
    server.kill().ok();
    server.wait().ok();
    let line = report.stdout.lines().find(|line| line.contains(" tls "));
    let line = line.unwrap_or_else(|| panic!("{report:?}"));
    assert!(
        line.contains("error") && line.contains("ProtocolVersion"),
        "{line}"
    );
}

#[test]
fn https_is_tried_once_where_it_is_not_spoken() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let greetings = Arc::new(AtomicUsize::new(0));
    let requests = Arc::new(AtomicUsize::new(0));
    let counts = (Arc::clone(&greetings), Arc::clone(&requests));
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut bytes = [0; 4096];
            let length = stream.read(&mut bytes).unwrap_or_default();
            if bytes[0] == 0x16 {
                counts.0.fetch_add(1, Ordering::Relaxed);
            } else if length > 0 {
                counts.1.fetch_add(1, Ordering::Relaxed);
            }
            let answer = "HTTP/1.1 404 Not Found\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
            stream.write_all(answer.as_bytes()).ok();
        }
    });
    let desk = Desk::new();
    let image = format!("docker://{address}/none:1");
    desk.dhow(&["inspect", "--tls-verify=false", &image])
        .fails(2);
    assert_eq!(greetings.load(Ordering::Relaxed), 1);
    // The manifest, and the tags that are near.
    assert!(requests.load(Ordering::Relaxed) >= 2);
}
