//! The Debian package: built from the binary under test, laid out in a bare root, started as its
//! service starts it. Devices notice neither the removal nor the new machine.

use std::{
    fs,
    io::Read as _,
    os::unix::{fs::PermissionsExt as _, net::UnixDatagram},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    edges,
    shell::binary,
    support::{ADMIN, Admin, Device, Scene, eventually, text},
};

fn run(command: &mut Command) -> String {
    let done = command.output().unwrap();
    let out = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success(), "{command:?}: {out}{}", String::from_utf8_lossy(&done.stderr));
    out
}

/// A root into which the package was unpacked.
struct Root(TempDir);

impl Root {
    fn with(package: &Path) -> Self {
        let root = TempDir::new().unwrap();
        run(Command::new("dpkg-deb").arg("--extract").arg(package).arg(root.path()));
        Self(root)
    }

    fn at(&self, path: &str) -> PathBuf {
        self.0.path().join(path.trim_start_matches('/'))
    }

    fn iocast(&self, args: &[&str]) -> String {
        run(Command::new(self.at("/usr/bin/iocast")).args(args))
    }

    /// The command of the service, with the paths of this root.
    fn command(&self) -> Command {
        let unit = fs::read_to_string(self.at("/lib/systemd/system/iocast.service")).unwrap();
        let line = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
        let words: Vec<String> = line
            .split(' ')
            .map(|word| {
                if word.starts_with('/') {
                    self.at(word).to_str().unwrap().to_owned()
                } else {
                    word.to_owned()
                }
            })
            .collect();
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
        command
    }

    /// Starts it as systemd does, and waits until it says that it answers.
    fn start(&self, port: &str) -> Child {
        let socket = self.at("/notify");
        let _ = fs::remove_file(&socket);
        let told = UnixDatagram::bind(&socket).unwrap();
        told.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let child = self
            .command()
            .env("NOTIFY_SOCKET", &socket)
            .env("WATCHDOG_USEC", "600000")
            .env("JOURNAL_STREAM", "8:1")
            .env("IOCAST_LISTEN", port)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut heard = String::new();
        while !(heard.contains("READY=1") && heard.contains("WATCHDOG=1")) {
            let mut buffer = [0; 256];
            let n = told.recv(&mut buffer).expect("it says that it answers, and that it lives");
            heard.push_str(&String::from_utf8_lossy(&buffer[..n]));
        }
        child
    }
}

fn stop(mut child: Child) {
    run(Command::new("kill").arg(child.id().to_string()));
    let done = child.wait().unwrap();
    let mut log = String::new();
    child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    assert!(done.success(), "{log}");
}

fn free_port() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

