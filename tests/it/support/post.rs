//! The mail server of a story: a process of its own, which misbehaves when told to.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{Arc, Mutex},
};

use iocast_server::config::Config;
use serde_json::{Value, json};

use super::{eventually, text};

pub(crate) struct Post {
    child: Child,
    stdin: Mutex<ChildStdin>,
    said: Arc<Mutex<Vec<Value>>>,
    pub(crate) port: u16,
}

impl Post {
    pub(crate) fn open() -> Self {
        Self::with(&[])
    }

    pub(crate) fn with(args: &[&str]) -> Self {
        let python = std::env::var("IOCAST_PYTHON")
            .expect("IOCAST_PYTHON names a Python with the test clients; `make test` sets one up");
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/python/smtp.py");
        let mut child = Command::new(python)
            .arg(script)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said = Arc::new(Mutex::new(Vec::new()));
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let heard = Arc::clone(&said);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                heard
                    .lock()
                    .unwrap()
                    .push(serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line}")));
            }
        });
        let stdin = Mutex::new(child.stdin.take().unwrap());
        let mut post = Self { child, stdin, said, port: 0 };
        let port = eventually("the mail server listens", || {
            post.said().iter().find_map(|s| s["port"].as_u64())
        });
        post.port = u16::try_from(port).unwrap();
        post
    }

    /// Settings that hand messages to this server in clear, and quickly give up on it.
    pub(crate) fn plain(&self, config: &mut Config) {
        config.smtp_host = Some("127.0.0.1".into());
        config.smtp_port = Some(self.port);
        config.smtp_security = "plain".into();
        config.mail_deadline_seconds = 1;
    }

    fn said(&self) -> Vec<Value> {
        self.said.lock().unwrap().clone()
    }

    fn tell(&self, change: &Value) {
        let before = self.said().iter().filter(|s| s["heard"] == true).count();
        let mut stdin = self.stdin.lock().unwrap();
        writeln!(stdin, "{change}").unwrap();
        stdin.flush().unwrap();
        drop(stdin);
        eventually("the mail server heard", || {
            (self.said().iter().filter(|s| s["heard"] == true).count() > before).then_some(())
        });
    }

    /// From now on, do `fault` at `step`.
    pub(crate) fn fault(&mut self, step: &str, fault: &str) {
        self.tell(&json!({ "at": step, "do": fault }));
    }

    pub(crate) fn fault_for(&mut self, step: &str, fault: &str, recipient: &str) {
        self.tell(&json!({ "at": step, "do": fault, "for": recipient }));
    }

    /// Behave.
    pub(crate) fn calm(&mut self) {
        self.tell(&json!({}));
    }

    /// The messages that it took, in order.
    pub(crate) fn messages(&self) -> Vec<Value> {
        // What it took before now is printed before it answers this.
        self.tell(&json!({ "sync": true }));
        self.said().into_iter().filter(|s| s["message"].is_string()).collect()
    }

    /// Subjects of the messages that it took, in order.
    pub(crate) fn subjects(&self) -> Vec<String> {
        self.messages().iter().map(|l| text(l, "subject")).collect()
    }

    /// How often a step was reached.
    pub(crate) fn reached(&self, step: &str) -> usize {
        self.said().iter().filter(|s| s["step"] == step).count()
    }
}

impl Drop for Post {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
