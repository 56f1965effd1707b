//! Lists for resolvers and proxies, in the real programs: a listed name gets no answer to any question,
//! one that is not listed does.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream, UdpSocket},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use serde_json::json;
use tempfile::TempDir;

use crate::{
    lists::{device, import, pull, source},
    support::{TestApp, eventually, stories},
};

stories!(
    dnsmasq_refuses_listed_names,
    unbound_refuses_listed_names,
    bind_refuses_listed_names,
    powerdns_refuses_listed_names,
    a_hosts_file_answers_with_no_address,
    squid_refuses_listed_names,
    a_linux_firewall_refuses_listed_addresses,
);

/// Types of questions, by number: A, MX, TXT, AAAA, HTTPS.
const TYPES: [u16; 5] = [1, 15, 16, 28, 65];
const LISTED: [&str; 3] = ["bad.example", "www.bad.example", "a.b.bad.example"];

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn run(program: &str, args: &[String]) -> Running {
    let mut command = Command::new(program);
    let command = command.args(args).stdout(Stdio::null()).stderr(Stdio::null());
    Running(command.spawn().unwrap_or_else(|why| panic!("{program}: {why}")))
}

/// A port that is free for both UDP and TCP.
fn free_port() -> u16 {
    loop {
        let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Starts a server on a port of its own, and gives it once it answers. Another test may take the
/// port first: then it is tried on another one.
fn start(server: impl Fn(u16) -> Running) -> (u16, Running) {
    eventually("a server answers", || {
        let port = free_port();
        let mut running = server(port);
        for _ in 0..20 {
            if ask_once(port, "good.example", 1) == Some((0, vec![203, 0, 113, 99])) {
                return Some((port, running));
            }
            if running.0.try_wait().unwrap().is_some() {
                break;
            }
            thread::sleep(Duration::from_millis(50));
        }
        None
    })
}

/// A name server that knows every name, and has one address for each.
fn upstream() -> u16 {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    thread::spawn(move || {
        let mut buffer = [0; 1_500];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let Some(end) = end_of_question(&buffer[..length]) else { continue };
            let mut answer = buffer[..end].to_vec();
            let is_address = answer[end - 4..end - 2] == [0, 1];
            // An answer, authoritative, recursion available, no error; one question.
            answer[2..4].copy_from_slice(&[0x85, 0x80]);
            answer[4..12].copy_from_slice(&[0, 1, 0, u8::from(is_address), 0, 0, 0, 0]);
            if is_address {
                answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 203, 0, 113, 99]);
            }
            let _ = socket.send_to(&answer, from);
        }
    });
    port
}

fn end_of_question(message: &[u8]) -> Option<usize> {
    let mut at = 12;
    while *message.get(at)? != 0 {
        at += usize::from(message[at]) + 1;
    }
    (at + 5 <= message.len()).then_some(at + 5)
}

/// The response code, and the data of the first answer; asked again while nobody answers, as a
/// resolver does.
fn ask(port: u16, name: &str, of_type: u16) -> Option<(u8, Vec<u8>)> {
    (0..10).find_map(|_| ask_once(port, name, of_type))
}

fn ask_once(port: u16, name: &str, of_type: u16) -> Option<(u8, Vec<u8>)> {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    let mut message = vec![7, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        message.push(u8::try_from(label.len()).unwrap());
        message.extend(label.bytes());
    }
    message.push(0);
    message.extend(of_type.to_be_bytes());
    message.extend([0, 1]);
    socket.send_to(&message, ("127.0.0.1", port)).ok()?;
    let mut buffer = [0; 1_500];
    let length = socket.recv(&mut buffer).ok()?;
    let answers = u16::from_be_bytes([buffer[6], buffer[7]]);
    let data = if answers == 0 {
        Vec::new()
    } else {
        // The name is a pointer; type, class, time to live and length stand before the data.
        buffer[end_of_question(&buffer[..length])? + 12..length].to_vec()
    };
    Some((buffer[3] & 15, data))
}

/// A list of one name, as the device gets it.
fn list_of(app: &TestApp, device_type: &'static str) -> String {
    let admin = app.admin();
    let source = source(&admin);
    let list = device(&admin, device_type, json!({}));
    import(&admin, &source, &["bad.example"]);
    eventually("it is listed", || {
        Some(pull(app, &list.url).text()).filter(|text| text.contains("bad.example"))
    })
}

const NXDOMAIN: u8 = 3;

/// Every question for a listed name is refused, and none for another one.
fn refuses(port: u16) {
    for of_type in TYPES {
        for name in LISTED {
            let code = ask(port, name, of_type).map(|(code, _)| code);
            assert_eq!(code, Some(NXDOMAIN), "{name}, type {of_type}");
        }
        for name in ["good.example", "notbad.example", "bad.example.org"] {
            let code = ask(port, name, of_type).map(|(code, _)| code);
            assert_eq!(code, Some(0), "{name}, type {of_type}");
        }
    }
}