#[test]
fn a_debian_package_is_installed_backed_up_purged_and_restored() {
    let folder = TempDir::new().unwrap();
    let builder = edges::root().join("crates/server/packaging/debian");
    let package = run(Command::new(builder).arg(binary()).arg(folder.path()));
    let package = PathBuf::from(package.trim());
    let about = run(Command::new("dpkg-deb").arg("--info").arg(&package));
    assert!(about.contains("Package: iocast") && about.contains("libc6 (>= 2."), "{about}");
    let root = Root::with(&package);
    let config = root.at("/etc/iocast/iocast.toml");
    assert_eq!(fs::metadata(&config).unwrap().permissions().mode() & 0o777, 0o640);
    root.iocast(&["config", "check", "--config", config.to_str().unwrap()]);
    // Manual pages of every command, and completions that the shell reads.
    let manual = |name: &str| {
        run(Command::new("gzip")
            .arg("-dc")
            .arg(root.at(&format!("/usr/share/man/man1/{name}.1.gz"))))
    };
    assert!(manual("iocast").contains(".TH") && manual("iocast-apply").contains("prune"));
    run(Command::new("bash")
        .arg("-n")
        .arg(root.at("/usr/share/bash-completion/completions/iocast")));
    // Where systemd is installed, it finds nothing wrong with the service.
    if let Ok(verified) = Command::new("systemd-analyze")
        .args(["verify", "--root", root.0.path().to_str().unwrap(), "iocast.service"])
        .output()
    {
        let said = String::from_utf8_lossy(&verified.stderr).into_owned();
        let wrong = |line: &&str| {
            let words = ["Unknown", "parse", "Invalid"];
            line.contains("iocast.service") && words.iter().any(|word| line.contains(word))
        };
        let ours: Vec<&str> = said.lines().filter(wrong).collect();
        assert!(ours.is_empty(), "{ours:?}");
    }
    // What a package does beside unpacking, as far as it can be tried without being root.
    for script in ["postinst", "prerm", "postrm"] {
        let scripts = TempDir::new().unwrap();
        run(Command::new("dpkg-deb").arg("--control").arg(&package).arg(scripts.path().join("c")));
        run(Command::new("sh").arg("-n").arg(scripts.path().join("c").join(script)));
    }

    // Installed and started: a device is added, and pulls.
    let port = free_port();
    let child = root.start(&port);
    let url = format!("http://{port}");
    let data = root.at("/var/lib/iocast");
    assert_eq!(fs::metadata(&data).unwrap().permissions().mode() & 0o777, 0o700);
    let first = fs::read_to_string(data.join("first-account.txt")).unwrap();
    let word = |name: &str| {
        let line = first.lines().find(|line| line.trim_start().starts_with(name)).unwrap();
        line.trim_start().trim_start_matches(name).split_whitespace().next().unwrap().to_owned()
    };
    let (password, account, key) = (word("password"), word("account ID"), word("appliance key"));
    let admin = Admin::sign_in(&url, ADMIN, &password);
    let scene = Scene::set(&admin, None);
    let edge = json!({ "name": "Edge", "device_type": "panos-edl" });
    let edge = text(&admin.post("/api/v1/devices", edge, 201), "id");
    let group = json!({ "name": "Edge", "kind": "ip" });
    let list = text(&admin.post(&format!("/api/v1/devices/{edge}/groups"), group, 201), "url");
    scene.import(&admin, "203.0.113.7");
    let device = Device::new(&account, &key);
    let listed = eventually("the list is published", || {
        let answer = device.get(&list, &[]);
        (answer.status == 200 && answer.text().contains("203.0.113.7")).then_some(answer)
    });

    // Backed up, purged, installed on a new machine at the same address, restored.
    let backup_key = root.iocast(&["backup-key"]);
    let recipient =
        backup_key.lines().find_map(|line| line.strip_prefix("# public key: ")).unwrap();
    let (key_file, file) = (folder.path().join("key"), folder.path().join("a.backup"));
    fs::write(&key_file, &backup_key).unwrap();
    let (file, key_file) = (file.to_str().unwrap(), key_file.to_str().unwrap());
    root.iocast(&["backup", file, "--recipient", recipient, "--data", data.to_str().unwrap()]);
    stop(child);
    drop(root);
    let root = Root::with(&package);
    let data = root.at("/var/lib/iocast");
    let data = data.to_str().unwrap();
    root.iocast(&["restore", file, "--key-file", key_file, "--data", data, "--yes"]);
    let child = root.start(&port);
    let again = device.get(&list, &[("if-none-match", listed.header("etag"))]);
    assert_eq!(again.status, 304, "the device goes on");
    stop(child);
}

fn checked_blob(image: &Path, described: &Value) -> PathBuf {
    let digest = text(described, "digest");
    let path = image.join("blobs").join(digest.replace(':', "/"));
    let sum = run(Command::new("sha256sum").arg(&path));
    assert_eq!(sum.split(' ').next().unwrap(), digest.strip_prefix("sha256:").unwrap());
    assert_eq!(fs::metadata(&path).unwrap().len(), described["size"].as_u64().unwrap());
    path
}

