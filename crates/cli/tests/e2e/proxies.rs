//! Proxies from the environment: HTTP and SOCKS5, names resolved by the proxy, and NO_PROXY.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use dhow_testkit::image::ImageSpec;

use crate::authority::{Authority, Flavour};
use crate::dhow::{Desk, outcome};
use crate::registry::{Registry, Wanted};
use crate::samples;

/// A proxy for HTTP's CONNECT and SOCKS5 that leads everything to one place.
pub(crate) struct Proxy {
    pub(crate) address: String,
    log: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    pub(crate) fn start(target: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let log = Arc::new(Mutex::new(Vec::new()));
        let (target, lines) = (target.to_owned(), Arc::clone(&log));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (target, lines) = (target.clone(), Arc::clone(&lines));
                thread::spawn(move || serve(stream, &target, &lines));
            }
        });
        Self { address, log }
    }

    fn lines(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }
}

fn serve(mut stream: TcpStream, target: &str, log: &Mutex<Vec<String>>) -> Option<()> {
    let mut first = [0];
    stream.read_exact(&mut first).ok()?;
    let asked = if first == [5] {
        socks5(&mut stream)?
    } else {
        connect(&mut stream)?
    };
    log.lock().unwrap().push(asked);
    let to = TcpStream::connect(target).ok()?;
    let pipe = |mut from: TcpStream, mut to: TcpStream| {
        std::io::copy(&mut from, &mut to).ok();
        to.shutdown(Shutdown::Write).ok();
    };
    let (back, forth) = (to.try_clone().ok()?, stream.try_clone().ok()?);
    thread::spawn(move || pipe(back, forth));
    pipe(stream, to);
    Some(())
}

/// RFC 1928: no authentication, CONNECT to a name.
fn socks5(stream: &mut TcpStream) -> Option<String> {
    let mut count = [0];
    stream.read_exact(&mut count).ok()?;
    let mut methods = vec![0; usize::from(count[0])];
    stream.read_exact(&mut methods).ok()?;
    stream.write_all(&[5, 0]).ok()?;
    let mut head = [0; 5];
    stream.read_exact(&mut head).ok()?;
    assert_eq!(head[..4], [5, 1, 0, 3], "the proxy is asked for a name");
    let mut rest = vec![0; usize::from(head[4]) + 2];
    stream.read_exact(&mut rest).ok()?;
    stream.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).ok()?;
    let (name, port) = rest.split_at(rest.len() - 2);
    let port = u16::from_be_bytes([port[0], port[1]]);
    Some(format!("SOCKS5 {}:{port}", String::from_utf8_lossy(name)))
}

fn connect(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").ok()?;
    let head = String::from_utf8_lossy(&head).into_owned();
    let login = head.lines().find_map(|line| {
        line.to_ascii_lowercase()
            .strip_prefix("proxy-authorization: ")
            .map(str::to_owned)
    });
    let line = head.lines().next()?.split(' ').nth(1)?.to_owned();
    // The first byte was read before.
    Some(format!("CONNECT {line} {}", login.unwrap_or_default()))
}

#[test]
fn registries_are_reached_through_proxies_that_resolve_their_names() {
    let desk = Desk::new();
    let authority = Authority::with(
        &desk.work(),
        &["registry.test", "127.0.0.1"],
        Flavour::Server,
    );
    let wanted = Wanted {
        tls: Some(&authority),
        ..Wanted::default()
    };
    let registry = Registry::dhow(&desk, "registry", wanted);
    let trusted = format!("--cert-dir={}", authority.trusted.display());
    let to_registry = format!("--dest-cert-dir={}", authority.trusted.display());
    let images = [("a/b", "1", ImageSpec::oci(1).build())];
    samples::publish(&desk, &registry.address, &images, &[&to_registry]);
    let proxy = Proxy::start(&registry.address);
    let image = "docker://registry.test/a/b:1";
    for (variable, scheme, login, expected) in [
        ("HTTPS_PROXY", "http", "", "CONNECT registry.test:443 "),
        ("https_proxy", "http", "", "CONNECT registry.test:443 "),
        ("HTTPS_PROXY", "socks5", "", "SOCKS5 registry.test:443"),
        ("HTTPS_PROXY", "socks5h", "", "SOCKS5 registry.test:443"),
        (
            "HTTPS_PROXY",
            "http",
            "me:p%20w%2Ford@",
            // base64 of `me:p w/ord`, in lower case
            "CONNECT registry.test:443 basic bwu6ccb3l29yza==",
        ),
    ] {
        let before = proxy.lines().len();
        let mut command = desk.command();
        command
            .args(["--debug", "inspect", &trusted, image])
            .env(variable, format!("{scheme}://{login}{}", proxy.address));
        let done = outcome(&mut command);
        assert!(!done.stderr.contains("w%2Ford"), "{done:?}");
        assert_eq!(done.json()["Name"], "registry.test/a/b");
        let lines = proxy.lines();
        assert!(lines.len() > before, "{scheme}");
        for line in &lines[before..] {
            assert!(line.starts_with(expected), "{scheme}: {line}");
        }
    }
    // Who is named in NO_PROXY is reached directly: here, not at all.
    for list in ["registry.test", ".test", "*"] {
        let before = proxy.lines().len();
        let mut command = desk.command();
        command
            .args(["inspect", &trusted, image])
            .env("HTTPS_PROXY", format!("http://{}", proxy.address))
            .env("NO_PROXY", list);
        outcome(&mut command).fails(5);
        assert_eq!(proxy.lines().len(), before, "{list}");
    }
    // This machine is never reached through a proxy.
    let mut command = desk.command();
    let here = format!("docker://{}/a/b:1", registry.address);
    command
        .args(["inspect", &trusted, &here])
        .env("HTTPS_PROXY", "http://127.0.0.1:1");
    outcome(&mut command).ok();
}

#[test]
fn a_proxy_that_is_none_is_named_without_its_password() {
    let desk = Desk::new();
    let mut command = desk.command();
    command
        .args(["inspect", "docker://registry.test/a:1"])
        .env("HTTPS_PROXY", "gopher://me:s3cret@127.0.0.1:1");
    let told = outcome(&mut command).fails(8);
    assert!(
        told.contains("HTTPS_PROXY") && !told.contains("s3cret"),
        "{told}"
    );
}