fn write(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

fn dnsmasq(port: u16, more: &[String]) -> Running {
    let args = [
        "--keep-in-foreground".to_owned(),
        format!("--port={port}"),
        "--listen-address=127.0.0.1".to_owned(),
        "--bind-interfaces".to_owned(),
        "--no-resolv".to_owned(),
        "--no-hosts".to_owned(),
        "--user=root".to_owned(),
        "--pid-file=".to_owned(),
        format!("--server=127.0.0.1#{}", upstream()),
    ];
    run("dnsmasq", &[&args, more].concat())
}

fn dnsmasq_refuses_listed_names(app: &mut TestApp) {
    let folder = TempDir::new().unwrap();
    let file = write(folder.path(), "list.conf", &list_of(app, "dnsmasq"));
    let (port, _dnsmasq) = start(|port| dnsmasq(port, &[format!("--conf-file={file}")]));
    refuses(port);
}

fn a_hosts_file_answers_with_no_address(app: &mut TestApp) {
    let folder = TempDir::new().unwrap();
    let file = write(folder.path(), "hosts", &list_of(app, "hosts"));
    let more = [format!("--addn-hosts={file}"), "--conf-file=".to_owned()];
    let (port, _dnsmasq) = start(|port| dnsmasq(port, &more));
    assert_eq!(ask(port, "bad.example", 1), Some((0, vec![0; 4])));
    assert_eq!(ask(port, "bad.example", 28), Some((0, vec![0; 16])));
    assert_eq!(ask(port, "good.example", 1), Some((0, vec![203, 0, 113, 99])));
}

fn unbound_refuses_listed_names(app: &mut TestApp) {
    let folder = TempDir::new().unwrap();
    let list = write(folder.path(), "list.conf", &list_of(app, "unbound"));
    let upstream = upstream();
    let config = |port: u16| {
        format!(
            "server:\n  interface: 127.0.0.1@{port}\n  do-daemonize: no\n  username: \"\"\n  chroot: \"\"\n  pidfile: \"\"\n  \
         use-syslog: no\n  do-not-query-localhost: no\n  module-config: \"iterator\"\ninclude: \"{list}\"\n\
         forward-zone:\n  name: \".\"\n  forward-addr: 127.0.0.1@{upstream}\nremote-control:\n  control-enable: no\n"
        )
    };
    let (port, _unbound) = start(|port| {
        let config = write(folder.path(), "unbound.conf", &config(port));
        run("unbound", &["-d".to_owned(), "-c".to_owned(), config])
    });
    refuses(port);
}

fn bind_refuses_listed_names(app: &mut TestApp) {
    let folder = TempDir::new().unwrap();
    let at = folder.path().to_str().unwrap();
    let zone = write(folder.path(), "list.zone", &list_of(app, "rpz"));
    let upstream = upstream();
    // As the set-up form says it.
    let config = |port: u16| {
        format!(
            "options {{ directory \"{at}\"; pid-file none; session-keyfile none; listen-on port {port} {{ 127.0.0.1; }}; \
         listen-on-v6 {{ none; }}; recursion yes; allow-query {{ any; }}; dnssec-validation no; forward only; \
         forwarders {{ 127.0.0.1 port {upstream}; }}; \
         response-policy {{ zone \"rpz.iocast\"; }} qname-wait-recurse no; }};\n\
         controls {{ }};\nzone \"rpz.iocast\" {{ type primary; file \"{zone}\"; allow-query {{ none; }}; }};\n"
        )
    };
    let (port, _named) = start(|port| {
        let config = write(folder.path(), "named.conf", &config(port));
        run("named", &["-g".to_owned(), "-c".to_owned(), config])
    });
    refuses(port);
}

fn powerdns_refuses_listed_names(app: &mut TestApp) {
    let folder = TempDir::new().unwrap();
    let at = folder.path().to_str().unwrap();
    let zone = write(folder.path(), "list.zone", &list_of(app, "rpz"));
    write(
        folder.path(),
        "rpz.lua",
        &format!("rpzFile(\"{zone}\", {{ policyName = \"iocast\" }})\n"),
    );
    let upstream = upstream();
    let config = |port: u16| {
        format!(
            "local-address=127.0.0.1\nlocal-port={port}\nforward-zones-recurse=.=127.0.0.1:{upstream}\ndont-query=\n\
             dnssec=off\ndaemon=no\nthreads=1\nsocket-dir={at}\nwrite-pid=no\nlua-config-file={at}/rpz.lua\n\
             security-poll-suffix=\nquiet=yes\n"
        )
    };
    let (port, _recursor) = start(|port| {
        write(folder.path(), "recursor.conf", &config(port));
        run("pdns_recursor", &[format!("--config-dir={at}")])
    });
    refuses(port);
}

/// Runs a script on a network of its own, where the addresses of documentation are this host's.
fn on_own_network(script: &str) -> String {
    let own = "set -eu; ip link set lo up; ip addr add 203.0.113.1/32 dev lo; ip -6 addr add 2001:db8:1::1/128 dev lo; \
               ip route add local 192.0.2.0/24 dev lo src 203.0.113.1; ip route add local 198.51.100.0/24 dev lo src 203.0.113.1; \
               ip -6 route add local 2001:db8::/48 dev lo src 2001:db8:1::1";
    let run = Command::new("unshare")
        .args(["--map-root-user", "--net", "bash", "-c", &format!("{own}; {script}")])
        .output()
        .unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    String::from_utf8(run.stdout).unwrap()
}

fn a_linux_firewall_refuses_listed_addresses(app: &mut TestApp) {
    let admin = app.admin();
    let source = source(&admin);
    let list = device(&admin, "nftables", json!({}));
    import(&admin, &source, &["192.0.2.7", "198.51.100.0/25", "2001:db8::7"]);
    let text = eventually("they are listed", || {
        Some(pull(app, &list.url).text()).filter(|text| text.contains("2001:db8::7"))
    });
    admin.patch(
        &format!("/api/v1/iocs/{}", admin.ioc("192.0.2.7")["id"].as_str().unwrap()),
        json!({ "whitelist": "never_sent" }),
        200,
    );
    let without = eventually("one is withdrawn", || {
        Some(pull(app, &list.url).text()).filter(|text| !text.contains("192.0.2.7"))
    });
    let folder = TempDir::new().unwrap();
    let (first, second) =
        (write(folder.path(), "first", &text), write(folder.path(), "second", &without));
    let listed = ["192.0.2.7", "198.51.100.3", "2001:db8::7"];
    let others = ["192.0.2.8", "198.51.100.200", "2001:db8::8"];
    let tries: String = listed
        .iter()
        .chain(&others)
        .map(|address| {
            format!("python3 -c 'import socket; socket.create_connection((\"{address}\", 7), 5)' 2>/dev/null && echo {address}; ")
        })
        .collect();
    let server = "python3 -c 'import socket; s = socket.create_server((\"::\", 7), family=socket.AF_INET6, dualstack_ipv6=True); [s.accept() for _ in iter(int, 1)]' > /dev/null & server=$!; sleep 1";
    let reached = on_own_network(&format!(
        "set +e; {server}; nft --check --file {first} && nft --file {first}; {tries} echo then; nft --file {second}; {tries} kill $server"
    ));
    let (before, after) = reached.split_once("then\n").unwrap();
    assert_eq!(before.lines().collect::<Vec<_>>(), others);
    assert_eq!(after.lines().collect::<Vec<_>>(), [&listed[..1], &others[..]].concat());
}

/// A web server that answers every request.
fn origin() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4_096]);
            let _ = stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
    });
    port
}