fn json_of(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn a_container_image_holds_all_that_it_needs() {
    let folder = TempDir::new().unwrap();
    let builder = edges::root().join("crates/server/packaging/image");
    let built = run(Command::new(builder).arg(binary()).arg(folder.path()));
    let (image, root) = (folder.path().join("image"), folder.path().join("root"));
    for made in [&image, &root] {
        fs::create_dir(made).unwrap();
    }
    run(Command::new("tar").arg("-xf").arg(built.trim()).arg("-C").arg(&image));
    // As a registry and a runtime read it: each part is what its digest says.
    let manifest =
        json_of(&checked_blob(&image, &json_of(&image.join("index.json"))["manifests"][0]));
    let config = json_of(&checked_blob(&image, &manifest["config"]));
    // As a Docker with a store of its own reads it.
    let docker = json_of(&image.join("manifest.json"));
    assert_eq!(docker[0]["RepoTags"][0], "iocast:0.1.0");
    for path in [&docker[0]["Config"], &docker[0]["Layers"][0]] {
        assert!(image.join(path.as_str().unwrap()).is_file(), "{docker}");
    }
    let layer = checked_blob(&image, &manifest["layers"][0]);
    let unpacked =
        run(Command::new("sh").arg("-c").arg(format!("gzip -dc {} | sha256sum", layer.display())));
    assert_eq!(
        config["rootfs"]["diff_ids"][0],
        format!("sha256:{}", unpacked.split(' ').next().unwrap())
    );
    let listed = run(Command::new("tar").args(["--numeric-owner", "-tvzf"]).arg(&layer));
    let owner = |path: &str| {
        let line = listed
            .lines()
            .find(|line| line.ends_with(path))
            .unwrap_or_else(|| panic!("{path} in {listed}"));
        line.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(owner(" data/"), "drwx------ 65532/65532");
    assert_eq!(owner(" usr/bin/iocast"), "-rwxr-xr-x 0/0");
    assert!(!listed.contains("bin/sh"), "{listed}");
    // It is started with the image's own libraries, environment and command.
    run(Command::new("tar").arg("-xzf").arg(&layer).arg("-C").arg(&root).arg("--no-same-owner"));
    let libraries: Vec<&str> = listed
        .lines()
        .filter_map(|line| line.split(' ').next_back().filter(|path| path.contains(".so")))
        .collect();
    let loader = libraries.iter().find(|path| path.contains("ld-linux")).unwrap();
    let beside = |path: &&&str| !path.contains("ld-linux");
    let folder_of = root.join(libraries.iter().find(beside).unwrap()).parent().unwrap().to_owned();
    let inside = |args: &[&str], port: &str| {
        let mut command = Command::new(root.join(loader));
        command.arg("--library-path").arg(&folder_of).arg(root.join("usr/bin/iocast")).args(args);
        command.env_clear();
        for pair in config["config"]["Env"].as_array().unwrap() {
            let (name, value) = pair.as_str().unwrap().split_once('=').unwrap();
            let value = value.replace("0.0.0.0:8080", port);
            let value =
                if value.starts_with('/') { format!("{}{value}", root.display()) } else { value };
            command.env(name, value);
        }
        command
    };
    let port = free_port();
    let strings = |key: &str| -> Vec<String> {
        config["config"][key]
            .as_array()
            .unwrap()
            .iter()
            .map(|word| word.as_str().unwrap().to_owned())
            .collect()
    };
    let command = strings("Cmd");
    let command: Vec<&str> = command.iter().map(String::as_str).collect();
    let mut child =
        inside(&command, &port).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let health = strings("Entrypoint").len();
    assert_eq!(health, 1);
    let check = config["config"]["Healthcheck"]["Test"].as_array().unwrap();
    let check = [check[2].as_str().unwrap()];
    eventually("it says that it is ready", || {
        inside(&check, &port).output().unwrap().status.success().then_some(())
    });
    let secrets = root.join("data/first-account.txt");
    assert_eq!(fs::metadata(&secrets).unwrap().permissions().mode() & 0o777, 0o600);
    let secrets = fs::read_to_string(&secrets).unwrap();
    let password = secrets.lines().find_map(|l| l.trim().strip_prefix("password")).unwrap().trim();
    Admin::sign_in(&format!("http://{port}"), ADMIN, password);
    run(Command::new("kill").arg(child.id().to_string()));
    assert!(child.wait().unwrap().success());
    let mut said = String::new();
    child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(!said.contains(password), "the log holds no secrets: {said}");
    assert!(!inside(&check, &port).output().unwrap().status.success(), "it is gone");
}