/// The status with which a proxy answers; none while it does not.
fn through(proxy: u16, request: &str) -> Option<u16> {
    let mut stream = TcpStream::connect(("127.0.0.1", proxy)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
        .write_all(format!("{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes())
        .ok()?;
    let mut start = [0; 12];
    stream.read_exact(&mut start).ok()?;
    std::str::from_utf8(&start[9..]).ok()?.parse().ok()
}

fn squid_refuses_listed_names(app: &mut TestApp) {
    let folder = TempDir::new().unwrap();
    // Squid reads its files as another user than the one who starts it.
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let list = write(folder.path(), "list", &list_of(app, "squid"));
    let names = ["good.example", "notbad.example", "bad.example.org"];
    let hosts: Vec<String> =
        names.iter().chain(&LISTED).map(|name| format!("127.0.0.1 {name}\n")).collect();
    let hosts = write(folder.path(), "hosts", &hosts.concat());
    let origin = origin();
    // As the set-up form says it.
    let config = |port: u16| {
        format!(
            "http_port 127.0.0.1:{port}\nacl iocast dstdomain \"{list}\"\nhttp_access deny iocast\nhttp_access allow all\n\
             cache deny all\ncache_mem 0 MB\naccess_log none\ncache_log /dev/null\npid_filename none\nhosts_file {hosts}\n\
             dns_nameservers 127.0.0.1\nnetdb_filename none\nvisible_hostname proxy\nshutdown_lifetime 0 seconds\n"
        )
    };
    let (port, _squid) = eventually("squid answers", || {
        let port = free_port();
        let config = write(folder.path(), "squid.conf", &config(port));
        let mut running = run("squid", &["-N".to_owned(), "-f".to_owned(), config]);
        for _ in 0..100 {
            if through(port, &format!("GET http://good.example:{origin}/")) == Some(200) {
                return Some((port, running));
            }
            if running.0.try_wait().unwrap().is_some() {
                break;
            }
            thread::sleep(Duration::from_millis(50));
        }
        None
    });
    for name in LISTED {
        for request in [format!("GET http://{name}:{origin}/x"), format!("CONNECT {name}:443")] {
            assert_eq!(through(port, &request), Some(403), "{request}");
        }
    }
    for name in names {
        let request = format!("GET http://{name}:{origin}/x");
        assert_eq!(through(port, &request), Some(200), "{request}");
    }
}
